//! A writer that dies between any two of its stores, and a reader that is told anything.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, IntoRawFd as _};
use std::sync::Arc;

use proptest::prelude::*;

use super::hot::{Blob, Hot};
use super::layout::{self, SLOT, slot};
use super::*;
use crate::buffer::arena::Piece;

impl Journal {
    /// The same memory, as another process finds it.
    pub(super) fn succeeded(&self) -> Self {
        Self::over(self.memory.again(), self.secrets.again(), self.slots)
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let ours = TcpStream::connect(address).expect("connects");
    (ours, listener.accept().expect("accepts").0)
}

fn stretch(n: usize) -> Stretch {
    Stretch { place: Some(n as u32), start: n, judged: n + 1, end: n + 2, stage: (n % 3) as u8 }
}

/// What a session of this shape says at its commit with this number.
fn hot(shape: Shape, n: u64) -> Hot {
    let counted = |leg| Counted { read: n + leg, written: n + leg + 1 };
    let used = 6 + 3 * (shape.legs() - 2);
    let word = |at: usize| if at < used { n * 100 + at as u64 } else { 0 };
    let tray = |at| Tray { place: Some(n as u32 + at), start: 3, end: 4 + n as usize };
    let layers = |leg: usize| Layers {
        trays: std::array::from_fn(|at| tray((10 * leg + at) as u32)),
        words: std::array::from_fn(|at| n * 1000 + (10 * leg + at) as u64),
    };
    let has_annex = u64::from(shape.annex() > 0);
    let blob = |more: u64| Blob {
        at: (4096 * n + 256 * more) as usize * has_annex as usize,
        len: (n * has_annex) as usize,
    };
    Hot {
        current: n % (shape.legs() as u64 - 1),
        blobs: [Blob { at: 4096 * n as usize, len: n as usize }, blob(1), blob(2)],
        lanes: (0..shape.legs()).map(|leg| stretch(n as usize + leg)).collect(),
        counted: (0..shape.legs() as u64).map(counted).collect(),
        state: std::array::from_fn(word),
        extra: (n + 7) * has_annex,
        layers: (0..shape.legs()).map(|leg| shape.is_layered(leg).then(|| layers(leg))).collect(),
    }
}

/// The words of a slot and its annex, and what was stored there in its order.
#[derive(Clone, Default)]
struct Recorded {
    words: HashMap<usize, u64>,
    stores: Vec<(usize, u64)>,
}

impl Words for Recorded {
    fn get(&self, at: usize) -> u64 {
        self.words.get(&at).copied().unwrap_or_default()
    }

    fn put(&mut self, at: usize, value: u64) {
        self.words.insert(at, value);
        self.stores.push((at, value));
    }
}

impl Recorded {
    /// `says_all`: what is as it was is said as well.
    fn commit(&mut self, shape: Shape, number: u64, hot: &Hot, says_all: bool) {
        self.stores.clear();
        let layers: Vec<Layers> = hot.layers.iter().flatten().copied().collect();
        let used = 6 + 3 * (shape.legs() - 2);
        let said = Said {
            current: hot.current as usize,
            lanes: &hot.lanes,
            counted: &hot.counted,
            state: if says_all { &hot.state[..used] } else { &[] },
            extra: hot.extra,
            layers: &layers,
            blobs: hot.blobs.map(|blob| says_all.then_some(blob)),
        };
        assert!(said.fits(shape));
        hot::store(shape, number, &said, self);
    }

    fn newest(&self, shape: Shape) -> Option<(u64, Hot)> {
        Hot::newest(shape, |at| Some(self.get(at)))
    }
}

const SHAPES: [Shape; 6] = [
    Shape { count: 2, layered: 0 },
    Shape { count: 2, layered: 0b10 },
    Shape { count: 2, layered: 0b11 },
    Shape { count: 3, layered: 0 },
    Shape { count: 5, layered: 0b1_0001 },
    Shape { count: LEGS as u8, layered: 0xFF },
];

impl Recorded {
    /// A slot that somebody else had, who has made so many commits.
    fn used(shape: Shape, commits: u64) -> Self {
        let mut written = Self::default();
        (1..=commits).for_each(|number| written.commit(shape, number, &hot(shape, number), true));
        hot::forget(&mut written);
        written.words.retain(|at, _| *at < SLOT);
        written
    }
}

/// After any number of commits, and any part of the next: the last one or the next.
#[test]
fn a_commit_that_is_cut_off_leaves_the_one_before() {
    let all = SHAPES.into_iter().flat_map(|shape| (0..5).map(move |commits| (shape, commits)));
    for (shape, commits) in all {
        let mut written = Recorded::used(shape, commits);
        assert_eq!(written.newest(shape), None, "{shape:?} after {commits}");
        for number in 1..9 {
            let before = (number > 1).then(|| (number - 1, hot(shape, number - 1)));
            let (old, now) = (written.clone(), hot(shape, number));
            written.commit(shape, number, &now, true);
            for cut in 0..=written.stores.len() {
                let mut words = old.clone();
                words.words.extend(written.stores[..cut].iter().copied());
                let is_whole = cut == written.stores.len();
                let expected = if is_whole { Some((number, now.clone())) } else { before.clone() };
                let at = format!("{shape:?} after {commits}: {cut} of {number}");
                assert_eq!(words.newest(shape), expected, "{at}");
            }
        }
    }
}

/// What is not said is as it was.
#[test]
fn a_commit_says_what_is_another_than_before() {
    for shape in SHAPES {
        let mut written = Recorded::default();
        let first = hot(shape, 1);
        written.commit(shape, 1, &first, true);
        for number in 2..5 {
            let Hot { lanes, counted, layers, extra, current, .. } = hot(shape, number);
            let now = Hot { lanes, counted, layers, extra, current, ..first.clone() };
            written.commit(shape, number, &now, false);
            assert_eq!(written.newest(shape), Some((number, now)), "{shape:?}");
        }
    }
}

/// A keeper's process and its proxies are one image; who debugs one has another.
#[test]
fn words_stand_where_they_stood() {
    let shape = Shape { count: 3, layered: 0b10 };
    let mut written = Recorded::default();
    written.commit(shape, 2, &hot(shape, 2), true);
    let words =
        |range: std::ops::Range<usize>| -> Vec<u64> { range.map(|at| written.get(at)).collect() };
    let lane = |n: u64| n | n << 17 | (n + 1) << 32 | (n + 2) << 47 | (n % 3) << 62;
    let counted = |leg: u64| (2 + leg) | (3 + leg) << 32;
    let own = [2, 0, 256 << 32 | 2, lane(2), lane(3), counted(0), counted(1)];
    assert_eq!(words(16..30), [&own[..], &[200, 201, 202, 203, 204, 205, 2]].concat());
    assert!(words(0..16).iter().chain(&words(30..SLOT)).all(|word| *word == 0));
    // Behind what is of the third connection, which does not change.
    let annex = words(SLOT + 5..SLOT + shape.annex());
    let (copy, other) = annex.split_at(annex.len() / 2);
    let tray = |at: u64| (12 + at) | 3 << 24 | 6 << 40;
    let mut expected = vec![2, 264 << 32 | 2, 272 << 32 | 2, 9, lane(4), counted(2), 206, 207, 208];
    expected.extend((0..5).map(tray).chain(2010..2016).chain([2]));
    assert_eq!(copy, expected);
    assert!(other.iter().all(|word| *word == 0));
    assert_eq!((slot::HOTS, SLOT), ([16, 32], 48));
    assert_eq!((layout::slot_at(3), layout::heap(100)), (1024 + 3 * 48, 49_152));
    assert_eq!(Shape::of(shape.word(512)), Some((shape, 512)));
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

fn commit<'a>(lanes: &'a [Stretch], counted: &'a [Counted]) -> Commit<'a> {
    Commit { lanes, counted, state: &[7, 8, 0, 0, 0, 0], ..Commit::default() }
}

/// A session as its process leaves it when it is killed.
struct Session {
    client: TcpStream,
    server: TcpStream,
    slot: Slot,
    counted: [Counted; 2],
    lanes: [Stretch; 2],
}

impl Session {
    fn enter(journal: &Arc<Journal>, id: u32) -> (Self, [TcpStream; 2]) {
        Self::enter_after(journal, id, None)
    }

    fn enter_after(
        journal: &Arc<Journal>,
        id: u32,
        before: Option<&Slot>,
    ) -> (Self, [TcpStream; 2]) {
        let ((client, far_client), (server, far_server)) = (pair(), pair());
        let counted = [Counted::default(); 2];
        let leg = |fd, counted| Leg { fd, counted, is_layered: false };
        let legs = [leg(client.as_fd(), counted[0]), leg(server.as_fd(), counted[1])];
        let slot = journal.enter(id, &legs, before).expect("a slot");
        let lanes = [Stretch::default(); 2];
        (Self { client, server, slot, counted, lanes }, [far_client, far_server])
    }

    fn commit(&mut self, cold: Option<&[u8]>) {
        let Self { counted, lanes, .. } = self;
        let commit = Commit { cold, ..commit(lanes, counted) };
        self.slot.commit(&commit).expect("a place");
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
    session.commit(Some(b"first"));
    client.write_all(b"a question").expect("takes it");
    session.client.read_exact(&mut [0; 10]).expect("reads");
    session.server.write_all(b"a question").expect("takes it");
    session.counted[0].read += 10;
    session.counted[1].written += 10;
    let state = [b'x'; 3000];
    session.commit(Some(&state));
    session.commit(None);
    // What arrives meanwhile moves nothing.
    client.write_all(b"more").expect("takes it");
    session.die();
    let mut left = journal.take_over();
    assert_eq!((left.unknown, left.unprotected, left.highest_id), (0, 0, 7));
    assert_eq!(left.estate.take().expect("there is one")[..], *b"estate");
    let mut found = left.sessions.pop().expect("the session");
    assert_eq!((found.id, &found.cold[..]), (7, &state[..]));
    let Standing { hot, lanes, counted, .. } = found.standing.expect("nothing has happened");
    assert_eq!(hot[..3], [7, 8, 0]);
    assert!(lanes.iter().all(|lane| lane.stretch == Stretch::default() && lane.piece.is_none()));
    assert_eq!(counted[0], Counted { read: 10, written: 0 });
    let mut ours = TcpStream::from(found.fds.remove(0));
    let mut more = [0; 4];
    ours.read_exact(&mut more).expect("reads");
    assert_eq!(&more, b"more");
    // It goes on in the same slot, and others find theirs.
    let counted = [Counted { read: 14, written: 0 }, Counted { read: 0, written: 10 }];
    let lanes = [Stretch::default(); 2];
    let commit = Commit { state: &[], cold: Some(b"third"), ..commit(&lanes, &counted) };
    found.slot.commit(&commit).expect("a place");
    let (other, _far) = Session::enter(&journal, 8);
    assert_ne!(other.slot.index, found.slot.index);
}

/// Of the sessions that most are there is a shorter way to say what a message changes.
#[test]
fn what_a_message_has_changed_is_found_as_if_all_had_been_said() {
    let journal = Arc::new(Journal::new(8).expect("memory"));
    let (mut session, _far) = Session::enter(&journal, 7);
    let (lanes, counted, state) = (session.lanes, session.counted, [5, 4, 3, 2, 1, 0]);
    let is_said = session.slot.commit_message(lanes, counted, Some(state));
    assert!(!is_said, "nothing else is on record yet");
    session.commit(Some(b"cold"));
    session.slot.suspend();
    assert!(session.slot.commit_message(lanes, counted, Some(state)));
    assert!(session.slot.commit_message(lanes, counted, None) && session.slot.is_live());
    session.die();
    let found = journal.take_over().sessions.pop().expect("the session");
    let Standing { hot, lanes, counted, .. } = found.standing.expect("nothing has happened");
    assert_eq!((&hot[..6], &found.cold[..]), (&state[..], &b"cold"[..]));
    assert!(lanes.iter().all(|lane| lane.stretch == Stretch::default()));
    assert_eq!(counted, [Counted::default(); 2]);
    // One of whose words some are elsewhere is none of those.
    let ((client, _one), (server, _two)) = (pair(), pair());
    let leg = |fd| Leg { fd, counted: Counted::default(), is_layered: true };
    let legs = [leg(client.as_fd()), leg(server.as_fd())];
    let mut slot = journal.enter(8, &legs, None).expect("a slot");
    let (lanes, counted) = ([Stretch::default(); 2], [Counted::default(); 2]);
    let layers = &[Layers::default(); 2];
    slot.commit(&Commit { layers, ..commit(&lanes, &counted) }).expect("a place");
    assert!(!slot.commit_message(lanes, counted, None));
}

/// A client's and a server's bytes, of which some were written: where they are found.
#[test]
fn bytes_that_were_on_their_way_are_found() {
    let journal = Arc::new(Journal::new(8).expect("memory"));
    let (mut session, [mut client, mut server]) = Session::enter(&journal, 7);
    let mut up = journal.arena().lend().expect("a piece");
    session.slot.fill(0, up.place());
    session.commit(Some(b"state"));
    client.write_all(b"one two").expect("takes it");
    session.client.read_exact(&mut up[..7]).expect("reads");
    // The journal does not know of it, but for where it was read to.
    session.counted[0].read += 7;
    let mut down = journal.arena().lend().expect("a piece");
    server.write_all(b"an answer").expect("takes it");
    session.server.read_exact(&mut down[..9]).expect("reads");
    session.counted[1].read += 9;
    let standing = Stretch { place: Some(down.place()), start: 0, judged: 7, end: 9, stage: 0 };
    session.lanes =
        [Stretch { place: Some(up.place()), start: 0, judged: 4, end: 7, stage: 0 }, { standing }];
    session.commit(None);
    // Part of it is written, and more is read behind it.
    session.client.write_all(&down[..3]).expect("takes it");
    server.write_all(b"!!").expect("takes it");
    session.server.read_exact(&mut down[9..11]).expect("reads");
    session.server.write_all(&up[..4]).expect("takes it");
    std::mem::forget((up, down));
    session.die();
    // Who comes after it has lent nothing.
    let journal = Arc::new(journal.succeeded());
    let found = journal.take_over().sessions.pop().expect("the session");
    let Standing { lanes, counted, .. } = found.standing.expect("it goes on");
    let bytes = |lane: &Lane| {
        let Stretch { start, judged, end, .. } = lane.stretch;
        let piece = lane.piece.as_ref().expect("a piece");
        (piece[start..judged].to_vec(), piece[judged..end].to_vec())
    };
    assert_eq!(bytes(&lanes[0]), (b"".to_vec(), b"two".to_vec()));
    assert_eq!(bytes(&lanes[1]), (b"answ".to_vec(), b"er!!".to_vec()));
    let used = |read, written| Counted { read, written };
    assert_eq!(counted, [used(7, 3), used(11, 4)]);
    let free: Vec<Piece> = std::iter::from_fn(|| journal.arena().lend()).collect();
    assert_eq!(free.len() as u32, layout::pieces(8) - 2);
    let claimed = lanes.iter().filter_map(|lane| lane.stretch.place);
    assert!(claimed.into_iter().all(|place| free.iter().all(|piece| piece.place() != place)));
}

#[test]
fn who_was_in_the_middle_of_something_is_told_from_who_was_not() {
    type Move = fn(&mut Session, &mut [TcpStream; 2]);
    let read = |session: &mut Session, far: &mut [TcpStream; 2]| {
        far[0].write_all(b"x").expect("takes it");
        session.client.read_exact(&mut [0; 1]).expect("reads");
    };
    let moves: [(&str, Move, Result<usize, Since>); 7] = [
        ("nothing", |_, _| (), Ok(0)),
        ("the peer's FIN", |_, far| far[0].shutdown(Shutdown::Write).expect("shuts"), Ok(0)),
        ("a read to nowhere", read, Err(Since::Impossible)),
        (
            "a read",
            |session, far| {
                session.slot.fill(0, 5);
                far[0].write_all(b"x").expect("takes it");
                session.client.read_exact(&mut [0; 1]).expect("reads");
            },
            Ok(1),
        ),
        ("a write", |session, _| session.server.write_all(b"x").expect("takes it"), {
            Err(Since::Impossible)
        }),
        ("our FIN", |session, _| session.server.shutdown(Shutdown::Write).expect("shuts"), {
            Err(Since::Shut)
        }),
        (
            "our FIN, which was to be",
            |session, _| {
                session.lanes[0].stage = 1;
                session.commit(None);
                session.server.shutdown(Shutdown::Write).expect("shuts");
            },
            Ok(0),
        ),
    ];
    for (name, moved, expected) in moves {
        let journal = Arc::new(Journal::new(8).expect("memory"));
        let (mut session, mut far) = Session::enter(&journal, 1);
        session.commit(Some(b"state"));
        moved(&mut session, &mut far);
        session.die();
        let found = journal.take_over().sessions.pop().expect("the session");
        let standing = found.standing.map(|standing| standing.lanes[0].stretch.end);
        assert_eq!(standing, expected, "{name}");
    }
}

/// The server has closed behind our FIN, and its last words are not read.
#[test]
fn last_words_of_a_connection_that_is_gone_are_found() {
    let journal = Arc::new(Journal::new(8).expect("memory"));
    let (mut session, [client, mut server]) = Session::enter(&journal, 1);
    client.shutdown(Shutdown::Write).expect("shuts");
    session.lanes[0].stage = 1;
    session.commit(Some(b"state"));
    session.server.shutdown(Shutdown::Write).expect("shuts");
    server.write_all(b"bye").expect("takes it");
    drop(server);
    while !Position::of(session.server.as_fd()).is_some_and(|position| position.is_gone()) {
        std::thread::yield_now();
    }
    session.die();
    let mut found = journal.take_over().sessions.pop().expect("the session");
    let counted = found.standing.expect("it goes on").counted;
    assert_eq!(counted, [Counted::default(); 2]);
    let mut words = String::new();
    TcpStream::from(found.fds.remove(1)).read_to_string(&mut words).expect("reads");
    assert_eq!(words, "bye");
}

#[test]
fn who_is_suspended_is_not_found_until_the_next_commit() {
    for is_committed in [false, true] {
        let journal = Arc::new(Journal::new(8).expect("memory"));
        let (mut session, _far) = Session::enter(&journal, 1);
        session.commit(Some(b"state"));
        session.slot.suspend();
        if is_committed {
            session.commit(None);
        }
        session.die();
        let left = journal.take_over();
        assert_eq!(
            (left.sessions.len(), left.unprotected),
            match is_committed {
                true => (1, 0),
                false => (0, 1),
            }
        );
    }
}

/// Twice, so that the third slot is the first one again.
#[test]
fn who_has_other_connections_is_found_once_whenever_the_writer_dies() {
    let names: [&[u8]; 3] = [b"first", b"second", b"third"];
    for deadly in 0..=8 {
        let journal = Arc::new(Journal::new(8).expect("memory"));
        let mut far = Vec::new();
        let mut enter = |before: Option<&Session>| {
            let (session, peers) =
                Session::enter_after(&journal, 1, before.map(|before| &before.slot));
            far.push(peers);
            session
        };
        let mut all = vec![enter(None)];
        all[0].commit(Some(names[0]));
        let (mut step, mut expected) = (0, names[0]);
        let mut dies = || {
            step += 1;
            step > deadly
        };
        for name in &names[1..] {
            if dies() {
                break;
            }
            all.push(enter(all.last()));
            if dies() {
                break;
            }
            all.last_mut().expect("it was entered").commit(Some(name));
            expected = name;
            if dies() {
                break;
            }
            drop(all.remove(0));
            if dies() {
                break;
            }
            all[0].slot.settle();
        }
        all.into_iter().for_each(Session::die);
        let left = journal.take_over();
        let found: Vec<_> = left.sessions.iter().map(|found| &found.cold[..]).collect();
        assert_eq!((&found[..], left.unprotected), (&[expected][..], 0), "at {deadly}");
    }
}

/// There are keys in states.
#[test]
fn nothing_is_left_of_who_is_gone() {
    let journal = Arc::new(Journal::new(8).expect("memory"));
    let (mut session, _far) = Session::enter(&journal, 1);
    for state in [&[b'x'; 300][..], &[b'x'; 900], &[b'x'; 100]] {
        session.commit(Some(state));
    }
    drop(session);
    let heap = layout::heap(8);
    let bytes = journal.memory.read(heap, layout::arena(8) - heap).expect("it is there");
    assert!(bytes.iter().all(|byte| *byte == 0));
}

/// Off record, half made, or written down and named by no commit yet.
#[test]
fn no_keys_are_left_but_of_who_is_taken_up() {
    let journal = Arc::new(Journal::new(8).expect("memory"));
    let commit_keys = |id, keys: &[u8]| {
        let ((client, far_client), (server, far_server)) = (pair(), pair());
        let leg = |fd| Leg { fd, counted: Counted::default(), is_layered: true };
        let legs = [leg(client.as_fd()), leg(server.as_fd())];
        let mut slot = journal.enter(id, &legs, None).expect("a slot");
        let (lanes, counted) = ([Stretch::default(); 2], [Counted::default(); 2]);
        let layers = &[Layers::default(); 2];
        let commit = Commit { layers, secret: Some(keys), ..commit(&lanes, &counted) };
        slot.commit(&commit).expect("a place");
        std::mem::forget([client, far_client, server, far_server]);
        slot
    };
    let mut suspended = commit_keys(1, &[1; 100]);
    suspended.suspend();
    let kept = commit_keys(2, &[2; 100]);
    let fresh = Commit { secret: Some(&[3; 70]), ..Commit::default() };
    kept.write_blobs(&fresh, &mut [None; BLOBS]).expect("a place");
    let spoilt = commit_keys(4, &[4; 100]);
    journal.memory.word(layout::slot_at(spoilt.index) + slot::SHAPE).store(0, layout::STORE);
    std::mem::forget([suspended, kept, spoilt]);
    let left = journal.take_over();
    assert_eq!((left.sessions.len(), left.unprotected, left.unknown), (1, 1, 1));
    let secrets = journal.secrets.read(0, layout::secrets(8)).expect("it is there");
    let keys: Vec<u8> = secrets.into_iter().filter(|byte| *byte != 0).collect();
    assert_eq!(keys, [2; 100]);
}

#[test]
fn what_was_not_committed_or_is_over_is_not_there() {
    let journal = Arc::new(Journal::new(8).expect("memory"));
    let (session, _far) = Session::enter(&journal, 1);
    session.die();
    let (mut session, _far) = Session::enter(&journal, 2);
    session.commit(Some(b"state"));
    drop(session);
    let left = journal.take_over();
    assert_eq!((left.sessions.len(), left.unknown, left.unprotected), (0, 0, 1));
}

/// A number that came to mean another socket is not taken for the session's.
#[test]
fn a_socket_that_was_closed_is_noticed() {
    let journal = Arc::new(Journal::new(8).expect("memory"));
    let (mut session, _far) = Session::enter(&journal, 1);
    session.commit(Some(b"state"));
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
    let (second, _far) = Session::enter(&journal, 2);
    let leg = |socket| Leg { fd: socket, counted: Counted::default(), is_layered: false };
    let legs = [leg(second.client.as_fd()), leg(second.server.as_fd())];
    assert_eq!(journal.enter(3, &legs, None).err(), Some(Unregistered::Full));
    drop(first);
    assert!(journal.enter(3, &legs, None).is_ok());
}

#[test]
fn deaths_are_remembered_the_last_one_first() {
    let journal = Journal::new(1).expect("memory");
    for pid in 1..200 {
        journal.note_death(&Death { pid, status: -1, ..Death::default() });
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
        words in prop::collection::vec((0_usize..7_000, prop_oneof![
            0_u64..16, any::<u64>(), Just(u64::MAX), 8192_u64..1_000_000,
            // Places of the heap.
            (1536_u64..2048).prop_map(|at| at << 32 | 20),
            // Shapes.
            (2_u64..10, any::<u8>(), 1536_u64..2048)
                .prop_map(|(count, layered, at)| count | u64::from(layered) << 8 | at << 16),
        ]), 0..400),
        live in prop::collection::vec(0_u32..100, 0..20),
    ) {
        let journal = Arc::new(Journal::new(100).expect("memory"));
        for (at, value) in words {
            // Not a descriptor that is somebody's: it would be ours to close.
            let in_slot = at.checked_sub(layout::slot_at(0)).map(|at| at % SLOT);
            // Annexes are looked at only where there is nothing, so they have none.
            let is_fd = in_slot.is_some_and(|at| (slot::FDS..slot::COOKIES).contains(&at))
                || at >= layout::slot_at(100);
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
        journal.note_death(&Death::default());
        drop(left);
        let ((client, _far), (server, _other)) = (pair(), pair());
        let leg = |fd| Leg { fd, counted: Counted::default(), is_layered: false };
        prop_assert!(journal.enter(1, &[leg(client.as_fd()), leg(server.as_fd())], None).is_ok());
    }

    /// Whatever stands beside sockets that are there.
    #[test]
    fn whoever_is_found_in_disorder_harms_nobody(
        layered in 0_u8..4,
        words in prop::collection::vec((0_usize..SLOT + 80, prop_oneof![
            0_u64..16, any::<u64>(), Just(u64::MAX),
            // Lanes, trays.
            (0_u64..9, 0_u64..9, 0_u64..9, 0_u64..20_000).prop_map(|(place, start, more, end)| {
                place | start << 17 | (start + more) << 32 | end << 47
            }),
            (0_u64..9, 0_u64..9, 0_u64..40_000)
                .prop_map(|(place, start, end)| place | start << 24 | end << 40),
        ]), 0..60),
    ) {
        let journal = Arc::new(Journal::new(4).expect("memory"));
        let ((client, _far), (server, _other)) = (pair(), pair());
        let leg = |fd, at: u32| {
            Leg { fd, counted: Counted::default(), is_layered: layered >> at & 1 == 1 }
        };
        let legs = [leg(client.as_fd(), 0), leg(server.as_fd(), 1)];
        let mut slot = journal.enter(7, &legs, None).expect("a slot");
        let (lanes, counted) = ([Stretch::default(); 2], [Counted::default(); 2]);
        let layers = &[Layers::default(); 2][..layered.count_ones() as usize];
        let all = Commit { layers, cold: Some(b"state"), ..commit(&lanes, &counted) };
        slot.commit(&all).expect("a place");
        slot.commit(&all).expect("a place");
        // Its sockets are its own, and both copies are whole.
        let (annex, ends) = (slot.words.annex.len(), [0, 13]);
        let of_slot = slot::HOTS.iter().flat_map(|at| ends.map(|end| at + end));
        let of_annex = [0, annex / 2, (annex / 2).wrapping_sub(1), annex.wrapping_sub(1)];
        let fixed: Vec<usize> = of_slot.chain(of_annex.map(|at| SLOT.wrapping_add(at))).collect();
        for (at, value) in words {
            let is_own = (slot::STATE..slot::FDS + 4).contains(&at) || fixed.contains(&at);
            if at < SLOT + annex && !is_own {
                slot.set(at, value);
            }
        }
        let _ = (client.into_raw_fd(), server.into_raw_fd());
        std::mem::forget(slot);
        let left = Arc::new(journal.succeeded()).take_over();
        prop_assert_eq!(left.sessions.len() as u64 + left.unknown, 1);
    }
}
