//! How long the heap keeps memory that was given back to it.
//!
//! Enters: nothing. Leaves: an option of the allocator. Guarantees: what the operator says in `MIMALLOC_PURGE_DELAY` holds.
//! One of two modules with `unsafe` code: the option has no safe binding. Buffers of an epoch are needed again with the next one;
//! when their pages went back to the system in between, faulting them in again takes an eighth of our CPU under load
//! (`whole_path`, 0.58 against 0.51 CPU s per million readings).
#![allow(unsafe_code)]

use std::{env, os::raw::c_long};

/// `mi_option_purge_delay`, ms.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// What it says when nobody has said anything.
const BY_DEFAULT: c_long = 1_000;
/// Longer than epochs and checkpoints are apart.
const KEPT: c_long = 10_000;

/// Lets the heap keep pages for ten seconds. To be called before there are other threads.
pub fn keep_pages() {
    if env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
        return;
    }
    // SAFETY: both functions read and write one number of a table; no other thread is there that could do so too. Where
    // the number is another option's by now, it does not say what is expected, and stays.
    unsafe {
        if libmimalloc_sys::mi_option_get(PURGE_DELAY) == BY_DEFAULT {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: as above; other tests do not look at it.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) }, super::BY_DEFAULT);
        super::keep_pages();
        // SAFETY: as above.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) }, super::KEPT);
    }
}
