//! A listening Unix socket for its owner alone, in a directory of his.
//!
//! Its path may be longer than the 107 bytes that an address holds: it is named from its directory.
//! Invariant: a socket that somebody listens at is never replaced.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// A name that an address can hold, for a file in a directory.
#[derive(Debug)]
pub struct Way {
    directory: File,
    path: PathBuf,
}

impl Way {
    /// To a file whose directory is there.
    pub fn to(path: &Path) -> io::Result<Self> {
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or(Path::new(".")))?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        Ok(Self { directory, path })
    }

    /// The name; it is good while this lives.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who the directory belongs to, and its mode.
    pub fn owner(&self) -> io::Result<(u32, u32)> {
        let found = self.directory.metadata()?;
        Ok((found.uid(), found.mode()))
    }
}

/// Binds and listens. What a dead process has left there is replaced.
pub fn bind(path: &Path) -> io::Result<Socket> {
    let way = Way::to(path)?;
    if is_alive(way.path())? {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
    }
    // Made under another name, so that it is complete when it is found.
    let fresh = way.path().with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&fresh)?)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    std::fs::rename(&fresh, way.path())?;
    Ok(socket)
}

/// Whether somebody listens there. What is there and no socket is an error.
fn is_alive(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "expected a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    let refused = probe.connect(&SockAddr::unix(path)?);
    Ok(!refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::net::listen::FileId;

    #[test]
    fn only_what_is_dead_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x".repeat(120)).join("socket");
        assert!(bind(&path).is_err(), "its directory is not made here");
        std::fs::create_dir(path.parent().expect("it has one")).expect("a fresh directory");
        let living = bind(&path).expect("longer than an address");
        let first = FileId::of(&path).expect("a socket");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let error = bind(&path).expect_err("somebody listens there");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(FileId::of(&path).ok(), Some(first));
        UnixStream::connect(Way::to(&path).expect("a way").path()).expect("it listens");
        drop(living);
        let _next = bind(&path).expect("nobody listens there");
        assert_ne!(FileId::of(&path).ok(), Some(first));
        std::fs::remove_file(&path).expect("ours");
        std::fs::write(&path, "").expect("ours");
        assert!(bind(&path).is_err() && path.is_file(), "a file is nobody's to replace");
    }
}
