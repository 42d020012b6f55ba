//! Keeps copies of what is freed, to look for keys in: memory that held one must be zeroized first.
//!
//! It sees Rust's allocations; those of aws-lc are its own affair.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Bytes that are kept at the most.
const ROOM: usize = 64 << 20;

struct Graveyard;

#[global_allocator]
static ALLOCATOR: Graveyard = Graveyard;

/// Null while nothing is kept.
static KEPT: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came. `realloc` is the default one, which
// allocates, copies and frees through the others.
unsafe impl GlobalAlloc for Graveyard {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let kept = KEPT.load(Ordering::Acquire);
        if !kept.is_null() {
            let at = LENGTH.fetch_add(layout.size(), Ordering::AcqRel);
            if at + layout.size() <= ROOM {
                // SAFETY: the block is still the caller's, and this part of ours nobody else's.
                // What the caller never wrote is copied as it is and only compared with keys.
                unsafe { memory.copy_to_nonoverlapping(kept.add(at), layout.size()) }
            }
        }
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Does something; all that was freed meanwhile.
pub(crate) fn dig<T>(act: impl FnOnce() -> T) -> (T, Vec<u8>) {
    let mut room = vec![0_u8; ROOM];
    LENGTH.store(0, Ordering::Release);
    KEPT.store(room.as_mut_ptr(), Ordering::Release);
    let done = act();
    KEPT.store(std::ptr::null_mut(), Ordering::Release);
    let length = LENGTH.load(Ordering::Acquire);
    assert!(length <= ROOM, "{length} bytes are more than can be kept");
    room.truncate(length);
    (done, room)
}

/// Whether half of a key, or of its hexadecimal form, lies there.
pub(crate) fn holds(found: &[u8], key: &[u8]) -> bool {
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let has = |part: &[u8]| memchr::memmem::find(found, part).is_some();
    let halves = |whole: &[u8]| -> bool {
        let (left, right) = whole.split_at(whole.len() / 2);
        has(left) || has(right)
    };
    halves(key) || halves(text.as_bytes())
}
