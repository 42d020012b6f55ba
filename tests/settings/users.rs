//! An etcd that has users: who is let in, and what becomes of who is not.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::scene::{alter, arrives, endpoint, options, set_timeout, stands, value};
use crate::support::etcd::Etcd;
use crate::support::{Proxy, scratch};

const PASSWORD: &str = "etcd-secret";

/// One with the user `odp`.
fn etcd() -> Option<Etcd> {
    let mut etcd = Etcd::start()?;
    etcd.want_users("odp", PASSWORD, "/odp/");
    Some(etcd)
}

fn account(user: &str, password: &str) -> String {
    format!("etcd_user = \"{user}\"\netcd_password = \"{password}\"\n")
}

#[test]
fn who_logs_in_shares_also_when_its_token_is_forgotten() {
    let Some(mut etcd) = etcd() else { return };
    let dir = scratch();
    let file = dir.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("ours");
    let by_file = format!("etcd_user = \"odp\"\netcd_password_file = \"{}\"\n", file.display());
    let a = Proxy::start_with(&options(&endpoint(&etcd), &by_file));
    let b = Proxy::start_with(&options(&endpoint(&etcd), &account("odp", PASSWORD)));
    set_timeout(&a, "3s");
    arrives(&b, "connect_timeout", "3s");
    // It keeps its tokens in memory.
    etcd.end();
    etcd.begin();
    stands(&a, "CONNECTED");
    crate::support::until("it to be shared again", || {
        let told = alter(&b, "PROXYCONFIG SET connect_timeout = '4s'").ok()?;
        (!told.contains("not shared")).then_some(())
    });
    arrives(&a, "connect_timeout", "4s");
    for proxy in [&a, &b] {
        assert!(!proxy.log().contains(PASSWORD));
    }
}

#[test]
fn who_is_not_let_in_serves_on_and_says_who_and_where() {
    let Some(etcd) = etcd() else { return };
    let place = endpoint(&etcd);
    for (lines, who, expected) in [
        (account("odp", "wrong-secret"), "user 'odp': ", "invalid user ID or password"),
        (account("nobody", PASSWORD), "user 'nobody': ", "invalid user ID or password"),
        (account("poor", PASSWORD), "user 'poor': ", "permission denied"),
        (String::new(), "", "user name is empty: expected fleet.etcd_user"),
    ] {
        let proxy = Proxy::start_with(&options(&place, &lines));
        let row = stands(&proxy, "UNREACHABLE");
        for part in [&*place, who, expected] {
            assert!(row["error"].contains(part), "{part}: {row:?}");
        }
        assert_eq!(value(&proxy, "connect_timeout"), "9s");
        let told = alter(&proxy, "PROXYCONFIG SET connect_timeout = '3s'").expect("in force");
        assert!(told.contains("not shared"), "{told}");
        let log = proxy.log();
        assert!(!log.contains("secret"), "{log}");
    }
}

/// It is one etcd, wherever it is asked: an endpoint that does not let us in is enough.
#[test]
fn who_is_not_let_in_does_not_try_it_everywhere() {
    let asked = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let addresses = asked.each_ref().map(|asked| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback");
        let (address, asked) = (listener.local_addr().expect("it is bound"), asked.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 1024]);
                asked.fetch_add(1, Ordering::Relaxed);
                let told = "{\"error\": \"authentication failed\", \"code\": 3}";
                let head = format!("HTTP/1.1 400 No\r\nContent-Length: {}", told.len());
                let _ = stream.write_all(format!("{head}\r\n\r\n{told}").as_bytes());
            }
        });
        address
    });
    let [first, second] = addresses;
    let mut all = options(&format!("http://{first}"), &account("odp", PASSWORD));
    all.rest = all.rest.replace("\"]", &format!("\", \"http://{second}\"]"));
    let proxy = Proxy::start_with(&all);
    let row = stands(&proxy, "UNREACHABLE");
    assert!(row["error"].contains(&format!("http://{first}: user 'odp'")), "{row:?}");
    assert!(asked[0].load(Ordering::Relaxed) > 0);
    assert_eq!(asked[1].load(Ordering::Relaxed), 0);
}
