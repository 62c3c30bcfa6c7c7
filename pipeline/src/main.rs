//! The binary `nuanliu`: the real-time backbone of clean-heating supervision.
//!
//! Enters: a command line and one TOML file. Leaves: a running pipeline, or an answer. Guarantees: exit code 0 when
//! the command did what it says, 78 when the configuration is wrong, 1 for everything else.

use clap::Parser;
use pipeline::command::{self, CommandLine};

/// Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    command::main(CommandLine::parse())
}
