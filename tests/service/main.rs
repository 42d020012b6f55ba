//! The proxy as a client of servers: its own log-ins, what it asks, and what it sees of roles.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod plugins;
mod programs;
mod roles;
mod scene;
mod trouble;
