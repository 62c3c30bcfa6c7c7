//! What comes in: connectors read what senders send, and put it on Kafka as reports, events and rejects.
//!
//! Enters: HTTP requests, MQTT messages, files, a simulated city. Leaves: records on `heating.reports`,
//! `heating.events`, `heating.registry` and `heating.rejects`. Guarantees: a sender is answered only after Kafka's
//! delivery report of everything it sent; what cannot be used is on `heating.rejects` by then, with its bytes; no value
//! is interpreted here.

pub mod connect;
mod feed;
pub mod http;
pub mod intake;
pub mod known;
pub mod mqtt;
pub mod pace;
pub mod payload;
pub mod publish;
pub mod replay;
pub mod simulator;
pub mod telemetry;

pub use connect::Connect;
pub use intake::Intake;
pub use known::KnownFacilities;
pub use publish::{Outgoing, Publisher};

/// The sections of all connectors; the origins of their records begin with the same names.
pub const NAMES: [&str; 2] = ["http", "mqtt"];

/// What can go wrong between a sender and Kafka.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More waits for Kafka than may; nothing of the batch was sent.
    #[error(
        "kafka publisher is full: {pending} bytes wait for delivery, {wanted} more do not fit: try again later"
    )]
    Busy {
        /// Bytes that wait.
        pending: usize,
        /// Bytes of the batch.
        wanted: usize,
    },
    /// Kafka did not confirm the batch; parts of it may have been stored.
    #[error("kafka does not confirm: {detail}")]
    Gone {
        /// What librdkafka said.
        detail: String,
    },
    /// Kafka will not take a record, however often it is sent.
    #[error("kafka refuses a record: {detail}")]
    Refused {
        /// What librdkafka said.
        detail: String,
    },
    /// A call to Kafka that failed.
    #[error("kafka: {action}: {source}")]
    Kafka {
        /// What was attempted.
        action: String,
        /// The cause.
        source: rdkafka::error::KafkaError,
    },
    /// Topics that cannot hold what they are for; one line per difference.
    #[error("topics are not usable:\n{}", .0.join("\n"))]
    Topics(Vec<String>),
    /// A schema registry that does not answer as it should.
    #[error("schema registry {url}: {detail}")]
    SchemaRegistry {
        /// Its address, without credentials.
        url: String,
        /// What is wrong.
        detail: String,
    },
    /// A record that has no Avro form.
    #[error(transparent)]
    Schemas(#[from] schemas::Error),
    /// A setting that cannot work.
    #[error("setting {name}: {detail}")]
    Setting {
        /// Its path in the configuration.
        name: String,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// A file, socket or thread that cannot be used.
    #[error("{object}: {source}")]
    Io {
        /// Which one.
        object: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl Error {
    /// What is wrong with settings of a section, as one error; nothing when there is no problem.
    fn of_settings(section: &str, problems: &[String]) -> Result<(), Error> {
        let wrong = || Error::Setting { name: section.to_owned(), detail: problems.join("; ") };
        if problems.is_empty() { Ok(()) } else { Err(wrong()) }
    }

    /// One line of what is wrong: the key and the detail of a setting.
    fn problem(self) -> String {
        match self {
            Error::Setting { name, detail } => format!("{name}: {detail}"),
            other => other.to_string(),
        }
    }
}
