//! readings: what was checked in a group of epochs becomes the columns of the table `readings`.
//!
//! Enters: the epochs of a worker, shared with the other stages. Leaves: columns by block, in the order of the table's
//! key, with the last state of each key. Guarantees: reports are put in order, not readings: the names of an object are
//! compared once per group, and its readings by number.

use std::rc::Rc;

use operators::{CheckedReport, Object};
use rustc_hash::FxHashMap;
use schemas::MetricId;
use sinks::{
    Measured, ReadingColumns, Rows,
    table::{self, Table},
};

use super::{
    block::{Gather, block_of},
    validate::SharedEpoch,
};

/// `readings`: every marked reading.
pub struct Readings;

impl Gather for Readings {
    type Item = SharedEpoch;
    type Gathered = Vec<SharedEpoch>;
    const TABLE: &'static str = table::Readings::NAME;

    fn gather(gathered: &mut Vec<SharedEpoch>, epoch: SharedEpoch) {
        gathered.push(epoch);
    }

    fn close(epochs: Vec<SharedEpoch>) -> Vec<(u64, Rows)> {
        let mut order = Order::default();
        let mut blocks = Vec::new();
        for objects in by_object(&epochs).chunk_by_mut(|a, b| a.block == b.block) {
            let readings = objects.iter().map(|object| object.readings).sum();
            let mut columns = ReadingColumns::with_capacity(objects.len(), readings);
            for Reported { object, reports, .. } in objects.iter_mut() {
                columns.push(&object.facility, &object.device, order.sorted(reports));
            }
            table::Readings::count(&columns);
            blocks.push((objects[0].block, Rows::Readings(columns)));
        }
        blocks
    }
}

/// What an object reported, in the order in which it was accepted.
struct Reported<'a> {
    block: u64,
    object: &'a Object,
    reports: Vec<CheckedReport<'a>>,
    readings: usize,
}

/// The reports of all epochs by object, sorted by (block, facility, device).
fn by_object(epochs: &[SharedEpoch]) -> Vec<Reported<'_>> {
    // An object is the same value for all its reports, unless it left the registry and came back: names decide.
    let mut numbers: FxHashMap<*const Object, usize> = FxHashMap::default();
    let mut objects: Vec<Reported<'_>> = Vec::new();
    for report in
        epochs.iter().flat_map(|epoch| epoch.reports.iter()).filter(|report| !report.readings.is_empty())
    {
        let number = *numbers.entry(Rc::as_ptr(report.object)).or_insert(objects.len());
        if number == objects.len() {
            let (block, object) = (block_of(&report.object.facility), &**report.object);
            objects.push(Reported { block, object, reports: Vec::new(), readings: 0 });
        }
        objects[number].reports.push(report);
        objects[number].readings += report.readings.len();
    }
    // Stable: what came before an object left stands before what came after it was back.
    objects.sort_by(|a, b| (a.block, a.object).cmp(&(b.block, b.object)));
    objects.dedup_by(|again, before| {
        let same = again.object == before.object;
        if same {
            before.reports.append(&mut again.reports);
            before.readings += again.readings;
        }
        same
    });
    objects
}

/// Puts the readings of one object after the other into order, always in the same memory.
#[derive(Default)]
struct Order {
    keys: Vec<u64>,
    sorted: Vec<Measured>,
}

impl Order {
    /// The readings of an object by (metric, observed_at); of one key the one that was accepted last.
    fn sorted(&mut self, reports: &mut [CheckedReport<'_>]) -> &[Measured] {
        // Stable, and most often they are in order.
        reports.sort_by_key(|report| report.observed_at);
        self.keys.clear();
        for (rank, report) in reports.iter().enumerate() {
            // A report has no metric twice, so that a reading's place in it fits into 16 bits as metrics do.
            let key =
                |(place, metric): (usize, MetricId)| u64::from(metric.0) << 48 | (rank << 16 | place) as u64;
            self.keys.extend(report.readings.iter().map(|reading| reading.metric).enumerate().map(key));
        }
        self.keys.sort_unstable();
        self.sorted.clear();
        for &key in &self.keys {
            let report = reports[(key >> 16) as u32 as usize];
            let reading = measured(&report, usize::from(key as u16));
            match self.sorted.last_mut() {
                Some(last) if (last.metric, last.observed_at) == (reading.metric, reading.observed_at) => {
                    *last = reading;
                }
                _ => self.sorted.push(reading),
            }
        }
        &self.sorted
    }
}

fn measured(report: &CheckedReport<'_>, place: usize) -> Measured {
    let reading = &report.readings[place];
    Measured {
        metric: reading.metric,
        observed_at: report.observed_at,
        received_at: report.received_at,
        value: reading.value,
        flag: reading.flag,
        failed: reading.failed,
    }
}

#[cfg(test)]
mod tests {
    use operators::{Change, Checked, CheckedEpoch, durable::shard, flow::Carrier};
    use proptest::prelude::*;
    use schemas::{Code, Flag, Millis, Reading, TestSet};
    use sinks::Block;

    use super::{super::block::unite, *};

    /// A row per reading, sorted by names, as one would write it who has time.
    fn by_rows(epochs: &[SharedEpoch]) -> Vec<(u64, Vec<Reading>)> {
        let mut rows: Vec<(u64, Reading)> = Vec::new();
        for report in epochs.iter().flat_map(|epoch| epoch.reports.iter()) {
            for checked in report.readings {
                let reading = Reading {
                    facility: report.object.facility.clone(),
                    device: report.object.device.clone(),
                    metric: checked.metric,
                    observed_at: report.observed_at,
                    received_at: report.received_at,
                    value: checked.value,
                    flag: checked.flag,
                    failed: checked.failed,
                };
                rows.push((block_of(&reading.facility), reading));
            }
        }
        let key = |(block, r): &(u64, Reading)| {
            (*block, r.facility.clone(), r.device.clone(), r.metric, r.observed_at)
        };
        rows.sort_by_key(key);
        // Of equal keys the last.
        rows.reverse();
        rows.dedup_by_key(|row| key(row));
        rows.reverse();
        let blocks = rows.chunk_by(|(a, _), (b, _)| a == b);
        blocks.map(|rows| (rows[0].0, rows.iter().map(|(_, row)| row.clone()).collect())).collect()
    }

    /// A reading of a metric with a value that tells it from all others, since only the order is looked at.
    fn checked(metric: u16, number: usize) -> Checked {
        let flag = if number.is_multiple_of(3) { Flag::Suspect } else { Flag::Good };
        let failed = TestSet(number as u32 % 5);
        Checked { metric: MetricId(metric), value: number as f64, flag, failed, change: Change::New }
    }

    /// Which object, when, whether it came back before, and its metrics.
    type Drawn = (usize, Millis, bool, Vec<u16>);

    fn epochs(drawn: &[Vec<Drawn>]) -> Vec<SharedEpoch> {
        let named = |n: usize| {
            let device = if n.is_multiple_of(4) { String::new() } else { format!("D-{}", n % 4) };
            Object { facility: Code::from(format!("ST-{}", n / 4)), device: Code::from(device) }
        };
        let mut objects: Vec<Rc<Object>> = (0..80).map(|n| Rc::new(named(n))).collect();
        let mut number = 0;
        let mut epochs = Vec::new();
        for reports in drawn {
            let mut epoch = CheckedEpoch::default();
            for (object, observed_at, back, metrics) in reports {
                if *back {
                    objects[*object] = Rc::new(named(*object));
                }
                let mut readings = Vec::new();
                for &metric in metrics {
                    number += 1;
                    readings.push(checked(metric, number));
                }
                epoch.reports.push(CheckedReport {
                    object: &objects[*object],
                    observed_at: *observed_at,
                    received_at: number as Millis,
                    carrier: Carrier::default(),
                    readings: &readings,
                });
            }
            epochs.push(Rc::new(epoch));
        }
        epochs
    }

    /// What each of three workers has of the epochs, by facility.
    fn parted(epochs: &[SharedEpoch]) -> [Vec<SharedEpoch>; 3] {
        [0, 1, 2].map(|worker| {
            let mine = |report: &CheckedReport<'_>| shard(&report.object.facility) % 3 == worker;
            let part = |epoch: &SharedEpoch| {
                let mut part = CheckedEpoch::default();
                epoch.reports.iter().filter(mine).for_each(|report| part.reports.push(report));
                Rc::new(part)
            };
            epochs.iter().map(part).collect()
        })
    }

    fn blocks(epochs: &[SharedEpoch]) -> Vec<Block> {
        let closed = Readings::close(epochs.to_vec()).into_iter();
        closed.map(|(block, rows)| Block { epoch: 7, bucket: block as u16, rows }).collect()
    }

    fn drawn() -> impl Strategy<Value = Vec<Vec<Drawn>>> {
        let report = (0..80_usize, -3..4_i64, any::<bool>(), prop::collection::vec(0..6_u16, 0..6));
        prop::collection::vec(prop::collection::vec(report, 0..60), 0..5)
    }

    proptest! {
        #[test]
        fn the_columns_are_the_sorted_rows(drawn in drawn()) {
            let epochs = epochs(&drawn);
            let told: Vec<_> = Readings::close(epochs.clone())
                .into_iter()
                .map(|(block, rows)| match rows {
                    Rows::Readings(columns) => (block, columns.rows().collect::<Vec<_>>()),
                    other => panic!("{other:?}"),
                })
                .collect();
            prop_assert_eq!(told, by_rows(&epochs));
        }

        /// However many workers there are, and whichever is first.
        #[test]
        fn the_parts_of_workers_unite_to_the_blocks_of_one(drawn in drawn(), first in 0..3_usize) {
            let epochs = epochs(&drawn);
            let mut parts = parted(&epochs).map(|part| blocks(&part));
            parts.rotate_left(first);
            let mut united = parts.concat();
            unite(&mut united);
            prop_assert_eq!(united, blocks(&epochs));
        }
    }
}
