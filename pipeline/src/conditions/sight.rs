//! What conditions are judged by.

use std::time::Duration;

use super::{Limits, input::TopicFlow};
use crate::binding::{Binding, Watermark};

/// What can be seen when an epoch is bound.
#[derive(Clone, Debug, Default)]
pub struct Sight<'a> {
    /// Every sink, and what is wrong with it.
    pub sinks: Vec<(String, Option<String>)>,
    /// Why checkpoints are not written.
    pub checkpoint: Option<String>,
    /// Percent of the state directory's disk that is free.
    pub disk_free_percent: Option<f64>,
    /// What is wrong with our clock.
    pub clock: Option<String>,
    /// Input that is lost: partition, and what is gone.
    pub lost: Vec<(String, String)>,
    /// Readings that came too late to revise anything, by enterprise, since it began; 0 once it is over.
    pub late: Vec<(String, u64)>,
    /// How long the brokers have not answered.
    pub silent: Duration,
    /// How far the input reaches.
    pub input: &'a [Watermark],
    /// How far it is bound.
    pub previous: Option<&'a Binding>,
    /// Whether a clean stop is under way, after which nobody looks: what is well again counts as over at once.
    pub stopping: bool,
}

/// A sight with what follows from it and from those before.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What is seen now.
    pub sight: &'a Sight<'a>,
    /// From when on something is wrong.
    pub limits: &'a Limits,
    /// Whether the input is live; lag, silence and the clock of a replay or simulation say nothing.
    pub live: bool,
    /// How every input topic has been moving.
    pub topics: &'a [TopicFlow],
}

impl View<'_> {
    /// Whether the brokers count as away. While they are, nothing is known of the input.
    pub(super) fn away(&self) -> bool {
        away(self.sight, self.limits)
    }
}

/// See [`View::away`].
pub(super) fn away(sight: &Sight<'_>, limits: &Limits) -> bool {
    sight.silent >= Duration::from_secs(limits.source_seconds)
}
