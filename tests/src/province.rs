//! A province of one scenario's own: the receiving side of the exchange, behind a proxy.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use schemas::exchange::Tables;
use serde_json::{Map, Value};

use crate::{Process, Proxy, Site, until};

/// A row that was received: its table and its fields.
pub type Received = (String, Map<String, Value>);

/// Where the configuration of a city says that its province is, until it has one.
const NOWHERE: &str = "http://province";
const RECEIVER: &str =
    "---\n[receiver]\nstate_directory = \"received\"\n[receiver.apps.220100]\nsecret = \"s3cret\"\n";

/// The `[exchange]` section of a city that reports some tables to a province.
pub fn exchange(tables: &[&str]) -> String {
    format!(
        "[exchange]\nurl = \"{NOWHERE}\"\napp_id = \"220100\"\ntimeout = 2\nstate_directory = \"ledger\"\n\
         tables = {tables:?}\n[exchange.signing]\nsecret = \"s3cret\"\n"
    )
}

/// A running province.
pub struct Province {
    site: Site,
    process: Option<Process>,
    /// What stands between the city and the province.
    pub proxy: Arc<Proxy>,
}

impl Province {
    /// The province of a city that is configured with [`exchange`].
    pub async fn of(city: &Site) -> Province {
        Province::with(city, RECEIVER).await
    }

    /// As [`Province::of`] with the catalogues of a directory.
    pub async fn with_catalogue(city: &Site, directory: &Path) -> Province {
        Province::with(city, &format!("{RECEIVER}[catalogue]\ndirectory = {directory:?}\n")).await
    }

    async fn with(city: &Site, config: &str) -> Province {
        let site = city.beside("province", config);
        let proxy = Arc::new(Proxy::before(&format!("http://{}", site.http)).await);
        city.reconfigure(NOWHERE, &proxy.url);
        let mut province = Province { site, process: None, proxy };
        province.start().await;
        province
    }

    /// Starts it, again after it was killed.
    pub async fn start(&mut self) {
        self.process = Some(self.site.start(&["connect"]));
        let health = format!("http://{}/healthz", self.site.http);
        until("the province is there", Duration::from_secs(60), async || reqwest::get(&health).await.is_ok())
            .await;
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Every row of every push that it has taken, in their order.
    pub fn received(&self) -> Vec<Received> {
        let text = fs::read_to_string(self.site.path("received/received.jsonl")).unwrap_or_default();
        // The last line may be under way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let rows = |line: &str| -> Vec<Received> {
            let line: Value = serde_json::from_str(line).unwrap();
            let table = line["table"].as_str().unwrap().to_owned();
            let rows = line["rows"].as_array().unwrap().iter();
            rows.map(|row| (table.clone(), row.as_object().unwrap().clone())).collect()
        };
        whole.lines().flat_map(rows).collect()
    }

    /// What it holds: of rows with the same key the last.
    pub fn holds(&self) -> BTreeMap<(String, Vec<String>), String> {
        let keyed =
            |(table, row): Received| ((table.clone(), key(&table, &row)), Value::Object(row).to_string());
        self.received().into_iter().map(keyed).collect()
    }
}

/// What identifies a row in its table.
fn key(table: &str, row: &Map<String, Value>) -> Vec<String> {
    let table = Tables::in_force().named(table).unwrap();
    table.key.iter().map(|field| row.get(field).unwrap_or(&Value::Null).to_string()).collect()
}
