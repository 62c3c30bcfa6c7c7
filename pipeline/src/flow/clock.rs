//! clock: how far time has come at each epoch (design, section 5), the same for all workers and in every replay.

use std::collections::BTreeMap;

use operators::durable::{Durable, GLOBAL, RestoreError, Saved, known_form, read_section};
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

use super::saving::Recovery;
use crate::{
    Error,
    binding::{Binding, Condition},
};

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
    /// What a checkpoint under way has not taken yet.
    saved: Saved,
}

impl Clock {
    /// A clock that has not started.
    #[must_use]
    pub fn new(source: ClockSource) -> Clock {
        Clock { source, now: 0, partitions: BTreeMap::new(), saved: Saved::default() }
    }

    /// What it says at the end of an epoch.
    #[must_use]
    pub fn at(&self, epoch: Epoch) -> Tick {
        Tick { epoch, clock: self.now, conditions: Vec::new() }
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

/// Where the clock stands, as it is saved.
type Form = (Millis, BTreeMap<i32, (Millis, Millis)>);

impl Durable for Clock {
    const STATE: &'static str = "clock";
    const FORM: u16 = 1;

    fn begin(&mut self) {
        self.saved.put(GLOBAL, "", Some(&(self.now, &self.partitions)));
    }

    fn save(&mut self, _entries: usize, out: &mut Saved) -> bool {
        out.append(&mut self.saved);
        true
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        read_section::<String, Form>(Self::STATE, section, |_, restored| {
            (self.now, self.partitions) = restored.unwrap_or_default();
        })
    }
}

/// Gives every worker the clock of every epoch.
pub trait Clocked<'s> {
    /// One [`Tick`] per epoch on every worker, from the bindings and the marks of what they released. After a restart
    /// the first is that of the checkpoint's epoch.
    ///
    /// # Errors
    /// When the state of the checkpoint cannot be read.
    fn clocked(
        self,
        marks: StreamVec<'s, Epoch, Mark>,
        source: ClockSource,
        recovery: &Recovery,
    ) -> Result<StreamVec<'s, Epoch, Tick>, Error>;
}

impl<'s> Clocked<'s> for StreamVec<'s, Epoch, Binding> {
    fn clocked(
        self,
        marks: StreamVec<'s, Epoch, Mark>,
        source: ClockSource,
        recovery: &Recovery,
    ) -> Result<StreamVec<'s, Epoch, Tick>, Error> {
        type Builder = CapacityContainerBuilder<Vec<Tick>>;
        let scope = self.scope();
        let mut clock = Clock::new(source);
        // The first worker has the clock; the others only pass on what it says.
        let mut saving = match scope.index() {
            0 => Some(recovery.attach(&mut clock, (0, scope.peers()))?),
            _ => None,
        };
        let start = recovery.epoch();
        let (first, also_first) = (Exchange::new(|_: &Binding| 0), Exchange::new(|_: &Mark| 0));
        let ticks = self.binary_frontier::<_, Builder, _, _, _, _>(
            marks,
            first,
            also_first,
            "clock",
            move |capability, info| {
                let activator = scope.activator_for(info.address);
                let restored = start > 0 && saving.is_some();
                let mut at_start = restored.then(|| capability.delayed(&start));
                drop(capability);
                let mut bindings = BTreeMap::new();
                let mut marks: BTreeMap<Epoch, Vec<Mark>> = BTreeMap::new();
                move |(bound, _), (marked, frontier), output| {
                    if let Some(capability) = at_start.take() {
                        output.session(&capability).give(clock.at(start));
                    }
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
                        if let Some(saving) = &mut saving {
                            saving.applied(&mut clock, epoch);
                        }
                    }
                    if saving.as_mut().is_some_and(|saving| saving.proceed(&mut clock)) {
                        activator.activate();
                    }
                }
            },
        );
        Ok(ticks.broadcast())
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
    fn a_restored_clock_goes_on() {
        let mut clock = Clock::new(ClockSource::Wall);
        clock.tick(&binding(1, 1_000, [false, true]), &[mark(0, 400, 0), mark(1, 900, 0)]);
        clock.begin();
        let mut saved = Saved::default();
        assert!(clock.save(1, &mut saved));
        let mut restored = Clock::new(ClockSource::Wall);
        restored.restore(GLOBAL, 1, &saved.into_sections()[&GLOBAL]).unwrap();
        assert_eq!(restored.at(1).clock, 400);
        let next = binding(2, 1_100, [false, true]);
        assert_eq!(restored.tick(&next, &[]), clock.tick(&next, &[]));
    }

    #[test]
    fn the_data_clock_is_the_slowest_backlog_or_the_latest_arrival() {
        let mut clock = Clock::new(ClockSource::Data);
        assert_eq!(clock.tick(&binding(1, 9_999, [false, false]), &[mark(0, 0, 70)]).clock, 0);
        assert_eq!(clock.tick(&binding(2, 9_999, [false, false]), &[mark(1, 0, 50)]).clock, 50);
        assert_eq!(clock.tick(&binding(3, 9_999, [true, true]), &[]).clock, 70);
    }
}
