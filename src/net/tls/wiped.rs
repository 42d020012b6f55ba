//! A buffer for what holds keys: it leaves no copy behind, neither where it grew nor at its end.
//!
//! `Zeroizing<Vec<u8>>` alone zeroizes only where it is at its end: a `Vec` that grows frees what
//! it was as it is.

use std::io;

use zeroize::{Zeroize as _, Zeroizing};

/// See the module.
#[derive(Debug, Default)]
pub struct Wiped(Zeroizing<Vec<u8>>);

impl Wiped {
    /// One that need not grow up to so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(bytes)))
    }

    /// What was written.
    pub fn into_inner(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl io::Write for Wiped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        append(&mut self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends; if the buffer has to move, where it was is zeroized.
#[inline]
pub fn append(buffer: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > buffer.capacity() - buffer.len() {
        make_room(buffer, bytes.len());
    }
    buffer.extend_from_slice(bytes);
}

#[cold]
fn make_room(buffer: &mut Vec<u8>, more: usize) {
    let needed = buffer.len() + more;
    let mut larger = Vec::with_capacity(needed.max(2 * buffer.capacity()));
    larger.extend_from_slice(buffer);
    buffer.zeroize();
    *buffer = larger;
}
