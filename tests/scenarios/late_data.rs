//! What comes late, is corrected, or changes in the registry revises what was said before and names the cause; the order
//! of delivery changes nothing in the end.

use std::time::Duration;

use connectors::Outgoing;
use schemas::{
    Millis, RecordPlace, Report, Topic,
    time::{HOUR, MINUTE, SECOND},
};
use tests::{
    Process, Site,
    district::{self, MIDNIGHT},
};

const CONFIG: &str = "clock = \"data\"\nepoch_ms = 50\nrecords_per_partition = 40\n";
const SOON: Duration = Duration::from_secs(60);

/// A minute of station 1: 40 °C, and 0.05 GJ.
fn minute(minute: i64, temperature: f64, delay: Millis) -> Outgoing {
    let at = MIDNIGHT + minute * MINUTE;
    let readings = [("secondary_supply_temp", temperature), ("heat_total", 100.0 + 0.05 * minute as f64)];
    Outgoing::Report(district::report(1, at, at + delay, &readings))
}

/// The present row of a KPI of station 1's first hour: value, value before, cause, epoch, record behind it.
async fn kpi(site: &Site, kpi: &str) -> Option<(f64, f64, String, u64, Option<RecordPlace>)> {
    let sql = format!(
        "SELECT value, previous, cause, epoch, caused_by FROM kpis FINAL WHERE kpi = '{kpi}' AND scope = 'ST-0001' AND \
         scope_kind = 'facility' AND period = 'hour' AND window_start = fromUnixTimestamp({})",
        MIDNIGHT / SECOND
    );
    let row = site.query(&sql).await.into_iter().next()?;
    Some((
        row[0].parse().ok()?,
        row[1].parse().unwrap_or(f64::NAN),
        row[2].clone(),
        row[3].parse().ok()?,
        row[4].parse().ok(),
    ))
}

/// The record behind the present row of a KPI: its topic and offset.
async fn record_behind(site: &Site, code: &str) -> (Topic, i64) {
    let (.., place) = kpi(site, code).await.unwrap();
    let place = place.unwrap();
    (place.topic, place.offset)
}

/// Waits for a value and cause of a KPI; gives the epoch.
async fn becomes(site: &Site, process: &mut Process, code: &str, value: f64, cause: &str) -> u64 {
    let mut last = None;
    let begun = std::time::Instant::now();
    loop {
        process.must_run();
        let now = kpi(site, code).await;
        match &now {
            Some((is, _, why, epoch, _)) if (is - value).abs() < 1e-9 && why == cause => return *epoch,
            _ => last = now.or(last),
        }
        assert!(begun.elapsed() < SOON, "{code} is {last:?} and not {value} because of `{cause}`");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_corrected_and_registry_changes_revise_kpis_and_say_so() {
    let site = Site::new("late", CONFIG);
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(1)).await;
    // An hour and a bit, without minutes 20 to 39.
    let there = (0..70).filter(|n| !(20..40).contains(n));
    let in_time: Vec<Outgoing> = there.map(|n| minute(n, 40.0, SECOND)).collect();
    let mut accepted = site.publish(&in_time).await;
    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, SOON).await;
    let (value, ..) = kpi(&site, "secondary_supply_temp_mean").await.unwrap();
    assert_eq!(value, 40.0);
    let (before, ..) = kpi(&site, "heat_per_area").await.unwrap();

    // The gateway empties its memory when the hour is over: 42 °C.
    let late: Vec<Outgoing> = (20..40).map(|n| minute(n, 42.0, (70 - n) * MINUTE)).collect();
    accepted += site.publish(&late).await;
    let first = becomes(&site, &mut process, "secondary_supply_temp_mean", 40.7, "late").await;
    site.stored(accepted, &mut process, SOON).await;
    // Station 1 alone reports: its records lie one behind the other, fifty in time and twenty late.
    let (topic, offset) = record_behind(&site, "secondary_supply_temp_mean").await;
    assert!(topic == Topic::Reports && (50..70).contains(&offset), "{topic:?} {offset}");
    let timely = "SELECT count() FROM readings FINAL WHERE has(failed, 'timeliness') AND flag = 1";
    assert_eq!(site.number(timely).await, 40.0, "late readings are marked and as good as others");

    // Ten of these minutes are corrected.
    let corrected: Vec<Outgoing> = (25..35).map(|n| minute(n, 41.0, (71 - n) * MINUTE)).collect();
    accepted += site.publish(&corrected).await;
    let second = becomes(&site, &mut process, "secondary_supply_temp_mean", 40.5, "corrected").await;
    assert!(second > first, "a revision has a higher epoch: {second} after {first}");
    site.stored(accepted, &mut process, SOON).await;
    let (topic, offset) = record_behind(&site, "secondary_supply_temp_mean").await;
    assert!(topic == Topic::Reports && (70..80).contains(&offset), "{topic:?} {offset}");
    let superseded = "SELECT sum(readings) FROM rejects FINAL WHERE reason = 'superseded'";
    assert_eq!(site.number(superseded).await, 10.0, "what was corrected is kept");

    // The heated area was wrong: it is twice as large.
    site.publish(&[district::station(1, 20_000.0)]).await;
    becomes(&site, &mut process, "heat_per_area", before / 2.0, "registry").await;
    assert_eq!(record_behind(&site, "heat_per_area").await.0, Topic::Registry);
    assert_eq!(process.terminate(SOON), 0);
}

/// Five hours of two stations: one runs too hot for half an hour and a second time for ten minutes.
fn hours() -> Vec<Report> {
    let mut reports = Vec::new();
    for minute in 0..300 {
        for station in [1, 2] {
            let at = MIDNIGHT + minute * MINUTE;
            let hot = match minute {
                60..75 => (minute - 60) as f64 * 2.5,
                75..95 => 37.5,
                95..110 => (110 - minute) as f64 * 2.5,
                200..207 => (minute - 200) as f64 * 5.0,
                207..217 => 35.0,
                217..224 => (224 - minute) as f64 * 5.0,
                _ => 0.0,
            };
            let wave = (minute * 7 % 11) as f64 / 10.0;
            let supply = 45.0 + wave + if station == 1 { hot } else { 0.0 };
            let readings = [
                ("secondary_supply_temp", supply),
                ("secondary_flow", 80.0 + wave),
                ("heat_total", 500.0 + minute as f64 / 8.0),
                ("outdoor_temp", -12.0 + wave),
            ];
            reports.push(district::report(station, at, at + SECOND, &readings));
        }
    }
    reports
}

/// Delivers every report up to fifty minutes later, so that neighbours overtake each other.
fn shuffled(reports: Vec<Report>) -> Vec<Report> {
    let mut chance = 1_u64;
    let mut late: Vec<Report> = reports
        .into_iter()
        .map(|mut report| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            report.received_at += (chance >> 33) as i64 % (50 * MINUTE);
            report
        })
        .collect();
    late.sort_by_key(|report| report.received_at);
    late
}

/// Runs the pipeline on reports and a last one of each station, three hours later.
async fn delivered(reports: Vec<Report>) -> Site {
    let site = Site::new("order", CONFIG);
    site.nuanliu(&["migrate"]);
    let after = MIDNIGHT + 8 * HOUR;
    let last =
        [1, 2].map(|station| district::report(station, after, after, &[("secondary_supply_temp", 45.0)]));
    let mut records = district::registry(2);
    records.extend(reports.into_iter().chain(last).map(Outgoing::Report));
    let accepted = site.publish(&records).await;
    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, SOON).await;
    assert_eq!(process.terminate(SOON), 0);
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_delivery_changes_neither_kpis_nor_alarms() {
    let (in_order, overtaken) = (delivered(hours()).await, delivered(shuffled(hours())).await);
    let kpis = "SELECT kpi, scope_kind, scope, period, window_start, value, coverage FROM kpis FINAL \
                WHERE value IS NOT NULL ORDER BY ALL";
    let (first, second) = (in_order.query(kpis).await, overtaken.query(kpis).await);
    assert!(first.len() > 100, "{} KPIs", first.len());
    assert_same(&first, &second);
    // Silence is measured by arrival, so that it is another one when delivery is.
    let alarms = "SELECT rule, facility, metric, state, raised_at, cleared_at, first_value, peak_value, peak_at, \
                  peak_level FROM alarms FINAL \
                  WHERE state != 'retracted' AND rule != 'communication_lost' ORDER BY ALL";
    let (first, second) = (in_order.query(alarms).await, overtaken.query(alarms).await);
    let hot = |row: &&Vec<String>| row[0] == "secondary_supply_temp_high" && row[1] == "ST-0001";
    assert_eq!(first.iter().filter(hot).count(), 2, "{first:?}");
    assert_same(&first, &second);
    let late = "SELECT count() FROM readings FINAL WHERE has(failed, 'timeliness')";
    assert!(overtaken.number(late).await > 1_000.0, "delivery was late");
}

fn assert_same(first: &[Vec<String>], second: &[Vec<String>]) {
    let only = |of: &[Vec<String>], than: &[Vec<String>]| -> Vec<String> {
        of.iter().filter(|row| !than.contains(row)).take(10).map(|row| row.join(" ")).collect()
    };
    assert!(
        first == second,
        "only in order:\n{}\nonly overtaken:\n{}",
        only(first, second).join("\n"),
        only(second, first).join("\n")
    );
}

/// Thirty hours of two stations, minute by minute; the second is cut off for six of them and uploads them `late` minutes
/// after they began.
fn cut_off(late: i64) -> Vec<Report> {
    let mut reports = Vec::new();
    for minute in 0..30 * 60 {
        for station in [1, 2] {
            let at = MIDNIGHT + minute * MINUTE;
            let delayed = station == 2 && (3 * 60..9 * 60).contains(&minute);
            let arrives = if delayed { at.max(MIDNIGHT + (3 * 60 + late) * MINUTE) } else { at };
            let readings = [
                ("secondary_supply_temp", 45.0 + (minute * 7 % 11) as f64 / 10.0),
                ("heat_total", 500.0 + (minute / 2) as f64 / 10.0),
                ("outdoor_temp", -12.0 + (minute / 60) as f64 / 10.0),
            ];
            reports.push(district::report(station, at, arrives + SECOND, &readings));
        }
    }
    reports.sort_by_key(|report| report.received_at);
    reports
}

/// Publishes what comes before `hour`, runs until it is stored, and kills the process; gives the rest and how much is stored.
async fn killed_at(site: &Site, reports: Vec<Report>, hour: i64) -> (Vec<Outgoing>, u64) {
    site.nuanliu(&["migrate"]);
    let (before, after): (Vec<Report>, Vec<Report>) =
        reports.into_iter().partition(|report| report.received_at < MIDNIGHT + hour * HOUR);
    let before = district::registry(2).into_iter().chain(before.into_iter().map(Outgoing::Report));
    let accepted = site.publish(&before.collect::<Vec<_>>()).await;
    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, SOON).await;
    let epoch = site.metric("nuanliu_epoch_bound").await;
    tests::until("what was sealed lies in a checkpoint", SOON, async || {
        site.metric("nuanliu_checkpoint_epoch").await >= epoch
    })
    .await;
    process.kill();
    (after.into_iter().map(Outgoing::Report).collect(), accepted)
}

const OFTEN: &str = "---\n[checkpoint]\nevery_epochs = 8\n";

/// Whoever was cut off for hours uploads them on the next day: hours that were closed for the scopes and sealed are what they
/// would have been in order, and so is the day everywhere; also when the process has died in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_the_day_before_counts_as_if_it_had_come_in_order() {
    let in_order = Site::new("in_order", CONFIG);
    in_order.nuanliu(&["migrate"]);
    let records: Vec<Outgoing> =
        district::registry(2).into_iter().chain(cut_off(0).into_iter().map(Outgoing::Report)).collect();
    let accepted = in_order.publish(&records).await;
    let mut process = in_order.start(&["run"]);
    in_order.stored(accepted, &mut process, SOON).await;
    assert_eq!(process.terminate(SOON), 0);
    // The first day is over; all but what tells that it came late.
    let kpis = format!(
        "SELECT kpi, scope_kind, scope, period, window_start, value, coverage FROM kpis FINAL \
         WHERE value IS NOT NULL AND (period = 'day' OR scope_kind = 'facility') AND window_start < fromUnixTimestamp({}) \
         AND kpi NOT LIKE '%timel%' ORDER BY ALL",
        (MIDNIGHT + 24 * HOUR) / SECOND
    );
    let first = in_order.query(&kpis).await;
    let days = first.iter().filter(|row| row[3] == "day").count();
    assert!(first.len() > 200 && days > 20, "{} KPIs, {days} of days", first.len());

    let bucket = format!(
        "url = \"s3://nuanliu/late_data_{}\"\nendpoint = {:?}\n",
        std::process::id(),
        tests::site::service("NUANLIU_S3")
    );
    for (name, place) in [("in_directory", ""), ("in_bucket", bucket.as_str())] {
        let site = Site::new(name, &format!("{CONFIG}{OFTEN}{place}"));
        let (rest, mut accepted) = killed_at(&site, cut_off(23 * 60), 20).await;
        accepted += site.publish(&rest).await;
        let mut process = site.start(&["run"]);
        site.stored(accepted, &mut process, SOON).await;
        let thawed = site.metric("nuanliu_thaw_seconds_count").await;
        assert!(thawed > Some(0.0), "hours were sealed and are thawed: {thawed:?}");
        assert_eq!(process.terminate(SOON), 0);
        let told = site.nuanliu(&["checkpoints", "verify"]);
        assert!(told.contains("right") && !told.contains("damaged"), "{told}");
        let listed = site.nuanliu(&["checkpoints", "list"]);
        let newest = listed.lines().nth(1).and_then(|line| line.split_whitespace().next()).unwrap();
        let shown = site.nuanliu(&["checkpoints", "show", newest]);
        assert!(shown.contains("sealed in"), "{shown}");

        let late = "SELECT count() FROM readings FINAL WHERE has(failed, 'timeliness')";
        assert_eq!(site.number(late).await, 3.0 * 360.0);
        assert_eq!(site.number("SELECT sum(beyond_revision) FROM quality FINAL").await, 0.0);
        assert_same(&first, &site.query(&kpis).await);
    }
}

/// What was sealed is damaged: nothing is made up. The process ends and says what to do; on request it goes on without, and
/// what would have needed it is too late and told.
#[tokio::test(flavor = "multi_thread")]
async fn late_data_that_needs_what_is_damaged_stops_the_process_until_the_loss_is_accepted() {
    let site = Site::new("sealed_damage", &format!("{CONFIG}{OFTEN}"));
    let (rest, mut accepted) = killed_at(&site, cut_off(23 * 60), 20).await;
    let mut damaged = 0;
    for file in std::fs::read_dir(site.path("state/checkpoints")).unwrap().map(|file| file.unwrap().path()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("volume-") {
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[20] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 2, "{damaged} volumes");
    let (code, told) = site.try_nuanliu(&["checkpoints", "verify"]);
    assert!(code != 0 && told.contains("volume-") && told.contains("checksum"), "{code}: {told}");
    accepted += site.publish(&rest).await;
    let (code, told) = site.try_nuanliu(&["run"]);
    assert!(code == 1 && told.contains("what the states have sealed is damaged"), "{code}: {told}");
    assert!(told.contains("--accept-loss"), "{told}");
    let late = "SELECT count() FROM readings FINAL WHERE has(failed, 'timeliness')";
    assert_eq!(site.number(late).await, 0.0, "nothing is told that stands on what is damaged");
    let mut process = site.start(&["run", "--accept-loss"]);
    site.stored(accepted, &mut process, SOON).await;
    assert!(process.words().contains("what was sealed is lost"), "{}", process.words());
    assert_eq!(process.terminate(SOON), 0);
    assert_eq!(site.number(late).await, 3.0 * 360.0);
    // Other batches in these files are whole: they do not reach up to what is in memory.
    let facility =
        "SELECT sum(beyond_revision) FROM quality FINAL WHERE scope_kind = 'facility' AND period = 'hour'";
    assert_eq!(site.number(facility).await, 3.0 * 360.0, "what could not be placed is told");
}

/// What comes after its windows have closed is stored, and counted where an operator looks: by metric, in the figures of
/// quality, and as an alarm that names the enterprise.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_too_late_to_count_is_told_by_enterprise_and_metric() {
    let site = Site::new("beyond", "");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(1)).await;
    let now = jiff::Timestamp::now().as_millisecond();
    let sent = |ago: Millis, temperature: f64| {
        let readings = [("secondary_supply_temp", temperature), ("secondary_flow", 120.0)];
        Outgoing::Report(district::report(1, now - ago, now, &readings))
    };
    let mut accepted = site.publish(&[sent(2 * MINUTE, 45.0), sent(MINUTE, 45.1)]).await;
    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, SOON).await;
    let days: Vec<Outgoing> = (0..3).map(|n| sent(72 * HOUR + n * MINUTE, 44.0)).collect();
    accepted += site.publish(&days).await;
    site.stored(accepted, &mut process, SOON).await;

    let enterprise = site.query("SELECT code FROM registry_enterprises FINAL").await[0][0].clone();
    for (kind, scope) in [("facility", "ST-0001"), ("enterprise", enterprise.as_str())] {
        let figure = format!(
            "SELECT sum(beyond_revision) FROM quality FINAL WHERE scope_kind = '{kind}' AND scope = '{scope}' AND period = 'hour'"
        );
        tests::until("they are counted where they arrived", SOON, async || site.number(&figure).await == 6.0)
            .await;
    }
    let alarm = format!(
        "SELECT state, device, level FROM alarms FINAL WHERE rule = 'late_data' AND device = '{enterprise}'"
    );
    let raised = [["active", enterprise.as_str(), "3"]];
    tests::until("an alarm names the enterprise", SOON, async || site.query(&alarm).await == raised).await;
    let flags = "SELECT countIf(flag = 2) FROM readings FINAL WHERE observed_at < now() - INTERVAL 2 DAY";
    assert_eq!(site.number(flags).await, 6.0, "stored, and flagged as not evaluated");
    assert_eq!(process.terminate(SOON), 0);
}
