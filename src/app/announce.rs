//! Tells the service manager how the proxy stands. A listener only: it decides nothing.

use std::time::Duration;

use crate::restart::Lifecycle;
use crate::restart::notify::Notifier;
use crate::restart::task::State;

/// Tells of every change until the process ends. `grace` is what an orderly stop may take.
pub(super) async fn announce(notifier: Notifier, lifecycle: Lifecycle, grace: Duration) {
    let mut standings = lifecycle.subscribe();
    let mut said = Said::Nothing;
    loop {
        let standing = *standings.borrow_and_update();
        let generation = standing.generation;
        match (standing.state, said) {
            (State::Running | State::Offline, Said::Nothing | Said::Reloading) => {
                let status = format!("{}, generation {generation}", standing.state);
                match predecessor(&lifecycle).filter(|_| said == Said::Nothing) {
                    Some(predecessor) => notifier.ready_after(predecessor, &status).await,
                    None => notifier.ready(&status).await,
                }
                said = Said::Ready;
            }
            (State::Running | State::Offline, Said::Ready) => {
                notifier.status(&format!("{}, generation {generation}", standing.state)).await;
            }
            // A successor is not heard yet, and has nothing to take back.
            (State::Restarting | State::Draining, Said::Ready) => {
                notifier
                    .reloading(&format!("handing over to generation {}", generation.next()))
                    .await;
                said = Said::Reloading;
            }
            (State::Stopping, Said::Ready | Said::Reloading) => {
                notifier.stopping(grace, "stopping").await;
                return;
            }
            (State::Starting | State::Restarting | State::Draining | State::Stopping, _) => {}
        }
        if standings.changed().await.is_err() {
            return;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Ready,
    Reloading,
}

/// Whom this process has succeeded, if it has succeeded anybody.
fn predecessor(lifecycle: &Lifecycle) -> Option<u32> {
    let own = lifecycle.pid();
    lifecycle.tasks().into_iter().find(|task| task.new_pid == own).map(|task| task.old_pid)
}

/// Who has succeeded this process.
pub(super) fn successor(lifecycle: &Lifecycle) -> Option<u32> {
    let own = lifecycle.pid();
    let mut tasks = lifecycle.tasks().into_iter();
    tasks.find(|task| task.old_pid == own && task.new_pid != 0).map(|task| task.new_pid)
}
