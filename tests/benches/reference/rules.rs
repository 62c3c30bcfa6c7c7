//! The tests, windows and checksum of the reference job; `peers/Rules.java` does exactly this.

use schemas::Millis;
use serde::{Deserialize, Serialize};

pub const METRICS: usize = 6;
pub const RANGE: u32 = 1;
pub const SPIKE: u32 = 2;
pub const RATE: u32 = 4;
pub const FLAT: u32 = 8;

/// What is demanded of a metric.
pub struct Rule {
    /// Its code in the catalogue.
    pub metric: &'static str,
    least: f64,
    most: f64,
    /// How far the value before may lie from the middle of its neighbours.
    pub spike_above: f64,
    rate_per_second: f64,
    /// Equal values in a row that count as stuck.
    stuck: u32,
}

pub const RULES: [Rule; METRICS] = [
    rule("supply_temp", (0.0, 130.0), 15.0, 0.5, 12),
    rule("return_temp", (0.0, 100.0), 15.0, 0.5, 12),
    rule("flow", (0.0, 500.0), 60.0, 2.0, 12),
    rule("heat_power", (-10.0, 2000.0), 250.0, 8.0, 12),
    rule("heat_total", (0.0, 1e9), 1e9, 100.0, u32::MAX),
    rule("supply_pressure", (0.0, 25.0), 3.0, 0.1, 12),
];

const fn rule(
    metric: &'static str,
    (least, most): (f64, f64),
    spike_above: f64,
    rate_per_second: f64,
    stuck: u32,
) -> Rule {
    Rule { metric, least, most, spike_above, rate_per_second, stuck }
}

/// What the tests need of one metric of a facility.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Series {
    at: Millis,
    before: [f64; 2],
    in_a_row: u32,
    /// How many values are known, at most two.
    known: u32,
}

impl Series {
    /// When the last value was measured.
    pub fn at(&self) -> Millis {
        self.at
    }

    /// Tests a value against those before it, which it then joins; gives the tests that it fails.
    #[inline]
    pub fn check(&mut self, rule: &Rule, at: Millis, value: f64) -> u32 {
        if !(rule.least..=rule.most).contains(&value) {
            return RANGE;
        }
        let [one, two] = self.before;
        let mut failed = 0;
        if self.known == 0 {
            self.in_a_row = 1;
        } else {
            let passed = at - self.at;
            if passed <= 0 {
                return 0; // Out of order: there is nothing to compare with.
            }
            if self.known == 2 && (one - (two + value) / 2.0).abs() > rule.spike_above {
                failed |= SPIKE;
            }
            if (value - one).abs() * 1000.0 > rule.rate_per_second * passed as f64 {
                failed |= RATE;
            }
            self.in_a_row = if value == one { self.in_a_row + 1 } else { 1 };
            if self.in_a_row >= rule.stuck {
                failed |= FLAT;
            }
        }
        self.before = [value, one];
        self.at = at;
        self.known = (self.known + 1).min(2);
        failed
    }
}

/// What a window says of one metric.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    sum: f64,
    least: f64,
    most: f64,
    good: u32,
    flagged: u32,
}

/// What a window says of every metric. A single value is its own least and greatest, so that a window with one report
/// takes half of the memory's lines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tallies {
    /// Values that passed, and values with a mark.
    counts: [(u32, u32); METRICS],
    /// The value where there is one, else the sum.
    sums: [f64; METRICS],
    /// The least and the greatest, where there are two values and more.
    spans: [(f64, f64); METRICS],
}

impl Tallies {
    pub const NONE: Tallies =
        Tallies { counts: [(0, 0); METRICS], sums: [0.0; METRICS], spans: [(0.0, 0.0); METRICS] };

    /// Forgets everything.
    #[inline]
    pub fn clear(&mut self) {
        self.counts = [(0, 0); METRICS];
    }

    /// Reads a little of what a window with one report has.
    #[inline]
    pub fn touch(&self) -> i64 {
        i64::from(self.counts[0].0)
            ^ i64::from(self.counts[METRICS - 1].0)
            ^ self.sums[METRICS - 1].to_bits() as i64
    }

    #[inline]
    pub fn add(&mut self, metric: usize, value: f64, failed: u32) {
        let (good, flagged) = &mut self.counts[metric];
        *flagged += u32::from(failed != 0);
        if failed & (RANGE | RATE | FLAT) != 0 {
            return;
        }
        let (sum, span) = (&mut self.sums[metric], &mut self.spans[metric]);
        *good += 1;
        match *good {
            1 => *sum = value,
            2 => {
                *span = (sum.min(value), sum.max(value));
                *sum = 0.0 + *sum + value;
            }
            _ => {
                *span = (span.0.min(value), span.1.max(value));
                *sum += value;
            }
        }
    }

    /// What it says of one metric, if something was measured.
    #[inline]
    pub fn of(&self, metric: usize) -> Option<Tally> {
        let ((good, flagged), sum) = (self.counts[metric], self.sums[metric]);
        let (sum, (least, most)) = match good {
            0 if flagged == 0 => return None,
            0 => (0.0, (f64::INFINITY, f64::NEG_INFINITY)),
            1 => (0.0 + sum, (sum, sum)),
            _ => (sum, self.spans[metric]),
        };
        Some(Tally { sum, least, most, good, flagged })
    }
}

/// A finished window of one facility and metric.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub hash: u64,
    pub metric: u32,
    pub start: Millis,
    pub tally: Tally,
}

impl Row {
    #[inline]
    pub fn checksum(&self) -> u64 {
        let Tally { sum, least, most, good, flagged } = self.tally;
        let counts = u64::from(good) | u64::from(flagged) << 32;
        let parts =
            [self.metric.into(), self.start as u64, counts, sum.to_bits(), least.to_bits(), most.to_bits()];
        let mix = |hash: u64, part: u64| (hash.rotate_left(5) ^ part).wrapping_mul(0x517c_c1b7_2722_0a95);
        let mixed = parts.into_iter().fold(self.hash, mix);
        mixed ^ mixed >> 32
    }
}

/// FNV-1a of a facility's code.
pub fn hash(code: &str) -> u64 {
    schemas::fnv::fnv_64(code.bytes())
}
