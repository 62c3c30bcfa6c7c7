//! What every sink must do, as a suite that is run on each of them.
//!
//! Enters: an empty sink, and a way to count what it holds. Leaves: nothing, or a panic that names the broken rule.
//! Rules: rewriting changes nothing; the order of blocks does not matter; empty and large blocks are fine; writes at
//! the same time do not disturb each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemas::{
    AlarmState, AlarmTransition, Cause, Code, Epoch, EstimateRow, Flag, KpiRow, MetricId, Period,
    QualityTest, Reading, Reason, Reject, Scope, ScopeKind, Stage, TestSet, Transition,
};

use crate::{Block, QualityRow, ReadingColumns, Rows, Sink};

/// Rows by table, a row that is written again counting once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub BTreeMap<&'static str, usize>);

impl Counts {
    /// What a sink holds after it took these blocks.
    #[must_use]
    pub fn of<'a>(blocks: impl Iterator<Item = &'a Block>) -> Self {
        let mut seen: BTreeSet<(&'static str, String)> = BTreeSet::new();
        for block in blocks {
            match &block.rows {
                Rows::Readings(rows) => {
                    seen.extend(rows.rows().map(|r| {
                        ("readings", format!("{}/{}/{}/{}", r.facility, r.device, r.metric.0, r.observed_at))
                    }));
                }
                Rows::Kpis(rows) => {
                    seen.extend(rows.iter().map(|r| {
                        ("kpis", format!("{}/{:?}/{:?}/{}", r.kpi, r.scope, r.period, r.window_start))
                    }));
                }
                Rows::Quality(rows) => seen.extend(
                    rows.iter()
                        .map(|r| ("quality", format!("{:?}/{:?}/{}", r.scope, r.period, r.window_start))),
                ),
                Rows::Estimates(rows) => {
                    seen.extend(
                        rows.iter().map(|r| ("estimates", format!("{}/{}/{}", r.model, r.facility, r.hour))),
                    );
                }
                Rows::Alarms(rows) => {
                    seen.extend(rows.iter().map(|r| ("alarms", r.alarm_id.clone())));
                    seen.extend(
                        rows.iter().map(|r| ("alarm_events", format!("{}/{}", r.alarm_id, r.sequence))),
                    );
                }
                Rows::Rejects(rows) => {
                    seen.extend((0..rows.len()).map(|place| ("rejects", format!("{block}/{place}"))));
                }
                Rows::Registry(_) => {}
            }
        }
        let mut counts = Counts::default();
        for (table, _) in seen {
            *counts.0.entry(table).or_default() += 1;
        }
        counts
    }
}

/// One block of every kind for the given epoch, equal whenever it is asked for.
#[must_use]
pub fn blocks(epoch: Epoch) -> Vec<Block> {
    let at = 1_705_305_600_000 + epoch as i64 * 1000;
    let rows = [
        Rows::Readings((0..50).map(|n| reading(n, at)).collect()),
        Rows::Kpis((0..10).map(|n| kpi(n, at)).collect()),
        Rows::Quality((0..3).map(|n| quality(n, at)).collect()),
        Rows::Estimates((0..3).map(|n| estimate(n, at)).collect()),
        Rows::Alarms(alarm(epoch, at)),
        Rows::Rejects(vec![reject(at); 2]),
    ];
    rows.into_iter().map(|rows| Block { epoch, bucket: 0, rows }).collect()
}

fn estimate(n: usize, at: i64) -> EstimateRow {
    EstimateRow {
        model: "energy_signature".into(),
        facility: format!("ST-{n}").into(),
        device: Code::default(),
        hour: at / 3_600_000 * 3_600_000,
        expected: Some(812.5),
        actual: (n > 0).then_some(640.0),
        unit: "kW".into(),
        state: "normal".into(),
        reason: Code::default(),
        confidence: Some(0.9),
        method: 2,
        learnt: 7,
        parameters: r#"{"base_kw":12.5}"#.to_owned(),
    }
}

/// A reading of facility `ST-n`.
#[must_use]
pub fn reading(n: usize, at: i64) -> Reading {
    let mut failed = TestSet::EMPTY;
    if n.is_multiple_of(7) {
        failed.insert(QualityTest::Range);
        failed.insert(QualityTest::Spike);
    }
    Reading {
        facility: Code::from(format!("ST-{n:05}")),
        device: if n.is_multiple_of(3) { Code::from(format!("D-{n}")) } else { Code::default() },
        metric: MetricId((n % 5) as u16),
        observed_at: at,
        received_at: at + 1234,
        value: n as f64 / 10.0 - 1.0,
        flag: if failed == TestSet::EMPTY { Flag::Good } else { Flag::Fail },
        failed,
    }
}

fn kpi(n: usize, at: i64) -> KpiRow {
    KpiRow {
        kpi: Code::from("heat_supplied"),
        scope: Scope { kind: ScopeKind::Enterprise, code: Code::from(format!("E-{n}")) },
        period: Period::Hour,
        window_start: at.div_euclid(3_600_000) * 3_600_000,
        value: (!n.is_multiple_of(4)).then_some(n as f64),
        previous: n.is_multiple_of(2).then_some(0.5),
        coverage: 0.75,
        cause: Cause::Late,
    }
}

fn quality(n: usize, at: i64) -> QualityRow {
    QualityRow {
        scope: Scope { kind: ScopeKind::District, code: Code::from(format!("22010{n}")) },
        period: Period::Day,
        window_start: at.div_euclid(86_400_000) * 86_400_000,
        completeness: 0.5,
        timeliness: 0.75,
        validity: 1.0,
        consistency: 0.25,
        uniqueness: 1.0,
        score: 0.625,
    }
}

fn alarm(epoch: Epoch, at: i64) -> Vec<AlarmTransition> {
    let raised = AlarmTransition {
        alarm_id: format!("high_temp/ST-1/{epoch}"),
        sequence: 1,
        transition: Transition::Raised,
        at,
        state: AlarmState::Active,
        rule: Code::from("high_temp"),
        facility: Code::from("ST-1"),
        device: Code::default(),
        metric: Some(MetricId(2)),
        level: 2,
        raised_at: at,
        cleared_at: None,
        first_value: 91.5,
        current_value: 91.5,
        peak_value: 91.5,
        peak_at: at,
        peak_level: 2,
        analysed: false,
        affected_households: 120,
        affected_area: 9600.0,
        evidence: "{\"limit\":90}".to_owned(),
        advice: "检查调节阀".to_owned(),
        cause: "data".to_owned(),
    };
    let cleared = AlarmTransition {
        sequence: 2,
        transition: Transition::Cleared,
        at: at + 500,
        state: AlarmState::Cleared,
        cleared_at: Some(at + 500),
        current_value: 80.0,
        ..raised.clone()
    };
    vec![raised, cleared]
}

fn reject(at: i64) -> Reject {
    Reject {
        at,
        origin: "http:198.51.100.7".to_owned(),
        reason: Reason::Malformed,
        detail: "line 1: expected `{`".to_owned(),
        raw: vec![0xff, 0x00, b'{'],
        stage: Stage::Connector,
        readings: 0,
    }
}

/// Runs the suite on a sink that holds nothing yet; `counts` says what it holds.
///
/// # Panics
/// When the sink breaks a rule.
pub async fn check<S: Sink>(sink: &S, counts: impl AsyncFn() -> Counts) {
    let mut written: Vec<Block> = Vec::new();
    let mut write = async |rule: &str, blocks: Vec<Block>| {
        written.extend(blocks.iter().cloned());
        let result = sink.write(Arc::new(blocks)).await;
        assert!(result.is_ok(), "{}: {rule}: {result:?}", sink.name());
        assert_eq!(counts().await, Counts::of(written.iter()), "{}: {rule}", sink.name());
    };
    write("writes what it is given", blocks(1)).await;
    write("writing again changes nothing", blocks(1)).await;
    write("an empty list is fine", Vec::new()).await;
    let empty = Block { epoch: 2, bucket: 0, rows: Rows::Readings(ReadingColumns::default()) };
    write("a block without rows is fine", vec![empty]).await;
    let mut backwards = [blocks(4), blocks(3)].concat();
    backwards.reverse();
    write("the order does not matter", backwards).await;
    let large = (0..30_000).map(|n| reading(n, 1_705_300_000_000)).collect();
    write("a large block is fine", vec![Block { epoch: 5, bucket: 1, rows: Rows::Readings(large) }]).await;

    let together = [Arc::new(blocks(6)), Arc::new(blocks(7)), Arc::new(blocks(6))];
    let [a, b, c] = &together;
    let done = tokio::join!(sink.write(Arc::clone(a)), sink.write(Arc::clone(b)), sink.write(Arc::clone(c)));
    assert!(done.0.is_ok() && done.1.is_ok() && done.2.is_ok(), "{}: writes at the same time", sink.name());
    let all = written.iter().chain(together.iter().flat_map(|blocks| blocks.iter()));
    assert_eq!(counts().await, Counts::of(all), "{}: writes at the same time", sink.name());
}
