//! What has become of a session since its last commit, from what the kernel has counted.
//!
//! | what was committed | counted since | what becomes of it |
//! |---|---|---|
//! | a lane without bytes | n read | they are at the beginning of where it was to be read into |
//! | a lane with bytes | n read | they are behind its end |
//! | bytes to be written | n written | they are gone from its beginning |
//! | any | more than there was room for, or than was judged | it cannot be: over |
//! | the source is open | our FIN is out | it cannot be: over |
//! | the source has ended | our FIN is out, or not | it is sent, again or at last |
//! | the source has ended | the server has closed, too | what has come of it is still read |
//! | any | reset, or the client is gone | over |

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::layout::{Counted, Hot, LEGS, Stretch};
use crate::buffer::SIZE;
use crate::position::Position;

/// Why a session cannot go on from its last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// A socket was used for what was not on record.
    Moved,
    /// A connection has ended.
    Ended,
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
    /// How far a socket was used since these positions, read and written.
    pub(super) fn of(fd: BorrowedFd<'_>, [read, written]: [u64; 2]) -> Result<Self, Since> {
        let position = (0..ATTEMPTS).find_map(|attempt| {
            if attempt > 0 {
                std::thread::sleep(REST);
            }
            Position::of(fd)
        });
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

/// How lanes and positions stand that were committed so and used so far, each lane read last into
/// one of these places when it was empty.
pub(super) fn stand(
    hot: &Hot,
    fills: &[u64; LEGS],
    uses: &[Use],
) -> Result<(Vec<Stretch>, Vec<Counted>), Since> {
    let count = uses.len();
    let current = usize::try_from(hot.current).ok().and_then(|current| current.checked_add(1));
    let current = current.filter(|current| *current < count).ok_or(Since::Moved)?;
    let since: Vec<(usize, usize)> = uses
        .iter()
        .zip(&hot.counted)
        .map(|(now, then)| {
            (beyond(now.counted.read, then.read), { beyond(now.counted.written, then.written) })
        })
        .collect();
    let mut lanes = hot.lanes[..count].to_vec();
    for (leg, lane) in lanes.iter_mut().enumerate() {
        // The client's bytes go to the server that is spoken with, and nobody else's to the client.
        let (read, to) = (since[leg].0, if leg == 0 { current } else { 0 });
        let is_spoken_with = leg == 0 || leg == current;
        let written = if is_spoken_with { since[to].1 } else { 0 };
        if !is_spoken_with && (since[leg] != (0, 0)) {
            return Err(Since::Moved);
        }
        let has_ended = lane.stage != 0;
        let peer = &uses[to];
        if peer.is_shut && !(leg == 0 && has_ended) {
            return Err(Since::Ended);
        }
        // Who has closed reads nothing any more.
        let written = if peer.is_over { lane.judged - lane.start } else { written };
        advance(lane, read, written, fills[leg])?;
    }
    let counted = hot.counted[..count].iter().zip(&since).map(|(then, (read, written))| Counted {
        read: then.read + *read as u64,
        written: then.written + *written as u64,
    });
    Ok((lanes, counted.collect()))
}

/// How much further, of what is known modulo 2³².
fn beyond(now: u64, then: u64) -> usize {
    (now as u32).wrapping_sub(then as u32) as usize
}

/// So many bytes were read into a lane, and written from it.
fn advance(lane: &mut Stretch, read: usize, written: usize, fill: u64) -> Result<(), Since> {
    if written > lane.judged - lane.start || read > SIZE - lane.end {
        return Err(Since::Moved);
    }
    if lane.end == 0 && read > 0 {
        lane.place = Some(u32::try_from(fill).map_err(|_| Since::Moved)?);
    }
    lane.end += read;
    lane.start += written;
    if lane.start == lane.end {
        *lane = Stretch { stage: lane.stage, ..Stretch::default() };
    }
    Ok(())
}
