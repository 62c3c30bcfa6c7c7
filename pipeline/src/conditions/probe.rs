//! The look at the platform, once per epoch that is bound.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Conditions, LateReadings, Limits, Sight, presence::Presence};
use crate::{
    binding::{Binding, Condition},
    kafka::Seen,
};

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
    late: LateReadings,
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
            late: LateReadings::default(),
        }
    }

    /// Where the dataflow counts what comes too late.
    #[must_use]
    pub fn late(&self) -> LateReadings {
        self.late.clone()
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
            late: self.late.now(self.looked),
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
