//! A switchover of a cluster, carried out; where several proxies stand in front of it: what this
//! one says to the others.

use crate::admin::command::Change;
use crate::admin::command::switchover::{Aim, Order};
use crate::admin::handles::Admin;
use crate::admin::table::Answer;
use crate::error::ClientError;
use crate::fleet::switchover::{Others as OfFleet, Words};
use crate::proxy::switchover::{Others, Told};

/// Carries it out.
pub(super) async fn carry_out(
    admin: &Admin,
    cluster: String,
    order: Order,
) -> Result<Answer, ClientError> {
    let proxy = &admin.proxy;
    let stays = |why: String| ClientError::refused(format!("cluster {cluster} stays: {why}"));
    match order {
        Order::Alone(Aim { address, force }) => {
            let switched = proxy.switch_over(&cluster, &address, force, None).await;
            let switched = switched.map_err(|why| stays(why.to_string()))?;
            Ok(Answer::done(switched.to_string()))
        }
        Order::Lead(aim) => {
            let others = admin.fleet.others(&cluster).await;
            let others = others.map_err(|why| stays(why.to_string()))?;
            let say = |order| Change::SwitchOver(cluster.clone(), order).to_string();
            let (ready, wait, over) =
                (say(Order::Ready(aim.clone())), say(Order::Wait), say(Order::Over));
            let others = Together(OfFleet::new(others, Words { ready, wait, over }));
            let Aim { address, force } = aim;
            let switched = proxy.switch_over(&cluster, &address, force, Some(Box::new(others)));
            let switched = switched.await.map_err(|why| stays(why.to_string()))?;
            Ok(Answer::done(switched.to_string()))
        }
        Order::Ready(Aim { address, force }) => {
            let ready = proxy.expect_switchover(&cluster, &address, force).await;
            ready.map_err(|why| stays(why.to_string()))?;
            Ok(Answer::done("its sessions are ready"))
        }
        Order::Wait => {
            let waiting = proxy.wait_for_switchover(&cluster).await;
            let waiting = waiting.map_err(|why| stays(why.to_string()))?;
            Ok(Answer::done(format!("{waiting} sessions wait")))
        }
        Order::Over => {
            proxy.switchover_is_over(&cluster).await;
            Ok(Answer::done(""))
        }
    }
}

/// Those of the fleet, as the data plane knows them.
struct Together(OfFleet);

impl Others for Together {
    fn ready(&mut self) -> Told<'_> {
        Box::pin(self.0.ready())
    }

    fn wait(&mut self) -> Told<'_> {
        Box::pin(self.0.wait())
    }

    fn over(&mut self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.0.over())
    }
}
