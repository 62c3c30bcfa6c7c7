//! `reference`: what can be configured, sent, measured and told, from the code.

use std::io::{Write, stdout};

use clap::{Args, ValueEnum};

use crate::reference::{Chapter, config};

/// What to print.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One chapter; all of them when absent.
    chapter: Option<Chapter>,
    /// The configuration as a JSON schema, for editors.
    #[arg(long)]
    json_schema: bool,
}

/// Prints it.
///
/// # Errors
/// When standard output cannot be written, or a schema is asked of anything but the configuration.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    if arguments.json_schema {
        if arguments.chapter != Some(Chapter::Config) {
            anyhow::bail!("only the configuration has a JSON schema: nuanliu reference config --json-schema");
        }
        writeln!(out, "{}", serde_json::to_string_pretty(&config::schema())?)?;
        return Ok(());
    }
    let chapters = arguments.chapter.map_or(Chapter::value_variants().to_vec(), |chapter| vec![chapter]);
    chapters.into_iter().try_for_each(|chapter| write!(out, "{}", chapter.text()))?;
    Ok(())
}
