//! A provincial platform for the demo: the product's own receiving side, which checks signature, time and fields.

use std::{collections::BTreeMap, future::pending, path::Path};

use anyhow::anyhow;
use connectors::http::Door;
use schemas::exchange::Tables;
use sinks::exchange::{
    Settings,
    receiver::{MemoryStore, Receiver, router},
    signing::{self, Convention},
};
use tokio::net::TcpListener;

const APP_ID: &str = "220100";
const SECRET: &str = "a secret of the demo";
/// Seconds that a request's time may differ from ours.
const TOLERANCE: i64 = 300;

/// Starts the platform and gives the settings to reach it. What it receives is kept as long as the process runs.
///
/// # Errors
/// When no port is free.
pub async fn start(state: &Path) -> anyhow::Result<Settings> {
    let signing = signing::Settings { secret: Some(SECRET.to_owned()), ..signing::Settings::default() };
    let convention = Convention::new(signing.clone()).map_err(|wrong| anyhow!("signing: {wrong}"))?;
    let receiver = Receiver {
        apps: BTreeMap::from([(APP_ID.to_owned(), convention)]),
        tolerance: TOLERANCE,
        clock: Box::new(|| jiff::Timestamp::now().as_millisecond()),
        tables: Tables::in_force(),
        store: MemoryStore::default(),
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(Door::small("province").serve(listener, router(receiver), pending()));
    let state = state.join("exchange");
    let text = format!(
        "url = {url:?}\napp_id = {APP_ID:?}\nstate_directory = {state:?}\n[signing]\nsecret = {SECRET:?}\n"
    );
    Ok(toml::from_str(&text)?)
}
