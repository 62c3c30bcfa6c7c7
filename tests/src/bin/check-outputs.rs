//! Checks what a pipeline wrote: `cargo run --package tests --bin check-outputs -- CONFIG`, with the configuration of a
//! pipeline that has been stopped.

#![allow(clippy::print_stdout)] // What it is for.

use std::process::ExitCode;

use jiff::tz::TimeZone;
use schemas::KafkaSettings;
use serde::Deserialize;
use tests::checker::Checker;

/// What of the configuration is needed.
#[derive(Deserialize)]
struct Config {
    kafka: KafkaSettings,
    clickhouse: sinks::clickhouse::Settings,
    #[serde(default)]
    rules: Rules,
}

#[derive(Default, Deserialize)]
struct Rules {
    time_zone: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: check-outputs CONFIG");
        return ExitCode::from(2);
    };
    let config = match read(&path) {
        Ok(config) => config,
        Err(problem) => {
            eprintln!("{path}: {problem}");
            return ExitCode::from(2);
        }
    };
    let zone = config.rules.time_zone.as_deref().unwrap_or("Asia/Shanghai");
    let zone = match TimeZone::get(zone) {
        Ok(zone) => zone,
        Err(problem) => {
            eprintln!("{path}: rules.time_zone: {problem}");
            return ExitCode::from(2);
        }
    };
    let statements = Checker { kafka: config.kafka, clickhouse: config.clickhouse, zone }.check().await;
    for statement in &statements {
        println!("{statement}");
    }
    ExitCode::from(u8::from(statements.iter().any(|statement| !statement.against.is_empty())))
}

fn read(path: &str) -> Result<Config, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    toml::from_str(&text).map_err(|error| error.to_string())
}
