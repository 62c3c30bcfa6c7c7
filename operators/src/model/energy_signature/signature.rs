//! The energy signature of a station: heat against outdoor temperature, a base load and a slope below a balance point.
//!
//! Enters: hours (outdoor temperature, mean heat power) and what the registry says of the design. Leaves: a
//! [`Signature`]. Guarantees: a pure function of its input; up to a quarter of the hours may be wrong in any way
//! without turning the result.
//!
//! Method: the three-parameter change-point model of ASHRAE Guideline 14 (inverse modelling toolkit, RP-1050), the
//! energy signature of Hammarsten (Applied Energy 26, 1987). Per candidate balance point the line is fitted by
//! least absolute deviations (iteratively reweighted) and polished with Tukey's bisquare (Huber and Ronchetti, Robust
//! Statistics); the candidate with the least mean deviation wins. Where the weather has shown little yet, a few
//! pseudo-hours on the line through the standard room temperature keep the slope physical.

use schemas::Code;
use serde::{Deserialize, Serialize};

/// Parameters, with the version that is written with every diagnosis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignatureSettings {
    /// Candidates for the balance point, °C.
    pub balance: (f64, f64),
    /// Weight of the pseudo-hours, in hours.
    pub prior_hours: f64,
    /// Weight of the design load in the scale of the pseudo-hours, in hours.
    pub design_hours: usize,
}

/// What the registry says of a station's design.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Design {
    /// Facility code.
    pub facility: Code,
    /// Design heat load, kW.
    pub load_kw: Option<f64>,
    /// What heating is told from idling by, kW at the design temperature: the load, else the capacity, else what the
    /// heated area asks for; unknown when the registry says nothing.
    pub size_kw: Option<f64>,
    /// Outdoor temperature that the design load is for, °C.
    pub outdoor_temp: f64,
    /// Standard room temperature, °C.
    pub standard_temp: f64,
}

/// One hour to learn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Outdoor temperature, smoothed, °C.
    pub outdoor_temp: f64,
    /// Mean heat power, kW.
    pub heat_kw: f64,
}

/// A fitted signature: heat = base + slope · max(0, balance − outdoor).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// Heat that does not depend on the weather, kW.
    pub base_kw: f64,
    /// Heat per degree below the balance point, kW/°C; never negative.
    pub slope_kw_per_degree: f64,
    /// Outdoor temperature above which no heating is needed, °C.
    pub balance_temp: f64,
    /// Robust standard deviation of the hours about the line, kW.
    pub sigma_kw: f64,
    /// Mean absolute deviation, kW: what candidates are compared by.
    pub deviation_kw: f64,
    /// Hours learnt from.
    pub hours: u32,
}

impl Signature {
    /// Expected heat power at an outdoor temperature, kW.
    #[must_use]
    pub fn expected_kw(&self, outdoor_temp: f64) -> f64 {
        self.base_kw + self.slope_kw_per_degree * (self.balance_temp - outdoor_temp).max(0.0)
    }

    /// Fits the signature; `None` when the hours show no heating to speak of.
    #[must_use]
    pub fn fit(settings: &SignatureSettings, design: &Design, samples: &[Sample]) -> Option<Signature> {
        let prior = pseudo_hours(settings, design, samples)?;
        let mut best: Option<(f64, Signature)> = None;
        let mut balance = settings.balance.0;
        while balance <= settings.balance.1 {
            if let Some(fitted) = fit_at(balance, samples, &prior) {
                // Nearly equal candidates: the one nearer to the standard room temperature.
                let score = fitted.deviation_kw * (1.0 + 0.005 * (balance - design.standard_temp).abs());
                if best.is_none_or(|(least, _)| score < least) {
                    best = Some((score, fitted));
                }
            }
            balance += 1.0;
        }
        best.map(|(_, fitted)| fitted)
    }
}

/// A point of the regression.
#[derive(Clone, Copy, Debug)]
struct Weighted {
    sample: Sample,
    weight: f64,
}

/// Hours that never were, on the line from the standard room temperature through the middle of the real ones.
fn pseudo_hours(settings: &SignatureSettings, design: &Design, samples: &[Sample]) -> Option<Vec<Weighted>> {
    const POINTS: u8 = 6;
    let below = |temp: f64| design.standard_temp - temp;
    let mut scales: Vec<f64> = samples
        .iter()
        .filter(|s| below(s.outdoor_temp) >= 3.0)
        .map(|s| s.heat_kw / below(s.outdoor_temp))
        .collect();
    if let Some(load) = design.load_kw.filter(|_| below(design.outdoor_temp) > 3.0) {
        let of_design = load / below(design.outdoor_temp);
        scales.extend(std::iter::repeat_n(of_design, settings.design_hours));
    }
    let scale = median(&mut scales).filter(|scale| *scale > 0.0)?;
    let weight = settings.prior_hours / f64::from(POINTS);
    let span = below(design.outdoor_temp);
    Some(
        (1..=POINTS)
            .map(|point| {
                let degrees = span * f64::from(point) / f64::from(POINTS);
                let outdoor_temp = design.standard_temp - degrees;
                Weighted { sample: Sample { outdoor_temp, heat_kw: scale * degrees }, weight }
            })
            .collect(),
    )
}

fn fit_at(balance: f64, samples: &[Sample], prior: &[Weighted]) -> Option<Signature> {
    let real = samples.iter().map(|sample| Weighted { sample: *sample, weight: 1.0 });
    let points: Vec<(f64, f64, f64)> = real
        .chain(prior.iter().copied())
        .map(|p| ((balance - p.sample.outdoor_temp).max(0.0), p.sample.heat_kw, p.weight))
        .collect();
    let typical = points.iter().map(|p| p.1.abs()).sum::<f64>() / points.len() as f64;
    let floor = (0.01 * typical).max(1e-6);
    let mut line = regress(&points, |_| 1.0)?;
    for _ in 0..12 {
        line = regress(&points, |(x, y)| 1.0 / (y - line.at(x)).abs().max(floor))?;
    }
    let reach = 4.685 * spread(samples, balance, line).max(2.0 * floor);
    for _ in 0..4 {
        let bisquare = |(x, y): (f64, f64)| {
            let u = ((y - line.at(x)) / reach).abs();
            if u < 1.0 { (1.0 - u * u).powi(2) } else { 0.0 }
        };
        line = regress(&points, bisquare).unwrap_or(line);
    }
    let away = |s: &Sample| (s.heat_kw - line.at((balance - s.outdoor_temp).max(0.0))).abs();
    Some(Signature {
        base_kw: line.base,
        slope_kw_per_degree: line.slope,
        balance_temp: balance,
        sigma_kw: spread(samples, balance, line).max(2.0 * floor),
        deviation_kw: samples.iter().map(away).sum::<f64>() / samples.len().max(1) as f64,
        hours: samples.len() as u32,
    })
}

#[derive(Clone, Copy, Debug)]
struct Line {
    base: f64,
    slope: f64,
}

impl Line {
    fn at(self, x: f64) -> f64 {
        self.base + self.slope * x
    }
}

/// Weighted least squares over (x, y, weight) with base and slope not negative.
fn regress(points: &[(f64, f64, f64)], weight: impl Fn((f64, f64)) -> f64) -> Option<Line> {
    let (mut n, mut sx, mut sy, mut sxx, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y, own) in points {
        let w = own * weight((*x, *y));
        n += w;
        sx += w * x;
        sy += w * y;
        sxx += w * x * x;
        sxy += w * x * y;
    }
    let determinant = n * sxx - sx * sx;
    if n <= 0.0 || sxx <= 0.0 || determinant <= 1e-9 * n * sxx {
        return None;
    }
    let slope = (n * sxy - sx * sy) / determinant;
    let base = (sy - slope * sx) / n;
    if slope < 0.0 {
        Some(Line { base: (sy / n).max(0.0), slope: 0.0 })
    } else if base < 0.0 {
        Some(Line { base: 0.0, slope: (sxy / sxx).max(0.0) })
    } else {
        Some(Line { base, slope })
    }
}

/// Robust standard deviation of the samples about the line (normalised median absolute deviation).
fn spread(samples: &[Sample], balance: f64, line: Line) -> f64 {
    let mut away: Vec<f64> =
        samples.iter().map(|s| (s.heat_kw - line.at((balance - s.outdoor_temp).max(0.0))).abs()).collect();
    1.4826 * median(&mut away).unwrap_or(0.0)
}

/// The middle value; the lower of two.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> SignatureSettings {
        super::super::ground::tests::shipped().signature
    }

    fn design(load_kw: Option<f64>) -> Design {
        Design {
            facility: "ST-1".into(),
            load_kw,
            size_kw: load_kw,
            outdoor_temp: -20.0,
            standard_temp: 18.0,
        }
    }

    /// Hours of a station with 100 kW of base load and 80 kW per degree below 16 °C, with noise of 4 %.
    fn hours(temps: impl Iterator<Item = f64>) -> Vec<Sample> {
        temps
            .enumerate()
            .map(|(n, outdoor_temp)| {
                let noise = 1.0 + 0.04 * ((n as f64 * 12.9898).sin() * 43758.5453).fract();
                Sample { outdoor_temp, heat_kw: (100.0 + 80.0 * (16.0 - outdoor_temp).max(0.0)) * noise }
            })
            .collect()
    }

    fn winter(count: u32) -> impl Iterator<Item = f64> {
        (0..count).map(|n| -6.0 + 14.0 * (f64::from(n) / 90.0).sin() + 4.0 * (f64::from(n) / 3.82).sin())
    }

    #[test]
    fn finds_the_line_from_clean_hours() {
        let fitted = Signature::fit(&settings(), &design(None), &hours(winter(600))).unwrap();
        for temp in [-20.0, -10.0, 0.0, 8.0] {
            let truth = 100.0 + 80.0 * (16.0 - temp);
            let off = fitted.expected_kw(temp) / truth - 1.0;
            assert!(off.abs() < 0.05, "{off} at {temp}: {fitted:?}");
        }
    }

    #[test]
    fn shows_no_signature_where_nothing_is_heated() {
        let idle: Vec<Sample> =
            winter(100).map(|outdoor_temp| Sample { outdoor_temp, heat_kw: 0.0 }).collect();
        assert_eq!(Signature::fit(&settings(), &design(None), &idle), None);
        assert_eq!(Signature::fit(&settings(), &design(None), &[]), None);
    }

    #[test]
    fn a_day_without_spread_still_gives_a_physical_slope() {
        let day = hours((0..24).map(|n| -8.0 + f64::from(n % 5) * 0.2));
        let fitted = Signature::fit(&settings(), &design(Some(3000.0)), &day).unwrap();
        for temp in [-16.0, -8.0, 0.0] {
            let truth = 100.0 + 80.0 * (16.0 - temp);
            let off = fitted.expected_kw(temp) / truth - 1.0;
            assert!(off.abs() < 0.12, "{off} at {temp}: {fitted:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn a_fifth_of_wrong_hours_does_not_turn_it(
            wrong in prop::collection::vec((0usize..400, prop_oneof![Just(0.0), 0.1..0.7f64, 1.5..4.0f64]), 0..80),
        ) {
            let mut samples = hours(winter(400));
            for (index, factor) in wrong {
                samples[index].heat_kw *= factor;
            }
            let fitted = Signature::fit(&settings(), &design(None), &samples).unwrap();
            for temp in [-20.0, -10.0, 0.0] {
                let off = fitted.expected_kw(temp) / (100.0 + 80.0 * (16.0 - temp)) - 1.0;
                prop_assert!(off.abs() < 0.08, "{off} at {temp}: {fitted:?}");
            }
        }
    }
}
