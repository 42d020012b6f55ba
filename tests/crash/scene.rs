//! A server, a proxy with crash protection, and its deaths.

use std::collections::BTreeMap;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::proxy::{Options, is_haproxy};
use crate::support::{Database, Login, Proxy, Server, Wire, until};

/// A MariaDB and a pair in front of it.
pub(crate) struct Scene {
    pub database: Database,
    pub proxy: Proxy,
}

impl Scene {
    /// None where there is nothing to test.
    pub(crate) fn start() -> Option<Self> {
        Self::start_at(&[])
    }

    /// It listens there, too.
    pub(crate) fn start_at(listen: &[String]) -> Option<Self> {
        Self::start_with(|options| options.listen = listen.to_vec())
    }

    /// With other options.
    pub(crate) fn start_with(change: impl FnOnce(&mut Options)) -> Option<Self> {
        if is_haproxy() {
            return None;
        }
        let database = Database::start(Server::MariaDb)?;
        let mut options = Options::new(&[database.address()]);
        change(&mut options);
        options.proxy.insert_str(0, "crash_protection = true\n");
        let proxy = Proxy::start_with(&options);
        Some(Self { database, proxy })
    }

    /// The process that carries the sessions, as the admin port names it.
    pub(crate) fn carrier(&self) -> u32 {
        let mut admin = self.admin();
        let rows = admin.query("SHOW PROXYINFO BINARY").named_rows();
        let pid = rows.iter().find(|row| row["name"] == "pid").expect("it has a pid");
        pid["info"].parse().expect("a number")
    }

    /// An operator, as soon as there is one to be had.
    pub(crate) fn admin(&self) -> Wire {
        until("the admin port", || self.proxy.admin().ok())
    }

    /// Kills the carrier by this signal, and waits for the next; its pid.
    pub(crate) fn kill(&self, signal: Signal) -> u32 {
        let (before, deaths) = (self.carrier(), self.crashes().len());
        kill(Pid::from_raw(before as i32), signal).expect("it lives");
        until(&format!("somebody after {before}\n{}", self.proxy.log()), || {
            let rows = self.proxy.admin().ok()?.try_query("SHOW CRASH").ok()?.named_rows();
            (rows.len() > deaths && rows[0]["pid"] == before.to_string()).then_some(())
        });
        let after = self.carrier();
        assert_ne!(before, after);
        after
    }

    /// Waits until so many processes have died; what SHOW CRASH shows then.
    pub(crate) fn after(&self, deaths: usize) -> Vec<BTreeMap<String, String>> {
        until(&format!("{deaths} deaths\n{}", self.proxy.log()), || {
            let rows = self.proxy.admin().ok()?.try_query("SHOW CRASH").ok()?.named_rows();
            (rows.len() >= deaths).then_some(rows)
        })
    }

    /// Sessions, each with a variable of its own.
    pub(crate) fn innocents(&self, count: usize) -> Vec<Wire> {
        let open = |n| {
            let wire = Wire::open(&self.proxy.address(), &Login::default());
            let mut wire = wire.expect("takes clients");
            wire.run(&format!("SET @n = {n}"));
            wire
        };
        (0..count).map(open).collect()
    }

    /// They all go on.
    pub(crate) fn ask_all(&self, sessions: &mut [Wire]) {
        for (n, wire) in sessions.iter_mut().enumerate() {
            assert_eq!(wire.run("SELECT @n").text(), n.to_string());
        }
    }

    /// What SHOW CRASH shows.
    pub(crate) fn crashes(&self) -> Vec<BTreeMap<String, String>> {
        self.admin().query("SHOW CRASH").named_rows()
    }
}
