//! The other proxies of a fleet in a switchover: told to be ready, to wait, and that it is over.
//!
//! Whoever makes one knows the words. Invariant: a proxy that was told to be ready is told that it
//! is over, as long as it can be.

use std::mem;

use tokio::task::JoinSet;

use super::members::Member;
use super::port::Admin;
use crate::error::chain;

/// Statements for the three things that are said.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    pub(crate) ready: String,
    pub(crate) wait: String,
    pub(crate) over: String,
}

/// All others.
pub(crate) struct Others {
    words: Words,
    members: Vec<Member>,
    /// Those that were told something already, by their names.
    lines: Vec<(String, Admin)>,
}

impl Others {
    pub(crate) fn new(members: Vec<Member>, words: Words) -> Self {
        Self { words, members, lines: Vec::new() }
    }

    /// All of them are; or who is not, and why.
    pub(crate) async fn ready(&mut self) -> Result<(), String> {
        let mut connecting = JoinSet::new();
        for member in mem::take(&mut self.members) {
            connecting.spawn(async move { (member.port.connect().await, member.name) });
        }
        let mut silent = Vec::new();
        for (connected, name) in connecting.join_all().await {
            match connected {
                Ok(admin) => self.lines.push((name, admin)),
                Err(trouble) => silent.push(format!("{name}: {}", chain(&trouble))),
            }
        }
        match silent.is_empty() {
            true => self.say(self.words.ready.clone()).await,
            false => Err(silent.join("; ")),
        }
    }

    /// All of them do; or who does not, and why.
    pub(crate) async fn wait(&mut self) -> Result<(), String> {
        self.say(self.words.wait.clone()).await
    }

    /// Whoever does not hear it goes on by himself after a while.
    pub(crate) async fn over(&mut self) {
        if let Err(why) = self.say(self.words.over.clone()).await {
            tracing::warn!(why, "a switchover is over, and not all proxies were told");
        }
        for (_, admin) in mem::take(&mut self.lines) {
            admin.quit().await;
        }
    }

    async fn say(&mut self, statement: String) -> Result<(), String> {
        let mut saying = JoinSet::new();
        for (name, mut admin) in mem::take(&mut self.lines) {
            let statement = statement.clone();
            saying.spawn(async move { (admin.order(&statement).await, name, admin) });
        }
        let mut whys = Vec::new();
        for (said, name, admin) in saying.join_all().await {
            whys.extend(said.err().map(|trouble| format!("{name}: {}", chain(&trouble))));
            self.lines.push((name, admin));
        }
        whys.sort();
        if whys.is_empty() { Ok(()) } else { Err(whys.join("; ")) }
    }
}
