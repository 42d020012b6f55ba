//! The life of a client: open, work, lose, open again, until the run ends.

use std::sync::Arc;
use std::time::Duration;

use super::activity::Activity;
use super::client::Client;
use super::mix::Class;
use super::run::Run;
use super::tally::ClientId;
use super::trouble::Trouble;

/// The first pause after a connect that failed; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The pause after an error, so that one that stays does not become a busy loop.
const AFTER_TROUBLE: Duration = Duration::from_millis(100);

/// Runs a client until the run ends.
pub(super) async fn run(run: Arc<Run>, class: Class, id: ClientId) {
    let mut client = Client::new(run.clone(), class, id);
    let mut activity = Activity::new(class);
    let mut pause = FIRST_PAUSE;
    while !run.stop.is_cancelled() {
        if client.open().await {
            pause = FIRST_PAUSE;
            serve(&mut client, &mut activity).await;
        } else {
            client.pause(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    client.close().await;
}

/// Works on one connection until it is gone or the run ends.
async fn serve(client: &mut Client, activity: &mut Activity) {
    if activity.begin(client).await.is_err() {
        // Half prepared it would only make false alarms.
        client.close().await;
        return client.pause(AFTER_TROUBLE).await;
    }
    while client.is_open() {
        if client.run.stop.is_cancelled() {
            let _ = activity.finish(client).await;
            return client.close().await;
        }
        if let Err(trouble) = activity.turn(client).await {
            recover(client, &trouble).await;
        }
    }
}

/// Makes a session usable again after an error; a lost one is opened again by the caller.
async fn recover(client: &mut Client, trouble: &Trouble) {
    match trouble {
        Trouble::Lost(_) => {}
        Trouble::Wrong(_) => client.pause(AFTER_TROUBLE).await,
        Trouble::Failed { .. } | Trouble::Conflict => {
            let _ = client.rollback().await;
            client.pause(AFTER_TROUBLE).await;
        }
    }
}
