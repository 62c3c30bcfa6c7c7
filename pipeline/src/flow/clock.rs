//! clock: how far time has come at each epoch (design, section 5), the same for all workers and in every replay.

use std::collections::BTreeMap;

use schemas::{Epoch, Millis, Topic};
use serde::{Deserialize, Serialize};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::Exchange,
        operators::{Operator, vec::Broadcast},
    },
};

use crate::binding::{Binding, Condition};

/// Where the clock of an epoch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockSource {
    /// The recorded wall time while the input is read to its end, else the brokers' append times: for live data.
    Wall,
    /// The data's own arrival times: for replays, backtests and simulations at speed.
    Data,
}

/// How far one partition of the reports has come in an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The epoch.
    pub epoch: Epoch,
    /// The partition.
    pub partition: i32,
    /// The greatest append time of its records in this epoch.
    pub appended_at: Millis,
    /// The greatest arrival time of its records in this epoch.
    pub received_at: Millis,
}

/// The clock of an epoch and what else every worker must know about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// The epoch.
    pub epoch: Epoch,
    /// Its clock.
    pub clock: Millis,
    /// Platform conditions that changed.
    pub conditions: Vec<Condition>,
}

/// The state of the clock. Pure.
#[derive(Clone, Debug)]
pub struct Clock {
    source: ClockSource,
    now: Millis,
    partitions: BTreeMap<i32, (Millis, Millis)>,
}

impl Clock {
    /// A clock that has not started.
    #[must_use]
    pub fn new(source: ClockSource) -> Clock {
        Clock { source, now: 0, partitions: BTreeMap::new() }
    }

    /// Moves on by one epoch. The clock never runs back.
    ///
    /// A partition that is still being caught up holds the clock at what it has given so far, so that a backlog raises
    /// no alarm of silence; one that is read to its end does not hold it.
    pub fn tick(&mut self, binding: &Binding, marks: &[Mark]) -> Tick {
        for mark in marks {
            let (appended, received) = self.partitions.entry(mark.partition).or_default();
            *appended = mark.appended_at.max(*appended);
            *received = mark.received_at.max(*received);
        }
        let behind = binding.ranges.iter().filter(|r| r.topic == Topic::Reports && !r.caught_up);
        let held = behind.map(|r| {
            let (appended, received) = self.partitions.get(&r.partition).copied().unwrap_or_default();
            if self.source == ClockSource::Wall { appended } else { received }
        });
        let free = match self.source {
            ClockSource::Wall => binding.wall,
            ClockSource::Data => {
                self.partitions.values().map(|(_, received)| *received).max().unwrap_or_default()
            }
        };
        self.now = held.fold(free, Millis::min).max(self.now);
        Tick { epoch: binding.epoch, clock: self.now, conditions: binding.conditions.clone() }
    }
}

/// Gives every worker the clock of every epoch.
pub trait Clocked<'s> {
    /// One [`Tick`] per epoch on every worker, from the bindings and the marks of what they released.
    fn clocked(self, marks: StreamVec<'s, Epoch, Mark>, source: ClockSource) -> StreamVec<'s, Epoch, Tick>;
}

impl<'s> Clocked<'s> for StreamVec<'s, Epoch, Binding> {
    fn clocked(self, marks: StreamVec<'s, Epoch, Mark>, source: ClockSource) -> StreamVec<'s, Epoch, Tick> {
        type Builder = CapacityContainerBuilder<Vec<Tick>>;
        let (first, also_first) = (Exchange::new(|_: &Binding| 0), Exchange::new(|_: &Mark| 0));
        self.binary_frontier::<_, Builder, _, _, _, _>(marks, first, also_first, "clock", move |_, _| {
            let mut clock = Clock::new(source);
            let mut bindings = BTreeMap::new();
            let mut marks: BTreeMap<Epoch, Vec<Mark>> = BTreeMap::new();
            move |(bound, _), (marked, frontier), output| {
                bound.for_each(|time, data| {
                    bindings.extend(data.drain(..).map(|b| (b.epoch, (time.retain(0), b))));
                });
                marked.for_each(|_, data| {
                    for mark in data.drain(..) {
                        marks.entry(mark.epoch).or_default().push(mark);
                    }
                });
                while let Some(entry) = bindings.first_entry() {
                    let epoch = *entry.key();
                    if frontier.less_equal(&epoch) {
                        break;
                    }
                    let (capability, binding) = entry.remove();
                    let marks = marks.remove(&epoch).unwrap_or_default();
                    output.session(&capability).give(clock.tick(&binding, &marks));
                }
            }
        })
        .broadcast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::Range;

    fn binding(epoch: Epoch, wall: Millis, caught_up: [bool; 2]) -> Binding {
        let range = |partition: i32, caught_up| Range {
            topic: Topic::Reports,
            partition,
            from: 0,
            upto: 0,
            caught_up,
        };
        Binding {
            epoch,
            wall,
            ranges: vec![range(0, caught_up[0]), range(1, caught_up[1])],
            conditions: vec![],
        }
    }
    fn mark(partition: i32, appended_at: Millis, received_at: Millis) -> Mark {
        Mark { epoch: 0, partition, appended_at, received_at }
    }

    #[test]
    fn a_partition_that_is_behind_holds_the_wall_clock() {
        let mut clock = Clock::new(ClockSource::Wall);
        assert_eq!(
            clock.tick(&binding(1, 1_000, [false, true]), &[mark(0, 400, 0), mark(1, 900, 0)]).clock,
            400
        );
        assert_eq!(clock.tick(&binding(2, 1_100, [true, true]), &[]).clock, 1_100);
        assert_eq!(
            clock.tick(&binding(3, 1_200, [false, true]), &[mark(0, 450, 0)]).clock,
            1_100,
            "never back"
        );
    }

    #[test]
    fn the_data_clock_is_the_slowest_backlog_or_the_latest_arrival() {
        let mut clock = Clock::new(ClockSource::Data);
        assert_eq!(clock.tick(&binding(1, 9_999, [false, false]), &[mark(0, 0, 70)]).clock, 0);
        assert_eq!(clock.tick(&binding(2, 9_999, [false, false]), &[mark(1, 0, 50)]).clock, 50);
        assert_eq!(clock.tick(&binding(3, 9_999, [true, true]), &[]).clock, 70);
    }
}
