//! Memory that a process and its clone share, and that outlives either.
//!
//! Nobody can shrink it, so that no access can fault; no core dump has it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::libc;
use rustix::fs::{MemfdFlags, SealFlags};

use crate::buffer::arena::{Arena, Kind};

/// The memory. It is mapped until the process ends.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    fd: OwnedFd,
}

// SAFETY: words are atomics, and bytes of a place are its owner's; the mapping does not move.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// So much of it, all zeroes; none of it is taken before it is written to.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("odp-journal", flags)?;
        rustix::fs::ftruncate(&fd, len as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::of(fd, len)
    }

    /// The same, where nobody else sees it: of memory that is no other process's, is not dumped and
    /// not swapped, where the system has such; else as near to it as may be, and why.
    pub(super) fn secret(len: usize) -> io::Result<(Self, Option<io::Error>)> {
        let why = match Self::unseen(len) {
            Ok(secret) => return Ok((secret, None)),
            Err(why) => why,
        };
        let usual = Self::new(len)?;
        // SAFETY: it is a mapping of ours. There may be a limit, and then it is as the heap is.
        unsafe { libc::mlock2(usual.base.as_ptr().cast(), len, libc::MLOCK_ONFAULT) };
        Ok((usual, Some(why)))
    }

    /// An error where there is no such memory, or not so much.
    fn unseen(len: usize) -> io::Result<Self> {
        // SAFETY: it makes a descriptor, or says why not.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        let Some(fd) = i32::try_from(fd).ok().filter(|fd| *fd >= 0) else {
            return Err(io::Error::last_os_error());
        };
        // SAFETY: it was made just now and is nobody's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // It can be given a length once only.
        rustix::fs::ftruncate(&fd, len as u64)?;
        Self::of(fd, len)
    }

    /// Of a file of this length, which cannot shrink.
    fn of(fd: OwnedFd, len: usize) -> io::Result<Self> {
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_NORESERVE);
        // SAFETY: a new mapping of a file of this length, which cannot shrink.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, fd.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping was made just now. Where it is not possible there is no harm.
        unsafe { libc::madvise(base, len, libc::MADV_DONTDUMP) };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len, fd })
    }

    /// The same memory, as another process has it.
    #[cfg(test)]
    pub(super) fn again(&self) -> Self {
        let fd = self.fd.try_clone().expect("a descriptor");
        Self { base: self.base, len: self.len, fd }
    }

    /// Its descriptor.
    pub(super) fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// A word that is known to be there.
    pub(super) fn word(&self, at: usize) -> &AtomicU64 {
        self.find(at).expect("words of slots that there are")
    }

    /// So many words that are known to be there.
    pub(super) fn words<const N: usize>(&self, at: usize) -> &'static [AtomicU64; N] {
        let end = (at + N) * size_of::<u64>();
        assert!(end <= self.len, "words of slots that there are");
        // SAFETY: it is within the mapping, which begins at a page and lasts as long as the
        // process; all values are valid, and every access to it as words is atomic.
        unsafe { self.base.add(at * size_of::<u64>()).cast().as_ref() }
    }

    /// The same of an annex.
    pub(super) fn slice(&self, at: usize, count: usize) -> &'static [AtomicU64] {
        let end = (at + count) * size_of::<u64>();
        assert!(end <= self.len, "words of places that there are");
        // SAFETY: as in `words`.
        unsafe {
            let first = self.base.add(at * size_of::<u64>()).cast().as_ptr();
            std::slice::from_raw_parts(first, count)
        }
    }

    /// So many pieces from there on, which nobody else is to use.
    pub(super) fn arena(&self, at: usize, kind: Kind, pieces: u32) -> Arena {
        assert!(at + pieces as usize * kind.size() <= self.len, "pieces within the journal");
        // SAFETY: it is within the mapping, which lasts as long as the process. Other places and
        // words lie before it, and whoever used it before is dead.
        unsafe { Arena::over(self.base.add(at), kind, pieces, release) }
    }

    /// What a word says, if it is there.
    pub(super) fn get(&self, at: usize) -> Option<u64> {
        self.find(at).map(|word| word.load(std::sync::atomic::Ordering::Acquire))
    }

    fn find(&self, at: usize) -> Option<&AtomicU64> {
        let begin = at.checked_mul(size_of::<u64>())?;
        let end = begin.checked_add(size_of::<u64>())?;
        // SAFETY: it is within the mapping, which begins at a page and lives as long as `self`; all
        // values are valid, and every access to it as a word is atomic.
        (end <= self.len).then(|| unsafe { self.base.add(begin).cast().as_ref() })
    }

    /// Puts bytes into a place of the writer's own.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        let end = at.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.len), "a place within the journal");
        // SAFETY: it is within the mapping, nobody else writes to this place, and whoever reads it
        // comes after this process.
        unsafe { self.base.add(at).as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Puts zeroes into a place of the writer's own.
    pub(super) fn wipe(&self, at: usize, len: usize) {
        let end = at.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.len), "a place within the journal");
        // SAFETY: as in `write`.
        unsafe { self.base.add(at).as_ptr().write_bytes(0, len) };
    }

    /// The bytes there, if they are there.
    pub(super) fn read(&self, at: usize, len: usize) -> Option<Vec<u8>> {
        let end = at.checked_add(len)?;
        if end > self.len {
            return None;
        }
        let mut bytes = vec![0; len];
        // SAFETY: it is within the mapping, and whoever wrote it is dead.
        unsafe { self.base.add(at).as_ptr().copy_to_nonoverlapping(bytes.as_mut_ptr(), len) };
        Some(bytes)
    }
}

/// The system takes these pages back, and they are all zeroes. Of other memory than such a mapping
/// nothing is taken.
fn release(bytes: &mut [u8]) {
    // SAFETY: whoever has these bytes lets anything be written to them.
    unsafe { libc::madvise(bytes.as_mut_ptr().cast(), bytes.len(), libc::MADV_REMOVE) };
}
