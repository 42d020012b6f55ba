//! Frozen sessions in a message: how each side sends them, and takes apart what has come.
//!
//! ```text
//! entries: id, fds, length of state, length of bytes     body: state, bytes, state, bytes, …
//! ```

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::channel::{Channel, ChannelError};
use crate::restart::message::{Entry, Frame, Message, Parcels};
use crate::restart::plane::{DataPlane, Parcel, Replica};

/// Sends frozen sessions in one message; the caller keeps them.
pub(crate) async fn send<D: DataPlane>(
    channel: &Channel,
    plane: &D,
    held: &HashMap<u32, Parcel>,
    ids: &[u32],
    within: Duration,
) -> Result<(), ChannelError> {
    send_news(channel, plane, within).await?;
    let parcels: Vec<&Parcel> = ids.iter().filter_map(|id| held.get(id)).collect();
    let fds: Vec<_> = parcels.iter().flat_map(|it| &it.fds).map(AsFd::as_fd).collect();
    channel.send(&pack(parcels.iter().copied()), &fds, within).await
}

/// A session as it stands in a message.
pub(crate) struct Packed<'a> {
    id: u32,
    fds: usize,
    state: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> From<&'a Parcel> for Packed<'a> {
    fn from(it: &'a Parcel) -> Self {
        Self { id: it.id, fds: it.fds.len(), state: &it.state, bytes: &it.bytes }
    }
}

impl<'a> From<&'a Replica> for Packed<'a> {
    fn from(it: &'a Replica) -> Self {
        Self { id: it.id, fds: it.fds, state: &it.state, bytes: &it.bytes }
    }
}

/// The message of these sessions, whose sockets go with it if they are to move.
pub(crate) fn pack<'a>(sessions: impl IntoIterator<Item: Into<Packed<'a>>>) -> Frame {
    let (mut parcels, mut body) = (Vec::new(), Zeroizing::new(Vec::new()));
    let sessions: Vec<Packed<'_>> = sessions.into_iter().map(Into::into).collect();
    // At once, as what it had outgrown would not be wiped.
    body.reserve_exact(sessions.iter().map(|it| it.state.len() + it.bytes.len()).sum());
    for Packed { id, fds, state, bytes } in sessions {
        parcels.push(Entry { id, fds, state: state.len(), bytes: bytes.len() });
        body.extend_from_slice(state);
        body.extend_from_slice(bytes);
    }
    Frame { message: Message::Parcels(Parcels { parcels }), body: Bytes::from_owner(body) }
}

/// So that a session that arrives over there finds the others that it knew here.
pub(crate) async fn send_news<D: DataPlane>(
    channel: &Channel,
    plane: &D,
    within: Duration,
) -> Result<(), ChannelError> {
    match plane.news() {
        Some(body) => channel.send(&Frame { message: Message::Note {}, body }, &[], within).await,
        None => Ok(()),
    }
}

/// State and bytes of each entry; None if they do not add up to the body.
pub(crate) fn cut<'a>(entries: &[Entry], body: &'a [u8]) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    let mut rest = body;
    let mut parts = Vec::new();
    for entry in entries {
        let (state, after) = rest.split_at_checked(entry.state)?;
        let (bytes, after) = after.split_at_checked(entry.bytes)?;
        parts.push((state, bytes));
        rest = after;
    }
    rest.is_empty().then_some(parts)
}

/// Takes a PARCELS message apart: for each entry its fds, state and bytes; None if they do not add
/// up to what came.
pub(crate) fn unpack(entries: &[Entry], fds: Vec<OwnedFd>, body: &[u8]) -> Option<Vec<Parcel>> {
    let mut fds = fds.into_iter();
    let mut parcels = Vec::new();
    for (entry, (state, bytes)) in entries.iter().zip(cut(entries, body)?) {
        let own: Vec<_> = fds.by_ref().take(entry.fds).collect();
        if own.len() != entry.fds {
            return None;
        }
        let (state, bytes) = (Zeroizing::new(state.to_vec()), bytes.to_vec());
        parcels.push(Parcel { claim: None, id: entry.id, fds: own, state, bytes });
    }
    fds.next().is_none().then_some(parcels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_do_not_add_up_are_refused() {
        let entry = |state, bytes| Entry { id: 1, fds: 0, state, bytes };
        assert!(unpack(&[entry(2, 1)], vec![], b"abc").is_some());
        assert!(unpack(&[entry(2, 2)], vec![], b"abc").is_none());
        assert!(unpack(&[entry(1, 1)], vec![], b"abc").is_none());
        assert!(unpack(&[entry(usize::MAX, 1)], vec![], b"abc").is_none());
    }
}
