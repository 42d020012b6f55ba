//! A session's state as it is on record: most of it is what every session's says, and takes no
//! room.
//!
//! It is written when a session logs in, whose client waits: names and texts of numbers, which a
//! parcel has, would cost more than all else that odp does for a log-in.
//!
//! The same image writes and reads it. What is wrong with it when it is read is told like anything
//! else that is not understood.

use std::sync::LazyLock;

use lz4_flex::block::{
    compress_into_with_dict, decompress_into_with_dict, get_maximum_output_size,
};
use serde_brief::Config;
use zeroize::Zeroizing;

use super::State;
use crate::net::tls::wiped::Wiped;

/// A state as most are; another one in its place is as right, but others take more room then.
const USUAL: &str = include_str!("usual.json");

/// No state is that long.
const LONGEST: usize = 64 * 1024 * 1024;

/// Bytes that all but sessions with long names and many statements stay below.
const USUAL_LENGTH: usize = 512;

/// Fields are named by their places.
const FORM: Config = Config { use_indices: true, error_on_excess_data: true, max_size: None };

/// What need not be said.
static SAID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // As what a peer says is read: there is no second way to read a state but for tests.
    let usual = serde_json::from_slice(USUAL.as_bytes()).ok();
    let said = usual.and_then(|usual: State| write(&usual));
    said.map(|said| said.to_vec()).unwrap_or_default()
});

/// Makes a state short; None if it is too long.
pub(super) fn pack(state: &State) -> Option<Zeroizing<Vec<u8>>> {
    let state = write(state)?;
    let length = u32::try_from(state.len()).ok().filter(|_| state.len() <= LONGEST)?;
    let most = get_maximum_output_size(state.len());
    let mut packed = Zeroizing::new(vec![0; size_of::<u32>() + most]);
    let (head, body) = packed.split_at_mut(size_of::<u32>());
    head.copy_from_slice(&length.to_le_bytes());
    let written = compress_into_with_dict(&state, body, &SAID).ok()?;
    packed.truncate(size_of::<u32>() + written);
    Some(packed)
}

/// The state that was made short; None if this is none.
pub(super) fn unpack(packed: &[u8]) -> Option<State> {
    let (length, packed) = packed.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok();
    let length = length.filter(|length| *length <= LONGEST)?;
    let mut state = Zeroizing::new(vec![0; length]);
    let written = decompress_into_with_dict(packed, &mut state, &SAID).ok()?;
    let is_whole = written == length;
    is_whole.then(|| serde_brief::from_slice_with_config(&state, FORM).ok()).flatten()
}

fn write(state: &State) -> Option<Zeroizing<Vec<u8>>> {
    let mut text = Wiped::with_capacity(USUAL_LENGTH);
    serde_brief::to_writer_with_config(state, &mut text, FORM).ok()?;
    Some(text.into_inner())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usual() -> State {
        serde_json::from_str(USUAL).expect("a state")
    }

    fn text(state: &State) -> String {
        serde_json::to_string(state).expect("JSON")
    }

    #[test]
    fn what_is_as_usual_takes_no_room() {
        let json = USUAL.replace("10.0.0.1:40000", "192.168.17.4:51234").replace("97,112,112", "1");
        let state: State = serde_json::from_str(&json).expect("a state");
        let packed = pack(&state).expect("it is short");
        assert!(packed.len() < 128, "{} bytes", packed.len());
        assert_eq!(unpack(&packed).map(|it| text(&it)), Some(text(&state)));
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(
            client in ".{0,40}",
            cluster in "[a-z]{0,2000}",
            age_ms: u64,
            critical in prop::collection::vec("[a-z.]{0,30}", 0..4),
        ) {
            let state = State { client, cluster, age_ms, critical, ..usual() };
            let packed = pack(&state).expect("it is short");
            let unpacked = unpack(&packed).expect("it was packed");
            prop_assert_eq!(text(&unpacked), text(&state));
        }

        #[test]
        fn what_was_not_is_told_from_that(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(&bytes);
        }

        #[test]
        fn what_is_damaged_is_no_panic(at in 0..60_usize, bit in 0..8_u32) {
            let mut packed = pack(&usual()).expect("it is short").to_vec();
            let at = at % packed.len();
            packed[at] ^= 1 << bit;
            // Its length may say anything up to the longest.
            if at > 2 {
                let _ = unpack(&packed);
            }
        }

        #[test]
        fn what_is_cut_off_is_nothing(cut in 0..60_usize) {
            let packed = pack(&usual()).expect("it is short");
            let cut = cut.min(packed.len() - 1);
            prop_assert!(unpack(&packed[..cut]).is_none());
        }
    }
}
