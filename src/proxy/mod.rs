//! The data plane.
pub mod view;
