//! Time that is not what it seems: our clock is set forward and back while the pipeline runs, and the pipeline is away
//! while time goes on. Neither invents an alarm of silence.

use std::time::Duration;

use schemas::time::{HOUR, MINUTE};
use tests::{Site, WallClock, district, until};

const FAR: Duration = Duration::from_secs(5 * 3_600);
const SOON: Duration = Duration::from_secs(90);

/// Reports of stations as they happen now, every half a second; never ends.
async fn report(site: &Site, stations: &[usize]) {
    let publisher = site.publisher();
    loop {
        let now = jiff::Timestamp::now().as_millisecond();
        let reports = stations.iter().map(|station| district::healthy(*station, now - 500)).collect();
        publisher.publish(reports).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_is_an_alarm_and_nothing_else() {
    let site = Site::new("clock_set", "epoch_ms = 50\n");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(2)).await;
    let clock = WallClock::right(site.directory.path());
    let mut process = site.start_under(&clock.program(), &["run"]);
    let began = jiff::Timestamp::now().as_millisecond();

    let script = async {
        let mut readings = 0.0;
        let mut more_come = async |what: &str| {
            let enough = readings + 40.0;
            until(what, SOON, async || {
                process.must_run();
                readings = site.number("SELECT count() FROM readings").await;
                readings > enough
            })
            .await;
        };
        more_come("readings come").await;
        clock.set_ahead(FAR);
        until("the alarm stands", SOON, async || site.alarms("clock_skew").await == ["active"]).await;
        more_come("readings come while it is ahead").await;
        clock.set_back(FAR);
        more_come("readings come while it is behind").await;
        assert_eq!(site.alarms("clock_skew").await, ["active"]);
        clock.set_right();
        until("the alarm is over", SOON, async || site.alarms("clock_skew").await == ["cleared"]).await;
        more_come("readings come").await;
    };
    tokio::select! {
        () = script => {}
        () = report(&site, &[1, 2]) => {}
    }
    assert_eq!(process.terminate(SOON), 0);
    let others = site.query("SELECT rule, facility FROM alarms FINAL WHERE rule != 'clock_skew'").await;
    assert!(others.is_empty(), "{others:?}");
    // Everything that carries the platform's time carries the right one.
    let ended = jiff::Timestamp::now().as_millisecond();
    let told = site.query("SELECT toUnixTimestamp64Milli(at) FROM alarm_events FINAL").await;
    for at in told.iter().map(|row| row[0].parse::<i64>().unwrap()) {
        assert!((began - MINUTE..ended + MINUTE).contains(&at), "{at} is not between {began} and {ended}");
    }
    let (first, last) = ((began - HOUR) / 1_000, ended / 1_000);
    let windows = format!(
        "SELECT count() FROM kpis FINAL WHERE period = 'hour' AND toUnixTimestamp(window_start) NOT BETWEEN {first} AND {last}"
    );
    assert_eq!(site.number(&windows).await, 0.0, "windows of hours that have not been");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_we_are_away_nobody_falls_silent_whose_data_waits() {
    let site = Site::new("away", "epoch_ms = 50\n---\n[checkpoint]\nevery_epochs = 8\n");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(0)).await;
    site.publish(&[1, 2].map(|number| district::station_lost_after(number, 8))).await;
    let lost = "SELECT facility FROM alarms FINAL WHERE rule = 'communication_lost'";
    let script = async {
        let mut process = site.start(&["run"]);
        until("both stations are known", SOON, async || {
            process.must_run();
            site.number("SELECT uniqExact(facility) FROM readings").await == 2.0
        })
        .await;
        process.kill();
        tokio::time::sleep(Duration::from_secs(16)).await;
        let mut process = site.start(&["run"]);
        // Station 2 really is silent, and has been all the time.
        until("silence is an alarm", SOON, async || {
            process.must_run();
            !site.query(lost).await.is_empty()
        })
        .await;
        // Long enough for the others to be found silent, if they were taken to be.
        tokio::time::sleep(Duration::from_secs(3)).await;
        process
    };
    let short = async {
        tokio::time::timeout(Duration::from_secs(4), report(&site, &[1, 2])).await.unwrap_err();
        report(&site, &[1]).await;
    };
    let process = tokio::select! {
        process = script => process,
        () = short => unreachable!("devices never end"),
    };
    assert_eq!(process.terminate(SOON), 0);
    assert_eq!(site.query(lost).await, [["ST-0002"]]);
    assert_eq!(site.alarms("communication_lost").await, ["active"]);
}
