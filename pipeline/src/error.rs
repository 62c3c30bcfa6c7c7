//! What stops the pipeline, and what to do about it.

use std::path::PathBuf;

use schemas::Epoch;

/// An error that ends a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be read or written.
    #[error("state file {path} is not usable: {error}")]
    State {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another process works on the same state.
    #[error(
        "state directory {0} is held by another running pipeline: stop that one, or set another pipeline.state"
    )]
    Locked(PathBuf),
    /// The log of bindings misses an epoch.
    #[error(
        "binding log {path} jumps to epoch {found} where {expected} belongs: restore the file, or move the state \
         directory away to start anew"
    )]
    BindingGap {
        /// The file.
        path: PathBuf,
        /// The epoch that is missing.
        expected: Epoch,
        /// The epoch that was found.
        found: Epoch,
    },
    /// The log of bindings holds a record of another version.
    #[error("binding log {path} holds a record at byte {at} that this version cannot read: upgrade nuanliu")]
    UnknownBinding {
        /// The file.
        path: PathBuf,
        /// Where.
        at: usize,
    },
    /// Kafka refuses what cannot be retried.
    #[error("kafka: {what}: {error}")]
    Kafka {
        /// What was attempted.
        what: String,
        /// What the client said.
        error: rdkafka::error::KafkaError,
    },
    /// An input topic is absent.
    #[error("topic {0} does not exist: run `nuanliu migrate`")]
    NoTopic(String),
    /// Records were gone before they were read.
    #[error(
        "input is missing: {0}: restore the topic or raise its retention.ms, or run with --accept-loss to go on behind \
         the gap, which is recorded as the alarm data_lost"
    )]
    Lost(String),
    /// The state directory does not know epochs whose outputs are published.
    #[error(
        "kafka holds outputs of pipeline {pipeline} up to epoch {committed}, but the state directory ends at epoch \
         {bound}: it was lost or is an older copy; restore the newest one, or set another pipeline.name to begin anew"
    )]
    StateBehind {
        /// The pipeline.
        pipeline: String,
        /// The last epoch whose outputs are published.
        committed: Epoch,
        /// The last epoch that is recorded.
        bound: Epoch,
    },
    /// The sinks did not take what was read.
    #[error(
        "the sinks did not take everything within {0:?}: what they lack is offered again at the next start"
    )]
    Undrained(std::time::Duration),
    /// The place in a cluster does not fit.
    #[error("cluster: {0}")]
    Cluster(String),
    /// What a checkpoint holds of a state cannot be used.
    #[error(transparent)]
    Restore(#[from] operators::durable::RestoreError),
    /// A sink cannot go on.
    #[error(transparent)]
    Sink(#[from] sinks::Error),
    /// A record form.
    #[error(transparent)]
    Schema(#[from] schemas::Error),
}
