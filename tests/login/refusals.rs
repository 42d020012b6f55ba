//! Log-ins that cannot work, each with the words it gets; and exchanges of unusual plugins, which a
//! made-up server speaks.

use odp::error::ClientError;
use odp::wire::capability as cap;

use crate::support::pki::{Files, Pki};
use crate::support::proxy::Options;
use crate::support::raw::{CAPABILITIES, Packet, WireError};
use crate::support::{Act, Database, FakeServer, Login, Proxy, Server, Wire, scratch};

const FACTORS: u32 = CAPABILITIES | cap::MULTI_FACTOR;

/// A proxy that offers TLS, in front of a server that has none.
struct Scene {
    proxy: Proxy,
    fake: FakeServer,
    /// Successors read it again.
    _dir: tempfile::TempDir,
}

impl Scene {
    /// The server does this behind a login response.
    fn start(acts: Vec<Act>) -> Self {
        let dir = scratch();
        let files = Pki::new().write(dir.path());
        let beginning = vec![Act::greet(FACTORS), Act::LogIn];
        let fake = FakeServer::start([beginning, acts].concat());
        let mut options = Options::new(std::slice::from_ref(&fake.address));
        options.rest = files.of_proxy("off");
        Self { proxy: Proxy::start_with(&options), fake, _dir: dir }
    }

    /// Code and text of the refusal.
    fn refused(&self, tls: bool) -> (u16, String) {
        refused(&self.proxy, &Login { tls, ..login() })
    }
}

fn login() -> Login {
    Login { capabilities: FACTORS, ..Login::default() }
}

fn refused(proxy: &Proxy, login: &Login) -> (u16, String) {
    match Wire::open(&proxy.address(), login) {
        Err(WireError::Refused(packet)) => {
            let code = packet.error().expect("an ERR packet");
            // Before the greeting there is no SQLSTATE.
            let text = packet.payload.get(9..).filter(|_| packet.payload[3] == b'#');
            let text = text.unwrap_or(&packet.payload[3..]);
            (code, String::from_utf8_lossy(text).into_owned())
        }
        Err(error) => panic!("{error:?}\n{}", proxy.log()),
        Ok(_) => panic!("it was let in\n{}", proxy.log()),
    }
}

fn words(error: &ClientError) -> (u16, String) {
    (error.code, error.message.clone())
}

#[test]
fn a_clear_password_needs_tls_on_both_legs() {
    let scene = Scene::start(vec![Act::switch("mysql_clear_password"), Act::Hear]);
    let error = |leg| words(&ClientError::clear_password("mysql_clear_password", leg));
    assert_eq!(scene.refused(false), error("to the proxy"));
    assert_eq!(scene.refused(true), error("from the proxy to the server"));
}

#[test]
fn a_dialog_that_began_by_tls_does_not_go_on_without() {
    let prompt = Act::Say(b"\x02Password: ".to_vec());
    let acts = vec![Act::switch("dialog"), Act::Hear, prompt, Act::Hear, Act::ok()];
    let scene = Scene::start(acts);
    let error = ClientError::clear_password("dialog", "from the proxy to the server");
    assert_eq!(scene.refused(true), words(&error));
    // The server gets what it asks for, with nothing in it: else it would count a broken handshake.
    assert_eq!((scene.fake.heard(), scene.fake.heard()), (vec![], vec![0]));
    // Without TLS anywhere it is as it would be directly.
    let mut wire = Wire::connect(&scene.proxy.address()).expect("a greeting");
    let response = wire.login_response(&login());
    wire.send_payload(&response.encode(), 1).expect("it is taken");
    let packet = wire.packet();
    assert_eq!((packet.sequence, &packet.payload[..7]), (2, &b"\xfedialog"[..]));
    wire.send_payload(b"hello\0", 3).expect("it is taken");
    assert_eq!(scene.fake.heard(), b"hello\0");
    let packet = wire.packet();
    assert_eq!((packet.sequence, &packet.payload[..]), (4, &b"\x02Password: "[..]));
    wire.send_payload(b"swordfish\0", 5).expect("it is taken");
    assert_eq!(scene.fake.heard(), b"swordfish\0");
    assert_eq!(wire.packet().payload[0], 0);
}

#[test]
fn a_server_without_an_rsa_key_is_named() {
    for answer in [b"\xff\x15\x04#28000Access denied".to_vec(), b"\x01".to_vec(), b"\x01x".to_vec()]
    {
        let more = |data| Act::Say(vec![1, data]);
        let asked = vec![Act::switch("caching_sha2_password"), Act::Hear, more(4), Act::Hear];
        let scene = Scene::start([asked, vec![Act::Say(answer)]].concat());
        assert_eq!(scene.refused(true), words(&ClientError::no_rsa_key()));
        assert_eq!(scene.fake.heard().len(), 32, "the client's answer to the challenge");
        assert_eq!(scene.fake.heard(), b"\x02", "a request for the key, before any password");
    }
}

/// The exchange of a second and a third factor goes through, numbered for each leg.
#[test]
fn factors_are_relayed() {
    let factor = |name: &str| Act::Say([b"\x02", name.as_bytes(), b"\0data\0"].concat());
    let mut acts = vec![Act::switch("mysql_native_password"), Act::Hear];
    acts.extend([factor("second"), Act::Hear, Act::Say(b"\x01more".to_vec()), Act::Hear]);
    acts.extend([factor("third"), Act::Hear, Act::ok()]);
    let scene = Scene::start(acts);
    let mut wire = Wire::connect(&scene.proxy.address()).expect("a greeting");
    let response = wire.login_response(&login());
    wire.send_payload(&response.encode(), 1).expect("it is taken");
    let mut relayed = |starts: &[u8], answer: &[u8]| {
        let Packet { sequence, payload, .. } = wire.packet();
        assert!(payload.starts_with(starts), "{}", payload.escape_ascii());
        wire.send_payload(answer, sequence + 1).expect("it is taken");
        assert_eq!(scene.fake.heard(), answer);
        sequence
    };
    assert_eq!(relayed(b"\xfemysql_native_password\0", b"one"), 2);
    assert_eq!(relayed(b"\x02second\0data\0", b"two"), 4);
    assert_eq!(relayed(b"\x01more", b"two and a half"), 6);
    assert_eq!(relayed(b"\x02third\0data\0", b"three"), 8);
    let verdict = wire.packet();
    assert_eq!((verdict.sequence, verdict.payload[0]), (10, 0));
}

#[test]
fn a_server_that_leaves_or_babbles_in_the_exchange_is_told_of() {
    let lost = words(&ClientError::server_lost());
    let endings = [
        vec![Act::Leave],
        vec![Act::switch("mysql_native_password"), Act::Hear, Act::Leave],
        // A packet of 16 MB, which no plugin has.
        vec![Act::Bytes(vec![0xFF, 0xFF, 0xFF, 2, 1])],
        vec![Act::Bytes(b"\x05\0".to_vec()), Act::Leave],
    ];
    for acts in endings {
        let scene = Scene::start(acts.clone());
        assert_eq!(scene.refused(false), lost, "{acts:?}");
        assert_eq!(scene.refused(true), lost, "{acts:?}, by TLS");
    }
}

/// The server's last word is passed on while the client still thinks about its answer.
#[test]
fn a_server_that_gives_up_is_heard_at_once() {
    let timeout = b"\xff\x87\x04#08S01Got timeout reading communication packets".to_vec();
    let scene =
        Scene::start(vec![Act::switch("client_ed25519"), Act::Say(timeout.clone()), Act::Leave]);
    let mut wire = Wire::connect(&scene.proxy.address()).expect("a greeting");
    let response = wire.login_response(&login());
    wire.send_payload(&response.encode(), 1).expect("it is taken");
    assert_eq!(wire.packet().payload[0], 0xFE);
    let verdict = wire.packet();
    assert_eq!((verdict.sequence, verdict.payload), (3, timeout));
}

/// MariaDB with a certificate, and what is needed to ask for it.
fn database() -> Option<(Database, Files, tempfile::TempDir)> {
    let dir = scratch();
    let files = Pki::new().write(dir.path());
    let options = files.of_server();
    let options = options.each_ref().map(String::as_str);
    Some((Database::start_with(Server::MariaDb, &options)?, files, dir))
}

#[test]
fn clients_without_tls_are_refused_where_it_is_required() {
    let Some((database, files, _dir)) = database() else { return };
    let socket = files.ca.with_file_name("sql");
    let mut options = Options::new(&[database.address()]);
    options.listen = vec![format!("unix:{}", socket.display())];
    options.rest = files.of_proxy("off").replace("\"prefer\"", "\"require\"");
    let proxy = Proxy::start_with(&options);
    assert_eq!(refused(&proxy, &Login::default()), words(&ClientError::tls_required()));
    Wire::open(&proxy.address(), &Login { tls: true, ..Login::default() }).expect("by TLS");
    Wire::open_unix(&socket, &Login::default()).expect("a Unix socket is as good");
}

#[test]
fn a_server_must_be_who_it_should_be() {
    let Some((database, files, dir)) = database() else { return };
    let plain = Database::start(Server::MariaDb).expect("it was there a moment ago");
    let others = dir.path().join("others");
    std::fs::create_dir(&others).expect("the directory is ours");
    let others = Pki::new().write(&others);
    let failed = "Can't connect to a server of cluster 'main' (TLS failed)";
    let none = "Can't connect to a server of cluster 'main' (it does not offer TLS)";
    let (good, wrong) = (&files.ca, &others.ca);
    for (database, mode, ca, expected, logged) in [
        (&database, "require", good, None, ""),
        (&database, "verify-ca", good, None, ""),
        (&database, "verify-identity", good, None, ""),
        (&database, "verify-ca", wrong, Some(failed), "invalid peer certificate"),
        (&database, "verify-identity", wrong, Some(failed), "invalid peer certificate"),
        (&plain, "prefer", good, None, ""),
        (&plain, "require", good, Some(none), "does not offer TLS"),
        (&plain, "verify-ca", good, Some(none), "does not offer TLS"),
    ] {
        let mut options = Options::new(&[database.address()]);
        options.rest = format!("[tls.server]\nmode = \"{mode}\"\nca = \"{}\"\n", ca.display());
        let proxy = Proxy::start_with(&options);
        match expected {
            None => drop(Wire::open(&proxy.address(), &Login::default()).expect(mode)),
            Some(text) => {
                assert_eq!(refused(&proxy, &Login::default()), (2003, text.into()), "{mode}");
                assert!(proxy.log().contains(logged), "{mode}: {}", proxy.log());
            }
        }
    }
}

#[test]
fn a_server_that_is_somebody_else_is_passed_over_for_the_next() {
    let Some((database, files, dir)) = database() else { return };
    let others = dir.path().join("others");
    std::fs::create_dir(&others).expect("the directory is ours");
    let others = Pki::new().write(&others).of_server();
    let others = others.each_ref().map(String::as_str);
    let other = Database::start_with(Server::MariaDb, &others).expect("it was there a moment ago");
    let mut options = Options::new(&[other.address(), database.address()]);
    let ca = files.ca.display();
    options.rest = format!("[tls.server]\nmode = \"verify-ca\"\nca = \"{ca}\"\n");
    let proxy = Proxy::start_with(&options);
    // The first is greeted by a spared connection, the second by one of its own.
    for _ in 0..2 {
        let mut client = Wire::open(&proxy.address(), &Login::default()).expect("by the next");
        let port = client.query("SELECT @@port").text();
        assert!(database.address().ends_with(&format!(":{port}")), "{port}");
    }
    assert!(proxy.log().contains("invalid peer certificate"), "{}", proxy.log());
}
