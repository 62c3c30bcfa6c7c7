//! Times that cannot be: a row of a replayed history dated decades ahead, a report that says it arrives in the year 9999,
//! a clock that has lost its date. Each costs itself, with a reason, and nothing else.

use std::{
    fs,
    time::{Duration, Instant},
};

use connectors::Outgoing;
use schemas::{
    Millis,
    time::{DAY, HOUR, MINUTE, SECOND},
};
use serde_json::json;
use tests::{
    Site,
    district::{self, MIDNIGHT},
    until,
};

const SOON: Duration = Duration::from_secs(90);
/// Within this a process ends that was told to, whatever its clock.
const STOPPED: Duration = Duration::from_secs(30);
/// 9999-12-31T23:59:59Z.
const END_OF_YEARS: Millis = 253_402_300_799_000;

const MAPPING: &str = "[time]\ncolumn = \"t\"\nformat = \"%Y-%m-%d %H:%M\"\nzone = \"Asia/Shanghai\"\n\
                       [facility]\ncolumn = \"f\"\n[[columns]]\ncolumn = \"e\"\nmetric = \"heat_total\"\n";

/// Hourly rows of station 1 on 15 January 2025 and the day after it: 0.5 GJ an hour.
fn rows(hours: std::ops::Range<i64>) -> String {
    let row = |hour: i64| {
        let (day, of_day) = (15 + hour / 24, hour % 24);
        format!("2025-01-{day} {of_day:02}:00,{},{:.1}\n", district::code(1), 1_000.0 + 0.5 * hour as f64)
    };
    hours.map(row).collect()
}

async fn rejects(site: &Site) -> Vec<Vec<String>> {
    site.query("SELECT reason, sum(readings) FROM rejects FINAL GROUP BY reason ORDER BY reason").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_dated_decades_ahead_costs_itself_alone_in_a_replay() {
    let site = Site::new("ahead", "clock = \"data\"\nepoch_ms = 50\n---\n[checkpoint]\nevery_epochs = 8\n");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(1)).await;
    fs::write(site.path("mapping.toml"), MAPPING).unwrap();
    let mut process = site.start(&["run"]);
    let replay = |name: &str, rows: &str| {
        fs::write(site.path(name), format!("t,f,e\n{rows}")).unwrap();
        site.nuanliu(&["replay", name, "--mapping", "mapping.toml"]);
    };
    let ahead = format!("2062-01-15 10:00,{},1005.0\n", district::code(1));
    replay("history.csv", &(rows(0..10) + &ahead));
    site.stored(11, &mut process, SOON).await;
    // The decision is part of what a process goes on with that dies here.
    process.kill();
    let mut process = site.start(&["run"]);
    replay("next.csv", &rows(10..49));
    site.stored(50, &mut process, SOON).await;
    assert_eq!(rejects(&site).await, [["time_in_future", "1"]]);
    assert_eq!(site.number("SELECT count() FROM readings FINAL WHERE flag = 1").await, 49.0);
    let heat = format!(
        "SELECT sum(value) FROM kpis FINAL WHERE kpi = 'heat_supplied' AND scope = '{}' AND scope_kind = 'facility' \
         AND period = 'hour'",
        district::code(1)
    );
    until("the heat of two days is there", SOON, async || (site.number(&heat).await - 24.0).abs() < 1e-6)
        .await;
    let latest = "SELECT max(toUnixTimestamp(window_start)) FROM kpis FINAL WHERE period IN ('hour', 'day')";
    assert!((site.number(latest).await as i64) < (MIDNIGHT + 3 * DAY) / SECOND, "no window of later years");
    let begun = Instant::now();
    assert_eq!(process.terminate(STOPPED), 0);
    assert!(begun.elapsed() < STOPPED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_clock_really_jumps_decades_can_be_stopped() {
    let site = Site::new("jump", "clock = \"data\"\nepoch_ms = 50\n");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(3)).await;
    let of = |start: Millis| -> Vec<Outgoing> {
        let minutes =
            (0..20).flat_map(move |minute| [1, 2, 3].map(|station| (station, start + minute * MINUTE)));
        minutes.map(|(station, at)| district::healthy(station, at)).collect()
    };
    let mut process = site.start(&["run"]);
    let mut accepted = site.publish(&of(MIDNIGHT)).await;
    site.stored(accepted, &mut process, SOON).await;
    // Whole partitions agree on it: a simulation goes on there.
    accepted += site.publish(&of(MIDNIGHT + 36 * 365 * DAY)).await;
    site.stored(accepted, &mut process, SOON).await;
    // Those that came before most agreed were refused.
    let there = "SELECT count() FROM readings FINAL WHERE observed_at > '2060-01-01'";
    assert!(site.number(there).await > 60.0);
    assert_eq!(process.terminate(STOPPED), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arrival_in_the_year_9999_ends_no_silence() {
    let site = Site::new("arrival", "epoch_ms = 50\n");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(0)).await;
    site.publish(&[district::station_lost_after(1, 20)]).await;
    let mut process = site.start(&["run"]);
    let now = jiff::Timestamp::now().as_millisecond();
    let readings = [("secondary_supply_temp", 45.0)];
    let reports = [
        district::healthy(1, now - SECOND),
        Outgoing::Report(district::report(1, now - 500, END_OF_YEARS, &readings)),
    ];
    let accepted = site.publish(&reports).await;
    site.stored(accepted, &mut process, SOON).await;
    until("its silence is an alarm", SOON, async || site.alarms("communication_lost").await == ["active"])
        .await;
    let received = "SELECT max(toUnixTimestamp64Milli(received_at)) FROM readings FINAL";
    assert!((site.number(received).await as Millis) < now + HOUR, "the broker's stamp is in its place");
    assert_eq!(site.metric("nuanliu_arrivals_not_believed_total").await, Some(1.0));
    assert_eq!(rejects(&site).await, Vec::<Vec<String>>::new());
    assert_eq!(process.terminate(SOON), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_2007_is_too_old_wherever_it_comes_in() {
    let site = Site::new("old", "epoch_ms = 50\n");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(1)).await;
    let mut process = site.start(&["all"]);
    let now = jiff::Timestamp::now().as_millisecond();
    let weeks = 1_024 * 7 * DAY;
    let readings = [("secondary_supply_temp", 45.0)];
    let reports = [
        Outgoing::Report(district::report(1, now - weeks, now, &readings)),
        Outgoing::Report(district::report(1, now - 30 * DAY, now, &readings)),
        district::healthy(1, now - MINUTE),
    ];
    let mut accepted = site.publish(&reports).await;
    site.stored(accepted, &mut process, SOON).await;
    assert_eq!(rejects(&site).await, [["too_old", "1"]]);

    // Of 325 months sent at once none gives the store a part.
    let ready = format!("http://{}/readyz", site.http);
    until("the connector is ready", SOON, async || {
        reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let months: Vec<_> = (0..325)
        .map(|month| {
            let at = now - 40 * DAY - month * 30 * DAY;
            json!({ "facility": district::code(1), "observed_at": at, "readings": { "outdoor_temp": -9.5 } })
        })
        .take_while(|record| record["observed_at"].as_i64().is_some_and(|at| at > schemas::time::EARLIEST))
        .collect();
    let answer = reqwest::Client::new()
        .post(format!("http://{}/api/v1/reports", site.http))
        .json(&months)
        .send()
        .await
        .unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["accepted"], 0);
    let refused = answer["rejected"].as_array().unwrap();
    assert_eq!(refused.len(), months.len());
    assert!(refused.iter().all(|refused| refused["reason"] == "too_old"), "{refused:?}");
    assert!(refused[0]["detail"].as_str().unwrap().contains("rules.backfill_days"));
    assert_eq!(process.terminate(SOON), 0);

    // The right to load it, for as long as it takes.
    site.reconfigure("[operations]\n", "[rules]\nbackfill_days = 10000\n[operations]\n");
    let mut process = site.start(&["run"]);
    let old = Outgoing::Report(district::report(1, now - weeks + MINUTE, now, &readings));
    accepted += site.publish(&[old]).await;
    until("it is stored", SOON, async || {
        process.must_run();
        site.number("SELECT count() FROM readings FINAL WHERE observed_at < '2010-01-01'").await == 1.0
    })
    .await;
    // Rejects of the dataflow and readings: nothing is missing.
    assert_eq!(site.accounted().await, accepted);
    assert_eq!(process.terminate(SOON), 0);
}
