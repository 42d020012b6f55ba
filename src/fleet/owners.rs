//! Who listens there? Sockets and their owners, as `/proc` tells them. Looks, and changes nothing.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::record::Inode;

/// TCP_LISTEN, as `/proc/net/tcp` writes it.
const LISTEN: &str = "0A";
/// SO_ACCEPTCON: what `/proc/net/unix` says of a socket that listens.
const ACCEPTS: &str = "00010000";

/// Sockets of this machine that take connections to this address. Empty if it is somebody else's.
pub(super) fn listening_tcp(address: SocketAddr) -> io::Result<HashSet<Inode>> {
    if !is_local(address.ip())? {
        return Ok(HashSet::new());
    }
    // A machine without IPv6 has no tcp6.
    let table = |name| fs::read_to_string(Path::new("/proc/net").join(name)).unwrap_or_default();
    let tables = [table("tcp"), table("tcp6")];
    let sockets: Vec<_> = tables.iter().flat_map(|table| table.lines().filter_map(tcp)).collect();
    Ok(takers(&sockets, address))
}

/// Sockets that listen at this path.
pub(super) fn listening_unix(path: &Path) -> io::Result<HashSet<Inode>> {
    let table = fs::read_to_string("/proc/net/unix")?;
    let found = table.lines().filter_map(unix).filter(|(listens, _)| Path::new(listens) == path);
    Ok(found.map(|(_, inode)| inode).collect())
}

/// Processes that hold one of these sockets, as far as this user may look into them.
pub(super) fn owners(sockets: &HashSet<Inode>) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if holds(&entry.path(), sockets) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn is_local(ip: IpAddr) -> io::Result<bool> {
    if ip.is_loopback() {
        return Ok(true);
    }
    let mut interfaces = nix::ifaddrs::getifaddrs()?;
    Ok(interfaces.any(|interface| {
        let Some(address) = interface.address else { return false };
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
        v4.or(v6) == Some(ip)
    }))
}

/// Those bound to the very address; or else those bound to every address.
fn takers(sockets: &[(SocketAddr, Inode)], address: SocketAddr) -> HashSet<Inode> {
    let bound = |matches: &dyn Fn(IpAddr) -> bool| -> HashSet<Inode> {
        let at_port = sockets.iter().filter(|(local, _)| local.port() == address.port());
        let found = at_port.filter(|(local, _)| matches(local.ip().to_canonical()));
        found.map(|(_, inode)| *inode).collect()
    };
    let exactly = bound(&|ip| ip == address.ip().to_canonical());
    match exactly.is_empty() {
        false => exactly,
        // One that is bound to :: takes IPv4 too, unless it was told not to.
        true => bound(&|ip| ip.is_unspecified() && (ip.is_ipv6() || address.is_ipv4())),
    }
}

/// A line of `/proc/net/tcp` or `tcp6`: a listening socket.
fn tcp(line: &str) -> Option<(SocketAddr, Inode)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (ip, port) = fields[1].split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits in network order, printed as if they were in ours.
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?))
        }
        _ => return None,
    };
    Some((SocketAddr::new(ip, port), fields.get(9)?.parse().ok()?))
}

/// A line of `/proc/net/unix`: a listening socket with a path.
fn unix(line: &str) -> Option<(&str, Inode)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != ACCEPTS {
        return None;
    }
    // A path may have spaces in it.
    let (_, path) = line.split_once(" /")?;
    Some((&line[line.len() - path.len() - 1..], fields.get(6)?.parse().ok()?))
}

/// Whether a process has one of these sockets open. One that we may not look into has not.
fn holds(process: &Path, sockets: &HashSet<Inode>) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().any(|descriptor| {
        let Ok(target) = fs::read_link(descriptor.path()) else { return false };
        let inode = target.to_str().and_then(|text| text.strip_prefix("socket:["));
        let inode = inode.and_then(|text| text.strip_suffix(']')?.parse().ok());
        inode.is_some_and(|inode| sockets.contains(&inode))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_listening_socket_counts() {
        let rest = "00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 4711 1 0 100";
        let line = format!("0: 0100007F:0B45 {rest}");
        let expected =
            if cfg!(target_endian = "little") { "127.0.0.1:2885" } else { "1.0.0.127:2885" };
        assert_eq!(tcp(&line), Some((expected.parse().unwrap(), 4711)));
        assert_eq!(tcp(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(tcp("  sl  local_address rem_address   st tx_queue"), None);
        let line = "0000: 00000002 00000000 00010000 0001 01 815 /run/o d/admin";
        assert_eq!(unix(line), Some(("/run/o d/admin", 815)));
        assert_eq!(unix(&line.replace("00010000", "00000000")), None);
    }

    #[test]
    fn the_very_address_comes_before_every_address() {
        let sockets = [("0.0.0.0:1", 1), ("10.0.0.1:1", 2), ("[::]:1", 3), ("[::]:2", 4)]
            .map(|(address, inode)| (address.parse().unwrap(), inode));
        for (address, expected) in [
            ("10.0.0.1:1", vec![2]),
            ("10.0.0.2:1", vec![1, 3]),
            ("[fd00::1]:1", vec![3]),
            ("10.0.0.1:2", vec![4]),
            ("10.0.0.1:3", vec![]),
        ] {
            let found = takers(&sockets, address.parse().unwrap());
            assert_eq!(found, expected.into_iter().collect(), "{address}");
        }
    }

    #[test]
    fn our_own_socket_is_ours_and_nobody_else_is_here() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = listening_tcp(listener.local_addr().unwrap()).unwrap();
        assert_eq!(sockets.len(), 1);
        assert!(owners(&sockets).unwrap().contains(&std::process::id()));
        // An address for documentation, which no machine has.
        assert!(listening_tcp("192.0.2.1:2885".parse().unwrap()).unwrap().is_empty());
    }
}
