//! Ended before, in the middle of and after every durable step, again and again: every output is, byte for byte, what an
//! undisturbed run over the same bindings gives.
//!
//! `make soak` does a thousand: `NUANLIU_CRASHES` and `NUANLIU_SEED` change the number and the seed; every fifty
//! crashes have topics, a database and a load of their own.

use std::time::Duration;

use jiff::tz::TimeZone;
use schemas::Epoch;
use tests::{
    Site,
    campaign::Campaign,
    checker::Checker,
    load::Load,
    oracles::{table, topics},
};

/// Checkpoints are taken and removed all the time, and nothing is remembered so briefly that a repetition would be stored
/// twice. What the machine itself does (a full disk) is not the campaign's.
const CONFIG: &str = "workers = 1\nclock = \"data\"\nepoch_ms = 100\nrecords_per_partition = 100\n---\n\
                      [rules]\nremember_hours = 48\nremember_reports = 2000\nlateness_hours = 48\n\
                      [checkpoint]\nevery_epochs = 8\nkeep = 2\n\
                      [operations]\ndisk_free_percent = 0.0\n";
/// Crashes on one set of topics.
const CRASHES: usize = 50;
/// Hours of the simulated district.
const HOURS: u32 = 18;

fn setting(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: give a number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_the_process_the_output_is_that_of_an_undisturbed_run() {
    let seed = setting("NUANLIU_SEED").unwrap_or(1);
    let crashes = setting("NUANLIU_CRASHES").map_or(CRASHES, |crashes| crashes as usize);
    for (number, begin) in (0..crashes).step_by(CRASHES).enumerate() {
        campaign(seed + number as u64, CRASHES.min(crashes - begin)).await;
    }
}

async fn campaign(seed: u64, crashes: usize) {
    let site = Site::new("crashes", CONFIG);
    site.nuanliu(&["migrate"]);
    // A merge would hide that a block was stored twice.
    for table in table::TABLES {
        site.query(&format!("SYSTEM STOP MERGES {}.{table}", site.name)).await;
    }
    let load = Load::of(seed, HOURS);
    let mut campaign = Campaign::of(&site, seed).await;
    campaign.run(&load, crashes).await;
    eprintln!("seed {seed}: the process ended at\n{}", campaign.summary());

    check(&site).await;
    let none = topics::Ends::new();
    let disturbed = topics::TOPICS.map(|topic| topics::said(&site, topic, &none, u64::MAX));
    let ends = topics::ends(&site);
    let (undisturbed, last) = undisturbed(&site, &load).await;
    let rows = table::assert_same_until(&site, &undisturbed, last).await;
    for (topic, one) in topics::TOPICS.into_iter().zip(disturbed) {
        let other = topics::said(&undisturbed, topic, &ends, last);
        topics::assert_same(topic, &one, &other);
        // How often an alarm is revised depends on how the epochs fell; that there are alarms does not.
        assert!(one.len() > 2, "{}: {} records", topic.name(), one.len());
    }
    eprintln!("seed {seed}: {rows} rows are the same");
}

/// What can be said without another run.
async fn check(site: &Site) {
    let zone = TimeZone::get("Asia/Shanghai").unwrap();
    let statements = Checker { kafka: site.kafka(), clickhouse: site.clickhouse(), zone }.check().await;
    let text: Vec<String> = statements.iter().map(ToString::to_string).collect();
    eprintln!("{}", text.join("\n"));
    assert!(statements.iter().all(|statement| statement.against.is_empty()), "{}", text.join("\n"));
}

/// Runs a second pipeline over the bindings of the first, into a database of its own and onto the same topics;
/// gives it and the last epoch of these bindings.
async fn undisturbed(site: &Site, load: &Load) -> (Site, Epoch) {
    let other = site.beside("undisturbed", CONFIG);
    other.nuanliu(&["migrate"]);
    let last = site.give_bindings(&other);
    let mut process = other.start(&["run"]);
    other.stored(load.readings, &mut process, Duration::from_secs(180)).await;
    assert_eq!(process.terminate(Duration::from_secs(60)), 0);
    (other, last)
}
