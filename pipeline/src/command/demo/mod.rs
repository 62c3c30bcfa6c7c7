//! `demo`: a simulated district through every part of the product, and what came out of it.

mod judge;
mod province;
mod report;

use std::{
    fs,
    io::{Write, stdout},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use connectors::simulator::{self, Destination, Fault, Intervals, Plan, Simulated, Size};
use indicatif::{ProgressBar, ProgressStyle};
use sinks::clickhouse::ClickHouse;

use super::{migrate, run, simulate};
use crate::{config::Config, control::Control, flow::clock::ClockSource, telemetry};

/// How long the connectors may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long the deliveries to the province may take at the end.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);

/// How long the broker keeps the connector's session, s: for a connection that was lost.
const SESSION_EXPIRY: u32 = 60;

/// How large a demo.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Heat exchange stations; 25 rooms and 25 rural devices each.
    #[arg(long, default_value_t = 200)]
    stations: usize,
    /// Simulated hours.
    #[arg(long, default_value_t = 48)]
    hours: u32,
    /// Faults of each kind.
    #[arg(long, default_value_t = 2)]
    faults: u32,
    /// Seed of the simulation.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// Runs the demo in topics and a database of its own, which it empties first.
///
/// # Errors
/// When a service is not there, or a part of the product fails.
pub fn run(config: Config, arguments: &Arguments) -> anyhow::Result<()> {
    let mut config = own_place(config)?;
    let plan = Plan {
        hours: arguments.hours,
        seed: arguments.seed,
        faults_per_kind: arguments.faults,
        intervals: Intervals { clean_device: 10, ..Intervals::default() },
        ..Plan::of(Size::of_stations(arguments.stations))
    };
    plan.check()?;
    let faults = simulator::plan_faults(&plan);
    say(
        "A simulated district on its way: HTTP and MQTT -> Kafka -> dataflow -> ClickHouse, alarm topic, province.",
    )?;
    let (control, begun) = (Arc::new(Control::default()), Instant::now());
    let runtime = super::runtime()?;
    runtime.block_on(prepare(&config, &plan, &faults))?;
    config.exchange = Some(runtime.block_on(province::start(&config.pipeline.state))?);
    let product = {
        let (config, control) = (config.clone(), Arc::clone(&control));
        std::thread::spawn(move || -> anyhow::Result<()> {
            let parts = run::Parts { dataflow: true, ..run::Parts::connectors() };
            run::run_until_stopped(&config, &parts, &super::runtime()?, &control)
        })
    };
    let sent = runtime.block_on(feed(&config, &plan, faults.clone(), &control));
    let sent = match sent {
        Ok(sent) => sent,
        Err(error) => {
            control.drain();
            return Err(ended(product).err().unwrap_or(error));
        }
    };
    let elapsed = begun.elapsed();
    runtime.block_on(deliveries());
    fs::write(config.pipeline.state.join("metrics.prom"), telemetry::metrics_text())?;
    control.drain();
    ended(product)?;
    runtime.block_on(show(&config, &faults, &sent, elapsed))
}

fn ended(product: std::thread::JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    product.join().unwrap_or_else(|_| bail!("the product panicked"))
}

/// Topics, database and directories that belong to the demo alone.
fn own_place(mut config: Config) -> anyhow::Result<Config> {
    config.kafka.prefix = format!("demo{}", std::process::id());
    config.clickhouse.database = "nuanliu_demo".to_owned();
    config.pipeline.name = config.kafka.prefix.clone();
    config.pipeline.state = config.pipeline.state.join("demo");
    config.pipeline.clock = ClockSource::Data;
    let http = config.http.as_mut().context("the demo needs the [http] section")?;
    http.accept_received_at = true;
    let mqtt = config.mqtt.as_mut().context("the demo needs the [mqtt] section")?;
    mqtt.accept_received_at = true;
    mqtt.client_id = config.kafka.prefix.clone();
    // Nobody comes back for this session, for which the broker would keep what later demos send.
    mqtt.session_expiry = SESSION_EXPIRY;
    match fs::remove_dir_all(&config.pipeline.state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)?,
        _ => {}
    }
    fs::create_dir_all(&config.pipeline.state)?;
    Ok(config)
}

async fn prepare(config: &Config, plan: &Plan, faults: &[Fault]) -> anyhow::Result<()> {
    let drop = format!("DROP DATABASE IF EXISTS {}", config.clickhouse.database);
    config.clickhouse.client()?.query(&drop).execute().await.context("emptying the demo's database")?;
    migrate::migrate(config).await?;
    simulator::write_truth(faults, fs::File::create(config.pipeline.state.join("truth.jsonl"))?)?;
    let codec = connectors::publish::codec(&config.kafka).await?;
    let publisher = connectors::Publisher::connect(&config.kafka, Arc::new(codec), Default::default())?;
    let entries = simulator::load_registry(plan, &publisher).await?;
    let size = &plan.size;
    say(&format!(
        "{} stations, {} rooms, {} rural devices ({entries} registry entries), {} hours, {} injected faults",
        size.stations,
        size.rooms,
        size.clean_devices,
        plan.hours,
        faults.len()
    ))
}

/// Sends the simulated days through the connectors and waits until all of it has been delivered.
async fn feed(
    config: &Config,
    plan: &Plan,
    faults: Vec<Fault>,
    control: &Control,
) -> anyhow::Result<Simulated> {
    let endpoints = simulate::endpoints(config)?;
    ready(&endpoints.http, control).await?;
    let sent = simulator::run(
        plan,
        faults,
        Destination::Endpoints(endpoints),
        connectors::pace::Pace::Fastest,
        true,
    )
    .await?;
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar.set_message("the last records are on their way");
    let bound = telemetry::EPOCH_BOUND.get() + 2;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if control.finished() {
            bail!("the product stopped before everything was delivered");
        }
        // What was acknowledged is on Kafka; two epochs later the lag shows all of it.
        if telemetry::EPOCH_DELIVERED.get() > bound && telemetry::lag() == 0 {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(sent)
}

async fn ready(http: &str, control: &Control) -> anyhow::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < READY_WITHIN && !control.finished() {
        let answer = reqwest::get(format!("{http}/readyz")).await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the connectors are not ready: see the log above")
}

async fn show(config: &Config, faults: &[Fault], sent: &Simulated, elapsed: Duration) -> anyhow::Result<()> {
    let store = ClickHouse::new(&config.clickhouse)?;
    let seconds = elapsed.as_secs_f64();
    say(&format!(
        "\nThroughput\n{} reports with {} readings in {seconds:.0} s: {:.0} readings/s through HTTP ({} reports) and MQTT ({})",
        sent.reports,
        sent.readings,
        sent.readings as f64 / seconds,
        sent.http,
        sent.mqtt
    ))?;
    report::tables(store.client()).await?;
    let wrong = report::faults(store.client(), faults).await?;
    say(&where_to_look(config))?;
    if wrong > 0 { bail!("{wrong} injected faults were missed or led to what must not be") } else { Ok(()) }
}

fn where_to_look(config: &Config) -> String {
    let (url, database, kafka) = (&config.clickhouse.url, &config.clickhouse.database, &config.kafka);
    let state = |name: &str| Path::new(&config.pipeline.state).join(name).display().to_string();
    format!(
        "\nLook further (the services stay up; `make down` stops them)\n\
         query    curl '{url}/?database={database}' -d 'SELECT rule, facility, level, raised_at, advice FROM alarms FINAL ORDER BY raised_at FORMAT PrettyCompact'\n\
         query    curl '{url}/?database={database}' -d \"SELECT * FROM kpis FINAL WHERE scope_kind = 'city' AND period = 'hour' ORDER BY window_start FORMAT PrettyCompact\"\n\
         topics   {}.reports, {}.alarms, {}.kpis, {}.rejects on {}\n\
         metrics  {}\n\
         truth    {}",
        kafka.prefix,
        kafka.prefix,
        kafka.prefix,
        kafka.prefix,
        kafka.brokers,
        state("metrics.prom"),
        state("truth.jsonl")
    )
}

/// Waits for the deliveries to the province, which go at their own pace behind the ledger.
async fn deliveries() {
    let begun = Instant::now();
    while telemetry::owed_to_province() > 0 && begun.elapsed() < DELIVERED_WITHIN {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(stdout().lock(), "{text}")?;
    Ok(())
}
