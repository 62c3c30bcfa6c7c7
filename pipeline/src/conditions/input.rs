//! How the input topics move.
//!
//! Enters: one sight after the other. Leaves: per topic what is not read yet, and for how long it has not been read to its
//! end or brought nothing. Guarantees: the time in which the brokers were away counts for neither. Pure: time is an argument.

use std::{collections::BTreeMap, time::Duration};

use schemas::Topic;

use super::{Limits, Sight, sight::away};

/// How one topic has been moving, as of a sight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopicFlow {
    /// The topic.
    pub topic: Topic,
    /// Records that are not bound yet.
    pub behind: i64,
    /// Records that it ever held.
    pub high: i64,
    /// Whether it brought something since the sight before.
    pub came: bool,
    /// For how long it has not been read to its end.
    pub unread: Duration,
    /// For how long it has brought nothing.
    pub quiet: Duration,
}

/// What is remembered of the topics.
#[derive(Debug, Default)]
pub(super) struct Input(BTreeMap<Topic, Moves>);

#[derive(Clone, Debug)]
struct Moves {
    high: i64,
    moved: Duration,
    at_end: Duration,
}

impl Input {
    /// Takes a sight at a time since the start.
    pub(super) fn look(&mut self, now: Duration, sight: &Sight<'_>, limits: &Limits) -> Vec<TopicFlow> {
        let away = away(sight, limits);
        let mut flows = Vec::new();
        for (topic, (high, behind)) in ends(sight) {
            let moves = self.0.entry(topic).or_insert(Moves { high, moved: now, at_end: now });
            let came = moves.high != high;
            let bound_all = sight.previous.is_some_and(|binding| {
                binding.ranges.iter().filter(|range| range.topic == topic).all(|range| range.caught_up)
            });
            if came || away {
                (moves.high, moves.moved) = (high, now);
            }
            if bound_all || behind == 0 || away {
                moves.at_end = now;
            }
            let (unread, quiet) = (now.saturating_sub(moves.at_end), now.saturating_sub(moves.moved));
            flows.push(TopicFlow { topic, behind, high, came, unread, quiet });
        }
        flows
    }
}

/// Of every topic how many records it ever held, and how many of them are not bound.
fn ends(sight: &Sight<'_>) -> BTreeMap<Topic, (i64, i64)> {
    let mut topics: BTreeMap<Topic, (i64, i64)> = BTreeMap::new();
    for mark in sight.input {
        let range = sight.previous.and_then(|binding| {
            binding.ranges.iter().find(|r| r.topic == mark.topic && r.partition == mark.partition)
        });
        let bound = range.map_or(mark.low, |range| range.upto);
        let (high, behind) = topics.entry(mark.topic).or_default();
        *high += mark.high;
        *behind += (mark.high - bound).max(0);
    }
    topics
}
