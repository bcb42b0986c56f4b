//! An allocator that refuses what no parser has a reason to ask for.
//!
//! libFuzzer's own limit sees pages that were touched. A vector of zeros of an
//! unchecked size has none, and would pass.

use std::alloc::{GlobalAlloc, Layout, System};

/// The largest allocation in bytes: an eighth of it is the largest block.
const LIMIT: usize = 128 << 20;

struct Limited;

#[global_allocator]
static LIMITED: Limited = Limited;

// SAFETY: everything is left to the system's allocator; a null pointer is how an allocator refuses, and the
// program ends with a message then.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LIMIT { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LIMIT { std::ptr::null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > LIMIT { std::ptr::null_mut() } else { unsafe { System.realloc(at, layout, size) } }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}
