//! The table in the docs of [`super::super`], row by row: every case has a row, and every row a
//! case.

use std::time::{Duration, Instant};

use super::super::tests as sample;
use super::*;

const SESSIONS: &[&str] = &[
    "free",
    "left behind",
    "left behind and no primary",
    "left behind and primary lost",
    "primary lost",
    "no replica",
    "no roles",
    "routed",
    "pinned",
    "pinned and left behind",
    "pinned and in a transaction",
    "in a transaction",
    "routed and in a transaction",
    "in one that wrote",
    "in one on a replica",
    "in one and left behind",
    "in one that wrote and left behind",
];

const SPLITS: &[&str] = &["off", "weak", "on", "only replicas", "transactions too"];

const STATEMENTS: &[&str] = &[
    "diagnostics",
    "read",
    "weak read",
    "strong read",
    "write",
    "other",
    "session",
    "begin",
    "begin read only",
    "commit",
    "rollback",
    "hinted read",
    "hinted other",
    "hinted begin read only",
    "hinted write",
    "write hinted to the primary",
    "read hinted to nobody",
    "read hinted to a lost one",
    "read hinted to a lost one and another",
    "forced read",
    "forced other",
    "forced write",
];

const ALL_WRITES: &[&str] = &[
    "write",
    "other",
    "hinted other",
    "hinted write",
    "write hinted to the primary",
    "forced other",
    "forced write",
];

const ALL_READS: &[&str] = &[
    "read",
    "weak read",
    "strong read",
    "hinted read",
    "read hinted to nobody",
    "read hinted to a lost one",
    "read hinted to a lost one and another",
    "forced read",
];

/// The primary, the replica to read from, the old home, the target, and one that is lost. Those not
/// to be read from are far behind.
const SERVERS: &str = "A=p B=r C=r,lag=60 D=r,lag=60 E=r,lost";

fn topology(session: &str, now: Instant) -> Topology {
    let text = match session {
        "left behind and no primary" => SERVERS.replace("A=p", "A=r,lag=60"),
        "left behind and primary lost" | "primary lost" => SERVERS.replace("A=p", "A=p,lost"),
        "no replica" => SERVERS.replace("B=r", "B=r,lag=60"),
        "no roles" => SERVERS.replace("=p", "=u").replace("=r", "=u"),
        _ => SERVERS.into(),
    };
    sample::topology(&text, 2, now)
}

fn place(session: &str) -> Place<'static> {
    let link = |letter, epoch| Link { server: sample::id(letter), opened_in: Epoch(epoch) };
    let home = if session.contains("left behind") { link("C", 1) } else { link("A", 2) };
    let on = if session.contains("on a replica") { link("B", 2) } else { home };
    let has_written = session.contains("that wrote");
    let is_in_transaction = session.contains("in a transaction") || session.contains("in one");
    Place {
        home,
        last_used: sample::id("D"),
        is_pinned: session.contains("pinned"),
        transaction: is_in_transaction.then_some(Transaction { on, has_written }),
        route_address: session.contains("routed").then_some("D"),
    }
}

fn policy(split: &str) -> Policy {
    Policy {
        split: match split {
            "off" => Split::Off,
            "weak" => Split::Weak,
            "on" | "only replicas" | "transactions too" => Split::On,
            other => panic!("{other}"),
        },
        splits_transactions: split == "transactions too",
        route_policy: match split {
            "only replicas" => RoutePolicy::FollowerOnly,
            _ => RoutePolicy::FollowerFirst,
        },
        max_replica_lag: Duration::from_secs(10),
    }
}

fn statement(text: &str) -> Statement<'static> {
    let (bare, targets): (_, &[&str]) = match text {
        "write hinted to the primary" => ("write", &["A"]),
        "read hinted to nobody" => ("read", &["X", "Y"]),
        "read hinted to a lost one" => ("read", &["X", "E"]),
        "read hinted to a lost one and another" => ("read", &["E", "X", "D", "B"]),
        _ => match text.strip_prefix("hinted ") {
            Some(bare) => (bare, &["D"]),
            None => (text, &[]),
        },
    };
    let wants_primary = bare.starts_with("forced ");
    let bare = bare.trim_start_matches("forced ");
    let kind = match bare {
        "read" | "weak read" | "strong read" => Kind::Read,
        "write" => Kind::Write,
        "other" => Kind::Other,
        "session" => Kind::Session,
        "begin" => Kind::Begin,
        "begin read only" => Kind::BeginReadOnly,
        "commit" => Kind::Commit,
        "rollback" => Kind::Rollback,
        "diagnostics" => Kind::Diagnostics,
        other => panic!("{other}"),
    };
    let consistency = match bare {
        "weak read" => Some(Consistency::Weak),
        "strong read" => Some(Consistency::Strong),
        _ => None,
    };
    Statement { kind, consistency, wants_primary, targets }
}

/// A row of the table.
#[derive(Debug)]
struct Row {
    sessions: Vec<&'static str>,
    splits: Vec<&'static str>,
    statements: Vec<&'static str>,
    goes_to: &'static str,
    why: &'static str,
}

impl Row {
    fn parse(line: &'static str) -> Self {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [sessions, splits, statements, goes_to, why] = cells[..] else { panic!("{line}") };
        let splits = match chosen(splits, SPLITS) {
            splits if splits.contains(&"on") => [&splits[..], &["transactions too"]].concat(),
            splits => splits,
        };
        let statements = match statements.strip_prefix("all writes") {
            None if statements == "all reads" => ALL_READS.to_vec(),
            Some("") => ALL_WRITES.to_vec(),
            Some(more) => {
                let more = chosen(more.trim_start_matches(", "), STATEMENTS);
                [ALL_WRITES, &more].concat()
            }
            None => chosen(statements, STATEMENTS),
        };
        Self { sessions: chosen(sessions, SESSIONS), splits, statements, goes_to, why }
    }

    fn fits(&self, session: &str, split: &str, statement: &str) -> bool {
        self.sessions.contains(&session)
            && self.splits.contains(&split)
            && self.statements.contains(&statement)
    }
}

/// The words of a cell.
fn chosen(cell: &'static str, all: &[&'static str]) -> Vec<&'static str> {
    if cell == "any" {
        return all.to_vec();
    }
    let words: Vec<_> = cell.split(", ").collect();
    for word in &words {
        assert!(all.contains(word), "{word} in {cell}");
    }
    words
}

fn rows() -> Vec<Row> {
    let lines = include_str!("../mod.rs").lines();
    let table = lines.filter_map(|line| line.strip_prefix("//! ")).filter(|l| l.starts_with("| "));
    table.skip(1).map(Row::parse).collect()
}

/// What the table calls it.
fn shown(decision: &Decision, place: &Place, moves: bool) -> (&'static str, &'static str) {
    let went_to = |server: ServerId| match sample::letter(server) {
        'A' => "primary",
        'B' => "replica",
        'C' => "old home",
        'D' => "target",
        other => panic!("{other}"),
    };
    match &decision.go {
        Go::Keep => (if moves { "old home" } else { "home" }, decision.why.text()),
        Go::Use(server) => {
            assert_ne!(*server, place.home.server, "that is to keep");
            (went_to(*server), decision.why.text())
        }
        Go::Refuse(Refusal::Fenced) => ("refused", "fenced"),
        Go::Refuse(Refusal::NoReader) => ("refused", "no replica"),
        Go::Refuse(Refusal::Scattered) => ("refused", "scattered"),
        Go::Refuse(Refusal::Lost) => ("refused", "lost"),
        Go::Refuse(Refusal::CannotFollow(_)) => ("refused", "cannot follow"),
        Go::Refuse(Refusal::OtherTime) => ("refused", "other time"),
        Go::Refuse(Refusal::NoSuchServer(first)) => {
            assert_eq!(first, "X", "the first of them");
            ("refused", "no such server")
        }
        Go::Refuse(Refusal::Unreachable(_)) => ("refused", "unreachable"),
        Go::Refuse(Refusal::NotPrimary(address)) => {
            assert_eq!(address, "D");
            ("refused", "not the primary")
        }
    }
}

/// What the table says of a place, in the words of [`shown`].
fn expected(goes_to: &'static str, session: &str) -> &'static str {
    let is_behind = session.contains("left behind");
    let has_primary =
        session != "left behind and no primary" && session != "left behind and primary lost";
    match goes_to {
        "last used" => "target",
        // It moves there, if there is one.
        "home" if is_behind && has_primary => "primary",
        "home" if is_behind => "old home",
        "primary" if !is_behind => "home",
        other => other,
    }
}

#[test]
fn the_table_is_what_is_decided() {
    let rows = rows();
    let mut cases = vec![0; rows.len()];
    let now = Instant::now();
    let good = |_| Standing::Good;
    for session in SESSIONS {
        let topology = topology(session, now);
        for (split, text) in
            SPLITS.iter().flat_map(|split| STATEMENTS.iter().map(move |s| (split, s)))
        {
            let place = place(session);
            let question = Question {
                topology: &topology,
                standing: &good,
                now,
                asker: Asker::default(),
                policy: policy(split),
                session: place,
                statement: statement(text),
            };
            let decision = decide(&question);
            let row = rows.iter().position(|row| row.fits(session, split, text));
            let Some(at) = row else {
                panic!("no row for {session} | {split} | {text}: {decision:?}")
            };
            cases[at] += 1;
            let got = shown(&decision, &place, session.contains("left behind"));
            let row = &rows[at];
            let wanted = (expected(row.goes_to, session), row.why);
            assert_eq!(got, wanted, "{session} | {split} | {text}: {decision:?}");
        }
    }
    for (row, cases) in rows.iter().zip(cases) {
        assert!(cases > 0, "no case for {row:?}");
    }
}

/// A congested server is as good as lost.
#[test]
fn what_is_congested_is_left_alone() {
    let now = Instant::now();
    let topology = sample::topology("A=p B=r C=r,weight=0", 2, now);
    let ask = |congested: &'static str, text, session| {
        let standing = move |id| match congested.contains(sample::letter(id)) {
            true => Standing::Congested,
            false => Standing::Good,
        };
        let question = Question {
            topology: &topology,
            standing: &standing,
            now,
            asker: Asker::default(),
            policy: policy("on"),
            session: place(session),
            statement: statement(text),
        };
        decide(&question).go
    };
    let table = [
        ("", "read", "free", Go::Use(sample::id("B"))),
        ("B", "read", "free", Go::Use(sample::id("C"))),
        ("BC", "read", "free", Go::Keep),
        ("A", "write", "free", Go::Keep),
        ("", "write", "left behind", Go::Use(sample::id("A"))),
        ("A", "write", "left behind", Go::Refuse(Refusal::Fenced)),
        ("A", "session", "left behind", Go::Keep),
        ("A", "write hinted to the primary", "free", Go::Refuse(Refusal::Unreachable("A".into()))),
    ];
    for (congested, text, session, expected) in table {
        assert_eq!(ask(congested, text, session), expected, "{congested} | {text} | {session}");
    }
}

/// One opened on a replica while the primary was away goes home when it is back, and reads what is
/// there until then.
#[test]
fn a_home_on_a_replica_moves_to_the_primary() {
    let now = Instant::now();
    let good = |_| Standing::Good;
    let home = Link { server: sample::id("B"), opened_in: Epoch(2) };
    let session = Place { home, last_used: home.server, ..place("free") };
    for (text, topology, expected) in [
        ("write", "A=p B=r", Go::Use(sample::id("A"))),
        ("write", "A=p,lost B=r", Go::Keep),
        ("write", "A=u B=r", Go::Keep),
        ("read", "A=p B=r", Go::Use(sample::id("A"))),
        ("read", "A=p,lost B=r", Go::Keep),
        ("diagnostics", "A=p B=r", Go::Keep),
    ] {
        let topology = sample::topology(topology, 2, now);
        let (policy, statement) = (policy("off"), statement(text));
        let (asker, standing) = (Asker::default(), &good);
        let question =
            Question { topology: &topology, standing, now, asker, policy, session, statement };
        assert_eq!(decide(&question).go, expected, "{text}");
    }
}

/// What is to be left is, by reads and by whoever names others, too; who has left does not go back.
#[test]
fn what_is_draining_is_left() {
    let now = Instant::now();
    let good = |_| Standing::Good;
    for (text, servers, home, expected) in [
        ("read", "A=p B=r,draining C=r", "A", Go::Use(sample::id("C"))),
        ("read", "A=p B=r,draining", "A", Go::Keep),
        ("read", "A=p,draining B=r", "A", Go::Use(sample::id("B"))),
        ("write", "A=p,draining B=r", "A", Go::Keep),
        // A home on a replica cannot write.
        ("write", "A=p,draining B=r", "B", Go::Use(sample::id("A"))),
        ("write", "A=p,peer,draining B=r,peer", "B", Go::Keep),
        ("session", "A=p,peer,draining B=r,peer", "B", Go::Keep),
        ("write", "A=p,peer,draining B=r,peer,lost", "B", Go::Use(sample::id("A"))),
        ("write", "A=p,peer B=r,peer,draining", "B", Go::Use(sample::id("A"))),
        ("hinted read", "A=p B=r C=r D=r,draining", "A", Go::Use(sample::id("D"))),
        (
            "read hinted to a lost one and another",
            "A=p B=r C=r D=r,draining E=r,lost",
            "A",
            Go::Use(sample::id("B")),
        ),
    ] {
        let topology = sample::topology(servers, 2, now);
        let (policy, statement) = (policy("on"), statement(text));
        let (asker, standing) = (Asker::default(), &good);
        let home = Link { server: sample::id(home), opened_in: Epoch(1) };
        let session = Place { home, last_used: home.server, ..place("free") };
        let question =
            Question { topology: &topology, standing, now, asker, policy, session, statement };
        assert_eq!(decide(&question).go, expected, "{text} | {servers}");
    }
}

#[test]
fn targets_come_in_order() {
    let table: [(&str, &[&str]); 4] =
        [("", &[]), ("a:1", &["a:1"]), ("a:1,b:2; c:3 ;", &["a:1", "b:2", "c:3"]), (" ,;,", &[])];
    for (text, expected) in table {
        assert_eq!(targets(text).collect::<Vec<_>>(), expected, "{text}");
    }
}
