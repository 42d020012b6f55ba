//! The first answer: a client is greeted with a server's own challenge, and what it says to that
//! is the server's to judge, in as many packets as without a proxy. And what comes of it when the
//! server can't be had any more, or there is none to greet with.

use odp::wire::capability as cap;
use odp::wire::handshake::{LoginResponse, UNKNOWN_PLUGIN};

use crate::support::pki::Pki;
use crate::support::proxy::{ADMIN_PASSWORD, Options, is_haproxy};
use crate::support::raw::{CAPABILITIES, WireError, com};
use crate::support::{Act, Database, FakeServer, Login, Proxy, Server, Wire, scratch, until};

/// Clients that may have a challenge and not have answered it.
const PLACES: usize = 64;

/// A client that knows no plugins.
const OLD: u32 = CAPABILITIES & !(cap::PLUGIN_AUTH | cap::PLUGIN_AUTH_LENENC);

fn login(user: &str, password: &str, capabilities: u32) -> Login {
    let (user, password) = (user.into(), password.into());
    Login { user, password, capabilities, database: None, ..Login::default() }
}

/// The number of the packet that ended the log-in, and its payload.
fn verdict(address: &str, login: &Login) -> (u8, Vec<u8>) {
    match Wire::open(address, login) {
        Ok(wire) => (wire.login_end.sequence, wire.login_end.payload),
        Err(WireError::Refused(packet)) => (packet.sequence, packet.payload),
        Err(error) => panic!("{login:?}: {error:?}"),
    }
}

fn takes_as_many_packets(server: Server) {
    let Some(database) = Database::start(server) else { return };
    let made = match server {
        Server::MySql => "BY 'odp-secret'",
        _ => "VIA mysql_native_password USING PASSWORD('odp-secret')",
    };
    database.execute(&[&format!("CREATE USER known IDENTIFIED {made}"), "CREATE USER bare"]);
    let proxy = Proxy::start(&database);
    let ancient = OLD & !cap::SECURE_CONNECTION;
    let mut logins = Vec::new();
    for capabilities in [CAPABILITIES, OLD, ancient] {
        for (user, password) in [
            ("known", "odp-secret"),
            ("known", "wrong"),
            ("known", ""),
            ("bare", ""),
            ("bare", "wrong"),
            ("nobody", "odp-secret"),
        ] {
            let mut login = login(user, password, capabilities);
            if capabilities == ancient && !password.is_empty() {
                // Its answer ends at the first NUL.
                login.first = Some(b"12345678".to_vec());
            }
            logins.push(login);
        }
    }
    // So that caching_sha2_password has it in its cache.
    let (_, warm) = verdict(&database.address(), &logins[0]);
    assert_eq!(warm[0], 0);
    for round in ["at first", "after a restart"] {
        for login in &logins {
            let direct = verdict(&database.address(), login);
            let proxied = verdict(&proxy.address(), login);
            assert_eq!(direct, proxied, "{round}: {login:?}\n{}", proxy.log());
        }
        if !is_haproxy() {
            proxy.restart();
        }
    }
}

#[test]
fn a_log_in_takes_as_many_packets_as_directly_mariadb() {
    takes_as_many_packets(Server::MariaDb);
}

#[test]
fn a_log_in_takes_as_many_packets_as_directly_mysql() {
    takes_as_many_packets(Server::MySql);
}

/// A server behind a proxy.
struct Scene {
    proxy: Proxy,
    fake: FakeServer,
    /// Successors read it again.
    _dir: tempfile::TempDir,
}

impl Scene {
    fn start(acts: Vec<Act>, lines: &str) -> Self {
        let dir = scratch();
        let files = Pki::new().write(dir.path());
        let fake = FakeServer::start(acts);
        let mut options = Options::new(std::slice::from_ref(&fake.address));
        options.proxy = lines.into();
        options.rest = files.of_proxy("off");
        Self { proxy: Proxy::start_with(&options), fake, _dir: dir }
    }

    fn connect(&self) -> Wire {
        Wire::connect(&self.proxy.address()).expect("a greeting")
    }
}

fn send(wire: &mut Wire, response: &LoginResponse) {
    wire.send_payload(&response.encode(), 1).expect("it is taken");
}

/// What the server was told of an answer that it must not see.
fn assert_withheld(told: &LoginResponse) {
    assert_eq!((told.plugin.as_deref(), &*told.auth), (Some(UNKNOWN_PLUGIN), &b""[..]));
}

#[test]
fn the_servers_challenge_is_answered_to_the_server() {
    let mut greeting = crate::support::fake_server::greeting(CAPABILITIES);
    // As no server makes it, and none forbids.
    greeting.salt = b"\x01\x02$\xff\x7f\x80abcdefghijklm\0".to_vec();
    greeting.plugin = b"caching_sha2_password".to_vec();
    let scene = Scene::start(vec![Act::Greet(greeting.clone()), Act::LogIn, Act::ok()], "");
    let mut wire = scene.connect();
    assert_eq!((&wire.greeting.salt, &wire.greeting.plugin), (&greeting.salt, &greeting.plugin));
    assert_ne!(wire.greeting.connection_id, greeting.connection_id, "the id is ours");
    let response = wire.login_response(&Login::default());
    send(&mut wire, &response);
    let told = scene.fake.login_of("odp");
    assert_eq!((&told.auth, &told.plugin), (&response.auth, &response.plugin));
    let end = wire.packet();
    assert_eq!((end.sequence, end.payload[0]), (2, 0));
}

/// Its first answer would be the password, and the server's leg has no TLS.
#[test]
fn a_password_in_the_first_answer_does_not_reach_a_plain_leg() {
    for plugin in ["sha256_password", "mysql_clear_password", "whatever"] {
        let mut greeting = crate::support::fake_server::greeting(CAPABILITIES);
        greeting.plugin = plugin.into();
        let refusal = Act::Say(b"\xff\x15\x04#28000Access denied".to_vec());
        let scene = Scene::start(vec![Act::Greet(greeting), Act::LogIn, refusal], "");
        let by_tls = Login { tls: true, first: Some(b"swordfish\0".to_vec()), ..Login::default() };
        let refused = Wire::open(&scene.proxy.address(), &by_tls).err().expect("it is refused");
        assert_eq!(refused.code(), Some(1045), "{plugin}");
        assert_withheld(&scene.fake.login_of("odp"));
        // An answer to a challenge does.
        let by_tls = Login { first: Some(Vec::new()), ..by_tls };
        let refused = Wire::open(&scene.proxy.address(), &by_tls).err().expect("it is refused");
        assert_eq!(refused.code(), Some(1045), "{plugin}");
        let told = scene.fake.login_of("odp");
        match plugin {
            "mysql_clear_password" => assert_withheld(&told),
            _ => assert_eq!(told.plugin.as_deref(), Some(plugin.as_bytes())),
        }
    }
}

/// The same in a COM_CHANGE_USER: the server asks, and what is said then is followed.
#[test]
fn a_password_in_a_change_of_user_does_not_reach_a_plain_leg() {
    let ask = Act::switch("sha256_password");
    let acts = [Act::greet(CAPABILITIES), Act::LogIn, Act::ok(), Act::Command, ask, Act::Hear];
    let scene = Scene::start(acts.to_vec(), "");
    let by_tls = Login { tls: true, ..Login::default() };
    let mut wire = Wire::open(&scene.proxy.address(), &by_tls).expect("it is let in");
    wire.command(com::CHANGE_USER, b"me\0\x0aswordfish\0db\0\x2d\0sha256_password\0");
    let expected = [b"\x11me\0\0db\0\x2d\0", UNKNOWN_PLUGIN, b"\0"].concat();
    assert_eq!(scene.fake.heard().escape_ascii().to_string(), expected.escape_ascii().to_string());
    let asked = wire.packet();
    assert_eq!((asked.sequence, asked.payload[0]), (1, 0xFE));
    wire.send_payload(b"swordfish\0", 2).expect("it is taken");
    assert_eq!(scene.fake.heard(), b"\x01", "a request for the key, before any password");
}

#[test]
fn a_server_that_goes_before_the_answer_is_replaced() {
    let scene = Scene::start(vec![Act::greet(CAPABILITIES), Act::Leave], "");
    let mut wire = scene.connect();
    assert_eq!(scene.fake.heard(), b"", "it is gone");
    let ask = Act::switch("mysql_native_password");
    scene.fake.play(vec![Act::greet(CAPABILITIES), Act::LogIn, ask, Act::Hear, Act::ok()]);
    let response = wire.login_response(&Login::default());
    send(&mut wire, &response);
    assert_withheld(&scene.fake.login_of("odp"));
    let asked = wire.packet();
    assert_eq!((asked.sequence, asked.payload[0]), (2, 0xFE));
    wire.send_payload(b"an answer", 3).expect("it is taken");
    until("the answer", || (scene.fake.heard() == b"an answer").then_some(()));
    assert_eq!(wire.packet().payload[0], 0);
}

/// Clients are greeted with what was remembered; only who answers waits.
#[test]
fn a_server_that_does_not_greet_holds_up_no_greeting() {
    let for_ever = "connect_timeout = \"1h\"\nlogin_timeout = \"1h\"";
    let ask = Act::switch("mysql_native_password");
    let scene = Scene::start(vec![Act::greet(CAPABILITIES), Act::LogIn, Act::ok()], for_ever);
    drop(Wire::open(&scene.proxy.address(), &Login::default()).expect("the server is heard"));
    scene.fake.play(vec![Act::Hear]);
    let mut waiting: Vec<Wire> = (0..5).map(|_| scene.connect()).collect();
    scene.fake.play(vec![Act::greet(CAPABILITIES), Act::LogIn, ask]);
    for wire in &mut waiting {
        let response = wire.login_response(&Login::default());
        send(wire, &response);
        assert_eq!(wire.packet().payload[0], 0xFE, "another connection asks");
    }
}

/// Who is silent takes the places: others are asked by their server, and those who can't be asked
/// wait for places; who has no password needs none.
#[test]
fn silent_clients_take_few_places_and_give_them_back() {
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    database.execute(&["CREATE USER bare"]);
    let proxy = Proxy::start_with_lines(&database, "login_timeout = \"1h\"");
    let address = proxy.address();
    let (good, old) = (login("odp", "odp-secret", CAPABILITIES), login("odp", "odp-secret", OLD));
    assert_eq!(verdict(&address, &good).0, 2);
    // More than there are places: whoever comes at first has one, and keeps it for a while.
    let mut silent: Vec<Wire> =
        (0..PLACES * 2).map(|_| Wire::connect(&address).expect("a greeting")).collect();
    until("a client to be asked", || {
        let (sequence, payload) = verdict(&address, &good);
        assert_eq!(payload[0], 0, "it is let in");
        silent.push(Wire::connect(&address).expect("a greeting"));
        (sequence == 4).then_some(())
    });
    for capabilities in [CAPABILITIES, OLD] {
        let (sequence, payload) = verdict(&address, &login("bare", "", capabilities));
        assert_eq!((sequence, payload[0]), (2, 0), "without a password nobody is asked");
    }
    // Nobody leaves, and there are places.
    until("a place for an old client", || {
        let (_, payload) = verdict(&address, &old);
        (payload[0] == 0).then_some(())
    });
    // And who was silent is let in when it speaks.
    for wire in silent.drain(..10) {
        wire.log_in(&good).expect("it is asked again");
    }
    database.until_counted(
        "SELECT COUNT(*) = 0 FROM information_schema.processlist WHERE host <> 'localhost' \
         OR user = 'unauthenticated user'",
    );
}

/// A challenge of a server's proves nothing to us.
#[test]
fn an_admin_on_the_clients_port_answers_a_challenge_of_ours() {
    let scene = Scene::start(vec![Act::greet(CAPABILITIES), Act::LogIn], "");
    let watch = |capabilities| login("watch@proxysys", ADMIN_PASSWORD, capabilities);
    let (sequence, payload) = verdict(&scene.proxy.address(), &watch(CAPABILITIES));
    assert_eq!((sequence, payload[0]), (4, 0), "it is asked by us");
    let (_, payload) = verdict(&scene.proxy.address(), &watch(OLD));
    assert_eq!(payload[..3], [0xFF, 0xE3, 0x04], "1251");
}

/// Where a server must be told whose connection it is, it can't greet before.
#[test]
fn who_needs_no_challenge_is_let_in_behind_a_proxy_header() {
    if is_haproxy() {
        return;
    }
    let takes = ["--proxy-protocol-networks=127.0.0.1"];
    let Some(database) = Database::start_with(Server::MariaDb, &takes) else { return };
    database.execute(&["CREATE USER bare"]);
    let mut options = Options::new(&[database.address()]);
    options.cluster = "proxy_protocol = \"v2\"".into();
    let proxy = Proxy::start_with(&options);
    for (capabilities, bare, password) in [(CAPABILITIES, 2, 4), (OLD, 2, 2)] {
        let (sequence, payload) = verdict(&proxy.address(), &login("bare", "", capabilities));
        assert_eq!((sequence, payload[0]), (bare, 0));
        let (sequence, payload) = verdict(&proxy.address(), &Login { capabilities, ..good() });
        assert_eq!(sequence, password);
        assert_eq!(payload[0] == 0, capabilities == CAPABILITIES, "only who can be asked");
    }
}

fn good() -> Login {
    login("odp", "odp-secret", CAPABILITIES)
}
