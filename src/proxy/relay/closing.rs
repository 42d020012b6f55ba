//! The last words to a client: at the end of a packet, then FIN, then time to read them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::io::AsyncWriteExt;
use tokio::time::Sleep;

use super::leg::Leg;
use super::link::Link;
use crate::error::ClientError;
use crate::metrics::SessionCounters;
use crate::net::stream::Stream;
use crate::session::Session;
use crate::session::lane::{Lane, Source};
use crate::session::numbering::{self, Numbering};

/// How long a client may take to read our last words.
const LINGER: Duration = Duration::from_secs(1);

/// Writes these bytes and FIN, and gives the client time to read them: closing with unread bytes of
/// its own would reset the connection and take the words with it.
pub async fn close_lingering(mut client: Stream, words: &[u8]) {
    let closing = async {
        client.write_all(words).await?;
        client.shutdown_write();
        tokio::io::copy(&mut client, &mut tokio::io::sink()).await
    };
    // Whether it has read them is the client's affair.
    let _ = tokio::time::timeout(LINGER, closing).await;
}

/// As many may take their time at once: each has a descriptor, which sessions and operators need.
pub const MOST_LINGERING: usize = 16;

/// The same without the time. Who has said nothing yet, as a client that waits for its greeting,
/// reads it all the same.
pub fn close_at_once(client: &Stream, words: &[u8]) {
    // An empty socket takes a packet; if not, nothing is lost that the client was owed.
    let _ = rustix::net::send(client, words, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}

/// The end of a session that is closed from our side.
///
/// ```text
///   Waiting (for the end of a packet) ─► Said (words and FIN sent, the client reads) ─► over
/// ```
#[derive(Debug)]
pub(super) struct Closing {
    deadline: Pin<Box<Sleep>>,
    words: Words,
}

#[derive(Debug)]
enum Words {
    /// To be said at the next packet boundary.
    Waiting(ClientError),
    /// Nothing more is to be said.
    Said,
}

/// What of a relay takes part in its end.
pub(super) struct ClosingEnds<'a> {
    /// The client's leg.
    pub client: &'a mut Leg,
    /// Client to servers.
    pub up: &'a mut Lane,
    /// The server that may be in the middle of a packet.
    pub link: &'a mut Link,
    /// Knows whether it is.
    pub session: &'a mut Session,
    /// When a leg is compressed.
    pub numbering: Option<Numbering>,
    /// What the session counts.
    pub counters: &'a SessionCounters,
}

impl Closing {
    /// One with these words.
    pub(super) fn saying(words: ClientError) -> Self {
        Self::new(Words::Waiting(words))
    }

    /// One without words: FIN was sent.
    pub(super) fn said() -> Self {
        Self::new(Words::Said)
    }

    fn new(words: Words) -> Self {
        Self { deadline: Box::pin(tokio::time::sleep(LINGER)), words }
    }

    /// Ready when it is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, mut ends: ClosingEnds<'_>) -> Poll<()> {
        loop {
            if self.deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let Words::Waiting(words) = &self.words else { return ends.poll_discard(cx) };
            if let Some(packet) = ends.last_words(words) {
                ends.link.down.say(&packet);
                self.words = Words::Said;
                continue;
            }
            ready!(ends.poll_rest_of_packet(cx));
            if ends.session.conversation().injection_sequence().is_none() {
                return Poll::Ready(());
            }
        }
    }
}

impl ClosingEnds<'_> {
    fn last_words(&mut self, words: &ClientError) -> Option<Vec<u8>> {
        let conversation = self.session.conversation();
        numbering::last_words(words, conversation, self.numbering, self.client)
    }

    /// Forwards the packet that is under way, and nothing behind it.
    fn poll_rest_of_packet(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Link { leg, down, .. } = &mut *self.link;
        loop {
            if ready!(self.client.poll_drain(cx, down)).is_err() {
                return Poll::Ready(());
            }
            let left = self.session.conversation().rest_of_server_packet();
            if left == 0 {
                return Poll::Ready(());
            }
            if down.unjudged().is_empty() {
                match ready!(leg.poll_fill(cx, down)) {
                    Ok(n) if n > 0 => self.counters.response_bytes.add(n as u64),
                    Ok(_) | Err(_) => return Poll::Ready(()),
                }
            }
            let n = left.min(down.unjudged().len());
            self.session.skip_server(n);
            down.judge(n);
        }
    }

    /// Writes the last words, then reads on until the client has hung up: closing with unread bytes
    /// would reset the connection and take the words with it.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let down = &mut self.link.down;
        if !down.pending().is_empty() {
            if ready!(self.client.poll_drain(cx, down)).is_err() {
                return Poll::Ready(());
            }
            self.client.shutdown_write();
        }
        while self.up.source() == Source::Open {
            self.up.clear();
            match ready!(self.client.poll_fill(cx, self.up)) {
                Ok(0) | Err(_) => self.up.set_source(Source::Closed),
                Ok(_) => {}
            }
        }
        Poll::Ready(())
    }
}
