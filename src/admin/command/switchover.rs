//! ALTER CLUSTER … SWITCHOVER: what an operator says to one proxy, and that one to the others.

use std::fmt;

use super::spell::Text;
use super::{Change, Input};
use crate::error::ClientError;

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

impl Order {
    /// This proxy does it; those of its fleet wait, if they are to.
    pub fn here(aim: Aim, with_fleet: bool) -> Self {
        if with_fleet { Self::Lead(aim) } else { Self::Alone(aim) }
    }
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
            false => Order::here(aim, self.keyword("fleet")),
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
