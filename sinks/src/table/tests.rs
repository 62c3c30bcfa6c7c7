use std::collections::BTreeSet;

use schemas::{Epoch, KpiCause, KpiRow, Period, Scope, ScopeKind};

use super::*;

const AT: schemas::Millis = 1_705_305_600_000;

fn block(epoch: Epoch, bucket: u16, rows: Rows) -> Block {
    Block { epoch, bucket, rows }
}

#[test]
fn rows_of_two_workers_come_into_the_order_of_the_key() {
    let row = |code: &str, kpi: &str, window_start| KpiRow {
        kpi: kpi.into(),
        scope: Scope { kind: ScopeKind::Station, code: code.into() },
        period: Period::Hour,
        window_start,
        value: None,
        previous: None,
        coverage: 1.0,
        cause: KpiCause::Live,
        caused_by: None,
    };
    let mut rows = Rows::Kpis(vec![row("B", "a", 1), row("B", "a", 2), row("D", "b", 1)]);
    let mut others = Rows::Kpis(vec![row("A", "a", 5), row("C", "a", 1), row("A", "b", 1)]);
    assert!(rows.unite(&mut others));
    let all = [("A", "a", 5), ("B", "a", 1), ("B", "a", 2), ("C", "a", 1), ("A", "b", 1), ("D", "b", 1)];
    assert_eq!(rows, Rows::Kpis(all.map(|(code, kpi, start)| row(code, kpi, start)).to_vec()));
}

#[test]
fn what_one_worker_writes_alone_is_left_as_it_is() {
    let mut rows = Rows::Rejects(Vec::new());
    assert!(!rows.unite(&mut Rows::Rejects(Vec::new())));
}

#[test]
fn names_are_unique_and_tables_of_the_store_too() {
    let names: BTreeSet<&str> = examples(1, AT).iter().map(Rows::table).collect();
    assert_eq!(names.len(), examples(1, AT).len());
    let stored = STORED.concat();
    assert_eq!(stored.iter().collect::<BTreeSet<_>>().len(), stored.len());
}

#[test]
fn what_a_table_fills_is_what_it_says() {
    let mut seen = BTreeSet::new();
    for rows in examples(1, AT) {
        let block = block(1, 3, rows);
        let inserts = block.inserts();
        seen.extend(inserts.iter().map(|insert| insert.table));
        let keys: BTreeSet<&str> = block.keys().iter().map(|(table, _)| *table).collect();
        assert_eq!(keys, inserts.iter().map(|insert| insert.table).collect(), "{block}");
        let tokens: BTreeSet<&str> = inserts.iter().map(|insert| insert.token.as_str()).collect();
        assert!(
            tokens.len() == inserts.len() && tokens.iter().all(|token| token.starts_with(&block.to_string()))
        );
    }
    let stored: BTreeSet<&str> =
        STORED.concat().into_iter().filter(|name| !name.starts_with("registry_")).collect();
    assert_eq!(seen, stored);
}

#[test]
fn of_equal_keys_the_last_counts() {
    let code = |code: &str| schemas::Code::from(code);
    let district = |name: &str| {
        let (code, name) = (code("D-1"), name.to_owned());
        Some(schemas::RegistryEntry::District(schemas::District { code, name, parent: None }))
    };
    let records = vec![
        (code("b/1"), None, (0, 9)),
        (code("a/1"), district("old"), (0, 1)),
        (code("a/1"), district("new"), (0, 2)),
    ];
    let key = |key: &str| schemas::RegistryKey(code(key));
    let expected = vec![(key("a/1"), district("new")), (key("b/1"), None)];
    let mut backwards = records.clone();
    backwards.reverse();
    assert_eq!(Registry::close(records), expected);
    assert_eq!(Registry::close(backwards), expected);
    let estimate = |learnt| schemas::EstimateRow { learnt, ..Estimates::examples(1, AT).remove(0) };
    assert_eq!(Estimates::close(vec![estimate(1), estimate(2)]), [estimate(2)]);
}

#[test]
fn an_empty_block_gives_no_insert() {
    assert!(block(1, 0, Rows::Readings(ReadingColumns::default())).inserts().is_empty());
    assert!(block(1, 0, Rows::Alarms(Vec::new())).inserts().is_empty());
}
