//! Restarts with real processes under load: each case T-n is one in which some proxy failed.

#[path = "../support/mod.rs"]
mod support;

mod chain;
mod classic;
mod failures;
mod hostile;
mod leaving;
mod limits;
mod metrics;
mod neighbours;
mod pause;
mod peers;
mod probation;
mod rehearsal;
mod scene;
mod state;
