use proptest::prelude::*;
use schemas::{Code, Flag, QualityTest, Reading, TestSet};

use super::*;
use crate::Rows;

/// A block in the Native format, written row by row and without regard to time.
struct Naive(Vec<u8>);

impl Naive {
    fn length(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.0.push((number % 0x80) as u8 + 0x80);
            number /= 0x80;
        }
        self.0.push(number as u8);
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend(text.bytes());
    }

    fn numbers(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.0.extend(number.to_le_bytes()));
    }

    fn names(&mut self, names: &[&str]) {
        if names.is_empty() {
            return;
        }
        let mut distinct: Vec<&str> = Vec::new();
        for name in names {
            if !distinct.contains(name) {
                distinct.push(name);
            }
        }
        let wide = distinct.len() > 256;
        self.numbers(&[0x600 + u64::from(wide), distinct.len() as u64]);
        distinct.iter().for_each(|name| self.text(name));
        self.numbers(&[names.len() as u64]);
        for name in names {
            let place = distinct.iter().position(|known| known == name).unwrap();
            let bytes = place.to_le_bytes();
            self.0.extend(&bytes[..1 + usize::from(wide)]);
        }
    }

    fn low_cardinality(&mut self, column: &str, rows: &[Reading], name: impl Fn(&Reading) -> &str) {
        self.text(column);
        self.text("LowCardinality(String)");
        self.numbers(&[1]);
        self.names(&rows.iter().map(name).collect::<Vec<_>>());
    }

    fn eight_bytes(&mut self, column: &str, kind: &str, rows: &[Reading], value: impl Fn(&Reading) -> u64) {
        self.text(column);
        self.text(kind);
        self.numbers(&rows.iter().map(value).collect::<Vec<_>>());
    }

    fn block(rows: &[Reading], epoch: Epoch) -> Vec<u8> {
        let mut naive = Naive(vec![9]);
        naive.length(rows.len());
        naive.low_cardinality("facility", rows, |row| &row.facility);
        naive.low_cardinality("device", rows, |row| &row.device);
        naive.low_cardinality("metric", rows, |row| row.metric.code());
        naive.eight_bytes("observed_at", "DateTime64(3, 'UTC')", rows, |row| row.observed_at as u64);
        naive.eight_bytes("received_at", "DateTime64(3, 'UTC')", rows, |row| row.received_at as u64);
        naive.eight_bytes("value", "Float64", rows, |row| row.value.to_bits());
        naive.text("flag");
        naive.text("UInt8");
        naive.0.extend(rows.iter().map(|row| row.flag.number()));
        naive.text("failed");
        naive.text("Array(LowCardinality(String))");
        let mut failed = Vec::new();
        let mut ends = vec![1];
        for row in rows {
            failed
                .extend(QualityTest::ALL.iter().filter(|&&test| row.failed.contains(test)).map(|t| t.name()));
            ends.push(failed.len() as u64);
        }
        naive.numbers(&ends);
        naive.names(&failed);
        naive.eight_bytes("epoch", "UInt64", rows, |_| epoch);
        naive.0
    }
}

fn any_reading(facilities: u16) -> impl Strategy<Value = Reading> {
    let flags = [Flag::Good, Flag::NotEvaluated, Flag::Suspect, Flag::Fail, Flag::Missing];
    let names = (0..facilities, 0..3_u16, 0..4_u16);
    let marks = (proptest::sample::select(flags.to_vec()), prop_oneof![3 => Just(0), 1 => any::<u32>()]);
    (names, any::<(i64, i64, f64)>(), marks).prop_map(
        |((facility, device, metric), (observed_at, received_at, value), (flag, failed))| Reading {
            facility: Code::from(format!("ST-{facility}")),
            device: if device == 0 { Code::default() } else { Code::from(format!("D-{device}")) },
            metric: MetricId(metric),
            observed_at,
            received_at,
            value,
            flag,
            failed: TestSet(failed),
        },
    )
}

/// Many objects with a reading or two, or few with hundreds.
fn any_readings() -> impl Strategy<Value = Vec<Reading>> {
    prop_oneof![Just(700), Just(2)]
        .prop_flat_map(|facilities| proptest::collection::vec(any_reading(facilities), 0..900))
}

proptest! {
    #[test]
    fn columns_give_the_bytes_that_rows_give(
        mut rows in any_readings(),
        epoch: u64,
    ) {
        let key = |row: &Reading| (row.facility.clone(), row.device.clone(), row.metric, row.observed_at);
        rows.sort_by_key(key);
        rows.dedup_by_key(|row| key(row));
        let columns = rows.iter().cloned().collect::<ReadingColumns>();
        prop_assert_eq!(columns.rows().collect::<Vec<_>>(), rows.clone());
        let block = Block { epoch, bucket: 0, rows: Rows::Readings(columns.clone()) };
        let insert = Readings::inserts(&columns, &block).remove(0);
        prop_assert!(insert.columns.finish() == Naive::block(&rows, epoch));
    }
}
