//! Epoch bindings: which offsets of which partitions an epoch reads, decided once and written down before use.
//!
//! Enters: watermarks of the input topics, the wall clock, the state of the sinks. Leaves: a durable sequence of
//! [`Binding`]s without gaps. Guarantees: a binding is on disk before anyone sees it, so that every output of an
//! epoch is a function of the log and of Kafka.

pub mod log;

pub use log::{BindingLog, Recorded};
use schemas::{Epoch, Millis, RecordPlace, Topic};
use serde::{Deserialize, Serialize};

/// The offsets of one partition that an epoch reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// One past the last offset.
    pub upto: i64,
    /// Whether nothing more lay in the partition when the epoch was bound.
    pub caught_up: bool,
}

/// A fact about the platform itself that was seen when the epoch was bound, such as a sink that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What it is about: a sink's name, or a kind of condition and its subject (see [`Condition::about`]).
    pub subject: String,
    /// Whether it holds now.
    pub active: bool,
    /// What was seen.
    pub detail: String,
}

/// What an epoch consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Number of the epoch; the first is 1.
    pub epoch: Epoch,
    /// Wall time when it was bound, monotone.
    pub wall: Millis,
    /// One range per input partition, sorted by topic and partition.
    pub ranges: Vec<Range>,
    /// Platform conditions that changed since the epoch before.
    pub conditions: Vec<Condition>,
}

impl Binding {
    /// The last record of a topic that the epoch reads; of several partitions, that of the last.
    #[must_use]
    pub fn last_of(&self, topic: Topic) -> Option<RecordPlace> {
        let read = self.ranges.iter().rfind(|range| range.topic == topic && range.upto > range.from)?;
        Some(RecordPlace { topic, partition: read.partition, offset: read.upto - 1 })
    }
}

/// Where the partition of an input topic begins and ends at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: i32,
    /// First offset that is held.
    pub low: i64,
    /// One past the last offset.
    pub high: i64,
}

/// Where the next binding goes on in a partition.
fn position(previous: Option<&Binding>, mark: &Watermark) -> i64 {
    previous
        .and_then(|b| b.ranges.iter().find(|r| r.topic == mark.topic && r.partition == mark.partition))
        .map_or(mark.low, |range| range.upto)
}

/// What one partition may give to an epoch of about `records`: those that hold something share it. The registry has it
/// alone for as long as reports wait for it.
#[must_use]
pub fn share(previous: Option<&Binding>, watermarks: &[Watermark], records: i64) -> i64 {
    let behind = |registry: bool| {
        let of = watermarks.iter().filter(move |mark| (mark.topic == Topic::Registry) == registry);
        of.map(|mark| mark.high - position(previous, mark)).filter(|behind| *behind > 0)
    };
    let waits = behind(true).sum::<i64>() > records;
    (records / behind(waits).count().max(1) as i64).max(1)
}

/// Decides the next binding. Pure: everything it depends on is an argument.
///
/// The registry is read to its end before reports are: a report is judged by the registry that was there before it. A
/// partition that is new is read from its beginning; one that the watermarks do not name for now keeps its place.
#[must_use]
pub fn next(
    previous: Option<&Binding>,
    watermarks: &[Watermark],
    wall: Millis,
    records_per_partition: i64,
    conditions: Vec<Condition>,
) -> Binding {
    let position = |mark: &Watermark| position(previous, mark);
    let registry_behind = watermarks
        .iter()
        .any(|mark| mark.topic == Topic::Registry && position(mark) + records_per_partition < mark.high);
    let known =
        |range: &Range| watermarks.iter().any(|m| (m.topic, m.partition) == (range.topic, range.partition));
    let unseen = previous.iter().flat_map(|b| &b.ranges).filter(|range| !known(range)).map(|range| Range {
        from: range.upto,
        caught_up: false,
        ..range.clone()
    });
    let mut ranges: Vec<Range> = watermarks
        .iter()
        .map(|mark| {
            let from = position(mark);
            let held_back = registry_behind && mark.topic != Topic::Registry;
            let room = if held_back { 0 } else { records_per_partition };
            let upto = mark.high.min(from + room).max(from);
            Range { topic: mark.topic, partition: mark.partition, from, upto, caught_up: upto == mark.high }
        })
        .chain(unseen)
        .collect();
    ranges.sort_by_key(|range| (range.topic, range.partition));
    Binding {
        epoch: previous.map_or(1, |b| b.epoch + 1),
        wall: previous.map_or(wall, |b| wall.max(b.wall)),
        ranges,
        conditions,
    }
}

/// What conditions hold after some changed.
pub fn apply(active: &mut Vec<Condition>, changed: &[Condition]) {
    for condition in changed {
        active.retain(|held| held.subject != condition.subject);
        if condition.active {
            active.push(condition.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(topic: Topic, partition: i32, low: i64, high: i64) -> Watermark {
        Watermark { topic, partition, low, high }
    }

    #[test]
    fn ranges_continue_where_the_last_epoch_ended_and_are_capped() {
        let first =
            next(None, &[mark(Topic::Reports, 0, 5, 25), mark(Topic::Reports, 1, 0, 3)], 100, 10, vec![]);
        assert_eq!((first.epoch, first.ranges[0].from, first.ranges[0].upto), (1, 5, 15));
        assert!(!first.ranges[0].caught_up && first.ranges[1].caught_up);
        let second = next(
            Some(&first),
            &[mark(Topic::Reports, 0, 5, 25), mark(Topic::Reports, 1, 0, 3)],
            90,
            10,
            vec![],
        );
        assert_eq!((second.epoch, second.ranges[0].from, second.ranges[0].upto), (2, 15, 25));
        assert_eq!((second.ranges[1].from, second.ranges[1].upto), (3, 3));
        assert_eq!(second.wall, 100, "a wall clock that is set back does not run back here");
    }

    #[test]
    fn reports_wait_for_the_registry() {
        let marks = [mark(Topic::Reports, 0, 0, 7), mark(Topic::Registry, 0, 0, 30)];
        let first = next(None, &marks, 0, 10, vec![]);
        assert_eq!((first.ranges[0].upto, first.ranges[1].upto), (0, 10));
        let second = next(Some(&first), &marks, 0, 10, vec![]);
        assert_eq!((second.ranges[0].upto, second.ranges[1].upto), (0, 20));
        let third = next(Some(&second), &marks, 0, 10, vec![]);
        assert_eq!((third.ranges[0].upto, third.ranges[1].upto), (7, 30));
    }

    #[test]
    fn partitions_that_hold_something_share_an_epoch() {
        let reports =
            |high: i64| (0..3).map(move |n| mark(Topic::Reports, n, 0, if n == 2 { 0 } else { high }));
        let with = |registry: i64| -> Vec<Watermark> {
            reports(70).chain([mark(Topic::Registry, 0, 0, registry)]).collect()
        };
        assert_eq!(share(None, &with(0), 20), 10, "one of three is empty");
        assert_eq!(share(None, &with(5), 20), 10, "the registry takes little");
        assert_eq!(share(None, &with(30), 20), 20, "reports wait for the registry");
        assert_eq!(share(None, &[], 20), 20);
        let first = next(None, &with(0), 0, 70, vec![]);
        assert_eq!(share(Some(&first), &with(0), 1), 1, "all is bound");
    }

    #[test]
    fn partitions_come_and_may_be_out_of_sight_for_a_while() {
        let one = [mark(Topic::Reports, 0, 0, 7)];
        let two = [mark(Topic::Reports, 0, 0, 8), mark(Topic::Reports, 1, 2, 5)];
        let places = |binding: &Binding| -> Vec<(i32, i64, i64, bool)> {
            binding.ranges.iter().map(|r| (r.partition, r.from, r.upto, r.caught_up)).collect()
        };
        let first = next(None, &one, 0, 10, vec![]);
        let second = next(Some(&first), &two, 0, 10, vec![]);
        assert_eq!(places(&second), [(0, 7, 8, true), (1, 2, 5, true)]);
        let third = next(Some(&second), &two[..1], 0, 10, vec![]);
        assert_eq!(places(&third), [(0, 8, 8, true), (1, 5, 5, false)]);
        let fourth = next(Some(&third), &two, 0, 10, vec![]);
        assert_eq!(places(&fourth), [(0, 8, 8, true), (1, 5, 5, true)]);
    }
}
