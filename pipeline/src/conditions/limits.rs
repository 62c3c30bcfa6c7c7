//! The `[operations]` section: from when on something about the platform is an alarm.

use schemars::JsonSchema;
use serde::Deserialize;

/// The `[operations]` section: when the platform raises alarms about itself.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Records of one topic that may wait to be read.
    pub lag_records: i64,
    /// Seconds for which a topic may not be read to its end.
    pub lag_seconds: u64,
    /// Seconds without any new report after which the source counts as silent.
    pub no_data_seconds: u64,
    /// Seconds without an answer after which the brokers count as away; until they answer, time stands still.
    pub source_seconds: u64,
    /// Percent of the state directory's disk that must be free.
    pub disk_free_percent: f64,
    /// Seconds by which our clock may differ from the brokers'.
    pub clock_skew_seconds: u64,
    /// Seconds for which nothing may be delivered before the process counts as not ready: `/readyz` then says 503 and why.
    /// This way does not lead through the sinks, as the alarms do.
    pub delivery_seconds: u64,
    /// Seconds for which the frontier may stand still while there is work and no sink is paused; then the process dumps
    /// where it stands and aborts, for the supervisor to start it again. 0 turns this off.
    pub watchdog_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            lag_records: 1_000_000,
            lag_seconds: 600,
            no_data_seconds: 900,
            source_seconds: 15,
            disk_free_percent: 5.0,
            clock_skew_seconds: 60,
            delivery_seconds: 60,
            watchdog_seconds: 600,
        }
    }
}

impl Limits {
    /// What no type can say.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut demand = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        demand(self.lag_records > 0, "lag_records must be at least 1");
        demand(self.lag_seconds > 0, "lag_seconds must be at least 1");
        demand(self.no_data_seconds > 0, "no_data_seconds must be at least 1");
        demand(self.source_seconds > 0, "source_seconds must be at least 1");
        demand((0.0..=90.0).contains(&self.disk_free_percent), "disk_free_percent must be between 0 and 90");
        demand(
            self.clock_skew_seconds >= 5,
            "clock_skew_seconds must be at least 5: clocks always differ a little",
        );
        demand(self.delivery_seconds > 0, "delivery_seconds must be at least 1");
        demand(
            self.watchdog_seconds == 0 || self.watchdog_seconds >= 10,
            "watchdog_seconds must be 0 or at least 10",
        );
        problems
    }
}
