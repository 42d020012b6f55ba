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
mod peers;
mod scene;
mod state;
