//! A process that others believe dead wakes up when another one has taken over: it writes nothing and ends.

use std::{process::Command, time::Duration};

use connectors::Outgoing;
use schemas::{AlarmTransition, Topic, time::MINUTE};
use tests::{Site, consume, district};

const SOON: Duration = Duration::from_secs(90);

async fn publish(site: &Site, minutes: std::ops::Range<i64>) -> u64 {
    let start = jiff::Timestamp::now().as_millisecond() / MINUTE * MINUTE - 120 * MINUTE;
    let report = |(station, at): (usize, i64)| {
        let readings = [("secondary_supply_temp", 45.0), ("outdoor_temp", -9.5)];
        Outgoing::Report(district::report(station, at, at + 500, &readings))
    };
    let reports = minutes.flat_map(|minute| [1, 2].map(|station| (station, start + minute * MINUTE)));
    site.publish(&reports.map(report).collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_replaced_while_it_slept_writes_nothing() {
    let site = Site::new("zombie", "epoch_ms = 50\n");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(2)).await;
    let mut sleeper = site.start(&["run"]);
    let mut accepted = publish(&site, 0..10).await;
    site.stored(accepted, &mut sleeper, SOON).await;
    sleeper.signal("STOP");

    // On the same machine nobody goes on beside it unless told to.
    let other = Site::new("zombie_ports", "");
    site.reconfigure(&site.metrics, &other.metrics);
    let (code, said) = site.try_nuanliu(&["run"]);
    assert!(code == 1 && said.contains("held by another running pipeline"), "{code}: {said}");
    assert!(said.contains("--take-over"), "{said}");

    // Another machine takes over, with what was copied of the state; the sleeper still holds its ports and its lock.
    let copied =
        Command::new("cp").arg("-r").args([site.path("state"), site.path("state of another")]).status();
    assert!(copied.unwrap().success());
    let state = |name: &str| format!("state = {:?}", site.path(name));
    site.reconfigure(&state("state"), &state("state of another"));
    let mut successor = site.start(&["run"]);
    // What arrives now would be new to the sleeper too, in other epochs.
    accepted += publish(&site, 10..20).await;
    site.stored(accepted, &mut successor, SOON).await;

    sleeper.signal("CONT");
    assert!(!sleeper.end(SOON).await.success());
    successor.must_run();
    assert!(sleeper.log().contains("another process of this pipeline"), "{}", sleeper.log());
    accepted += publish(&site, 20..25).await;
    site.stored(accepted, &mut successor, SOON).await;
    assert_eq!(successor.terminate(SOON), 0);
    let rows = site.number("SELECT count() FROM readings").await;
    assert_eq!(rows as u64, accepted, "rows before any merge");
    let mut told: Vec<(String, u32)> = consume::<AlarmTransition>(&site.kafka(), Topic::Alarms)
        .into_iter()
        .map(|record| (record.value.alarm_id, record.value.sequence))
        .collect();
    let transitions = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), transitions, "a transition was told twice");
}
