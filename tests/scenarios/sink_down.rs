//! ClickHouse goes away, and answers get lost: alarms go on, what ClickHouse lacks waits on disk, also through a crash,
//! and nothing is lost or doubled.

use std::{fs, time::Duration};

use connectors::Outgoing;
use schemas::{AlarmTransition, Topic, Transition, time::MINUTE};
use tests::{Process, Proxy, Site, consume, district, site, until};

const PAUSED: &str = "nuanliu_sink_paused{sink=\"clickhouse\"}";
const WAITING: &str = "nuanliu_spool_blocks";
const BOUND: &str = "nuanliu_epoch_bound";
const SOON: Duration = Duration::from_secs(60);

/// A site whose pipeline reaches ClickHouse through a proxy.
async fn behind_a_proxy() -> (Site, Proxy) {
    let site = Site::new("sink_down", "epoch_ms = 50\n");
    site.nuanliu(&["migrate"]);
    let clickhouse = site::service("NUANLIU_CLICKHOUSE");
    let proxy = Proxy::before(&clickhouse).await;
    site.reconfigure(&clickhouse, &proxy.url);
    site.publish(&district::registry(2)).await;
    (site, proxy)
}

/// Publishes minutes of both stations as they happen now; gives the number of readings.
async fn publish(site: &Site, minutes: std::ops::Range<i64>) -> u64 {
    let start = jiff::Timestamp::now().as_millisecond() / MINUTE * MINUTE - 30 * MINUTE;
    let reports = minutes.flat_map(|minute| [1, 2].map(|station| (station, start + minute * MINUTE)));
    let report = |(station, at): (usize, i64)| {
        let readings =
            [("secondary_supply_temp", 45.0 + (at / MINUTE % 7) as f64 / 10.0), ("outdoor_temp", -9.5)];
        Outgoing::Report(district::report(station, at, at + 500, &readings))
    };
    site.publish(&reports.map(report).collect::<Vec<_>>()).await
}

async fn paused(site: &Site, process: &mut Process, wanted: f64) {
    until("the metric of the sink follows", SOON, async || {
        process.must_run();
        site.metric(PAUSED).await == Some(wanted)
    })
    .await;
}

/// The transitions of `sink_down` for ClickHouse that a downstream system has seen.
fn told(site: &Site) -> Vec<Transition> {
    let records = consume::<AlarmTransition>(&site.kafka(), Topic::Alarms).into_iter();
    let about = |alarm: &AlarmTransition| alarm.rule == "sink_down" && alarm.device == "clickhouse";
    let mut told: Vec<AlarmTransition> = records.map(|record| record.value).filter(about).collect();
    told.sort_by_key(|alarm| alarm.sequence);
    told.into_iter().map(|alarm| alarm.transition).collect()
}

/// Waits until so many more epochs were bound than may be on their way at once.
async fn epochs_go_on(site: &Site, process: &mut Process) {
    let from = site.metric(BOUND).await.unwrap_or(0.0);
    until("epochs go on", SOON, async || {
        process.must_run();
        site.metric(BOUND).await.is_some_and(|bound| bound > from + 100.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_holds_no_alarm_and_loses_nothing() {
    let (site, proxy) = behind_a_proxy().await;
    let mut accepted = publish(&site, 0..10).await;
    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, SOON).await;
    paused(&site, &mut process, 0.0).await;
    assert_eq!(site.metric(WAITING).await, Some(0.0), "a store that is there needs no disk");

    proxy.set_down(true);
    let before = accepted;
    accepted += publish(&site, 10..20).await;
    paused(&site, &mut process, 1.0).await;
    until("the alarm is raised", SOON, async || told(&site).first() == Some(&Transition::Raised)).await;
    epochs_go_on(&site, &mut process).await;
    assert_eq!(site.accounted().await, before, "nothing passes a store that is away");
    assert!(proxy.refused() > 1, "it is asked again and again");

    // What waits on disk is there after a crash, and goes on waiting.
    process.kill();
    let mut process = site.start(&["run"]);
    accepted += publish(&site, 20..30).await;
    paused(&site, &mut process, 1.0).await;
    epochs_go_on(&site, &mut process).await;
    assert!(site.metric(WAITING).await > Some(0.0));

    proxy.set_down(false);
    site.stored(accepted, &mut process, SOON).await;
    paused(&site, &mut process, 0.0).await;
    until("the alarm is cleared", SOON, async || told(&site).last() == Some(&Transition::Cleared)).await;
    until("nothing waits", SOON, async || site.metric(WAITING).await == Some(0.0)).await;
    assert_eq!(process.terminate(SOON), 0);
    assert_eq!(fs::read_dir(site.path("state").join("spool")).unwrap().count(), 0);
    let open = "SELECT count() FROM alarms_active WHERE rule = 'sink_down'";
    assert_eq!(site.number(open).await, 0.0);
    let rows = site.number("SELECT count() FROM readings").await;
    assert_eq!(rows as u64, accepted, "rows before any merge");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_store_is_away_leaves_its_rows_for_the_next_start() {
    let (site, proxy) = behind_a_proxy().await;
    let mut process = site.start(&["run"]);
    let mut accepted = publish(&site, 0..5).await;
    site.stored(accepted, &mut process, SOON).await;
    proxy.set_down(true);
    accepted += publish(&site, 5..15).await;
    paused(&site, &mut process, 1.0).await;
    epochs_go_on(&site, &mut process).await;
    assert_eq!(process.terminate(SOON), 0, "a clean stop needs no store");
    proxy.set_down(false);
    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, SOON).await;
    assert_eq!(process.terminate(SOON), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_spool_everything_waits_for_the_store() {
    let (site, proxy) = behind_a_proxy().await;
    site.reconfigure("[clickhouse]\n", "[clickhouse]\nspool = false\n");
    let mut process = site.start(&["run"]);
    let mut accepted = publish(&site, 0..5).await;
    site.stored(accepted, &mut process, SOON).await;
    proxy.set_down(true);
    accepted += publish(&site, 5..15).await;
    paused(&site, &mut process, 1.0).await;
    let mut bound = None;
    until("epochs stop", SOON, async || {
        let before = bound;
        bound = site.metric(BOUND).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        bound == before
    })
    .await;
    proxy.set_down(false);
    site.stored(accepted, &mut process, SOON).await;
    // It stops before the peace has lasted, and says all the same that the sink is back.
    assert_eq!(process.terminate(SOON), 0);
    assert_eq!(site.alarms("sink_down").await, ["cleared"]);
    assert_eq!(told(&site).last(), Some(&Transition::Cleared));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_stores_nothing_twice() {
    let (site, proxy) = behind_a_proxy().await;
    let mut process = site.start(&["run"]);
    let mut accepted = publish(&site, 0..5).await;
    site.stored(accepted, &mut process, SOON).await;
    proxy.lose_answers(3);
    accepted += publish(&site, 5..25).await;
    site.stored(accepted, &mut process, SOON).await;
    until("answers are lost", SOON, async || proxy.lost() == 3).await;
    assert_eq!(process.terminate(SOON), 0);
    let rows = site.number("SELECT count() FROM readings").await;
    assert_eq!(rows as u64, accepted, "rows before any merge");
    assert_eq!(site.accounted().await, accepted);
}
