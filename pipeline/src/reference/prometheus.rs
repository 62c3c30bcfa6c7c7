//! The Prometheus metrics that the process serves at `/metrics`.

use super::table::{chapter, code};
use crate::telemetry;

/// Name, type, labels and help of every metric, sorted by name.
pub(super) fn text() -> String {
    let mut rows: Vec<[String; 4]> = Vec::new();
    for metric in telemetry::all() {
        let kind = metric.collect().first().map(|family| format!("{:?}", family.get_field_type()));
        for family in metric.desc() {
            let labels = family.variable_labels.join(", ");
            let kind = kind.clone().unwrap_or_default().to_lowercase();
            rows.push([code(&family.fq_name), kind, code(&labels), family.help.clone()]);
        }
    }
    rows.sort();
    chapter("Prometheus metrics", ["name", "type", "labels", "meaning"], rows)
}
