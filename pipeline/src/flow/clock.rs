//! clock: how far time has come at each epoch, the same for all workers and in every replay.

use std::collections::BTreeMap;

use operators::{
    durable::{Durable, GLOBAL, RestoreError, Saved, known_form, read_section},
    flow::Stash,
};
use schemars::JsonSchema;
use schemas::{Epoch, Millis, RecordPlace, Topic};
use serde::{Deserialize, Serialize};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::Exchange,
        operators::{Operator, vec::Broadcast},
    },
};

use super::{
    arrivals::{Arrival, Arrivals, ENOUGH},
    saving::Recovery,
};
use crate::{
    Error,
    binding::{Binding, Condition},
};

/// Where the clock of an epoch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClockSource {
    /// The recorded wall time while the input is read to its end, else the brokers' append times: for live data.
    Wall,
    /// The data's own arrival times, as far as most of the last reports agree on them: for replays, backtests and
    /// simulations at speed.
    Data,
}

/// How far one partition of the reports has come in an epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The epoch.
    pub epoch: Epoch,
    /// The partition.
    pub partition: i32,
    /// The offset of the last of the records that are meant.
    pub offset: i64,
    /// The greatest append time of these records.
    pub appended_at: Millis,
    /// When they arrived.
    pub arrivals: Arrivals,
}

/// The clock of an epoch and what else every worker must know about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// The epoch.
    pub epoch: Epoch,
    /// Its clock.
    pub clock: Millis,
    /// Up to when reports of a partition are believed to have arrived, where the clock is that of the data.
    pub believed: Vec<(i32, Millis)>,
    /// The last registry record of the epoch, where it has some.
    pub registry: Option<RecordPlace>,
    /// Platform conditions that changed.
    pub conditions: Vec<Condition>,
}

/// The state of the clock. Pure.
#[derive(Clone, Debug)]
pub struct Clock {
    source: ClockSource,
    /// Reports of a partition agree on time that lie no further apart, ms; see [`Arrivals::agreed`].
    least_step: Millis,
    now: Millis,
    partitions: BTreeMap<i32, Partition>,
    /// What a checkpoint under way has not taken yet.
    saved: Saved,
}

/// How far a partition has come.
#[derive(Clone, Debug, Default)]
struct Partition {
    /// The greatest append time.
    appended: Millis,
    /// The greatest arrival time that was believed.
    received: Millis,
    /// Its last arrivals.
    arrivals: Arrivals,
}

impl Partition {
    /// Moves on with the arrivals of an epoch.
    fn arrive(&mut self, arrivals: &Arrivals, least_step: Millis) {
        self.arrivals.append(arrivals);
        if let Some((reach, limit)) = self.limit(least_step) {
            let latest = arrivals.greatest_until(limit).unwrap_or(reach).max(reach);
            self.received = latest.max(self.received);
        }
        self.arrivals = Arrivals::resumed(self.arrivals.last().to_vec());
    }

    /// How far its last reports agree that time has come, and up to when a report is believed: what is near to the latest
    /// that was believed is, too.
    fn limit(&self, least_step: Millis) -> Option<(Millis, Millis)> {
        let (reach, limit) = self.arrivals.agreed(least_step)?;
        Some((reach, limit.max(self.received.saturating_add(least_step))))
    }

    /// Whether it has reports enough to be believed against others.
    fn speaks(&self) -> bool {
        self.arrivals.last().len() >= ENOUGH
    }
}

impl Clock {
    /// A clock that has not started, for data that lies `least_step` ms apart at least before others must agree with it.
    #[must_use]
    pub fn new(source: ClockSource, least_step: Millis) -> Clock {
        Clock { source, least_step, now: 0, partitions: BTreeMap::new(), saved: Saved::default() }
    }

    /// What it says at the end of an epoch.
    #[must_use]
    pub fn at(&self, epoch: Epoch) -> Tick {
        Tick { epoch, clock: self.now, believed: self.believed(), registry: None, conditions: Vec::new() }
    }

    fn believed(&self) -> Vec<(i32, Millis)> {
        if self.source == ClockSource::Wall {
            return Vec::new();
        }
        let each = self.partitions.iter();
        each.filter_map(|(number, partition)| Some((*number, partition.limit(self.least_step)?.1))).collect()
    }

    /// The latest arrival of all partitions. One of few reports is not believed against those of many.
    fn latest(&self) -> Millis {
        let speaking = self.partitions.values().filter(|partition| partition.speaks());
        let latest = speaking.clone().map(|partition| partition.received).max();
        let limits = speaking.filter_map(|partition| partition.limit(self.least_step));
        let limit = limits.map(|(_, limit)| limit).max().unwrap_or(Millis::MAX);
        let few = self.partitions.values().filter(|partition| !partition.speaks());
        let few = few.map(|partition| partition.received).filter(|received| *received <= limit).max();
        latest.max(few).unwrap_or_default()
    }

    /// Moves on by one epoch. The clock never runs back.
    ///
    /// A partition that is still being caught up holds the clock at what it has given so far, so that a backlog raises
    /// no alarm of silence; one that is read to its end does not hold it.
    pub fn tick(&mut self, binding: &Binding, marks: &[Mark]) -> Tick {
        let mut arrived: BTreeMap<i32, Arrivals> = BTreeMap::new();
        let mut marks: Vec<&Mark> = marks.iter().collect();
        marks.sort_by_key(|mark| (mark.partition, mark.offset));
        for mark in marks {
            let partition = self.partitions.entry(mark.partition).or_default();
            partition.appended = mark.appended_at.max(partition.appended);
            arrived.entry(mark.partition).or_default().append(&mark.arrivals);
        }
        for (number, arrivals) in arrived {
            self.partitions.entry(number).or_default().arrive(&arrivals, self.least_step);
        }
        let behind = binding.ranges.iter().filter(|r| r.topic == Topic::Reports && !r.caught_up);
        let held = behind.map(|r| {
            let partition = self.partitions.get(&r.partition);
            partition.map_or(0, |partition| match self.source {
                ClockSource::Wall => partition.appended,
                ClockSource::Data => partition.received,
            })
        });
        let free = match self.source {
            ClockSource::Wall => binding.wall,
            ClockSource::Data => self.latest(),
        };
        self.now = held.fold(free, Millis::min).max(self.now);
        let (registry, conditions) = (binding.last_of(Topic::Registry), binding.conditions.clone());
        Tick { registry, conditions, ..self.at(binding.epoch) }
    }
}

/// Where the clock stands, as it is saved: of each partition the greatest append and arrival times and the last arrivals.
type Form = (Millis, BTreeMap<i32, (Millis, Millis, Vec<Arrival>)>);
/// The same before arrivals had to agree.
type Form1 = (Millis, BTreeMap<i32, (Millis, Millis)>);

impl Clock {
    fn resume(&mut self, (now, partitions): Form) {
        let resumed = |(number, (appended, received, last))| {
            (number, Partition { appended, received, arrivals: Arrivals::resumed(last) })
        };
        (self.now, self.partitions) = (now, partitions.into_iter().map(resumed).collect());
    }
}

impl Durable for Clock {
    const STATE: &'static str = "clock";
    const FORM: u16 = 2;

    fn begin(&mut self) {
        let kept = |partition: &Partition| {
            (partition.appended, partition.received, partition.arrivals.last().to_vec())
        };
        let partitions = self.partitions.iter().map(|(number, partition)| (*number, kept(partition)));
        let form: Form = (self.now, partitions.collect());
        self.saved.put(GLOBAL, "", Some(&form));
    }

    fn save(&mut self, _entries: usize, out: &mut Saved) -> bool {
        out.append(&mut self.saved);
        true
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        if form == 1 {
            return read_section::<String, Form1>(Self::STATE, section, |_, restored| {
                let (now, partitions) = restored.unwrap_or_default();
                let last = |received| if received > 0 { vec![(received, 0)] } else { Vec::new() };
                let known = |(number, (appended, received))| (number, (appended, received, last(received)));
                self.resume((now, partitions.into_iter().map(known).collect()));
            });
        }
        read_section::<String, Form>(Self::STATE, section, |_, restored| {
            self.resume(restored.unwrap_or_default());
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
        clock: Clock,
        recovery: &Recovery,
    ) -> Result<StreamVec<'s, Epoch, Tick>, Error>;
}

impl<'s> Clocked<'s> for StreamVec<'s, Epoch, Binding> {
    fn clocked(
        self,
        marks: StreamVec<'s, Epoch, Mark>,
        clock: Clock,
        recovery: &Recovery,
    ) -> Result<StreamVec<'s, Epoch, Tick>, Error> {
        type Builder = CapacityContainerBuilder<Vec<Tick>>;
        let scope = self.scope();
        // The first worker has the clock; the others only pass on what it says.
        let clock = recovery.restore_on_first(clock, (scope.index(), scope.peers()))?;
        let start = recovery.epoch();
        let (first, also_first) = (Exchange::new(|_: &Binding| 0), Exchange::new(|_: &Mark| 0));
        let ticks = self.binary_frontier::<_, Builder, _, _, _, _>(
            marks,
            first,
            also_first,
            "clock",
            move |capability, info| {
                let mut clock = clock.woken_by(scope.activator_for(info.address));
                let restored = start > 0 && clock.is_here();
                let mut at_start = restored.then(|| capability.delayed(&start));
                drop(capability);
                let mut stash: Stash<Binding> = Stash::default();
                let mut marks: BTreeMap<Epoch, Vec<Mark>> = BTreeMap::new();
                move |(bound, _), (marked, frontier), output| {
                    if let Some(capability) = at_start.take() {
                        output.session(&capability).give(clock.state().at(start));
                    }
                    bound.for_each(|time, data| {
                        for binding in data.drain(..) {
                            stash.entry(binding.epoch, || (time.retain(0), binding));
                        }
                    });
                    marked.for_each(|_, data| {
                        for mark in data.drain(..) {
                            marks.entry(mark.epoch).or_default().push(mark);
                        }
                    });
                    while let Some((epoch, capability, binding)) =
                        stash.take(|epoch| !frontier.less_equal(epoch))
                    {
                        let marks = marks.remove(&epoch).unwrap_or_default();
                        let tick = clock.apply(epoch, |clock| clock.tick(&binding, &marks));
                        output.session(&capability).give(tick);
                    }
                    clock.proceed();
                }
            },
        );
        Ok(ticks.broadcast())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::time::{DAY, HOUR};

    use super::{super::arrivals::LEAST_STEP, *};
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
        let mut arrivals = Arrivals::default();
        arrivals.add((received_at, 0));
        Mark { epoch: 0, partition, offset: 0, appended_at, arrivals }
    }
    fn of(source: ClockSource) -> Clock {
        Clock::new(source, LEAST_STEP)
    }
    /// Reports of a partition, one each hour.
    fn hourly(partition: i32, hours: impl IntoIterator<Item = Millis>) -> Mark {
        let mut arrivals = Arrivals::default();
        hours.into_iter().for_each(|hour| arrivals.add((hour * HOUR, 0)));
        Mark { partition, arrivals, ..Mark::default() }
    }

    #[test]
    fn a_partition_that_is_behind_holds_the_wall_clock() {
        let mut clock = of(ClockSource::Wall);
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
        let mut clock = of(ClockSource::Wall);
        clock.tick(&binding(1, 1_000, [false, true]), &[mark(0, 400, 0), mark(1, 900, 0)]);
        clock.begin();
        let mut saved = Saved::default();
        assert!(clock.save(1, &mut saved));
        let mut restored = of(ClockSource::Wall);
        restored.restore(GLOBAL, 2, &saved.into_sections()[&GLOBAL]).unwrap();
        assert_eq!(restored.at(1).clock, 400);
        let next = binding(2, 1_100, [false, true]);
        assert_eq!(restored.tick(&next, &[]), clock.tick(&next, &[]));
    }

    #[test]
    fn the_data_clock_is_the_slowest_backlog_or_the_latest_arrival() {
        let mut clock = of(ClockSource::Data);
        assert_eq!(clock.tick(&binding(1, 9_999, [false, false]), &[mark(0, 0, 70)]).clock, 0);
        assert_eq!(clock.tick(&binding(2, 9_999, [false, false]), &[mark(1, 0, 50)]).clock, 50);
        assert_eq!(clock.tick(&binding(3, 9_999, [true, true]), &[]).clock, 70);
    }

    /// Hours of 36 years.
    const FAR: Millis = 36 * 365 * 24;

    #[test]
    fn one_report_far_ahead_moves_no_clock_of_data_and_is_not_believed() {
        let mut clock = of(ClockSource::Data);
        let tick = clock.tick(&binding(1, 0, [true, true]), &[hourly(0, (1..10).chain([FAR]))]);
        assert_eq!((tick.clock, tick.believed), (9 * HOUR, vec![(0, 15 * HOUR)]));
        // Alone in its epoch, and again, and from elsewhere: the clock stands.
        for (epoch, marks) in [(2, [hourly(0, [FAR])]), (3, [hourly(0, [FAR + 1])]), (4, [hourly(1, [FAR])])]
        {
            assert_eq!(clock.tick(&binding(epoch, 0, [true, true]), &marks).clock, 9 * HOUR);
        }
        let tick = clock.tick(&binding(5, 0, [true, true]), &[hourly(0, 10..48)]);
        assert_eq!((tick.clock, tick.believed[0]), (47 * HOUR, (0, 53 * HOUR)));
    }

    #[test]
    fn the_clock_of_data_follows_a_pause_once_most_agree() {
        let mut clock = of(ClockSource::Data);
        clock.tick(&binding(1, 0, [true, true]), &[hourly(0, 0..20)]);
        let after = 200 * 24;
        let now = |clock: &mut Clock, epoch, hours: std::ops::Range<Millis>| {
            clock.tick(&binding(epoch, 0, [true, true]), &[hourly(0, hours)]).clock / HOUR
        };
        assert_eq!(now(&mut clock, 2, after..after + 2), 19);
        assert_eq!(now(&mut clock, 3, after + 2..after + 6), after + 5);
        assert_eq!(now(&mut clock, 4, after + 6..after + 30), after + 29, "in one epoch");
    }

    #[test]
    fn a_clock_of_the_version_before_is_read_and_goes_on() {
        let form: Form1 = (70 * HOUR, [(0, (5, 70 * HOUR)), (1, (6, 50 * HOUR))].into());
        let mut saved = Saved::default();
        saved.put(GLOBAL, "", Some(&form));
        let mut clock = of(ClockSource::Data);
        clock.restore(GLOBAL, 1, &saved.into_sections()[&GLOBAL]).unwrap();
        assert_eq!(clock.at(1).clock, 70 * HOUR);
        let tick = clock.tick(&binding(2, 0, [true, true]), &[hourly(0, [71, FAR, 72])]);
        assert_eq!(tick.clock, 72 * HOUR);
    }

    proptest! {
        /// In whatever batches the reports come, and wherever the clock is restored.
        #[test]
        fn a_restored_clock_of_data_says_what_an_undisturbed_one_says(
            epochs in prop::collection::vec(
                prop::collection::vec((0..2_i32, 0..40 * DAY, 0..30_u8), 0..12), 1..12),
            cut in 0..12_usize,
        ) {
            let mut undisturbed = of(ClockSource::Data);
            let mut restored = of(ClockSource::Data);
            for (number, reports) in epochs.iter().enumerate() {
                let epoch = number as Epoch + 1;
                let one = |offset: usize, (partition, at, far): &(i32, Millis, u8)| {
                    let at = if *far == 0 { *at + FAR * HOUR } else { *at / 40 + epoch as Millis * DAY };
                    Mark { offset: offset as i64, ..mark(*partition, 0, at) }
                };
                let marks: Vec<Mark> = reports.iter().enumerate().map(|(n, report)| one(n, report)).collect();
                let whole = [0, 1].map(|partition| {
                    let mut whole = Mark { partition, ..Mark::default() };
                    let own = marks.iter().filter(|mark| mark.partition == partition);
                    own.for_each(|mark| whole.arrivals.append(&mark.arrivals));
                    whole
                });
                let there = whole.into_iter().filter(|mark| !mark.arrivals.last().is_empty());
                let bound = binding(epoch, 0, [number % 3 > 0, true]);
                if number == cut {
                    restored.begin();
                    let mut saved = Saved::default();
                    restored.save(1, &mut saved);
                    restored = of(ClockSource::Data);
                    restored.restore(GLOBAL, 2, &saved.into_sections()[&GLOBAL]).unwrap();
                }
                let mut shuffled = marks.clone();
                shuffled.reverse();
                let told = undisturbed.tick(&bound, &there.collect::<Vec<_>>());
                prop_assert_eq!(restored.tick(&bound, &shuffled), told);
            }
        }
    }
}
