//! A session's state as it is on record: most of it is what every session's says, and takes no
//! room.
//!
//! The same image writes and reads it. What is wrong with it when it is read is told like anything
//! else that is not understood.

use std::cell::RefCell;
use std::sync::LazyLock;

use zeroize::Zeroizing;
use zstd_safe::{CCtx, CDict, DCtx, DDict, compress_bound, get_frame_content_size};

/// A state as most are; another one in its place is as right, but others take more room then.
const USUAL: &[u8] = include_bytes!("usual.json");

/// The faster, the better: there is little that the usual state does not say.
const LEVEL: i32 = 1;

/// No state is that long.
const LONGEST: usize = 64 * 1024 * 1024;

static TO_PACK: LazyLock<CDict<'static>> = LazyLock::new(|| CDict::create(USUAL, LEVEL));
static TO_UNPACK: LazyLock<DDict<'static>> = LazyLock::new(|| DDict::create(USUAL));

thread_local! {
    static PACKING: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static UNPACKING: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Makes a state short; None if it is too long.
pub(super) fn pack(state: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if state.len() > LONGEST {
        return None;
    }
    let mut packed = Zeroizing::new(vec![0; compress_bound(state.len())]);
    let written = PACKING.with_borrow_mut(|context| {
        let context = context.get_or_insert_with(CCtx::create);
        context.compress_using_cdict(&mut packed[..], state, &TO_PACK).ok()
    })?;
    packed.truncate(written);
    Some(packed)
}

/// The state that was made short; None if this is none.
pub(in crate::proxy) fn unpack(packed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let length = get_frame_content_size(packed).ok()??;
    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST)?;
    let mut state = Zeroizing::new(vec![0; length]);
    let written = UNPACKING.with_borrow_mut(|context| {
        let context = context.get_or_insert_with(DCtx::create);
        context.decompress_using_ddict(&mut state[..], packed, &TO_UNPACK).ok()
    })?;
    (written == length).then_some(state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_as_usual_takes_no_room() {
        let text = String::from_utf8(USUAL.to_vec()).expect("JSON");
        let state = text.replace("10.0.0.1:40000", "192.168.17.4:51234").replace("97,112,112", "1");
        let packed = pack(state.as_bytes()).expect("it is short");
        assert!(packed.len() < 128, "{} bytes", packed.len());
        assert_eq!(unpack(&packed).as_deref().map(|it| &it[..]), Some(state.as_bytes()));
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(state in prop::collection::vec(any::<u8>(), 0..5000)) {
            let packed = pack(&state).expect("it is short");
            let unpacked = unpack(&packed).expect("it was packed");
            prop_assert_eq!(&*unpacked, &state);
        }

        #[test]
        fn what_was_not_is_told_from_that(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(&bytes);
        }

        #[test]
        fn what_is_cut_off_is_nothing(cut in 0..40_usize) {
            let packed = pack(USUAL).expect("it is short");
            let cut = cut.min(packed.len() - 1);
            prop_assert!(unpack(&packed[..cut]).is_none());
        }
    }
}
