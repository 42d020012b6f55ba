//! A server behind a Unix socket takes the proxy's own user for whoever has connected. Clients of
//! the proxy don't get in by that.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

use crate::support::proxy::{Options, is_haproxy};
use crate::support::raw::WireError;
use crate::support::user::{as_nobody, may_become_nobody};
use crate::support::{Database, Login, Proxy, Server, Wire, com, skip};

/// What is asked for a proof, which does not matter.
const ASKED: &str = "VIA mysql_native_password USING 'invalid' OR unix_socket";

/// What is asked for nothing.
const UNASKED: &str = "VIA unix_socket";

const WORDS: &str = "may have taken the client for the proxy's own user";

/// A MariaDB, and a proxy that reaches it by its socket and listens on one, too.
struct Scene {
    database: Database,
    proxy: Proxy,
    socket: PathBuf,
    /// The user that all of them run as.
    own: String,
    _dir: tempfile::TempDir,
}

impl Scene {
    /// The account of our own name is identified so.
    fn start(own_account: &str, lines: &str) -> Option<Self> {
        if is_haproxy() {
            return None;
        }
        let own = User::from_uid(geteuid()).expect("a list of users").expect("we are in it").name;
        let database = Database::start(Server::MariaDb)?;
        let accounts =
            [(own.as_str(), own_account), ("bare", "BY ''"), ("other", "BY 'odp-secret'")];
        for (name, how) in accounts {
            database.execute(&[
                &format!("CREATE OR REPLACE USER '{name}'@'localhost' IDENTIFIED {how}"),
                &format!("GRANT ALL ON p.* TO '{name}'@'localhost'"),
            ]);
        }
        // Where other users get to.
        let dir = tempfile::tempdir().expect("a directory");
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), everybody).expect("ours");
        let socket = dir.path().join("sql");
        let mut options = Options::new(&[format!("unix:{}", database.socket.display())]);
        options.listen.push(format!("unix:{}", socket.display()));
        options.proxy = lines.into();
        let proxy = Proxy::start_with(&options);
        Some(Self { database, proxy, socket, own, _dir: dir })
    }
}

fn login(user: &str, password: &str) -> Login {
    Login { user: user.into(), password: password.into(), ..Login::default() }
}

/// Who is let in, or why not.
fn user(opened: Result<Wire, WireError>) -> Result<String, String> {
    match opened {
        Ok(mut wire) => Ok(wire.run("SELECT SUBSTRING_INDEX(USER(), '@', 1)").text()),
        Err(WireError::Refused(packet)) => {
            Err(String::from_utf8_lossy(&packet.payload).into_owned())
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn by_socket(path: &Path, login: &Login) -> Result<String, String> {
    user(Wire::open_unix(path, login))
}

#[test]
fn nobody_logs_in_as_the_proxy() {
    for own_account in [ASKED, UNASKED] {
        let Some(scene) = Scene::start(own_account, "") else { return };
        nobody_is_taken_for_the_proxy(&scene);
    }
}

fn nobody_is_taken_for_the_proxy(scene: &Scene) {
    let address = scene.proxy.address();
    let own = scene.own.as_str();
    for (name, password, is_proved) in [
        (own, "", false),
        (own, "whatever", false),
        ("bare", "", false),
        ("other", "odp-secret", true),
        ("odp", "odp-secret", true),
    ] {
        let login = login(name, password);
        // The server itself trusts us, and so does the proxy whoever is its own user here.
        assert_eq!(by_socket(&scene.database.socket, &login), Ok(name.into()), "{name}");
        assert_eq!(by_socket(&scene.socket, &login), Ok(name.into()), "{name}");
        match (user(Wire::open(&address, &login)), is_proved) {
            (Ok(user), true) => assert_eq!(user, name),
            (Err(words), false) => assert!(words.contains(WORDS), "{name}: {words}"),
            (got, _) => panic!("{name}: {got:?}\n{}", scene.proxy.log()),
        }
    }
    // Who is refused by the server hears the server.
    let words = user(Wire::open(&address, &login("other", "wrong"))).expect_err("refused");
    assert!(words.contains("Access denied for user 'other'"), "{words}");
}

/// The same machine is not the same user.
#[test]
fn another_user_of_the_machine_is_not_the_proxy() {
    if !may_become_nobody() {
        return;
    }
    for own_account in [ASKED, UNASKED] {
        let Some(scene) = Scene::start(own_account, "") else { return };
        for (name, password, is_proved) in [
            (&*scene.own, "", false),
            (&*scene.own, "whatever", false),
            ("bare", "", false),
            ("other", "odp-secret", true),
        ] {
            let login = login(name, password);
            let stream = match as_nobody(|| UnixStream::connect(&scene.socket)) {
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    return skip("other users cannot reach the directory of temporary files");
                }
                stream => stream.expect("the proxy listens"),
            };
            // Who it is the kernel has noted when it connected.
            let opened = Wire::over_unix(stream).and_then(|wire| wire.log_in(&login));
            match (user(opened), is_proved) {
                (Ok(user), true) => assert_eq!(user, name),
                (Err(words), false) => assert!(words.contains(WORDS), "{name}: {words}"),
                (got, _) => panic!("{name}: {got:?}\n{}", scene.proxy.log()),
            }
        }
        assert_eq!(by_socket(&scene.socket, &login(&scene.own, "")), Ok(scene.own.clone()));
    }
}

/// Whoever may say on whose behalf it connects may be anybody.
#[test]
fn a_client_that_may_speak_for_others_is_not_the_proxy() {
    let lines = "proxy_protocol_networks = [\"localhost\"]\n";
    let Some(scene) = Scene::start(UNASKED, lines) else { return };
    let words = by_socket(&scene.socket, &login(&scene.own, "")).expect_err("refused");
    assert!(words.contains(WORDS), "{words}");
    assert_eq!(by_socket(&scene.socket, &login("other", "odp-secret")), Ok("other".into()));
}

/// COM_CHANGE_USER with this as its proof.
fn change_user(wire: &mut Wire, user: &str, auth: &[u8]) -> Option<u16> {
    let parts = [user.as_bytes(), &[0, auth.len() as u8], auth, b"p\0\x2d\0"];
    let body = [&parts.concat()[..], b"mysql_native_password\0\0"].concat();
    wire.ask(com::CHANGE_USER, &body).error()
}

#[test]
fn nobody_becomes_the_proxy() {
    for own_account in [ASKED, UNASKED] {
        let Some(scene) = Scene::start(own_account, "") else { return };
        nobody_changes_to_the_proxy(&scene);
    }
}

fn nobody_changes_to_the_proxy(scene: &Scene) {
    let (own, known) = (&*scene.own, login("other", "odp-secret"));
    for auth in [&b""[..], &[7; 20]] {
        let mut wire = Wire::open(&scene.proxy.address(), &known).expect("a password");
        assert_eq!(change_user(&mut wire, own, auth), Some(1045));
        assert!(wire.until_closed().is_empty());
        // The server itself would let it.
        let mut wire = Wire::open_unix(&scene.socket, &known).expect("a password");
        assert_eq!(change_user(&mut wire, own, auth), None, "by our own user");
    }
    // Who proves who it is may change as often as it likes.
    let mut wire = Wire::open(&scene.proxy.address(), &Login::default()).expect("a password");
    for name in ["other", "odp", "other"] {
        assert_eq!(change_user(&mut wire, name, &[7; 20]), None, "{name}");
        let shown = wire.run("SELECT SUBSTRING_INDEX(USER(), '@', 1)").text();
        assert_eq!(shown, name);
    }
}
