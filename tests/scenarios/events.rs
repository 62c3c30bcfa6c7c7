//! A repair that stops the supply is an alarm until heat flows again: it outlives a kill -9, and is taken again once the
//! registry holds its facility.

use std::time::Duration;

use connectors::Outgoing;
use schemas::{Event, Millis, event::REPAIR};
use tests::{Site, district};

const SOON: Duration = Duration::from_secs(90);

fn event(id: &str, station: usize, at: Millis, fields: &[(&str, String)]) -> Event {
    Event {
        id: id.to_owned(),
        kind: REPAIR.to_owned(),
        facility: district::code(station),
        at,
        received_at: at + 1,
        origin: "kafka:elsewhere".to_owned(),
        fields: fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
    }
}

/// State, level, current value and number of the last transition of the alarms about a station.
async fn alarms(site: &Site, station: usize) -> Vec<Vec<String>> {
    let sql = format!(
        "SELECT state, level, current_value, sequence FROM alarms FINAL WHERE rule = 'supply_stopped' AND facility = '{}' ORDER BY raised_at",
        district::code(station)
    );
    site.query(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_stops_the_supply_is_an_alarm_until_heat_flows_again() {
    let site = Site::new("events", "");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(1)).await;
    let began = jiff::Timestamp::now().as_millisecond() - 3_600_000;
    let area = |area: &str| ("stopped_area", area.to_owned());
    site.publish(&[Outgoing::Event(event("R-1", 1, began, &[area("52000")]))]).await;
    site.publish(&[Outgoing::Event(event("R-2", 2, began, &[area("9")]))]).await;
    site.publish(&[Outgoing::Event(event("R-3", 1, began, &[area("half")]))]).await;
    let process = site.start(&["run"]);
    let raised = async |area: &str| alarms(&site, 1).await == [["active", "3", area, "1"]];
    tests::until("the repair is an alarm", SOON, async || raised("52000").await).await;
    let rejects = "SELECT reason FROM rejects FINAL ORDER BY reason";
    let named = [["unknown_facility"], ["wrong_type"]];
    tests::until("the others are rejects", SOON, async || site.query(rejects).await == named).await;
    process.kill();

    // The second word of the same repair comes while nobody reads.
    let ended = ("ended_at", (began + 1_800_000).to_string());
    site.publish(&[Outgoing::Event(event("R-1", 1, began, &[area("52000"), ended]))]).await;
    site.publish(&[district::station(2, 10_000.0)]).await;
    let process = site.start(&["run"]);
    let cleared = [["cleared", "3", "0", "2"]];
    tests::until("the alarm is over", SOON, async || alarms(&site, 1).await == cleared).await;
    let answer = site.nuanliu(&["rejects", "redrive", "--reason", "unknown_facility"]);
    assert!(answer.contains("1 taken again, 0 refused again"), "{answer}");
    tests::until("the other repair is an alarm", SOON, async || {
        alarms(&site, 2).await == [["active", "3", "9", "1"]]
    })
    .await;
    assert_eq!(process.terminate(SOON), 0);
    let evidence = "SELECT JSONExtractString(evidence, 'events', 1, 'event') FROM alarms FINAL WHERE rule = 'supply_stopped' \
                    ORDER BY facility";
    assert_eq!(site.query(evidence).await, [["repair/R-1"], ["repair/R-2"]]);
}
