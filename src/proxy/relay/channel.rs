//! What commands of ours and their answers go over: a connection, or a session's lanes.

use std::io;
use std::task::{Context, Poll};

use super::leg::Leg;
use crate::session::numbering::Frames;
use crate::wire::command::Reply;

/// See above.
pub trait Channel: Send {
    /// A command that gets this kind of answer is to be written.
    fn begin(&mut self, reply: Reply);

    /// Whether frames are numbered, and packets are not.
    fn is_framed(&self) -> bool;

    /// Writes as much of `bytes` as can be; see [`Leg::poll_write`].
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Ready when all that was written is the system's.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads what is there; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
}

/// A connection that nobody else uses meanwhile.
impl Channel for Leg {
    fn begin(&mut self, _: Reply) {
        self.begin_command();
    }

    fn is_framed(&self) -> bool {
        Frames::is_framed(self)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self, cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self, cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Self::poll_read(self, cx, buffer)
    }
}
