//! The weather of a winter: season, day and fronts.
//!
//! Outdoor temperature is a seasonal mean, a daily swing with its minimum at six in the morning, and fronts: a
//! first-order autoregressive process of 6-hour steps, joined smoothly. A pure function of seed and time.

use schemas::{
    Millis,
    time::{DAY, HOUR},
};

use super::random::Dice;

/// China Standard Time ahead of UTC.
pub(super) const LOCAL: Millis = 8 * HOUR;

const FRONT_STEP: Millis = 6 * HOUR;
/// Share of a front that is still there six hours later, and how strong fronts are, °C.
const FRONT_MEMORY: f64 = 0.9;
const FRONT_SPREAD: f64 = 4.0;

/// The hour of the local day, 0 to 24.
pub(super) fn local_hour(at: Millis) -> f64 {
    (at + LOCAL).rem_euclid(DAY) as f64 / HOUR as f64
}

/// The weather over one span of time.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    dice: Dice,
    first: Millis,
    fronts: Vec<f64>,
}

/// The weather of one minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sky {
    /// Outdoor temperature, °C.
    pub(super) temperature: f64,
    /// Relative humidity, %.
    pub(super) humidity: f64,
    /// Wind, m/s.
    pub(super) wind: f64,
    /// Sun on a level surface, W/m².
    pub(super) irradiance: f64,
    /// Fine dust, µg/m³.
    pub(super) dust: f64,
}

impl Weather {
    /// The weather from `from` until `until`.
    pub(super) fn new(seed: u64, from: Millis, until: Millis) -> Self {
        let dice = Dice::new(seed).stream(0x77ea_7e12);
        let first = from.div_euclid(FRONT_STEP) - 1;
        let steps = until.div_euclid(FRONT_STEP) + 3 - first;
        let mut front = FRONT_SPREAD * dice.bell(first as u64);
        let kick = FRONT_SPREAD * (1.0 - FRONT_MEMORY * FRONT_MEMORY).sqrt();
        let fronts = (0..steps)
            .map(|step| {
                front = FRONT_MEMORY * front + kick * dice.bell((first + step) as u64);
                front
            })
            .collect();
        Weather { dice, first: first * FRONT_STEP, fronts }
    }

    fn front(&self, at: Millis) -> f64 {
        let place = (at - self.first).max(0);
        let last = self.fronts.len() - 1;
        let node = ((place / FRONT_STEP) as usize).min(last);
        let share = (place % FRONT_STEP) as f64 / FRONT_STEP as f64;
        let blend = (1.0 - (std::f64::consts::PI * share).cos()) / 2.0;
        self.fronts[node] * (1.0 - blend) + self.fronts[(node + 1).min(last)] * blend
    }

    /// The weather at a moment.
    pub(super) fn sky(&self, at: Millis) -> Sky {
        let hour = local_hour(at);
        let day = (at + LOCAL) as f64 / DAY as f64;
        let year = (day - 15.0) / 365.2425 * std::f64::consts::TAU;
        let season = 4.5 - 18.5 * year.cos();
        let swing = -4.0 * ((hour - 6.0) / 24.0 * std::f64::consts::TAU).cos();
        let hours = at as f64 / HOUR as f64;
        let front = self.front(at);
        let clouds = 0.5 + 0.5 * self.dice.stream(1).wander(hours / 5.0);
        let half_day = 6.0 - 1.4 * year.cos();
        let sun = (((hour - 12.0) / half_day) * std::f64::consts::FRAC_PI_2).clamp(-1.571, 1.571).cos();
        Sky {
            temperature: season + swing + front + 0.3 * self.dice.stream(2).wander(hours * 2.0),
            humidity: (60.0 - 2.0 * swing + 12.0 * self.dice.stream(3).wander(hours / 4.0)).clamp(15.0, 98.0),
            wind: 3.0 + 2.5 * self.dice.stream(4).wander(hours),
            irradiance: ((420.0 - 280.0 * year.cos()) * sun * (1.0 - 0.7 * clouds)).max(0.0),
            dust: 60.0 + 40.0 * self.dice.stream(5).wander(hours / 8.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::time::MINUTE;

    #[test]
    fn january_is_cold_smooth_and_swings_by_day() {
        let start: Millis = 1_736_438_400_000; // 2025-01-10 00:00 in Changchun
        let weather = Weather::new(1, start, start + 20 * DAY);
        let minutes: Vec<Sky> = (0..20 * 1440).map(|m| weather.sky(start + m * MINUTE)).collect();
        let mean = minutes.iter().map(|s| s.temperature).sum::<f64>() / minutes.len() as f64;
        assert!((-22.0..=-6.0).contains(&mean), "{mean}");
        for pair in minutes.windows(2) {
            assert!((pair[1].temperature - pair[0].temperature).abs() < 0.1);
        }
        let at_hour =
            |hour: usize| (0..20).map(|d| minutes[d * 1440 + hour * 60].temperature).sum::<f64>() / 20.0;
        assert!(at_hour(15) > at_hour(6) + 5.0);
        assert!(minutes.iter().any(|s| s.irradiance > 30.0));
        assert!((0..20).all(|d| minutes[d * 1440].irradiance < 1.0));
    }
}
