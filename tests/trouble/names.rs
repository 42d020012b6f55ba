//! A name with two addresses, one of which swallows all that is sent to it: the other one serves.

use std::path::PathBuf;
use std::process::Command;

use crate::stop;
use crate::support::blackhole::Blackhole;
use crate::support::place::seeing;
use crate::support::proxy::{ADMIN_PASSWORD, Options};
use crate::support::{Database, Login, Proxy, Server, Wire, scratch};

/// A name that nobody else has.
const NAME: &str = "two.odp.test";

/// Its addresses.
const ADDRESSES: [&str; 2] = ["127.0.0.1", "127.0.0.2"];

/// A program to which the name has both addresses.
fn program() -> Option<(tempfile::TempDir, PathBuf)> {
    let dir = scratch();
    let hosts = dir.path().join("hosts");
    let lines = ADDRESSES.map(|address| format!("{address} {NAME}\n"));
    let text = format!("127.0.0.1 localhost\n{}", lines.concat());
    std::fs::write(&hosts, text).expect("the directory is ours");
    let script = seeing(dir.path(), &hosts, "/etc/hosts")?;
    Some((dir, script))
}

/// Both addresses, at the same port, and the way to this from each.
fn ways(target: &str) -> (u16, [Blackhole; 2]) {
    let pair = || {
        let first = Blackhole::start_at(&format!("{}:0", ADDRESSES[0]), target.into()).ok()?;
        let (_, port) = first.address.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let second = format!("{}:{port}", ADDRESSES[1]);
        Some((port, [first, Blackhole::start_at(&second, target.into()).ok()?]))
    };
    // Somebody else may have the second one.
    (0..100).find_map(|_| pair()).expect("some port is free at both")
}

#[test]
fn a_server_is_reached_by_its_other_address() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let Some((_dir, script)) = program() else { return };
    let (port, ways) = ways(&database.address());
    let mut options = Options::new(&[format!("{NAME}:{port}")]);
    options.binary = Some(script);
    // Nobody would get in who waited for the first to answer.
    options.proxy = "connect_timeout = \"5s\"\nlogin_timeout = \"5s\"\n".into();
    let proxy = Proxy::start_with(&options);
    // Whichever of them the resolver tells first.
    for way in &ways {
        way.swallow();
        for _ in 0..2 {
            let mut wire = Wire::open(&proxy.address(), &Login::default());
            let wire = wire.as_mut().expect("the other address serves");
            assert_eq!(wire.run("SELECT 1").text(), "1");
        }
        way.heal();
    }
    stop(&proxy);
}

#[test]
fn a_proxy_is_reached_by_its_other_address() {
    let Some((_dir, script)) = program() else { return };
    let proxy = Proxy::start_with(&Options::new(&["127.0.0.1:1".into()]));
    let (port, ways) = ways(&proxy.admin_address());
    let fleet = scratch();
    let config = fleet.path().join("fleet.toml");
    let text = format!(
        "[fleet]\nuser = \"root\"\npassword = \"{ADMIN_PASSWORD}\"\n\
         [[fleet.proxy]]\nname = \"a\"\naddress = \"{NAME}:{port}\"\n\
         [[cluster]]\nname = \"main\"\n[[cluster.server]]\naddress = \"127.0.0.1:1\"\n"
    );
    std::fs::write(&config, text).expect("the directory is ours");
    let port = format!("{NAME}:{port}");
    let config = config.to_str().expect("UTF-8");
    for way in &ways {
        way.swallow();
        let commands: [&[&str]; 3] = [
            &["status", "-a", &port],
            &["restart", "-a", &port],
            &["status", "--fleet", "-c", config],
        ];
        for command in commands {
            let output = Command::new(&script)
                .env("ODP_ADMIN_PASSWORD", ADMIN_PASSWORD)
                .args(command)
                .output()
                .expect("odp runs");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(output.status.success(), "{command:?}: {said}");
        }
        way.heal();
    }
}
