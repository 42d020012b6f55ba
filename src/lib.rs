//! odp: a MySQL-protocol proxy that owns its own hot restart.
//!
//! # The house
//!
//! Data goes one way: `net → wire → session → (sql, route) → session → wire → net`, turned by one
//! loop, [`proxy::relay`].
//!
//! | layer | modules | may use |
//! |---|---|---|
//! | 0 | [`wire`], [`sql`], [`error`], [`metrics`], [`buffer`], `names` | std, serde, and crates that only compute: bytes, memchr, flate2, zstd, sha1, subtle, zeroize; error: wire |
//! | 0 | [`task`] | std, tokio, tracing |
//! | 0 | `position` | std, nix, rustix |
//! | 0 | `state`, `lock` | std |
//! | 1 | [`journal`] | std, nix, rustix, serde, zeroize, [`buffer`], `position`, `lock` |
//! | 1 | [`session`], [`route`] | layer 0. Not tokio, tracing, clocks, randomness |
//! | 1 | [`net`], [`restart`] | std, tokio, nix, rustix, serde, [`error`], [`metrics`], [`config`], [`task`]; `position`; net: socket2, rustls, [`buffer`]; restart: `names`. Not wire, session, route, nor each other |
//! | 1 | [`config`] | std, serde, toml, and crates that only compute |
//! | 1 | [`log`] | std, tracing, nix, [`config`] |
//! | 2 | [`proxy`] | layers 0 and 1; of restart only its `DataPlane` and what that names |
//! | 3 | [`fleet`] | std, tokio, mysql_async, hyper, error, config, names, state, task; what it takes of net to ask other proxies; restart's handle, tasks and `prepare_run_dir` |
//! | 4 | [`admin`] | wire, error, metrics, config, log, task, lock; a stream and its TLS of net; views and handles of proxy and restart, whoever logs in to us at the clients' port; fleet's `tasks`, `settings`, `switchover` and `hour`, and how it quotes |
//! | 5 | [`http`] | admin, wire, error, config, task, lock; a stream and its TLS of net; what restarts are asked by, of one proxy and of a fleet, and how that quotes |
//! | 6 | [`app`] | error, config, log, journal, task, net, proxy, restart, admin, http, state, fleet's `record`, `tasks`, `settings` and flaws of `tls` |
//! | 6 | [`load`] | std, tokio, mysql_async, error, metrics, log, task, fleet |
//! | 7 | [`cli`], [`fuzz`], `main.rs` | everything; nobody else imports them |
//!
//! What "some of it" is the test `tidy` lists, in `views.rs`.
//!
//! # Where things are
//!
//! - [`wire`]: MySQL on the wire, pure. Packets, handshake, commands, where an answer ends.
//! - [`sql`]: what a statement starts with, what it may do to a session. Pure.
//! - [`buffer`]: bytes in transit, in memory that is given back when idle.
//! - `position`: how far a socket was used, by whomever.
//! - [`journal`]: what is known of each session, where it outlives this process.
//! - `state`: files that outlive every process, each written whole.
//! - `lock`: locks that outlive a panic.
//! - `names`: enums whose variants have a name on the wire or in a table.
//! - [`session`]: what we know about one client, sans-IO. Bytes in, bytes to pass on out. Also what
//!   a server knows of it, as questions and answers.
//! - [`route`]: where a session goes, and each of its statements. Pure decisions.
//! - [`net`]: listeners, streams, TLS, buffers. No MySQL in there.
//! - [`proxy`]: the data plane. Log-in, relay, registry of sessions; the only place where session,
//!   route and net meet. Implements [`restart::DataPlane`].
//! - [`restart`]: the handover from one process to the next. Knows sockets and opaque parcels. Its
//!   own map is there: rooms that use each other in one direction only.
//! - [`log`]: lines on stderr, for which nobody waits.
//! - [`task`]: tasks, and what becomes of them when they panic.
//! - [`admin`]: commands → handles → rows; the MySQL admin port; the audit.
//! - [`http`]: the HTTP port: figures, the API and the console, over the commands of admin.
//! - [`app`]: what `odp run` is: all of the above put together, its ports, its signals.
//! - [`fleet`]: other odp processes, on this machine and elsewhere: asked, restarted in turn, by
//!   tasks that outlive the process that coordinates them, known from outside when they hang. Also
//!   what they have in common: what operators have altered, in etcd.
//! - [`load`]: the continuity tester: what clients feel while a proxy restarts.
//! - [`cli`]: one file a subcommand: its arguments, and what it prints.
//! - [`fuzz`]: entry points for fuzzing, nothing else.
//!
//! # Where to add
//!
//! - *A command of SHOW*: an entry of `SHOWS` in `admin/show.rs`: its words, what may follow them,
//!   its rows. Nobody else is told.
//! - *Another admin command*: a variant of `Change` in `admin/command/mod.rs` if it may change
//!   something, and only managers may ask it; of `Command` if it only looks. The compiler then asks
//!   for what it does. Of a change it also asks for its words (`spell.rs`), and the tests there for
//!   some of it, which the grammar must make of those words.
//! - *A key of `[[cluster]]`*: an entry of `keys!` in `config/cluster/mod.rs`; ALTER CLUSTER knows
//!   it then.
//! - *State of a session that nobody can carry to another server*: a bit of
//!   [`sql::analysis::Changes`], set where a statement is told to make it, and a pin in
//!   `session/portable/pins.rs`, which says what undoes it. State that can be carried is a line of
//!   `session/state/pull.rs` and of `push.rs`, and `compare.rs` finds out whether it arrived.
//! - *A reason for a statement to go elsewhere*: a row of the table in [`route`]'s docs, which is
//!   its test.
//! - *A user variable by which clients ask something of us*: a variant of
//!   [`sql::analysis::wishes::Variable`], and what it means in `session/wishes.rs`.
//! - *A route of the API*: an entry of `ROUTES` in `http/api/route.rs`, and what it does in
//!   `operation.rs`; the OpenAPI document has it then. A field of an answer is one in
//!   `http/resource.rs`, from a column of SHOW.
//! - *A page of the console*: a file of `http/pages`, and a line in its `mod.rs`.
//! - *A parameter*: an entry in `config/proxy.rs`: key, type, default, kind of values, what it
//!   does. A new kind of values is one in `config/parameter/kind.rs`. `config/odp.toml` shows the
//!   default. A key of `[tls.*]` is one in `config/tls.rs`, and `config/parameter/tls.rs` does not
//!   compile without it. A key of `[[cluster]]` that may be altered is one in
//!   `config/cluster/mod.rs`.
//! - *What has to be known of a session's server*: a field of [`session::link::Link`], written
//!   where an answer is judged. Who packs and unpacks it (`session/snapshot.rs`) names every field,
//!   so it says there what becomes of it in a restart: optional in the parcel, as neighbouring
//!   versions do not tell it. So does who writes down what a crash leaves (`session/link/hot.rs`):
//!   in its words if it changes with each message; if it seldom does it is watched, and `version`
//!   tells that it has. What other sessions or people may know of it is one of
//!   `proxy::sessions`' `Facts` and of its `SessionView`.
//!
//! # What holds it together
//!
//! A session can be frozen at any instant after its log-in. So nothing about it hides in a future:
//! its state is a [`session::Session`] and a lane of bytes for each direction, its sockets are read
//! into those and nowhere else, and a [`restart::Parcel`] is all three of them. The [`journal`] has
//! the same, outside of this process, as of before each use of a socket.

pub mod admin;
pub mod app;
pub mod buffer;
pub mod cli;
pub mod config;
pub mod error;
pub mod fleet;
pub mod fuzz;
pub mod http;
pub mod journal;
pub mod load;
mod lock;
pub mod log;
pub mod metrics;
mod names;
pub mod net;
mod position;
pub mod proxy;
pub mod restart;
pub mod route;
pub mod session;
pub mod sql;
mod state;
pub mod task;
pub mod wire;
