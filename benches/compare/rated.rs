//! A server of a fixed rate: a relay to a real one that lets no more than so many commands a second
//! pass. So several servers can be had on a machine that could not run several at full load.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Its threads end with their connections; it takes no new ones once it is dropped.
pub(crate) struct Rated {
    pub address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

/// When the next command may pass.
struct Turnstile {
    next: Mutex<Instant>,
    each: Duration,
}

impl Rated {
    /// In front of this server, at so many commands a second.
    pub(crate) fn start(target: SocketAddr, commands: u32) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let turnstile =
            Turnstile { next: Mutex::new(Instant::now()), each: Duration::from_secs(1) / commands };
        let (turnstile, is_over) = (Arc::new(turnstile), Arc::<AtomicBool>::default());
        let ends = is_over.clone();
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let _ = connection(near, target, turnstile.clone());
            }
        });
        Ok(Self { address, is_over })
    }
}

impl Drop for Rated {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Whoever waits for the next one hears of it.
        let _ = TcpStream::connect(self.address);
    }
}

impl Turnstile {
    fn pass(&self) {
        let now = Instant::now();
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(now);
            *next = at + self.each;
            at
        };
        std::thread::sleep(at.saturating_duration_since(now));
    }
}

fn connection(near: TcpStream, target: SocketAddr, turnstile: Arc<Turnstile>) -> Outcome<()> {
    let far = TcpStream::connect(target)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near2, far2) = (near.try_clone()?, far.try_clone()?);
    std::thread::spawn(move || commands(near, far, &turnstile));
    std::thread::spawn(move || answers(far2, near2));
    Ok(())
}

/// Packets of the client: the first of each command waits for its turn. A log-in has none.
fn commands(mut from: TcpStream, mut to: TcpStream, turnstile: &Turnstile) {
    let mut packet = Vec::new();
    while read_packet(&mut from, &mut packet).is_ok() {
        if packet[3] == 0 {
            turnstile.pass();
        }
        if to.write_all(&packet).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A packet with its header.
fn read_packet(from: &mut TcpStream, packet: &mut Vec<u8>) -> std::io::Result<()> {
    let mut header = [0; 4];
    from.read_exact(&mut header)?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
    packet.clear();
    packet.extend(header);
    packet.resize(4 + length, 0);
    from.read_exact(&mut packet[4..])
}

fn answers(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
