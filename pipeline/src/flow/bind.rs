//! bind: worker 0 decides what each epoch reads, durably, at a steady beat and not faster than the sinks follow.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{ProbeHandle, Scope, StreamVec, operators::generic::operator::source},
};

use crate::{
    binding::{Binding, BindingLog, Condition, next},
    checkpoint::Checkpoints,
    control::Control,
    kafka::Watermarks,
    progress::Progress,
    telemetry,
};
use schemas::Epoch;

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
    /// The platform conditions now: (subject, what is wrong or `None`).
    pub conditions: Arc<dyn Fn() -> Vec<(String, Option<String>)> + Send + Sync>,
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
    beat: Instant,
}

impl Running {
    fn new(mut minter: Minter) -> Running {
        let (previous, active) = (minter.previous.take(), std::mem::take(&mut minter.active));
        Running { minter, previous, active, beat: Instant::now() }
    }

    /// The epoch that is bound next.
    fn next(&self) -> Epoch {
        self.previous.as_ref().map_or(1, |b| b.epoch + 1)
    }

    fn step(&mut self, delivered: &ProbeHandle<Epoch>) -> Step {
        let epoch = self.next();
        let Pace { beat, in_flight, group, .. } = self.minter.pace;
        let behind = |epochs: u64| epoch > epochs && delivered.less_than(&(epoch - epochs));
        if self.minter.control.finished() {
            return Step::Done;
        }
        if behind(in_flight) {
            return Step::Wait(Duration::from_millis(1));
        }
        if let Some(binding) = self.minter.recorded.pop_front() {
            return self.accept(binding);
        }
        let draining = self.minter.control.draining();
        if draining && epoch.is_multiple_of(group) {
            return Step::Done;
        }
        let caught_up = self.previous.as_ref().is_none_or(|b| b.ranges.iter().all(|r| r.caught_up));
        // Epochs of a backlog are large: few of them may wait for the sinks. A change of conditions is let through.
        if !caught_up && behind(in_flight.min(2 * group + 2)) && !draining {
            if self.beat.elapsed() < beat || self.changed_conditions().is_empty() {
                return Step::Wait(Duration::from_millis(1));
            }
            return self.mint(0);
        }
        let due = if caught_up || behind(group + 2) { beat } else { Duration::ZERO };
        if !draining && self.beat.elapsed() < due {
            return Step::Wait(if caught_up { due - self.beat.elapsed() } else { Duration::from_millis(1) });
        }
        self.mint(if draining { 0 } else { self.minter.pace.records_per_partition })
    }

    fn mint(&mut self, records_per_partition: i64) -> Step {
        self.beat = Instant::now();
        let watermarks = self.minter.watermarks.now();
        let binding = next(
            self.previous.as_ref(),
            &watermarks,
            Timestamp::now().as_millisecond(),
            records_per_partition,
            self.changed_conditions(),
        );
        for (mark, range) in watermarks.iter().zip(&binding.ranges) {
            let labels = [mark.topic.name(), &mark.partition.to_string()];
            telemetry::LAG.with_label_values(&labels).set(mark.high - range.upto);
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

    fn changed_conditions(&self) -> Vec<Condition> {
        let was = |subject: &str| self.active.iter().any(|c| c.subject == subject);
        (self.minter.conditions)()
            .into_iter()
            .filter(|(subject, wrong)| wrong.is_some() != was(subject))
            .map(|(subject, wrong)| Condition {
                subject,
                active: wrong.is_some(),
                detail: wrong.unwrap_or_default(),
            })
            .collect()
    }
}
