//! The MySQL protocol through the proxy: each case P-n is one where some proxy failed.
//!
//! A case is a script. It runs directly and through the proxy, with and without DEPRECATE_EOF, and
//! the bytes it gets must be the same, but for the connection id; see `support/compare.rs`.

#[path = "../support/mod.rs"]
mod support;

/// `on!(p_09_x: mariadb, mysql)` makes a test of the script of that name on each server.
macro_rules! on {
    ($script:ident: $($server:ident),+) => {
        on!($script with []: $($server),+);
    };
    ($script:ident with $options:tt: $($server:ident),+) => {
        mod $script {
            $(
                #[test]
                fn $server() {
                    let server = crate::server(stringify!($server));
                    crate::support::transparent_with(server, &$options, super::$script);
                }
            )+
        }
    };
}

mod commands;
mod compression;
mod downgrade;
mod framing;
mod ids;
mod kill;
mod limits;
mod results;
mod seekdb;
mod split;
mod state;
mod steps;

fn server(name: &str) -> support::Server {
    match name {
        "mariadb" => support::Server::MariaDb,
        "mysql" => support::Server::MySql,
        other => panic!("no server is called {other}"),
    }
}
