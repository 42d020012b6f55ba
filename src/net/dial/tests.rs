//! Races of made-up connects in made-up time, and one of real ones.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::net::socket::Keepalive;

/// Long, for what must not be waited for.
const LIMIT: Duration = Duration::from_secs(60);

fn tcp(host: &str, port: u16) -> ServerAddress {
    ServerAddress::Tcp { host: host.into(), port }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| address(text)).collect()
}

#[test]
fn families_take_turns() {
    let table: &[(&[&str], &[&str])] = &[
        (&[], &[]),
        (&["1.1.1.1:1"], &["1.1.1.1:1"]),
        (
            &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"],
            &["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"],
        ),
        (&["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"], &["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"]),
        (&["1.1.1.1:1", "1.1.1.1:1", "1.1.1.2:1"], &["1.1.1.1:1", "1.1.1.2:1"]),
    ];
    for (given, expected) in table {
        assert_eq!(interleaved(addresses(given)), addresses(expected), "{given:?}");
    }
}

/// What happens to a connect.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Swallowed,
    Refused,
    After(u64),
}

/// Who wins, and who was told of as failed.
async fn raced(fates: &[Fate]) -> (Option<usize>, Vec<usize>) {
    let all: Vec<_> =
        (0..fates.len()).map(|at| SocketAddr::from(([127, 0, 0, 1], at as u16))).collect();
    let failures = Mutex::new(Vec::new());
    let connect = |address: SocketAddr| async move {
        match fates[usize::from(address.port())] {
            Fate::Swallowed => pending().await,
            Fate::Refused => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            Fate::After(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(())
            }
        }
    };
    let note = |address: SocketAddr| {
        failures.lock().expect("no panic").push(usize::from(address.port()));
    };
    let winner = race(&all, Duration::from_millis(5), connect, note).await.ok();
    (winner.map(|(address, ())| usize::from(address.port())), failures.into_inner().expect("none"))
}

#[tokio::test]
async fn the_first_that_connects_is_taken() {
    use Fate::{After, Refused, Swallowed};
    for (fates, winner, failed) in [
        (&[][..], None, &[][..]),
        (&[After(0)], Some(0), &[]),
        (&[After(0), After(0)], Some(0), &[]),
        (&[Refused, After(0)], Some(1), &[0]),
        (&[Refused, Refused], None, &[0, 1]),
        (&[Swallowed, After(0)], Some(1), &[0]),
        (&[Swallowed, Refused, Swallowed, After(0)], Some(3), &[1, 0, 2]),
        // It is slow, and the only one.
        (&[After(50), Refused], Some(0), &[1]),
    ] {
        assert_eq!(raced(fates).await, (winner, failed.to_vec()), "{fates:?}");
    }
}

/// An address whose queue is full: what is sent to it is dropped.
fn black_hole() -> (std::net::TcpListener, std::net::TcpStream) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&address("127.0.0.1:0").into()).expect("the loopback has a free port");
    // The kernel takes one more than it was told.
    socket.listen(0).expect("it listens");
    let listener = std::net::TcpListener::from(socket);
    let at = listener.local_addr().expect("it is bound");
    let first = std::net::TcpStream::connect(at).expect("there is room for one");
    (listener, first)
}

#[tokio::test]
async fn a_name_whose_first_address_swallows_packets_is_reached() {
    let (hole, _first) = black_hole();
    let hole = hole.local_addr().expect("it is bound");
    let good = TcpListener::bind(("127.0.0.2", hole.port())).await.expect("it is free there");
    let good = good.local_addr().expect("it is bound");
    let dialer = Dialer::new(tcp("a.name", hole.port()));
    for _ in 0..2 {
        let stream = dialer.connect_to_any(vec![hole, good], LIMIT).await.expect("the second");
        assert_eq!(stream.peer_addr().expect("connected"), good);
        // From now on it goes last.
        assert!(dialer.failures.has(hole));
    }
}

#[tokio::test]
async fn a_race_that_is_given_up_has_learned_something() {
    let (hole, _first) = black_hole();
    let hole = hole.local_addr().expect("it is bound");
    let dialer = Dialer::new(tcp("a.name", hole.port()));
    let limit = Duration::from_millis(20);
    let connect = dialer.connect_to_any(vec![hole], limit);
    tokio::time::timeout(limit, connect).await.expect_err("nobody answers");
    assert!(dialer.failures.has(hole));
}

#[tokio::test]
async fn an_error_names_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let free = listener.local_addr().expect("it is bound");
    drop(listener);
    let dialer = Dialer::new(tcp("a.name", free.port()));
    let error = dialer.connect_to_any(vec![free], LIMIT).await.expect_err("nobody listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().starts_with(&free.to_string()), "{error}");
}

/// However many ask, a resolver that is silent is asked once; who leaves takes nothing with it.
#[tokio::test]
async fn those_who_ask_together_share_an_answer() {
    let question = Arc::new(Question::default());
    let asked = Arc::new(AtomicUsize::new(0));
    let (answer, answered) = oneshot::channel();
    type Answered = oneshot::Receiver<SocketAddr>;
    let ask = |asked: Arc<AtomicUsize>, answered: Option<Answered>| async move {
        asked.fetch_add(1, Ordering::SeqCst);
        match answered {
            Some(answered) => answered.await.map(|one| vec![one]).map_err(io::Error::other),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    };
    let short = Duration::from_millis(5);
    let first = question.ask(ask(asked.clone(), Some(answered)));
    tokio::time::timeout(short, first).await.expect_err("the resolver is silent");
    let second = question.ask(ask(asked.clone(), None));
    tokio::time::timeout(short, second).await.expect_err("it still is");
    let third = tokio::spawn({
        let (question, asked) = (question.clone(), asked.clone());
        async move { question.ask(ask(asked, None)).await }
    });
    let one = address("127.0.0.1:1");
    answer.send(one).expect("somebody waits");
    // It came before the answer or behind it; behind it the resolver is asked anew.
    match third.await.expect("no panic") {
        Ok(addresses) => assert_eq!(addresses, [one]),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
    }
    let error = question.ask(ask(asked.clone(), None)).await.expect_err("asked anew");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(asked.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn addresses_and_names_are_dialed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let second = Duration::from_secs(1);
    let keepalive =
        Keepalive { idle: second, interval: second, count: 1, user_timeout: Duration::ZERO };
    for host in ["127.0.0.1", "localhost"] {
        let dialer = Dialer::new(tcp(host, port));
        assert_eq!(dialer.host(), Some(host));
        let stream = dialer.dial(keepalive, LIMIT).await.expect("it listens");
        assert_eq!(stream.peer().map(|peer| peer.port()), Some(port));
    }
}
