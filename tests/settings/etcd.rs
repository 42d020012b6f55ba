//! The way it is meant: one ALTER reaches all, also those who come later, also over restarts.

use crate::scene::{
    SERVERS, alter, arrives, endpoint, metric, options, pair, proxy, rows, set_timeout, stands,
    store, value,
};
use crate::support::etcd::Etcd;
use crate::support::pki::Pki;
use crate::support::{Proxy, scratch};

#[test]
fn what_is_altered_at_one_is_altered_at_all_and_known_to_who_comes_later() {
    let Some((etcd, [a, b])) = pair() else { return };
    assert_eq!(stands(&a, "CONNECTED")["settings"], "0");
    set_timeout(&a, "3s");
    arrives(&b, "connect_timeout", "3s");
    let changes = ["CLUSTER main ADD SERVER '127.0.0.1:3'", "CLUSTER main SET init_sql = 'DO 1'"];
    for change in changes {
        alter(&b, change).expect(change);
    }
    arrives(&a, SERVERS, "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3");
    arrives(&a, "cluster.main.init_sql", "DO 1");
    let shown = rows(&a, "SHOW FLEET SETTINGS");
    let shown: Vec<_> = shown.iter().map(|row| (row["name"].as_str(), &*row["here"])).collect();
    let names = ["cluster.main.init_sql", SERVERS, "connect_timeout"];
    assert_eq!(shown, names.map(|name| (name, "in force")));
    let row = &rows(&b, "SHOW FLEET SETTINGS")[2];
    assert!(row["altered_by"].starts_with("root@127.0.0.1:"), "{row:?}");
    assert!(etcd.keys("/odp/").iter().any(|(key, _)| key == "/odp/parameter/connect_timeout"));
    // It is there before the first client is.
    let later = proxy(&etcd);
    assert_eq!(value(&later, "connect_timeout"), "3s");
    assert_eq!(value(&later, SERVERS), "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3");
    assert_eq!(metric(&later, "odp_fleet_etcd_up").as_deref(), Some("1.0"));
    assert_eq!(metric(&later, "odp_fleet_settings").as_deref(), Some("3.0"));
    let difference = &rows(&later, "SHOW PROXYCONFIG DIFF LIKE 'connect_timeout'")[0];
    assert_eq!((&*difference["in_file"], &*difference["shared"]), ("9s", "yes"));
}

#[test]
fn without_an_etcd_there_is_nothing_of_it() {
    let proxy = Proxy::start_with(&crate::support::proxy::Options::new(&["127.0.0.1:1".into()]));
    let told = alter(&proxy, "PROXYCONFIG SET connect_timeout = '3s'").expect("a value");
    assert!(!told.contains("shared"), "{told}");
    assert_eq!(store(&proxy)["state"], "OFF");
    assert!(rows(&proxy, "SHOW FLEET SETTINGS").is_empty());
    assert_eq!(metric(&proxy, "odp_fleet_etcd_up"), None);
}

#[test]
fn two_operators_at_once_both_add_their_servers() {
    let Some((_etcd, proxies)) = pair() else { return };
    std::thread::scope(|scope| {
        for (at, proxy) in proxies.iter().enumerate() {
            scope.spawn(move || {
                for turn in 0..10 {
                    let address = format!("127.0.0.1:{}", 10 + 10 * at + turn);
                    let change = format!("CLUSTER main ADD SERVER '{address}'");
                    let told = alter(proxy, &change).expect("it is a new one");
                    assert!(!told.contains("not shared"), "{told}");
                }
            });
        }
    });
    let all = |proxy: &Proxy| {
        let mut ports: Vec<u16> = value(proxy, SERVERS)
            .split(',')
            .map(|server| server.rsplit(':').next().expect("a port").parse().expect("a number"))
            .collect();
        ports.sort_unstable();
        ports
    };
    let expected: Vec<u16> = [1, 2].into_iter().chain(10..30).collect();
    for proxy in &proxies {
        crate::support::until("all servers", || (all(proxy) == expected).then_some(()));
    }
    assert_eq!(value(&proxies[0], SERVERS), value(&proxies[1], SERVERS));
}

#[test]
fn of_two_operators_who_alter_the_same_one_is_told() {
    let Some((_etcd, [a, b])) = pair() else { return };
    let mut told = 0;
    for turn in 0..10 {
        let set = |proxy: &Proxy, value: String| {
            alter(proxy, &format!("PROXYCONFIG SET connect_timeout = '{value}'"))
        };
        let results = std::thread::scope(|scope| {
            let one = scope.spawn(|| set(&a, format!("{}s", 100 + turn)));
            let other = scope.spawn(|| set(&b, format!("{}s", 200 + turn)));
            [one, other].map(|thread| thread.join().expect("no panic"))
        });
        assert!(results.iter().any(Result::is_ok), "{results:?}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(error.contains("has altered it at the same time"), "{error}");
            told += 1;
        }
        let same = || (value(&a, "connect_timeout") == value(&b, "connect_timeout")).then_some(());
        crate::support::until("both to have the same", same);
    }
    // Some of these times the one was done before the other began.
    assert!(told > 0, "nobody was ever told");
}

#[test]
fn a_restart_in_between_loses_nothing() {
    let Some((mut etcd, [a, b])) = pair() else { return };
    set_timeout(&a, "3s");
    a.restart();
    assert_eq!(value(&a, "connect_timeout"), "3s");
    set_timeout(&b, "4s");
    arrives(&a, "connect_timeout", "4s");
    set_timeout(&a, "5s");
    arrives(&b, "connect_timeout", "5s");
    // What was altered while etcd was away is shared by the successor.
    etcd.end();
    let told = alter(&a, "PROXYCONFIG SET login_timeout = '7s'").expect("in force here");
    assert!(told.contains("in force here, but not shared"), "{told}");
    a.restart();
    assert_eq!(value(&a, "login_timeout"), "7s");
    etcd.begin();
    arrives(&b, "login_timeout", "7s");
    assert_eq!(value(&b, "connect_timeout"), "5s");
}

#[test]
fn what_the_fleet_has_counts_whatever_the_files_say() {
    let Some((etcd, [mut a, b])) = pair() else { return };
    set_timeout(&b, "3s");
    arrives(&a, "connect_timeout", "3s");
    let text = std::fs::read_to_string(a.config()).expect("a config");
    let text = text.replace("connect_timeout = \"9s\"", "connect_timeout = \"8s\"");
    std::fs::write(a.config(), text).expect("ours");
    a.restart();
    assert_eq!(value(&a, "connect_timeout"), "3s");
    a.start_again(&options(&endpoint(&etcd), ""), &["--ignore-state"]).expect("it starts");
    assert_eq!(value(&a, "connect_timeout"), "3s");
    etcd.delete("/odp/parameter/connect_timeout");
    arrives(&a, "connect_timeout", "8s");
    arrives(&b, "connect_timeout", "9s");
}

#[test]
fn by_tls_with_certificates_of_both() {
    let dir = scratch();
    let files = Pki::new().write(dir.path());
    let Some(etcd) = Etcd::start_with_tls(&files) else { return };
    let secure = format!("https://127.0.0.1:{}", etcd.port);
    let ca = format!("etcd_ca = \"{}\"\n", files.ca.display());
    let identity = format!(
        "etcd_certificate = \"{}\"\netcd_key = \"{}\"\n",
        files.client.display(),
        files.client_key.display()
    );
    let good = options(&secure, &format!("{ca}{identity}"));
    let [a, b] = [(), ()].map(|()| Proxy::start_with(&good));
    set_timeout(&a, "3s");
    arrives(&b, "connect_timeout", "3s");
    let other = dir.path().join("other");
    std::fs::create_dir(&other).expect("ours");
    let others = Pki::new().write(&other);
    let wrong_ca = format!("etcd_ca = \"{}\"\n{identity}", others.ca.display());
    for (endpoint, lines, expected) in [
        (&secure, wrong_ca.as_str(), "invalid peer certificate"),
        (&secure, &ca, ""),
        (&secure.replace("https", "http"), "", ""),
        (&secure, &format!("etcd_ca = \"{}\"\n", dir.path().join("none").display()), "etcd_ca"),
    ] {
        let proxy = Proxy::start_with(&options(endpoint, lines));
        let row = stands(&proxy, "UNREACHABLE");
        assert!(row["error"].contains(expected) && !row["error"].is_empty(), "{row:?}");
        assert_eq!(value(&proxy, "connect_timeout"), "9s");
    }
}
