//! Scenarios on the real services: `make up` starts them.

#![allow(clippy::unwrap_used)] // A test may panic.

mod acknowledged;
mod bad_input;
mod catalogues;
mod check;
mod checkpoints;
mod city;
mod clocks;
mod cluster;
mod connections;
mod crashes;
mod disks;
mod ends;
mod estimates;
mod events;
mod exchange;
mod faults;
mod ingest;
mod input_faults;
mod late_data;
mod meters;
mod object_store;
mod poison;
mod real_data;
mod redrive;
mod restart;
mod sink_down;
mod sinks;
mod store_faults;
mod terminal;
mod times;
mod workers;
mod zombie;
