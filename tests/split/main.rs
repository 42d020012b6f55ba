//! Reads on replicas: one session, several servers, and answers as of one.

#[path = "../support/mod.rs"]
mod support;

mod after;
mod alone;
mod causal;
mod demoted;
mod differential;
mod drain;
mod forbidden;
mod kill;
mod lost;
mod memory;
mod metrics;
mod moved;
mod mysql;
mod near;
mod pair;
mod prepared;
mod rest;
mod restart;
mod routines;
mod same;
mod second;
mod several;
mod swallowed;
mod transactions;
mod triggers;
mod turned;
mod vocabulary;
mod warnings;
mod wishes;
