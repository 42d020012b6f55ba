//! A writer that dies between any two of its stores, and a reader that is told anything.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, IntoRawFd as _};
use std::sync::Arc;

use proptest::prelude::*;

use super::layout::{self, Hot, slot};
use super::*;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let ours = TcpStream::connect(address).expect("connects");
    (ours, listener.accept().expect("accepts").0)
}

fn hot(n: u64) -> Hot {
    let counted = [Counted { read: n, written: n + 1 }; LEGS];
    Hot { counted, at: 4096 * n as usize, len: n as usize }
}

/// After any number of commits, and any part of the next: the last one or the next.
#[test]
fn a_commit_that_is_cut_off_leaves_the_one_before() {
    let mut words: HashMap<usize, u64> =
        slot::HOTS.iter().flat_map(|base| (0..16).map(move |at| (base + at, 0))).collect();
    for number in 1..9 {
        let before = (number > 1).then(|| (number - 1, hot(number - 1)));
        let stores: Vec<_> = hot(number).stores(layout::older(number), number).collect();
        for cut in 0..=stores.len() {
            let mut words = words.clone();
            words.extend(stores[..cut].iter().copied());
            let seen = Hot::newest(|at| words.get(&at).copied());
            let whole = cut == stores.len();
            assert_eq!(seen, if whole { Some((number, hot(number))) } else { before }, "{cut}");
        }
        words.extend(stores);
    }
}

#[test]
fn an_estate_that_is_cut_off_leaves_the_one_before() {
    let mut words: HashMap<usize, u64> = (0..64).map(|at| (at, 0)).collect();
    for number in 1..9_u64 {
        let (at, len) = (number as usize * 100, number as usize);
        let before = (number > 1).then(|| (number - 1, at - 100, len - 1));
        let stores = layout::estate(layout::older(number), number, at, len);
        for cut in 0..=stores.len() {
            let mut words = words.clone();
            words.extend(stores[..cut].iter().copied());
            let seen = layout::newest(head::ESTATES, |at| words.get(&at).copied());
            let whole = cut == stores.len();
            assert_eq!(seen, if whole { Some((number, at, len)) } else { before }, "{cut}");
        }
        words.extend(stores);
    }
}

/// A session as its process leaves it when it is killed.
struct Session {
    client: TcpStream,
    server: TcpStream,
    slot: Slot,
    counted: [Counted; 2],
}

impl Session {
    fn enter(journal: &Arc<Journal>, id: u32) -> (Self, [TcpStream; 2]) {
        let ((client, far_client), (server, far_server)) = (pair(), pair());
        let counted = [Counted::default(); 2];
        let legs = [(client.as_fd(), counted[0]), (server.as_fd(), counted[1])];
        let slot = journal.enter(id, &legs).expect("a slot");
        (Self { client, server, slot, counted }, [far_client, far_server])
    }

    /// Its sockets stay open, its slot as it is.
    fn die(self) {
        let Self { client, server, slot, .. } = self;
        let _ = [client.into_raw_fd(), server.into_raw_fd()];
        std::mem::forget(slot);
    }
}

#[test]
fn what_was_committed_is_found_by_who_comes_after() {
    let journal = Arc::new(Journal::new(8).expect("memory"));
    journal.set_estate(b"old");
    journal.set_estate(b"estate");
    let (mut session, [mut client, _server]) = Session::enter(&journal, 7);
    session.slot.commit(b"first", &session.counted).expect("a place");
    client.write_all(b"a question").expect("takes it");
    session.client.read_exact(&mut [0; 10]).expect("reads");
    session.server.write_all(b"a question").expect("takes it");
    session.counted[0].read += 10;
    session.counted[1].written += 10;
    let state = [b'x'; 3000];
    session.slot.commit(&state, &session.counted).expect("a place");
    // What arrives meanwhile moves nothing.
    client.write_all(b"more").expect("takes it");
    session.die();
    let mut left = journal.take_over();
    assert_eq!((left.unknown, left.highest_id), (0, 7));
    assert_eq!(left.estate.as_deref(), Some(&b"estate"[..]));
    let mut found = left.sessions.pop().expect("the session");
    assert_eq!((found.id, &found.state[..], found.is_as_it_was), (7, &state[..], Ok(())));
    let mut ours = TcpStream::from(found.fds.remove(0));
    let mut more = [0; 4];
    ours.read_exact(&mut more).expect("reads");
    assert_eq!(&more, b"more");
    // It goes on in the same slot, and others find theirs.
    let counted = [Counted { read: 14, written: 0 }, Counted { read: 0, written: 10 }];
    found.slot.commit(b"third", &counted).expect("a place");
    let (other, _far) = Session::enter(&journal, 8);
    assert_ne!(other.slot.index, found.slot.index);
}

#[test]
fn who_was_in_the_middle_of_something_is_told_from_who_was_not() {
    type Move = fn(&mut Session, &mut [TcpStream; 2]);
    let moves: [(&str, Move, Result<(), Since>); 5] = [
        ("nothing", |_, _| (), Ok(())),
        ("the peer's FIN", |_, far| far[0].shutdown(std::net::Shutdown::Write).expect("shuts"), {
            Ok(())
        }),
        (
            "a read",
            |session, far| {
                far[0].write_all(b"x").expect("takes it");
                session.client.read_exact(&mut [0; 1]).expect("reads");
            },
            Err(Since::Moved),
        ),
        ("a write", |session, _| session.server.write_all(b"x").expect("takes it"), {
            Err(Since::Moved)
        }),
        (
            "our FIN",
            |session, _| {
                session.server.shutdown(std::net::Shutdown::Write).expect("shuts");
            },
            Err(Since::Ended),
        ),
    ];
    for (name, moved, expected) in moves {
        let journal = Arc::new(Journal::new(8).expect("memory"));
        let (mut session, mut far) = Session::enter(&journal, 1);
        session.slot.commit(b"state", &session.counted).expect("a place");
        moved(&mut session, &mut far);
        session.die();
        let found = journal.take_over().sessions.pop().expect("the session");
        assert_eq!(found.is_as_it_was, expected, "{name}");
    }
}

/// There are keys in states.
#[test]
fn nothing_is_left_of_who_is_gone() {
    let journal = Arc::new(Journal::new(8).expect("memory"));
    let (mut session, _far) = Session::enter(&journal, 1);
    for state in [&[b'x'; 300][..], &[b'x'; 900], &[b'x'; 100]] {
        session.slot.commit(state, &session.counted).expect("a place");
    }
    drop(session);
    let heap = layout::heap(8);
    let bytes = journal.memory.read(heap, journal.memory.len() - heap).expect("it is there");
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn what_was_not_committed_or_is_over_is_not_there() {
    let journal = Arc::new(Journal::new(8).expect("memory"));
    let (session, _far) = Session::enter(&journal, 1);
    session.die();
    let (mut session, _far) = Session::enter(&journal, 2);
    session.slot.commit(b"state", &session.counted).expect("a place");
    drop(session);
    let left = journal.take_over();
    assert_eq!((left.sessions.len(), left.unknown), (0, 0));
}

/// A number that came to mean another socket is not taken for the session's.
#[test]
fn a_socket_that_was_closed_is_noticed() {
    let journal = Arc::new(Journal::new(8).expect("memory"));
    let (mut session, _far) = Session::enter(&journal, 1);
    session.slot.commit(b"state", &session.counted).expect("a place");
    let Session { client, server, slot, .. } = session;
    std::mem::forget((slot, server));
    drop(client);
    let (_other, _pair) = pair();
    let left = journal.take_over();
    assert_eq!((left.sessions.len(), left.unknown), (0, 1));
}

#[test]
fn there_are_as_many_slots_as_were_asked_for() {
    let journal = Arc::new(Journal::new(2).expect("memory"));
    let (first, _far) = Session::enter(&journal, 1);
    let (_second, _far) = Session::enter(&journal, 2);
    assert_eq!(journal.enter(3, &[]).err(), Some(Unregistered::Full));
    drop(first);
    assert!(journal.enter(3, &[]).is_ok());
}

#[test]
fn deaths_are_remembered_the_last_one_first() {
    let journal = Journal::new(1).expect("memory");
    for pid in 1..200 {
        journal.note_death(Death { pid, status: -1, ..Death::default() });
        journal.amend_death(|death| Death { resumed: u64::from(pid) * 2, ..death });
    }
    let deaths = journal.deaths();
    assert_eq!((deaths.len(), deaths[0].pid, deaths[31].pid), (32, 199, 168));
    assert!(deaths.iter().all(|it| it.resumed == u64::from(it.pid) * 2 && it.status == -1));
}

proptest! {
    /// Whatever stands there.
    #[test]
    fn nothing_that_is_read_is_trusted(
        words in prop::collection::vec((0_usize..9000, prop_oneof![
            0_u64..16, any::<u64>(), Just(u64::MAX), 8192_u64..1_000_000,
        ]), 0..400),
        live in prop::collection::vec(0_u32..100, 0..20),
    ) {
        let journal = Arc::new(Journal::new(100).expect("memory"));
        for (at, value) in words {
            // Not a descriptor that is somebody's: it would be ours to close.
            let in_slot = at.checked_sub(layout::slot_at(0)).map(|at| at % 64);
            let is_fd = in_slot.is_some_and(|at| (slot::FDS..slot::COOKIES).contains(&at));
            let value = if is_fd { value | 1 << 20 } else { value };
            journal.memory.word(at).store(value, layout::STORE);
        }
        journal.memory.word(head::USED).store(100, layout::STORE);
        for index in live {
            let at = layout::slot_at(index);
            journal.memory.word(at + slot::STATE).store(state::LIVE, layout::STORE);
        }
        let left = journal.take_over();
        prop_assert!(left.sessions.iter().all(|found| found.fds.is_empty()));
        journal.phase();
        journal.deaths();
        journal.note_death(Death::default());
        drop(left);
        prop_assert!(journal.enter(1, &[]).is_ok());
    }
}
