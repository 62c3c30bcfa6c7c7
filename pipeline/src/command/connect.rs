//! `connect`: the connectors, until asked to stop.

use std::{sync::Arc, time::Duration};

use anyhow::bail;
use axum::Router;
use connectors::{Intake, KnownFacilities, Publisher, http, mqtt, publish::Limits};
use schemas::avro::Codec;

use crate::{config::Config, control::Control};

/// How often the stop signal is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Serves the configured connectors until asked to stop, then lets what is under way reach Kafka.
///
/// # Errors
/// When a connector cannot start or fails.
pub async fn serve(config: Config, codec: Codec, control: Arc<Control>) -> anyhow::Result<()> {
    if config.http.is_none() && config.mqtt.is_none() {
        bail!("nothing to connect: the configuration has neither [http] nor [mqtt]");
    }
    let codec = Arc::new(codec);
    let publisher = Publisher::connect(&config.kafka, Arc::clone(&codec), Limits::default())?;
    let (known, _following) = KnownFacilities::follow(&config.kafka, codec)?;
    let intake = Intake { publisher: publisher.clone(), known: Some(known) };
    let http = serve_http(&config, intake.clone(), Arc::clone(&control));
    let mqtt = serve_mqtt(&config, intake, control);
    tokio::try_join!(http, mqtt)?;
    publisher.drained().await;
    Ok(())
}

async fn serve_http(config: &Config, intake: Intake, control: Arc<Control>) -> anyhow::Result<()> {
    let Some(settings) = &config.http else { return Ok(()) };
    let held = Arc::clone(&control);
    let server = http::Server::bind(settings.clone(), intake).await?.watching(Box::new(move || held.held()));
    tracing::info!(address = %server.address(), "the HTTP connector listens");
    let extra = match &config.receiver {
        Some(settings) => sinks::exchange::province::open(settings)?,
        None => Router::new(),
    };
    Ok(server.serve(extra, stopped(control)).await?)
}

async fn serve_mqtt(config: &Config, intake: Intake, control: Arc<Control>) -> anyhow::Result<()> {
    let Some(settings) = &config.mqtt else { return Ok(()) };
    Ok(mqtt::Connector::new(settings.clone(), intake)?.run(stopped(control)).await?)
}

async fn stopped(control: Arc<Control>) {
    while !control.draining() && !control.finished() {
        tokio::time::sleep(LOOK).await;
    }
}
