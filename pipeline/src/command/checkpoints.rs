//! `checkpoints`: which there are, what is in them, and whether they are right.

use std::io::{Write, stdout};

use anyhow::bail;
use clap::Subcommand;
use jiff::Timestamp;
use schemas::{Epoch, Millis};

use crate::{
    checkpoint::inspect::{CheckpointPlace, Wholeness},
    config::Config,
    printable::printable,
};

/// What to do with checkpoints. None of these holds up a running pipeline.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List checkpoints, newest first.
    #[command(after_help = "Example:\n  nuanliu checkpoints list")]
    List,
    /// Show what a checkpoint holds, state by state.
    #[command(after_help = "Example:\n  nuanliu checkpoints show 4799")]
    Show {
        /// The epoch at the end of which it was taken.
        epoch: Epoch,
    },
    /// Read every checkpoint to its last byte. Exit code 1 when something is damaged.
    #[command(after_help = "Example:\n  nuanliu checkpoints verify && echo all right")]
    Verify,
}

/// Runs it.
///
/// # Errors
/// When the place does not answer, or something is damaged.
pub fn run(config: &Config, command: &Command) -> anyhow::Result<()> {
    let place = CheckpointPlace::open(&config.checkpoint, &config.pipeline.state)?;
    let mut out = stdout().lock();
    match command {
        Command::List => list(&place, &mut out),
        Command::Show { epoch } => show(&place, *epoch, &mut out),
        Command::Verify => verify(&place, &mut out),
    }
}

fn list(place: &CheckpointPlace, out: &mut impl Write) -> anyhow::Result<()> {
    let summaries = place.list()?;
    if summaries.is_empty() {
        writeln!(out, "no checkpoints in {}", place.name())?;
        return Ok(());
    }
    writeln!(
        out,
        "{:>12}  {:<20}  {:>10}  {:>10}  {:>5}  {:>6}  {:>7}  {:>5}",
        "epoch", "time", "size", "cold", "parts", "states", "longest", "start"
    )?;
    for summary in summaries {
        let start = summary.generation;
        write!(out, "{:>12}  ", summary.epoch)?;
        match summary.condition {
            Wholeness::Unreadable(detail) => writeln!(out, "damaged: {}", printable(&detail))?,
            Wholeness::Read { wall, bytes, cold, parts, states, longest_chain, superseded } => writeln!(
                out,
                "{:<20}  {:>10}  {:>10}  {parts:>5}  {states:>6}  {longest_chain:>7}  {start:>5}{}",
                time(wall),
                size(bytes),
                size(cold),
                if superseded { "  set aside: a later start went on from before it" } else { "" }
            )?,
        }
    }
    Ok(())
}

fn show(place: &CheckpointPlace, epoch: Epoch, out: &mut impl Write) -> anyhow::Result<()> {
    let contents = place.show(epoch)?;
    writeln!(out, "checkpoint of epoch {epoch}, {}, in {}", time(contents.wall), place.name())?;
    writeln!(out, "pipeline {}, topics {}.*", printable(&contents.pipeline), printable(&contents.prefix))?;
    for (topic, partition, upto) in contents.positions {
        writeln!(out, "read {topic}/{partition} up to offset {upto}")?;
    }
    for (subject, detail) in contents.active {
        writeln!(out, "condition {}: {}", printable(&subject), printable(&detail))?;
    }
    writeln!(
        out,
        "\n{:<24}  {:>10}  {:>10}  {:>10}  {:>6}  {:>7}  form",
        "state", "entries", "bytes", "stored", "shards", "longest"
    )?;
    for state in contents.states {
        let forms: Vec<String> = state.forms.iter().map(u16::to_string).collect();
        writeln!(
            out,
            "{:<24}  {:>10}  {:>10}  {:>10}  {:>6}  {:>7}  {}",
            state.name,
            state.entries,
            size(state.bytes),
            size(state.stored),
            state.shards,
            state.longest_chain,
            forms.join(", ")
        )?;
    }
    if contents.volumes > 0 {
        writeln!(out, "\n{} sealed in {} volumes", size(contents.cold), contents.volumes)?;
    }
    Ok(())
}

fn verify(place: &CheckpointPlace, out: &mut impl Write) -> anyhow::Result<()> {
    let mut damaged = 0;
    for (epoch, problems) in place.verify()? {
        if problems.is_empty() {
            writeln!(out, "epoch {epoch}: right")?;
        } else {
            damaged += 1;
        }
        for problem in problems {
            writeln!(out, "epoch {epoch}: {}", printable(&problem))?;
        }
    }
    if damaged > 0 {
        bail!(
            "{damaged} checkpoints in {} are damaged: the next start passes over them to the newest that is right",
            place.name()
        );
    }
    Ok(())
}

fn time(wall: Millis) -> String {
    Timestamp::from_millisecond(wall)
        .map_or_else(|_| wall.to_string(), |at| at.strftime("%FT%TZ").to_string())
}

fn size(bytes: u64) -> String {
    let mut units = ["B", "kB", "MB", "GB"].into_iter().peekable();
    let (mut amount, mut unit) = (bytes as f64, "B");
    while let Some(next) = units.next() {
        unit = next;
        if amount < 1000.0 || units.peek().is_none() {
            break;
        }
        amount /= 1000.0;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{amount:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1500, "1.5 kB"),
            (2_340_000, "2.3 MB"),
            (7_000_000_000_000, "7000.0 GB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(time(1_700_000_000_000), "2023-11-14T22:13:20Z");
    }
}
