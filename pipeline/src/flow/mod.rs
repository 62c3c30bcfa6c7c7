//! The operators that move data and capabilities: thin shells around the pure stages.
//!
//! Enters: bindings. Leaves: acknowledged blocks. Guarantees: an epoch is processed once its frontier has passed,
//! in an order that does not depend on the number of workers.

pub mod alarms;
pub mod bind;
pub mod block;
pub mod clock;
pub mod decode;
pub mod deliver;
pub mod hours;
pub mod read;
pub mod rejects;
pub mod revise;
pub mod stages;
pub mod tables;
pub mod validate;

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

/// How many buckets facilities and scopes fall into. Routing and blocks go by bucket, so at most this many workers
/// have work, and blocks do not depend on their number.
pub const BUCKETS: u64 = 16;

/// The bucket of a facility, scope or registry key.
///
/// The upper bits of the product are used: hash maps of the operators look at the lower ones.
#[must_use]
pub fn bucket(code: &str) -> u64 {
    let mut hasher = FxHasher::default();
    code.hash(&mut hasher);
    (hasher.finish() >> 40) % BUCKETS
}
