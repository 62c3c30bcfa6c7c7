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
        "state directory {0} is held by another running pipeline: stop that one, or set another pipeline.state; \
         when it hangs and cannot be stopped, `nuanliu run --take-over` goes on in its place"
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
    /// The log of bindings was changed or cut where it had been durable.
    #[error(
        "binding log {path} is damaged at byte {at}, before its end: restore the file; without it nobody knows what \
         the epochs behind it read"
    )]
    DamagedBindings {
        /// The file.
        path: PathBuf,
        /// Where.
        at: usize,
    },
    /// Another process of the same pipeline has taken over.
    #[error(
        "{place}: a newer start of this pipeline has taken over from this one (generation {generation}): this process \
         writes nothing more; start it again only when the newer one is gone"
    )]
    Fenced {
        /// Where that is written down.
        place: String,
        /// The generation of this process.
        generation: u64,
    },
    /// What this process had written there is gone.
    #[error(
        "{place}: what was there is gone, also the mark of this process (generation {generation}): it was removed, or its \
         disk is not mounted; bring back what was there, nothing is written beside it"
    )]
    Gone {
        /// The place.
        place: String,
        /// The generation of this process.
        generation: u64,
    },
    /// The place of the checkpoints does not answer.
    #[error("checkpoints in {place} cannot be read or written: {error}")]
    CheckpointPlace {
        /// The place.
        place: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// State that another pipeline wrote.
    #[error(
        "{place} belongs to {what} `{found}`, this is `{expected}`: set pipeline.state and checkpoint.url to places \
         of its own"
    )]
    AnotherPipeline {
        /// The place.
        place: String,
        /// What differs.
        what: &'static str,
        /// What is written there.
        found: String,
        /// What this pipeline has.
        expected: String,
    },
    /// A checkpoint that a newer version wrote.
    #[error(
        "checkpoint {name} has version {found}, this nuanliu reads up to {known}: run the version that wrote it, or \
         go back with `nuanliu run --from EPOCH` (nuanliu checkpoints list)"
    )]
    NewerCheckpoint {
        /// The manifest.
        name: String,
        /// Its version.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// A checkpoint holds a state that this version does not have.
    #[error(
        "checkpoint {name} holds state `{state}`, which this version does not know: run the version that wrote it, \
         or go back with `nuanliu run --from EPOCH` (nuanliu checkpoints list)"
    )]
    UnknownState {
        /// The manifest.
        name: String,
        /// The state.
        state: String,
    },
    /// A checkpoint, or a part of one, is not what was written.
    #[error("checkpoint {name} is damaged: {detail}: go back to another one (nuanliu checkpoints verify)")]
    DamagedCheckpoint {
        /// The file.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// What a state has sealed is not what was written.
    #[error(
        "what the states have sealed is damaged: {name}: {detail}: bring the file back and start again, or go on \
         without it: nuanliu run --accept-loss (late data that would need it is then too late)"
    )]
    DamagedVolume {
        /// The file.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// The checkpoint that was asked for is not there.
    #[error("there is no checkpoint of epoch {epoch} in {place}: choose one of {known}")]
    NoSuchCheckpoint {
        /// The epoch.
        epoch: Epoch,
        /// The place.
        place: String,
        /// Those that are there.
        known: String,
    },
    /// All checkpoints are damaged.
    #[error(
        "none of the checkpoints in {place} is usable: {problems}: restore the files from a backup (volumes \
         alone: or go on without them by nuanliu run --accept-loss); starting without the rest would lose the state, so \
         move them and the state directory away only when that is meant"
    )]
    NoUsableCheckpoint {
        /// The place.
        place: String,
        /// What is wrong with each.
        problems: String,
    },
    /// Bindings of the past were removed behind checkpoints that are not there.
    #[error(
        "there is no checkpoint in {place}, and the binding log begins only at epoch {first}: restore the \
         checkpoints, or set checkpoint.url to where they are"
    )]
    NoCheckpoint {
        /// The place.
        place: String,
        /// The first epoch of the log.
        first: Epoch,
    },
    /// The log does not go on where the checkpoint ends.
    #[error(
        "checkpoint {name} is of epoch {epoch}, the binding log holds epochs {first} to {last}: they do not meet; \
         restore the state directory that belongs to the checkpoint"
    )]
    BindingsApart {
        /// The manifest.
        name: String,
        /// Its epoch.
        epoch: Epoch,
        /// The first epoch of the log.
        first: Epoch,
        /// The last epoch of the log.
        last: Epoch,
    },
    /// The log has another binding than the checkpoint.
    #[error(
        "checkpoint {name} and the binding log disagree about what epoch {epoch} read: they are not of the same run; \
         restore the state directory that belongs to the checkpoint"
    )]
    BindingsDiffer {
        /// The manifest.
        name: String,
        /// The epoch.
        epoch: Epoch,
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
