//! Ends that nobody plans: a worker that hangs is found by the watchdog, memory is refused. A supervisor starts the process
//! again, and the output is that of an undisturbed run.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use tests::{Process, Site, district, oracles::table::assert_as_undisturbed};

const SOON: Duration = Duration::from_secs(120);
const STATIONS: usize = 6;
const CONFIG: &str = "clock = \"data\"\nrecords_per_partition = 40\nepochs_in_flight = 16\n---\n\
                      [checkpoint]\nevery_epochs = 8\nkeep = 100000\n[operations]\nwatchdog_seconds = 10\n";

async fn begin(name: &str, minutes: i64) -> (Site, u64) {
    let site = Site::new(name, CONFIG);
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(STATIONS)).await;
    let accepted = site.publish(&district::minutes(STATIONS, minutes, 0..minutes)).await;
    (site, accepted)
}

/// A supervised process that hangs when it is started for the first time.
fn hanging_once(site: &Site) -> Process {
    let script = site.path("hangs-once");
    let text =
        "#!/bin/sh\nmkdir hung 2>/dev/null && export NUANLIU_FAILPOINT=read.before:30:hang\nexec \"$@\"\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    site.supervise(&[script.to_str().unwrap()], &["run"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_is_ended_with_a_dump_and_started_again() {
    let (site, accepted) = begin("hangs", 960).await;
    let mut supervisor = hanging_once(&site);
    site.stored(accepted, &mut supervisor, SOON).await;
    let words = supervisor.words();
    for part in [
        "failpoint read.before:30 is reached",
        "the frontier has not moved for",
        "bound up to epoch",
        "worker 1:",
        "sink clickhouse: accepts data",
        "ends of the topics",
        "all start again in 1 s",
    ] {
        assert!(words.contains(part), "{part} is not said:\n{words}");
    }
    assert_eq!(supervisor.terminate(SOON), 0);
    assert!(assert_as_undisturbed(&site, CONFIG, accepted).await > accepted);
}

/// Kilobytes of address space that a process has.
fn address_space(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_is_refused_ends_the_process_and_nothing_else() {
    let (site, mut accepted) = begin("memory", 60).await;
    // The allocator holds no address space that it does not use.
    let small = ["env", "MALLOC_CONF=retain:false"].map(str::to_owned);
    let mut process = site.start_under(&small, &["run"]);
    site.stored(accepted, &mut process, SOON).await;
    let limit = format!("--as={}", (address_space(&process) + 1_024) * 1_024);
    let limited = Command::new("prlimit").args(["--pid", &process.id().to_string(), &limit]).status();
    assert!(limited.unwrap().success());
    // More stations than before need more room than before.
    site.publish(&(STATIONS + 1..=300).map(|number| district::station(number, 10_000.0)).collect::<Vec<_>>())
        .await;
    accepted += site.publish(&district::minutes(300, 12, 0..12)).await;
    assert!(!process.end(SOON).await.success());
    // Whoever asks for the next page is refused: we, or the library that reads from Kafka, which either aborts (without
    // memory for its own words, with those of the C library) or takes what it cannot unpack for damaged.
    let refusals = [
        "memory allocation of",
        "alloc: Assertion `p' failed",
        "Unexpected error.",
        "Invalid compressed data",
    ];
    let words = process.words();
    assert!(refusals.iter().any(|refusal| words.contains(refusal)), "{words}");

    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, SOON).await;
    assert_eq!(process.terminate(SOON), 0);
    assert!(assert_as_undisturbed(&site, CONFIG, accepted).await > accepted);
}
