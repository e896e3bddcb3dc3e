//! What the targets share: running one on an input, and the bound on the memory that it may take.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

pub use libfuzzer_sys;

/// What one run may hold at once beyond what was held before it: so much for each byte of input
/// (JSON and YAML trees are made of a hundred bytes a value), and so much for any.
const PER_BYTE: usize = 4 * 1024;
const FOR_ANY: usize = 16 * 1024 * 1024;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; only numbers are kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(held, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs a target and checks how much memory it held.
pub fn bounded(target: fn(&[u8]), data: &[u8]) {
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    target(data);
    let most = MOST.load(Relaxed).saturating_sub(before);
    let allowed = FOR_ANY + PER_BYTE * data.len();
    assert!(
        most <= allowed,
        "{most} bytes held for an input of {}",
        data.len()
    );
}

/// The binary of one target.
#[macro_export]
macro_rules! target {
    ($target:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::bounded(outrigger::fuzzing::$target, data);
        });
    };
}
