//! What is learnt of a station: its signature and the course of its day.
//!
//! Enters: the hours up to one, and which of them are no evidence. Leaves: a fit. Guarantees: a pure function of those
//! hours and of the registry. Hours without heating are no evidence: neither those of an idle season nor stops, which
//! are told by what the registry says of the design and by what the station gives on other days.

use super::{
    ground::SupplySettings,
    hours::{DAY_HOURS, Hour, Past, Verdict},
    signature::{Design, Sample, Signature, median},
};

/// An hour of the day in which the station habitually supplies less than this share is not judged: it is set back by
/// plan.
pub(super) const SET_BACK_BY_HABIT: f64 = 0.5;
/// Less than this share of what is expected is no supply: neither a habit nor evidence.
pub(super) const OFF: f64 = 0.15;
/// Less than this share of the line of the design is no heating.
const IDLE_OF_DESIGN: f64 = 0.05;
/// Less than this share of what the station gives per degree on its better days is no heating.
const IDLE_OF_OWN: f64 = 0.1;
/// Where the registry says nothing of the design, heat and outdoor temperature must be correlated at least so.
const LEAST_CORRELATION: f64 = 0.6;
/// Degrees below the standard room temperature that heat is divided by, at least.
const LEAST_DEGREES: f64 = 3.0;
/// Days that the habit is learnt from, and least number of them.
const HABIT_DAYS: (i32, usize) = (14, 5);
/// Hours over which the outdoor temperature may be smoothed.
const SMOOTHINGS: [u8; 5] = [1, 3, 6, 12, 24];
/// Days over which a new relation must have been stable, and least number of them with enough hours.
const STABLE_DAYS: (i32, usize) = (7, 5);
/// Hours of a day that must be judged for it to count.
const HOURS_OF_STABLE_DAY: usize = 8;
/// How far the days of a stable relation may lie apart, by their middle.
const STABLE: f64 = 0.3;

/// By hour of the day (UTC), what a station habitually supplies by what the signature says.
pub(super) type Habit = [f32; 24];

/// What was learnt at the end of an hour (smoothing, signature and habit); nothing where the hours show no heating.
pub(super) type Fit = Option<(u8, Signature, Habit)>;

/// The hours to learn from, up to the last of `past`.
pub(super) struct Evidence<'a> {
    past: Past<'a>,
    design: &'a Design,
    settings: &'a SupplySettings,
    hours: Vec<&'a Hour>,
}

impl<'a> Evidence<'a> {
    /// The hours since `since` in which the station heated, but for those of which `excluded` holds.
    pub(super) fn of(
        past: Past<'a>,
        since: i32,
        excluded: impl Fn(i32) -> bool,
        design: &'a Design,
        settings: &'a SupplySettings,
    ) -> Evidence<'a> {
        let first = since.max(past.last() - settings.most_hours + 1);
        let mut hours: Vec<&Hour> = past
            .since(first)
            .iter()
            .filter(|hour| !hour.heat_kw.is_nan() && !hour.outdoor_temp.is_nan())
            .filter(|hour| !matches!(hour.verdict, Verdict::Idle | Verdict::SetBack))
            .filter(|hour| !excluded(hour.number) && !idle_of_design(hour, design))
            .collect();
        let floor = IDLE_OF_OWN * better_days(&hours, past.last(), design).unwrap_or(0.0);
        hours.retain(|hour| per_degree(hour, design) > floor);
        Evidence { past, design, settings, hours }
    }

    /// How many hours there are.
    pub(super) fn len(&self) -> usize {
        self.hours.len()
    }

    /// What they show by the habit known before; nothing when they show no heating.
    pub(super) fn fit(&self, habit: &Habit) -> Fit {
        let smoothing = self.smoothing(habit)?;
        let samples = self.samples(habit, smoothing);
        // A station of which the registry knows no size may idle at any power: heating follows the weather.
        if self.design.size_kw.is_none() && correlation(&samples) > -LEAST_CORRELATION {
            return None;
        }
        let signature = Signature::fit(&self.settings.signature, self.design, &samples)?;
        Some((smoothing, signature, self.habit(smoothing, &signature)))
    }

    /// The smoothing that explains the heat best about the standard balance point.
    fn smoothing(&self, habit: &Habit) -> Option<u8> {
        let mut fixed = self.settings.signature;
        fixed.balance = (self.design.standard_temp, self.design.standard_temp);
        let mut best: Option<(f64, u8)> = None;
        for smoothing in SMOOTHINGS {
            let samples = self.samples(habit, smoothing);
            let Some(fitted) = Signature::fit(&fixed, self.design, &samples) else { continue };
            if best.is_none_or(|(least, _)| fitted.deviation_kw < 0.98 * least) {
                best = Some((fitted.deviation_kw, smoothing));
            }
        }
        best.map(|(_, smoothing)| smoothing)
    }

    fn samples(&self, habit: &Habit, smoothing: u8) -> Vec<Sample> {
        let sample = |hour: &&Hour| {
            let outdoor_temp = self.past.outdoor(hour.number, smoothing)?;
            let habit = of_hour(habit, hour.number);
            (habit >= SET_BACK_BY_HABIT)
                .then(|| Sample { outdoor_temp, heat_kw: f64::from(hour.heat_kw) / habit })
        };
        self.hours.iter().filter_map(sample).collect()
    }

    /// Learns the course of the day: the middle, over the last days, of each hour's share of its day's level. As a day
    /// is measured by itself, a day of under-supply does not turn it; hours under an alarm count too, so that a
    /// station which is set back every night stops raising alarms for it. Hours that are off are no habit.
    fn habit(&self, smoothing: u8, signature: &Signature) -> Habit {
        let mut shares: [Vec<f64>; 24] = Default::default();
        let last = self.past.last();
        for day in 0..HABIT_DAYS.0 {
            let to = last - DAY_HOURS * day;
            let hours = self.past.since(to - DAY_HOURS + 1).iter().take_while(|hour| hour.number <= to);
            let ratios: Vec<(i32, f64)> = hours
                .filter(|hour| hour.verdict != Verdict::Idle)
                .filter_map(|hour| {
                    let expected = signature.expected_kw(self.past.outdoor(hour.number, smoothing)?);
                    (expected > 0.0).then_some((hour.number, hour.heat()? / expected))
                })
                .collect();
            let mut level: Vec<f64> = ratios.iter().map(|(_, ratio)| *ratio).collect();
            level.sort_by(f64::total_cmp);
            let Some(level) = level.get(level.len() * 3 / 4).filter(|level| **level > 0.1) else { continue };
            for (number, ratio) in ratios.iter().filter(|(_, ratio)| *ratio >= OFF * level) {
                shares[number.rem_euclid(DAY_HOURS) as usize].push(ratio / level);
            }
        }
        shares.map(|mut shares| {
            let enough = shares.len() >= HABIT_DAYS.1;
            median(&mut shares).filter(|_| enough).map_or(1.0, |share| share.min(2.0) as f32)
        })
    }
}

/// The habit at an hour.
pub(super) fn of_hour(habit: &Habit, number: i32) -> f64 {
    f64::from(habit[number.rem_euclid(DAY_HOURS) as usize])
}

/// The first hour of a relation that is other than the signature and has been stable for days, if it has.
pub(super) fn stable_since(
    past: Past<'_>,
    (smoothing, signature): (u8, &Signature),
    habit: &Habit,
) -> Option<i32> {
    let since = past.last() - STABLE_DAYS.0 * DAY_HOURS + 1;
    let mut days: Vec<f64> = Vec::new();
    for day in
        past.since(since).chunk_by(|a, b| (a.number - since) / DAY_HOURS == (b.number - since) / DAY_HOURS)
    {
        let judged = day.iter().filter(|hour| matches!(hour.verdict, Verdict::Supplied | Verdict::Low));
        let ratio = |hour: &Hour| {
            let outdoor = past.outdoor(hour.number, smoothing)?;
            Some(hour.heat()? / (signature.expected_kw(outdoor) * of_hour(habit, hour.number)))
        };
        let mut ratios: Vec<f64> = judged.filter_map(ratio).collect();
        if ratios.len() >= HOURS_OF_STABLE_DAY {
            days.extend(median(&mut ratios));
        }
    }
    let middle = median(&mut days)?;
    let (least, most) = days.iter().fold((middle, middle), |(a, b), day| (a.min(*day), b.max(*day)));
    let stable = days.len() >= STABLE_DAYS.1 && middle >= OFF && most - least <= STABLE * middle;
    stable.then_some(since)
}

fn per_degree(hour: &Hour, design: &Design) -> f64 {
    let degrees = (design.standard_temp - f64::from(hour.outdoor_temp)).max(LEAST_DEGREES);
    f64::from(hour.heat_kw) / degrees
}

fn idle_of_design(hour: &Hour, design: &Design) -> bool {
    let span = (design.standard_temp - design.outdoor_temp).max(LEAST_DEGREES);
    design.size_kw.is_some_and(|size| per_degree(hour, design) < IDLE_OF_DESIGN * size / span)
}

/// What the station gives per degree on the second best day, by the days' middles; on the best when there are few.
fn better_days(hours: &[&Hour], last: i32, design: &Design) -> Option<f64> {
    let day = |hour: &&Hour| (last - hour.number) / DAY_HOURS;
    let mut days: Vec<f64> = hours
        .chunk_by(|a, b| day(a) == day(b))
        .filter_map(|day| median(&mut day.iter().map(|hour| per_degree(hour, design)).collect::<Vec<_>>()))
        .collect();
    days.sort_by(f64::total_cmp);
    let place = days.len().checked_sub(if days.len() > 3 { 2 } else { 1 })?;
    days.get(place).copied()
}

/// Pearson's correlation of heat and outdoor temperature; 0 where one of them does not vary.
fn correlation(samples: &[Sample]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (temp, heat) = (mean(|sample| sample.outdoor_temp), mean(|sample| sample.heat_kw));
    let sums = samples.iter().fold((0.0, 0.0, 0.0), |(tt, hh, th), sample| {
        let (t, h) = (sample.outdoor_temp - temp, sample.heat_kw - heat);
        (tt + t * t, hh + h * h, th + t * h)
    });
    if sums.0 <= 0.0 || sums.1 <= 1e-9 * heat * heat * count {
        0.0
    } else {
        sums.2 / (sums.0 * sums.1).sqrt()
    }
}
