//! Columns of a prepared statement that MariaDB tells once, if the client remembers them.

use crate::scene::Scene;
use odp::wire::capability as cap;

use crate::support::{Login, Server, com};

/// COM_STMT_EXECUTE without parameters.
fn execute(id: u32) -> Vec<u8> {
    let mut body = id.to_le_bytes().to_vec();
    body.extend([0, 1, 0, 0, 0]);
    body
}

const OTHER: &str = "ALTER TABLE p.t MODIFY a VARCHAR(20)";

/// The next server would not tell them.
#[test]
fn who_may_go_to_another_server_is_told_them_each_time() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    scene.setup(&["CREATE TABLE p.t (a INT)", "INSERT INTO p.t VALUES (1)"]);
    let login = Login { extended: cap::mariadb::CACHE_METADATA, ..Login::default() };
    let mut client = scene.open(&login);
    let id = client.wire.prepare("SELECT a FROM p.t");
    let from = scene.place(&mut client.wire);
    scene.setup(&[OTHER]);
    client.move_to(1 - from).expect("nothing keeps it");
    let reply = client.wire.ask(com::EXECUTE, &execute(id));
    assert_eq!(reply.row_count(), 1);
    assert_ne!(reply.packets[0].payload, [1, 0], "the client knows of an INT");
}
