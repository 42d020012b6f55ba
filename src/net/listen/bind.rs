//! Binding, and whether clients still find what was bound.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::net::private;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP, v4 or v6.
    Tcp(SocketAddr, Families),
    /// The path of a Unix socket, for everybody.
    Unix(PathBuf),
    /// The path of a Unix socket, for its owner alone.
    Private(PathBuf),
}

/// Which clients `[::]` is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Families {
    /// Those of the address: somebody else listens for the others.
    Own,
    /// v4 as well.
    Both,
}

/// The file of a Unix socket: no other file is taken for it, even if it is in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    device: u64,
    inode: u64,
    /// Inodes are used again, sometimes at once. None where the file system does not tell.
    #[serde(default)]
    born_ns: Option<u64>,
}

/// Why clients do not find a listener any more.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// The path leads nowhere.
    #[error("its file: {0}")]
    Gone(io::Error),
    /// The path leads to somebody else.
    #[error("its file is another one")]
    Replaced,
    /// Somebody has shut it down.
    #[error("it does not listen any more")]
    Deaf,
}

impl FileId {
    /// Of the file that is there now.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.and_then(|born| u64::try_from(born.as_nanos()).ok());
        Ok(Self { device: metadata.dev(), inode: metadata.ino(), born_ns })
    }
}

/// A socket that listens, and its file if it has one.
pub(super) fn bind(address: &Address) -> io::Result<(Socket, Option<FileId>)> {
    let (socket, file) = match address {
        Address::Tcp(address, families) => (bind_tcp(*address, *families)?, None),
        Address::Unix(path) => {
            let socket = bind_unix(path)?;
            (socket, Some(FileId::of(path)?))
        }
        Address::Private(path) => {
            let socket = private::bind(path)?;
            (socket, Some(FileId::of(path)?))
        }
    };
    listen(&socket)?;
    socket.set_nonblocking(true)?;
    Ok((socket, file))
}

/// Listens, or listens again.
pub(super) fn listen(socket: &Socket) -> io::Result<()> {
    socket.listen(BACKLOG)
}

/// Looks at it as a client would.
pub(super) fn look(
    address: &Address,
    socket: &Socket,
    file: Option<FileId>,
) -> Result<(), Unreachable> {
    if !socket.is_listener().unwrap_or(false) {
        return Err(Unreachable::Deaf);
    }
    match address {
        Address::Tcp(..) => Ok(()),
        Address::Unix(path) | Address::Private(path) => match FileId::of(path) {
            Ok(found) if Some(found) == file => Ok(()),
            Ok(_) => Err(Unreachable::Replaced),
            Err(error) => Err(Unreachable::Gone(error)),
        },
    }
}

fn bind_tcp(address: SocketAddr, families: Families) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Not as net.ipv6.bindv6only says: it has to mean the same everywhere.
        socket.set_only_v6(families == Families::Own)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_unix(path: &Path) -> io::Result<Socket> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse || !is_stale(path, &address)? {
            return Err(error);
        }
        std::fs::remove_file(path)?;
        socket.bind(&address)?;
    }
    // As servers do: who may log in is decided by user and password.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    Ok(socket)
}

/// Whether the file is a socket that nobody listens on.
fn is_stale(path: &Path, address: &SockAddr) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Somebody whose queue is full lives.
    probe.set_nonblocking(true)?;
    Ok(probe.connect(address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}
