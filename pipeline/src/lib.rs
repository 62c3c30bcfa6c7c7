//! The pipeline: how the parts of the product are run together.
//!
//! Enters: a configuration, or parts of it. Leaves: a running dataflow. Guarantees: those of `dataflow.rs`; what is
//! public beyond the command line is there so that benches can wire the same parts to a job of their own.

pub mod binding;
pub mod catalogue;
pub mod checkpoint;
mod cluster;
pub mod command;
pub mod conditions;
pub mod config;
pub mod control;
pub mod dataflow;
mod error;
pub mod flow;
pub mod health;
pub mod kafka;
mod lost_input;
pub mod place;
mod printable;
pub mod progress;
pub mod reference;
mod sink_tasks;
pub mod skips;
pub mod telemetry;
mod wall_clock;
mod watchdog;

pub use error::Error;
