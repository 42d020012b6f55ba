//! Every plugin, by every kind of connection, with what is known of a password.

use aws_lc_rs::digest::{SHA256, digest};
use odp::proxy::accounts::credentials::{Credentials, Password};
use odp::proxy::service::error::ServiceError;
use odp::proxy::service::login::Wanted;
use sha1::{Digest as _, Sha1};
use zeroize::Zeroizing;

use crate::scene::{Scene, run};
use crate::support::pki::Pki;
use crate::support::{Database, Server, scratch};

/// Longer than a challenge, so that the password under RSA has to be repeated.
const PASSWORD: &str = "Wrong-horse 9, and a good deal more";

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Tcp,
    Tls,
    Unix,
}

const EVERY: [By; 3] = [By::Tcp, By::Tls, By::Unix];

fn scene(database: &Database, by: By) -> Scene {
    match by {
        By::Tcp => Scene::to(&database.address(), "off"),
        By::Tls => Scene::to(&database.address(), "require"),
        By::Unix => Scene::to(&format!("unix:{}", database.socket.display()), "off"),
    }
}

/// A MariaDB that offers TLS.
fn mariadb(server: Server, options: &[&str]) -> Option<Database> {
    let dir = scratch();
    let own = Pki::new().write(dir.path()).of_server();
    let options: Vec<&str> =
        own.iter().map(String::as_str).chain(options.iter().copied()).collect();
    Database::start_with(server, &options)
}

fn clear(user: &str) -> Credentials {
    Credentials::clear(user, PASSWORD)
}

fn native(user: &str) -> Credentials {
    let stage1 = Zeroizing::new(Sha1::digest(PASSWORD).into());
    Credentials { user: user.into(), password: Password::Native(stage1) }
}

fn sha2(user: &str) -> Credentials {
    let once = digest(&SHA256, PASSWORD.as_bytes());
    let once = Zeroizing::new(once.as_ref().try_into().expect("32 bytes"));
    Credentials { user: user.into(), password: Password::Sha2(once) }
}

fn make(database: &Database, accounts: &[(&str, &str)]) {
    for (user, how) in accounts {
        let how = how.replace("{}", PASSWORD);
        database.execute(&[&format!("CREATE USER '{user}'@'%' IDENTIFIED {how}")]);
    }
}

/// Enters, and is taken for the right one.
fn enters(scene: &Scene, credentials: &Credentials, by: By) {
    let user = String::from_utf8_lossy(&credentials.user).into_owned();
    let found = run(scene.user(credentials));
    assert_eq!(
        found.unwrap_or_else(|error| panic!("{user} by {by:?}: {error}")),
        format!("{user}@%")
    );
}

/// What keeps it out.
fn kept_out(scene: &Scene, credentials: &Credentials) -> ServiceError {
    run(scene.user(credentials)).expect_err("it is kept out")
}

/// The number of the server's refusal.
fn refused(scene: &Scene, credentials: &Credentials) -> u16 {
    match kept_out(scene, credentials) {
        ServiceError::Refused(error) => error.code,
        other => panic!("{other}"),
    }
}

fn plugins_of_mariadb(server: Server) {
    let Some(database) = mariadb(server, &["--plugin-maturity=unknown"]) else { return };
    database.execute(&["INSTALL SONAME 'auth_ed25519'"]);
    make(
        &database,
        &[
            ("native", "VIA mysql_native_password USING PASSWORD('{}')"),
            ("empty", "VIA mysql_native_password USING ''"),
            ("signed", "VIA ed25519 USING PASSWORD('{}')"),
        ],
    );
    for by in EVERY {
        let scene = scene(&database, by);
        enters(&scene, &clear("native"), by);
        enters(&scene, &native("native"), by);
        enters(&scene, &Credentials::clear("empty", ""), by);
        assert_eq!(refused(&scene, &Credentials::clear("native", "wrong")), 1045);
        assert_eq!(refused(&scene, &Credentials::clear("native", "")), 1045);
        // Often enough to have a challenge that ends with a NUL, more likely than not.
        for _ in 0..if by == By::Unix { 300 } else { 1 } {
            enters(&scene, &clear("signed"), by);
        }
        assert_eq!(refused(&scene, &Credentials::clear("signed", "wrong")), 1045);
        let error = kept_out(&scene, &native("signed"));
        assert!(
            matches!(&error, ServiceError::WantsPassword(name) if name == "client_ed25519"),
            "{error}"
        );
        let error = kept_out(&scene, &sha2("native"));
        assert!(
            matches!(&error, ServiceError::WantsPassword(name) if name == "mysql_native_password"),
            "{error}"
        );
    }
}

#[test]
fn plugins_of_mariadb_10() {
    plugins_of_mariadb(Server::MariaDb);
}

#[test]
fn plugins_of_mariadb_11() {
    plugins_of_mariadb(Server::MariaDb11);
}

#[test]
fn the_signature_of_parsec() {
    let Some(database) = mariadb(Server::MariaDb11, &["--plugin-maturity=unknown"]) else { return };
    database.execute(&["INSTALL SONAME 'auth_parsec'"]);
    make(&database, &[("parsec", "VIA parsec USING PASSWORD('{}')")]);
    for by in EVERY {
        let scene = scene(&database, by);
        // Often enough to have a challenge that ends with a NUL, more likely than not.
        for _ in 0..if by == By::Unix { 300 } else { 1 } {
            enters(&scene, &clear("parsec"), by);
        }
        assert_eq!(refused(&scene, &Credentials::clear("parsec", "wrong")), 1045);
        let error = kept_out(&scene, &native("parsec"));
        assert!(matches!(&error, ServiceError::WantsPassword(name) if name == "parsec"), "{error}");
    }
}

#[test]
fn a_password_in_clear_needs_a_secure_connection() {
    let Some(database) = mariadb(Server::MariaDb11, &["--plugin-maturity=unknown"]) else { return };
    database.execute(&["INSTALL SONAME 'auth_test_plugin'"]);
    make(&database, &[("clear", "VIA cleartext_plugin_server USING '{}'")]);
    for by in EVERY {
        let scene = scene(&database, by);
        if by != By::Tcp {
            enters(&scene, &clear("clear"), by);
            continue;
        }
        let error = kept_out(&scene, &clear("clear"));
        assert!(
            matches!(&error, ServiceError::InClear(name) if name == "mysql_clear_password"),
            "{error}"
        );
    }
}

#[test]
fn plugins_of_mysql() {
    let Some(database) = Database::start(Server::MySql) else { return };
    make(
        &database,
        &[
            ("sha2", "WITH caching_sha2_password BY '{}'"),
            ("empty", "WITH caching_sha2_password BY ''"),
            ("sha256", "WITH sha256_password BY '{}'"),
            ("sha256_empty", "WITH sha256_password BY ''"),
        ],
    );
    for by in EVERY {
        let scene = scene(&database, by);
        // From here the server's cache is empty: a full log-in, and a fast one.
        database.execute(&["FLUSH PRIVILEGES"]);
        let error = kept_out(&scene, &sha2("sha2"));
        assert!(
            matches!(&error, ServiceError::WantsPassword(name) if name == "caching_sha2_password"),
            "{error}"
        );
        assert_eq!(refused(&scene, &Credentials::clear("sha2", "wrong")), 1045);
        enters(&scene, &clear("sha2"), by);
        enters(&scene, &clear("sha2"), by);
        enters(&scene, &sha2("sha2"), by);
        enters(&scene, &Credentials::clear("empty", ""), by);
        enters(&scene, &clear("sha256"), by);
        enters(&scene, &Credentials::clear("sha256_empty", ""), by);
        assert_eq!(refused(&scene, &Credentials::clear("sha256", "wrong")), 1045);
    }
}

#[test]
fn the_plugin_of_seekdb() {
    let Some(database) = Database::start(Server::SeekDb) else { return };
    make(&database, &[("native", "BY '{}'")]);
    let scene = scene(&database, By::Tcp);
    enters(&scene, &clear("native"), By::Tcp);
    enters(&scene, &native("native"), By::Tcp);
    assert_eq!(refused(&scene, &Credentials::clear("native", "wrong")), 1045);
}

/// A password under RSA may not be longer than the key.
#[test]
fn passwords_that_are_too_long_for_the_key_are_told() {
    let Some(database) = Database::start(Server::MySql) else { return };
    let long = "x".repeat(250);
    database.execute(&[&format!("CREATE USER 'long'@'%' IDENTIFIED BY '{long}'")]);
    let credentials = Credentials::clear("long", &long);
    let error = kept_out(&scene(&database, By::Tcp), &credentials);
    assert!(matches!(error, ServiceError::LongPassword), "{error}");
    enters(&scene(&database, By::Tls), &credentials, By::Tls);
}

#[test]
fn what_a_server_lacks_is_told_before_it_is_asked() {
    let Some(database) = mariadb(Server::MariaDb, &[]) else { return };
    let scene = scene(&database, By::Tcp);
    let lacking = odp::wire::capability::QUERY_ATTRIBUTES;
    let wanted = Wanted { capabilities: lacking, extended: 1 << 31, ..Wanted::default() };
    match run(scene.log_in(&clear("odp"), &wanted)) {
        Err(ServiceError::OffersLess { capabilities, extended }) => {
            assert_eq!((capabilities, extended), (lacking, 1 << 31));
        }
        other => panic!("{other:?}"),
    }
}
