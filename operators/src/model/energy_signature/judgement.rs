//! What an hour of a station comes to: its heat against what the signature asks for.
//!
//! Enters: the hours up to one, and what was learnt before it. Leaves: a diagnosis, a verdict to remember, and what it
//! says to the rules. Guarantees: a pure function of them.

use smallvec::SmallVec;

use super::{
    EnergySignature, INTERMITTENT, METHOD, OVER, UNDER,
    diagnosis::{Diagnosis, Learnt, Reason, SupplyState},
    hours::{DAY_HOURS, Hour, Past, Stops, Verdict},
    known::Known,
    learn::{OFF, SET_BACK_BY_HABIT, of_hour},
};
use crate::{
    alarm::journal::Cause,
    model::{Case, Judged, Say},
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
/// How many rules there are.
const RULES: usize = 3;

/// An hour as it is judged.
struct Judgement {
    diagnosis: Diagnosis,
    verdict: Verdict,
    says: [Say; RULES],
}

impl Known {
    /// Judges the last hour of a case.
    pub(super) fn judge(&self, case: &Case<'_, EnergySignature>) -> Judged<EnergySignature> {
        let Judgement { diagnosis, verdict, says } = self.judgement(case);
        let hour = case.hours.last().map_or_else(Hour::default, |hour| Hour { verdict, ..*hour });
        Judged { diagnosis, hour, says: SmallVec::from(says) }
    }

    fn judgement(&self, case: &Case<'_, EnergySignature>) -> Judgement {
        let (past, settings) = (Past(case.hours), &case.ground.settings);
        let mut judged = self.unjudged(case);
        let Judgement { diagnosis, verdict, says } = &mut judged;
        let Some(hour) = past.0.last() else { return judged };
        if !case.heating {
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
        let least = signature.balance_temp - settings.least_degrees;
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
        let apart = (actual - expected).abs() >= settings.significance * signature.sigma_kw;
        if actual > OUTGROWN * signature.expected_kw(case.ground.design.outdoor_temp) {
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
        let stops = (off || !case.folds[INTERMITTENT].idle()).then(|| past.stops(*verdict));
        diagnosis.stops = stops;
        let intermittent = intermittent(stops.as_ref(), case, says);
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

    fn unjudged(&self, case: &Case<'_, EnergySignature>) -> Judgement {
        let past = Past(case.hours);
        let smoothing = self.learnt.map_or(1, |learnt| learnt.smoothing_hours);
        let hour = past.0.last();
        let heat = hour.and_then(|hour| hour.heat());
        let diagnosis = Diagnosis {
            facility: case.ground.design.facility.clone(),
            hour: hour.map_or(0, Hour::start),
            state: SupplyState::Unknown,
            reason: Some(Reason::Unmeasured),
            expected_kw: None,
            actual_kw: heat,
            ratio: None,
            outdoor_temp: past.outdoor(past.last(), smoothing),
            habit: None,
            method: METHOD,
            learnt: self.learnt,
            stops: None,
        };
        let verdict = if heat.is_some() { Verdict::Unjudged } else { Verdict::Unmeasured };
        Judgement { diagnosis, verdict, says: [Say::Nothing; RULES] }
    }
}

/// Whether the heat stops day after day; says so to the rule.
fn intermittent(stops: Option<&Stops>, case: &Case<'_, EnergySignature>, says: &mut [Say; RULES]) -> bool {
    let Some(stops) = stops else { return false };
    match stops.recurrent() {
        Some(hours) => {
            says[INTERMITTENT] = Say::Value(f64::from(hours));
            hours > 0
        }
        None => case.folds[INTERMITTENT].told().is_some(),
    }
}
