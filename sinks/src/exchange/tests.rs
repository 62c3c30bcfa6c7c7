//! The sink against the receiver: both are ours, but the receiver checks signature, time and fields for itself.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use schemas::{Code, Facility, FacilityKind, KpiCause, KpiRow, Period, RegistryEntry, Scope, ScopeKind};
use serde_json::{Value, json};

use super::{
    delivery::Step,
    receiver::{MemoryStore, Receiver, Store},
    *,
};
use crate::{compliance, memory::Memory};

/// 2024-01-15 08:00 UTC.
const NOW: Millis = 1_705_305_600_000;

/// A store that can be told to fail, and to answer never.
#[derive(Clone, Default)]
struct Moody {
    rows: MemoryStore,
    fails: Arc<AtomicBool>,
    /// Stores the rows and then never answers.
    hangs: Arc<AtomicBool>,
    pushes: Arc<AtomicI64>,
}

impl Store for Moody {
    async fn push(&self, table: &schemas::exchange::ExchangeTable, rows: Vec<Row>) -> Result<(), String> {
        self.pushes.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) {
            return Err("told to fail".to_owned());
        }
        self.rows.push(table, rows).await?;
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn find(
        &self,
        table: &schemas::exchange::ExchangeTable,
        conditions: &[(String, String)],
    ) -> Result<Vec<Row>, String> {
        self.rows.find(table, conditions).await
    }
}

struct Scene {
    store: Moody,
    clock: Arc<AtomicI64>,
    settings: Settings,
    _state: tempfile::TempDir,
}

fn signing(secret: &str) -> signing::Settings {
    signing::Settings { secret: Some(secret.to_owned()), ..signing::Settings::default() }
}

/// A receiver on a free port, and the settings to reach it.
async fn scene() -> Scene {
    let store = Moody::default();
    let clock = Arc::new(AtomicI64::new(NOW));
    let now = Arc::clone(&clock);
    let receiver = Receiver {
        apps: [("220100".to_owned(), signing::Convention::new(signing("s3cret")).unwrap())].into(),
        tolerance: 300,
        clock: Box::new(move || now.load(Ordering::Relaxed)),
        tables: Tables::in_force(),
        store: store.clone(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, receiver::router(receiver)).await });
    let state = tempfile::tempdir().unwrap();
    let settings = Settings {
        url,
        app_id: "220100".to_owned(),
        version: default_version(),
        success_codes: default_success_codes(),
        state_directory: state.path().to_owned(),
        tables: Vec::new(),
        batch: 10,
        windows: Vec::new(),
        utc_offset_hours: 8,
        timeout: 5,
        keep_hours: 48,
        signing: signing("s3cret"),
    };
    Scene { store, clock, settings, _state: state }
}

impl Scene {
    fn open(&self) -> (Exchange, Delivery) {
        open(&self.settings, Status::new("exchange_test"), None, None).unwrap()
    }
}

/// Steps until nothing is left to send, or the receiver wants something else.
async fn drain(delivery: &Delivery, now: Millis) -> Step {
    for _ in 0..100 {
        let step = delivery.step(now).await.unwrap();
        if !matches!(step, Step::Settled { .. }) {
            return step;
        }
    }
    panic!("no end")
}

fn station(code: &str, name: &str) -> RegistryEntry {
    RegistryEntry::Facility(Facility {
        code: Code::from(code),
        kind: FacilityKind::Station,
        name: name.to_owned(),
        parent: None,
        enterprise: None,
        district: Some(Code::from("220102")),
        longitude: None,
        latitude: None,
        heated_area: Some(10_000.0),
        attributes: [].into(),
    })
}

fn registry(entries: Vec<RegistryEntry>) -> Vec<Block> {
    let rows = entries.into_iter().map(|entry| (entry.key(), Some(entry))).collect();
    vec![Block { epoch: 1, bucket: 0, rows: Rows::Registry(rows) }]
}

fn kpi(kpi: &str, value: Option<f64>) -> KpiRow {
    KpiRow {
        kpi: Code::from(kpi),
        scope: Scope { kind: ScopeKind::Station, code: Code::from("ST-1") },
        period: Period::Hour,
        window_start: NOW,
        value,
        previous: None,
        coverage: 1.0,
        cause: KpiCause::Closed,
        caused_by: None,
    }
}

fn kpis(rows: Vec<KpiRow>) -> Vec<Block> {
    vec![Block { epoch: 2, bucket: 0, rows: Rows::Kpis(rows) }]
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_once_and_again_only_when_they_change() {
    let scene = scene().await;
    let (exchange, delivery) = scene.open();
    exchange.note(&registry(vec![station("ST-1", "一号站")]), NOW).unwrap();
    exchange.note(&compliance::blocks(1), NOW).unwrap();
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
    assert_eq!(scene.store.rows.rows("heat_station")[0]["HRZMC"], "一号站");
    let alarms = scene.store.rows.rows("device_alarm");
    assert_eq!(alarms.len(), 1, "raised and cleared in the same second: the later one stays");
    assert_eq!(alarms[0]["BJJSSJ"], "2024-01-15 16:00:01");
    let pushes = scene.store.pushes.load(Ordering::Relaxed);
    assert_eq!(pushes, 3, "one request per table");

    // The same blocks again, here and after a restart.
    exchange.note(&compliance::blocks(1), NOW).unwrap();
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
    drop((exchange, delivery));
    let (exchange, delivery) = scene.open();
    exchange.note(&registry(vec![station("ST-1", "一号站")]), NOW).unwrap();
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
    assert_eq!(scene.store.pushes.load(Ordering::Relaxed), pushes);

    exchange.note(&registry(vec![station("ST-1", "新一号站")]), NOW).unwrap();
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
    assert_eq!(scene.store.rows.rows("heat_station")[0]["HRZMC"], "新一号站");
    assert_eq!(scene.store.rows.rows("heat_station").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_what_was_noted_takes_no_row_back() {
    let scene = scene().await;
    let named = |epoch, name| {
        let blocks = registry(vec![station("ST-1", name)]);
        blocks.into_iter().map(|block| Block { epoch, ..block }).collect::<Vec<_>>()
    };
    let pushes = || scene.store.pushes.load(Ordering::Relaxed);
    let mut before = 0;
    for _ in 0..2 {
        // The second time it is a replay after a restart.
        let (exchange, delivery) = scene.open();
        let exchange = exchange.of_pipeline("city");
        for (epoch, name) in [(1, "一号站"), (2, "新一号站")] {
            exchange.note(&named(epoch, name), NOW).unwrap();
            assert_eq!(drain(&delivery, NOW).await, Step::Idle);
        }
        assert!(before == 0 || pushes() == before);
        before = pushes();
    }
    let (exchange, delivery) = scene.open();
    exchange.clone().of_pipeline("city").note(&named(3, "三"), NOW).unwrap();
    exchange.of_pipeline("another").note(&named(1, "一"), NOW).unwrap();
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
    assert_eq!(
        scene.store.rows.rows("heat_station")[0]["HRZMC"],
        "一",
        "epochs of another pipeline are others"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kpis_of_a_window_settle_into_one_row_and_complete_each_other_later() {
    let scene = scene().await;
    let (exchange, delivery) = scene.open();
    exchange.note(&registry(vec![station("ST-1", "一号站")]), NOW).unwrap();
    exchange.note(&kpis(vec![kpi("heat_supplied", Some(3.5))]), NOW).unwrap();
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
    assert!(scene.store.rows.rows("heat_station_run").is_empty(), "it waits for more values");
    exchange.note(&kpis(vec![kpi("heat_per_area", Some(0.35))]), NOW + 1000).unwrap();
    assert_eq!(drain(&delivery, NOW + 61_000).await, Step::Idle);
    let rows = scene.store.rows.rows("heat_station_run");
    assert_eq!((&rows[0]["GRL"], &rows[0]["DWMJGRL"]), (&json!(3.5), &json!(0.35)));
    assert_eq!(rows[0]["HRZMC"], "一号站");
    // A correction takes a value back.
    drop((exchange, delivery));
    let (exchange, delivery) = scene.open();
    exchange.note(&kpis(vec![kpi("heat_supplied", None)]), NOW + 62_000).unwrap();
    assert_eq!(drain(&delivery, NOW + 130_000).await, Step::Idle);
    let rows = scene.store.rows.rows("heat_station_run");
    assert_eq!((rows.len(), rows[0].get("GRL"), &rows[0]["DWMJGRL"]), (1, None, &json!(0.35)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_is_refused_with_its_reason_and_the_others_arrive() {
    let scene = scene().await;
    let (exchange, delivery) = scene.open();
    let mut stations: Vec<_> = (0..9).map(|n| station(&format!("ST-{n}"), "站")).collect();
    stations.insert(4, station("ST-with-a-very-long-code", "站"));
    exchange.note(&registry(stations), NOW).unwrap();
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
    assert_eq!(scene.store.rows.rows("heat_station").len(), 9);
    assert_eq!(exchange.counts().get("refused"), Some(&2), "heat_station and monitor_point");
    let ledger = exchange.shared.ledger();
    let refused = ledger.unmirrored().iter().find(|event| event.outcome == ledger::Outcome::Refused).unwrap();
    assert!(refused.detail.contains("24 bytes long, 20 are allowed"), "{}", refused.detail);
}

/// A receiver with stricter tables than ours refuses a batch; halving finds the row that spoils it.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_refused_is_halved_until_the_bad_row_stands_alone() {
    let store = Arc::new(Mutex::new(Vec::<String>::new()));
    let stored = Arc::clone(&store);
    let push = async move |axum::Form(form): axum::Form<BTreeMap<String, String>>| {
        let rows: Vec<Row> = serde_json::from_str(&form["data"]).unwrap();
        let codes: Vec<String> = rows.iter().map(|row| row["BSM"].as_str().unwrap().to_owned()).collect();
        if codes.contains(&"ST-6".to_owned()) {
            return axum::Json(json!({"code": "10001", "message": "BSM ST-6 is not registered"}));
        }
        stored.lock().unwrap().extend(codes);
        axum::Json(json!({"code": 0}))
    };
    let router = axum::Router::new().route("/eUrbanMIS/api/v1/pushdata", axum::routing::post(push));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut scene = scene().await;
    scene.settings.url = format!("http://{}", listener.local_addr().unwrap());
    scene.settings.tables = vec!["monitor_point".to_owned()];
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (exchange, delivery) = scene.open();
    exchange.note(&registry((0..10).map(|n| station(&format!("ST-{n}"), "站")).collect()), NOW).unwrap();
    assert_eq!(delivery.step(NOW).await.unwrap(), Step::Settled { delivered: 9, refused: 1 });
    let want: Vec<String> = (0..10).filter(|n| *n != 6).map(|n| format!("ST-{n}")).collect();
    assert_eq!(*store.lock().unwrap(), want, "in order");
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_or_app_id_holds_everything_and_loses_nothing() {
    let mut scene = scene().await;
    scene.settings.signing = signing("wrong");
    let (exchange, delivery) = scene.open();
    exchange.note(&registry(vec![station("ST-1", "站")]), NOW).unwrap();
    let step = delivery.step(NOW).await.unwrap();
    assert!(
        matches!(&step, Step::Hold(detail) if detail.contains("10002") && detail.contains("keys")),
        "{step:?}"
    );
    scene.settings.signing = signing("s3cret");
    scene.settings.app_id = "999999".to_owned();
    drop((exchange, delivery));
    let (exchange, delivery) = scene.open();
    let step = delivery.step(NOW).await.unwrap();
    assert!(matches!(&step, Step::Hold(detail) if detail.contains("10004")), "{step:?}");
    scene.settings.app_id = "220100".to_owned();
    drop((exchange, delivery));
    assert_eq!(drain(&scene.open().1, NOW).await, Step::Idle);
    assert_eq!(scene.store.rows.rows("heat_station").len(), 1);
}

/// The test's receiver takes its clock from the test but its `Date` header from this machine; a receiver whose header
/// agrees with its clock is the real case.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_corrected_by_the_date_of_the_answer() {
    let scene = scene().await;
    let real = jiff::Timestamp::now().as_millisecond();
    scene.clock.store(real, Ordering::Relaxed);
    let (exchange, delivery) = scene.open();
    let ours = real - 3_600_000;
    exchange.note(&registry(vec![station("ST-1", "站")]), ours).unwrap();
    assert_eq!(drain(&delivery, ours).await, Step::Idle);
    assert_eq!(scene.store.rows.rows("heat_station").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_cannot_be_corrected_holds() {
    let scene = scene().await;
    scene.clock.store(NOW + 3_600_000, Ordering::Relaxed);
    let (exchange, delivery) = scene.open();
    exchange.note(&registry(vec![station("ST-1", "站")]), NOW).unwrap();
    let step = delivery.step(NOW).await.unwrap();
    assert!(
        matches!(&step, Step::Hold(detail) if detail.contains("10003") && detail.contains("clock")),
        "{step:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn server_errors_are_retried_in_order() {
    let scene = scene().await;
    scene.store.fails.store(true, Ordering::Relaxed);
    let (exchange, delivery) = scene.open();
    exchange.note(&registry((0..25).map(|n| station(&format!("ST-{n:02}"), "站")).collect()), NOW).unwrap();
    let step = delivery.step(NOW).await.unwrap();
    assert!(matches!(&step, Step::Retry(detail) if detail.contains("10005")), "{step:?}");
    scene.store.fails.store(false, Ordering::Relaxed);
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
    let codes: Vec<Value> =
        scene.store.rows.rows("heat_station").iter().map(|row| row["HRZBH"].clone()).collect();
    let want: Vec<Value> = (0..25).map(|n| json!(format!("ST-{n:02}"))).collect();
    assert_eq!(codes, want);
}

/// The receiver stored the rows but its answer never came: after a restart it is asked, and nothing is sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_settled_by_asking() {
    let mut scene = scene().await;
    scene.settings.timeout = 1;
    scene.store.hangs.store(true, Ordering::Relaxed);
    let (exchange, delivery) = scene.open();
    exchange.note(&registry(vec![station("ST-1", "站")]), NOW).unwrap();
    assert!(matches!(delivery.step(NOW).await.unwrap(), Step::Retry(_)));
    assert_eq!(exchange.counts().get("uncertain"), Some(&1));
    scene.store.hangs.store(false, Ordering::Relaxed);
    drop((exchange, delivery));
    let (exchange, delivery) = scene.open();
    let pushes = scene.store.pushes.load(Ordering::Relaxed);
    assert_eq!(delivery.step(NOW).await.unwrap(), Step::Settled { delivered: 1, refused: 0 });
    assert_eq!(scene.store.pushes.load(Ordering::Relaxed), pushes);
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
    assert_eq!(exchange.counts(), [("delivered", 2)].into());
}

/// The transitions of an alarm have one key: the receiver keeps the last, and asked for the first it shows that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_about_two_rows_of_one_key_takes_neither_back() {
    let mut scene = scene().await;
    (scene.settings.timeout, scene.settings.tables) = (1, vec!["device_alarm".to_owned()]);
    let (exchange, delivery) = scene.open();
    let mut alarms = compliance::blocks(1);
    alarms.retain(|block| matches!(block.rows, Rows::Alarms(_)));
    exchange.note(&registry(vec![station("ST-1", "站")]), NOW).unwrap();
    assert_eq!(exchange.note(&alarms, NOW).unwrap(), 2);
    scene.store.hangs.store(true, Ordering::Relaxed);
    assert!(matches!(delivery.step(NOW).await.unwrap(), Step::Retry(_)));
    assert_eq!(exchange.counts().get("uncertain"), Some(&2));
    scene.store.hangs.store(false, Ordering::Relaxed);
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
    assert_eq!(exchange.counts(), [("delivered", 2)].into());
    assert_eq!(scene.store.pushes.load(Ordering::Relaxed), 1);
    let table = Tables::in_force().named("device_alarm").unwrap();
    let held = scene.store.find(table, &[]).await.unwrap();
    assert!(held.len() == 1 && held[0].contains_key("BJJSSJ"), "it has ended: {held:?}");

    // One that went nowhere goes out again, and what follows it with it.
    let (exchange, delivery) = scene.open();
    let Rows::Alarms(rows) = &mut alarms[0].rows else { panic!("no alarms") };
    rows.iter_mut().for_each(|alarm| alarm.current_value += 1.0);
    assert_eq!(exchange.note(&alarms, NOW).unwrap(), 2);
    scene.store.fails.store(true, Ordering::Relaxed);
    assert!(matches!(delivery.step(NOW).await.unwrap(), Step::Retry(_)));
    assert_eq!(exchange.counts().get("uncertain"), Some(&2));
    scene.store.fails.store(false, Ordering::Relaxed);
    assert_eq!(drain(&delivery, NOW).await, Step::Idle);
    let now_held = scene.store.find(table, &[]).await.unwrap();
    assert!(now_held.len() == 1 && now_held[0].contains_key("BJJSSJ") && now_held != held, "{now_held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_receiver_does_not_stop_the_sink() {
    let mut scene = scene().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    scene.settings.url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (exchange, delivery) = scene.open();
    exchange.write(Arc::new(registry(vec![station("ST-1", "站")]))).await.unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    assert!(matches!(delivery.step(now).await.unwrap(), Step::Retry(_)));
    assert_eq!(exchange.counts(), [("pending", 2)].into(), "a connection refused is not uncertain");
}

/// A receiver that takes every push and cuts its answer short, and after that finds nothing wrong.
async fn answering(answer: &'static str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = vec![0; 1 << 16];
            let _ = client.read(&mut request).await;
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[rstest::rstest]
#[case::nothing("")]
#[case::half_a_head("HTTP/1.1 200 OK\r\nContent-Le")]
#[case::no_body("HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n")]
#[case::half_a_body("HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{\"code\":0,\"mes")]
#[case::half_a_body_of_no_length("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"code\":0,\"mes")]
#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_is_uncertain_and_settled_by_asking(#[case] answer: &'static str) {
    let mut scene = scene().await;
    let (right, cut) = (scene.settings.url.clone(), answering(answer).await);
    scene.settings.url = cut;
    let (exchange, delivery) = scene.open();
    exchange.note(&registry(vec![station("ST-1", "站")]), NOW).unwrap();
    assert!(matches!(delivery.step(NOW).await.unwrap(), Step::Retry(_)));
    assert_eq!(exchange.counts().get("uncertain"), Some(&1), "{:?}", exchange.counts());
    drop((exchange, delivery));
    // The receiver had taken the row: it is asked, and the row is not sent again.
    let table = Tables::in_force().named("heat_station").unwrap();
    let row = json!({"HRZBH": "ST-1", "HRZMC": "站"});
    let mut content = scene.open().0.shared.ledger().owed().next().unwrap().1.content.clone();
    content.extend(row.as_object().unwrap().clone());
    scene.store.rows.push(table, vec![content]).await.unwrap();
    scene.settings.url = right;
    let (exchange, delivery) = scene.open();
    drain(&delivery, NOW).await;
    let pushed = scene.store.pushes.load(Ordering::Relaxed);
    assert_eq!(exchange.counts().get("delivered"), Some(&2), "{:?}", exchange.counts());
    assert_eq!(pushed, 1, "only the row of the other table is sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_without_the_lease() {
    let scene = scene().await;
    let takeover = std::time::Instant::now().checked_sub(crate::lease::LENGTH).unwrap();
    let lease = Arc::new(Lease::after(takeover));
    let status = Status::new("exchange_test");
    let (exchange, delivery) = open(&scene.settings, status, None, Some(Arc::clone(&lease))).unwrap();
    exchange.note(&registry(vec![station("ST-1", "站")]), NOW).unwrap();
    assert_eq!(delivery.step(NOW).await.unwrap(), Step::Idle);
    lease.renew(takeover);
    assert_eq!(delivery.step(NOW).await.unwrap(), Step::Idle, "it has run out");
    assert_eq!(scene.store.pushes.load(Ordering::Relaxed), 0);
    lease.renew(std::time::Instant::now());
    drain(&delivery, NOW).await;
    assert_eq!(exchange.counts(), [("delivered", 2)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_outside_the_agreed_times() {
    let mut scene = scene().await;
    scene.settings.windows = vec!["00:00-06:00".to_owned()];
    let (exchange, delivery) = scene.open();
    exchange.note(&registry(vec![station("ST-1", "站")]), NOW).unwrap();
    // 08:00 UTC is 16:00 civil time; ten hours later it is 02:00.
    assert_eq!(delivery.step(NOW).await.unwrap(), Step::Idle);
    assert_eq!(scene.store.pushes.load(Ordering::Relaxed), 0);
    scene.clock.store(NOW + 36_000_000, Ordering::Relaxed);
    assert!(matches!(delivery.step(NOW + 36_000_000).await.unwrap(), Step::Settled { delivered: 1, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_refuses_what_is_not_as_agreed() {
    let scene = scene().await;
    let convention = signing::Convention::new(signing("s3cret")).unwrap();
    let good = || -> signing::Parameters {
        [
            ("group", "basic"),
            ("table", "heat_station"),
            ("data", r#"[{"HRZBH":"ST-1","HRZMC":"站"}]"#),
            ("appID", "220100"),
            ("timestamp", "1705305600"),
            ("version", "1.0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    };
    let cases = [
        ("data", r#"[{"HRZBH":"ST-1"}]"#, 10001, "HRZMC"),
        ("data", r#"{"HRZBH":"ST-1"}"#, 10001, "array"),
        ("data", "[]", 10001, "no row"),
        ("table", "station", 10001, "no table"),
        ("timestamp", "x", 10001, "timestamp"),
        ("timestamp", "", 10001, "timestamp is missing"),
        ("timestamp", "1705305000", 10003, "600 s behind"),
        ("appID", "1", 10004, "not known"),
        ("version", "2.0", 0, "ok"),
    ];
    let http = reqwest::Client::new();
    let url = format!("{}/eUrbanMIS/api/vl/pushdata", scene.settings.url);
    for (field, value, code, says) in cases {
        let mut form = good();
        form.insert(field.to_owned(), value.to_owned());
        let sign = convention.sign(&form).unwrap();
        form.insert("sign".to_owned(), sign);
        let answer: Value = http.post(&url).form(&form).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["code"], code, "{field}={value}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{field}={value}: {answer}");
    }
    // Changed after it was signed.
    let mut form = good();
    let sign = convention.sign(&form).unwrap();
    form.insert("sign".to_owned(), sign);
    form.insert("version".to_owned(), "3.0".to_owned());
    let answer = http.post(&url).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], 10002);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_is_found_by_its_key_and_cannot_be_changed() {
    let scene = scene().await;
    let (exchange, delivery) = scene.open();
    exchange.note(&registry(vec![station("ST-1", "站")]), NOW).unwrap();
    drain(&delivery, NOW).await;
    let convention = signing::Convention::new(signing("s3cret")).unwrap();
    let mut query: signing::Parameters = [("appID", "220100"), ("timestamp", "1705305600")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let sign = convention.sign(&query).unwrap();
    query.insert("sign".to_owned(), sign);
    let http = reqwest::Client::new();
    let url = |key: &str| format!("{}/api/resource/basic.heat_station.{key}", scene.settings.url);
    let found: Value = http.get(url("ST-1")).query(&query).send().await.unwrap().json().await.unwrap();
    assert_eq!(found["HRZMC"], "站");
    assert_eq!(http.get(url("ST-2")).query(&query).send().await.unwrap().status(), 404);
    assert_eq!(http.get(url("ST-1")).send().await.unwrap().status(), 400, "not signed");
    assert_eq!(http.delete(url("ST-1")).send().await.unwrap().status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_task_delivers_and_ends_when_told() {
    let scene = scene().await;
    let now = jiff::Timestamp::now().as_millisecond();
    scene.clock.store(now, Ordering::Relaxed);
    let (exchange, delivery) = scene.open();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let task = tokio::spawn(delivery.run(stopped));
    exchange.write(Arc::new(registry(vec![station("ST-1", "站")]))).await.unwrap();
    let delivered = async {
        while exchange.counts().get("delivered") != Some(&2) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), delivered).await.unwrap();
    stop.send(true).unwrap();
    task.await.unwrap().unwrap();
}

/// The suite counts what the ledger owes: the sink passes over the kinds of rows that the exchange has no table for.
#[tokio::test(flavor = "multi_thread")]
async fn the_sink_acknowledges_every_kind_of_block_and_notes_each_once() {
    let scene = scene().await;
    let (exchange, _delivery) = scene.open();
    let reference = Memory::new();
    for blocks in [compliance::blocks(1), compliance::blocks(1), compliance::blocks(2), Vec::new()] {
        let blocks = Arc::new(blocks);
        exchange.write(Arc::clone(&blocks)).await.unwrap();
        reference.write(blocks).await.unwrap();
    }
    let alarms = reference.counts().0["alarm_events"];
    assert_eq!(exchange.counts(), [("pending", alarms)].into());
}

#[test]
fn settings_are_checked_by_name() {
    let text = "url = \"ftp://x\"\napp_id = \"\"\nstate_directory = \"x\"\nbatch = 0\nwindows = [\"x\"]\n\
                tables = [\"y\"]\n[signing]\n";
    let settings: Settings = toml::from_str(text).unwrap();
    let problems = settings.validate().join("\n");
    for key in ["url", "app_id", "batch", "windows", "tables"] {
        assert!(problems.contains(&format!("{key}: ")), "{key}: {problems}");
    }
    assert!(
        toml::from_str::<Settings>(&format!("{text}hash = \"md5\""))
            .unwrap_err()
            .to_string()
            .contains("hash")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_process_sends_nothing_that_its_successor_would_send_again() {
    let scene = scene().await;
    let (exchange, delivery) = scene.open();
    exchange.note(&registry(vec![station("ST-1", "一号站")]), NOW).unwrap();
    // The successor opens the ledger while the lease of the first one still runs.
    let (_, successor) = scene.open();
    let stopped = delivery.step(NOW).await.unwrap_err();
    assert!(stopped.to_string().contains("another process has opened this ledger"), "{stopped}");
    assert_eq!(scene.store.pushes.load(Ordering::Relaxed), 0);
    let noted = exchange.write(Arc::new(registry(vec![station("ST-2", "二号站")]))).await;
    assert!(matches!(&noted, Err(Error::Stop { .. })), "{noted:?}");
    assert_eq!(drain(&successor, NOW).await, Step::Idle);
    assert_eq!(scene.store.pushes.load(Ordering::Relaxed), 2, "each of the two rows of a station once");
}
