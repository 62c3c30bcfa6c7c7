//! Scenarios on the real services: `make up` starts them.

#![allow(clippy::unwrap_used)] // A test may panic.

mod bad_input;
mod check;
mod city;
mod faults;
mod ingest;
mod late_data;
#[path = "../oracles/mod.rs"]
mod oracles;
mod real_data;
mod restart;
mod sink_down;
mod sinks;
mod workers;
