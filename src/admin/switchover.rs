//! A switchover of a cluster; where several proxies stand in front of it: what its operator says to
//! one of them, and that one to the others.

use std::fmt;

use super::Admin;
use super::command::{Change, Input};
use super::execute::Answer;
use super::spell::Text;
use crate::error::ClientError;
use crate::fleet::switchover::{Others as OfFleet, Words};
use crate::proxy::switchover::{Others, Told};

/// `ALTER CLUSTER name SWITCHOVER …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// `TO 'host:port' [FORCE]`: this proxy does it, and asks nobody.
    Alone(Aim),
    /// `TO 'host:port' [FORCE] FLEET`: this proxy does it, and the others of its fleet wait.
    Lead(Aim),
    /// `ELSEWHERE TO 'host:port' [FORCE]`: another proxy is about to do it.
    Ready(Aim),
    /// `ELSEWHERE WAIT`: now.
    Wait,
    /// `ELSEWHERE OVER`: it has done it, or will not.
    Over,
}

/// What is to come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The server that is to be the primary.
    pub address: String,
    /// Sessions that cannot move stay behind.
    pub force: bool,
}

impl Input<'_> {
    /// Behind SWITCHOVER.
    pub(super) fn switch_over(&mut self, cluster: String) -> Result<Change, ClientError> {
        let elsewhere = self.keyword("elsewhere");
        if elsewhere && self.keyword("wait") {
            return Ok(Change::SwitchOver(cluster, Order::Wait));
        }
        if elsewhere && self.keyword("over") {
            return Ok(Change::SwitchOver(cluster, Order::Over));
        }
        if !self.keyword("to") {
            let expected =
                if elsewhere { "WAIT, OVER or TO 'host:port'" } else { "TO 'host:port'" };
            let text = format!("ALTER CLUSTER {cluster} SWITCHOVER: expected {expected}");
            return Err(ClientError::syntax(text));
        }
        let aim = Aim { address: self.address()?, force: self.keyword("force") };
        let order = match elsewhere {
            true => Order::Ready(aim),
            false if self.keyword("fleet") => Order::Lead(aim),
            false => Order::Alone(aim),
        };
        Ok(Change::SwitchOver(cluster, order))
    }
}

/// Writes it as it is read.
pub(super) fn spell(f: &mut fmt::Formatter<'_>, cluster: &str, order: &Order) -> fmt::Result {
    write!(f, "ALTER CLUSTER {} SWITCHOVER ", Text(cluster))?;
    match order {
        Order::Alone(aim) => write!(f, "TO {aim}"),
        Order::Lead(aim) => write!(f, "TO {aim} FLEET"),
        Order::Ready(aim) => write!(f, "ELSEWHERE TO {aim}"),
        Order::Wait => f.write_str("ELSEWHERE WAIT"),
        Order::Over => f.write_str("ELSEWHERE OVER"),
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let force = if self.force { " FORCE" } else { "" };
        write!(f, "{}{force}", Text(&self.address))
    }
}

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
