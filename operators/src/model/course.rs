//! The judgement of one station hour by hour: what is learnt, which episodes stand, what is no evidence.
//!
//! Enters: hours in the order of their time. Leaves: per hour a diagnosis and the steps of episodes. Guarantees: a pure
//! fold over the hours and the registry, so a course that is repeated from an earlier state over the same hours ends
//! in the same state. An hour is judged by what was learnt before it.

use schemas::{Millis, time::HOUR};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    diagnosis::{Diagnosis, Reason, SupplySettings, SupplyState},
    energy_signature::Design,
    hours::{DAY_HOURS, Hour, Past, Stops, Verdict, number},
    learn::{Evidence, Fit, Habit, OFF, SET_BACK_BY_HABIT, of_hour, stable_since},
    saved,
    supply::{OVER, RULES, Rules, UNDER},
};
use crate::alarm::{
    episode::{Fold, Step},
    monitor::Cause,
};

/// Mean outdoor temperature of 24 h at and above which a station may be off by plan: heating is due where the daily
/// mean is lower (GB 50736), °C.
const MILD: f64 = 5.0;
/// A station that is off by plan is expected again when it is colder than that by so much, °C.
const MILD_BAND: f64 = 3.0;
/// A station that gives so many times what its signature asks for on the coldest day has outgrown the signature.
const OUTGROWN: f64 = 3.0;
/// Less than this share of what is expected is called stopped.
const STOPPED: f64 = 0.05;
/// Hours of a short history, in which fits are made more often.
const SHORT: i32 = 96;
/// Judged hours shown with an alarm.
const SHOWN: usize = 6;

/// What was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Learnt {
    /// Number of the fit of this station, from 1.
    pub version: u32,
    /// Hours over which the outdoor temperature is smoothed.
    pub smoothing_hours: u8,
    /// The signature.
    #[serde(flatten)]
    pub signature: super::energy_signature::Signature,
}

/// Where the judgement of a station stands after an hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Course {
    #[serde(with = "saved::learnt")]
    pub(super) learnt: Option<Learnt>,
    pub(super) habit: Habit,
    /// The first hour with heat, that of the last fit, and the one from which on hours are evidence.
    pub(super) begun: Option<i32>,
    pub(super) fitted: Option<i32>,
    since: i32,
    /// Hours under an alarm, from and until, by number: not learnt from.
    pub(super) excluded: Vec<(i32, i32)>,
    /// Off by plan.
    idle: bool,
    /// The last judged hours, in % of what was expected.
    shown: SmallVec<[(i32, f32); SHOWN]>,
    pub(super) folds: [Fold; RULES],
}

/// What a course is judged by beside its hours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) settings: &'a SupplySettings,
    pub(super) rules: &'a Rules,
    pub(super) design: &'a Design,
    /// Whether heating is due in the hour.
    pub(super) heating: bool,
}

/// What comes of an hour.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) number: i32,
    pub(super) end: Millis,
    pub(super) diagnosis: Diagnosis,
    /// Rule, step and its cause, where no value shows it.
    pub(super) steps: SmallVec<[(usize, Step, Option<Cause>); 1]>,
    /// Nights without heat, where they were looked at.
    pub(super) stops: Option<Stops>,
    /// The last judged hours, in % of what was expected; only with steps.
    pub(super) shown: SmallVec<[(i32, f32); SHOWN]>,
}

/// What an hour says to a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Say {
    Nothing,
    Value(f64),
    /// Whatever stands has ended, for this reason.
    End(Cause),
}

/// An hour as it is judged.
struct Judged {
    diagnosis: Diagnosis,
    verdict: Verdict,
    says: [Say; RULES],
    stops: Option<Stops>,
}

impl Default for Course {
    fn default() -> Course {
        Course {
            learnt: None,
            habit: [1.0; 24],
            begun: None,
            fitted: None,
            since: i32::MIN,
            excluded: Vec::new(),
            idle: false,
            shown: SmallVec::new(),
            folds: Default::default(),
        }
    }
}

impl Course {
    /// Judges the last of `hours`, then learns. What was fitted at its end before is taken from `fits`, else fitted and
    /// put there.
    pub(super) fn step(&mut self, hours: &mut [Hour], fits: &mut Vec<Fit>, terms: &Terms<'_>) -> Outcome {
        let judged = self.judge(Past(hours), terms);
        let mut outcome = Outcome {
            number: Past(hours).last(),
            end: judged.diagnosis.hour + HOUR,
            diagnosis: judged.diagnosis,
            steps: SmallVec::new(),
            stops: judged.stops,
            shown: SmallVec::new(),
        };
        let Some(hour) = hours.last_mut() else { return outcome };
        hour.verdict = judged.verdict;
        let measured = !hour.heat_kw.is_nan();
        self.note(judged.verdict, &outcome);
        for (rule, say) in judged.says.into_iter().enumerate() {
            let fold = &mut self.folds[rule];
            let step = match say {
                Say::Nothing => None,
                Say::Value(value) => {
                    fold.step(&terms.rules[rule].limits, outcome.end, value).map(|step| (step, None))
                }
                Say::End(cause) => fold.end(outcome.end).map(|step| (step, Some(cause))),
            };
            outcome.steps.extend(step.map(|(step, cause)| (rule, step, cause)));
        }
        self.exclude_alarms(outcome.number, terms.settings);
        if measured {
            self.begun.get_or_insert(outcome.number);
            self.learn(Past(hours), fits, terms, &mut outcome);
        }
        if !outcome.steps.is_empty() {
            outcome.shown = self.shown.clone();
        }
        outcome
    }

    fn judge(&self, past: Past<'_>, terms: &Terms<'_>) -> Judged {
        let mut judged = self.unjudged(past, terms);
        let Judged { diagnosis, verdict, says, stops } = &mut judged;
        let Some(hour) = past.0.last() else { return judged };
        if !terms.heating {
            diagnosis.conclude(SupplyState::Idle, Some(Reason::OutOfSeason));
            (*verdict, *says) = (Verdict::Idle, [Say::End(Cause::Season); RULES]);
            return judged;
        }
        let (Some(Learnt { signature, .. }), Some(outdoor)) = (self.learnt, diagnosis.outdoor_temp) else {
            let reason = if self.learnt.is_none() { Reason::NotLearnt } else { Reason::NoWeather };
            diagnosis.conclude(SupplyState::Unknown, Some(reason));
            return judged;
        };
        let habit = of_hour(&self.habit, hour.number);
        let expected = signature.expected_kw(outdoor) * habit;
        (diagnosis.expected_kw, diagnosis.habit) = (Some(expected), Some(habit));
        let Some(actual) = diagnosis.actual_kw else { return judged };

        // What the mildest hour that is judged asks for: less than a share of it is off, however warm it is.
        let least = signature.balance_temp - terms.settings.least_degrees;
        let off = actual < OFF * signature.expected_kw(outdoor.min(least));
        let mean = past.outdoor(hour.number, DAY_HOURS as u8);
        let mild = if self.idle { MILD - MILD_BAND } else { MILD };
        if off && mean.is_some_and(|mean| mean >= mild) {
            diagnosis.conclude(SupplyState::Idle, Some(Reason::MildWeather));
            (*verdict, *says) = (Verdict::Idle, [Say::End(Cause::MildWeather); RULES]);
            return judged;
        }
        if outdoor > least || expected <= 0.0 || (habit < SET_BACK_BY_HABIT && !off) {
            let warm = outdoor > least;
            let reason = if warm { Reason::Warm } else { Reason::SetBackByHabit };
            diagnosis.conclude(SupplyState::Unknown, Some(reason));
            if mean.is_some_and(|mean| mean > least) {
                says[UNDER] = Say::End(Cause::MildWeather);
            }
            return judged;
        }
        let ratio = actual / expected;
        diagnosis.ratio = Some(ratio);
        let apart = (actual - expected).abs() >= terms.settings.significance * signature.sigma_kw;
        if actual > OUTGROWN * signature.expected_kw(terms.design.outdoor_temp) {
            diagnosis.conclude(SupplyState::Unknown, Some(Reason::Outgrown));
            return judged;
        }
        if !(0.75..=1.3).contains(&ratio) && !apart {
            diagnosis.conclude(SupplyState::Unknown, Some(Reason::Insignificant));
            return judged;
        }
        if ratio < 0.75 && past.lowered() {
            diagnosis.conclude(SupplyState::SetBack, None);
            *verdict = Verdict::SetBack;
            return judged;
        }
        *verdict = match ratio {
            _ if off => Verdict::Off,
            _ if ratio >= 0.5 => Verdict::Supplied,
            _ => Verdict::Low,
        };
        *stops = (off || !self.folds[super::supply::INTERMITTENT].idle()).then(|| past.stops(*verdict));
        let intermittent = self.intermittent(stops.as_ref(), says);
        let state = match ratio {
            _ if off && intermittent => SupplyState::Intermittent,
            _ if (0.75..=1.3).contains(&ratio) => SupplyState::Normal,
            _ if ratio < STOPPED => SupplyState::Stopped,
            _ if ratio < 0.75 => SupplyState::Under,
            _ => SupplyState::Over,
        };
        diagnosis.conclude(state, None);
        if state != SupplyState::Intermittent {
            let percent = Say::Value((ratio * 1000.0).round() / 10.0);
            (says[UNDER], says[OVER]) = (percent, percent);
        }
        judged
    }

    /// Whether the heat stops day after day; says so to the rule.
    fn intermittent(&self, stops: Option<&Stops>, says: &mut [Say; RULES]) -> bool {
        const RULE: usize = super::supply::INTERMITTENT;
        let Some(stops) = stops else { return false };
        match stops.recurrent() {
            Some(hours) => {
                says[RULE] = Say::Value(f64::from(hours));
                hours > 0
            }
            None => self.folds[RULE].told().is_some(),
        }
    }

    fn unjudged(&self, past: Past<'_>, terms: &Terms<'_>) -> Judged {
        let smoothing = self.learnt.map_or(1, |learnt| learnt.smoothing_hours);
        let hour = past.0.last();
        let heat = hour.and_then(|hour| hour.heat());
        let diagnosis = Diagnosis {
            facility: terms.design.facility.clone(),
            hour: hour.map_or(0, Hour::start),
            state: SupplyState::Unknown,
            reason: Some(Reason::Unmeasured),
            expected_kw: None,
            actual_kw: heat,
            ratio: None,
            outdoor_temp: past.outdoor(past.last(), smoothing),
            habit: None,
            method: terms.settings.version,
            learnt: self.learnt,
        };
        let verdict = if heat.is_some() { Verdict::Unjudged } else { Verdict::Unmeasured };
        Judged { diagnosis, verdict, says: [Say::Nothing; RULES], stops: None }
    }

    fn note(&mut self, verdict: Verdict, outcome: &Outcome) {
        match verdict {
            Verdict::Idle => self.idle = true,
            Verdict::Unmeasured | Verdict::Unjudged => {}
            Verdict::Supplied | Verdict::Low | Verdict::Off | Verdict::SetBack => self.idle = false,
        }
        let judged = matches!(verdict, Verdict::Supplied | Verdict::Low | Verdict::Off);
        if let Some(ratio) = outcome.diagnosis.ratio.filter(|_| judged) {
            if self.shown.len() == SHOWN {
                self.shown.remove(0);
            }
            self.shown.push((outcome.number, ((ratio * 1000.0).round() / 10.0) as f32));
        }
    }

    /// Keeps the hours of what stands from being learnt, from its onset on.
    fn exclude_alarms(&mut self, now: i32, settings: &SupplySettings) {
        for fold in [&self.folds[UNDER], &self.folds[OVER]] {
            let Some(episode) = fold.told() else { continue };
            let (mut from, mut until) = (number(episode.onset) - 1, now + 1);
            self.excluded.retain(|(a, b)| {
                let apart = *b < from || *a > until;
                if !apart {
                    (from, until) = (from.min(*a), until.max(*b));
                }
                apart
            });
            self.excluded.push((from, until));
        }
        self.excluded.retain(|(_, until)| *until > now - settings.most_hours as i32);
    }

    /// Fits anew when it is time, and opens what has locked itself.
    fn learn(&mut self, past: Past<'_>, fits: &mut Vec<Fit>, terms: &Terms<'_>, outcome: &mut Outcome) {
        let now = past.last();
        let opened = self.opens(past, terms.settings);
        if opened.is_none() && !self.due(now, terms.design) {
            return;
        }
        let known = fits.iter().find(|fit| fit.number == now);
        let learnt = match known {
            Some(fit) => fit.learnt,
            None => {
                let Some(learnt) = self.fitted_anew(past, opened, terms) else { return };
                fits.push(Fit { number: now, learnt });
                learnt
            }
        };
        self.fitted = Some(now);
        let Some((smoothing_hours, signature, habit)) = learnt else { return };
        let version = self.learnt.map_or(1, |learnt| learnt.version + 1);
        self.learnt = Some(Learnt { version, smoothing_hours, signature });
        self.habit = habit;
        if let Some(since) = opened {
            self.since = since;
            self.excluded.clear();
            for rule in [UNDER, OVER] {
                let step = self.folds[rule].end(outcome.end);
                outcome.steps.extend(step.map(|step| (rule, step, Some(Cause::NewSignature))));
            }
        }
    }

    /// What the hours show; `None` when there are too few to try.
    #[allow(clippy::option_option)]
    fn fitted_anew(
        &self,
        past: Past<'_>,
        opened: Option<i32>,
        terms: &Terms<'_>,
    ) -> Option<Option<(u8, super::energy_signature::Signature, Habit)>> {
        let (design, settings) = (terms.design, terms.settings);
        let under_alarm =
            |hour: i32| self.excluded.iter().any(|(from, until)| (*from..*until).contains(&hour));
        let evidence = match opened {
            Some(since) => Evidence::of(past, since, |_| false, design, settings),
            None => Evidence::of(past, self.since, under_alarm, design, settings),
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
    fn opens(&self, past: Past<'_>, settings: &SupplySettings) -> Option<i32> {
        let learnt = self.learnt?;
        let lasts = |rule: usize, least: usize| {
            let onset = self.folds[rule].told().map(|episode| number(episode.onset) - 1);
            let beyond = onset.map(|onset| past.last() - onset - least as i32);
            beyond.is_some_and(|beyond| beyond >= 0 && beyond % DAY_HOURS == 0)
        };
        if !lasts(UNDER, settings.lasting_under_hours) && !lasts(OVER, settings.lasting_over_hours) {
            return None;
        }
        stable_since(past, (learnt.smoothing_hours, &learnt.signature), &self.habit)
    }
}
