//! Makes a client that does not compress into one that does: the client's end of the compressed
//! protocol, written down from the servers' and clients' sources and not from the code under test.
//!
//! ```text
//!   plain client ─► tunnel ═► proxy or server
//! ```
//! It is as strict as MySQL's own client: a frame with another number than the next one ends the
//! connection. To the client packets are numbered as without compression.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use odp::wire::capability as cap;

/// What the client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// zlib.
    Zlib,
    /// zstd at this level.
    Zstd(u8),
}

/// As much plain text is in one frame: MySQL's client fills frames to the brim.
const LONGEST: usize = 0xFF_FFFF;

/// Where a client of the tunnel connects; it ends with its connections, at the latest with the
/// test.
pub(crate) struct Tunnel {
    /// Its address on 127.0.0.1.
    pub address: String,
    faults: Arc<Mutex<Vec<String>>>,
    longest: Arc<AtomicUsize>,
}

impl Tunnel {
    /// One to this address.
    pub(crate) fn start(target: String, how: Compression) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let faults = Arc::<Mutex<Vec<String>>>::default();
        let noted = faults.clone();
        let longest = Arc::<AtomicUsize>::default();
        let seen = longest.clone();
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                for stream in [&client, &far] {
                    stream.set_nodelay(true).expect("a flag");
                }
                let (faults, longest) = (noted.clone(), seen.clone());
                thread::spawn(move || connection(client, far, how, &faults, &longest));
            }
        });
        Self { address, faults, longest }
    }

    /// Bytes of the longest frame that has come from the target.
    pub(crate) fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    /// Fails if anything was numbered wrongly.
    pub(crate) fn check(&self) {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(faults.is_empty(), "{faults:?}");
    }
}

/// What both directions know.
#[derive(Default)]
struct Exchange {
    /// The number of the next frame to the server.
    next_frame: u8,
    /// The number that the next frame from the server must have.
    expected: u8,
    /// Frames that came since one was sent.
    heard: bool,
    /// Of each command whose answer has not begun: the numbers that the first frame and the first
    /// packet of the answer have.
    commands: std::collections::VecDeque<(u8, u8)>,
    /// The client has gone on with what it was asked for; as in `commands`.
    spoken: Option<(u8, u8)>,
    /// The last packet of the client's: its number, its length.
    last: (u8, usize),
}

fn connection(
    client: TcpStream,
    far: TcpStream,
    how: Compression,
    faults: &Mutex<Vec<String>>,
    longest: &AtomicUsize,
) {
    let end = [client.try_clone(), far.try_clone()].map(|end| end.expect("a second handle"));
    if log_in(&end[0], &end[1], how).is_some() {
        let exchange = Arc::<Mutex<Exchange>>::default();
        let others = exchange.clone();
        let (from, to) = (client.try_clone(), far.try_clone());
        let up = thread::spawn(move || {
            up(from.expect("a handle"), to.expect("a handle"), how, &others);
        });
        if let Err(fault) = down((far, longest), &client, how, &exchange) {
            faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
        }
        let _ = client.shutdown(Shutdown::Write);
        let _ = up.join();
    }
    for end in end {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// Passes packets on up to the OK, asking for compression; None when there was none.
fn log_in(mut client: &TcpStream, mut far: &TcpStream, how: Compression) -> Option<()> {
    let mut first = true;
    loop {
        let (header, payload) = packet(&mut far)?;
        client.write_all(&[&header[..], &payload].concat()).ok()?;
        match payload.first() {
            Some(0xFF) => return None,
            Some(0x00) => return Some(()),
            // caching_sha2_password's "your hash is fine": the OK follows.
            Some(0x01) if payload == [1, 3] => continue,
            _ => {}
        }
        let (header, mut payload) = packet(&mut client)?;
        if std::mem::take(&mut first) {
            let bits = match how {
                Compression::Zlib => cap::COMPRESS,
                Compression::Zstd(_) => cap::ZSTD,
            };
            let asked = u32::from_le_bytes(payload[..4].try_into().expect("four bytes")) | bits;
            payload[..4].copy_from_slice(&asked.to_le_bytes());
            if let Compression::Zstd(level) = how {
                payload.push(level);
            }
        }
        let length = (payload.len() as u32).to_le_bytes();
        let header = [length[0], length[1], length[2], header[3]];
        far.write_all(&[&header[..], &payload].concat()).ok()?;
    }
}

fn packet(from: &mut impl Read) -> Option<([u8; 4], Vec<u8>)> {
    let mut header = [0; 4];
    from.read_exact(&mut header).ok()?;
    let mut payload = vec![0; u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize];
    from.read_exact(&mut payload).ok()?;
    Some((header, payload))
}

fn lock(exchange: &Mutex<Exchange>) -> MutexGuard<'_, Exchange> {
    exchange.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A whole logical packet at a time.
fn up(mut client: TcpStream, mut far: TcpStream, how: Compression, exchange: &Mutex<Exchange>) {
    let mut whole = Vec::new();
    while let Some((header, payload)) = packet(&mut client) {
        let continues = payload.len() == LONGEST;
        whole.extend(header);
        whole.extend(payload);
        if continues {
            continue;
        }
        let frames = lock(exchange).frames(&std::mem::take(&mut whole), how);
        if far.write_all(&frames).is_err() {
            return;
        }
    }
    let _ = far.shutdown(Shutdown::Write);
}

impl Exchange {
    /// The frames of one logical packet.
    fn frames(&mut self, whole: &[u8], how: Compression) -> Vec<u8> {
        let starts = whole[3];
        let wraps = self.last.0 == 255 && self.last.1 > 0 && self.spoken.is_some();
        let is_command = starts == 0 && !wraps;
        if is_command {
            self.next_frame = 0;
        } else if self.heard {
            self.next_frame = self.expected;
        }
        self.heard = false;
        let mut frames = Vec::new();
        for content in whole.chunks(LONGEST) {
            frames.extend(frame(content, self.next_frame, how));
            self.next_frame = self.next_frame.wrapping_add(1);
        }
        let packets = (whole.len() - 4) / (LONGEST + 4) + 1;
        let next_packet = starts.wrapping_add(packets as u8);
        self.last = (next_packet.wrapping_sub(1), whole.len() - 4);
        let answer = (self.next_frame, next_packet);
        match is_command {
            // COM_STMT_SEND_LONG_DATA, COM_STMT_CLOSE and COM_QUIT have no answer.
            true if matches!(whole.get(4), Some(0x18 | 0x19 | 0x01)) => {}
            true => {
                self.commands.push_back(answer);
                self.spoken = None;
            }
            false => self.spoken = Some(answer),
        }
        frames
    }

    /// Whether a frame of the server's has this number rightly; with the number of its first packet
    /// when that begins an answer.
    fn hear(&mut self, sequence: u8) -> Result<Option<u8>, String> {
        self.heard = true;
        let begun = match (self.spoken, self.commands.front()) {
            (Some((frame, packet)), _) if frame == sequence => {
                self.spoken = None;
                Some(packet)
            }
            (None, Some(&(frame, packet))) if frame == sequence => {
                // It may be the next frame of the answer before as well; commands that were sent
                // without waiting have short answers here.
                self.commands.pop_front();
                Some(packet)
            }
            _ if sequence == self.expected => None,
            // A last word that nobody asked for.
            (None, None) if sequence == 0 => Some(0),
            _ => return Err(format!("frame {sequence}, expected {}", self.expected)),
        };
        self.expected = sequence.wrapping_add(1);
        Ok(begun)
    }
}

fn frame(content: &[u8], sequence: u8, how: Compression) -> Vec<u8> {
    let packed = (content.len() >= 50).then(|| pack(content, how));
    let (bytes, plain) = match &packed {
        Some(packed) if packed.len() < content.len() => (&packed[..], content.len()),
        _ => (content, 0),
    };
    let (length, plain) = ((bytes.len() as u32).to_le_bytes(), (plain as u32).to_le_bytes());
    [&length[..3], &[sequence], &plain[..3], bytes].concat()
}

fn pack(content: &[u8], how: Compression) -> Vec<u8> {
    match how {
        Compression::Zlib => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(content).expect("memory takes it");
            encoder.finish().expect("and its end")
        }
        Compression::Zstd(level) => {
            let mut out = Vec::with_capacity(zstd_safe::compress_bound(content.len()));
            zstd_safe::compress(&mut out, content, level.into()).expect("room enough");
            out
        }
    }
}

fn unpack(content: &[u8], plain: usize, how: Compression) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(plain);
    match how {
        Compression::Zlib => {
            let mut decoder = flate2::read::ZlibDecoder::new(content);
            decoder.read_to_end(&mut out).map_err(|error| error.to_string())?;
        }
        Compression::Zstd(_) => {
            let length = zstd_safe::decompress(&mut out, content);
            length.map_err(|code| zstd_safe::get_error_name(code).to_owned())?;
        }
    }
    match out.len() == plain {
        true => Ok(out),
        false => Err(format!("a frame of {} bytes announced {plain}", out.len())),
    }
}

/// Frames to packets, numbered as a client without compression expects them.
fn down(
    (mut far, longest): (TcpStream, &AtomicUsize),
    mut client: &TcpStream,
    how: Compression,
    exchange: &Mutex<Exchange>,
) -> Result<(), String> {
    let (mut packets, mut next) = (Numbers::default(), 0);
    let mut header = [0; 7];
    while far.read_exact(&mut header).is_ok() {
        let [a, b, c, sequence, d, e, f] = header;
        let mut content = vec![0; u32::from_le_bytes([a, b, c, 0]) as usize];
        longest.fetch_max(content.len(), Ordering::Relaxed);
        if far.read_exact(&mut content).is_err() {
            break;
        }
        let plain = u32::from_le_bytes([d, e, f, 0]) as usize;
        if plain > 0 {
            content = unpack(&content, plain, how)?;
        }
        if let Some(first) = lock(exchange).hear(sequence)?
            && packets.between()
        {
            next = first;
        }
        next = packets.number(&mut content, next);
        if client.write_all(&content).is_err() {
            break;
        }
    }
    Ok(())
}

/// Where headers of packets are.
#[derive(Default)]
struct Numbers {
    header: Vec<u8>,
    left: usize,
}

impl Numbers {
    fn between(&self) -> bool {
        self.header.is_empty() && self.left == 0
    }

    /// Numbers the packets that start in there; the next number.
    fn number(&mut self, content: &mut [u8], mut next: u8) -> u8 {
        let mut at = 0;
        while at < content.len() {
            let payload = self.left.min(content.len() - at);
            self.left -= payload;
            at += payload;
            let Some(byte) = content.get_mut(at) else { break };
            self.header.push(*byte);
            at += 1;
            if let [a, b, c, _] = self.header[..] {
                self.left = u32::from_le_bytes([a, b, c, 0]) as usize;
                self.header.clear();
                *byte = next;
                next = next.wrapping_add(1);
            }
        }
        next
    }
}
