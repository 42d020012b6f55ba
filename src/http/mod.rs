//! The HTTP port: figures and health for machines, the API for programs, the console for people.
//!
//! ```text
//! port       a connection: TLS or not, limits, deadlines
//!   dispatch   whose path it is, and what every answer carries
//!     pages      the console: HTML
//!     api        /api/v1: JSON; its routes are one table, which is its OpenAPI document too
//!       events     what changes, as server-sent events
//!       fleet      its proxies and tasks; look: all of them asked at once, for all who look
//!       parts      what of a page is the same for everybody
//!       door       everything is a command of the admin port, asked by somebody
//!         who        tokens, log-ins, and who fails too often
//!           resource, idempotency, request, reply, store
//! ```
//! Nothing is decided here: what is shown are tables of SHOW, what is done are the changes that
//! SQL asks for, and `admin` judges and carries them out. Invariant: without `[console] enabled`
//! there are `/metrics`, `/healthz` and `/readyz`, and nothing else.

mod api;
mod dispatch;
mod door;
mod estate;
mod events;
mod fleet;
mod health;
mod idempotency;
mod look;
mod pages;
mod parts;
pub mod port;
mod reply;
mod request;
mod resource;
mod service;
mod store;
mod who;

pub use service::Http;
