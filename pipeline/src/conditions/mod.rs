//! What the platform says about itself: sinks that are down, input that lags or stays away, a disk that fills.
//!
//! Enters: what can be seen of the sinks, the input, the disk and the clocks when an epoch is bound. Leaves: the
//! [`Condition`]s that changed, for the binding. Guarantees: a condition is raised and cleared only after it has held for
//! a while, so that nothing flaps; one that the bindings say holds stays until it is seen to be over, also across
//! restarts; a replay of the bindings gives the same conditions, because only new bindings ask here.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use operators::alarm::OperationalCondition as Kind;
use schemas::Topic;
use serde::Deserialize;

use crate::{
    binding::{Binding, Condition, Watermark},
    kafka::Seen,
};

/// How long the signs of a condition must last before it is raised, and how long their absence before it is cleared.
///
/// A paused sink stops the binding of epochs after a while, so it is said at once.
fn patience(kind: Kind) -> Patience {
    let seconds =
        |raise, clear| Patience { raise: Duration::from_secs(raise), clear: Duration::from_secs(clear) };
    match kind {
        Kind::SinkDown => seconds(0, 5),
        Kind::SourceDown | Kind::DataLost => seconds(0, 10),
        Kind::NoData => seconds(0, 0),
        Kind::Lag | Kind::ClockSkew => seconds(10, 30),
        Kind::CheckpointFailing => seconds(0, 30),
        Kind::DiskNearlyFull => seconds(10, 60),
    }
}

impl Condition {
    /// A condition as it is recorded. The subject carries the kind, `kind/subject`; a plain subject means a sink that is
    /// down, as the first version wrote it.
    #[must_use]
    pub fn of(kind: Kind, subject: &str, wrong: Option<String>) -> Condition {
        let name = subject.to_owned();
        let subject = if kind == Kind::SinkDown { name } else { format!("{}/{name}", kind.code()) };
        Condition { subject, active: wrong.is_some(), detail: wrong.unwrap_or_default() }
    }

    /// Its kind and what it is about.
    #[must_use]
    pub fn about(&self) -> (Kind, &str) {
        let known = self.subject.split_once('/').and_then(|(kind, subject)| Some((Kind::of(kind)?, subject)));
        known.unwrap_or((Kind::SinkDown, &self.subject))
    }
}

/// The `[operations]` section: when the platform raises alarms about itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Records of one topic that may wait to be read.
    pub lag_records: i64,
    /// Seconds for which a topic may not be read to its end.
    pub lag_seconds: u64,
    /// Seconds without any new report after which the source counts as silent.
    pub no_data_seconds: u64,
    /// Seconds without an answer after which the brokers count as away; until they answer, time stands still.
    pub source_seconds: u64,
    /// Percent of the state directory's disk that must be free.
    pub disk_free_percent: f64,
    /// Seconds by which our clock may differ from the brokers'.
    pub clock_skew_seconds: u64,
    /// Seconds for which nothing may be delivered before the process counts as not ready: `/readyz` then says 503 and why.
    /// This way does not lead through the sinks, as the alarms do.
    pub delivery_seconds: u64,
    /// Seconds for which the frontier may stand still while there is work and no sink is paused; then the process dumps
    /// where it stands and aborts, for the supervisor to start it again. 0 turns this off.
    pub watchdog_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            lag_records: 1_000_000,
            lag_seconds: 600,
            no_data_seconds: 900,
            source_seconds: 15,
            disk_free_percent: 5.0,
            clock_skew_seconds: 60,
            delivery_seconds: 60,
            watchdog_seconds: 600,
        }
    }
}

impl Limits {
    /// What no type can say.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut demand = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        demand(self.lag_records > 0, "lag_records must be at least 1");
        demand(self.lag_seconds > 0, "lag_seconds must be at least 1");
        demand(self.no_data_seconds > 0, "no_data_seconds must be at least 1");
        demand(self.source_seconds > 0, "source_seconds must be at least 1");
        demand((0.0..=90.0).contains(&self.disk_free_percent), "disk_free_percent must be between 0 and 90");
        demand(
            self.clock_skew_seconds >= 5,
            "clock_skew_seconds must be at least 5: clocks always differ a little",
        );
        demand(self.delivery_seconds > 0, "delivery_seconds must be at least 1");
        demand(
            self.watchdog_seconds == 0 || self.watchdog_seconds >= 10,
            "watchdog_seconds must be 0 or at least 10",
        );
        problems
    }
}

/// How long signs must last.
#[derive(Clone, Copy, Debug)]
struct Patience {
    raise: Duration,
    clear: Duration,
}

/// What a sight says about a condition.
#[derive(Clone, Debug, PartialEq)]
enum Sign {
    /// It holds.
    Bad(String),
    /// Neither: between the limit that raises and the one that clears.
    Unclear,
    /// It does not hold.
    Good,
}

impl Sign {
    fn of(wrong: Option<String>) -> Sign {
        wrong.map_or(Sign::Good, Sign::Bad)
    }
}

/// One condition with its hysteresis.
#[derive(Clone, Debug, Default)]
struct Latch {
    on: bool,
    /// Since when the signs have been against what it says.
    since: Option<Duration>,
    detail: String,
}

impl Latch {
    /// Takes a sign; true when the latch turned.
    fn update(&mut self, now: Duration, sign: &Sign, patience: Patience) -> bool {
        let (against, wait) = match sign {
            Sign::Bad(_) => (!self.on, patience.raise),
            Sign::Good => (self.on, patience.clear),
            Sign::Unclear => (false, Duration::ZERO),
        };
        if !against {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) < wait {
            return false;
        }
        self.on = !self.on;
        self.since = None;
        self.detail = if let Sign::Bad(detail) = sign { detail.clone() } else { String::new() };
        true
    }
}

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
    /// How long the brokers have not answered.
    pub silent: Duration,
    /// How far the input reaches.
    pub input: &'a [Watermark],
    /// How far it is bound.
    pub previous: Option<&'a Binding>,
    /// Whether a clean stop is under way, after which nobody looks: what is well again counts as over at once.
    pub stopping: bool,
}

/// A look that comes later than this after the one before says that the process was not running in between.
const STRIDE: Duration = Duration::from_secs(2);

/// The time that conditions are judged by: it runs only while the process does. Whoever was stopped (SIGSTOP, a machine
/// that was suspended) has heard nothing meanwhile, which says nothing about the brokers. Pure: time is an argument.
#[derive(Debug)]
struct Presence {
    /// Between two looks at most so much is counted.
    stride: Duration,
    clock: Duration,
    answered: Duration,
}

impl Presence {
    /// A process that has just begun and looks about once in `beat`.
    fn new(beat: Duration) -> Presence {
        Presence { stride: STRIDE + beat, clock: Duration::ZERO, answered: Duration::ZERO }
    }

    /// Takes a look so long `after` the one before, when the last answer of the brokers has this `age`. Gives the time
    /// since the start, and for how much of it the brokers have been silent.
    fn look(&mut self, after: Duration, age: Duration) -> (Duration, Duration) {
        let counted = after.min(self.stride);
        self.clock += counted;
        if age < after {
            self.answered = self.clock.saturating_sub(age.min(counted));
        }
        (self.clock, self.clock.saturating_sub(self.answered))
    }
}

/// How one topic has been moving.
#[derive(Clone, Debug)]
struct Flow {
    highs: i64,
    moved: Duration,
    at_end: Duration,
}

/// All conditions with their hysteresis. Pure: time is an argument.
#[derive(Debug)]
pub struct Conditions {
    limits: Limits,
    /// Whether the input is live; lag and silence of a replay or simulation say nothing.
    live: bool,
    latches: BTreeMap<(Kind, String), Latch>,
    flows: BTreeMap<Topic, Flow>,
}

impl Conditions {
    /// Conditions that nothing is known of.
    #[must_use]
    pub fn new(limits: Limits, live: bool) -> Conditions {
        Conditions { limits, live, latches: BTreeMap::new(), flows: BTreeMap::new() }
    }

    /// Takes a sight at a time since the start, and gives what changed against `active`, what holds by the bindings.
    pub fn observe(&mut self, now: Duration, sight: &Sight<'_>, active: &[Condition]) -> Vec<Condition> {
        let mut signs = self.signs(now, sight);
        let holds: BTreeMap<(Kind, String), &Condition> = active
            .iter()
            .filter(|condition| condition.active)
            .map(|condition| {
                let (kind, subject) = condition.about();
                ((kind, subject.to_owned()), condition)
            })
            .collect();
        // What nobody looks at any more, such as a sink that was taken out of the configuration, is over.
        for key in holds.keys() {
            signs.entry(key.clone()).or_insert(Sign::Good);
        }
        let mut changed = Vec::new();
        for ((kind, subject), sign) in signs {
            let held = holds.contains_key(&(kind, subject.clone()));
            let key = (kind, subject);
            let latch = self.latches.entry(key.clone()).or_default();
            if latch.on != held {
                *latch = Latch { on: held, ..Latch::default() };
            }
            let mut patience = patience(kind);
            if sight.stopping {
                patience.clear = Duration::ZERO;
            }
            if latch.update(now, &sign, patience) {
                changed.push(Condition::of(kind, &key.1, latch.on.then(|| latch.detail.clone())));
            }
        }
        changed
    }

    fn signs(&mut self, now: Duration, sight: &Sight<'_>) -> BTreeMap<(Kind, String), Sign> {
        let mut signs = BTreeMap::new();
        let mut sign = |kind: Kind, subject: &str, sign: Sign| {
            signs.insert((kind, subject.to_owned()), sign);
        };
        for (name, wrong) in &sight.sinks {
            sign(Kind::SinkDown, name, Sign::of(wrong.clone()));
        }
        for (partition, gone) in &sight.lost {
            sign(Kind::DataLost, partition, Sign::Bad(gone.clone()));
        }
        let silent = sight.silent >= Duration::from_secs(self.limits.source_seconds);
        let away = silent.then(|| "the brokers do not say how far the input reaches".to_owned());
        sign(Kind::SourceDown, "kafka", Sign::of(away));
        sign(Kind::CheckpointFailing, "checkpoints", Sign::of(sight.checkpoint.clone()));
        if let Some(free) = sight.disk_free_percent {
            sign(Kind::DiskNearlyFull, "state", disk(free, self.limits.disk_free_percent));
        }
        if self.live {
            sign(Kind::ClockSkew, "clock", Sign::of(sight.clock.clone()));
            for (topic, lag, no_data) in self.input(now, sight, silent) {
                sign(Kind::Lag, topic.name(), lag);
                // The other topics are silent for days when all is well.
                if topic == Topic::Reports {
                    sign(Kind::NoData, topic.name(), no_data);
                }
            }
        }
        signs
    }

    /// Lag and silence of every topic. While the brokers are away nothing is known of either.
    fn input(&mut self, now: Duration, sight: &Sight<'_>, silent: bool) -> Vec<(Topic, Sign, Sign)> {
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
        let limits = self.limits.clone();
        let mut signs = Vec::new();
        for (topic, (high, behind)) in topics {
            let flow = self.flows.entry(topic).or_insert(Flow { highs: high, moved: now, at_end: now });
            let came = flow.highs != high;
            let bound_all = sight.previous.is_some_and(|binding| {
                binding.ranges.iter().filter(|range| range.topic == topic).all(|range| range.caught_up)
            });
            if came {
                (flow.highs, flow.moved) = (high, now);
            }
            if bound_all || behind == 0 || silent {
                flow.at_end = now;
            }
            if silent {
                flow.moved = now;
                signs.push((topic, Sign::Unclear, Sign::Unclear));
                continue;
            }
            let lag = lag(behind, now.saturating_sub(flow.at_end), &limits);
            let quiet = now.saturating_sub(flow.moved);
            let no_data = if came {
                Sign::Good
            } else if quiet >= Duration::from_secs(limits.no_data_seconds) && behind == 0 && high > 0 {
                Sign::Bad(format!("no record for {} s", limits.no_data_seconds))
            } else {
                Sign::Unclear
            };
            signs.push((topic, lag, no_data));
        }
        signs
    }
}

fn lag(behind: i64, since: Duration, limits: &Limits) -> Sign {
    let allowed = Duration::from_secs(limits.lag_seconds);
    if behind > limits.lag_records {
        Sign::Bad(format!("more than {} records are not read yet", limits.lag_records))
    } else if since > allowed {
        Sign::Bad(format!("not read to its end for {} s", limits.lag_seconds))
    } else if behind <= limits.lag_records / 2 && since <= allowed / 2 {
        Sign::Good
    } else {
        Sign::Unclear
    }
}

fn disk(free: f64, limit: f64) -> Sign {
    if free < limit {
        Sign::Bad(format!("less than {limit} % of the disk of the state directory is free"))
    } else if free < limit * 1.2 {
        Sign::Unclear
    } else {
        Sign::Good
    }
}

/// How often the disk is looked at.
const DISK_EVERY: Duration = Duration::from_secs(5);

/// Tells how a sink is: its name, and what is wrong with it.
pub type Sinks = Arc<dyn Fn() -> Vec<(String, Option<String>)> + Send + Sync>;
/// Tells why checkpoints are not written.
pub type Checkpoints = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Looks at the platform for the conditions.
pub struct HealthProbe {
    conditions: Conditions,
    sinks: Sinks,
    checkpoints: Checkpoints,
    state: PathBuf,
    presence: Presence,
    looked: Instant,
    disk: Option<(Instant, Option<f64>)>,
    lost: Vec<(String, String)>,
}

impl HealthProbe {
    /// A watch over sinks, checkpoints and the disk of a state directory, with a look about once in `beat`.
    #[must_use]
    pub fn new(
        limits: Limits,
        live: bool,
        beat: Duration,
        sinks: Sinks,
        checkpoints: Checkpoints,
        state: PathBuf,
    ) -> HealthProbe {
        HealthProbe {
            conditions: Conditions::new(limits, live),
            sinks,
            checkpoints,
            state,
            presence: Presence::new(beat),
            looked: Instant::now(),
            disk: None,
            lost: Vec::new(),
        }
    }

    /// Notes input that is lost; it stays an alarm as long as this process runs.
    pub fn lost(&mut self, partition: String, gone: String) {
        tracing::error!(partition, "records are lost, as accepted: {gone}");
        self.lost.push((partition, gone));
    }

    /// What changed against what holds by the bindings.
    pub fn changes(
        &mut self,
        active: &[Condition],
        previous: Option<&Binding>,
        seen: &Seen,
        clock: Option<String>,
        stopping: bool,
    ) -> Vec<Condition> {
        let after = std::mem::replace(&mut self.looked, Instant::now()).elapsed();
        let (now, silent) = self.presence.look(after, seen.age);
        let sight = Sight {
            sinks: (self.sinks)(),
            checkpoint: (self.checkpoints)(),
            disk_free_percent: self.disk(),
            clock,
            lost: self.lost.clone(),
            silent,
            input: &seen.marks,
            previous,
            stopping,
        };
        self.conditions.observe(now, &sight, active)
    }

    fn disk(&mut self) -> Option<f64> {
        match self.disk {
            Some((at, free)) if at.elapsed() < DISK_EVERY => free,
            _ => {
                let free = rustix::fs::statvfs(&self.state).ok().filter(|disk| disk.f_blocks > 0);
                let free = free.map(|disk| disk.f_bavail as f64 / disk.f_blocks as f64 * 100.0);
                self.disk = Some((Instant::now(), free));
                free
            }
        }
    }
}

#[cfg(test)]
mod tests;
