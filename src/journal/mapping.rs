//! Memory that a process and its clone share, and that outlives either.
//!
//! Nobody can shrink it, so that no access can fault; no core dump has it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::libc;
use rustix::fs::{MemfdFlags, SealFlags};

use crate::buffer::SIZE;
use crate::buffer::arena::Arena;

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

    /// So many buffers from there on, which nobody else is to use.
    pub(super) fn arena(&self, at: usize, pieces: u32) -> &'static Arena {
        assert!(at + pieces as usize * SIZE <= self.len, "buffers within the journal");
        // SAFETY: it is within the mapping, which lasts as long as the process. Other places and
        // words lie before it, and whoever used it before is dead.
        Box::leak(Box::new(unsafe { Arena::over(self.base.add(at), pieces) }))
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
