//! The API of the HTTP port, by a real client of a real process.

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod document;
mod events;
mod fleet;
mod hostile;
mod operators;
mod orders;
mod others;
mod restart;
mod scene;
mod schema;
mod statements;
mod unread;
mod who;
