//! Counters: what is counted, and how it adds up across sessions and generations.
//!
//! A session counts into [`SessionCounters`] of its own (one writer, no lock, no contended cache
//! line); whoever reads adds them up as [`Totals`]. Totals of ended sessions and of predecessors
//! are kept apart, so that no sum ever goes back.

pub mod latency;
pub mod pauses;

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+) => {
        /// What one session has done. Written by its own task alone.
        #[derive(Debug, Default)]
        pub struct SessionCounters {
            $($(#[doc = $help])+ pub $name: Counter,)+
        }

        /// Sums of [`SessionCounters`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Totals {
            $($(#[doc = $help])+ pub $name: u64,)+
        }

        impl SessionCounters {
            /// The values as they stand.
            pub fn totals(&self) -> Totals {
                Totals { $($name: self.$name.value(),)+ }
            }

            /// Counters that go on from these values: a session that moved here.
            pub fn resumed(totals: &Totals) -> Self {
                Self { $($name: Counter::new(totals.$name),)+ }
            }
        }

        impl Totals {
            /// Adds another sum to this one.
            pub fn add(&mut self, other: &Totals) {
                $(self.$name += other.$name;)+
            }

            /// Takes over whatever is higher in another sum.
            pub fn raise_to(&mut self, other: &Totals) {
                $(self.$name = self.$name.max(other.$name);)+
            }

            /// Every sum with its name and what it means.
            pub fn rows(&self) -> Vec<(&'static str, u64, &'static str)> {
                vec![$((stringify!($name), self.$name, concat!($($help),+).trim_ascii()),)+]
            }
        }
    };
}

counters! {
    /// Clients that connected.
    total_client_connections,
    /// Of those, turned away because of a limit: of all, of their user or of their address.
    refused_client_connections,
    /// Commands that clients sent.
    client_requests,
    /// SELECT statements.
    client_select_requests,
    /// INSERT and REPLACE statements.
    client_insert_requests,
    /// UPDATE statements.
    client_update_requests,
    /// DELETE statements.
    client_delete_requests,
    /// Other statements and commands.
    client_other_requests,
    /// Of those, statements that change definitions, accounts or rights.
    client_ddl_requests,
    /// Transactions that ended.
    client_transactions,
    /// Answers that were OK packets.
    server_ok_responses,
    /// Answers that were ERR packets.
    server_error_responses,
    /// Answers that were result sets.
    server_resultset_responses,
    /// Bytes from clients to servers.
    request_bytes,
    /// Bytes from servers to clients.
    response_bytes,
    /// Sessions whose protocol could not be followed any more; their bytes are copied as they come.
    opaque_sessions,
    /// TLS handshakes with clients that succeeded.
    client_tls_handshakes,
    /// TLS handshakes with clients that failed.
    client_tls_failures,
    /// TLS handshakes with servers that succeeded.
    server_tls_handshakes,
    /// TLS handshakes with servers that failed.
    server_tls_failures,
}

/// A counter with one writer: a plain add, no locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Adds to it. Only the owner may.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value, for any reader.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
