//! What has become of a session since its last commit, from what the kernel has counted.
//!
//! | what was committed | counted since | what becomes of it |
//! |---|---|---|
//! | bytes to be written | n written | they are gone from its beginning |
//! | a lane without bytes, or all written | n read | at the beginning of where it was to be read into |
//! | a lane with bytes | n read | they are behind its end |
//! | any | more than there was room for, or than was judged | it cannot be: over, by our mistake |
//! | the source is open | our FIN is out | another process that has the socket has shut it: over |
//! | the source has ended | our FIN is out, or not | it is sent, again or at last |
//! | the source has ended | the server has closed, too | what has come of it is still read |
//! | any | reset, or the client is gone | over |
//! | a reader | anything that is not on record, or reset | it is lost, the session goes on |
//!
//! Of a Unix socket the kernel counts nothing, so its user does, and marks it while it is at it: a
//! session that is found so is over, which is at most one for each thread.
//!
//! A lane is read into only when all of it is written that is to be: so writes come before reads.
//! Of a connection that is layered the trays next to its socket take the lane's part. A reader is a
//! server's connection but the first: whoever asks it something by the way has nothing on record of
//! that, and another one may take its place.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::hot::{Counted, Hot, Layers, Stretch, Tray};
use super::layout::IN_USE;
use crate::buffer::SIZE;
use crate::buffer::arena::Kind;
use crate::position::{Position, is_unix};

/// Why a session cannot go on from its last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// A socket was just being used, and it is not known how far.
    Moved,
    /// A connection has ended.
    Ended,
    /// Our side of it was shut, and not by who has it on record.
    Shut,
    /// What is on record and what has become of the sockets contradict each other.
    Impossible,
}

/// How far a socket was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    counted: Counted,
    /// Our FIN is out.
    is_shut: bool,
    /// So is the peer's, and both were acknowledged.
    is_over: bool,
}

/// A peer that sends for all it can fills what the socket has room for; then it is at rest.
const ATTEMPTS: u32 = 200;

/// How long between two of them.
const REST: Duration = Duration::from_micros(250);

impl Use {
    /// How far a socket was used since these positions, read and written. Of a Unix socket they are
    /// how far it was.
    pub(super) fn of(fd: BorrowedFd<'_>, [read, written]: [u64; 2]) -> Result<Self, Since> {
        let position = match Position::of(fd) {
            None if is_unix(fd) => {
                return match read & IN_USE {
                    0 => Ok(Self { counted: Counted { read, written }, ..Self::default() }),
                    _ => Err(Since::Moved),
                };
            }
            None => (1..ATTEMPTS).find_map(|_| {
                std::thread::sleep(REST);
                Position::of(fd)
            }),
            found => found,
        };
        let position = position.ok_or(Since::Ended)?;
        let (is_shut, is_over) = (position.is_shut(), position.is_gone());
        if is_over && !has_ended_well(fd) {
            return Err(Since::Ended);
        }
        // A FIN counts as a byte.
        let counted = Counted {
            read: position.consumed().wrapping_sub(read).wrapping_sub(u64::from(is_over)),
            written: position.produced().wrapping_sub(written).wrapping_sub(u64::from(is_shut)),
        };
        Ok(Self { counted, is_shut, is_over })
    }
}

/// Whether a connection that is gone was not reset.
fn has_ended_well(fd: BorrowedFd<'_>) -> bool {
    matches!(rustix::net::sockopt::socket_error(fd), Ok(Ok(())))
}

/// Whether nobody has read or written since this commit. Who has closed meanwhile has done neither.
pub(super) fn is_still(hot: &Hot, uses: &[Result<Use, Since>]) -> bool {
    uses.iter().zip(&hot.counted).all(|(now, then)| match now {
        Ok(Use { counted: now, .. }) => {
            beyond(now.read, then.read) == 0 && beyond(now.written, then.written) == 0
        }
        Err(_) => true,
    })
}

/// How a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    pub lanes: Vec<Stretch>,
    pub counted: Vec<Counted>,
    pub layers: Vec<Option<Layers>>,
    /// Connections that are good for nothing any more.
    pub broken: Vec<bool>,
}

/// Of a connection that is spoken with: the lane that it is read into, and what is written to it.
type Lanes = Option<(usize, usize)>;

/// The place of the first server's connection; those behind it are readers.
const HOME: usize = 1;

/// How what was committed stands after these uses, each connection read last into one of these
/// places when there were no bytes of it.
pub(super) fn stand(hot: &Hot, fills: &[u64], uses: &[Result<Use, Since>]) -> Result<Stand, Since> {
    let count = uses.len();
    let current = usize::try_from(hot.current).ok().and_then(|current| current.checked_add(1));
    let current = current.filter(|current| *current < count).ok_or(Since::Impossible)?;
    let mut stand = Stand {
        lanes: hot.lanes.clone(),
        counted: hot.counted.clone(),
        layers: hot.layers.clone(),
        broken: vec![false; count],
    };
    let lanes = |leg: usize| -> Lanes {
        match leg {
            0 => Some((0, current)),
            _ if leg == current => Some((leg, 0)),
            _ => None,
        }
    };
    for is_read in [false, true] {
        for (leg, used) in uses.iter().enumerate() {
            if stand.broken[leg] {
                continue;
            }
            let mut tried = stand.clone();
            let moved = used.and_then(|used| match is_read {
                false => tried.write_by(leg, lanes(leg), used),
                true => tried.read_by(leg, lanes(leg), used, fills[leg]),
            });
            match moved {
                Ok(()) => stand = tried,
                Err(_) if leg > HOME => stand.give_up(leg, lanes(leg)),
                Err(why) => return Err(why),
            }
        }
    }
    stand.settle();
    Ok(stand)
}

impl Stand {
    /// A connection, whose bytes come into and go out from these lanes, was written to so far.
    fn write_by(&mut self, leg: usize, lanes: Lanes, used: Use) -> Result<(), Since> {
        let then = self.counted[leg];
        let written = beyond(used.counted.written, then.written);
        let Some((_, to)) = lanes else {
            // It is not spoken with.
            return if written == 0 { Ok(()) } else { Err(Since::Impossible) };
        };
        // Who speaks with a server has FIN passed on to it; to a client's nobody does on record.
        let may_be_shut = leg != 0 && self.lanes[to].stage != 0;
        if used.is_shut && !may_be_shut {
            return Err(Since::Shut);
        }
        self.counted[leg].written += written as u64;
        // Who has closed reads nothing any more.
        if let Some(Layers { trays: [_, outgoing, ..], .. }) = &mut self.layers[leg] {
            return outgoing.drain(if used.is_over { outgoing.len() } else { written });
        }
        let lane = &mut self.lanes[to];
        lane.drain(if used.is_over { lane.judged - lane.start } else { written })
    }

    /// The same, and read from.
    fn read_by(&mut self, leg: usize, lanes: Lanes, used: Use, fill: u64) -> Result<(), Since> {
        let then = self.counted[leg];
        let read = beyond(used.counted.read, then.read);
        let Some((from, _)) = lanes else {
            return if read == 0 { Ok(()) } else { Err(Since::Impossible) };
        };
        self.counted[leg].read += read as u64;
        match &mut self.layers[leg] {
            Some(Layers { trays: [incoming, ..], .. }) => incoming.fill(read, fill),
            None => self.lanes[from].fill(read, fill),
        }
    }

    /// A reader is lost: what has come of its answers and is not judged is nothing.
    fn give_up(&mut self, leg: usize, lanes: Option<(usize, usize)>) {
        self.broken[leg] = true;
        if let Some(Layers { trays, .. }) = &mut self.layers[leg] {
            *trays = Default::default();
        }
        let lane = &mut self.lanes[leg];
        match lanes {
            None => *lane = Stretch::default(),
            Some((_, to)) => {
                lane.end = lane.judged;
                // What it was to be told it is not told any more.
                let lane = &mut self.lanes[to];
                lane.start = lane.judged;
            }
        }
        self.lanes[leg].stage = ENDED;
    }

    /// Where there are no bytes there is no place.
    fn settle(&mut self) {
        self.lanes.iter_mut().for_each(Stretch::settle);
        let trays = self.layers.iter_mut().flatten().flat_map(|layers| &mut layers.trays);
        for tray in trays.filter(|tray| tray.start == tray.end) {
            *tray = Tray::default();
        }
    }
}

/// As writers call a lane whose source has ended.
const ENDED: u8 = 1;

/// How much further, of what is known modulo 2³².
fn beyond(now: u64, then: u64) -> usize {
    (now as u32).wrapping_sub(then as u32) as usize
}

impl Stretch {
    fn settle(&mut self) {
        if self.start == self.end {
            *self = Self { stage: self.stage, ..Self::default() };
        }
    }

    /// So many bytes were read behind what was there, or to the beginning of this place.
    fn fill(&mut self, read: usize, fill: u64) -> Result<(), Since> {
        self.settle();
        filled((&mut self.place, &mut self.end), SIZE, read, fill)
    }

    /// So many were written.
    fn drain(&mut self, written: usize) -> Result<(), Since> {
        drained(&mut self.start, self.judged, written)
    }
}

impl Tray {
    fn len(&self) -> usize {
        self.end - self.start
    }

    /// As [`Stretch::fill`].
    fn fill(&mut self, read: usize, fill: u64) -> Result<(), Since> {
        let place = if self.end == 0 { u32::try_from(fill).ok() } else { self.place };
        let most = Kind::of_tray(place.unwrap_or_default()).size();
        filled((&mut self.place, &mut self.end), most, read, fill)
    }

    /// As [`Stretch::drain`].
    fn drain(&mut self, written: usize) -> Result<(), Since> {
        drained(&mut self.start, self.end, written)
    }
}

/// So many bytes were read behind an end, in a place that has room for `most`; in this one if there
/// was none.
fn filled(
    (place, end): (&mut Option<u32>, &mut usize),
    most: usize,
    read: usize,
    fill: u64,
) -> Result<(), Since> {
    if read > most - *end {
        return Err(Since::Impossible);
    }
    if *end == 0 && read > 0 {
        *place = Some(u32::try_from(fill).map_err(|_| Since::Impossible)?);
    }
    *end += read;
    Ok(())
}

/// So many bytes were written from a start, where they could be up to there.
fn drained(start: &mut usize, until: usize, written: usize) -> Result<(), Since> {
    if written > until - *start {
        return Err(Since::Impossible);
    }
    *start += written;
    Ok(())
}
