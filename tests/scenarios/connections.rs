//! Whoever connects and says nothing takes no descriptor that state and sinks need.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use tests::{Site, district, until};

const SOON: Duration = Duration::from_secs(60);
/// Files that the process may have open, and what it leaves to connections of them.
const LIMIT: &str = "--nofile=400:400";
const PLACES: f64 = 400.0 - 256.0;
const CONFIG: &str = "---\n[checkpoint]\nevery_epochs = 8\n";

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_leave_descriptors_to_state_and_sinks() {
    let site = Site::new("connections", CONFIG);
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(2)).await;
    let mut process = site.start_under(&["prlimit".to_owned(), LIMIT.to_owned()], &["all"]);
    until("the connector is ready", SOON, async || {
        process.must_run();
        reqwest::get(format!("http://{}/readyz", site.http)).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;

    let idle: Vec<TcpStream> = (0..1_000).filter_map(|_| TcpStream::connect(&site.http).ok()).collect();
    assert!(idle.len() > 400, "{} connections", idle.len());
    let open = "nuanliu_http_connections{listener=\"http\"}";
    until("the places are taken", SOON, async || site.metric(open).await.is_some_and(|n| n >= PLACES)).await;
    let mut accepted = site.publish(&district::minutes(2, 30, 0..10)).await;
    site.stored(accepted, &mut process, SOON).await;

    // Among the idle ones an honest sender is served, though not before the idle ones have been so for a while.
    let body = serde_json::json!({
        "facility": district::code(1),
        "observed_at": jiff::Timestamp::now().as_millisecond(),
        "readings": { "secondary_supply_temp": 45 },
    });
    let client = reqwest::Client::new();
    let begun = Instant::now();
    loop {
        let request = client.post(format!("http://{}/api/v1/reports", site.http)).json(&body);
        match request.send().await {
            Ok(answer) if answer.status() == 202 => break,
            other => assert!(begun.elapsed() < Duration::from_secs(5), "{other:?}\n{}", process.log()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    accepted += 1;
    site.stored(accepted, &mut process, SOON).await;
    let before = site.metric("nuanliu_checkpoint_epoch").await.unwrap_or(0.0);
    until("checkpoints go on", SOON, async || {
        process.must_run();
        site.metric("nuanliu_checkpoint_epoch").await.is_some_and(|epoch| epoch > before)
    })
    .await;
    drop(idle);
    assert!(!process.log().contains("Too many open files"), "{}", process.log());
    assert_eq!(process.terminate(SOON), 0);
}
