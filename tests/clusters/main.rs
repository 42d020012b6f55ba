//! Several clusters behind one port, their servers' roles, and what operators may do with them.

#[path = "../support/mod.rs"]
mod support;

mod alter;
mod drain;
mod galera;
mod group;
mod health;
mod names;
mod nearness;
mod oceanbase;
mod plain;
mod roles;
mod scene;
mod switchover;
mod white_list;
