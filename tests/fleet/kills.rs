//! A coordinator that dies while its task is under way, and comes back by its keeper: the task goes
//! on, whatever it was about just then, and no client notices.

use std::collections::HashSet;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::load::Load;
use crate::support::{Database, Server, until};
use crate::{Fleet, Row};

/// Kills the coordinator as soon as the steps of its task are so: the task is seen to its end.
fn killed_when(is_moment: impl Fn(&[Row]) -> bool) {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let fleet = Fleet::start(&database.address());
    let loads: Vec<Load> = fleet.proxies.iter().map(|proxy| Load::start(proxy, 9)).collect();
    let before = fleet.pids();
    let id = fleet.order(0, "RESTART FLEET PAUSE = '1s'").expect("it is taken");
    let coordinator = fleet.proxies[0].carrier();
    until("the moment", || {
        let steps = fleet.rows(0, &format!("SHOW FLEET TASK {id}"))?;
        is_moment(&steps).then_some(())
    });
    // It may just have left for its successor, who goes on with the task then.
    if kill(Pid::from_raw(coordinator as i32), Signal::SIGKILL).is_err() {
        fleet.proxies[0].kill_carrier();
    }
    let row = fleet.ended(0, id);
    let log = || fleet.proxies[0].log();
    assert_eq!(row["state"], "COMPLETED", "{row:?}\n{}", log());
    let crashes = fleet.rows(0, "SHOW CRASH").expect("its journal");
    assert!(crashes.len() == 1 && crashes[0]["lost"] == "0", "{crashes:?}\n{}", log());
    let steps = fleet.steps(0, id);
    assert!(steps.iter().all(|step| step["state"] == "DONE"), "{steps:?}\n{}", log());
    let of: HashSet<&str> = steps.iter().map(|step| &*step["proxy"]).collect();
    assert_eq!(of.len(), 3, "{steps:?}");
    for (before, after) in before.iter().zip(fleet.pids()) {
        assert_ne!(*before, after, "{steps:?}");
    }
    for at in 0..3 {
        let restarts = fleet.rows(at, "SHOW RESTART").expect("its tasks");
        let done = |row: &&Row| row["mode"] == "RESTART" && row["state"] == "COMPLETED";
        assert_eq!(restarts.iter().filter(done).count(), 1, "{at}: {restarts:?}\n{}", log());
    }
    for load in loads {
        load.end_without_losses();
    }
}

fn is(step: &Row, state: &str) -> bool {
    step["state"] == state
}

#[test]
fn a_coordinator_that_dies_while_all_rehearse_has_them_rehearse_again() {
    killed_when(|steps| steps.iter().any(|step| is(step, "REHEARSING")));
}

#[test]
fn a_coordinator_that_dies_while_it_restarts_another_finds_out_what_became_of_it() {
    killed_when(|steps| steps.iter().any(|step| is(step, "RESTARTING")));
}

#[test]
fn a_coordinator_that_dies_while_it_is_restarted_itself_is_restarted_again() {
    let itself = |step: &Row| step["coordinates"] == "yes" && is(step, "RESTARTING");
    killed_when(|steps| steps.iter().any(itself));
}
