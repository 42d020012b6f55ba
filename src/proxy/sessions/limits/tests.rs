//! Limits against a clock of our own.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use crate::proxy::sessions::limits::*;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fn allow(sessions: usize, connects_per_second: u32) -> Allowance {
    Allowance { sessions, connects_per_second }
}

/// A client of this address, if it gets in.
fn enter(
    limits: &Limits,
    address: IpAddr,
    allowance: Allowance,
    now: Instant,
) -> Result<Seat, ClientError> {
    let mut seat = Seat::default();
    limits.enter(&mut seat, address, 0, allowance, now).map(|()| seat)
}

fn remembered(limits: &Limits) -> (usize, usize) {
    let all = lock(&limits.0);
    (all.users.all.len(), all.addresses.all.len())
}

#[test]
fn sessions_at_a_time() {
    let (limits, now) = (Limits::default(), Instant::now());
    let first = enter(&limits, ADDRESS, allow(2, 0), now).expect("room for two");
    enter(&limits, ADDRESS, allow(2, 0), now).expect("room for two");
    let refused = enter(&limits, ADDRESS, allow(2, 0), now).expect_err("no room for three");
    let text =
        "Address 10.0.0.1 already has more than 'max_address_connections' active connections";
    assert_eq!((refused.code, refused.state, &*refused.message), (1203, "42000", text));
    let other = IpAddr::V4(Ipv4Addr::LOCALHOST);
    enter(&limits, other, allow(2, 0), now).expect("another address has room of its own");
    limits.leave(first);
    enter(&limits, ADDRESS, allow(2, 0), now).expect("room is used again");
    // A limit that is set later counts those who are here; none counts nobody.
    enter(&limits, ADDRESS, allow(2, 0), now).expect_err("it is full again");
    enter(&limits, ADDRESS, allow(0, 0), now).expect("without a limit");
    enter(&limits, ADDRESS, allow(3, 0), now).expect_err("there are three now");
}

#[test]
fn sessions_of_the_other_generation_count() {
    let (limits, now) = (Limits::default(), Instant::now());
    let mut seat = Seat::default();
    limits.log_in(&mut seat, "u", 2, allow(3, 0), now).expect("the third");
    let refused = limits.has_room("u", 2, allow(3, 0), now).expect_err("a fourth");
    let text = "User u already has more than 'max_user_connections' active connections";
    assert_eq!((refused.code, &*refused.message), (1203, text));
    limits.has_room("u", 1, allow(3, 0), now).expect("one has left there");
    limits.has_room("v", 2, allow(3, 0), now).expect("another user");
    assert_eq!(limits.resume("u", None, Some(ADDRESS)).user.as_deref(), Some("u"));
    enter(&limits, ADDRESS, allow(1, 0), now).expect_err("its address counts here, too");
    limits.has_room("u", 1, allow(3, 0), now).expect_err("one has come from there");
}

#[test]
fn connects_a_second() {
    let (limits, start) = (Limits::default(), Instant::now());
    let at = |millis| start + Duration::from_millis(millis);
    let mut seat = Seat::default();
    let mut log_in = |now| limits.log_in(&mut seat, "u", 0, allow(0, 4), now);
    for n in 0..4 {
        log_in(at(0)).unwrap_or_else(|error| panic!("{n}: {error}"));
    }
    let refused = log_in(at(0)).expect_err("the fifth at once");
    let text = "User 'u' has exceeded the 'max_user_connects_per_second' resource \
                (current value: 4)";
    assert_eq!((refused.code, refused.state, &*refused.message), (1226, "42000", text));
    log_in(at(249)).expect_err("a token takes 250 ms");
    log_in(at(250)).expect("it is there");
    log_in(at(250)).expect_err("and used");
    for _ in 0..4 {
        log_in(at(9_000)).expect("a second's worth, however long it was quiet");
    }
    log_in(at(9_000)).expect_err("no more than a second's worth");
}

#[test]
fn whoever_does_not_log_in_uses_nothing_up() {
    let (limits, now) = (Limits::default(), Instant::now());
    for _ in 0..9 {
        limits.has_room("u", 0, allow(1, 1), now).expect("nobody has logged in");
    }
    assert_eq!(remembered(&limits), (0, 0));
}

#[test]
fn a_session_that_changes_its_user_is_counted_there() {
    let (limits, now) = (Limits::default(), Instant::now());
    let mut seat = enter(&limits, ADDRESS, allow(0, 0), now).expect("no limit");
    limits.log_in(&mut seat, "u", 0, allow(1, 0), now).expect("room");
    limits.rename(&mut seat, "v", None);
    limits.has_room("u", 0, allow(1, 0), now).expect("u has left");
    limits.has_room("v", 0, allow(1, 0), now).expect_err("v has come");
    limits.rename(&mut seat, "v", None);
    limits.leave(seat);
    // Whoever has not logged in is nobody's.
    limits.rename(&mut Seat::default(), "v", None);
    assert_eq!(remembered(&limits), (0, 0));
}

#[test]
fn a_connection_is_counted_at_one_address() {
    let (limits, now) = (Limits::default(), Instant::now());
    let mut seat = enter(&limits, ADDRESS, allow(1, 0), now).expect("room");
    limits.enter(&mut seat, ADDRESS, 0, allow(1, 0), now).expect("it is counted already");
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    limits.enter(&mut seat, client, 0, allow(1, 0), now).expect("where it really is");
    enter(&limits, ADDRESS, allow(1, 0), now).expect("it is not here any more");
    enter(&limits, client, allow(1, 0), now).expect_err("but there");
}

#[test]
fn addresses_are_forgotten() {
    let (limits, start) = (Limits::default(), Instant::now());
    let many = 20 * FEW as u32;
    for n in 0..many {
        // A hundred connects a millisecond, each from somewhere else, none stays.
        let now = start + Duration::from_millis(u64::from(n / 100));
        let address = Ipv4Addr::from(n).into();
        let seat = enter(&limits, address, allow(1, 100), now).expect("the first of its address");
        limits.leave(seat);
    }
    // A bucket of which one of a hundred is missing is full in 10 ms: a thousand are waited for.
    let (_, addresses) = remembered(&limits);
    assert!(addresses <= 2 * FEW, "{addresses} of {many} are remembered");
}

proptest! {
    /// In any second, no more get in than twice the rate; and nobody who keeps to it is refused.
    #[test]
    fn the_rate_holds_over_any_second(
        rate in 1u32..20,
        waits in proptest::collection::vec(0u64..400, 1..200),
    ) {
        let (limits, start) = (Limits::default(), Instant::now());
        let mut now = start;
        let mut entered: Vec<Instant> = Vec::new();
        for wait in waits {
            now += Duration::from_millis(wait);
            let recent = |entered: &[Instant]| {
                entered.iter().filter(|at| now - **at < Duration::from_secs(1)).count()
            };
            let before = recent(&entered);
            match enter(&limits, ADDRESS, allow(0, rate), now) {
                Ok(_) => entered.push(now),
                Err(_) => prop_assert!(before >= rate as usize, "refused after {before} of {rate}"),
            }
            prop_assert!(recent(&entered) <= 2 * rate as usize);
        }
    }
}

#[test]
fn tenants_have_so_many_sessions() {
    let limits = Limits::default();
    let mut seats = [Seat::default(), Seat::default(), Seat::default()];
    limits.join(&mut seats[0], "shop#main", 0, 2).expect("the first");
    limits.has_room_in("shop#main", 0, 2).expect("room for two");
    let refused = limits.join(&mut seats[1], "shop#main", 1, 2).expect_err("one is elsewhere");
    let text = "Tenant shop#main already has more than 'max_connections' active connections";
    assert_eq!((refused.code, refused.state, &*refused.message), (1203, "42000", text));
    limits.has_room_in("shop#other", 1, 2).expect("another cluster's tenant");
    // One that becomes another's is counted there, never refused.
    limits.log_in(&mut seats[1], "u", 0, allow(0, 0), Instant::now()).expect("no limit");
    limits.rename(&mut seats[1], "u", Some("shop#main".into()));
    limits.has_room_in("shop#main", 0, 2).expect_err("two of two");
    limits.rename(&mut seats[1], "u", None);
    seats[2] = limits.resume("u", Some("shop#main".into()), None);
    limits.has_room_in("shop#main", 0, 2).expect_err("two of two");
    for seat in seats {
        limits.leave(seat);
    }
    limits.has_room_in("shop#main", 0, 1).expect("all have left");
    assert!(lock(&limits.0).tenants.all.is_empty(), "nobody is remembered");
}
