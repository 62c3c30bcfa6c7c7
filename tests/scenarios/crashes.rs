//! Ended before, in the middle of and after every durable step, again and again: every output is, byte for byte, what an
//! undisturbed run over the same bindings gives.
//!
//! `make soak` does a thousand, and 160 each of a cluster and with a bucket: `NUANLIU_CRASHES` and `NUANLIU_SEED` change
//! the number and the seed; every fifty crashes have topics, a database and a load of their own.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use jiff::tz::TimeZone;
use schemas::{Epoch, Topic};
use tests::{
    Province, Site,
    campaign::Campaign,
    checker::Checker,
    load::Load,
    oracles::{table, topics},
    province, site, until,
};

/// Checkpoints are taken and removed all the time, and nothing is remembered so briefly that a repetition would be stored
/// twice.
const CONFIG: &str = "workers = 1\nclock = \"data\"\nepoch_ms = 100\nrecords_per_partition = 100\n---\n\
                      [rules]\nremember_hours = 48\nremember_reports = 2000\nlateness_hours = 48\n\
                      [checkpoint]\nevery_epochs = 8\nkeep = 2\n";
/// Crashes on one set of topics.
const CRASHES: usize = 50;
/// Crashes of a cluster, and with checkpoints in a bucket.
const FEW: usize = 8;
/// Hours of the simulated district.
const HOURS: u32 = 18;
/// What the province is told.
const TABLES: [&str; 2] = ["heat_station", "device_alarm"];
const SOON: Duration = Duration::from_secs(120);

fn setting(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: give a number")))
}

/// What a campaign runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ground {
    /// One process that reports to a province.
    Process,
    /// Two processes.
    Cluster,
    /// One process with its checkpoints in a bucket.
    Bucket,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_the_process_the_output_is_that_of_an_undisturbed_run() {
    campaigns(Ground::Process, CRASHES, HOURS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_one_of_a_cluster_the_output_is_that_of_an_undisturbed_process() {
    campaigns(Ground::Cluster, FEW, HOURS / 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_the_process_its_checkpoints_in_a_bucket_are_right() {
    campaigns(Ground::Bucket, FEW, HOURS / 3).await;
}

/// A campaign of so many crashes, or more of them where the environment wants more than [`CRASHES`], in proportion.
async fn campaigns(ground: Ground, crashes: usize, hours: u32) {
    let seed = setting("NUANLIU_SEED").unwrap_or(1);
    let wanted = setting("NUANLIU_CRASHES").map_or(CRASHES, |crashes| crashes as usize);
    for (number, begin) in (0..wanted).step_by(CRASHES).enumerate() {
        let share = crashes * CRASHES.min(wanted - begin);
        campaign(ground, seed + number as u64, share.div_ceil(CRASHES), hours).await;
    }
}

async fn campaign(ground: Ground, seed: u64, crashes: usize, hours: u32) {
    let place = match ground {
        Ground::Bucket => {
            let prefix = format!("crashes_{}_{seed}", std::process::id());
            format!("url = \"s3://nuanliu/{prefix}\"\nendpoint = {:?}\n", site::service("NUANLIU_S3"))
        }
        _ => String::new(),
    };
    let exchange = if ground == Ground::Process { province::exchange(&TABLES) } else { String::new() };
    let config = format!("{CONFIG}{place}{exchange}");
    let site = Site::new("crashes", &config);
    site.nuanliu(&["migrate"]);
    // A merge would hide that a block was stored twice.
    for table in table::tables() {
        site.query(&format!("SYSTEM STOP MERGES {}.{table}", site.name)).await;
    }
    let load = Load::of(seed, hours);
    let mut campaign = Campaign::of(&site, seed).await;
    if ground == Ground::Cluster {
        campaign = campaign.on_a_cluster();
    }
    let mut province = None;
    if ground == Ground::Process {
        campaign = campaign.with(province.insert(Province::of(&site).await));
    }
    campaign.run(&load, crashes).await;
    eprintln!("seed {seed}: the process ended at\n{}", campaign.summary());

    check(&site).await;
    let none = topics::Ends::new();
    let disturbed = topics::TOPICS.map(|topic| topics::said(&site, topic, &none, u64::MAX));
    let ends = topics::ends(&site);
    let (undisturbed, last, another) = undisturbed(&site, &load, province.is_some()).await;
    let rows = table::assert_same_until(&site, &undisturbed, last).await;
    for (topic, one) in topics::TOPICS.into_iter().zip(disturbed) {
        let other = topics::said(&undisturbed, topic, &ends, last);
        topics::assert_same(topic, &one, &other);
        // How often an alarm is revised depends on how the epochs fell; that there are alarms does not.
        let least = if topic == Topic::Alarms { 4 * hours as usize } else { 3 };
        assert!(one.len() >= least, "{}: {} records", topic.name(), one.len());
    }
    eprintln!("seed {seed}: {rows} rows are the same");
    if let Some((province, another)) = province.zip(another) {
        reported(&site, &province, &another).await;
    }
}

/// The province of a stopped site is told the same as another one, and twice only what nobody knew that it had.
async fn reported(site: &Site, province: &Province, another: &Province) {
    let mut process = site.start(&["run"]);
    let wanted = about_facilities(another);
    let begun = Instant::now();
    // It must have started, or its end is no clean one.
    while !process.words().contains("the dataflow starts") || about_facilities(province) != wanted {
        process.must_run();
        let told = about_facilities(province);
        let differs = |one: &[String], other: &[String]| -> Vec<String> {
            one.iter().filter(|row| !other.contains(row)).cloned().collect()
        };
        let (lacks, has) = (differs(&wanted, &told), differs(&told, &wanted));
        assert!(
            begun.elapsed() < SOON,
            "the province lacks {lacks:#?}\nand has {has:#?}\n{}",
            process.words()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let told = last_event(site);
    until("the history of deliveries is copied", SOON, async || {
        process.must_run();
        site.number("SELECT max(sequence) FROM exchange_ledger").await >= told
    })
    .await;
    assert_eq!(process.terminate(SOON), 0);
    eprintln!("{} rows of the province are the same", wanted.len());
    // Only where an answer was lost and the province did not say what it has, a row is sent again, unchanged. Two rows
    // may say the same, such as an alarm that was revised twice: the other province has them too.
    let (told, owed) = (pushes(province), pushes(another));
    let owed = |row: &String| owed.get(row).copied().unwrap_or(0);
    let again = told.iter().map(|(row, times)| (row, *times, owed(row)));
    // What the other province has said otherwise, it was owed once.
    let again: Vec<_> = again.filter(|(_, told, owed)| *told > (*owed).max(1)).collect();
    let uncertain = site.number("SELECT count() FROM exchange_ledger WHERE outcome = 'uncertain'").await;
    let times: usize = again.iter().map(|(_, told, owed)| told - (*owed).max(1)).sum();
    assert!(
        times as f64 <= uncertain,
        "{uncertain} rows were uncertain, and these were told and owed so often: {again:#?}"
    );
}

/// The number of the last event in the ledger of a site.
fn last_event(site: &Site) -> f64 {
    let files = fs::read_dir(site.path("ledger")).unwrap().map(|file| file.unwrap().path());
    let text: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    text.split("\"sequence\":").skip(1).filter_map(number).fold(0.0, f64::max)
}

/// How often each row was pushed.
fn pushes(province: &Province) -> BTreeMap<String, usize> {
    let mut pushes = BTreeMap::new();
    for (table, row) in province.received() {
        *pushes.entry(format!("{table} {row:?}")).or_default() += 1;
    }
    pushes
}

/// What a province holds about facilities; what the platform says about itself depends on how long it ran.
fn about_facilities(province: &Province) -> Vec<String> {
    let holds = province.holds().into_iter();
    let about = holds.filter(|(_, row)| !row.contains("\"SZSSDM\":\"\""));
    about.map(|((table, _), row)| format!("{table} {row}")).collect()
}

/// What can be said without another run.
async fn check(site: &Site) {
    let zone = TimeZone::get("Asia/Shanghai").unwrap();
    let statements = Checker { kafka: site.kafka(), clickhouse: site.clickhouse(), zone }.check().await;
    let text: Vec<String> = statements.iter().map(ToString::to_string).collect();
    eprintln!("{}", text.join("\n"));
    assert!(statements.iter().all(|statement| statement.against.is_empty()), "{}", text.join("\n"));
}

/// Runs a second pipeline over the bindings of the first, into a database of its own and onto the same topics; gives it,
/// the last epoch of these bindings and, where it shall report, the province that it reported everything to.
async fn undisturbed(site: &Site, load: &Load, reports: bool) -> (Site, Epoch, Option<Province>) {
    let exchange = if reports { province::exchange(&TABLES) } else { String::new() };
    let other = site.beside("undisturbed", &format!("{CONFIG}{exchange}"));
    other.nuanliu(&["migrate"]);
    let last = site.give_bindings(&other);
    let province = if reports { Some(Province::of(&other).await) } else { None };
    let mut process = other.start(&["run"]);
    other.stored(load.readings, &mut process, Duration::from_secs(180)).await;
    if reports {
        until("everything is with the province", SOON, async || {
            process.must_run();
            let owed = async || other.metric("nuanliu_sink_pending{sink=\"exchange\"}").await != Some(0.0);
            if other.metric("nuanliu_epoch_delivered").await <= Some(last as f64) || owed().await {
                return false;
            }
            // The ledger is looked at every second.
            tokio::time::sleep(Duration::from_secs(2)).await;
            !owed().await
        })
        .await;
    }
    assert_eq!(process.terminate(Duration::from_secs(60)), 0);
    (other, last, province)
}
