//! Rejects are sent again once the registry holds their objects: each is taken once, whatever ends the command, and every
//! reading stays accounted for.

use std::time::Duration;

use connectors::Outgoing;
use schemas::{Reason, Reject, RejectStage, time::MINUTE};
use tests::{Site, district};

const SOON: Duration = Duration::from_secs(90);
/// Minutes of reports of the station that the registry lacks.
const MINUTES: i64 = 900;

const READINGS: [(&str, f64); 2] = [("secondary_supply_temp", 45.5), ("outdoor_temp", -9.5)];

/// A report of a station that no connector stopped, and the same from another minute as a connector's reject.
fn records(minute: i64) -> [Outgoing; 2] {
    let at = district::MIDNIGHT + minute * MINUTE;
    let raw = format!(
        r#"{{"facility":"{}","observed_at":{},"readings":{{"secondary_supply_temp":44.5}}}}"#,
        district::code(3),
        at
    );
    let reject = Reject {
        at: at + 500,
        origin: "http:198.51.100.7".to_owned(),
        reason: Reason::UnknownFacility,
        detail: format!("facility {} is not in the registry", district::code(3)),
        raw: raw.into_bytes(),
        stage: RejectStage::Connector,
        readings: 1,
    };
    [Outgoing::Report(district::report(2, at, at + 500, &READINGS)), Outgoing::Reject(reject)]
}

async fn count(site: &Site, sql: &str) -> u64 {
    site.number(sql).await as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_are_taken_once_when_the_registry_holds_their_objects() {
    let config = "clock = \"data\"\n---\n[rules]\nremember_hours = 48\nremember_reports = 2000\n";
    let site = Site::new("redrive", config);
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(1)).await;
    let sent: Vec<Outgoing> = (0..MINUTES).flat_map(records).collect();
    let accepted = site.publish(&sent).await;
    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, SOON).await;
    let rejects = "SELECT count() FROM rejects FINAL WHERE reason = 'unknown_facility'";
    tests::until("rejects are stored", SOON, async || count(&site, rejects).await == 2 * MINUTES as u64)
        .await;

    let redrive = ["rejects", "redrive", "--reason", "unknown_facility"];
    let answer = site.nuanliu(&redrive);
    assert!(answer.contains(&format!("0 taken again, {} refused again", 2 * MINUTES)), "{answer}");
    assert!(answer.contains("unknown_facility: facility ST-0003 is not in the registry"), "{answer}");

    site.publish(&[district::station(2, 10_000.0), district::station(3, 10_000.0)]).await;
    let dry = site.nuanliu(&["rejects", "redrive", "--dry-run", "--stage", "connector"]);
    assert!(dry.contains(&format!("{MINUTES} would be taken again")), "{dry}");
    for pause in [1_500, 2_500, 3_500] {
        let redriving = site.start(&redrive);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        redriving.kill();
    }
    let answer = site.nuanliu(&redrive);
    assert!(answer.contains("0 refused again") && answer.contains("0 left out"), "{answer}");
    let redriven = MINUTES as u64;
    // A connector's rejects were never accepted; they are now.
    let accepted = accepted + redriven * READINGS.len() as u64 + redriven;
    site.stored(accepted, &mut process, SOON).await;
    let of = |facility: usize| {
        format!("SELECT count() FROM readings FINAL WHERE facility = '{}'", district::code(facility))
    };
    assert_eq!(count(&site, &of(2)).await, redriven * READINGS.len() as u64);
    assert_eq!(count(&site, &of(3)).await, redriven);
    assert_eq!(count(&site, "SELECT count() FROM rejects FINAL WHERE reason = 'duplicate'").await, 0);

    let revised = |of: &str| format!("SELECT count() FROM kpis FINAL WHERE scope = 'ST-0002' AND {of}");
    let by_record = "cause = 'redriven' AND startsWith(caused_by, 'reports/')";
    tests::until("KPIs say what revised them", SOON, async || count(&site, &revised(by_record)).await > 0)
        .await;
    assert_eq!(count(&site, &revised("cause = 'late'")).await, 0, "none of it was late by itself");

    let again = site.nuanliu(&redrive);
    assert!(again.contains("0 taken again, 0 refused again"), "{again}");
    let open = site.nuanliu(&["rejects", "list", "--open", "--reason", "unknown_facility"]);
    assert!(!open.contains("unknown_facility"), "{open}");
    let counted = site.nuanliu(&["rejects", "list", "--count"]);
    assert!(counted.contains("redriven") && counted.contains("unknown_facility"), "{counted}");
    assert_eq!(count(&site, rejects).await, 2 * redriven, "what was turned away stays on record");
    assert_eq!(process.terminate(SOON), 0);
    assert_eq!(site.accounted().await, accepted);
}
