//! Restarts with real processes under load: each case T-n is one in which some proxy failed.
//!
//! Where each is tested, by the numbers in the names of the tests; `tests/tidy/main.rs` keeps the
//! list true. A number that says why not has no test of its own.
//!
//! ```text
//! T-1   failures: bad configs, taken ports, programs that are no successors
//! T-2   crash_points: dead successors, and a good restart at once after each
//! T-3   crash_points: the predecessor dies in each phase
//! T-4   failures, crash_points: either side hangs
//! T-5   failures: a stale socket without a predecessor is a cold start
//! T-6   chain: commands back to back
//! T-7   chain, crash_points: many in a row, also with every third failing
//! T-8   leaving: half-open, stuck, connecting, log-ins that do not go on
//! T-9   leaving: the CPU of a predecessor that waits
//! T-10  limits: RLIMIT_NOFILE just below and at what is needed
//! T-11  chain: a second restart while one is under way
//! T-12  failures: the takeover path leads to something else
//! T-13  crash_points: descriptors that the kernel does not deliver; its cause there is the limit
//! T-14  tls: both legs; tests/login has every combination of legs
//! T-15  failures: no pidfile, no run_dir
//! T-16  state: partial packets and unread bytes in both directions
//! T-17  state: the differential test of what a session remembers
//! T-18  chain: ages and timers go on
//! T-19  failures: a config without the server in use
//! T-20  chain: silent clients
//! T-21  chain: descriptors, memory, close-on-exec
//! T-22  limits: sixteen descriptors left, and none
//! T-23  chain: ids stay, are unique, and KILL finds them
//! T-24  crash_points: sessions that the successor refuses
//! T-25  crash_points: the successor panics at the first, the tenth, a last session
//! T-26  tls: keys change around restarts, the clients' and the servers'; tests/tls/records.rs
//! T-27  metrics: scraped without a pause
//! T-28  peers: no address refuses
//! T-29  failures, crash_points: a successor that never comes, or goes
//! T-30  src/restart/tests/mod.rs: three hundred listeners with the longest names
//! T-31  chain: the same listening sockets
//! T-32  chain: the predecessor exits as soon as it is empty
//! T-33  crash_points: a slow successor, with time and without
//! T-34  crash_points: the successor fails between LISTEN and ACCEPT
//! T-35  failures: the binary is replaced all the time
//! T-36  crash_points: the successor is killed with the listeners
//! T-37  chain: a flood of connects
//! T-38  tests/notify.rs: what systemd is told; systemd-nspawn needs a machine that boots systemd
//! T-39  tests/notify.rs: BARRIER before the predecessor exits
//! T-40  tests/supervise.rs: a PID namespace in the place of a container
//! T-41  not here: it needs a Kubernetes cluster; a pod's end is SIGTERM, as in tests/cli.rs
//! T-42  leaving: the next statement of an idle connection
//! T-43  limits: ten thousand prepared statements, large log-ins
//! T-44  state: prepared statements, long data, bound types, cursors
//! T-45  peers: sessions of dead clients end
//! T-46  leaving: every close is heard at once
//! T-47  tls: megabytes across ten restarts; no kTLS is used
//! T-48  neighbours: two proxies of one user on one host
//! ```

#[path = "../support/mod.rs"]
mod support;

#[path = "../tls/support.rs"]
#[allow(dead_code)]
mod ends;

mod chain;
mod classic;
mod failures;
mod hostile;
mod leaving;
mod limits;
mod metrics;
mod neighbours;
mod orders;
mod pause;
mod peers;
mod probation;
mod rehearsal;
mod scene;
mod state;
mod terminator;
mod tls;

use support::pki;
