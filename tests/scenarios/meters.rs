//! Meters as they fail in the field: garbage, another meter, another unit, blocks again and newest first. The heat of the
//! day is what was supplied, whatever the display says.

use std::time::Duration;

use connectors::Outgoing;
use schemas::{
    Millis,
    time::{HOUR, MINUTE, SECOND},
};
use tests::{
    Site,
    district::{self, MIDNIGHT},
};

const CONFIG: &str = "clock = \"data\"\nepoch_ms = 50\nrecords_per_partition = 200\n";
const SOON: Duration = Duration::from_secs(90);
/// Minutes of data; 0.1 GJ in each.
const MINUTES: i64 = 240;

fn truth(minute: i64) -> f64 {
    ((1_000.0 + 0.1 * minute as f64) * 1e3).round() / 1e3
}

fn reading(station: usize, minute: i64, total: f64, received: Millis) -> Outgoing {
    let readings = [("heat_total", total), ("secondary_supply_temp", 45.0 + (minute % 7) as f64 / 10.0)];
    Outgoing::Report(district::report(station, MIDNIGHT + minute * MINUTE, received, &readings))
}

/// What the display of a station's meter says in a minute.
type Display = fn(i64) -> f64;

/// Its faults, and the heat that can be known of it, GJ.
const METERS: [(Display, f64); 7] = [
    (truth, 23.9),
    // Garbage for two polls, and 200 GJ too much for two.
    (|minute| if (30..32).contains(&minute) { 99_999.0 } else { truth(minute) }, 23.9),
    (|minute| truth(minute) + if (30..32).contains(&minute) { 200.0 } else { 0.0 }, 23.9),
    // Another meter: the minute between both is not known.
    (|minute| truth(minute) + if minute < 60 { 0.0 } else { 51_000.0 }, 23.8),
    (|minute| truth(minute) - if minute < 60 { 0.0 } else { 206.0 }, 23.8),
    // MJ instead of GJ: nothing is known from then on.
    (|minute| truth(minute) * if minute < 60 { 1.0 } else { 1_000.0 }, 5.9),
    // A zero, then the value that was saved last.
    (
        |minute| match minute {
            60 => 0.0,
            61..=63 => truth(58),
            _ => truth(minute),
        },
        23.9,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_heat_of_a_day_is_what_was_supplied_whatever_the_display_says() {
    let site = Site::new("meters", CONFIG);
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(METERS.len() + 2)).await;
    let (newest_first, again) = (METERS.len() + 1, METERS.len() + 2);
    let in_order = |minute: i64| {
        let received = MIDNIGHT + minute * MINUTE + SECOND;
        let mut reports: Vec<Outgoing> = METERS
            .iter()
            .zip(1..)
            .map(|((display, _), station)| reading(station, minute, display(minute), received))
            .collect();
        let broken = if minute == 5 { 0.0 } else { truth(minute) };
        reports.push(reading(again, minute, broken, received));
        reports
    };
    let mut reports: Vec<Outgoing> = (0..MINUTES).flat_map(in_order).collect();
    let end = MIDNIGHT + MINUTES * MINUTE;
    reports.extend((0..MINUTES).rev().map(|minute| reading(newest_first, minute, truth(minute), end)));
    // The gateway sends a block again that it had sent three hours before.
    let repeated = |minute| reading(again, minute, if minute == 5 { 0.0 } else { truth(minute) }, end);
    reports.extend((0..40).map(repeated));
    let accepted = site.publish(&reports).await;
    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, SOON).await;

    let expected = METERS.iter().map(|(_, heat)| *heat).chain([23.9, 23.9]);
    for (heat, station) in expected.zip(1..) {
        let code = district::code(station);
        let of = |period: &str| {
            format!(
                "SELECT sum(value) FROM kpis FINAL WHERE kpi = 'heat_supplied' AND scope = '{code}' AND \
                 scope_kind = 'facility' AND period = '{period}'"
            )
        };
        let day = site.number(&of("day")).await;
        assert!((day - heat).abs() < 1e-6, "{code} has {day} GJ and not {heat}");
        let hours = site.number(&of("hour")).await;
        assert!((hours - heat).abs() < 1e-6, "the hours of {code} have {hours} GJ and not {heat}");
    }
    let total = "SELECT sum(value) FROM kpis FINAL WHERE kpi = 'heat_supplied' AND scope_kind = 'city' AND \
                 period = 'day'";
    let known: f64 = METERS.iter().map(|(_, heat)| heat).sum::<f64>() + 2.0 * 23.9;
    assert!((site.number(total).await - known).abs() < 1e-6);
    // What was once failed is not made good by coming again.
    let flag = format!(
        "SELECT flag FROM readings FINAL WHERE facility = '{}' AND metric = 'heat_total' AND observed_at = \
         fromUnixTimestamp({})",
        district::code(again),
        (MIDNIGHT + 5 * MINUTE) / SECOND
    );
    assert_eq!(site.number(&flag).await, 4.0);
    let replaced = "SELECT facility FROM readings FINAL WHERE has(failed, 'counter_reset') ORDER BY facility";
    let replaced: Vec<String> = site.query(replaced).await.into_iter().flatten().collect();
    assert_eq!(replaced, ["ST-0004", "ST-0005"]);
    let alarms = "SELECT count() FROM alarms FINAL WHERE facility != 'ST-0000'";
    assert_eq!(site.number(alarms).await, 0.0);
    assert!(end - MIDNIGHT < 6 * HOUR, "all of it is within the memory");
    assert_eq!(process.terminate(SOON), 0);
}
