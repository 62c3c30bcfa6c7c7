//! Which rows of which stream go into which table, and in which order.

use schemas::{AlarmTransition, EstimateRow, KpiRow, RegistryKey, Reject};
use sinks::{QualityRow, Rows};

use super::{
    block::{Numbered, Table, block_of},
    decode::RegistryRecord,
};
use crate::telemetry;

pub use super::readings::Readings;

/// Leaves the last of equal keys in a sorted list.
fn keep_last<T>(rows: &mut Vec<T>, same_key: impl Fn(&T, &T) -> bool) {
    rows.reverse();
    rows.dedup_by(|a, b| same_key(a, b));
    rows.reverse();
}

/// `kpis`: KPI states.
pub struct Kpis;

impl Table for Kpis {
    type Item = KpiRow;
    type Gathered = Numbered<KpiRow>;
    const NAME: &'static str = "block kpis";

    fn gather(gathered: &mut Self::Gathered, row: KpiRow) {
        gathered.put(block_of(&row.scope.code), row);
    }

    fn close(gathered: Self::Gathered) -> Vec<(u64, Rows)> {
        gathered.close(|mut rows| {
            rows.sort_by(sinks::order::kpis);
            Rows::Kpis(rows)
        })
    }
}

/// `quality`: data-quality figures.
pub struct Quality;

impl Table for Quality {
    type Item = QualityRow;
    type Gathered = Numbered<QualityRow>;
    const NAME: &'static str = "block quality";

    fn gather(gathered: &mut Self::Gathered, row: QualityRow) {
        gathered.put(block_of(&row.scope.code), row);
    }

    fn close(gathered: Self::Gathered) -> Vec<(u64, Rows)> {
        gathered.close(|mut rows| {
            rows.sort_by(sinks::order::quality);
            Rows::Quality(rows)
        })
    }
}

/// `estimates`: what models expected and found.
pub struct Estimates;

impl Table for Estimates {
    type Item = EstimateRow;
    type Gathered = Numbered<EstimateRow>;
    const NAME: &'static str = "block estimates";

    fn gather(gathered: &mut Self::Gathered, row: EstimateRow) {
        gathered.put(block_of(&row.facility), row);
    }

    fn close(gathered: Self::Gathered) -> Vec<(u64, Rows)> {
        gathered.close(|mut rows| {
            rows.sort_by(sinks::order::estimates);
            keep_last(&mut rows, |a, b| sinks::order::estimates(a, b).is_eq());
            Rows::Estimates(rows)
        })
    }
}

/// `alarms` and `alarm_events`: all on one worker, in one block, so that an epoch's transitions have one order.
pub struct Alarms;

impl Table for Alarms {
    type Item = AlarmTransition;
    type Gathered = Numbered<AlarmTransition>;
    const NAME: &'static str = "block alarms";

    fn gather(gathered: &mut Self::Gathered, row: AlarmTransition) {
        gathered.put(0, row);
    }

    fn close(gathered: Self::Gathered) -> Vec<(u64, Rows)> {
        gathered.close(|mut rows| {
            rows.sort_by(|a, b| (&a.alarm_id, a.sequence).cmp(&(&b.alarm_id, b.sequence)));
            for row in &rows {
                telemetry::ALARMS.with_label_values(&[row.transition.name(), &row.level.to_string()]).inc();
            }
            Rows::Alarms(rows)
        })
    }
}

/// `rejects`.
pub struct Rejects;

impl Table for Rejects {
    type Item = Reject;
    type Gathered = Numbered<Reject>;
    const NAME: &'static str = "block rejects";

    fn gather(gathered: &mut Self::Gathered, row: Reject) {
        gathered.put(0, row);
    }

    fn close(gathered: Self::Gathered) -> Vec<(u64, Rows)> {
        gathered.close(|mut rows| {
            rows.sort_unstable();
            rows.iter().for_each(|row| telemetry::REJECTS.with_label_values(&[row.reason.name()]).inc());
            Rows::Rejects(rows)
        })
    }
}

/// The `registry_*` dimension tables.
pub struct Registry;

impl Table for Registry {
    type Item = RegistryRecord;
    type Gathered = Numbered<RegistryRecord>;
    const NAME: &'static str = "block registry";

    fn gather(gathered: &mut Self::Gathered, record: RegistryRecord) {
        gathered.put(0, record);
    }

    fn close(gathered: Self::Gathered) -> Vec<(u64, Rows)> {
        gathered.close(|mut rows| {
            rows.sort_by(|(a, _, first), (b, _, second)| (a, first).cmp(&(b, second)));
            keep_last(&mut rows, |(a, _, _), (b, _, _)| a == b);
            Rows::Registry(rows.into_iter().map(|(key, entry, _)| (RegistryKey(key), entry)).collect())
        })
    }
}
