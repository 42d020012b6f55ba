//! One connection to the HTTP port: one request, one answer, and the end.
//!
//! Whoever is slow to ask or to read costs a task and a deadline. One request a connection: what
//! somebody in front of us takes for a second one is never looked at. An answer that goes on
//! (events) has its own end.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::dispatch::answer;
use super::events;
use super::reply::is_live;
use super::request::Peer;
use super::service::Http;
use crate::config::tls::AcceptMode;
use crate::lock::lock;
use crate::net::stream::Stream;

/// For the first byte, the TLS handshake, and the head of a request, each.
const HEAD: Duration = Duration::from_secs(5);

/// For all of it, the answer included.
const WHOLE: Duration = Duration::from_secs(30);

/// Longer heads are refused.
const LONGEST_HEAD: usize = 16 * 1024;

/// More fields are refused.
const MOST_FIELDS: usize = 64;

/// The first byte of a TLS handshake, which begins no request.
const TLS_HANDSHAKE: u8 = 0x16;

/// Serves one connection. Who finds no place is hung up on at once, before the next one is let in.
pub fn serve(http: Arc<Http>, stream: Stream) -> impl Future<Output = ()> {
    let admitted = match http.places.clone().try_acquire_owned() {
        Ok(place) => Some((place, stream)),
        Err(_) => {
            tracing::debug!("http: too many connections");
            None
        }
    };
    async move {
        let Some((_place, stream)) = admitted else { return };
        speak(http, stream).await;
    }
}

async fn speak(http: Arc<Http>, stream: Stream) {
    let address = stream.peer().map_or_else(|| "unix".into(), |peer| peer.to_string());
    let begun = match tokio::time::timeout(HEAD * 2, begin(&http, stream)).await {
        Ok(begun) => begun,
        Err(_) => return tracing::debug!(peer = address, "http: nothing came in time"),
    };
    match begun {
        Ok(Some((stream, ahead))) => {
            let is_secure = stream.tls().is_some();
            talk(http, Ahead { stream, ahead }, Peer { address, is_secure }).await;
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(peer = address, %error, "http: no TLS"),
    }
}

/// The stream that requests come by, and what was read of it already; None: the peer has left, or
/// speaks without TLS where that is not allowed.
async fn begin(http: &Http, mut stream: Stream) -> io::Result<Option<(Stream, Vec<u8>)>> {
    let Some(tls) = http.admin.proxy.tls().console() else {
        return Ok(Some((stream, Vec::new())));
    };
    let mut first = [0];
    if stream.read(&mut first).await? == 0 {
        return Ok(None);
    }
    if first[0] == TLS_HANDSHAKE {
        let accepted = stream.accept_tls(&tls, &first, HEAD).await;
        return Ok(Some((accepted.map_err(io::Error::other)?, Vec::new())));
    }
    match tls.mode() {
        AcceptMode::Require => Ok(None),
        AcceptMode::Prefer | AcceptMode::Off => Ok(Some((stream, first.to_vec()))),
    }
}

async fn talk(http: Arc<Http>, stream: Ahead, peer: Peer) {
    let under_way = Mutex::new(Some(http.admin.under_way.token()));
    let service = service_fn(|request: Request<Incoming>| {
        let (http, peer, under_way) = (http.clone(), peer.clone(), &under_way);
        async move {
            let response = answer(&http, request, peer).await;
            if is_live(&response) {
                // It would never end.
                lock(under_way).take();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LONGEST_HEAD)
        .max_headers(MOST_FIELDS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut ended = tokio::time::timeout(WHOLE, &mut connection).await;
    let is_live = lock(&under_way).is_none();
    if ended.is_err() && is_live {
        ended = tokio::time::timeout(events::LONGEST, connection).await;
    }
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "http"),
        Err(_) => tracing::debug!("http: request took too long"),
    }
}

/// A stream of which something was read already.
struct Ahead {
    stream: Stream,
    ahead: Vec<u8>,
}

impl AsyncRead for Ahead {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let length = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead[..length]);
        this.ahead.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
