//! What others sent is shown to a person: it steers no terminal, and one record that cannot be read stops no command.

use std::{path::PathBuf, time::Duration};

use connectors::Outgoing;
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use schemas::{Reason, Reject, RejectStage, Topic, time::MINUTE};
use tests::{Site, district, until};

const SOON: Duration = Duration::from_secs(60);
/// Sets the title of a terminal, clears its screen, turns the order of letters, and begins a line of its own.
const STEERS: &str = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\nforged 2026-01-01 ok";

/// Panics where an answer would steer a terminal.
fn harmless(answer: &str) {
    let steers = |letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}';
    assert!(!answer.contains(steers), "{answer:?}");
    assert!(!answer.lines().any(|line| line.starts_with("forged")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_steer_no_terminal_and_a_hangup_stops_cleanly() {
    let site = Site::new("terminal", "");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(1)).await;
    let at = jiff::Timestamp::now().as_millisecond() - MINUTE;
    let origin = format!("mqtt:site/{STEERS}");
    let reject = |reason| {
        Outgoing::Reject(Reject {
            at,
            origin: origin.clone(),
            reason,
            detail: format!("facility {STEERS} is not in the registry"),
            raw: [STEERS.as_bytes(), b"\xff\x1b[31m"].concat(),
            stage: RejectStage::Connector,
            readings: 1,
        })
    };
    site.publish(&[reject(Reason::UnknownFacility), reject(Reason::Malformed)]).await;
    // Whoever runs the tests may be deaf to hangups, and what it starts would be too.
    let hears = ["env".to_owned(), "--default-signal=HUP".to_owned()];
    let mut process = site.start_under(&hears, &["run"]);
    let stored = "SELECT count() FROM rejects FINAL WHERE startsWith(origin, 'mqtt:site/')";
    until("the rejects are stored", SOON, async || {
        process.must_run();
        site.number(stored).await == 2.0
    })
    .await;
    let listed = site.nuanliu(&["rejects", "list"]);
    harmless(&listed);
    assert_eq!(
        listed.matches("mqtt:site/\\u{1b}]0;owned\\u{7}\\u{9b}2J\\u{202e}\\nforged").count(),
        2,
        "{listed}"
    );
    assert!(listed.contains("\\xff\\u{1b}[31m"), "{listed}");
    harmless(&site.nuanliu(&["rejects", "list", "--count"]));
    let redriven = site.nuanliu(&["rejects", "redrive", "--dry-run"]);
    harmless(&redriven);
    assert!(redriven.contains("left out") && redriven.contains("\\u{1b}]0;owned"), "{redriven}");

    process.signal("HUP");
    assert!(process.end(SOON).await.success(), "{}", process.log());
    let log = process.log();
    assert!(log.contains("stopping: what was read is finished first"), "{log}");
    assert!(!log.contains('\u{1b}'), "a file needs no colours:\n{log}");
}

async fn write(site: &Site, key: &str, value: &[u8]) {
    let kafka = site.kafka();
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &kafka.brokers).create().unwrap();
    let topic = kafka.topic(Topic::Registry);
    producer.send(FutureRecord::to(&topic).key(key).payload(value), SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_record_that_cannot_be_read_stops_no_command() {
    let site = Site::new("registry", "");
    site.nuanliu(&["migrate"]);
    let files = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/xai4heat/registry");
    let files = files.to_str().unwrap();
    site.nuanliu(&["registry", "load", files]);
    assert!(site.nuanliu(&["registry", "diff", files]).contains("0 entries differ"));

    write(&site, "enterprise/XAI", b"no entry\x1b[2J").await;
    write(&site, "facility/GONE\u{1b}[2J", b"no entry").await;
    let diff = site.nuanliu(&["registry", "diff", files]);
    harmless(&diff);
    assert!(diff.contains("+ enterprise/XAI"), "{diff}");
    assert!(diff.contains("1 entries differ, 2 records are not readable"), "{diff}");
    let place = format!("{}/", site.kafka().topic(Topic::Registry));
    let told = |key: &str| {
        let told =
            |line: &&str| line.contains(&place) && line.contains(&format!("with key `{key}` is passed over"));
        diff.lines().any(|line| told(&line) && line.contains("registry load"))
    };
    assert!(told("enterprise/XAI") && told("facility/GONE\\u{1b}[2J"), "{diff}");

    let copy = site.path("copy");
    site.nuanliu(&["registry", "export", copy.to_str().unwrap()]);
    assert!(copy.join("facilities.csv").exists());
    site.nuanliu(&["registry", "load", files]);
    let diff = site.nuanliu(&["registry", "diff", files]);
    assert!(diff.contains("0 entries differ, 1 records are not readable"), "{diff}");
    site.nuanliu(&["registry", "load", files, "--prune"]);
    let diff = site.nuanliu(&["registry", "diff", files]);
    assert!(diff.contains("0 entries differ, 0 records are not readable"), "{diff}");
}
