//! Scenarios on the real services: `make up` starts them.

#![allow(clippy::unwrap_used)] // A test may panic.

mod city;
mod ingest;
mod sinks;
