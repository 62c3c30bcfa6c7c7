//! The machinery of alarm episodes: a pure fold over the readings of one series in the order of their time.
//!
//! Enters: limits and usable readings (time, value). Leaves: steps: raised, escalated, de-escalated, updated, cleared.
//! Guarantees: the fold knows nothing but event time, so the same readings give the same episodes however they
//! arrived. What must be decided by time is decided by readings: an alarm is raised by the first reading that shows
//! the violation to have lasted for the on-delay, and cleared by the first that shows the good to have lasted for the
//! off-delay. Silence and unusable readings (which do not enter) prove neither: a standing alarm stands, and a delay
//! passes only while readings come: between two that are further apart than the limits say it begins again.

use schemas::{Millis, Side, Transition};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Three limits with their deadband and delays; what a [`Fold`] judges by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Which side is bad.
    pub side: Side,
    /// Limits of levels 1 (gravest), 2 and 3, in the unit of the values.
    pub levels: [Option<f64>; 3],
    /// A level is left only when the value is back by this much.
    pub deadband: f64,
    /// The value must be bad this long before the alarm is raised, ms of event time.
    pub on_delay: Millis,
    /// The value must be good this long before the alarm is cleared, ms of event time.
    pub off_delay: Millis,
    /// Least number of bad readings before the alarm is raised; 1 unless the rule asks for confirmation.
    pub confirmations: u16,
    /// A new extreme is told only when it is worse by more than this than the last one told.
    pub step: f64,
    /// Readings further apart than this, ms, show nothing of the time between them; [`Millis::MAX`] where they do.
    pub longest_gap: Millis,
}

impl Limits {
    /// Levels alone: what is bad is told at once, and what is good again too.
    #[must_use]
    pub const fn plain(side: Side, levels: [Option<f64>; 3]) -> Limits {
        Limits {
            side,
            levels,
            deadband: 0.0,
            on_delay: 0,
            off_delay: 0,
            confirmations: 1,
            step: 0.0,
            longest_gap: Millis::MAX,
        }
    }

    /// How bad the value is: 0 good, 1 for level 3 up to 3 for level 1, given how bad it was before (deadband).
    #[must_use]
    pub fn severity(&self, value: f64, before: u8) -> u8 {
        let badness = self.badness(value);
        let mut severity = 0;
        for (index, limit) in self.levels.iter().enumerate() {
            let Some(limit) = limit.map(|l| self.badness(l)) else { continue };
            let this = 3 - index as u8;
            if badness >= limit || (this <= before && badness > limit - self.deadband) {
                severity = severity.max(this);
            }
        }
        severity
    }

    /// What must be remembered of a reading's time.
    fn remembered(&self, at: Millis) -> Option<Millis> {
        (self.longest_gap < Millis::MAX).then_some(at)
    }

    /// The value with its sign turned so that more is worse.
    fn badness(&self, value: f64) -> f64 {
        match self.side {
            Side::High => value,
            Side::Low => -value,
        }
    }
}

/// Where an episode stands: what a transition tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// Time of the first bad reading; names the episode.
    pub onset: Millis,
    /// When the on-delay had passed.
    pub raised_at: Millis,
    /// When the off-delay had passed.
    pub cleared_at: Option<Millis>,
    /// Value at the onset.
    pub first_value: f64,
    /// Value at the step.
    pub current_value: f64,
    /// The worst value.
    pub peak_value: f64,
    /// When that was.
    pub peak_at: Millis,
    /// Level: 1, 2 or 3.
    pub level: u8,
    /// The gravest level reached.
    pub peak_level: u8,
}

/// One step of an episode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// What happened.
    pub transition: Transition,
    /// Time of the reading that decided it.
    pub decided_at: Millis,
    /// The episode after it.
    pub episode: Episode,
}

impl Step {
    /// When it happened, in event time: the end of the delay for raised and cleared, else the deciding reading.
    #[must_use]
    pub fn at(&self) -> Millis {
        match self.transition {
            Transition::Raised => self.episode.raised_at,
            Transition::Cleared => self.episode.cleared_at.unwrap_or(self.decided_at),
            _ => self.decided_at,
        }
    }
}

/// An episode under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Running {
    severity: u8,
    bad_readings: u16,
    raised: bool,
    good_since: Option<Millis>,
    episode: Episode,
    /// The episode as it was at its last step.
    told: Episode,
    /// The last reading, where the limits set a longest gap; written beside the rest, see [`Written`].
    #[serde(skip)]
    last: Option<Millis>,
}

/// State of the fold: nothing while all is well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fold(Option<Box<Running>>);

impl Fold {
    /// Whether nothing is pending and nothing stands.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.0.is_none()
    }

    /// The onset of what is pending or stands.
    #[must_use]
    pub fn onset(&self) -> Option<Millis> {
        self.0.as_ref().map(|running| running.episode.onset)
    }

    /// The standing episode as it was at its last step.
    #[must_use]
    pub fn told(&self) -> Option<Episode> {
        self.0.as_ref().filter(|running| running.raised).map(|running| running.told)
    }

    /// Ends what is pending or stands, for a reason that no value shows; what stood is cleared at `at`.
    pub fn end(&mut self, at: Millis) -> Option<Step> {
        let running = self.0.take().filter(|running| running.raised)?;
        let episode = Episode { cleared_at: Some(at), ..running.episode };
        Some(Step { transition: Transition::Cleared, decided_at: at, episode })
    }

    /// A time up to which the last reading is known to have come.
    #[must_use]
    pub fn last(&self) -> Option<Millis> {
        let known = |running: &Running| running.good_since.unwrap_or(running.episode.peak_at);
        self.0.as_ref().map(|running| running.last.unwrap_or_else(|| known(running)))
    }

    /// Takes the next usable reading; `at` must be after every reading before.
    pub fn step(&mut self, limits: &Limits, at: Millis, value: f64) -> Option<Step> {
        self.pass(limits, at);
        let before = self.0.as_ref().map_or(0, |running| running.severity);
        let severity = limits.severity(value, before);
        let Some(running) = &mut self.0 else {
            if severity > 0 {
                self.0 = Some(Box::new(Running::new(limits, at, value, severity)));
                return self.0.as_mut().and_then(|running| running.raise(limits, at));
            }
            return None;
        };
        running.severity = severity;
        if severity > 0 {
            let level = running.episode.level;
            running.take(limits, at, value);
            return if running.raised {
                running.follow(limits, at, level)
            } else {
                running.raise(limits, at)
            };
        }
        if !running.raised {
            self.0 = None;
            return None;
        }
        running.last = limits.remembered(at);
        let since = *running.good_since.get_or_insert(at);
        if at - since < limits.off_delay {
            return None;
        }
        let cleared_at = Some(since + limits.off_delay);
        let episode = Episode { cleared_at, current_value: value, ..running.episode };
        self.0 = None;
        Some(Step { transition: Transition::Cleared, decided_at: at, episode })
    }

    /// Lets the time pass until the next reading: after a gap nothing is pending, and the good begins again.
    fn pass(&mut self, limits: &Limits, at: Millis) {
        let gap = |last: Millis| at.saturating_sub(last) > limits.longest_gap;
        let Some(running) = self.0.as_mut().filter(|running| running.last.is_some_and(gap)) else { return };
        running.good_since = None;
        if !running.raised {
            self.0 = None;
        }
    }
}

impl Running {
    fn new(limits: &Limits, at: Millis, value: f64, severity: u8) -> Running {
        let level = 4 - severity;
        let episode = Episode {
            onset: at,
            raised_at: at,
            cleared_at: None,
            first_value: value,
            current_value: value,
            peak_value: value,
            peak_at: at,
            level,
            peak_level: level,
        };
        let last = limits.remembered(at);
        Running { severity, bad_readings: 1, raised: false, good_since: None, episode, told: episode, last }
    }

    /// Takes another bad reading.
    fn take(&mut self, limits: &Limits, at: Millis, value: f64) {
        self.bad_readings = self.bad_readings.saturating_add(1);
        self.good_since = None;
        self.last = limits.remembered(at);
        let episode = &mut self.episode;
        episode.current_value = value;
        episode.level = 4 - self.severity;
        episode.peak_level = episode.peak_level.min(episode.level);
        if limits.badness(value) > limits.badness(episode.peak_value) {
            episode.peak_value = value;
            episode.peak_at = at;
        }
    }

    fn raise(&mut self, limits: &Limits, at: Millis) -> Option<Step> {
        if at - self.episode.onset < limits.on_delay || self.bad_readings < limits.confirmations {
            return None;
        }
        self.raised = true;
        // With confirmations the delay may pass before the last of them: the later of both raised it.
        self.episode.raised_at =
            if limits.confirmations > 1 { at } else { self.episode.onset + limits.on_delay };
        Some(self.tell(Transition::Raised, at))
    }

    fn follow(&mut self, limits: &Limits, at: Millis, level: u8) -> Option<Step> {
        let worse = limits.badness(self.episode.peak_value) - limits.badness(self.told.peak_value);
        let transition = match self.episode.level.cmp(&level) {
            std::cmp::Ordering::Less => Transition::Escalated,
            std::cmp::Ordering::Greater => Transition::Deescalated,
            std::cmp::Ordering::Equal if worse > limits.step => Transition::Updated,
            std::cmp::Ordering::Equal => return None,
        };
        Some(self.tell(transition, at))
    }

    fn tell(&mut self, transition: Transition, at: Millis) -> Step {
        self.told = self.episode;
        Step { transition, decided_at: at, episode: self.episode }
    }
}

/// How a fold is written. A fold without a longest gap is written as one of the time before there were any; what is
/// added is told by its tag.
#[derive(Serialize, Deserialize)]
enum Written<R> {
    Idle,
    Ungapped(R),
    Gapped(R, Millis),
}

impl Serialize for Fold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self.0.as_deref() {
            None => Written::Idle,
            Some(running) => match running.last {
                None => Written::Ungapped(running),
                Some(last) => Written::Gapped(running, last),
            },
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fold, D::Error> {
        Ok(Fold(match Written::<Box<Running>>::deserialize(deserializer)? {
            Written::Idle => None,
            Written::Ungapped(running) => Some(running),
            Written::Gapped(running, last) => Some(Box::new(Running { last: Some(last), ..*running })),
        }))
    }
}
