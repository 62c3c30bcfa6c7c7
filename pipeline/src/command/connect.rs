//! `connect`: the connectors, until asked to stop.

use std::{sync::Arc, time::Duration};

use anyhow::bail;
use axum::Router;
use connectors::{Intake, KnownFacilities, NAMES, Publisher, connect::Terms, publish::Limits};
use schemas::avro::Codec;
use tokio::task::JoinSet;

use crate::{config::Config, control::Control};

/// How often the stop signal is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Serves the configured connectors until asked to stop, then lets what is under way reach Kafka.
///
/// # Errors
/// When a connector cannot start or fails.
pub async fn serve(config: Config, codec: Codec, control: Arc<Control>) -> anyhow::Result<()> {
    let connectors = config.connectors();
    if connectors.is_empty() {
        bail!("nothing to connect: the configuration has neither {}", sections(" nor "));
    }
    let codec = Arc::new(codec);
    let publisher = Publisher::connect(&config.kafka, Arc::clone(&codec), Limits::default())?;
    let (known, _following) = KnownFacilities::follow(&config.kafka, codec)?;
    let intake = Intake { publisher: publisher.clone(), known: Some(known) };
    let mut serving = JoinSet::new();
    for connector in connectors {
        let held = Arc::clone(&control);
        let terms = Terms {
            stopped: Box::pin(stopped(Arc::clone(&control))),
            held: Box::new(move || held.held()),
            routes: match &config.receiver {
                Some(settings) if connector.name() == "http" => sinks::exchange::province::open(settings)?,
                _ => Router::new(),
            },
        };
        serving.spawn(connector.serve(intake.clone(), terms));
    }
    // The first that fails ends the others.
    while let Some(served) = serving.join_next().await {
        served??;
    }
    publisher.drained().await;
    Ok(())
}

/// The sections of connectors, for people.
fn sections(between: &str) -> String {
    NAMES.map(|name| format!("[{name}]")).join(between)
}

async fn stopped(control: Arc<Control>) {
    while !control.draining() && !control.finished() {
        tokio::time::sleep(LOOK).await;
    }
}
