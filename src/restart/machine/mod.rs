//! What happens next in a restart. Pure: no runtime, clock, log, socket or environment; `now` is a
//! parameter, and what is to be done is an action that a driver performs.

pub(super) mod liveness;
pub(super) mod plan;
pub(super) mod predecessor;
pub(super) mod probation;
pub(super) mod shipment;
pub(super) mod successor;
