//! bind: worker 0 decides what each epoch reads, durably, at a steady beat and not faster than the sinks follow.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use schemas::{Epoch, KafkaSettings, Millis};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{ProbeHandle, Scope, StreamVec, operators::generic::operator::source},
};

use crate::{
    Error,
    binding::{self, Binding, BindingLog, Condition, Range, Watermark, next},
    checkpoint::Checkpoints,
    conditions::{HealthProbe, Limits},
    control::Control,
    kafka::Watermarks,
    lost_input::{self, Gap},
    progress::Progress,
    telemetry,
    wall_clock::WallClock,
};

/// A partition that ends before what was read of it may be a broker that has just started, for so long.
const SHORT: Duration = Duration::from_secs(20);

/// How the minter behaves.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Time between two epochs while the input is read to its end.
    pub beat: Duration,
    /// Epochs that may be on their way before minting waits for the sinks.
    pub in_flight: u64,
    /// Epochs in a group of blocks; a clean stop completes the group.
    pub group: u64,
    /// Records of one partition in one epoch.
    pub records_per_partition: i64,
    /// Records of all partitions in one epoch, about.
    pub records_per_epoch: i64,
}

/// Everything the minter looks at; only worker 0 has one.
pub struct Minter {
    /// The binding that the restored states stand at the end of.
    pub previous: Option<Binding>,
    /// The platform conditions that held then.
    pub active: Vec<Condition>,
    /// Recorded bindings that are still to be replayed.
    pub recorded: VecDeque<Binding>,
    /// Where new bindings are written down.
    pub log: BindingLog,
    /// How far the topics reach.
    pub watermarks: Watermarks,
    /// What the platform's conditions are told from.
    pub watch: HealthProbe,
    /// How the brokers are called, for messages.
    pub kafka: KafkaSettings,
    /// Limits of clocks and brokers.
    pub limits: Limits,
    /// Whether to go on when records are gone that were not read.
    pub accept_loss: bool,
    /// Pace.
    pub pace: Pace,
    /// Stop signals.
    pub control: Arc<Control>,
    /// Where bindings are noted until they are delivered.
    pub progress: Arc<Progress>,
    /// The checkpoints, which begin with a binding.
    pub checkpoints: Checkpoints,
}

/// The stream of bindings, each at its own epoch. A binding is durable before it leaves; recorded ones come first.
pub fn bind<'s>(
    scope: Scope<'s, Epoch>,
    minter: Option<Minter>,
    delivered: ProbeHandle<Epoch>,
) -> StreamVec<'s, Epoch, Binding> {
    source::<_, CapacityContainerBuilder<Vec<Binding>>, _, _>(scope, "bind", move |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut running = minter.map(Running::new).map(|state| (capability.delayed(&state.next()), state));
        move |output| {
            let Some((capability, state)) = running.as_mut() else { return };
            loop {
                match state.step(&delivered) {
                    Step::Bound(binding) => {
                        let after = binding.epoch + 1;
                        output.session(capability).give(binding);
                        capability.downgrade(&after);
                    }
                    Step::Wait(pause) => return activator.activate_after(pause),
                    Step::Done => {
                        running = None;
                        return;
                    }
                }
            }
        }
    })
}

enum Step {
    Bound(Binding),
    Wait(Duration),
    Done,
}

struct Running {
    minter: Minter,
    previous: Option<Binding>,
    /// Conditions that hold according to the bindings so far.
    active: Vec<Condition>,
    /// When an epoch was last begun; the first waits for nothing.
    beat: Option<Instant>,
    /// When the conditions were last looked at.
    looked: Instant,
    started: Instant,
    /// Made with the first binding of our own.
    wall: Option<WallClock>,
    /// Since when a partition has ended before what was read of it.
    short: Option<Instant>,
    /// Whether a stop has been put off once to say what has changed since.
    parted: bool,
}

impl Running {
    fn new(mut minter: Minter) -> Running {
        let (previous, active) = (minter.previous.take(), std::mem::take(&mut minter.active));
        let now = Instant::now();
        Running {
            minter,
            previous,
            active,
            beat: None,
            looked: now,
            started: now,
            wall: None,
            short: None,
            parted: false,
        }
    }

    /// The epoch that is bound next.
    fn next(&self) -> Epoch {
        self.previous.as_ref().map_or(1, |b| b.epoch + 1)
    }

    fn step(&mut self, delivered: &ProbeHandle<Epoch>) -> Step {
        let epoch = self.next();
        let Pace { beat, in_flight, group, .. } = self.minter.pace;
        let since_beat = self.beat.map_or(Duration::MAX, |beat| beat.elapsed());
        let behind = |epochs: u64| epoch > epochs && delivered.less_than(&(epoch - epochs));
        if self.minter.control.finished() {
            return Step::Done;
        }
        let full = behind(in_flight);
        if full && (self.minter.control.draining() || !self.minter.recorded.is_empty()) {
            return Step::Wait(Duration::from_millis(1));
        }
        if let Some(binding) = self.minter.recorded.pop_front() {
            return self.accept(binding);
        }
        let draining = self.minter.control.draining();
        if draining && epoch.is_multiple_of(group) {
            let changed = self.changed_conditions();
            if changed.is_empty() || std::mem::replace(&mut self.parted, true) {
                return Step::Done;
            }
            return self.mint(0, Some(changed));
        }
        let idle = |range: &Range| range.caught_up || range.from == range.upto;
        let caught_up = self.previous.as_ref().is_none_or(|b| b.ranges.iter().all(idle));
        // Epochs of a backlog are large: few of them may wait for the sinks. A change of conditions is let through, however
        // many wait: that brokers or a sink are away is seen only then.
        if full || (!caught_up && behind(in_flight.min(2 * group + 2)) && !draining) {
            if since_beat < beat || self.looked.elapsed() < beat {
                return Step::Wait(Duration::from_millis(1));
            }
            let changed = self.changed_conditions();
            if changed.is_empty() {
                return Step::Wait(Duration::from_millis(1));
            }
            return self.mint(0, Some(changed));
        }
        let due = if caught_up || behind(group + 2) { beat } else { Duration::ZERO };
        if !draining && since_beat < due {
            return Step::Wait(if caught_up { due - since_beat } else { Duration::from_millis(1) });
        }
        self.mint(if draining { 0 } else { self.records_per_partition() }, None)
    }

    /// What an epoch may hold, divided among the partitions that have something.
    fn records_per_partition(&self) -> i64 {
        let Pace { records_per_partition, records_per_epoch, .. } = self.minter.pace;
        let marks = self.minter.watermarks.now();
        binding::share(self.previous.as_ref(), &marks, records_per_epoch).min(records_per_partition)
    }

    fn mint(&mut self, records_per_partition: i64, changed: Option<Vec<Condition>>) -> Step {
        self.beat = Some(Instant::now());
        let seen = self.minter.watermarks.seen();
        match self.step_over_gaps(&seen.marks) {
            Ok(true) => {}
            Ok(false) => return Step::Wait(self.minter.pace.beat),
            Err(error) => {
                self.minter.control.fail(error);
                return Step::Done;
            }
        }
        let conditions = changed.unwrap_or_else(|| self.changed_conditions());
        let running = self.running();
        let wall = self.wall().now(running, Timestamp::now().as_millisecond());
        let watermarks = seen.marks;
        let mut binding = next(self.previous.as_ref(), &watermarks, wall, records_per_partition, conditions);
        if seen.age >= Duration::from_secs(self.minter.limits.source_seconds) {
            // Whether there is more is not known: time stands where the data has come.
            binding.ranges.iter_mut().for_each(|range| range.caught_up = false);
        }
        let caught_up = binding.ranges.iter().all(|range| range.caught_up);
        self.wall().bound(binding.epoch, running, caught_up);
        for mark in &watermarks {
            let range = |r: &&Range| (r.topic, r.partition) == (mark.topic, mark.partition);
            let upto = binding.ranges.iter().find(range).map_or(mark.low, |range| range.upto);
            let labels = [mark.topic.name(), &mark.partition.to_string()];
            telemetry::LAG.with_label_values(&labels).set(mark.high - upto);
        }
        match self.minter.log.append(&binding) {
            Ok(()) => self.accept(binding),
            Err(error) => {
                self.minter.control.fail(error);
                Step::Done
            }
        }
    }

    fn accept(&mut self, binding: Binding) -> Step {
        for condition in &binding.conditions {
            self.active.retain(|c| c.subject != condition.subject);
            if condition.active {
                self.active.push(condition.clone());
            }
        }
        self.minter.progress.bound(&binding);
        self.minter.checkpoints.bound(&binding);
        self.previous = Some(binding.clone());
        Step::Bound(binding)
    }

    /// Milliseconds on a clock that only runs.
    fn running(&self) -> Millis {
        Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    fn wall(&mut self) -> &mut WallClock {
        let recorded = self.previous.as_ref().map(|binding| binding.wall);
        let tolerance =
            Millis::try_from(self.minter.limits.clock_skew_seconds * 1_000).unwrap_or(Millis::MAX);
        let wall = self.wall.get_or_insert_with(|| WallClock::new(tolerance, recorded));
        for (epoch, at) in self.minter.control.take_appended() {
            wall.appended(epoch, at);
        }
        wall
    }

    /// The platform conditions that changed against what the bindings say. What it says must be recorded.
    fn changed_conditions(&mut self) -> Vec<Condition> {
        self.looked = Instant::now();
        let seen = self.minter.watermarks.seen();
        let running = self.running();
        let wall = self.wall();
        wall.now(running, Timestamp::now().as_millisecond());
        let skew = wall.skew();
        let stopping = self.minter.control.draining();
        self.minter.watch.changes(&self.active, self.previous.as_ref(), &seen, skew, stopping)
    }

    /// Looks for records that are gone. False when that may pass: a broker that has just started may not know its end.
    fn step_over_gaps(&mut self, marks: &[Watermark]) -> Result<bool, Error> {
        let gaps = lost_input::gaps(self.previous.as_ref(), marks);
        if gaps.is_empty() {
            self.short = None;
            return Ok(true);
        }
        if gaps.iter().all(Gap::ends_early) && self.short.get_or_insert_with(Instant::now).elapsed() < SHORT {
            return Ok(false);
        }
        if !self.minter.accept_loss {
            return Err(lost_input::refused(&gaps, &self.minter.kafka));
        }
        for gap in &gaps {
            self.minter.watch.lost(gap.place(&self.minter.kafka), gap.gone());
        }
        if let Some(previous) = &mut self.previous {
            lost_input::step_over(previous, &gaps);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use timely::dataflow::operators::{Input, Inspect, Probe};

    use super::*;
    use crate::{
        checkpoint::{self, Checkpoints, Identity, Opened, Start},
        dataflow::STATES,
    };

    /// A minter without input, whose brokers count as away at once.
    fn minter(state: &std::path::Path, in_flight: u64) -> Minter {
        let identity = Identity { pipeline: "city".to_owned(), prefix: "heating".to_owned(), states: STATES };
        let control = Arc::new(Control::default());
        let settings = checkpoint::Settings::default();
        let opened = Checkpoints::open(&settings, identity, state, Start::default(), &control).unwrap();
        let Opened { checkpoints, log, .. } = opened;
        let limits = Limits { source_seconds: 0, ..Limits::default() };
        let beat = Duration::from_millis(1);
        let (sinks, written) = (Arc::new(Vec::new), Arc::new(|| None));
        Minter {
            previous: None,
            active: Vec::new(),
            recorded: VecDeque::new(),
            log,
            watermarks: Watermarks::known(Vec::new()),
            watch: HealthProbe::new(limits.clone(), true, beat, sinks, written, state.to_owned()),
            kafka: serde_json::from_value(serde_json::json!({ "brokers": "nowhere:9092" })).unwrap(),
            limits,
            accept_loss: false,
            pace: Pace { beat, in_flight, group: 4, records_per_partition: 1, records_per_epoch: 1 },
            control,
            progress: Arc::new(Progress::open(state, None).unwrap()),
            checkpoints,
        }
    }

    #[test]
    fn a_change_of_conditions_is_bound_although_every_epoch_waits_for_the_sinks() {
        let state = tempfile::tempdir().unwrap();
        let minter = minter(state.path(), 0);
        let control = Arc::clone(&minter.control);
        let bound = timely::execute_directly(move |worker| {
            let (told, nothing) = (Rc::new(RefCell::new(Vec::new())), ProbeHandle::new());
            let _delivers_nothing = worker.dataflow::<Epoch, _, _>(|scope| {
                let (input, stream) = scope.new_input::<Vec<()>>();
                stream.probe_with(&nothing);
                let told = Rc::clone(&told);
                bind(scope, Some(minter), nothing.clone())
                    .inspect(move |b| told.borrow_mut().push(b.clone()));
                input
            });
            let begun = Instant::now();
            while told.borrow().is_empty() && begun.elapsed() < Duration::from_secs(30) {
                worker.step();
            }
            control.finish();
            told.take()
        });
        let conditions: Vec<&str> =
            bound.iter().flat_map(|b| &b.conditions).map(|condition| condition.subject.as_str()).collect();
        assert_eq!(conditions, ["source_down/kafka"]);
    }
}
