//! `simulate`: a heated district or city that obeys physics.

use std::{fs::File, path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::Args;
use connectors::{
    publish::{Limits, Publisher},
    simulator::{self, Destination, Endpoints, Plan, Size},
};

use crate::config::Config;

/// What to simulate.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Heat exchange stations; everything else in proportion.
    #[arg(long, default_value_t = 3, conflicts_with = "city")]
    stations: usize,
    /// A whole city; `changchun` is known.
    #[arg(long)]
    city: Option<String>,
    /// How long, in hours of simulated time; 0 for without end.
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// First simulated minute (RFC 3339); a winter night of 2025 when absent, now with --realtime.
    #[arg(long)]
    start: Option<jiff::Timestamp>,
    /// The same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Faults of each kind.
    #[arg(long, default_value_t = 0)]
    faults: u32,
    /// Where to write the truth about the faults, as JSON lines.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Send through the HTTP connector (and MQTT where configured) instead of straight to Kafka.
    #[arg(long)]
    through_connectors: bool,
    /// Leave the registry as it is.
    #[arg(long)]
    keep_registry: bool,
    #[command(flatten)]
    pace: super::Pace,
}

/// Simulates and says what was sent.
///
/// # Errors
/// When the plan is impossible, or a receiver refuses.
pub fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let plan = arguments.plan()?;
    super::runtime()?.block_on(async {
        let codec = connectors::publish::codec(&config.kafka).await?;
        let publisher = Publisher::connect(&config.kafka, Arc::new(codec), Limits::default())?;
        if !arguments.keep_registry {
            let entries = simulator::load_registry(&plan, &publisher).await?;
            tracing::info!(entries, "the registry of the simulation is loaded");
        }
        let faults = simulator::plan_faults(&plan);
        if let Some(path) = &arguments.truth {
            let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
            simulator::write_truth(&faults, file)?;
        }
        let destination = if arguments.through_connectors {
            Destination::Endpoints(endpoints(config)?)
        } else {
            Destination::Kafka(publisher)
        };
        let sent = simulator::run(&plan, faults, destination, arguments.pace.pace(), true).await?;
        tracing::info!(
            minutes = sent.minutes,
            reports = sent.reports,
            readings = sent.readings,
            http = sent.http,
            mqtt = sent.mqtt,
            rejected = sent.http_rejected,
            "simulated"
        );
        Ok(())
    })
}

/// The endpoints of the configured connectors.
///
/// # Errors
/// When there is no HTTP connector.
pub fn endpoints(config: &Config) -> anyhow::Result<Endpoints> {
    let http = config.http.as_ref().context("the configuration has no [http] section to send through")?;
    Ok(Endpoints {
        http: format!("http://{}", http.listen),
        mqtt: config.mqtt.as_ref().map(|mqtt| mqtt.broker.clone()),
        gateway_share: 0.1,
        gateway_separator: "/".to_owned(),
    })
}

impl Arguments {
    fn plan(&self) -> anyhow::Result<Plan> {
        let size = match &self.city {
            Some(name) => Size::named(name)?,
            None => Size::of_stations(self.stations),
        };
        let mut plan =
            Plan { hours: self.hours, seed: self.seed, faults_per_kind: self.faults, ..Plan::of(size) };
        if let Some(start) = self.start.or_else(|| self.pace.realtime.then(jiff::Timestamp::now)) {
            plan.start = start;
        }
        plan.check()?;
        Ok(plan)
    }
}
