//! What is known of a station after an hour, and how it comes to be known.
//!
//! Enters: the hours up to one, judged, and which of them are no evidence. Leaves: the signature to judge the next hour
//! by. Guarantees: a pure function of them, the registry and what was known before.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    EnergySignature, OVER, Shares, UNDER,
    diagnosis::{Diagnosis, Learnt},
    hours::{DAY_HOURS, Hour, Past, Verdict},
    learn::{Evidence, Fit, Habit, stable_since},
    signature::{Design, Signature},
};
use crate::{
    alarm::journal::Cause,
    model::{Case, Excluded, Lesson, number},
};

/// Hours of a short history, in which fits are made more often.
const SHORT: i32 = 96;
/// Judged hours shown with an alarm.
const SHOWN: usize = 6;

/// What is known of a station after an hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Known {
    #[serde(with = "by_place")]
    pub(super) learnt: Option<Learnt>,
    pub(super) habit: Habit,
    /// The first hour with heat, that of the last fit, and the one from which on hours are evidence.
    pub(super) begun: Option<i32>,
    pub(super) fitted: Option<i32>,
    pub(super) since: i32,
    /// Off by plan.
    pub(super) idle: bool,
    /// The last judged hours, in % of what was expected.
    pub(super) shown: Shares,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            learnt: None,
            habit: [1.0; 24],
            begun: None,
            fitted: None,
            since: i32::MIN,
            idle: false,
            shown: SmallVec::new(),
        }
    }
}

impl Known {
    /// Learns from the last hour of a lesson. Fits anew when it is time, and opens what has locked itself.
    pub(super) fn learn(&mut self, lesson: Lesson<'_, EnergySignature>) -> SmallVec<[(usize, Cause); 2]> {
        let Lesson { case, diagnosis, excluded, fits } = lesson;
        let mut ended = SmallVec::new();
        let Some(hour) = case.hours.last() else { return ended };
        self.note(hour, diagnosis);
        if hour.heat_kw.is_nan() {
            return ended;
        }
        let now = hour.number;
        self.begun.get_or_insert(now);
        let opened = self.opens(&case);
        if opened.is_none() && !self.due(now, &case.ground.design) {
            return ended;
        }
        let Some(fit) = fits.at(now, || self.fitted_anew(&case, opened, excluded)) else { return ended };
        self.fitted = Some(now);
        let Some((smoothing_hours, signature, habit)) = fit else { return ended };
        let version = self.learnt.map_or(1, |learnt| learnt.version + 1);
        self.learnt = Some(Learnt { version, smoothing_hours, signature });
        self.habit = habit;
        if let Some(since) = opened {
            self.since = since;
            excluded.clear();
            ended.extend([UNDER, OVER].map(|rule| (rule, Cause::NewSignature)));
        }
        ended
    }

    fn note(&mut self, hour: &Hour, diagnosis: &Diagnosis) {
        let verdict = hour.verdict;
        match verdict {
            Verdict::Idle => self.idle = true,
            Verdict::Unmeasured | Verdict::Unjudged => {}
            Verdict::Supplied | Verdict::Low | Verdict::Off | Verdict::SetBack => self.idle = false,
        }
        let judged = matches!(verdict, Verdict::Supplied | Verdict::Low | Verdict::Off);
        if let Some(ratio) = diagnosis.ratio.filter(|_| judged) {
            if self.shown.len() == SHOWN {
                self.shown.remove(0);
            }
            self.shown.push((hour.number, ((ratio * 1000.0).round() / 10.0) as f32));
        }
    }

    /// What the hours show; `None` when there are too few to try.
    fn fitted_anew(
        &self,
        case: &Case<'_, EnergySignature>,
        opened: Option<i32>,
        excluded: &Excluded,
    ) -> Option<Fit> {
        let (past, design, settings) = (Past(case.hours), &case.ground.design, &case.ground.settings);
        let evidence = match opened {
            Some(since) => Evidence::of(past, since, |_| false, design, settings),
            None => Evidence::of(past, self.since, |hour| excluded.holds(hour), design, settings),
        };
        (evidence.len() >= settings.least_hours).then(|| evidence.fit(&self.habit))
    }

    /// Whether it is time for a fit: as soon as there is enough, every six hours while the history is short or shows
    /// nothing, then once a day at an hour that differs between stations.
    fn due(&self, now: i32, design: &Design) -> bool {
        let short = self.begun.is_none_or(|begun| now - begun < SHORT);
        match self.fitted {
            None => short || now % 6 == 0,
            Some(fitted) if short || self.learnt.is_none() => now - fitted >= 6,
            Some(fitted) => {
                let own = design.facility.bytes().fold(0, |sum, byte| sum * 31 % DAY_HOURS + i32::from(byte));
                let age = now - fitted;
                age >= 36 || (age >= 12 && (now.rem_euclid(DAY_HOURS) + own) % DAY_HOURS == 0)
            }
        }
    }

    /// Since when the hours show another relation, when an alarm has lasted so long over a stable one that this one is
    /// the station's own. Looked at once a day.
    fn opens(&self, case: &Case<'_, EnergySignature>) -> Option<i32> {
        let (past, settings, learnt) = (Past(case.hours), &case.ground.settings, self.learnt?);
        let lasts = |rule: usize, least: i32| {
            let onset = case.folds[rule].told().map(|episode| number(episode.onset) - 1);
            let beyond = onset.map(|onset| past.last() - onset - least);
            beyond.is_some_and(|beyond| beyond >= 0 && beyond % DAY_HOURS == 0)
        };
        if !lasts(UNDER, settings.lasting_under_hours) && !lasts(OVER, settings.lasting_over_hours) {
            return None;
        }
        stable_since(past, (learnt.smoothing_hours, &learnt.signature), &self.habit)
    }
}

/// What was learnt: its form for people has names, which do not belong into saved state.
pub(super) mod by_place {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Learnt, Signature};

    type Parts = Option<(u32, u8, Signature)>;

    pub(in super::super) fn serialize<S: Serializer>(
        learnt: &Option<Learnt>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let parts: Parts = learnt.map(|learnt| (learnt.version, learnt.smoothing_hours, learnt.signature));
        parts.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Learnt>, D::Error> {
        let parts = Parts::deserialize(deserializer)?;
        Ok(parts.map(|(version, smoothing_hours, signature)| Learnt { version, smoothing_hours, signature }))
    }
}
