//! What is remembered and learnt of one station.

use schemas::{
    Millis,
    time::{DAY, HOUR},
};
use serde::{Deserialize, Serialize};

use super::{
    diagnosis::{Diagnosis, StationHour, SupplySettings, SupplyState},
    energy_signature::{Design, Sample, Signature, median},
    saved::{self, SavedStation},
};
use crate::alarm::watch::Cause;

/// An hour of the day in which the station habitually supplies less than this share is not judged: it is off by plan.
const OFF_BY_HABIT: f64 = 0.5;
/// Days that the habit is learnt from, and least number of them.
const HABIT_DAYS: (i32, usize) = (14, 5);

/// Hours over which the outdoor temperature may be smoothed.
const SMOOTHINGS: [u8; 5] = [1, 3, 6, 12, 24];

/// One remembered hour, 16 bytes. Absent values are NaN.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Hour {
    /// Hours since 1970.
    number: i32,
    heat_kw: f32,
    outdoor_temp: f32,
    /// Under an alarm: not learnt from.
    excluded: bool,
}

/// What was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Learnt {
    /// Number of the fit of this station, from 1.
    pub version: u32,
    /// Hours over which the outdoor temperature is smoothed.
    pub smoothing_hours: u8,
    /// The signature.
    #[serde(flatten)]
    pub signature: Signature,
}

/// The hours of one station and what was learnt from them.
#[derive(Debug, Serialize)]
pub struct StationState {
    /// Follows from the registry.
    #[serde(skip)]
    design: Design,
    /// By number.
    hours: Vec<Hour>,
    #[serde(serialize_with = "saved::learnt")]
    learnt: Option<Learnt>,
    /// Per hour of the day (UTC), what the station habitually supplies by what the signature says.
    habit: [f32; 24],
    /// Hours put since the last fit.
    fresh: usize,
}

impl StationState {
    /// A station of which nothing is known but its design.
    #[must_use]
    pub fn new(design: Design) -> StationState {
        StationState { design, hours: Vec::new(), learnt: None, habit: [1.0; 24], fresh: 0 }
    }

    /// A station as it was saved.
    #[must_use]
    pub fn resume(saved: SavedStation, design: Design) -> StationState {
        let SavedStation { hours, learnt, habit, fresh } = saved;
        let learnt = learnt.map(|(version, smoothing_hours, signature)| Learnt {
            version,
            smoothing_hours,
            signature,
        });
        StationState { design, hours, learnt, habit, fresh }
    }

    /// Takes what the registry now says of the design; used from the next fit on.
    pub fn redesign(&mut self, design: Design) {
        self.design = design;
    }

    /// How many hours are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hours.len()
    }

    /// Whether no hour is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hours.is_empty()
    }

    /// Remembers an hour; says why its judgement may change what was told.
    pub fn put(&mut self, hour: &StationHour, settings: &SupplySettings) -> Cause {
        let measured = hour.heat_kw.filter(|_| hour.coverage >= settings.least_coverage);
        let mut new = Hour {
            number: number(hour.hour),
            heat_kw: measured.map_or(f32::NAN, |kw| kw as f32),
            outdoor_temp: hour.outdoor_temp.map_or(f32::NAN, |temp| temp as f32),
            excluded: false,
        };
        self.fresh += 1;
        match self.hours.binary_search_by_key(&new.number, |h| h.number) {
            Ok(index) => {
                new.excluded = self.hours[index].excluded;
                self.hours[index] = new;
                Cause::Correction
            }
            Err(index) => {
                self.hours.insert(index, new);
                if self.hours.len() > settings.most_hours {
                    self.hours.remove(0);
                }
                Cause::LateData
            }
        }
    }

    /// Judges an hour by what was learnt before it.
    #[must_use]
    pub fn diagnose(&self, hour: &StationHour, settings: &SupplySettings) -> Diagnosis {
        let smoothing = self.learnt.map_or(1, |learnt| learnt.smoothing_hours);
        let actual_kw = hour.heat_kw.filter(|_| hour.coverage >= settings.least_coverage);
        let outdoor_temp = self.outdoor(number(hour.hour), smoothing);
        let mut diagnosis = Diagnosis {
            facility: hour.facility.clone(),
            hour: hour.hour,
            state: SupplyState::Unknown,
            expected_kw: None,
            actual_kw,
            ratio: None,
            outdoor_temp,
            method: settings.version,
            learnt: self.learnt,
        };
        let (Some(Learnt { signature, .. }), Some(outdoor)) = (self.learnt, outdoor_temp) else {
            return diagnosis;
        };
        let habit = self.habit(number(hour.hour));
        let expected = signature.expected_kw(outdoor) * habit;
        diagnosis.expected_kw = Some(expected);
        let cold = signature.balance_temp - outdoor >= settings.least_degrees;
        let telling = cold && habit >= OFF_BY_HABIT && expected > 0.0;
        let Some(actual) = actual_kw.filter(|_| telling) else { return diagnosis };
        let ratio = actual / expected;
        diagnosis.ratio = Some(ratio);
        diagnosis.state = match ratio {
            _ if (0.75..=1.3).contains(&ratio) => SupplyState::Normal,
            _ if (actual - expected).abs() < settings.significance * signature.sigma_kw => {
                SupplyState::Unknown
            }
            _ if ratio < 0.05 => SupplyState::Stopped,
            _ if ratio < 0.75 => SupplyState::Under,
            _ => SupplyState::Over,
        };
        diagnosis
    }

    /// Keeps hours in [from, to) from being learnt.
    pub fn exclude(&mut self, from: Millis, to: Millis) {
        let (from, to) = (number(from), number(to));
        let start = self.hours.partition_point(|h| h.number < from);
        for hour in self.hours[start..].iter_mut().take_while(|h| h.number < to) {
            hour.excluded = true;
        }
    }

    /// Fits anew when it is time: as soon as there is enough, every six hours while the history is short, then once a
    /// day at an hour that differs between stations.
    pub fn learn(&mut self, hour: Millis, settings: &SupplySettings) {
        let usable = self.hours.iter().filter(|h| h.learnable()).count();
        if usable < settings.least_hours {
            return;
        }
        let due = if self.learnt.is_none() {
            true
        } else if self.hours.len() < 96 {
            self.fresh >= 6
        } else {
            let own = self.design.facility.bytes().fold(0i64, |sum, byte| sum * 31 % 24 + i64::from(byte));
            self.fresh >= 36 || (self.fresh >= 12 && (hour.rem_euclid(DAY) / HOUR + own) % 24 == 0)
        };
        if !due {
            return;
        }
        self.fresh = 0;
        if let Some((smoothing_hours, signature)) = self.fit(settings) {
            let version = self.learnt.map_or(1, |learnt| learnt.version + 1);
            self.learnt = Some(Learnt { version, smoothing_hours, signature });
            self.learn_habit(smoothing_hours, &signature);
        }
    }

    /// The smoothing that explains the heat best about the standard balance point, and the signature with it.
    fn fit(&self, settings: &SupplySettings) -> Option<(u8, Signature)> {
        let mut fixed = settings.signature;
        fixed.balance = (self.design.standard_temp, self.design.standard_temp);
        let mut best: Option<(f64, u8)> = None;
        for smoothing in SMOOTHINGS {
            let samples = self.samples(smoothing);
            let Some(fitted) = Signature::fit(&fixed, &self.design, &samples) else { continue };
            if best.is_none_or(|(least, _)| fitted.deviation_kw < 0.98 * least) {
                best = Some((fitted.deviation_kw, smoothing));
            }
        }
        let (_, smoothing) = best?;
        Some((smoothing, Signature::fit(&settings.signature, &self.design, &self.samples(smoothing))?))
    }

    /// Learns the course of the day: the middle, over the last days, of each hour's share of its day's level. As a day
    /// is measured by itself, a day of under-supply does not turn it; hours under an alarm count too, so that a
    /// station which is off every night stops raising alarms for it.
    fn learn_habit(&mut self, smoothing: u8, signature: &Signature) {
        let Some(last) = self.hours.last().map(|h| h.number) else { return };
        let mut shares: [Vec<f64>; 24] = Default::default();
        for day in 0..HABIT_DAYS.0 {
            let to = last - 24 * day;
            let range = self.hours.partition_point(|h| h.number <= to - 24)
                ..self.hours.partition_point(|h| h.number <= to);
            let ratios: Vec<(i32, f64)> = self.hours[range]
                .iter()
                .filter(|h| !h.heat_kw.is_nan())
                .filter_map(|h| {
                    let expected = signature.expected_kw(self.outdoor(h.number, smoothing)?);
                    (expected > 0.0).then(|| (h.number, f64::from(h.heat_kw) / expected))
                })
                .collect();
            let mut level: Vec<f64> = ratios.iter().map(|(_, ratio)| *ratio).collect();
            level.sort_by(f64::total_cmp);
            let Some(level) = level.get(level.len() * 3 / 4).filter(|level| **level > 0.1) else { continue };
            for (number, ratio) in &ratios {
                shares[number.rem_euclid(24) as usize].push(ratio / level);
            }
        }
        for (own, shares) in self.habit.iter_mut().zip(&mut shares) {
            let enough = shares.len() >= HABIT_DAYS.1;
            *own = median(shares).filter(|_| enough).map_or(1.0, |share| share.min(2.0) as f32);
        }
    }

    fn habit(&self, number: i32) -> f64 {
        f64::from(self.habit[number.rem_euclid(24) as usize])
    }

    fn samples(&self, smoothing: u8) -> Vec<Sample> {
        let learnable = self.hours.iter().filter(|h| h.learnable());
        learnable
            .filter_map(|h| {
                let outdoor_temp = self.outdoor(h.number, smoothing)?;
                let habit = self.habit(h.number);
                (habit >= OFF_BY_HABIT)
                    .then(|| Sample { outdoor_temp, heat_kw: f64::from(h.heat_kw) / habit })
            })
            .collect()
    }

    /// Mean outdoor temperature over the hours up to this one; `None` when fewer than half of them, or not this one
    /// or the one before, are known.
    fn outdoor(&self, number: i32, smoothing: u8) -> Option<f64> {
        let end = self.hours.partition_point(|h| h.number <= number);
        let known = |h: &&Hour| !h.outdoor_temp.is_nan();
        let window = || {
            self.hours[..end]
                .iter()
                .rev()
                .take_while(|h| h.number > number - i32::from(smoothing))
                .filter(known)
        };
        let first = self.hours.first()?.number;
        // At the beginning of the history the window is as long as the history.
        let possible = i32::from(smoothing).min(number - first + 1);
        let count = window().count();
        let recent = window().next().is_some_and(|h| h.number >= number - 1);
        (recent && 2 * count >= possible as usize)
            .then(|| window().map(|h| f64::from(h.outdoor_temp)).sum::<f64>() / count as f64)
    }
}

impl Hour {
    fn learnable(&self) -> bool {
        !self.excluded && !self.heat_kw.is_nan() && !self.outdoor_temp.is_nan()
    }
}

fn number(at: Millis) -> i32 {
    at.div_euclid(HOUR) as i32
}
