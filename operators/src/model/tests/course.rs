//! What a station's history must not do to its judgement: idle seasons, lasting changes, spring, nights.

use schemas::time::DAY;

use super::*;

const HOURS_A_DAY: usize = 24;

/// Of one rule: raised, then how each ended (`None`: it stands), with the cause.
fn episodes(epochs: &[DiagnosedEpoch], rule: &str) -> Vec<(Millis, Option<(Millis, String)>)> {
    let mut last: BTreeMap<String, AlarmTransition> = BTreeMap::new();
    for told in transitions(epochs).into_iter().filter(|told| told.rule == rule) {
        last.insert(told.alarm_id.clone(), told);
    }
    let standing = |told: &AlarmTransition| told.state != AlarmState::Retracted;
    let mut found: Vec<_> = last
        .into_values()
        .filter(standing)
        .map(|told| (told.raised_at, told.cleared_at.map(|at| (at, told.cause))))
        .collect();
    found.sort();
    found
}

fn day_of(at: Millis) -> i64 {
    (at - START).div_euclid(DAY)
}

fn states(epochs: &[DiagnosedEpoch]) -> Vec<SupplyState> {
    epochs.iter().flat_map(|epoch| &epoch.diagnoses).map(|diagnosis| diagnosis.state).collect()
}

/// Heat that follows the weather, times what `share` says of the hour.
fn shared(weather: &[f64], seed: u64, share: impl Fn(usize) -> f64) -> Vec<f64> {
    heat(weather, 3.0, seed).into_iter().enumerate().map(|(hour, kw)| kw * share(hour)).collect()
}

fn station(design: Option<f64>, area: Option<f64>) -> ProfileChange {
    let mut change = profile("ST-1", design);
    let mut profile = Profile::clone(change.profile.as_ref().unwrap());
    profile.facility.heated_area = area;
    profile.area_below = area.unwrap_or(0.0);
    change.profile = Some(profile.into());
    change
}

fn run_station(station: ProfileChange, hours: &[StationHour]) -> Vec<DiagnosedEpoch> {
    let mut supply = supply();
    let first = epoch_of_registry(station);
    let epochs = hours.iter().map(epoch_of);
    std::iter::once(first).chain(epochs).map(|epoch| supply.judge(&epoch)).collect()
}

#[rstest::rstest]
#[case::a_meter_that_creeps(0.3, 0.0, Some(3000.0), None)]
#[case::circulation_losses(4.0, 0.0, None, Some(80_000.0))]
#[case::noise(4.0, 0.3, None, None)]
#[case::losses_by_weather(0.0, 0.2, None, None)]
#[case::nothing_is_registered(0.3, 0.0, None, None)]
fn an_idle_season_is_no_signature(
    #[case] idle: f64,
    #[case] by_degree: f64,
    #[case] design: Option<f64>,
    #[case] area: Option<f64>,
) {
    for seed in [2, 7] {
        let weather = weather(seed, 60 * HOURS_A_DAY);
        let mut given = heat(&weather, 3.0, seed);
        for (hour, kw) in given[..10 * HOURS_A_DAY].iter_mut().enumerate() {
            let losses =
                if idle == 0.0 { by_degree * (18.0 - weather[hour]) } else { by_degree * noise(hour as u64) };
            *kw = idle + losses;
        }
        let epochs = run_station(station(design, area), &hours(&weather, &given));
        assert_eq!(transitions(&epochs), [], "seed {seed}");
        let states = states(&epochs);
        let idle = &states[..10 * HOURS_A_DAY];
        assert!(by_degree == 0.2 || idle.iter().all(|state| *state == SupplyState::Unknown), "seed {seed}");
        let judged = states[14 * HOURS_A_DAY..].iter().filter(|state| **state == SupplyState::Normal).count();
        assert!(judged > 43 * HOURS_A_DAY, "seed {seed}: {judged} hours are normal of {}", 46 * HOURS_A_DAY);
    }
}

/// Days of the rise of an episode and of its end, and the cause of the end.
type Lasts = Option<(i64, Option<(i64, &'static str)>)>;

#[rstest::rstest]
#[case::a_lasting_rise_becomes_the_signature(60, 1.6, 0.0, "over_supply", Some((12, Some((19, "new signature")))))]
#[case::a_lasting_fall_only_after_the_memory(60, 0.6, 0.0, "under_supply", Some((12, Some((40, "new signature")))))]
#[case::what_swings_is_no_relation(40, 1.9, 0.5, "over_supply", Some((12, None)))]
#[case::a_stop_never_does(60, 0.0, 0.0, "under_supply", Some((12, None)))]
fn a_lasting_change_opens_the_lock(
    #[case] days: usize,
    #[case] factor: f64,
    #[case] swing: f64,
    #[case] rule: &str,
    #[case] lasts: Lasts,
) {
    let weather = weather(4, days * HOURS_A_DAY);
    let given = shared(&weather, 4, |hour| {
        let swing = if (hour / HOURS_A_DAY).is_multiple_of(2) { swing } else { -swing };
        if hour < 12 * HOURS_A_DAY { 1.0 } else { factor + swing }
    });
    let epochs = run(&mut supply(), Some(3000.0), &hours(&weather, &given));
    let found: Vec<_> = episodes(&epochs, rule)
        .into_iter()
        .map(|(raised, end)| (day_of(raised), end.map(|(at, cause)| (day_of(at), cause))))
        .collect();
    let wanted: Vec<_> = lasts
        .into_iter()
        .map(|(raised, end)| (raised, end.map(|(at, cause)| (at, cause.to_owned()))))
        .collect();
    assert_eq!(found, wanted);
    if lasts.is_some_and(|(_, end)| end.is_some()) {
        let after = &states(&epochs)[42 * HOURS_A_DAY..];
        let normal = after.iter().filter(|state| **state == SupplyState::Normal).count();
        assert!(10 * normal > 9 * after.len(), "{normal} of {} are normal", after.len());
    }
}

/// Winter for 30 days, then a rise to spring within `rise` days.
fn spring(seed: u64, days: usize, to: f64) -> Vec<f64> {
    let warmer = |hour: usize| ((hour as f64 / 24.0 - 30.0) / 5.0).clamp(0.0, 1.0) * (to + 10.0);
    weather(seed, days * HOURS_A_DAY)
        .into_iter()
        .enumerate()
        .map(|(hour, temp)| temp / 3.0 - 6.0 + warmer(hour))
        .collect()
}

#[rstest::rstest]
#[case::ten_degrees(10.0)]
#[case::twenty_degrees(20.0)]
fn heating_that_stops_in_spring_is_no_fault(#[case] to: f64) {
    for seed in 0..4 {
        let weather = spring(seed, 60, to);
        let given = shared(&weather, seed, |hour| if hour < 36 * HOURS_A_DAY { 1.0 } else { 0.0 });
        let epochs = run(&mut supply(), Some(3000.0), &hours(&weather, &given));
        assert_eq!(transitions(&epochs), [], "seed {seed}");
        assert_eq!(states(&epochs).last(), Some(&SupplyState::Idle));
    }
}

#[test]
fn a_stop_in_the_cold_is_found_and_ends_with_the_weather_that_asks_for_heat() {
    for (to, end) in [(10.0, true), (20.0, true), (-10.0, false)] {
        let weather = spring(1, 60, to);
        let given = shared(&weather, 1, |hour| if hour < 20 * HOURS_A_DAY { 1.0 } else { 0.0 });
        let epochs = run(&mut supply(), Some(3000.0), &hours(&weather, &given));
        let found = episodes(&epochs, "under_supply");
        assert_eq!(found.len(), 1, "to {to}: {found:?}");
        assert_eq!(found[0].0, START + (20 * 24 + 3) * HOUR);
        match &found[0].1 {
            Some((at, cause)) => assert!(end && day_of(*at) > 30 && cause == "mild weather", "{found:?}"),
            None => assert!(!end, "to {to} it stands for ever"),
        }
    }
}

fn night(hour: usize) -> bool {
    // 23:00 to 05:00 in China.
    (15..21).contains(&(hour % 24))
}

#[rstest::rstest]
#[case::learnt_before(12, 27)]
#[case::from_the_first_day(0, 40)]
fn stops_of_many_nights_are_one_intermittent_supply(#[case] from: usize, #[case] to: usize) {
    for seed in 0..4 {
        let weather = weather(seed, 45 * HOURS_A_DAY);
        let nights = from * HOURS_A_DAY..to * HOURS_A_DAY;
        let given =
            shared(&weather, seed, |hour| if nights.contains(&hour) && night(hour) { 0.0 } else { 1.0 });
        let epochs = run(&mut supply(), Some(3000.0), &hours(&weather, &given));
        let found = episodes(&epochs, "intermittent_supply");
        assert_eq!(found.len(), 1, "seed {seed}: {found:?}");
        assert!(day_of(found[0].0) <= from as i64 + 5, "seed {seed}: {found:?}");
        let (end, cause) = found[0].1.clone().unwrap();
        assert_eq!((day_of(end), cause.as_str()), (to as i64, "data"), "seed {seed}");
        let others = episodes(&epochs, "under_supply");
        assert!(others.len() <= 2, "seed {seed}: the first nights alone: {others:?}");
        let of_last = states(&epochs)[(to - 1) * HOURS_A_DAY + 15];
        assert_eq!(of_last, SupplyState::Intermittent, "seed {seed}");
    }
}

#[rstest::rstest]
#[case::set_back(0.4)]
#[case::no_night_at_all(1.0)]
fn less_at_night_is_not_intermittent(#[case] share: f64) {
    let weather = weather(2, 40 * HOURS_A_DAY);
    let given = shared(&weather, 2, |hour| if night(hour) { share } else { 1.0 });
    let epochs = run(&mut supply(), Some(3000.0), &hours(&weather, &given));
    assert_eq!(episodes(&epochs, "intermittent_supply"), []);
    let late = states(&epochs).split_off(20 * HOURS_A_DAY);
    assert!(!late.contains(&SupplyState::Stopped) && !late.contains(&SupplyState::Intermittent));
}

/// Expectation and share of it, computed from what an alarm shows and nothing else.
fn recomputed(evidence: &serde_json::Value) -> (f64, f64) {
    let (diagnosis, learnt) = (&evidence["diagnosis"], &evidence["diagnosis"]["learnt"]);
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let temps: Vec<f64> =
        evidence["outdoor_temps"].as_array().unwrap().iter().filter_map(|hour| hour[1].as_f64()).collect();
    assert_eq!(temps.len() as u64, learnt["smoothing_hours"].as_u64().unwrap(), "{evidence}");
    let outdoor = temps.iter().sum::<f64>() / temps.len() as f64;
    let degrees = (number(&learnt["balance_temp"]) - outdoor).max(0.0);
    let line = number(&learnt["base_kw"]) + number(&learnt["slope_kw_per_degree"]) * degrees;
    let expected = line * number(&diagnosis["habit"]);
    (expected, 100.0 * number(&diagnosis["actual_kw"]) / expected)
}

#[rstest::rstest]
#[case::under(0.4, 3.0, 0.7, "under_supply")]
#[case::over(1.9, 12.0, 0.7, "over_supply")]
#[case::no_habit(0.4, 1.0, 1.0, "under_supply")]
#[case::stops(0.0, 3.0, 0.7, "intermittent_supply")]
fn the_expectation_follows_from_the_evidence_alone(
    #[case] factor: f64,
    #[case] lag: f64,
    #[case] habit: f64,
    #[case] rule: &str,
) {
    let weather = weather(3, 24 * HOURS_A_DAY);
    // Less at night as a habit; the fault begins in the habit's hours.
    let share = |hour: usize| {
        let fault = hour >= 18 * HOURS_A_DAY && night(hour);
        if fault {
            factor * habit
        } else if night(hour) {
            habit
        } else {
            1.0
        }
    };
    let given: Vec<f64> =
        heat(&weather, lag, 3).into_iter().enumerate().map(|(hour, kw)| kw * share(hour)).collect();
    let epochs = run(&mut supply(), Some(3000.0), &hours(&weather, &given));
    let told: Vec<_> = transitions(&epochs).into_iter().filter(|told| told.rule == rule).collect();
    assert!(!told.is_empty());
    for told in told {
        let evidence: serde_json::Value = serde_json::from_str(&told.evidence).unwrap();
        let (expected, percent) = recomputed(&evidence);
        let shown = evidence["diagnosis"]["expected_kw"].as_f64().unwrap();
        assert!((expected - shown).abs() < 0.06, "{expected} kW: {evidence}");
        let judged = evidence["percent_of_expected"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(judged[0], evidence["diagnosis"]["hour"], "{evidence}");
        assert!((percent - judged[1].as_f64().unwrap()).abs() < 0.1, "{percent} %: {evidence}");
        let used = evidence["outdoor_temps"].as_array().unwrap();
        assert_eq!(used.last().unwrap()[0], evidence["diagnosis"]["hour"], "{evidence}");
        if habit < 1.0 && day_of(told.raised_at) >= 18 && told.sequence == 1 {
            let learnt = evidence["diagnosis"]["habit"].as_f64().unwrap();
            assert!((learnt - habit).abs() < 0.1, "{evidence}");
        }
    }
}
