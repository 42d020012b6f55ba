//! A relay that does nothing but copy: what any proxy on tokio costs at least.
//!
//! It runs in a process of its own: this program, called with [`WORD`].

use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Makes this program a relay: `WORD LISTEN TARGET THREADS`.
pub(crate) const WORD: &str = "bare-relay";

/// The buffer of one direction.
const BUFFER: usize = 16 * 1024;

/// Relays until it is killed.
pub(crate) fn run(listen: &str, target: &str, threads: &str) -> ExitCode {
    let threads = threads.parse().unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .expect("a runtime can be had");
    let ended = runtime.block_on(serve(listen.to_owned(), target.to_owned()));
    eprintln!("{WORD}: {ended:?}");
    ExitCode::FAILURE
}

async fn serve(listen: String, target: String) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        let target = target.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            relay(client, server).await;
        });
    }
}

/// One direction.
#[derive(Default)]
struct Lane {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl Lane {
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.start < self.end {
                let bytes = &self.buffer[self.start..self.end];
                self.start += ready!(Pin::new(&mut *to).poll_write(cx, bytes))?;
            }
            if self.ended {
                return Poll::Pending;
            }
            self.buffer.resize(BUFFER, 0);
            let mut target = ReadBuf::new(&mut self.buffer);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut target))?;
            (self.start, self.end) = (0, target.filled().len());
            self.ended = self.end == 0;
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
            }
        }
    }
}

async fn relay(mut client: TcpStream, mut server: TcpStream) {
    let (mut up, mut down) = (Lane::default(), Lane::default());
    std::future::poll_fn(|cx| {
        let up_state = up.poll_copy(cx, &mut client, &mut server);
        let down_state = down.poll_copy(cx, &mut server, &mut client);
        match (up_state, down_state) {
            (Poll::Ready(_), _) | (_, Poll::Ready(_)) => Poll::Ready(()),
            _ if up.ended && down.ended => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
}
