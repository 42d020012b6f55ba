//! Two servers of one cluster, and sessions that are moved from one to the other.

use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::reply::Reply;
use crate::support::{Database, Login, Proxy, Server, Wire};

/// Servers and a proxy.
pub(crate) struct Scene {
    pub servers: [Database; 2],
    pub proxy: Proxy,
}

/// A client whose session is moved to and fro.
pub(crate) struct Moved<'a> {
    scene: &'a Scene,
    pub wire: Wire,
    admin: Wire,
    /// How often it has moved.
    pub moves: usize,
}

impl Scene {
    /// Two servers of this kind, each with the account in the config.
    pub(crate) fn start(server: Server) -> Option<Self> {
        Self::start_with([server; 2], "")
    }

    /// The same of two kinds, with these lines in `[proxy]`.
    pub(crate) fn start_with(servers: [Server; 2], lines: &str) -> Option<Self> {
        let [one, other] = servers;
        let servers = [Database::start(one)?, Database::start(other)?];
        let mut options = Options::new(&servers.each_ref().map(Database::address));
        options.proxy = lines.into();
        options.rest = format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
        if one == Server::MySql {
            options.cluster =
                format!("service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\n");
        }
        let proxy = Proxy::start_with(&options);
        Some(Self { servers, proxy })
    }

    /// The same, with a service account that may read hashes, nobody else's password, and these
    /// further sections.
    pub(crate) fn start_with_service(server: Server, sections: &str) -> Option<Self> {
        let servers = [Database::start(server)?, Database::start(server)?];
        let mut options = Options::new(&servers.each_ref().map(Database::address));
        options.cluster = format!("service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\n");
        options.rest = sections.into();
        let proxy = Proxy::start_with(&options);
        Some(Self { servers, proxy })
    }

    /// Two MariaDB servers, with these lines in `[[cluster]]`.
    pub(crate) fn start_with_lines(lines: &str) -> Option<Self> {
        let server = Server::MariaDb;
        let servers = [Database::start(server)?, Database::start(server)?];
        let mut options = Options::new(&servers.each_ref().map(Database::address));
        options.cluster = format!("{lines}\n");
        options.rest = format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
        let proxy = Proxy::start_with(&options);
        Some(Self { servers, proxy })
    }

    /// Runs statements on both servers.
    pub(crate) fn setup(&self, statements: &[&str]) {
        self.servers.iter().for_each(|server| server.execute(statements));
    }

    /// A client of the proxy.
    pub(crate) fn open(&self, login: &Login) -> Moved<'_> {
        let wire = Wire::open(&self.proxy.address(), login).expect("the proxy takes clients");
        let admin = self.proxy.admin().expect("the proxy takes operators");
        Moved { scene: self, wire, admin, moves: 0 }
    }

    /// The place of the server that a client is on.
    pub(crate) fn place(&self, wire: &mut Wire) -> usize {
        let port = wire.run("SELECT @@port").text();
        let is_it = |server: &Database| server.address().ends_with(&format!(":{port}"));
        self.servers.iter().position(is_it).expect("it is on one of both")
    }
}

impl Moved<'_> {
    /// Moves the session to the server at this place.
    pub(crate) fn move_to(&mut self, place: usize) -> Result<(), String> {
        let id = self.wire.greeting.connection_id;
        let address = self.scene.servers[place].address();
        let reply = self.admin.query(&format!("MOVE PROXYSESSION {id} TO '{address}'"));
        match said(&reply) {
            None => {
                self.moves += 1;
                Ok(())
            }
            Some(error) => Err(error),
        }
    }

    /// An operator.
    pub(crate) fn admin(&self) -> Wire {
        self.scene.proxy.admin().expect("the proxy takes operators")
    }

    /// A row of SHOW PROXYSESSION ATTRIBUTE.
    pub(crate) fn attribute(&mut self, name: &str) -> String {
        let id = self.wire.greeting.connection_id;
        let sql = format!("SHOW PROXYSESSION ATTRIBUTE {id} LIKE '{name}'");
        let rows = self.admin.run(&sql).named_rows();
        rows[0].get("value").cloned().unwrap_or_default()
    }
}

/// The text of an ERR packet.
pub(crate) fn said(reply: &Reply) -> Option<String> {
    reply.error()?;
    Some(String::from_utf8_lossy(&reply.last().payload[9..]).into_owned())
}

impl<'a> Moved<'a> {
    /// The same client, with the operator's port of the process that serves now.
    pub(crate) fn again(before: Self) -> Self {
        let admin = before.scene.proxy.admin().expect("the proxy takes operators");
        Self { admin, ..before }
    }
}
