//! The last words to a client: at the end of a packet, then FIN, then time to read them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::io::AsyncWriteExt;
use tokio::time::Sleep;

use super::frontend::{Relay, Surroundings};
use super::lane::Source;
use super::numbering;
use crate::error::ClientError;
use crate::net::stream::Stream;

/// How long a client may take to read our last words.
const LINGER: Duration = Duration::from_secs(1);

/// Writes these bytes and FIN, and gives the client time to read them: closing with unread bytes of
/// its own would reset the connection and take the words with it.
pub async fn part_with(mut client: Stream, words: &[u8]) {
    let farewell = async {
        client.write_all(words).await?;
        client.shutdown_write();
        tokio::io::copy(&mut client, &mut tokio::io::sink()).await
    };
    // Whether it has read them is the client's affair.
    let _ = tokio::time::timeout(LINGER, farewell).await;
}

/// As many may take their time at once: each has a descriptor, which sessions and operators need.
pub const MOST_PARTINGS: usize = 16;

/// The same without the time. Who has said nothing yet, as a client that waits for its greeting,
/// reads it all the same.
pub fn part_at_once(client: &Stream, words: &[u8]) {
    // An empty socket takes a packet; if not, nothing is lost that the client was owed.
    let _ = rustix::net::send(client, words, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}

/// The end of a session that is closed from our side.
///
/// ```text
///   Waiting (for the end of a packet) ─► Said (words and FIN sent, the client reads) ─► over
/// ```
#[derive(Debug)]
pub struct Farewell {
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

impl Relay {
    /// Says this at the end of the packet that is under way, then closes.
    pub fn bid_farewell(&mut self, words: ClientError) {
        self.close_with(Words::Waiting(words));
    }

    fn close_with(&mut self, words: Words) {
        self.farewell.get_or_insert_with(|| {
            Box::new(Farewell { deadline: Box::pin(tokio::time::sleep(LINGER)), words })
        });
    }

    /// As a server's own connection would: the client gets FIN and nothing else.
    pub(super) fn server_left(&mut self) {
        self.client.shutdown_write();
        self.close_with(Words::Said);
    }

    /// Ready when it is over.
    pub(super) fn poll_farewell(
        &mut self,
        cx: &mut Context<'_>,
        around: Surroundings<'_>,
    ) -> Poll<()> {
        loop {
            let Some(farewell) = &mut self.farewell else { return Poll::Pending };
            if farewell.deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let Words::Waiting(words) = &farewell.words else { return self.poll_discard(cx) };
            let conversation = self.session.conversation();
            let said = numbering::last_words(words, conversation, self.numbering, &mut self.client);
            if let Some(packet) = said {
                self.down.say(&packet);
                farewell.words = Words::Said;
                continue;
            }
            ready!(self.poll_rest_of_packet(cx, around));
            if self.session.conversation().injection_sequence().is_none() {
                return Poll::Ready(());
            }
        }
    }

    /// Forwards the packet that is under way, and nothing behind it.
    fn poll_rest_of_packet(&mut self, cx: &mut Context<'_>, around: Surroundings<'_>) -> Poll<()> {
        loop {
            if ready!(self.down.poll_drain(cx, &mut self.client)).is_err() {
                return Poll::Ready(());
            }
            let left = self.session.conversation().rest_of_server_packet();
            if left == 0 {
                return Poll::Ready(());
            }
            if self.down.unjudged().is_empty() {
                match ready!(self.down.poll_fill(cx, &mut self.server)) {
                    Ok(n) if n > 0 => around.handle.counters.response_bytes.add(n as u64),
                    Ok(_) | Err(_) => return Poll::Ready(()),
                }
            }
            let n = left.min(self.down.unjudged().len());
            self.session.skip_server(n);
            self.down.judge(n);
        }
    }

    /// Writes the last words, then reads on until the client has hung up: closing with unread bytes
    /// would reset the connection and take the words with it.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.down.pending().is_empty() {
            if ready!(self.down.poll_drain(cx, &mut self.client)).is_err() {
                return Poll::Ready(());
            }
            self.client.shutdown_write();
        }
        while self.up.source() == Source::Open {
            self.up.clear();
            match ready!(self.up.poll_fill(cx, &mut self.client)) {
                Ok(0) | Err(_) => self.up.set_source(Source::Closed),
                Ok(_) => {}
            }
        }
        Poll::Ready(())
    }
}
