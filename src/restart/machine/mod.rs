//! What happens next in a restart. Pure: no runtime, clock, log, socket or environment; `now` is a
//! parameter, and what is to be done is an action that a driver performs.

pub mod liveness;
pub mod plan;
pub mod predecessor;
pub mod probation;
pub mod shipment;
pub mod successor;
