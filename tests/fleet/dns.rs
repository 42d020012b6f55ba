//! A fleet that is all addresses of a name.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::place::seeing;
use crate::support::proxy::{ADMIN_PASSWORD, Options};
use crate::support::{Login, Proxy, Wire, scratch, skip, until};
use crate::{Row, odp, order_of_restarts};

#[test]
fn a_fleet_is_all_addresses_of_a_name() {
    let proxy = Proxy::start_with(&Options::new(&["127.0.0.1:1".to_owned()]));
    let address = proxy.admin_address();
    let (_, port) = address.rsplit_once(':').expect("a port");
    let text = std::fs::read_to_string(proxy.config()).expect("a config");
    let password = format!("user = \"root\"\npassword = \"{ADMIN_PASSWORD}\"\n");
    let lines = format!("[fleet]\ndns = \"localhost:{port}\"\n{password}");
    std::fs::write(proxy.config(), format!("{text}\n{lines}")).expect("ours");
    kill(Pid::from_raw(proxy.pid() as i32), Signal::SIGHUP).expect("it lives");
    until("the fleet to be known", || {
        let rows = proxy.admin().ok()?.query("SHOW FLEET");
        (rows.error().is_none() && rows.row_count() > 0).then_some(())
    });
    let config = proxy.config();
    let config = config.to_str().expect("UTF-8");
    let (code, table, errors) = odp(&["status", "--fleet", "-c", config]);
    let is_it = |line: &&str| line.contains(&address) && line.contains("RUNNING");
    assert!(table.lines().any(|line| is_it(&line)), "{code:?} {table}{errors}");
    let before = proxy.pid();
    let only = ["--only", &address];
    let arguments = ["restart", "--fleet", "-c", config, "--pause", "100ms"];
    let (code, results, errors) = odp(&[&arguments[..], &only].concat());
    assert_eq!(code, Some(0), "{results}{errors}");
    assert!(results.contains(&format!("{address}: DONE")), "{results}");
    assert_ne!(proxy.pid(), before);
}

/// Two proxies at one port: one at an address of IPv4, one at an address of IPv6.
struct Both {
    proxies: [Proxy; 2],
    /// Their admin ports, in order.
    addresses: [String; 2],
}

impl Both {
    /// The program has to find both addresses by this name, with a port of any number.
    fn start(binary: &Path, name: &str) -> Self {
        let mut options = Options::new(&["127.0.0.1:1".to_owned()]);
        options.binary = Some(binary.to_owned());
        let [first, mut second] = [(); 2].map(|()| Proxy::start_with(&options));
        let addresses = [first.admin_address(), format!("[::1]:{}", first.admin)];
        let fleet = format!(
            "[fleet]\ndns = \"{name}:{}\"\nuser = \"root\"\npassword = \"{ADMIN_PASSWORD}\"\n",
            first.admin
        );
        let tell = |proxy: &Proxy, address: &str| {
            let text = std::fs::read_to_string(proxy.config()).expect("a config");
            let text = text.replace(&proxy.admin_address(), address);
            std::fs::write(proxy.config(), format!("{text}{fleet}")).expect("ours");
        };
        tell(&first, &addresses[0]);
        tell(&second, &addresses[1]);
        kill(Pid::from_raw(first.pid() as i32), Signal::SIGHUP).expect("it lives");
        second.start_again(&options, &[]).expect("its port is free");
        Self { proxies: [first, second], addresses }
    }

    fn rows(&self, at: usize, sql: &str) -> Option<Vec<Row>> {
        let (user, password) = ("root".into(), ADMIN_PASSWORD.into());
        let login = Login { user, password, database: None, ..Login::default() };
        let reply = Wire::open(&self.addresses[at], &login).ok()?.try_query(sql).ok()?;
        reply.error().is_none().then(|| reply.named_rows())
    }

    /// The proxies as one of them sees them: addresses, and which it is itself.
    fn members(&self, at: usize) -> Option<Vec<(String, bool)>> {
        let rows = self.rows(at, "SHOW FLEET")?;
        let is_there = rows.iter().all(|row| row["state"] == "RUNNING");
        let named = rows.iter().map(|row| (row["name"].clone(), row["is_local"] == "yes"));
        is_there.then(|| named.collect())
    }

    fn pids(&self) -> [u32; 2] {
        self.proxies.each_ref().map(Proxy::pid)
    }

    /// The order in which the newest task that one of them coordinates has restarted them.
    fn order(&self, at: usize) -> Vec<String> {
        order_of_restarts(&until("its steps", || self.rows(at, "SHOW FLEET TASK")))
    }
}

/// By SQL at one, and by the command line, which asks the other; whoever is asked is the last.
#[test]
fn both_addresses_of_a_name_are_proxies_and_who_coordinates_knows_which_it_is() {
    if TcpListener::bind("[::1]:0").is_err() {
        skip("this machine has no address ::1");
        return;
    }
    let (name, dir) = ("fleet.odp.test", scratch());
    let hosts = dir.path().join("hosts");
    let lines = format!("127.0.0.1 localhost\n127.0.0.1 {name}\n::1 {name}\n");
    std::fs::write(&hosts, lines).expect("ours");
    let Some(program) = seeing(dir.path(), &hosts, "/etc/hosts") else { return };
    let both = Both::start(&program, name);
    let [v4, v6] = both.addresses.clone();
    for at in [0, 1] {
        let seen = until("both to be members", || both.members(at).filter(|all| all.len() == 2));
        assert_eq!(seen, [(v4.clone(), at == 0), (v6.clone(), at == 1)]);
    }
    let before = both.pids();
    both.rows(1, "RESTART FLEET PAUSE = '100ms'").expect("it is taken");
    let task = until("the end of the task", || {
        let task = both.rows(1, "SHOW FLEET TASKS")?.into_iter().next()?;
        (task["state"] != "IN_PROGRESS").then_some(task)
    });
    assert_eq!((&*task["state"], &*task["done"]), ("COMPLETED", "2"), "{task:?}");
    assert_eq!(both.order(1), [v4.clone(), v6.clone()]);
    let between = both.pids();
    assert!(before.iter().zip(&between).all(|(before, after)| before != after));
    let config = both.proxies[0].config();
    let config = config.to_str().expect("UTF-8");
    let run = |arguments: &[&str]| {
        let output = Command::new(&program).args(arguments).output().expect("odp");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, results, errors) = run(&["restart", "--fleet", "-c", config, "--pause", "100ms"]);
    assert_eq!(code, Some(0), "{results}{errors}");
    for address in [&v4, &v6] {
        assert!(results.contains(&format!("{address}: DONE: RUNNING as pid")), "{results}");
    }
    assert_eq!(both.order(0), [v6, v4]);
    assert!(between.iter().zip(&both.pids()).all(|(before, after)| before != after));
    let (code, table, errors) = run(&["status", "--fleet", "-c", config]);
    assert_eq!((code, table.matches("RUNNING").count()), (Some(0), 2), "{table}{errors}");
}
