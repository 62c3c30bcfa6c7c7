//! What the tests say, by tables.

use schemas::{Catalogue, Flag, QualityTest};

use super::{timeliness::ARRIVES_WITHIN, *};

fn rule(code: &str) -> MetricRule {
    let catalogue = Catalogue::in_force();
    MetricRule::of(catalogue.metric(catalogue.id(code).unwrap()))
}

fn judged(rule: &MetricRule, reading: &Observed, device: Option<(f64, f64)>, blank: bool) -> Mark {
    own(&Own { rule, reading, device, blank })
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
fn ranges(#[case] code: &str, #[case] value: f64, #[case] device: Option<(f64, f64)>, #[case] want: Flag) {
    let reading = Observed { metric: Catalogue::in_force().id(code).unwrap(), value, normal: true };
    let mark = judged(&rule(code), &reading, device, false);
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
        let mark = judged(&rule(code), &reading, Some((f64::NEG_INFINITY, f64::INFINITY)), false);
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
    let rules = MetricRule::all(Catalogue::in_force());
    assert_eq!(sentinel::is_blank(&readings, &rules), want);
    let marks = readings.iter().map(|r| judged(&rules[usize::from(r.metric.0)], r, None, want));
    let impossible = marks.filter(|mark| mark.impossible()).count();
    let quantities = readings.iter().filter(|r| rules[usize::from(r.metric.0)].quantity).count();
    assert_eq!(impossible, if want { quantities } else { 0 });
}

#[test]
fn a_value_that_was_normalised_is_noted_and_used() {
    let reading =
        Observed { metric: Catalogue::in_force().id("room_temp").unwrap(), value: 20.0, normal: false };
    let mark = judged(&rule("room_temp"), &reading, None, false);
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
    let mark = arrival(&Arrival { age, within: ARRIVES_WITHIN });
    assert_eq!(mark.flag(), flag);
    assert_eq!(mark.failed().names().next(), want.map(QualityTest::name));
}
