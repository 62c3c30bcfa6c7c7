//! Bad input through `nuanliu all`, over HTTP and MQTT: each gives a named reason in the answer and in `rejects`, with its
//! bytes; the rest of the batch goes on, and the sum of what was accepted is right to the reading.

use std::time::Duration;

use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use rumqttc::{AsyncClient, MqttOptions, PublishOptions, QoS};
use serde_json::{Value, json};
use tests::{Process, Site, district, site};

const SOON: Duration = Duration::from_secs(60);

/// A running platform with two stations.
async fn platform() -> (Site, Process) {
    let broker = site::service("NUANLIU_MQTT");
    let name = format!("bad{}", std::process::id());
    let mqtt = format!(
        "epoch_ms = 50\n---\n[mqtt]\nbroker = {broker:?}\nclient_id = {name:?}\n\
         [[mqtt.profiles]]\ntopic = \"{name}/{{facility}}/report\"\nformat = \"native\"\n"
    );
    let site = Site::new(&name, &mqtt);
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(2)).await;
    let mut process = site.start(&["all"]);
    site.ready(&mut process, SOON).await;
    (site, process)
}

async fn post(site: &Site, kind: &str, body: String) -> (StatusCode, Value) {
    let url = format!("http://{}/api/v1/reports", site.http);
    let answer = Client::new().post(url).header(CONTENT_TYPE, kind).body(body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}

/// Now, on a whole second.
fn now() -> i64 {
    jiff::Timestamp::now().as_second() * 1_000
}

/// What stands in `rejects`, by reason: rows.
async fn rejected(site: &Site, reason: &str) -> f64 {
    site.number(&format!("SELECT count() FROM rejects FINAL WHERE reason = '{reason}'")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_input_is_named_and_kept_and_nothing_is_lost() {
    let (site, mut process) = platform().await;
    let at = now() - 60_000;
    let report = |facility: &str, at: Value, readings: Value| json!({ "facility": facility, "observed_at": at, "readings": readings });
    // Each record, the reason that is expected for it, and the readings that go on.
    let batch = [
        (report("ST-0001", json!(at), json!({ "heat_power": 900, "outdoor_temp": -9.5 })), "", 2),
        (report("ST-0001", json!(at + 1_000), json!({ "heat_power": "１２００" })), "", 1),
        (report("ST-9999", json!(at), json!({ "heat_power": 1 })), "unknown_facility", 0),
        (
            report("ST-0001", json!(at + 2_000), json!({ "heat_pow": 1, "outdoor_temp": -9.5 })),
            "unknown_metric",
            1,
        ),
        (report("ST-0001", json!("yesterday"), json!({ "heat_power": 1 })), "bad_time", 0),
        (report("ST-0001", json!(at + 7_200_000), json!({ "heat_power": 1 })), "time_in_future", 0),
        (report("ST-0001", json!("1999-12-31T00:00:00Z"), json!({ "heat_power": 1 })), "time_before_2000", 0),
        (report("ST-0001", json!(at + 3_000), json!({})), "empty", 0),
        (report("ST-0001", json!(at + 4_000), json!({ "heat_power": true })), "wrong_type", 0),
        (
            json!({ "facility": "ST-0001", "observed_at": at, "sequence": -1, "readings": { "heat_power": 1 } }),
            "negative_number",
            0,
        ),
        (json!({ "observed_at": at, "readings": { "heat_power": 1 } }), "missing_field", 0),
    ];
    let body = json!(batch.iter().map(|(record, ..)| record).collect::<Vec<_>>());
    let (status, answer) = post(&site, "application/json", body.to_string()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let told = |index: usize| {
        let entries = answer["rejected"].as_array().unwrap();
        entries
            .iter()
            .find(|entry| entry["index"] == index)
            .map_or("", |entry| entry["reason"].as_str().unwrap())
    };
    for (index, (record, reason, _)) in batch.iter().enumerate() {
        assert_eq!(told(index), *reason, "{record}");
    }
    let mut accepted: u64 = batch.iter().map(|(.., readings)| readings).sum();

    // What the form of JSON cannot hold, or holds twice.
    for (body, reason) in [
        (
            r#"[{"facility":"ST-0001","observed_at":AT,"readings":{"heat_power":NaN}}]"#.to_owned(),
            "not_finite",
        ),
        (
            format!(
                r#"{{"facility":"ST-0001","observed_at":AT,"readings":{{"heat_power":{}{}}}}}"#,
                "[".repeat(200),
                "]".repeat(200)
            ),
            "wrong_type",
        ),
        (
            r#"[{"facility":"ST-0002","observed_at":AT,"readings":{"heat_power":1,"heat_power":2}}]"#
                .to_owned(),
            "duplicate_key",
        ),
        ("[]".to_owned(), "empty"),
    ] {
        let (_, answer) = post(&site, "application/json", body.replace("AT", &at.to_string())).await;
        // Of a metric that stands twice the first goes on.
        accepted += answer["accepted"].as_u64().unwrap_or_default();
        assert!(
            answer.to_string().contains(&format!("\"{reason}\"")),
            "{body} gives {answer} and not {reason}"
        );
    }
    over_mqtt(&site, at).await;
    accepted += 1;

    site.stored(accepted, &mut process, SOON).await;
    for (_, reason, _) in batch.iter().filter(|(_, reason, _)| !reason.is_empty()) {
        assert!(rejected(&site, reason).await >= 1.0, "{reason} is not among the rejects");
    }
    for reason in ["not_finite", "malformed", "duplicate_key"] {
        assert!(rejected(&site, reason).await >= 1.0, "{reason} is not among the rejects");
    }
    let normal =
        "SELECT count() FROM readings FINAL WHERE has(failed, 'normativity') AND value = 1200 AND flag = 1";
    assert_eq!(site.number(normal).await, 1.0, "full-width digits are read, used and noted");
    let raw = "SELECT count() FROM rejects FINAL WHERE reason = 'unknown_facility' AND position(raw, 'ST-9999') > 0";
    assert_eq!(site.number(raw).await, 1.0, "a reject keeps its bytes");
    assert_eq!(process.terminate(SOON), 0);
}

/// One good report and one that is no JSON; returns when the broker has acknowledged both.
async fn over_mqtt(site: &Site, at: i64) {
    let broker = site::service("NUANLIU_MQTT");
    let (host, port) = broker.trim_start_matches("mqtt://").split_once(':').unwrap();
    let options = MqttOptions::new(format!("{}-sender", site.name), (host, port.parse().unwrap()));
    let (client, mut events) = AsyncClient::builder(options).capacity(10).build();
    let good =
        json!({ "facility": "ST-0002", "observed_at": at, "readings": { "heat_power": 500 } }).to_string();
    let name = site.prefix.split_once('_').unwrap().0;
    for payload in [good, "ceci n'est pas JSON".to_owned()] {
        let options = PublishOptions::new(QoS::AtLeastOnce);
        client.publish(format!("{name}/ST-0002/report"), payload, options).await.unwrap();
    }
    let mut acknowledged = 0;
    while acknowledged < 2 {
        if let rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_)) = events.poll().await.unwrap() {
            acknowledged += 1;
        }
    }
}
