//! What the console is for, in a real browser: each proxy of a fleet under load is restarted by
//! clicks, and nobody is interrupted.

use crate::browser::{is_there, told};
use crate::scene;
use crate::support::fleet::introduce;
use crate::support::load::Load;
use crate::support::proxy::ADMIN_PASSWORD;
use crate::support::{Database, Proxy, Server};

#[test]
fn an_operator_restarts_one_and_several_and_all_under_load_and_nobody_notices() {
    if !is_there() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let fleet = [(); 3].map(|()| scene::before(&[database.address()]));
    introduce(&fleet);
    let loads = [0, 1, 2].map(|at| Load::start(&fleet[at], 4));
    let pids = || fleet.iter().map(Proxy::pid).collect::<Vec<_>>();
    let before = pids();
    let seen = told("operator.js", &fleet[0], "", ["root", ADMIN_PASSWORD]);
    for load in loads {
        load.end_unharmed();
    }
    assert_eq!(seen["troubles"], serde_json::json!([]), "{seen:#}");
    // The dialog has had the first task: a rehearsal.
    let paths = ["/tasks/2", "/tasks/fleet-1", "/tasks/fleet-2"];
    for (step, path) in ["one", "batch", "all"].into_iter().zip(paths) {
        let seen = &seen[step];
        assert_eq!(seen["path"], path, "{seen:#}");
        // Nothing flickers: it is the page that was shown when the task began.
        assert_eq!(seen["loads"], 0, "{seen:#}");
    }
    for (before, after) in before.iter().zip(pids()) {
        assert_ne!(*before, after);
    }
    // One of them twice: alone, and with all; the others in the batch, and with all.
    for proxy in &fleet {
        let restarts = proxy.admin().expect("the admin port").query("SHOW RESTART").named_rows();
        let done = restarts.iter().filter(|row| row["mode"] == "RESTART");
        assert_eq!(done.clone().count(), 2, "{restarts:?}");
        for row in done {
            let told = (row["state"].as_str(), row["disconnected"].as_str());
            assert_eq!(told, ("COMPLETED", "0"), "{row:?}");
        }
    }
}
