//! The remembered hours of one station, and what can be said of them without a signature.
//!
//! Enters: closed hours. Leaves: smoothed outdoor temperatures, nights without heat, lowered set points.
//! Guarantees: whatever is asked of an hour depends on that hour and those before it, in the order of their time.

use schemas::{Millis, time::HOUR};
use serde::{Deserialize, Serialize};

use crate::{
    model::{Remembered, number},
    window::{ClosedHour, Component},
};

/// Hours of a day.
pub(super) const DAY_HOURS: i32 = 24;
/// Days that the heat must have stopped on for the stops to be recurrent, and hours in each.
pub(super) const RECURRENT: (usize, u8) = (3, 3);
/// Least number of hours of a day that must be measured before it counts as one without a stop.
const MEASURED_OF_DAY: u8 = 21;
/// A set point is lowered when it is this much below the highest of the day before, 0.1 °C.
const LOWERED: u16 = 40;

/// What an hour was judged to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// No heat was measured.
    #[default]
    Unmeasured,
    /// Measured, but not judged.
    Unjudged,
    /// At least half of what was expected.
    Supplied,
    /// Less than that, but not off.
    Low,
    /// Off, though the weather asks for heat.
    Off,
    /// Off by plan.
    Idle,
    /// Less by a lowered set point.
    SetBack,
}

/// One remembered hour, 20 bytes. Absent values are NaN.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Hour {
    /// Hours since 1970.
    pub(super) number: i32,
    pub(super) heat_kw: f32,
    pub(super) outdoor_temp: f32,
    /// Set point of the secondary supply temperature, 0.1 °C; 0 when unknown.
    pub(super) setpoint: u16,
    pub(super) verdict: Verdict,
}

impl Hour {
    /// The hour as far as it was measured: its heat where at least this share of it was.
    pub(super) fn of(closed: &ClosedHour, least_coverage: f64) -> Hour {
        let ClosedHour { hour, facts, setpoint, .. } = closed;
        // Joules by milliseconds are kW; thousandths of °C·s by milliseconds are °C.
        let mean = |sum, time| match facts.get(time) {
            0 => None,
            time => Some(facts.get(sum) as f64 / time as f64),
        };
        let coverage = facts.get(Component::HeatTime) as f64 / HOUR as f64;
        let heat = mean(Component::Heat, Component::HeatTime).filter(|_| coverage >= least_coverage);
        let outdoor = mean(Component::Outdoor, Component::OutdoorTime);
        Hour {
            number: number(*hour),
            heat_kw: heat.map_or(f32::NAN, |kw| kw as f32),
            outdoor_temp: outdoor.map_or(f32::NAN, |temp| temp as f32),
            setpoint: setpoint.map_or(0, |temp| (temp * 10.0).round() as u16),
            verdict: Verdict::Unmeasured,
        }
    }

    /// Start of the hour.
    pub(super) fn start(&self) -> Millis {
        Millis::from(self.number) * HOUR
    }

    pub(super) fn heat(&self) -> Option<f64> {
        (!self.heat_kw.is_nan()).then_some(f64::from(self.heat_kw))
    }
}

impl Remembered for Hour {
    fn number(&self) -> i32 {
        self.number
    }

    fn same(&self, other: &Hour) -> bool {
        let bits =
            |hour: &Hour| (hour.number, hour.heat_kw.to_bits(), hour.outdoor_temp.to_bits(), hour.setpoint);
        bits(self) == bits(other)
    }
}

/// The outdoor temperatures that the mean of an hour was made of, oldest first; absent ones are NaN.
pub(super) fn outdoor_temps(hours: &[Hour], hour: Millis, smoothing: u8) -> Vec<(i32, f32)> {
    let window = Past(hours).window(number(hour), smoothing);
    let mut temps: Vec<_> = window.map(|hour| (hour.number, hour.outdoor_temp)).collect();
    temps.reverse();
    temps
}

/// The hours up to one, by number; the last is the one that is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past<'a>(pub(super) &'a [Hour]);

impl<'a> Past<'a> {
    /// The number of the last hour.
    pub(super) fn last(self) -> i32 {
        self.0.last().map_or(i32::MIN, |hour| hour.number)
    }

    /// The hours from a number on.
    pub(super) fn since(self, number: i32) -> &'a [Hour] {
        &self.0[self.0.partition_point(|hour| hour.number < number)..]
    }

    /// Mean outdoor temperature over the hours up to `number`; `None` when fewer than half of them, or not this one or
    /// the one before, are known.
    pub(super) fn outdoor(self, number: i32, smoothing: u8) -> Option<f64> {
        let window = || self.window(number, smoothing).filter(|hour| !hour.outdoor_temp.is_nan());
        let first = self.0.iter().find(|hour| !hour.outdoor_temp.is_nan())?.number;
        // At the beginning of the history the window is as long as the history.
        let possible = i32::from(smoothing).min(number - first + 1);
        let count = window().count();
        let recent = window().next().is_some_and(|hour| hour.number >= number - 1);
        (recent && 2 * count >= possible as usize)
            .then(|| window().map(|hour| f64::from(hour.outdoor_temp)).sum::<f64>() / count as f64)
    }

    /// The hours that smoothing looks at, newest first.
    pub(super) fn window(self, number: i32, smoothing: u8) -> impl Iterator<Item = &'a Hour> + Clone {
        let end = self.0.partition_point(|hour| hour.number <= number);
        self.0[..end].iter().rev().take_while(move |hour| hour.number > number - i32::from(smoothing))
    }

    /// Whether the set point of the last hour is lowered against the day before.
    pub(super) fn lowered(self) -> bool {
        let Some((now, _)) = self.0.split_last().filter(|(now, _)| now.setpoint > 0) else { return false };
        let day = self.window(now.number - 1, DAY_HOURS as u8);
        day.map(|hour| hour.setpoint).max().is_some_and(|usual| usual >= now.setpoint + LOWERED)
    }

    /// What the last days were like, when `now` is the verdict on the last hour.
    pub(super) fn stops(self, now: Verdict) -> Stops {
        let last = self.last();
        let mut stops = Stops::default();
        for hour in self.since(last - DAY_HOURS * RECURRENT.0 as i32 + 1) {
            let verdict = if hour.number == last { now } else { hour.verdict };
            let day = ((last - hour.number) / DAY_HOURS) as usize;
            stops.off[day] += u8::from(verdict == Verdict::Off);
            stops.supplied[day] += u8::from(verdict == Verdict::Supplied);
            stops.measured[day] += u8::from(verdict != Verdict::Unmeasured);
        }
        stops
    }
}

/// Hours of the last days, today first, in which the heat was off, supplied and measured at all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stops {
    pub(super) off: [u8; RECURRENT.0],
    supplied: [u8; RECURRENT.0],
    measured: [u8; RECURRENT.0],
}

impl Stops {
    /// Hours of the last day in which the heat was off, when it stops day after day; 0 when it does not; `None` when
    /// too little was measured to tell.
    pub(super) fn recurrent(&self) -> Option<u8> {
        let mut told = true;
        for day in 0..RECURRENT.0 {
            if self.off[day] >= RECURRENT.1 && self.supplied[day] >= RECURRENT.1 {
                continue;
            }
            if self.measured[day] >= MEASURED_OF_DAY {
                return Some(0);
            }
            told = false;
        }
        told.then_some(self.off[0])
    }
}
