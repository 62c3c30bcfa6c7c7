//! The command line: one file per sub-command.

mod check;
mod checkpoints;
mod connect;
mod demo;
mod member;
mod metrics;
mod migrate;
mod reference;
mod registry;
mod rejects;
mod replay;
mod run;
mod signals;
mod simulate;
mod skip;
mod table;
mod workers;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{self, Config, Invalid},
    printable::printable_lines,
    telemetry,
};

/// Exit code for a configuration that cannot work (EX_CONFIG).
const WRONG_CONFIGURATION: u8 = 78;

/// Real-time data backbone of clean-heating supervision.
#[derive(Debug, Parser)]
#[command(name = "nuanliu", version, propagate_version = true)]
pub struct CommandLine {
    /// The configuration file.
    #[arg(long, short, global = true, env = "NUANLIU_CONFIG", default_value = "nuanliu.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the dataflow: Kafka in; readings, KPIs and alarms out.
    #[command(
        after_help = "Examples:\n  nuanliu run --config nuanliu.toml\n  nuanliu run --from 4799\n  nuanliu run --take-over\n  nuanliu run -n 2 -p 0 -h hosts.txt",
        disable_help_flag = true
    )]
    Run(run::Arguments),
    /// Run the connectors: HTTP and MQTT in, Kafka out.
    #[command(after_help = "Example:\n  nuanliu connect --config nuanliu.toml")]
    Connect,
    /// Run connectors and dataflow in one process.
    #[command(after_help = "Example:\n  nuanliu all --config nuanliu.toml", disable_help_flag = true)]
    All(run::Arguments),
    /// Check configuration, catalogues and registry, and unless --offline the services. Exit code 78 when wrong.
    #[command(after_help = "Examples:\n  nuanliu check\n  nuanliu check --offline --registry registry/")]
    Check(check::Arguments),
    /// Look at the checkpoints that a start can go on from.
    #[command(subcommand)]
    Checkpoints(checkpoints::Command),
    /// Create or update the topics and the ClickHouse tables.
    #[command(after_help = "Example:\n  nuanliu migrate")]
    Migrate,
    /// Load, compare or export the registry.
    #[command(subcommand)]
    Registry(registry::Command),
    /// Feed recorded CSV files through a mapping into Kafka.
    #[command(
        after_help = "Example:\n  nuanliu replay scada_L4.csv.gz --mapping deploy/examples/xai4heat/xai4heat.toml"
    )]
    Replay(replay::Arguments),
    /// Simulate a heated district or city, with labelled faults.
    #[command(
        after_help = "Examples:\n  nuanliu simulate --stations 3 --hours 24 --speed 60\n  nuanliu simulate --city changchun --realtime"
    )]
    Simulate(simulate::Arguments),
    /// Look at records that could not be used.
    #[command(subcommand)]
    Rejects(rejects::Command),
    /// Pass over one record of an input topic that holds up the rest: it leaves as a reject.
    #[command(
        after_help = "Example:\n  nuanliu skip heating.reports/3/1042 --reason \"the dataflow fails on it\"\nIt holds from the next start on; in a cluster run it with the configuration of every process."
    )]
    Skip(skip::Arguments),
    /// Print what can be configured, sent, measured and told, as Markdown. The catalogues are those of the configuration
    /// file, or the shipped ones where there is none.
    #[command(
        after_help = "Examples:\n  nuanliu reference > reference.md\n  nuanliu reference config --json-schema > nuanliu.schema.json"
    )]
    Reference(reference::Arguments),
    /// Run everything with a simulated district and injected faults, and show what was found.
    #[command(after_help = "Example:\n  make demo")]
    Demo(demo::Arguments),
}

/// How fast simulated or recorded time runs.
#[derive(Clone, Debug, Args)]
struct Pace {
    /// Simulated seconds per second; as fast as possible when absent.
    #[arg(long, conflicts_with = "realtime")]
    speed: Option<f64>,
    /// As fast as time itself.
    #[arg(long)]
    realtime: bool,
}

impl Pace {
    fn pace(&self) -> connectors::pace::Pace {
        match (self.speed, self.realtime) {
            (Some(times), _) => connectors::pace::Pace::Times(times),
            (None, true) => connectors::pace::Pace::Times(1.0),
            (None, false) => connectors::pace::Pace::Fastest,
        }
    }
}

/// Runs a command line.
pub fn main(line: CommandLine) -> ExitCode {
    if let Command::Reference(arguments) = &line.command
        && !line.config.exists()
    {
        return ended(reference::run(arguments));
    }
    let config = match config::load(&line.config) {
        Ok(config) => config,
        Err(problems) => return wrong(&problems),
    };
    telemetry::start_logging(config.telemetry.log, &config.telemetry.level);
    ended(dispatch(line.command, config))
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<Invalid>() {
            Some(problems) => wrong(problems),
            None => {
                tracing::error!("{error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn wrong(problems: &Invalid) -> ExitCode {
    for problem in &problems.0 {
        eprintln!("{}", printable_lines(problem));
    }
    ExitCode::from(WRONG_CONFIGURATION)
}

fn dispatch(command: Command, config: Config) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => run::run(&config, &run::Parts::of(&arguments, false)?),
        Command::Connect => run::run(&config, &run::Parts::connectors()),
        Command::All(arguments) => run::run(&config, &run::Parts::of(&arguments, true)?),
        Command::Check(arguments) => check::run(&config, &arguments),
        Command::Checkpoints(command) => checkpoints::run(&config, &command),
        Command::Migrate => migrate::run(&config),
        Command::Registry(command) => registry::run(&config, command),
        Command::Replay(arguments) => replay::run(&config, &arguments),
        Command::Simulate(arguments) => simulate::run(&config, &arguments),
        Command::Rejects(command) => rejects::run(&config, command),
        Command::Skip(arguments) => skip::run(&config, &arguments),
        Command::Reference(arguments) => reference::run(&arguments),
        Command::Demo(arguments) => demo::run(config, &arguments),
    }
}

/// The runtime of commands that wait for the network.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::CommandLine;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
