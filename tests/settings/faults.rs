//! What may be the matter with an etcd, or with what is in it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use crate::scene::{
    SERVERS, alter, arrives, endpoint, metric, options, pair, proxy, rows, set_timeout, stands,
    store, value,
};
use crate::support::etcd::Etcd;
use crate::support::relay::{Chop, Relay};
use crate::support::{Proxy, until};

const NOT_SHARED: &str = "in force here, but not shared";

#[test]
fn who_finds_no_etcd_serves_and_shares_what_was_altered_once_it_is_there() {
    let Some(mut etcd) = Etcd::absent() else { return };
    let mut a = proxy(&etcd);
    let row = stands(&a, "UNREACHABLE");
    assert!(row["error"].contains("refused"), "{row:?}");
    assert_eq!(metric(&a, "odp_fleet_etcd_up").as_deref(), Some("0.0"));
    assert!(a.log().contains("the fleet's settings are not shared; serving on"), "{}", a.log());
    let told = alter(&a, "PROXYCONFIG SET connect_timeout = '3s'").expect("in force here");
    assert!(told.contains(NOT_SHARED) && told.contains("refused"), "{told}");
    assert_eq!(value(&a, "connect_timeout"), "3s");
    assert_eq!(store(&a)["not_shared"], "1");
    assert_eq!(rows(&a, "SHOW FLEET SETTINGS")[0]["here"], "not shared yet");
    // Also by who comes after a crash.
    a.start_again(&options(&endpoint(&etcd), ""), &[]).expect("it starts");
    let b = proxy(&etcd);
    etcd.begin();
    arrives(&b, "connect_timeout", "3s");
    assert_eq!(stands(&a, "CONNECTED")["not_shared"], "0");
    assert!(a.log().contains("the fleet's settings are shared"), "{}", a.log());
    set_timeout(&b, "4s");
    arrives(&a, "connect_timeout", "4s");
}

#[test]
fn an_etcd_that_does_not_answer_holds_up_nobody() {
    let Some((etcd, [a, b])) = pair() else { return };
    set_timeout(&a, "3s");
    arrives(&b, "connect_timeout", "3s");
    etcd.freeze();
    let told = alter(&a, "PROXYCONFIG SET connect_timeout = '4s'").expect("in force here");
    assert!(told.contains(NOT_SHARED), "{told}");
    stands(&a, "UNREACHABLE");
    // Who starts meanwhile has what its state_dir has, or its file.
    let c = proxy(&etcd);
    assert_eq!(value(&c, "connect_timeout"), "9s");
    etcd.thaw();
    for proxy in [&b, &c] {
        arrives(proxy, "connect_timeout", "4s");
    }
    stands(&a, "CONNECTED");
}

/// Its answers take half a second, and come.
#[test]
fn a_slow_etcd_is_waited_for() {
    let Some(etcd) = Etcd::start() else { return };
    let target = format!("127.0.0.1:{}", etcd.port);
    let slow = Relay::start(target, Chop::Late(Duration::from_millis(250)));
    let by = format!("http://{}", slow.address);
    let [a, b] = [(); 2].map(|()| Proxy::start_with(&options(&by, "")));
    for proxy in [&a, &b] {
        stands(proxy, "CONNECTED");
    }
    set_timeout(&a, "3s");
    arrives(&b, "connect_timeout", "3s");
    // Each has read before the other has written.
    std::thread::scope(|scope| {
        for (proxy, server) in [(&a, "127.0.0.1:3"), (&b, "127.0.0.1:4")] {
            let add = format!("CLUSTER main ADD SERVER '{server}'");
            scope.spawn(move || {
                let told = alter(proxy, &add);
                assert!(told.as_ref().is_ok_and(|it| !it.contains("not shared")), "{told:?}");
            });
        }
    });
    for proxy in [&a, &b] {
        until("both servers to be there", || {
            let routes = rows(proxy, "SHOW PROXYROUTE");
            let has = |server: &str| routes.iter().any(|row| row["server"] == server);
            (has("127.0.0.1:3") && has("127.0.0.1:4")).then_some(())
        });
        assert_eq!(store(proxy)["state"], "CONNECTED");
    }
}

#[test]
fn an_etcd_that_is_restarted_knows_what_was_altered_before_and_meanwhile() {
    let Some((mut etcd, [mut a, b])) = pair() else { return };
    set_timeout(&a, "3s");
    arrives(&b, "connect_timeout", "3s");
    etcd.end();
    for (proxy, what) in [
        (&a, "CLUSTER main ADD SERVER '127.0.0.1:3'"),
        (&b, "CLUSTER main ADD SERVER '127.0.0.1:4'"),
        (&a, "CLUSTER main DRAIN SERVER '127.0.0.1:1'"),
        (&b, "CLUSTER main DROP SERVER '127.0.0.1:2'"),
    ] {
        let told = alter(proxy, what).expect("in force here");
        assert!(told.contains(NOT_SHARED), "{told}");
    }
    // A cold start without etcd has what was known.
    a.start_again(&options(&endpoint(&etcd), ""), &[]).expect("it starts");
    assert_eq!(value(&a, "connect_timeout"), "3s");
    etcd.begin();
    for proxy in [&a, &b] {
        let expected = ["127.0.0.1:1 draining", "127.0.0.1:3", "127.0.0.1:4"];
        crate::support::until("what both have altered", || {
            let mut found: Vec<String> = value(proxy, SERVERS).split(',').map(Into::into).collect();
            found.sort();
            (found == expected).then_some(())
        });
    }
    assert_eq!(value(&a, SERVERS), value(&b, SERVERS));
}

#[test]
fn an_etcd_that_was_emptied_gets_what_is_known_and_nobody_forgets() {
    let Some((mut etcd, [a, b])) = pair() else { return };
    set_timeout(&a, "3s");
    alter(&b, "CLUSTER main DROP SERVER '127.0.0.1:2'").expect("there is another");
    arrives(&a, SERVERS, "127.0.0.1:1");
    let settings = |etcd: &Etcd| -> Vec<String> {
        etcd.keys("/odp/parameter/").into_iter().map(|(key, _)| key).collect()
    };
    let before = settings(&etcd);
    assert_eq!(before.len(), 2);
    let check = |etcd: &Etcd| {
        crate::support::until("it to be filled", || (settings(etcd) == before).then_some(()));
        for proxy in [&a, &b] {
            stands(proxy, "CONNECTED");
            assert_eq!(value(proxy, "connect_timeout"), "3s");
            assert_eq!(value(proxy, SERVERS), "127.0.0.1:1");
        }
    };
    etcd.delete("/odp/");
    check(&etcd);
    etcd.end();
    etcd.forget();
    etcd.begin();
    check(&etcd);
    // One of them may have filled it again just now, which the other one has not heard.
    crate::support::until("it to be taken", || {
        alter(&b, "PROXYCONFIG SET connect_timeout = '4s'").ok()
    });
    arrives(&a, "connect_timeout", "4s");
    assert!([&a, &b].iter().any(|it| it.log().contains("etcd had no settings of this fleet")));
}

#[test]
fn another_prefix_is_another_fleet() {
    let Some((etcd, [a, b])) = pair() else { return };
    let other = Proxy::start_with(&options(&endpoint(&etcd), "etcd_prefix = \"/odp/2/\"\n"));
    assert_eq!(stands(&other, "CONNECTED")["prefix"], "/odp/2/");
    set_timeout(&a, "3s");
    set_timeout(&other, "4s");
    arrives(&b, "connect_timeout", "3s");
    assert_eq!(value(&other, "connect_timeout"), "4s");
    assert_eq!(value(&a, "connect_timeout"), "3s");
    assert_eq!(store(&other)["settings"], "1");
}

#[test]
fn what_does_not_fit_at_one_is_told_there_and_counts_elsewhere() {
    let Some(etcd) = Etcd::start() else { return };
    let a = proxy(&etcd);
    let mut different = options(&endpoint(&etcd), "");
    different.rest.push_str("[[cluster]]\nname = \"two\"\n[[cluster.server]]\naddress = \"h:1\"\n");
    let b = Proxy::start_with(&different);
    alter(&b, "CLUSTER two SET max_replica_lag = '3s'").expect("it has it");
    set_timeout(&b, "3s");
    arrives(&a, "connect_timeout", "3s");
    let refused = |proxy: &Proxy| -> Vec<(String, String)> {
        let all = rows(proxy, "SHOW FLEET SETTINGS").into_iter();
        let refused = all.filter(|row| row["here"].starts_with("refused: "));
        refused.map(|row| (row["name"].clone(), row["here"].clone())).collect()
    };
    let [(name, why)] = &refused(&a)[..] else { panic!("one is refused: {:?}", refused(&a)) };
    assert_eq!(name, "cluster.two.max_replica_lag");
    assert!(why.contains("no such parameter here"), "{why}");
    assert_eq!(metric(&a, "odp_fleet_settings_refused").as_deref(), Some("1.0"));
    // People and programs of theirs may write there.
    for (name, value) in [
        ("connect_timeout", r#"{"value": "soon"}"#),
        ("login_timeout", "7s"),
        ("nothing", r#"{"value": "x"}"#),
        ("cluster.main.server", r#"{"value": ""}"#),
        ("max_user_connections", r#"{"value": "5"}"#),
    ] {
        etcd.put(&format!("/odp/parameter/{name}"), value);
    }
    arrives(&a, "max_user_connections", "5");
    arrives(&b, "max_user_connections", "5");
    for proxy in [&a, &b] {
        // What was in force stays so.
        assert_eq!(value(proxy, "connect_timeout"), "3s");
        assert_eq!(value(proxy, "login_timeout"), "10s");
        assert_eq!(value(proxy, SERVERS), "127.0.0.1:1,127.0.0.1:2");
    }
    let names: Vec<String> = refused(&b).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [SERVERS, "connect_timeout", "nothing"]);
    // And who alters it anew mends it.
    set_timeout(&a, "4s");
    arrives(&b, "connect_timeout", "4s");
}

/// Whoever answers like this is no etcd, and harms nobody.
#[test]
fn who_is_no_etcd_is_told_from_one() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(64 << 10));
    for (answer, repeats, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 0, "not an answer of etcd v3"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>", 0, "status 404"),
        (
            "HTTP/1.1 503 No\r\nContent-Length: 23\r\n\r\n{\"error\": \"no leader!\"}",
            0,
            "status 503 no leader!",
        ),
        ("garbage\r\n\r\n", 0, "invalid HTTP"),
        ("", 0, "etcd: http://127.0.0.1:"),
        (&endless, 1000, "etcd: http://127.0.0.1:"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback");
        let address = listener.local_addr().expect("it is bound");
        let text = answer.to_owned();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked);
                let _ = stream.write_all(text.as_bytes());
                for _ in 0..repeats {
                    if stream.write_all(text.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        let proxy = Proxy::start_with(&options(&format!("http://{address}"), ""));
        let row = stands(&proxy, "UNREACHABLE");
        assert!(row["error"].contains(expected), "{expected}: {row:?}");
        assert_eq!(value(&proxy, "connect_timeout"), "9s");
    }
}

#[test]
fn one_endpoint_that_answers_is_enough() {
    let Some(etcd) = Etcd::start() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").expect("the loopback");
    let silent = silent.local_addr().expect("it is bound");
    let mut all = options(&endpoint(&etcd), "");
    let first = format!("etcd = [\"http://127.0.0.1:1\", \"http://{silent}\", ");
    all.rest = all.rest.replace("etcd = [", &first);
    let [a, b] = [(), ()].map(|()| Proxy::start_with(&all));
    for proxy in [&a, &b] {
        stands(proxy, "CONNECTED");
    }
    set_timeout(&a, "3s");
    arrives(&b, "connect_timeout", "3s");
}
