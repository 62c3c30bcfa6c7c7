//! The tests of one metric, prepared from the catalogue, and those that need nothing but the reading itself.

use schemas::{Catalogue, Metric, MetricKind, Millis, QualityTest, Sentinel, Zero, time};

use super::mark::{Gravity, Mark};
use crate::{capacity::RiseLimit, flow::Observed};

/// How far an observation may lie ahead of its arrival before its clock counts as fast.
pub const CLOCK_TOLERANCE: Millis = time::MINUTE;
/// How long a reading may take to arrive when the registry does not say (`arrives_within`).
pub const ARRIVES_WITHIN: Millis = 15 * time::MINUTE;

/// The limits of one metric.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Least and greatest physically possible value, in the unit.
    pub range: (f64, f64),
    /// Only 0 and 1 are possible.
    pub state: bool,
    /// Zero may say that nothing was measured: a quantity, and no state or position.
    pub quantity: bool,
    /// What exactly zero says.
    pub zero: Option<Zero>,
    /// Values that may stand for nothing, where readings are compared.
    pub sentinels: Box<[f64]>,
    /// Counts up until it is reset.
    pub counter: bool,
    /// How far a counter of an object can rise, or another quantity change, of which the registry says nothing.
    pub rise: RiseLimit,
    /// 10 to the number of decimals, for packing values.
    pub scale: f64,
    /// Suspect beyond this distance from both neighbours, failed beyond twice of it.
    pub spike: Option<f64>,
    /// When an unchanged value is doubtful.
    pub flat: Option<Flat>,
}

/// When an unchanged value is doubtful.
#[derive(Clone, Copy, Debug)]
pub struct Flat {
    /// Values whose range stays below this are unchanged, in the unit.
    pub tolerance: f64,
    /// Unchanged for this long is suspect, ms.
    pub suspect: Millis,
    /// Unchanged for this long fails, ms.
    pub fail: Millis,
    /// Values nearer to zero than this may stand still, in the unit.
    pub above: f64,
    /// A silence longer than this says nothing about what happened in it, ms.
    pub longest_gap: Millis,
}

impl Rule {
    /// The rule of every metric of the catalogue, by number.
    #[must_use]
    pub fn all(catalogue: &Catalogue) -> Vec<Rule> {
        catalogue.iter().map(|(_, metric)| Rule::of(metric)).collect()
    }

    /// The rule of one metric.
    #[must_use]
    pub fn of(metric: &Metric) -> Rule {
        let duration = |seconds: Option<u32>| seconds.map_or(Millis::MAX, |s| Millis::from(s) * time::SECOND);
        let (suspect, fail) = (duration(metric.flat_suspect), duration(metric.flat_fail));
        let least = suspect.min(fail);
        let flat = metric.flat_tolerance.filter(|_| least < Millis::MAX);
        Rule {
            range: (metric.min, metric.max),
            state: metric.kind == MetricKind::State,
            quantity: matches!(metric.kind, MetricKind::Gauge | MetricKind::Counter),
            zero: metric.zero,
            sentinels: Sentinel::values_of(metric).into(),
            counter: is_counter(metric),
            rise: rise_limit(metric, None),
            scale: 10f64.powi(i32::from(metric.decimals)),
            spike: metric.spike,
            flat: flat.map(|tolerance| Flat {
                tolerance,
                suspect,
                fail,
                above: metric.flat_above.unwrap_or(0.0),
                longest_gap: least / 2,
            }),
        }
    }

    /// Whether a value is one that may stand for nothing.
    #[inline]
    #[must_use]
    pub fn is_sentinel(&self, value: f64) -> bool {
        self.sentinels.contains(&value)
    }

    /// Whether any test compares a reading with its neighbours.
    #[must_use]
    pub fn compares(&self) -> bool {
        self.counter || self.spike.is_some() || self.rise.per_minute.is_finite() || self.flat.is_some()
    }

    /// Normativity and range of one reading, and whether it is one; `blank` is what [`is_blank`] says of its report.
    ///
    /// A value that had to be normalised is noted and used: unifying forms is what the platform is for (C 1.4). A
    /// value outside the catalogue's range, or a state that is neither 0 nor 1, fails; one outside the range of its
    /// device is suspect, like the user span of `ioos_qc`'s gross range test.
    #[must_use]
    pub fn own(&self, reading: &Observed, device: Option<(f64, f64)>, blank: bool) -> Mark {
        let outside = |(least, greatest): (f64, f64)| reading.value < least || reading.value > greatest;
        let mut mark = Mark::CLEAN;
        if !reading.normal {
            mark = mark.with(QualityTest::Normativity, Gravity::Noted);
        }
        if blank && self.quantity || self.zero == Some(Zero::Never) && reading.value == 0.0 {
            mark = mark.union(Mark::NO_MEASUREMENT);
        }
        if outside(self.range) || self.state && reading.value != 0.0 && reading.value != 1.0 {
            mark = mark.with(QualityTest::Range, Gravity::Fail);
        } else if device.is_some_and(outside) {
            mark = mark.with(QualityTest::Range, Gravity::Suspect);
        }
        mark
    }
}

/// A report with fewer quantities may well have only zeros.
const LEAST_OF_BLANK: usize = 3;

/// Whether a report says nothing but zero, as a gateway does for a device that it does not reach: at least three quantities,
/// all exactly zero, and one among them that is not zero beside the others. The zeros of a station that rests are none
/// of these: its water is warm. This needs no history, so that it does not depend on what else has arrived.
#[must_use]
pub fn is_blank(readings: &[Observed], rules: &[Rule]) -> bool {
    let (mut quantities, mut told) = (0, false);
    for reading in readings {
        let rule = &rules[usize::from(reading.metric.0)];
        if rule.quantity {
            if reading.value != 0.0 {
                return false;
            }
            quantities += 1;
            told |= rule.zero.is_some();
        }
    }
    told && quantities >= LEAST_OF_BLANK
}

/// How far a metric can move at what resolution its values have, where that is not one of its last decimal.
///
/// Both ends of a change are rounded, or flicker by a digit, so that two steps are always possible, however short the time.
/// A counter's limit is the catalogue's: what it counts is limited by what the object can carry.
#[must_use]
pub fn rise_limit(metric: &Metric, resolution: Option<f64>) -> RiseLimit {
    if is_counter(metric) {
        return RiseLimit::of_catalogue(metric);
    }
    let resolution = resolution.filter(|step| step.is_finite() && *step > 0.0);
    let step = resolution.unwrap_or_else(|| 10f64.powi(-i32::from(metric.decimals)));
    RiseLimit { per_minute: metric.max_rate.unwrap_or(f64::INFINITY), step: 2.0 * step }
}

/// Whether a metric counts up until it is reset.
#[must_use]
pub fn is_counter(metric: &Metric) -> bool {
    metric.kind == MetricKind::Counter
}

/// What a report's times say about all of its readings.
///
/// Late arrival is noted and no more: a late reading is as true as a punctual one, and KPIs are revised with it. A
/// clock that runs ahead puts the value at the wrong time, so its readings are suspect.
#[must_use]
pub fn arrival(observed_at: Millis, received_at: Millis, within: Millis) -> Mark {
    let age = received_at.saturating_sub(observed_at);
    if age > within {
        Mark::CLEAN.with(QualityTest::Timeliness, Gravity::Noted)
    } else if age < -CLOCK_TOLERANCE {
        Mark::CLEAN.with(QualityTest::ClockAhead, Gravity::Suspect)
    } else {
        Mark::CLEAN
    }
}

#[cfg(test)]
mod tests {
    use schemas::Flag;

    use super::*;

    fn rule(code: &str) -> Rule {
        let catalogue = Catalogue::in_force();
        Rule::of(catalogue.metric(catalogue.id(code).unwrap()))
    }

    #[rstest::rstest]
    #[case::inside("secondary_supply_temp", 45.2, None, Flag::Good)]
    #[case::at_the_limit("secondary_supply_temp", 110.0, None, Flag::Good)]
    #[case::beyond("secondary_supply_temp", 110.1, None, Flag::Fail)]
    #[case::sentinel("secondary_supply_temp", -39.9, None, Flag::Fail)]
    #[case::device("secondary_supply_temp", 80.1, Some((20.0, 80.0)), Flag::Suspect)]
    #[case::device_limit("secondary_supply_temp", 80.0, Some((20.0, 80.0)), Flag::Good)]
    #[case::device_wider("secondary_supply_temp", 120.0, Some((0.0, 200.0)), Flag::Fail)]
    #[case::state("running", 1.0, None, Flag::Good)]
    #[case::half_state("running", 0.5, None, Flag::Fail)]
    #[case::place("latitude", 90.5, None, Flag::Fail)]
    fn ranges(
        #[case] code: &str,
        #[case] value: f64,
        #[case] device: Option<(f64, f64)>,
        #[case] want: Flag,
    ) {
        let reading = Observed { metric: Catalogue::in_force().id(code).unwrap(), value, normal: true };
        let mark = rule(code).own(&reading, device, false);
        assert_eq!(mark.flag(), want);
        assert_eq!(mark.failed().contains(QualityTest::Range), want != Flag::Good);
    }

    #[rstest::rstest]
    #[case::water("secondary_supply_temp", Flag::Fail)]
    #[case::meter_of_a_household("return_temp", Flag::Fail)]
    #[case::burst_pipe("secondary_supply_pressure", Flag::Good)]
    #[case::lost_phase("voltage", Flag::Good)]
    #[case::cold_room("room_temp", Flag::Good)]
    #[case::weather("outdoor_temp", Flag::Good)]
    #[case::rest("primary_flow", Flag::Good)]
    #[case::new_meter("heat_total", Flag::Good)]
    #[case::no_fix("latitude", Flag::Fail)]
    #[case::no_fix_either("longitude", Flag::Fail)]
    fn zeros(#[case] code: &str, #[case] want: Flag) {
        for value in [0.0, -0.0] {
            let reading = Observed { metric: Catalogue::in_force().id(code).unwrap(), value, normal: true };
            let mark = rule(code).own(&reading, Some((f64::NEG_INFINITY, f64::INFINITY)), false);
            assert_eq!((mark.flag(), mark.impossible()), (want, want == Flag::Fail));
        }
    }

    #[rstest::rstest]
    #[case::all("voltage=0 current=0 active_power=0", true)]
    #[case::states_say_nothing("running=1 voltage=0 current=0 active_power=0 latitude=43", true)]
    #[case::counter_too("supply_pressure=0 heat_total=0 heat_power=0", true)]
    #[case::too_few("voltage=0 current=0", false)]
    #[case::one_is_not("voltage=0 current=0 active_power=0 energy_total=2", false)]
    #[case::a_device_that_rests("current=0 active_power=0 compressor_frequency=0", false)]
    #[case::a_winter_night("outdoor_temp=0 wind_speed=0 irradiance=0", false)]
    #[case::a_new_meter("heat_total=0 flow_total=0 heat_power=0 flow=0", false)]
    fn blank_reports(#[case] report: &str, #[case] want: bool) {
        let readings = report.split(' ').map(|reading| {
            let (code, value) = reading.split_once('=').unwrap();
            let metric = Catalogue::in_force().id(code).unwrap();
            Observed { metric, value: value.parse().unwrap(), normal: true }
        });
        let readings: Vec<_> = readings.collect();
        let rules = Rule::all(Catalogue::in_force());
        assert_eq!(is_blank(&readings, &rules), want);
        let marks = readings.iter().map(|r| rules[usize::from(r.metric.0)].own(r, None, want));
        let impossible = marks.filter(|mark| mark.impossible()).count();
        let quantities = readings.iter().filter(|r| rules[usize::from(r.metric.0)].quantity).count();
        assert_eq!(impossible, if want { quantities } else { 0 });
    }

    #[test]
    fn a_value_that_was_normalised_is_noted_and_used() {
        let reading =
            Observed { metric: Catalogue::in_force().id("room_temp").unwrap(), value: 20.0, normal: false };
        let mark = rule("room_temp").own(&reading, None, false);
        assert_eq!(mark.flag(), Flag::Good);
        assert!(mark.failed().contains(QualityTest::Normativity));
    }

    #[rstest::rstest]
    #[case::punctual(0, None, Flag::Good)]
    #[case::just_in_time(900_000, None, Flag::Good)]
    #[case::late(900_001, Some(QualityTest::Timeliness), Flag::Good)]
    #[case::slightly_ahead(-60_000, None, Flag::Good)]
    #[case::ahead(-60_001, Some(QualityTest::ClockAhead), Flag::Suspect)]
    fn arrivals(#[case] age: Millis, #[case] want: Option<QualityTest>, #[case] flag: Flag) {
        let mark = arrival(1_000_000_000, 1_000_000_000 + age, ARRIVES_WITHIN);
        assert_eq!(mark.flag(), flag);
        assert_eq!(mark.failed().names().next(), want.map(QualityTest::name));
    }

    #[test]
    fn flat_limits_need_a_tolerance_and_a_duration() {
        assert!(rule("room_temp").flat.is_some());
        assert!(rule("makeup_flow").flat.is_none());
        assert!(!rule("makeup_flow").compares());
        assert!(rule("heat_total").compares());
    }
}
