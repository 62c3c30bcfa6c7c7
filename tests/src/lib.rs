//! The harness of the scenarios: a site of its own on the shared services, the product as a process, and eyes on what it
//! wrote.
//!
//! Guarantees: every site has its own topics, database and directories, so scenarios run side by side; a process ends
//! with the value that started it.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, clippy::must_use_candidate)] // A harness panics when a test is wrong.

pub mod bindings;
pub mod campaign;
pub mod checker;
pub mod clock;
pub mod consume;
pub mod device;
pub mod dice;
pub mod disk;
pub mod district;
pub mod feed;
pub mod load;
#[path = "../oracles/mod.rs"]
pub mod oracles;
pub mod process;
pub mod province;
pub mod proxy;
pub mod service;
pub mod site;
pub mod store;

pub use clock::WallClock;
pub use consume::{Consumed, consume};
pub use disk::Disk;
pub use process::Process;
pub use province::Province;
pub use proxy::Proxy;
pub use service::Service;
pub use site::Site;

use std::time::{Duration, Instant};

/// Waits until a condition holds, looking again and again; panics with `what` after `limit`.
pub async fn until(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
