//! What a model expected and found of each hour is in the store, with what the expectation follows from; a setting of
//! the user's holds for its facility alone, and longer windows hold what their days do.

use std::{fs, time::Duration};

use connectors::Outgoing;
use schemas::{
    Millis,
    time::{HOUR, MINUTE, SECOND},
};
use tests::{
    Site,
    district::{self, MIDNIGHT},
};

const CONFIG: &str = "clock = \"data\"\n---\n[catalogue]\ndirectory = \"catalogue\"\n[rules]\nlonger_periods = [\"month\", \"season\"]\n";
/// One station is to be known longer before it is judged.
const SETTINGS: &str = "model,setting,scope,value\nenergy_signature,least_hours,ST-0002,60\n";
const SOON: Duration = Duration::from_secs(120);
/// Three days, of which the last six hours get too little heat; and what lets the last hour settle.
const HOURS: i64 = 72;
const SHORT_FROM: i64 = 66;
const END: i64 = HOURS + 2;

/// A tenth of °C by the hour of the day, between −15 and −5 °C.
fn outdoor(hour: i64) -> f64 {
    let turn = (hour % 24) as f64 / 24.0 * std::f64::consts::TAU;
    ((-10.0 + 5.0 * turn.sin()) * 10.0).round() / 10.0
}

/// Heat that the weather asks for, kW: 15 kW for each degree below 16 °C.
fn demand(hour: i64) -> f64 {
    15.0 * (16.0 - outdoor(hour))
}

fn minutes(station: usize) -> Vec<Outgoing> {
    let mut total = 1_000.0;
    let report = |minute: i64| {
        let hour = minute / 60;
        let share = if (SHORT_FROM..HOURS).contains(&hour) { 0.4 } else { 1.0 };
        total += demand(hour) * share * 60.0 / 1e6;
        let at: Millis = MIDNIGHT + minute * MINUTE;
        let readings = [("outdoor_temp", outdoor(hour)), ("heat_total", (total * 1e4_f64).round() / 1e4)];
        Outgoing::Report(district::report(station, at, at + SECOND, &readings))
    };
    (0..END * 60).map(report).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hour_says_what_was_expected_and_what_came_of_it() {
    let site = Site::new("estimates", CONFIG);
    fs::create_dir(site.path("catalogue")).unwrap();
    fs::write(site.path("catalogue/models.csv"), SETTINGS).unwrap();
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(2)).await;
    let reports: Vec<Outgoing> =
        minutes(1).into_iter().zip(minutes(2)).flat_map(<[Outgoing; 2]>::from).collect();
    let accepted = site.publish(&reports).await;
    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, SOON).await;
    assert_eq!(process.terminate(SOON), 0);

    let sql = format!(
        "SELECT intDiv(toUnixTimestamp(hour) - {}, {}), state, reason, expected, actual, confidence, method, learnt, unit, \
         JSONExtractFloat(parameters, 'learnt', 'slope_kw_per_degree') FROM estimates FINAL WHERE facility = 'ST-0001' AND \
         model = 'energy_signature' ORDER BY hour",
        MIDNIGHT / SECOND,
        HOUR / SECOND
    );
    let rows = site.query(&sql).await;
    let of_hour = |hour: i64| rows.iter().find(|row| row[0] == hour.to_string()).unwrap();
    assert_eq!(rows.len() as i64, HOURS + 1, "one row of every hour that has settled");
    let first = of_hour(1);
    assert_eq!((&*first[1], &*first[2], &*first[7]), ("unknown", "not_learnt", "0"), "{first:?}");
    for hour in [48, 60, SHORT_FROM - 1] {
        let row = of_hour(hour);
        let number = |column: usize| row[column].parse::<f64>().unwrap();
        assert_eq!((&*row[1], &*row[8]), ("normal", "kW"), "{row:?}");
        assert!((number(3) / demand(hour) - 1.0).abs() < 0.05, "{} kW expected: {row:?}", demand(hour));
        assert!((number(4) / demand(hour) - 1.0).abs() < 0.01, "{} kW supplied: {row:?}", demand(hour));
        assert!((0.2..=1.0).contains(&number(5)) && number(7) >= 1.0, "{row:?}");
        assert!((number(9) - 15.0).abs() < 1.5, "15 kW a degree: {row:?}");
    }
    for hour in SHORT_FROM..HOURS {
        assert_eq!(of_hour(hour)[1], "under", "{:?}", of_hour(hour));
    }
    let alarms =
        "SELECT facility FROM alarms FINAL WHERE rule = 'under_supply' AND type = 1 ORDER BY facility";
    assert_eq!(site.query(alarms).await, [["ST-0001"], ["ST-0002"]]);
    // A month and a season are the sum of their days.
    for (scope, code) in [("facility", "ST-0001"), ("city", district::CITY)] {
        let heat = async |period: &str| {
            let sum = format!(
                "SELECT round(sum(value), 1) FROM kpis FINAL WHERE kpi = 'heat_supplied' AND scope_kind = '{scope}' AND \
                 scope = '{code}' AND period = '{period}'"
            );
            site.query(&sum).await[0][0].parse::<f64>().unwrap()
        };
        let days = heat("day").await;
        assert!(days > 50.0, "{days} GJ in three days");
        for period in ["month", "season"] {
            assert!((heat(period).await - days).abs() < 1.0, "{scope} by {period}: {days} GJ");
        }
    }
    let judged = format!(
        "SELECT countIf(reason = 'not_learnt') FROM estimates FINAL WHERE facility = 'ST-0002' AND \
         toUnixTimestamp(hour) < {}",
        MIDNIGHT / SECOND + 58 * 3600
    );
    assert_eq!(site.number(&judged).await, 58.0, "the other station is not judged before");
}
