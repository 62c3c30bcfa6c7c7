//! The MQTT connector.
//!
//! Enters: messages of a broker, MQTT 5 or 3.1.1, QoS 1, shared subscriptions, TLS. Leaves: reports and rejects on
//! Kafka. Guarantees: a message is acknowledged only after Kafka's delivery report of everything in it, and only on the
//! connection that brought it; what is not acknowledged the broker sends again; what was taken is stored also when the
//! connection is lost before. An unreadable payload becomes a reject with its bytes and is acknowledged then.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use schemas::{BackOff, Millis, time};
use serde::Deserialize;

use crate::{
    Error,
    connect::{Connect, Reread, Serving, Terms},
    intake::Intake,
    payload::Arrival,
    telemetry,
};

mod link;
mod profile;
mod session;

pub use profile::{Format, Profile, Profiles};

use link::Address;
use session::End;

/// The `[mqtt]` section.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `mqtt://host:1883`, or `mqtts://host:8883` for TLS.
    pub broker: String,
    /// `5` or `3.1.1`.
    pub version: String,
    /// Names the session; every process needs its own, and keeps it over restarts.
    pub client_id: String,
    /// Name of the shared subscription's group, when several processes divide the messages among them.
    pub group: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// Password; better in a file.
    pub password: Option<String>,
    /// A file that holds the password.
    pub password_file: Option<PathBuf>,
    /// A PEM file with the authority that signed the broker's certificate, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long the broker keeps the session of a connector that is away, s (MQTT 5).
    pub session_expiry: u32,
    /// Messages that may wait for Kafka at once; MQTT 5 brokers are told.
    pub receive_maximum: u16,
    /// Bytes of payloads that may wait for Kafka at once.
    pub max_buffered: usize,
    /// The greatest payload in bytes; a greater one is a reject.
    pub max_payload: usize,
    /// Seconds between signs of life.
    pub keep_alive: u16,
    /// The time zone of times without offset, as in the IANA database.
    pub time_zone: String,
    /// Whether a record's own `received_at` counts: for replays and simulations only.
    pub accept_received_at: bool,
    /// How long before its arrival a record may have been measured, ms: `rules.backfill_days`.
    #[serde(skip)]
    pub backfill: Millis,
    /// Topics and how their payloads are read; the first that matches counts.
    pub profiles: Vec<Profile>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            broker: "mqtt://127.0.0.1:1883".to_owned(),
            version: "5".to_owned(),
            client_id: "nuanliu".to_owned(),
            group: None,
            username: None,
            password: None,
            password_file: None,
            ca_file: None,
            session_expiry: 7 * 86_400,
            receive_maximum: 4_000,
            max_buffered: 64 << 20,
            max_payload: 4 << 20,
            keep_alive: 30,
            time_zone: "Asia/Shanghai".to_owned(),
            accept_received_at: false,
            backfill: time::BACKFILL,
            profiles: profile::defaults(),
        }
    }
}

impl Settings {
    /// Checks everything that can be checked without the broker or files; one line per problem, naming the key.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(self.address().err().map(Error::problem));
        problems.extend(self.zone().err().map(Error::problem));
        problems.extend(Profiles::new(&self.profiles).err().map(Error::problem));
        if self.client_id.is_empty() {
            problems.push("client_id: a session that is kept needs a name".to_owned());
        }
        if self.receive_maximum == 0 {
            problems.push("receive_maximum: must be at least 1".to_owned());
        }
        if self.max_buffered < self.max_payload {
            problems.push(format!("max_buffered: must be at least max_payload, {}", self.max_payload));
        }
        if self.group.as_ref().is_some_and(|group| group.is_empty() || group.contains(['/', '+', '#'])) {
            problems.push("group: must be a name without /, + and #".to_owned());
        }
        if self.password.is_some() && self.password_file.is_some() {
            problems.push("password: stands beside password_file, one of them is enough".to_owned());
        }
        problems
    }

    /// The filters to subscribe to.
    fn filters(&self, profiles: &Profiles) -> Vec<String> {
        let shared = self.group.as_ref().map(|group| format!("$share/{group}/")).unwrap_or_default();
        profiles.filters().map(|filter| format!("{shared}{filter}")).collect()
    }

    fn zone(&self) -> Result<TimeZone, Error> {
        TimeZone::get(&self.time_zone).map_err(|error| wrong("time_zone", error.to_string()))
    }

    fn address(&self) -> Result<Address, Error> {
        let wanted = "expected mqtt://host:port or mqtts://host:port";
        let url: reqwest::Url =
            self.broker.parse().map_err(|error| wrong("broker", format!("{error}, {wanted}")))?;
        let (tls, port) = match url.scheme() {
            "mqtt" | "tcp" => (false, 1_883),
            "mqtts" | "ssl" | "tls" => (true, 8_883),
            other => return Err(wrong("broker", format!("scheme {other} is not known, {wanted}"))),
        };
        let five = match self.version.as_str() {
            "5" | "5.0" => true,
            "3.1.1" => false,
            other => return Err(wrong("version", format!("'{other}' is neither 5 nor 3.1.1"))),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("broker", format!("names no host, {wanted}")))?.to_owned();
        Ok(Address { host, port: url.port().unwrap_or(port), tls, five })
    }
}

impl Connect for Settings {
    fn name(&self) -> &'static str {
        "mqtt"
    }

    fn problems(&self) -> Vec<String> {
        self.validate()
    }

    fn set_backfill(&mut self, backfill: Millis) {
        self.backfill = backfill;
    }

    fn serve(&self, intake: Intake, terms: Terms) -> Serving {
        let settings = self.clone();
        Box::pin(async move { Connector::new(settings, intake)?.run(terms.stopped).await })
    }

    fn reread(&self) -> Result<Reread, Error> {
        let (zone, profiles) = (self.zone()?, Profiles::new(&self.profiles)?);
        Ok(Box::new(move |topic, raw, arrival| {
            profiles.parse(topic, raw, Arrival { zone: zone.clone(), ..arrival }).0
        }))
    }
}

fn wrong(name: &str, detail: String) -> Error {
    Error::Setting { name: name.to_owned(), detail }
}

/// A connector whose settings were checked.
pub struct Connector {
    shared: Arc<session::Shared>,
}

impl Connector {
    /// Checks the settings and reads password and authority.
    ///
    /// # Errors
    /// [`Error::Setting`], or [`Error::Io`] for a file that cannot be read.
    pub fn new(settings: Settings, intake: Intake) -> Result<Connector, Error> {
        Error::of_settings("mqtt", &settings.validate())?;
        let profiles = Profiles::new(&settings.profiles)?;
        let read = |file: &PathBuf| {
            let io = |source| Error::Io { object: file.display().to_string(), source };
            std::fs::read(file).map_err(io)
        };
        let password = match &settings.password_file {
            Some(file) => Some(read(file)?.trim_ascii_end().to_vec()),
            None => settings.password.clone().map(String::into_bytes),
        };
        let options = link::Options {
            address: settings.address()?,
            client_id: settings.client_id.clone(),
            credentials: settings.username.clone().map(|name| (name, password.unwrap_or_default())),
            authority: settings.ca_file.as_ref().map(read).transpose()?,
            session_expiry: settings.session_expiry,
            receive_maximum: settings.receive_maximum,
            keep_alive: settings.keep_alive,
            filters: settings.filters(&profiles),
        };
        let zone = settings.zone()?;
        Ok(Connector { shared: Arc::new(session::Shared { settings, options, profiles, zone, intake }) })
    }

    /// Connects, and again whenever the connection is lost, until `shutdown`; then messages that were begun are finished
    /// and acknowledged, for at most 15 s.
    ///
    /// # Errors
    /// None at present: a broker that refuses is tried again, with its answer in the log.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let mut shutdown = std::pin::pin!(shutdown);
        let broker = self.shared.options.address.to_string();
        let connected = telemetry::MQTT_CONNECTED.with_label_values(&[&broker]);
        let (mut failed, mut kept) = (Failed::default(), session::Kept::default());
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = self.ready() => {}
            }
            match session::serve(&self.shared, &mut shutdown, &connected, &mut failed, &mut kept).await {
                End::Shutdown => return Ok(()),
                End::Lost => {}
            }
            telemetry::MQTT_RECONNECTS.with_label_values(&[&broker]).inc();
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = tokio::time::sleep(failed.again()) => {}
            }
        }
    }

    /// Waits until messages can be stored: no message is taken that could only be held.
    async fn ready(&self) {
        while !(self.shared.intake.registry_read() && self.shared.intake.publisher.reachable()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// How long to wait before the next attempt.
const RETRY: BackOff = BackOff { first: Duration::from_millis(250), cap: Duration::from_secs(30) };

/// Attempts that failed since the last that did not.
#[derive(Debug, Default)]
struct Failed(u32);

impl Failed {
    /// Counts one more; gives how long to wait after it.
    fn again(&mut self) -> Duration {
        self.0 = self.0.saturating_add(1);
        RETRY.wait(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<(), String> {
        let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
        Error::of_settings("mqtt", &settings.validate()).map_err(|error| error.to_string())
    }

    #[rstest::rstest]
    #[case("broker = 'http://a'", "scheme http is not known")]
    #[case("broker = 'a'", "broker: ")]
    #[case("version = '4'", "neither 5 nor 3.1.1")]
    #[case("client_id = ''", "needs a name")]
    #[case("receive_maximum = 0", "at least 1")]
    #[case("group = 'a/b'", "without /")]
    #[case("time_zone = 'Mars'", "time_zone: ")]
    #[case("colour = 1", "unknown field")]
    #[case("[[profiles]]\ntopic = 'a/#/b'", "'#' may only be the last")]
    #[case("[[profiles]]\ntopic = 'a/{town}'", "{town} is neither {facility} nor {device}")]
    #[case("[[profiles]]\ntopic = 'a/{device}'", "names a device but no facility")]
    #[case("[[profiles]]\ntopic = 'a'\nformat = 'pointer'", "needs the table pointers")]
    #[case("[[profiles]]\ntopic = 'a'\nformat = 'xml'", "unknown variant")]
    #[case("profiles = []", "nothing would be subscribed")]
    fn wrong_settings_are_named(#[case] text: &str, #[case] detail: &str) {
        let error = settings(text).unwrap_err();
        assert!(error.contains(detail), "{error}");
    }

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(settings(""), Ok(()));
        assert_eq!(settings("broker = 'mqtts://broker.example'\nversion = '3.1.1'\ngroup = 'g'"), Ok(()));
    }
}
