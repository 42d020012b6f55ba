//! Reads on replicas: one session, several servers, and answers as of one.

#[path = "../support/mod.rs"]
mod support;

mod causal;
mod pair;
mod same;
