//! The references: what can be configured, sent, measured and told, as Markdown from the code and the catalogues in force.
//!
//! Enters: the chapter that is wanted. Leaves: its text. Guarantees: nothing is written down twice: every line comes from
//! the type, list or catalogue that the program itself goes by.

mod catalogue;
pub mod config;
mod prometheus;
mod table;

use clap::ValueEnum;

/// What there is a reference of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Chapter {
    /// Keys of the configuration file.
    Config,
    /// Measured metrics.
    Metrics,
    /// Tests of data quality.
    Quality,
    /// Reasons for which records are rejected.
    Rejects,
    /// KPIs.
    Kpis,
    /// Alarm rules.
    Alarms,
    /// Conditions of the platform that are alarms.
    Conditions,
    /// Prometheus metrics of the process.
    Prometheus,
}

impl Chapter {
    /// The chapter as Markdown.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Chapter::Config => config::text(),
            Chapter::Metrics => catalogue::metrics(),
            Chapter::Quality => catalogue::quality(),
            Chapter::Rejects => catalogue::rejects(),
            Chapter::Kpis => catalogue::kpis(),
            Chapter::Alarms => catalogue::alarms(),
            Chapter::Conditions => catalogue::conditions(),
            Chapter::Prometheus => prometheus::text(),
        }
    }
}

#[cfg(test)]
mod tests;
