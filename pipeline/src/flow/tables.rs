//! Which rows of which stream go into which table, and in which order.

use std::collections::BTreeMap;

use operators::Checked;
use schemas::{AlarmTransition, Flag, KpiRow, Reading, RegistryKey, Reject};
use sinks::{QualityRow, Rows};

use super::{block::Table, bucket, decode::RegistryRecord, validate::SharedEpoch};
use crate::telemetry;

/// Leaves the last of equal keys in a sorted list.
fn keep_last<T>(rows: &mut Vec<T>, same_key: impl Fn(&T, &T) -> bool) {
    rows.reverse();
    rows.dedup_by(|a, b| same_key(a, b));
    rows.reverse();
}

/// `readings`: every marked reading.
pub struct Readings;

impl Table for Readings {
    type Item = SharedEpoch;
    type Row = Reading;
    const NAME: &'static str = "block readings";

    fn split(epoch: SharedEpoch, put: &mut impl FnMut(u64, Reading)) {
        for report in epoch.reports.iter() {
            let bucket = bucket(&report.object.facility);
            for &Checked { metric, value, flag, failed, .. } in report.readings {
                let reading = Reading {
                    facility: report.object.facility.clone(),
                    device: report.object.device.clone(),
                    metric,
                    observed_at: report.observed_at,
                    received_at: report.received_at,
                    value,
                    flag,
                    failed,
                };
                put(bucket, reading);
            }
        }
    }

    fn rows(mut rows: Vec<Reading>) -> Rows {
        // Stable: revisions of one reading stay in the order in which the facility's worker made them.
        rows.sort_by(|a, b| {
            (&a.facility, &a.device, a.metric, a.observed_at).cmp(&(
                &b.facility,
                &b.device,
                b.metric,
                b.observed_at,
            ))
        });
        keep_last(&mut rows, |a, b| {
            (a.metric, a.observed_at) == (b.metric, b.observed_at)
                && a.facility == b.facility
                && a.device == b.device
        });
        let mut by_flag: BTreeMap<Flag, u64> = BTreeMap::new();
        rows.iter().for_each(|row| *by_flag.entry(row.flag).or_default() += 1);
        for (flag, count) in by_flag {
            telemetry::READINGS.with_label_values(&[&flag.number().to_string()]).inc_by(count);
        }
        Rows::Readings(rows)
    }
}

/// `kpis`: KPI states.
pub struct Kpis;

impl Table for Kpis {
    type Item = KpiRow;
    type Row = KpiRow;
    const NAME: &'static str = "block kpis";

    fn split(row: KpiRow, put: &mut impl FnMut(u64, KpiRow)) {
        put(bucket(&row.scope.code), row);
    }

    fn rows(mut rows: Vec<KpiRow>) -> Rows {
        rows.sort_by(|a, b| {
            (&a.kpi, &a.scope, a.period, a.window_start).cmp(&(&b.kpi, &b.scope, b.period, b.window_start))
        });
        Rows::Kpis(rows)
    }
}

/// `quality`: data-quality figures.
pub struct Quality;

impl Table for Quality {
    type Item = QualityRow;
    type Row = QualityRow;
    const NAME: &'static str = "block quality";

    fn split(row: QualityRow, put: &mut impl FnMut(u64, QualityRow)) {
        put(bucket(&row.scope.code), row);
    }

    fn rows(mut rows: Vec<QualityRow>) -> Rows {
        rows.sort_by(|a, b| (&a.scope, a.period, a.window_start).cmp(&(&b.scope, b.period, b.window_start)));
        Rows::Quality(rows)
    }
}

/// `alarms` and `alarm_events`: all on one worker, in one bucket, so that an epoch's transitions have one order.
pub struct Alarms;

impl Table for Alarms {
    type Item = AlarmTransition;
    type Row = AlarmTransition;
    const NAME: &'static str = "block alarms";

    fn split(row: AlarmTransition, put: &mut impl FnMut(u64, AlarmTransition)) {
        put(0, row);
    }

    fn rows(mut rows: Vec<AlarmTransition>) -> Rows {
        rows.sort_by(|a, b| (&a.alarm_id, a.sequence).cmp(&(&b.alarm_id, b.sequence)));
        for row in &rows {
            telemetry::ALARMS.with_label_values(&[row.transition.name(), &row.level.to_string()]).inc();
        }
        Rows::Alarms(rows)
    }
}

/// `rejects`.
pub struct Rejects;

impl Table for Rejects {
    type Item = Reject;
    type Row = Reject;
    const NAME: &'static str = "block rejects";

    fn split(row: Reject, put: &mut impl FnMut(u64, Reject)) {
        put(0, row);
    }

    fn rows(mut rows: Vec<Reject>) -> Rows {
        rows.sort_unstable();
        rows.iter().for_each(|row| telemetry::REJECTS.with_label_values(&[row.reason.name()]).inc());
        Rows::Rejects(rows)
    }
}

/// The `registry_*` dimension tables.
pub struct Registry;

impl Table for Registry {
    type Item = RegistryRecord;
    type Row = RegistryRecord;
    const NAME: &'static str = "block registry";

    fn split(record: RegistryRecord, put: &mut impl FnMut(u64, RegistryRecord)) {
        put(0, record);
    }

    fn rows(mut rows: Vec<RegistryRecord>) -> Rows {
        rows.sort_by(|(a, _, first), (b, _, second)| (a, first).cmp(&(b, second)));
        keep_last(&mut rows, |(a, _, _), (b, _, _)| a == b);
        Rows::Registry(rows.into_iter().map(|(key, entry, _)| (RegistryKey(key), entry)).collect())
    }
}
