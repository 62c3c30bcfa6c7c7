//! The topic of the reference job: 100,000 facilities with six metrics each report once a minute, in a scattered order,
//! one report in a hundred up to 54 s late, with values that spike, stick and leave their range.
//!
//! Enters: how many reports. Leaves: records on four partitions, lz4. Guarantees: the same number of reports gives the
//! same records.

use std::time::{Duration, Instant};

use connectors::publish::ensure_topics;
use schemas::{KafkaSettings, Millis, RawReading, RawValue, Report, avro::Codec};

use super::rules::{METRICS, RULES};
use crate::load::Loader;

pub const FACILITIES: usize = 100_000;
/// 2026-01-01T00:00:00Z.
const START: Millis = 1_767_225_600_000;
const MINUTE: Millis = 60_000;
const HEAT_TOTAL: usize = 4;
const MEAN: [f64; METRICS] = [80.0, 45.0, 120.0, 400.0, 50_000.0, 6.0];
const STEP: [f64; METRICS] = [0.6, 0.5, 2.0, 8.0, 0.0, 0.05];
const ORIGINS: [&str; 3] = ["gateway-north", "gateway-south", "head-end"];

/// Splitmix64.
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// Between 0 and 1.
    fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// One metric of one facility.
#[derive(Clone, Copy)]
struct Sensor {
    value: f64,
    /// Values for which it still sticks.
    stuck: u8,
}

impl Sensor {
    fn next(&mut self, metric: usize, dice: &mut Dice) -> f64 {
        if self.stuck > 0 {
            self.stuck -= 1;
        } else if metric == HEAT_TOTAL {
            self.value += 400.0 / 60.0 * dice.share();
        } else {
            self.value += STEP[metric] * (2.0 * dice.share() - 1.0) + 0.02 * (MEAN[metric] - self.value);
        }
        if dice.below(4000) == 0 {
            self.stuck = 30;
        }
        let fault = dice.bits();
        let shown = match (fault % 2000, fault % 1000) {
            (0, _) => -999.9,
            (_, 1) => self.value + 3.0 * RULES[metric].spike_above.min(1000.0),
            _ => self.value,
        };
        (shown * 100.0).round() / 100.0
    }
}

/// Creates the topics and fills the one of reports.
pub async fn fill(kafka: &KafkaSettings, reports: usize) {
    ensure_topics(kafka).await.unwrap();
    let begun = Instant::now();
    let mut loader = Loader::new(kafka, Duration::from_millis(20));
    let mut dice = Dice(1);
    let mut sensors: Vec<[Sensor; METRICS]> = (0..FACILITIES)
        .map(|_| MEAN.map(|mean| Sensor { value: mean * (0.9 + 0.2 * dice.share()), stuck: 0 }))
        .collect();
    let mut delayed: Vec<Vec<(String, Vec<u8>)>> = vec![Vec::new(); FACILITIES];
    let codec = Codec::single_object();
    for place in 0..reports + FACILITIES {
        let slot = place % FACILITIES;
        std::mem::take(&mut delayed[slot]).iter().for_each(|(key, value)| loader.bytes(key, value));
        if place >= reports {
            continue;
        }
        let number = slot * 7919 % FACILITIES;
        let report = report(place, number, &mut sensors[number], &mut dice);
        let value = codec.encode(&report).unwrap();
        if dice.below(100) == 0 {
            let delay = 1 + dice.below(FACILITIES as u64 * 9 / 10) as usize;
            delayed[(slot + delay) % FACILITIES].push((report.facility.to_string(), value));
        } else {
            loader.bytes(&report.facility, &value);
        }
    }
    let records = loader.flush();
    eprintln!("{records} reports in {:.1} s", begun.elapsed().as_secs_f64());
}

fn report(place: usize, number: usize, sensors: &mut [Sensor; METRICS], dice: &mut Dice) -> Report {
    let observed_at =
        START + place as Millis * MINUTE / FACILITIES as Millis + dice.below(4000) as Millis - 2000;
    let readings = (0..METRICS).map(|metric| RawReading {
        metric: RULES[metric].metric.into(),
        value: RawValue::Number(sensors[metric].next(metric, dice)),
    });
    Report {
        facility: format!("ST{number:06}").into(),
        device: number.is_multiple_of(2).then(|| format!("meter-{:05}", number % 50_000).into()),
        observed_at,
        readings: readings.collect(),
        received_at: observed_at + 500 + dice.below(1500) as Millis,
        origin: ORIGINS[number % 3].into(),
        sequence: (!number.is_multiple_of(5)).then_some((place / FACILITIES) as i64),
    }
}
