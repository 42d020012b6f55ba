//! Golden parcels: sessions in many states as each version has written them, and what they mean.
//!
//! A file holds a session as `pack` wrote it, what is said to it afterwards, and the facts before
//! and after that. Files are never edited, only added: after a change of the format run
//! `ODP_GOLDEN=2 cargo test --lib golden`, which writes the sessions of `scenes` as they are now
//! into tests/handover/v2, unless they are there.

mod scenes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::metrics::SessionCounters;
use crate::proxy::relay::parcel::*;
use crate::restart::later::{grow, names, renamed};
use crate::session::Directory;
use crate::session::front::Turn;
use crate::session::judge::Judge;
use crate::session::link::{Link as SessionLink, LinkId};
use crate::session::numbering::Plain;
use crate::session::transaction::Joined;
use crate::wire::command::Reply;
use crate::wire::compressed::Decoder;
use crate::wire::id::{SessionId, ThreadId};
use crate::wire::packet::packet;
use crate::wire::response::{Answer, ServerStatus};

/// Everybody's id there is the id here with the highest bit off.
pub(super) struct Everybody;

impl Directory for Everybody {
    fn server_thread(&self, connection: SessionId) -> Option<ThreadId> {
        Some(ThreadId(connection.0 & !(1 << 31)))
    }
}

/// Bytes arrive in a lane.
pub(super) fn append(lane: &mut Lane, bytes: &[u8]) {
    let all = [lane.bytes(), bytes].concat();
    *lane = Lane::with(&all, lane.pending().len(), lane.source()).expect("it holds them");
}

/// Bytes of the client's.
pub(super) fn hear_client(
    session: &mut Session,
    up: &mut Lane,
    bytes: &[u8],
    counters: &SessionCounters,
) {
    append(up, bytes);
    let (client, server, numbering) = (&mut Plain, &mut Plain, &mut None);
    Judge { session, numbering, client, server, counters }.up(up, &Everybody);
}

/// Bytes of the server's.
pub(super) fn hear_server(
    session: &mut Session,
    down: &mut Lane,
    bytes: &[u8],
    counters: &SessionCounters,
) {
    append(down, bytes);
    let (client, server, numbering) = (&mut Plain, &mut Plain, &mut None);
    Judge { session, numbering, client, server, counters }.down(LinkId::HOME, down);
}

/// A golden file.
struct Golden {
    path: PathBuf,
    file: Value,
}

impl Golden {
    /// Those of every version.
    fn all() -> Vec<Self> {
        let versions = std::fs::read_dir("tests/handover").expect("golden files");
        let mut all = Vec::new();
        for version in versions {
            let Ok(files) = std::fs::read_dir(version.expect("readable").path().join("sessions"))
            else {
                continue;
            };
            for file in files {
                let path = file.expect("readable").path();
                let text = std::fs::read_to_string(&path).expect("readable");
                let file = serde_json::from_str(&text).expect("JSON");
                all.push(Self { path, file });
            }
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    /// What it says of the session, and of what becomes of it, must be so; the error is what is
    /// not.
    fn judge(&self, state: &Value) -> Result<(), String> {
        let state = serde_json::to_vec(state).expect("it was JSON");
        let bytes = unhex(&self.file["bytes"]);
        // Nor is anything of it lost on its way to the record and back.
        let packed = packed::pack(&read(&state)?).ok_or("too long")?;
        let state = packed::unpack(&packed).ok_or("it was packed, and is none")?;
        let Understood { state, account, mut up, client, mut servers } =
            understand(state, &bytes, 2)?;
        let server = servers.pop().expect("every session has one");
        let mut down = server.down;
        let mut session = Session::from(state.session.clone());
        let counters = SessionCounters::resumed(&state.counted);
        let mut facts = with_state(facts(&session, &up, &down), &state);
        facts["servers"] = json!([[server.address, server.thread]]);
        facts["frames"] = [client.frames, server.inside.frames].iter().map(inflated).collect();
        facts["tls"] = encrypted(&[client.tls, server.inside.tls]);
        facts["account"] = known(account.as_ref());
        compare(&self.file["means"], &facts)?;
        for word in self.file["then"].as_array().expect("a list") {
            let bytes = unhex(&word["bytes"]);
            match word["from"] == "client" {
                true => hear_client(&mut session, &mut up, &bytes, &counters),
                false => hear_server(&mut session, &mut down, &bytes, &counters),
            }
        }
        compare(&self.means_then(), &self::facts(&session, &up, &down))
    }

    /// What it says of the session in the end. Once, the ids in some rows were replaced by those
    /// that clients knew; what a server says is passed on as it came now.
    fn means_then(&self) -> Value {
        let mut means = self.file["means_then"].clone();
        if self.file["state"].to_string().contains("\"ConnectionIds\"") {
            let said = self.file["then"].as_array().expect("a list").iter();
            let said = said.filter(|word| word["from"] == "server");
            let said = said.map(|word| word["bytes"].as_str().expect("digits"));
            means["down"]["pending"] = said.collect::<String>().into();
        }
        means
    }
}

fn compare(expected: &Value, found: &Value) -> Result<(), String> {
    let expected = expected.as_object().expect("facts");
    // Later versions count more.
    let is_so = |value: &Value, found: &Value| match (value, found) {
        (Value::Object(value), Value::Object(_)) => {
            value.iter().all(|(name, value)| found.get(name) == Some(value))
        }
        _ => value == found,
    };
    let is_so = |name, value| found.get(name).is_some_and(|found| is_so(value, found));
    // Was told as long as ids in rows were replaced.
    let mut expected = expected.iter().filter(|(name, _)| *name != "shows_connection_ids");
    match expected.find(|(name, value)| !is_so(*name, value)) {
        Some((name, value)) => Err(format!("{name}: {value} expected, {} found", found[name])),
        None => Ok(()),
    }
}

/// What can be told of a session. Later versions may add to it.
fn facts(session: &Session, up: &Lane, down: &Lane) -> Value {
    let conversation = session.conversation();
    let lane = |lane: &Lane| {
        json!({
            "pending": hex(lane.pending()),
            "unjudged": hex(lane.unjudged()),
            "source": format!("{:?}", lane.source()),
        })
    };
    json!({
        "turn": format!("{:?}", conversation.turn()),
        "status": format!("{:?}", conversation.status()),
        "is_idle": conversation.is_idle(),
        "is_over": conversation.is_over(),
        "awaits_answer": conversation.awaits_answer(),
        "may_be_in_transaction": session.may_be_in_transaction(),
        "names_awaited": conversation.names_awaited(),
        "injection_sequence": conversation.injection_sequence(),
        "rest_of_server_packet": conversation.rest_of_server_packet(),
        "user": String::from_utf8_lossy(session.user()),
        "database": String::from_utf8_lossy(session.database()),
        "up": lane(up),
        "down": lane(down),
    })
}

fn with_state(mut facts: Value, state: &State) -> Value {
    let more = json!({
        "critical": state.critical,
        "client": state.client,
        "cluster": state.cluster,
        "age_ms": state.age_ms,
        "idle_ms": state.idle_ms,
        "counted": state.counted,
        "numbering": state.numbering,
    });
    facts.as_object_mut().expect("facts").extend(more.as_object().expect("facts").clone());
    facts
}

/// A leg's compression and what its half-read frames hold.
fn inflated(leg: &Option<(LegState, Vec<u8>)>) -> Value {
    let Some((state, bytes)) = leg else { return Value::Null };
    let state = serde_json::to_value(state).expect("JSON");
    let part = |name: &str| state[name].clone();
    let how = serde_json::from_value(part("compression")).expect("it was read before");
    let decoder = serde_json::from_value(part("decoder")).expect("it was read before");
    let incoming = state["incoming"].as_u64().expect("a number") as usize;
    let mut plain = vec![0; 1000];
    let decoded = Decoder::new(how, decoder).decode(&bytes[..incoming], &mut plain);
    let given = decoded.expect("frames").given;
    json!({"state": state, "inflated": hex(&plain[..given]), "outgoing": hex(&bytes[incoming..])})
}

/// TLS of both legs, with what is half read and half written.
fn encrypted(legs: &[Option<(TlsState, Vec<u8>)>; 2]) -> Value {
    let leg = |leg: &Option<(TlsState, Vec<u8>)>| match leg {
        Some((state, bytes)) => json!({"state": state, "inside": hex(bytes)}),
        None => Value::Null,
    };
    legs.iter().map(leg).collect()
}

/// What is understood of what is known of the account.
fn known(account: Option<&AccountState>) -> Value {
    json!(account.and_then(AccountState::taught).as_ref().map(AccountState::from))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().expect("digits").as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(|pair| byte(pair).expect("two digits")).collect()
}

/// Writes the sessions of this build for a new version, if that is asked for.
fn write_if_asked() {
    let Some(version) = std::env::var_os("ODP_GOLDEN") else { return };
    let version = version.into_string().expect("a number");
    let dir = Path::new("tests/handover").join(format!("v{version}/sessions"));
    std::fs::create_dir_all(&dir).expect("writable");
    for scene in scenes::all() {
        let path = dir.join(format!("{}.json", scene.name));
        if path.exists() {
            continue;
        }
        let text = serde_json::to_string_pretty(&written(scene)).expect("JSON");
        std::fs::write(path, text + "\n").expect("writable");
    }
}

/// A scene as a golden file.
fn written(scene: scenes::Scene) -> Value {
    let scenes::Scene { about, mut session, mut up, mut down, counted, then, .. } = scene;
    let (frames, tls, numbering) = (scene.frames, scene.tls, scene.numbering);
    let account = scene.account;
    let handle = Handle::new(SessionId(7), "10.0.0.1:40000".into(), Instant::now(), &counted);
    handle.resume_idle(Duration::from_secs(61));
    *handle.facts() = Facts {
        cluster: "main".into(),
        server: "10.0.0.2:3306".into(),
        server_thread: ThreadId(41),
        ..Facts::default()
    };
    let inflated: Value = frames.iter().map(inflated).collect();
    let encrypted = encrypted(&tls);
    let ([client_tls, tls], [client_frames, frames]) = (tls, frames);
    let whole = Whole {
        session: session.clone(),
        numbering,
        up: &up,
        downs: vec![&down],
        client: Inside { tls: client_tls, frames: client_frames },
        servers: vec![("10.0.0.2:3306".into(), ThreadId(41))],
        legs: vec![Inside { tls, frames }],
    };
    let (mut state, bytes) = whole.describe(&handle);
    let bytes = hex(&bytes);
    state.age_ms = 3_600_000;
    state.account = account;
    let mut means = with_state(facts(&session, &up, &down), &state);
    means["servers"] = json!([[state.servers[0].address, state.servers[0].thread]]);
    means["frames"] = inflated;
    means["tls"] = encrypted;
    means["account"] = known(state.account.as_ref());
    let counters = SessionCounters::default();
    for (from, bytes) in &then {
        match *from {
            "client" => hear_client(&mut session, &mut up, bytes, &counters),
            _ => hear_server(&mut session, &mut down, bytes, &counters),
        }
    }
    let then: Vec<Value> =
        then.iter().map(|(from, bytes)| json!({"from": from, "bytes": hex(bytes)})).collect();
    json!({
        "about": about,
        "state": state,
        "bytes": bytes,
        "means": means,
        "then": then,
        "means_then": facts(&session, &up, &down),
    })
}

#[test]
fn golden_parcels_of_every_version_mean_what_they_meant() {
    write_if_asked();
    let all = Golden::all();
    assert!(all.len() >= scenes::all().len(), "each scene has a golden file");
    for golden in all {
        let judged = golden.judge(&golden.file["state"]);
        assert_eq!(judged, Ok(()), "{}", golden.path.display());
    }
}

#[test]
fn fields_of_a_later_version_are_skipped_at_every_depth() {
    for golden in Golden::all() {
        let mut state = golden.file["state"].clone();
        grow(&mut state);
        assert!(state["session"]["conversation"]["client"]["later"].is_object());
        assert_eq!(golden.judge(&state), Ok(()), "{}", golden.path.display());
    }
}

/// Were a field renamed or removed here, a golden file would not mean the same any more. So the
/// files are good enough to notice it.
#[test]
fn golden_parcels_notice_each_field_that_is_gone() {
    let all = Golden::all();
    let mut fields = BTreeSet::new();
    all.iter().for_each(|golden| names(&golden.file["state"], &mut fields));
    assert!(fields.contains("residue") && fields.contains("query_attributes"), "{fields:?}");
    // What it does has a test of its own.
    fields.remove("critical");
    for field in fields {
        let is_noticed =
            |golden: &Golden| golden.judge(&renamed(&golden.file["state"], &field)).is_err();
        assert!(all.iter().any(is_noticed), "nobody would notice that '{field}' is gone");
    }
}

/// What the enum `T` can be, as its own error says.
fn variants<T: serde::de::DeserializeOwned>() -> Vec<String> {
    let error = serde_json::from_str::<T>("\"?\"").err().expect("no variant").to_string();
    error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_phase_stands_in_a_golden_parcel() {
    let all: String = Golden::all().iter().map(|golden| golden.file["state"].to_string()).collect();
    let phases = [
        variants::<Turn>(),
        variants::<Answer>(),
        variants::<ServerStatus>(),
        variants::<Reply>(),
        variants::<Source>(),
        // An unknown one is none, so no error names them.
        ["Database", "User", "Plain"].map(str::to_owned).to_vec(),
    ];
    assert!(phases.iter().all(|variants| variants.len() > 1), "{phases:?}");
    for name in phases.concat() {
        assert!(all.contains(&format!("\"{name}\"")), "{name} stands in no golden parcel");
    }
}

fn idle() -> Value {
    let golden = Golden::all().into_iter().find(|golden| golden.path.ends_with("idle.json"));
    golden.expect("the idle session").file["state"].clone()
}

fn understood(state: &Value) -> Result<(), String> {
    rehearse(&serde_json::to_vec(state).expect("JSON"), b"", 2)
}

#[test]
fn phases_of_a_later_version_are_refused_by_name() {
    for (place, phase) in [
        ("/session/conversation/turn", "Suspended"),
        ("/session/conversation/status", "Replayed"),
        ("/session/conversation/current", "Chunked"),
        ("/up/source", "Paused"),
        ("/down/source", "Paused"),
    ] {
        let mut state = idle();
        assert_eq!(understood(&state), Ok(()));
        *state.pointer_mut(place).expect("a phase") = phase.into();
        let error = understood(&state).expect_err("unknown");
        assert!(error.contains(phase), "{place}: {error}");
    }
}

#[test]
fn a_note_of_another_version_is_none() {
    let golden = Golden::all().into_iter().find(|golden| golden.path.ends_with("executing.json"));
    let golden = golden.expect("a statement under way");
    for note in ["ConnectionIds", "Later"] {
        let mut state = golden.file["state"].clone();
        *state.pointer_mut("/session/conversation/current/note").expect("a note") = note.into();
        assert_eq!(golden.judge(&state), Ok(()), "{note}");
    }
}

#[test]
fn an_unknown_field_that_is_critical_refuses_the_session() {
    for (critical, refused) in [
        (json!([]), None),
        (json!(["session.user"]), None),
        (json!(["servers.0.thread", "session.conversation.residue"]), None),
        (json!(["critical", "session.later"]), Some("session.later")),
        (json!(["servers.1"]), Some("servers.1")),
        (json!(["later"]), Some("later")),
        (json!([""]), Some("")),
        (json!(["x".repeat(1000)]), Some(&*"x".repeat(64))),
    ] {
        let mut state = idle();
        state["later"] = json!({"depth": 3});
        state["session"]["later"] = json!(1);
        state["critical"] = critical;
        let expected = match refused {
            Some(name) => Err(format!("field '{name}' is critical and unknown")),
            None => Ok(()),
        };
        assert_eq!(understood(&state), expected);
    }
}

/// A session with two servers: what each of them has said is kept apart, and who has the client's
/// commands.
#[test]
fn a_session_with_two_links_is_packed_with_both() {
    let counters = SessionCounters::default();
    let mut session = Session::logging_in(Default::default(), false, b"me", b"here");
    let ok = packet(2, &[0, 0, 0, 2, 0, 0, 0]);
    session.handle_server(LinkId::HOME, &ok, &counters);
    let further = session.add_link(SessionLink::logging_in(Default::default()));
    session.handle_server(further, &ok, &counters);
    assert!(session.turn_to(further), "nobody owes an answer");
    let (mut up, mut down) = (Lane::default(), Lane::default());
    hear_client(&mut session, &mut up, &packet(0, b"\x03SELECT 1"), &counters);
    assert!(!session.turn_to(LinkId::HOME), "the other one owes an answer");
    append(&mut down, b"half");
    let handle =
        Handle::new(SessionId(7), "10.0.0.1:40000".into(), Instant::now(), &Totals::default());
    let home = Lane::with(b"rest", 4, Source::Open).expect("it fits");
    let whole = |session: &Session| Whole {
        session: session.clone(),
        numbering: None,
        up: &up,
        downs: vec![&home, &down],
        client: Inside::default(),
        servers: vec![
            ("10.0.0.2:3306".into(), ThreadId(41)),
            ("10.0.0.3:3306".into(), ThreadId(42)),
        ],
        legs: vec![Inside::default(), Inside::default()],
    };
    let (state, bytes) = whole(&session).describe(&handle);
    assert_eq!(state.critical, [FURTHER_LINKS]);
    let text = serde_json::to_vec(&state).expect("JSON");
    let found = read(&text).and_then(|state| understand(state, &bytes, 3));
    let Understood { state, up: found_up, servers, .. } = found.expect("this build wrote it");
    assert_eq!(found_up.bytes(), up.bytes());
    let servers: Vec<_> =
        servers.iter().map(|it| (&*it.address, it.thread.0, it.down.bytes())).collect();
    let expected: [(&str, u32, &[u8]); 2] =
        [("10.0.0.2:3306", 41, b"rest"), ("10.0.0.3:3306", 42, b"half")];
    assert_eq!(servers, expected);
    let mut found = Session::from(state.session);
    assert_eq!(found.conversation().current(), further);
    found.handle_server(further, &packet(1, &[0, 0, 0, 2, 0, 0, 0]), &counters);
    assert!(found.conversation().is_idle() && found.turn_to(LinkId::HOME));
    session.handle_joined(Joined::new(further, true));
    let (joined, _) = whole(&session).describe(&handle);
    assert_eq!(joined.critical, [FURTHER_LINKS, TRANSACTION]);
    assert!(joined.session.is_whole());
    session.handle_joined(Joined::new(LinkId::at(2), true));
    assert!(!whole(&session).describe(&handle).0.session.is_whole(), "there is no such link");
    for sockets in [2, 4] {
        let refused = rehearse(&text, &bytes, sockets).expect_err("a socket for each leg");
        assert_eq!(refused, format!("{sockets} sockets, expected 3"));
    }
}
