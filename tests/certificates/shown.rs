//! What each leg speaks stands in SHOW and is counted, in both generations of a restart.

use mysql_async::prelude::Queryable as _;

use crate::scene::{Certificates, connect, options};
use crate::support::{Database, Login, Proxy, Server, Wire, until};

/// A counter of SHOW PROXYSTAT, and the same of /metrics.
fn counted(proxy: &Proxy, leg: &str, what: (&str, &str)) -> (u64, u64) {
    let (stat, result) = what;
    let mut admin = proxy.admin().expect("an operator");
    let rows = admin.query(&format!("SHOW PROXYSTAT LIKE '{leg}_tls_{stat}'")).named_rows();
    let page = proxy.http_get("/metrics").expect("metrics");
    let sample = format!("odp_tls_handshakes_total{{leg=\"{leg}\",result=\"{result}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&sample)).expect(&page);
    (rows[0]["value"].parse().expect("a number"), line.parse().expect("a number"))
}

const GOOD: (&str, &str) = ("handshakes", "success");
const BAD: (&str, &str) = ("failures", "failed");

#[tokio::test]
async fn sessions_and_counters_tell_what_is_spoken_before_and_after_a_restart() {
    let certificates = Certificates::new();
    let files = &certificates.files;
    let with_tls = [
        format!("--ssl-ca={}", files.ca.display()),
        format!("--ssl-cert={}", files.server.display()),
        format!("--ssl-key={}", files.server_key.display()),
    ];
    let with_tls: Vec<&str> = with_tls.iter().map(String::as_str).collect();
    let Some(database) = Database::start_with(Server::MariaDb, &with_tls) else { return };
    let server = format!("[tls.server]\nmode = \"verify-ca\"\nca = \"{}\"\n", files.ca.display());
    let sections = certificates.section("client", "prefer") + &server;
    let proxy = Proxy::start_with(&options(Some(&database), &sections));
    let mut secure = connect(proxy.sql, certificates.trusted()).await.expect("a session");
    let plain = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    let stranger = Certificates::new().trusted();
    connect(proxy.sql, stranger).await.expect_err("another CA");

    for generation in 0..2 {
        let mut admin = proxy.admin().expect("an operator");
        until("two sessions", || (admin.query("SHOW PROXYSESSION").row_count() == 2).then_some(()));
        let rows = admin.query("SHOW PROXYSESSION").named_rows();
        let mut spoken: Vec<_> = rows
            .iter()
            .map(|row| [&row["using_ssl"], &row["client_tls"], &row["server_tls"]].map(|it| &**it))
            .collect();
        spoken.sort_unstable();
        let tls = "TLSv1.3 aes-256-gcm";
        assert_eq!(spoken, [["0", "", tls], ["1", tls, tls]], "generation {generation}");
        let id = rows.iter().find(|row| row["using_ssl"] == "1").expect("one")["Id"].clone();
        let attributes =
            admin.query(&format!("SHOW PROXYSESSION ATTRIBUTE {id} LIKE '%_tls'")).named_rows();
        assert_eq!(attributes.len(), 2, "{attributes:?}");
        assert!(attributes.iter().all(|row| row["value"] == tls), "{attributes:?}");
        // A client may see a handshake fail that has succeeded for its server.
        let (good, bad) = (counted(&proxy, "client", GOOD), counted(&proxy, "client", BAD));
        assert_eq!((good, bad), ((1, 1), (1, 1)), "generation {generation}");
        assert_eq!(counted(&proxy, "server", GOOD), (2, 2), "generation {generation}");
        assert_eq!(counted(&proxy, "server", BAD), (0, 0), "generation {generation}");
        if generation == 0 {
            proxy.restart();
        }
        secure.query_drop("DO 1").await.expect("it lives");
    }
    drop(plain);
}

/// A session that stays behind is shown by the successor, by what its process tells of it.
#[tokio::test]
async fn what_a_session_in_the_other_generation_speaks_is_shown() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let certificates = Certificates::new();
    let mut options = options(Some(&database), &certificates.section("client", "require"));
    options.proxy = "session_handover = false\n".into();
    let proxy = Proxy::start_with(&options);
    let before = proxy.pid();
    let mut session = connect(proxy.sql, certificates.trusted()).await.expect("a session");
    let reply = proxy.admin().expect("an operator").query("RESTART");
    assert_eq!(reply.error(), None);
    let row = until("the successor to show it", || {
        let mut admin = proxy.admin().ok()?;
        let binary = admin.try_query("SHOW PROXYINFO BINARY").ok()?.named_rows();
        binary.iter().find(|row| row["name"] == "generation" && row["info"] == "2")?;
        admin.try_query("SHOW PROXYSESSION").ok()?.named_rows().into_iter().next()
    });
    assert_eq!(row["pid"], before.to_string(), "{row:?}");
    let spoken = [&row["using_ssl"], &row["client_tls"], &row["server_tls"]].map(|it| &**it);
    assert_eq!(spoken, ["1", "TLSv1.3 aes-256-gcm", ""], "{row:?}");
    session.query_drop("DO 1").await.expect("it lives");
}
