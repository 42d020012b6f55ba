//! The order in which servers are tried: for a new session's home, and for its reads.
//!
//! What makes them unequal, strongest first: whether they may be used at all, what they are,
//! whether they failed of late, how near they are (ODP's LDC: same idc, same region, remote), and
//! among equals their weight: each is the first for its share of the clients.
//!
//! While no primary is known all are the same, and come as configured: their operator may have
//! meant it so, unless `server_routing_mode` says that each is to have its share. Where one is
//! known, it is the first even if it has failed of late: a session that gets a replica for its
//! home, for a moment's trouble, would read old data as long as it lives. If it fails on, it is
//! congested, and no longer the first.

use std::time::{Duration, Instant};

use super::congestion::Standing;
use super::topology::{FoundRole, Server, ServerId, Topology};

/// Where the client comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asker<'a> {
    /// The idc to be near to (`proxy_idc_name`, `@proxy_session_ldc`); empty: all are as near.
    pub idc: &'a str,
    /// Any number, the same for one client and different for others; which, does not matter.
    pub share: u64,
}

/// What goes for a primary while none is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// The first server that can be used, as configured.
    #[default]
    First,
    /// Each for its share of the clients (`server_routing_mode = "random"`).
    Any,
}

/// Servers for a new session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Homes {
    /// To be tried, in this order.
    pub to_try: Vec<ServerId>,
    /// Not to be tried before all of the others have failed in this same log-in, as they are
    /// congested or lost: no time is kept for them.
    pub spared: Vec<ServerId>,
}

impl Homes {
    /// The same without those that come behind so many others (`connect_observer_max_retries`).
    pub fn within(mut self, retries: u32) -> Self {
        let most = usize::try_from(retries).unwrap_or(usize::MAX).saturating_add(1);
        self.to_try.truncate(most);
        self.spared.truncate(most - self.to_try.len());
        self
    }
}

/// `route_policy`: who is asked for reads that may go to a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoutePolicy {
    /// Replicas, and the primary if none can be used.
    #[default]
    FollowerFirst,
    /// Replicas.
    FollowerOnly,
}

/// What a replica must be to be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Whether it must be one.
    pub policy: RoutePolicy,
    /// `max_replica_lag`: how far it may be behind.
    pub max_lag: Duration,
}

/// Why a session does not leave a server that is to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stays {
    /// Its writes are for this server.
    #[error("it is on the primary, and there is no other: a switchover comes first")]
    OnPrimary,
    /// There is another one that its writes are for.
    #[error("the primary cannot be used now")]
    PrimaryAway,
    /// No server is known to take writes.
    #[error("no server takes writes now")]
    NoPrimary,
    /// Nobody knows roles, and there is no other server.
    #[error("no other server can be used now")]
    NoOther,
}

/// Where a session goes on whose home is on a server that is to be left, or is one of these no more
/// (None): where a home may be.
///
/// # Errors
///
/// Why it stays.
pub fn refuge(
    topology: &Topology,
    standing: &dyn Fn(ServerId) -> Standing,
    asker: Asker,
    from: Option<ServerId>,
) -> Result<ServerId, Stays> {
    let is_good = |server: &Server| {
        let is_sound = !server.is_lost && standing(server.id()) == Standing::Good;
        Some(server.id()) != from && !server.is_draining && is_sound && topology.may_be_home(server)
    };
    let Homes { to_try, .. } = homes(topology, standing, asker, Unknown::First);
    if let Some(to) = to_try.into_iter().find(|id| topology.server(*id).is_some_and(is_good)) {
        return Ok(to);
    }
    let primary = topology.primary().map(Server::id);
    let is_known = topology.servers().iter().any(|server| server.found != FoundRole::Unknown);
    Err(match primary {
        Some(primary) if Some(primary) == from => Stays::OnPrimary,
        Some(_) => Stays::PrimaryAway,
        None if is_known => Stays::NoPrimary,
        None => Stays::NoOther,
    })
}

/// The servers for a new session's home. Draining ones are not among them, unless all are that may
/// be one: on a replica a session could not write.
pub fn homes(
    topology: &Topology,
    standing: &dyn Fn(ServerId) -> Standing,
    asker: Asker,
    unknown: Unknown,
) -> Homes {
    let is_known = topology.primary().is_some();
    let are_shared_out = is_known || unknown == Unknown::Any;
    let role = |server: &Server| match server.found {
        _ if !is_known => 0,
        FoundRole::Primary => 0,
        FoundRole::Replica => 1,
        FoundRole::Unknown => 2,
    };
    let nearness = Nearness { topology, idc: asker.idc };
    let mut servers: Vec<_> = topology.servers().iter().collect();
    let may_be_home = |server: &Server| topology.may_be_home(server);
    let is_any_left = servers.iter().any(|server| !server.is_draining && may_be_home(server));
    let stays = |server: &Server| !server.is_draining || !is_any_left && may_be_home(server);
    if servers.iter().any(|server| stays(server)) {
        servers.retain(|server| stays(server));
    }
    // Sorting is stable: what is equal stays as configured.
    let near = |server: &Server| if are_shared_out { nearness.distance(server) } else { 0 };
    let rank = |server: &Server| (role(server), standing(server.id()), near(server));
    servers.sort_by_key(|server| rank(server));
    if are_shared_out {
        for equals in servers.chunk_by_mut(|one, other| rank(one) == rank(other)) {
            share_out(equals, asker.share);
        }
    }
    let is_spared = |server: &&Server| is_spared(server, standing(server.id()));
    let (spared, to_try): (Vec<_>, Vec<_>) = servers.into_iter().partition(is_spared);
    let ids = |servers: Vec<&Server>| servers.into_iter().map(Server::id).collect();
    match to_try.is_empty() {
        true => Homes { to_try: ids(spared), spared: Vec::new() },
        false => Homes { to_try: ids(to_try), spared: ids(spared) },
    }
}

/// The servers that may be asked for a read, the best first; none may be.
pub fn readers(
    topology: &Topology,
    standing: &dyn Fn(ServerId) -> Standing,
    asker: Asker,
    reading: Reading,
    now: Instant,
) -> Vec<ServerId> {
    let replicas = replicas(topology, standing, reading.max_lag, now);
    let mut servers: Vec<_> = replicas.collect();
    let nearness = Nearness { topology, idc: asker.idc };
    let rank = |server: &Server| (standing(server.id()), nearness.distance(server));
    servers.sort_by_key(|server| rank(server));
    for equals in servers.chunk_by_mut(|one, other| rank(one) == rank(other)) {
        share_out(equals, asker.share);
    }
    match reading.policy {
        RoutePolicy::FollowerFirst => {
            let is_usable = |server: &&Server| is_usable(server, standing);
            servers.extend(topology.primary().filter(is_usable));
        }
        RoutePolicy::FollowerOnly => {}
    }
    servers.into_iter().map(Server::id).collect()
}

/// The first replica of [`readers`]. It is asked for with each read, so nothing is allocated.
pub(super) fn replica(
    topology: &Topology,
    standing: &dyn Fn(ServerId) -> Standing,
    asker: Asker,
    max_lag: Duration,
    now: Instant,
) -> Option<ServerId> {
    let replicas = replicas(topology, standing, max_lag, now);
    let nearness = Nearness { topology, idc: asker.idc };
    let rank = |server: &Server| (standing(server.id()), nearness.distance(server));
    let best = replicas.clone().map(rank).min()?;
    let equals = replicas.filter(|server| rank(server) == best);
    let at = draw(equals.clone(), asker.share, 0).unwrap_or(0);
    equals.map(Server::id).nth(at)
}

/// Those that may be read from, as configured.
fn replicas<'a>(
    topology: &'a Topology,
    standing: &'a dyn Fn(ServerId) -> Standing,
    max_lag: Duration,
    now: Instant,
) -> impl Iterator<Item = &'a Server> + Clone {
    let may_be_asked = move |server: &&'a Server| {
        server.found == FoundRole::Replica && is_usable(server, standing)
    };
    let is_close = move |server: &&'a Server| server.lag.is_within(max_lag, now);
    let replicas = topology.servers().iter().filter(may_be_asked);
    // Who follows a lost primary does not know how far it is, and nothing is written any more that
    // it could be behind of.
    let is_primary_lost = topology.primary().is_some_and(|primary| primary.is_lost);
    let will_any_do = is_primary_lost && !replicas.clone().any(|server| is_close(&server));
    replicas.filter(move |server| will_any_do || is_close(server))
}

fn is_usable(server: &Server, standing: &dyn Fn(ServerId) -> Standing) -> bool {
    !server.is_draining && !is_spared(server, standing(server.id()))
}

/// Whether a server is left alone while there is another.
pub(super) fn is_spared(server: &Server, standing: Standing) -> bool {
    server.is_lost || standing == Standing::Congested
}

/// How near a server is to clients in this idc: 0 in the same, 1 in the same region, 2 remote.
pub fn distance(topology: &Topology, server: &Server, idc: &str) -> u8 {
    Nearness { topology, idc }.distance(server)
}

/// How near servers are to a client.
#[derive(Clone, Copy)]
struct Nearness<'a> {
    topology: &'a Topology,
    idc: &'a str,
}

impl Nearness<'_> {
    /// Same idc, same region, remote.
    fn distance(&self, server: &Server) -> u8 {
        let is_near = |other: &Server| other.member.idc.eq_ignore_ascii_case(self.idc);
        let region = &server.member.region;
        let has_region = |other: &Server| other.member.region.eq_ignore_ascii_case(region);
        let others = self.topology.servers();
        match self.idc {
            "" => 0,
            _ if is_near(server) => 0,
            // The client's region is that of its idc.
            _ if !region.is_empty() && others.iter().any(|o| is_near(o) && has_region(o)) => 1,
            _ => 2,
        }
    }
}

/// Puts equals in an order in which each is the first for its weight's share of all numbers.
fn share_out(equals: &mut [&Server], share: u64) {
    for turn in 0..equals.len() {
        let left = &mut equals[turn..];
        // Only those without any weight are left: as configured.
        let Some(drawn) = draw(left.iter().copied(), share, turn) else { return };
        left[..=drawn].rotate_right(1);
    }
}

/// Whose turn it is, by weight; None if none has any.
fn draw<'a>(
    servers: impl Iterator<Item = &'a Server> + Clone,
    share: u64,
    turn: usize,
) -> Option<usize> {
    let mut weights = servers.map(|server| u64::from(server.member.weight));
    let total: u64 = weights.clone().sum();
    let mut drawn = scaled(mixed(share, turn), total);
    weights.position(|weight| {
        let is_drawn = drawn < weight;
        drawn = drawn.saturating_sub(weight);
        is_drawn
    })
}

/// A number for each turn, in which no order of the shares is left (the end of splitmix64).
fn mixed(share: u64, turn: usize) -> u64 {
    let turn = u64::try_from(turn).unwrap_or(u64::MAX);
    let mut number = share.wrapping_add(turn.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// A number of all into one below the total, if there is one.
fn scaled(number: u64, total: u64) -> u64 {
    let high = (u128::from(number) * u128::from(total)) >> 64;
    u64::try_from(high).expect("it is not above the total")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests as sample;
    use super::*;

    /// Suspect are the servers of the one text, congested those of the other.
    fn standings(suspect: &str, congested: &str) -> impl Fn(ServerId) -> Standing {
        let (suspect, congested) = (suspect.to_owned(), congested.to_owned());
        move |id| {
            let letter = sample::letter(id);
            match (congested.contains(letter), suspect.contains(letter)) {
                (true, _) => Standing::Congested,
                (false, true) => Standing::Suspect,
                (false, false) => Standing::Good,
            }
        }
    }

    fn good(_: ServerId) -> Standing {
        Standing::Good
    }

    #[test]
    fn homes_are_tried_primary_first() {
        // Servers; suspect, congested; to try, spared.
        let table = [
            ("", "", "", "", ""),
            // Without roles as configured, whatever weights and places say.
            ("A B C", "", "", "ABC", ""),
            ("A=u,weight=1 B=u,weight=900,idc=x", "", "", "AB", ""),
            ("A B", "", "", "AB", ""),
            ("A B", "A", "", "BA", ""),
            ("A B", "AB", "", "AB", ""),
            ("A B C", "B", "", "ACB", ""),
            ("A B C", "A", "", "BCA", ""),
            ("A B C", "AB", "C", "AB", "C"),
            ("A=r B=r", "A", "", "BA", ""),
            // With roles.
            ("A=r,weight=0 B=p C=r", "", "", "BCA", ""),
            ("A=u B=r,weight=0 C=p", "", "", "CBA", ""),
            // A moment's trouble does not send sessions to a replica.
            ("A=p B=r", "A", "", "AB", ""),
            ("A=p B=r", "", "A", "B", "A"),
            ("A=p B=r,weight=0 C=r", "C", "", "ABC", ""),
            // Not to those, unless there are no others.
            ("A,draining B", "", "", "B", ""),
            ("A=r,draining B=r", "", "", "B", ""),
            ("A=r,draining B=r,draining", "", "", "AB", ""),
            ("A=p,draining B=r,peer C=r,peer", "C", "", "BC", ""),
            // On a replica it could not write.
            ("A=p,draining B=r", "", "", "AB", ""),
            ("A=p,draining B=r,draining C=r", "", "", "AC", ""),
            ("A=u,draining B=u,draining", "A", "", "BA", ""),
            ("A=p,lost B=r", "", "", "B", "A"),
            ("A=u,lost B", "", "B", "AB", ""),
            ("A=u,draining B", "", "B", "B", ""),
            ("A B", "", "AB", "AB", ""),
            ("A=r B=p,lost C=u,draining", "", "A", "BA", ""),
            // Near ones first, of those that are the same.
            ("A=p,idc=z B=r,idc=w C=r,idc=y,region=n D=r,idc=X,region=N", "", "", "ADCB", ""),
            ("A=p B=r C=r,idc=x", "C", "", "ABC", ""),
        ];
        let asker = Asker { idc: "x", share: 0 };
        for (text, suspect, congested, to_try, spared) in table {
            let topology = sample::topology(&text.replace("A,", "A=u,"), 1, Instant::now());
            let got = homes(&topology, &standings(suspect, congested), asker, Unknown::First);
            let shown = (sample::letters(&got.to_try), sample::letters(&got.spared));
            assert_eq!(shown, (to_try.into(), spared.into()), "{text}, {suspect}, {congested}");
        }
    }

    #[test]
    fn no_more_are_tried_than_are_allowed() {
        // Retries; to try, spared.
        for (retries, to_try, spared) in
            [(0, "A", ""), (1, "AB", ""), (2, "AB", "C"), (3, "AB", "CD"), (u32::MAX, "AB", "CD")]
        {
            let ids = |text: [&str; 2]| text.map(sample::id).to_vec();
            let homes = Homes { to_try: ids(["A", "B"]), spared: ids(["C", "D"]) };
            let got = homes.within(retries);
            let shown = (sample::letters(&got.to_try), sample::letters(&got.spared));
            assert_eq!(shown, (to_try.into(), spared.into()), "{retries}");
        }
    }

    #[test]
    fn who_leaves_goes_where_a_home_may_be() {
        // Servers, A to be left; suspect, congested; where to, or why not.
        let table = [
            // Nobody knows roles: as configured.
            ("A=u,draining B C", "", "", Ok('B')),
            ("A=u,draining B C", "B", "", Ok('C')),
            ("A=u,draining B=u,draining C", "", "", Ok('C')),
            ("A=u,draining B", "B", "", Err(Stays::NoOther)),
            ("A=u,draining B", "", "B", Err(Stays::NoOther)),
            ("A=u,draining", "", "", Err(Stays::NoOther)),
            // The primary stays where writes are, whatever stands beside it.
            ("A=p,draining B=r C=r", "", "", Err(Stays::OnPrimary)),
            ("A=p,draining B=u", "", "", Err(Stays::OnPrimary)),
            ("A=p,lost,draining B=r", "", "", Err(Stays::OnPrimary)),
            // Another one is it.
            ("A=r,draining B=r C=p", "", "", Ok('C')),
            ("A=u,draining B=r C=p", "", "", Ok('C')),
            ("A=r,draining B=r C=p", "C", "", Err(Stays::PrimaryAway)),
            ("A=r,draining B=r C=p,lost", "", "", Err(Stays::PrimaryAway)),
            ("A=r,draining B=r C=p,draining", "", "", Err(Stays::PrimaryAway)),
            ("A=r,draining B=r", "", "", Err(Stays::NoPrimary)),
            // Several take writes.
            ("A=p,peer,draining B=r,peer C=r,peer,weight=0", "", "", Ok('B')),
            ("A=p,peer,draining B=r,peer C=r,peer", "B", "", Ok('C')),
            ("A=p,peer,draining B=r,peer,draining C=r", "", "", Err(Stays::OnPrimary)),
            ("A=r,peer,draining B=r,peer C=p,peer", "", "", Ok('C')),
        ];
        for (text, suspect, congested, expected) in table {
            let topology = sample::topology(&text.replace("A,", "A=u,"), 1, Instant::now());
            let standing = standings(suspect, congested);
            let got = refuge(&topology, &standing, Asker::default(), Some(sample::id("A")));
            let got = got.map(sample::letter);
            assert_eq!(got, expected, "{text}, {suspect}, {congested}");
        }
    }

    #[test]
    fn readers_are_replicas_that_are_near_and_not_far_behind() {
        use RoutePolicy::{FollowerFirst, FollowerOnly};
        let now = Instant::now();
        let table = [
            ("A=p B=r", "", "", FollowerFirst, "BA"),
            ("A=p B=r", "", "", FollowerOnly, "B"),
            ("A=p", "", "", FollowerFirst, "A"),
            ("A=p", "", "", FollowerOnly, ""),
            ("A=r B=r,weight=0", "", "", FollowerFirst, "AB"),
            ("A B C", "", "", FollowerFirst, ""),
            // Takes writes beside the primary.
            ("A=p B=u", "", "", FollowerFirst, "A"),
            ("A=p B=r,lag=10 C=r,lag=11 D=r,stopped", "", "", FollowerOnly, "B"),
            ("A=p B=r,draining C=r,lost D=r", "", "", FollowerOnly, "D"),
            ("A=p B=r C=r,weight=0", "B", "", FollowerOnly, "CB"),
            ("A=p B=r C=r,weight=0", "", "B", FollowerOnly, "C"),
            ("A=p,draining B=r", "", "", FollowerFirst, "B"),
            ("A=p,lost B=r", "", "", FollowerFirst, "B"),
            ("A=p B=r", "", "AB", FollowerFirst, ""),
            // LDC: same idc, same region, remote.
            ("A=p B=r C=r,idc=y,region=n D=r,idc=x,region=n", "", "", FollowerFirst, "DCBA"),
            ("A=p,idc=x,region=n B=r C=r,idc=y,region=n", "", "", FollowerFirst, "CBA"),
            ("A=p B=r,region=n C=r,idc=x,weight=0", "", "", FollowerFirst, "CBA"),
            // No region is no common one.
            ("A=p,idc=x B=r,weight=0 C=r,region=n", "", "", FollowerFirst, "CBA"),
        ];
        let asker = Asker { idc: "x", share: 0 };
        for (text, suspect, congested, policy, expected) in table {
            let topology = sample::topology(text, 1, now);
            let reading = Reading { policy, max_lag: Duration::from_secs(10) };
            let standing = standings(suspect, congested);
            let got = readers(&topology, &standing, asker, reading, now);
            assert_eq!(
                sample::letters(&got),
                expected,
                "{text}, {suspect}, {congested}, {policy:?}"
            );
        }
    }

    #[test]
    fn weight_is_a_share_of_the_clients() {
        let topology =
            sample::topology("A=p B=r,weight=300 C=r,weight=100 D=r,weight=0", 1, Instant::now());
        let policy = RoutePolicy::FollowerOnly;
        let reading = Reading { policy, max_lag: Duration::MAX };
        // Shares that follow each other do as well as any.
        let first = |share| {
            let asker = Asker { idc: "", share };
            readers(&topology, &good, asker, reading, Instant::now())
        };
        let orders: Vec<_> = (0..4_000).map(|share| sample::letters(&first(share))).collect();
        let count = |order: &str| orders.iter().filter(|found| *found == order).count();
        let (b, c) = (count("BCD"), count("CBD"));
        assert_eq!(b + c, 4_000, "no weight is no share");
        assert!((2_900..3_100).contains(&b), "{b} of 4000 for three quarters");
        let again: Vec<_> = (0..4_000).map(|share| sample::letters(&first(share))).collect();
        assert_eq!(orders, again, "one client gets the same each time");
    }

    #[test]
    fn servers_of_unknown_roles_are_shared_out_if_they_are_to_be() {
        let text = "A=u,weight=100 B=u,weight=300 C=u,weight=0 D=r,weight=0 E=u,idc=y";
        let topology = sample::topology(text, 1, Instant::now());
        let first = |share, unknown| {
            let asker = Asker { idc: "", share };
            sample::letters(&homes(&topology, &good, asker, unknown).to_try)[..1].to_owned()
        };
        let count = |unknown, letter: &str| {
            (0..4_000).filter(|share| first(*share, unknown) == letter).count()
        };
        assert_eq!(count(Unknown::First, "A"), 4_000);
        let [a, b, e] = ["A", "B", "E"].map(|letter| count(Unknown::Any, letter));
        assert!((700..900).contains(&a) && (2_300..2_500).contains(&b), "{a}, {b}");
        assert_eq!(a + b + e, 4_000, "no weight is no share");
        // Where one is the primary, it is.
        let topology = sample::topology("A=u B=p C=u", 1, Instant::now());
        let asker = Asker { idc: "", share: 7 };
        let homes = homes(&topology, &good, asker, Unknown::Any);
        assert!(sample::letters(&homes.to_try).starts_with('B'));
    }

    /// `A=pd` in letters: role, draining, lost, standing, weight, idc.
    fn servers() -> impl Strategy<Value = (Topology, String, String)> {
        let server = (
            prop::sample::select(vec!["r", "u"]),
            prop::sample::select(vec!["", ",draining", ",lost"]),
            prop::sample::select(vec!["", ",idc=x", ",idc=y,region=n", ",region=n"]),
            0u32..3,
        );
        let primary = prop::option::of(0usize..6);
        (prop::collection::vec(server, 0..6), primary, "[A-F]{0,3}", "[A-F]{0,3}").prop_map(
            |(servers, primary, suspect, congested)| {
                let server = |at: usize, (role, state, place, weight): (&str, &str, &str, u32)| {
                    let letter = char::from(b'A' + u8::try_from(at).expect("few"));
                    let role = if primary == Some(at) { "p" } else { role };
                    format!("{letter}={role}{state}{place},weight={weight}")
                };
                let text: Vec<_> =
                    servers.iter().enumerate().map(|(at, &said)| server(at, said)).collect();
                (sample::topology(&text.join(" "), 1, Instant::now()), suspect, congested)
            },
        )
    }

    proptest! {
        /// Everyone who may be a home is one, once; there is one whenever there is a server.
        #[test]
        fn no_home_is_forgotten((topology, suspect, congested) in servers(), share: u64) {
            let standing = standings(&suspect, &congested);
            let got = homes(&topology, &standing, Asker { idc: "x", share }, Unknown::First);
            let all = topology.servers();
            prop_assert_eq!(got.to_try.is_empty(), all.is_empty());
            let mut ids = [&got.to_try[..], &got.spared].concat();
            ids.sort_unstable();
            let is_all_draining = all.iter().all(|server| server.is_draining);
            let writes_are_at = |server: &&Server| topology.may_be_home(server);
            let are_all_left = all.iter().filter(writes_are_at).all(|server| server.is_draining);
            let has_one = all.iter().any(|server| writes_are_at(&server));
            let expected = all.iter().filter(|server| match are_all_left && has_one {
                true => !server.is_draining || writes_are_at(server),
                false => !server.is_draining || is_all_draining,
            });
            prop_assert_eq!(ids, expected.map(Server::id).collect::<Vec<_>>());
            // As before there were roles, where there are none: what failed of late comes last.
            if topology.primary().is_none() && congested.is_empty() && got.spared.is_empty() {
                let failed = |id: &ServerId| standing(*id) == Standing::Suspect;
                let mut today = got.to_try.clone();
                today.sort_unstable_by_key(|id| (failed(id), *id));
                prop_assert_eq!(got.to_try, today);
            }
        }

        /// A reader is a replica that may be used, or the primary at the end.
        #[test]
        fn readers_may_be_read_from((topology, suspect, congested) in servers(), share: u64) {
            let standing = standings(&suspect, &congested);
            let asker = Asker { idc: "x", share };
            let policy = RoutePolicy::FollowerFirst;
            let reading = Reading { policy, max_lag: Duration::MAX };
            let got = readers(&topology, &standing, asker, reading, Instant::now());
            for (at, id) in got.iter().enumerate() {
                let server = topology.server(*id).expect("it is one of them");
                prop_assert!(!server.is_draining && !server.is_lost);
                prop_assert_ne!(standing(*id), Standing::Congested);
                let is_last = at + 1 == got.len();
                prop_assert!(
                    server.found == FoundRole::Replica
                        || server.found == FoundRole::Primary && is_last
                );
                prop_assert!(!got[..at].contains(id));
            }
            let found = replica(&topology, &standing, asker, Duration::MAX, Instant::now());
            let is_primary = |id: &ServerId| topology.primary().is_some_and(|p| p.id() == *id);
            prop_assert_eq!(found, got.first().copied().filter(|id| !is_primary(id)));
        }
    }
}
