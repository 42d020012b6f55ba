//! Servers in a config that are the proxy itself: each log-in there would make the next.
//!
//! Only what is certain is said; [`crate::proxy`] notices the rest when it happens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::ports::target;
use crate::config::{Config, Flaw, ListenAddress, ServerAddress};
use crate::net::listen::{Address, Families};

/// How long all names may take to resolve; one that takes longer is not looked at.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far names are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// They are resolved. Blocks.
    Resolved,
    /// They are somebody else's.
    AsTheyAre,
}

/// The servers that are one of our own listening addresses.
pub(super) fn listed(config: &Config, names: Names) -> Vec<Flaw> {
    let clusters = config.cluster.iter().enumerate();
    let servers: Vec<(String, &str, &ServerAddress)> = clusters
        .flat_map(|(at, cluster)| {
            let servers = cluster.server.iter().enumerate();
            servers.map(move |(of, it)| {
                (format!("cluster.{at}.server.{of}.address"), &*cluster.name, &it.address)
            })
        })
        .collect();
    let addresses = resolved(servers.iter().map(|(.., server)| *server), names);
    let (local, listeners) = (local_addresses(), config.listeners());
    let judge =
        |((path, cluster, server), addresses): (&(String, &str, &ServerAddress), Vec<_>)| {
            let is_it = |(at, _): &&(&ListenAddress, String)| match (at, server) {
                (ListenAddress::Unix(at), ServerAddress::Unix(server)) => is_same_file(at, server),
                (ListenAddress::Tcp(address), ServerAddress::Tcp { .. }) => {
                    let takes_both = Address::Tcp(*address, Families::Both);
                    let families = match target(at, config) == takes_both {
                        true => Families::Both,
                        false => Families::Own,
                    };
                    let is_own = |server: &SocketAddr| is_own(*address, families, *server, &local);
                    !addresses.is_empty() && addresses.iter().all(is_own)
                }
                (ListenAddress::Tcp(_), _) | (ListenAddress::Unix(_), _) => false,
            };
            let (listener, key) = listeners.iter().find(is_it)?;
            let what = format!("the proxy itself listens there, on {listener}");
            // If the listener is wrong itself, it is none of ours that we know of.
            Some(Flaw::new(path, format!("cluster '{cluster}': server {server}: {what}")).and(key))
        };
    servers.iter().zip(addresses).filter_map(judge).collect()
}

/// Whether who connects to the server's address comes to this listener.
fn is_own(listener: SocketAddr, families: Families, server: SocketAddr, local: &[IpAddr]) -> bool {
    // Who connects to the unspecified address comes to the loopback.
    let target = match server.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let at = listener.ip().to_canonical();
    let is_there = match at.is_unspecified() {
        true => {
            let is_here = target.is_loopback() || local.contains(&target);
            is_here && (families == Families::Both || at.is_ipv4() == target.is_ipv4())
        }
        false => at == target,
    };
    listener.port() == server.port() && is_there
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    one == other || whole(one).is_some_and(|one| Some(one) == whole(other))
}

/// The addresses of this machine's interfaces.
fn local_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| interface.address);
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
    };
    addresses.filter_map(ip).collect()
}

/// The addresses of each, as far as they are known; none of Unix sockets.
fn resolved<'s>(
    servers: impl Iterator<Item = &'s ServerAddress>,
    names: Names,
) -> Vec<Vec<SocketAddr>> {
    let deadline = Instant::now() + PATIENCE;
    let asked = servers.map(|server| {
        let (told, answer) = channel();
        if let ServerAddress::Tcp { host, port } = server {
            match host.parse::<IpAddr>() {
                Ok(ip) => drop(told.send(vec![SocketAddr::new(ip, *port)])),
                Err(_) if names == Names::Resolved => {
                    let name = (host.clone(), *port);
                    // A resolver that is silent keeps its thread; nobody waits for that.
                    std::thread::spawn(move || {
                        let found = name.to_socket_addrs().into_iter().flatten().collect();
                        let _ = told.send(found);
                    });
                }
                Err(_) => {}
            }
        }
        answer
    });
    let asked: Vec<_> = asked.collect();
    let answer = |answer: std::sync::mpsc::Receiver<Vec<SocketAddr>>| {
        let left = deadline.saturating_duration_since(Instant::now());
        answer.recv_timeout(left).unwrap_or_default()
    };
    asked.into_iter().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_at_our_own_address_is_told_from_others() {
        let local: [IpAddr; 2] = ["10.0.0.5", "fd00::5"].map(|it| it.parse().expect("an address"));
        for (listener, server, expected) in [
            ("127.0.0.1:2883", "127.0.0.1:2883", true),
            ("127.0.0.1:2883", "127.0.0.1:3306", false),
            ("127.0.0.1:2883", "127.0.0.2:2883", false),
            ("127.0.0.1:2883", "0.0.0.0:2883", true),
            ("127.0.0.1:2883", "[::ffff:127.0.0.1]:2883", true),
            ("127.0.0.1:2883", "10.0.0.5:2883", false),
            ("10.0.0.5:2883", "10.0.0.5:2883", true),
            ("10.0.0.5:2883", "0.0.0.0:2883", false),
            ("0.0.0.0:2883", "127.0.0.7:2883", true),
            ("0.0.0.0:2883", "10.0.0.5:2883", true),
            ("0.0.0.0:2883", "10.0.0.6:2883", false),
            ("0.0.0.0:2883", "[::1]:2883", false),
            ("[::]:2883", "[::1]:2883", true),
            ("[::]:2883", "[fd00::5]:2883", true),
            ("[::]:2883", "[::]:2883", true),
            ("[::]:2883", "127.0.0.1:2883", false),
        ] {
            let [one, other] = [listener, server].map(|it| it.parse().expect("an address"));
            let found = is_own(one, Families::Own, other, &local);
            assert_eq!(found, expected, "{listener} {server}");
        }
        let [any, v4, v6] = ["[::]:1", "127.0.0.1:1", "[::1]:1"].map(|it| it.parse().expect("one"));
        assert!(is_own(any, Families::Both, v4, &local) && is_own(any, Families::Both, v6, &local));
    }

    #[test]
    fn the_same_socket_by_another_path_is_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        assert!(is_same_file(&real, &real) && !is_same_file(&real, &link));
        std::fs::write(&real, "").expect("ours");
        std::os::unix::fs::symlink(&real, &link).expect("ours");
        assert!(is_same_file(&real, &link));
    }
}
