//! Killed in the middle and started again, as often as one likes: no row lost, none twice, and the same output as a run
//! that nobody disturbed.

use std::{collections::BTreeMap, time::Duration};

use connectors::simulator::{Intervals, Plan, Size, plan_faults};
use schemas::{AlarmTransition, Topic};
use tests::{Site, consume, oracles::table::assert_same, until};

const CONFIG: &str = "clock = \"data\"\nrecords_per_partition = 100\nepochs_in_flight = 16\n---\n\
                      [checkpoint]\nevery_epochs = 8\nkeep = 100000\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_pipeline_goes_on_where_it_was() {
    let site = Site::new("restart", CONFIG);
    site.nuanliu(&["migrate"]);
    let size = Size { plants: 1, branches: 1, boiler_houses: 0, stations: 3, rooms: 4, clean_devices: 4 };
    let intervals = Intervals { clean_device: 5, ..Intervals::default() };
    let plan = Plan { hours: 30, faults_per_kind: 1, intervals, ..Plan::of(size) };
    let sent = site.simulate(&plan, plan_faults(&plan)).await;

    for share in [0.05, 0.15, 0.25] {
        let mut process = site.start(&["run"]);
        let enough = sent.readings as f64 * share;
        until("readings arrive", Duration::from_secs(120), async || {
            process.must_run();
            site.accounted().await as f64 > enough
        })
        .await;
        process.kill();
        assert!(
            site.accounted().await < sent.readings,
            "it was killed when all was done: make the plan larger"
        );
    }
    // A clean stop in the middle goes on too.
    let mut process = site.start(&["run"]);
    until("readings arrive", Duration::from_secs(120), async || {
        process.must_run();
        site.accounted().await as f64 > sent.readings as f64 * 0.35
    })
    .await;
    assert_eq!(process.terminate(Duration::from_secs(60)), 0);
    let mut process = site.start(&["run"]);
    site.stored(sent.readings, &mut process, Duration::from_secs(120)).await;
    assert_eq!(process.terminate(Duration::from_secs(60)), 0);

    nothing_twice(&site).await;
    transitions_once(&site).await;

    let undisturbed = site.beside("undisturbed", CONFIG);
    undisturbed.nuanliu(&["migrate"]);
    site.give_bindings(&undisturbed);
    let mut process = undisturbed.start(&["run"]);
    undisturbed.stored(sent.readings, &mut process, Duration::from_secs(120)).await;
    assert_eq!(process.terminate(Duration::from_secs(60)), 0);
    assert!(assert_same(&site, &undisturbed).await > 10_000);
}

/// No (key, epoch) has two rows, even before merges.
async fn nothing_twice(site: &Site) {
    for (table, key) in [
        ("readings", "facility, device, metric, observed_at"),
        ("kpis", "kpi, scope_kind, scope, period, window_start"),
        ("quality", "scope_kind, scope, period, window_start"),
        ("estimates", "model, facility, device, hour"),
        ("alarms", "alarm_id"),
        ("alarm_events", "alarm_id, sequence"),
        ("rejects", "at, reason, origin, row"),
    ] {
        let sql = format!(
            "SELECT toString(tuple({key}, epoch)), count() AS rows FROM {table} GROUP BY {key}, epoch HAVING rows > 1 \
             LIMIT 5"
        );
        let twice = site.query(&sql).await;
        assert!(twice.is_empty(), "{table} has rows twice: {twice:?}");
    }
}

/// A downstream system sees every transition once, in the order of its episode, and the same as the table.
async fn transitions_once(site: &Site) {
    let mut seen: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for record in consume::<AlarmTransition>(&site.kafka(), Topic::Alarms) {
        seen.entry(record.value.alarm_id).or_default().push(record.value.sequence);
    }
    for (alarm, sequences) in &seen {
        let in_order: Vec<u32> = (1..=sequences.len() as u32).collect();
        assert_eq!(*sequences, in_order, "{alarm}");
    }
    let transitions: usize = seen.values().map(Vec::len).sum();
    assert!(transitions > 5, "{transitions} transitions");
    assert_eq!(site.number("SELECT count() FROM alarm_events FINAL").await as usize, transitions);
}
