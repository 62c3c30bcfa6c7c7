//! The topics: names, and how to reach the brokers that hold them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The topics of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// What objects reported.
    Reports,
    /// The registry, compacted.
    Registry,
    /// Business events.
    Events,
    /// What cannot be used.
    Rejects,
    /// Trusted readings.
    Readings,
    /// KPI states, compacted.
    Kpis,
    /// Alarm transitions.
    Alarms,
}

impl Topic {
    /// Every topic.
    pub const ALL: &'static [Topic] = &[
        Topic::Reports,
        Topic::Registry,
        Topic::Events,
        Topic::Rejects,
        Topic::Readings,
        Topic::Kpis,
        Topic::Alarms,
    ];

    /// The name without prefix; also the kind of record in error messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Topic::Reports => "reports",
            Topic::Registry => "registry",
            Topic::Events => "events",
            Topic::Rejects => "rejects",
            Topic::Readings => "readings",
            Topic::Kpis => "kpis",
            Topic::Alarms => "alarms",
        }
    }

    /// Whether Kafka keeps only the last value of a key.
    #[must_use]
    pub fn compacted(self) -> bool {
        matches!(self, Topic::Registry | Topic::Kpis)
    }
}

/// The `[kafka]` section: how to reach the brokers.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// What the names of the topics begin with.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Partitions of a topic that has to be created.
    #[serde(default = "default_partitions")]
    pub partitions: i32,
    /// Copies of a topic that has to be created.
    #[serde(default = "default_replication")]
    pub replication: i32,
    /// URL of a schema registry: values then carry Confluent framing, else Avro single-object encoding.
    #[serde(default)]
    pub schema_registry: Option<String>,
    /// Further librdkafka properties, such as `security.protocol`. They win over our tuning, not over what the guarantees
    /// rest on, such as `acks`.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

fn default_prefix() -> String {
    "heating".to_owned()
}
fn default_partitions() -> i32 {
    4
}
fn default_replication() -> i32 {
    1
}

impl KafkaSettings {
    /// The full name of a topic.
    #[must_use]
    pub fn topic(&self, topic: Topic) -> String {
        format!("{}.{}", self.prefix, topic.name())
    }

    /// The properties of every client: the brokers, then the configured ones.
    pub fn client_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        std::iter::once(("bootstrap.servers", self.brokers.as_str()))
            .chain(self.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())))
    }
}
