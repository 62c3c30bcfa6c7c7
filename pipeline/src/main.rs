//! The binary `nuanliu`: the real-time backbone of clean-heating supervision.
//!
//! Enters: a command line and one TOML file. Leaves: a running pipeline, or an answer. Guarantees: exit code 0 when
//! the command did what it says, 78 when the configuration is wrong, 1 for everything else.

mod binding;
mod checkpoint;
mod cluster;
mod command;
mod conditions;
mod config;
mod control;
mod dataflow;
mod error;
mod flow;
mod kafka;
mod loss;
mod outlets;
mod progress;
mod telemetry;
mod wall;
mod watchdog;

use clap::Parser;
pub use error::Error;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    command::main(command::CommandLine::parse())
}
