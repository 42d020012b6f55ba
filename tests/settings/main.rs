//! What operators alter at one proxy of a fleet is altered at all of them, by an etcd; and whatever
//! becomes of that etcd, every proxy serves on with what it knows, and says so.

#[path = "../support/mod.rs"]
mod support;

mod etcd;
mod faults;
mod scene;
mod users;
