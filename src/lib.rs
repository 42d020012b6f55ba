//! odp.
pub mod cli;
pub mod config;
pub mod error;
pub mod metrics;
pub mod net;
pub mod proxy;
pub mod restart;
pub mod route;
pub mod session;
pub mod sql;
pub mod wire;
