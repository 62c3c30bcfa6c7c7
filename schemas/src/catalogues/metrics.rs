//! Rows of `metrics.csv` to metrics, and how they are merged.
//!
//! Enters: rows, and the metrics that are there. Leaves: the metrics with them. Guarantees: a new code gets the next
//! number; a row for a code that is there gives it other limits, another name or other decimals, never another unit or
//! kind.

use rustc_hash::FxHashMap;

use super::Merged;
use crate::{
    Catalogue, Low, Metric, MetricKind, Zero,
    nearest::hint,
    registry_files::{
        rows::Cells,
        table::{Form, Problems},
    },
    report::MAX_CODE,
    units,
};

pub(super) const FORM: Form = Form {
    file: super::directory::METRICS,
    required: &["code", "name", "unit", "kind", "decimals", "min", "max"],
    optional: &[
        "max_rate",
        "spike",
        "flat_tolerance",
        "flat_suspect",
        "flat_fail",
        "flat_above",
        "zero",
        "low",
    ],
    attributes: false,
    comments: true,
};

/// Decimals that a value may have; nine is what the conversion of units keeps.
const DECIMALS: u8 = 9;

/// Reads one row.
pub(super) fn read(cells: &mut Cells<'_>) -> Option<Metric> {
    let before = cells.problems.len();
    let (code, _) = (cells.required("code"), cells.required_text("name"));
    let kind = cells.named("kind", MetricKind::ALL, |kind| kind.name());
    let (min, max) = (cells.required_number("min"), cells.required_number("max"));
    let metric = Metric {
        code: code?.to_string(),
        name: cells.string("name"),
        unit: unit(cells),
        kind: kind?,
        decimals: cells.required_whole("decimals", DECIMALS)?,
        min: min?,
        max: max?,
        max_rate: cells.positive("max_rate"),
        spike: cells.positive("spike"),
        flat_tolerance: cells.number("flat_tolerance"),
        flat_suspect: cells.seconds("flat_suspect"),
        flat_fail: cells.seconds("flat_fail"),
        flat_above: cells.number("flat_above"),
        zero: cells.named_if_any("zero", Zero::ALL, |zero| zero.name()),
        low: cells.named_if_any("low", Low::ALL, |low| low.name()),
    };
    contradictions(&metric).into_iter().for_each(|what| cells.wrong(what));
    (cells.problems.len() == before).then_some(metric)
}

fn unit(cells: &mut Cells<'_>) -> String {
    let unit = cells.string("unit");
    if !units::is_known(&unit) {
        let (hint, code) = (hint(&unit, units::symbols()), cells.string("code"));
        let symbols: Vec<&str> = units::symbols().collect();
        cells.wrong(format!("{code}: unknown unit {unit:?}{hint}: the units are {}", symbols.join(", ")));
    }
    unit
}

/// What no cell says by itself.
fn contradictions(metric: &Metric) -> Vec<String> {
    let Metric { code, min, max, .. } = metric;
    let mut problems = Vec::new();
    if min > max {
        problems.push(format!("{code}: min {min} is above max {max}"));
    }
    // SenML sets facility, device and metric apart by `:` as well as by `/`.
    if let Some(bad) = code.chars().find(|c| !c.is_alphanumeric() && !"-_".contains(*c)) {
        problems.push(format!("code {code:?} contains {bad:?}: use letters, digits, - and _"));
    }
    if code.len() > MAX_CODE {
        problems.push(format!("code {code} has {} bytes, {MAX_CODE} are allowed", code.len()));
    }
    if metric.flat_tolerance.is_some_and(|tolerance| tolerance < 0.0) {
        problems.push(format!("{code}: flat_tolerance is negative"));
    }
    let (tolerance, lasts) = (metric.flat_tolerance, metric.flat_suspect.or(metric.flat_fail));
    if tolerance.is_some() != lasts.is_some() {
        problems.push(format!(
            "{code}: give flat_tolerance and one of flat_suspect and flat_fail, or none of the three"
        ));
    }
    if metric.flat_above.is_some() && tolerance.is_none() {
        problems.push(format!("{code}: flat_above says nothing without flat_tolerance"));
    }
    problems
}

/// Puts rows into the catalogue.
pub(super) fn merge(catalogue: &mut Catalogue, rows: Vec<(u64, Metric)>, problems: &mut Problems) -> Merged {
    let mut merged = Merged::default();
    let mut lines: FxHashMap<String, u64> = FxHashMap::default();
    for (line, metric) in rows {
        let code = metric.code.clone();
        let result = match (lines.get(&code), catalogue.id(&code)) {
            (Some(first), _) => Err(format!("metric {code} stands already in line {first}: delete one")),
            (None, Some(id)) => change(catalogue.metric(id), metric).map(|metric| {
                catalogue.replace(id, metric);
                merged.replaced += 1;
            }),
            (None, None) => catalogue.add(metric).map(|()| merged.added += 1),
        };
        lines.entry(code).or_insert(line);
        problems.extend(result.err().map(|what| (line, what)));
    }
    merged
}

/// A shipped metric with what the user's row says of it. Readings, thresholds and KPIs rest on its unit and kind.
fn change(shipped: &Metric, row: Metric) -> Result<Metric, String> {
    let Metric { code, unit, kind, .. } = shipped;
    let named = |unit: &str| if unit.is_empty() { "no unit".to_owned() } else { unit.to_owned() };
    if !units::same(unit, &row.unit) {
        let (shipped, wanted) = (named(unit), named(&row.unit));
        return Err(format!("metric {code} is shipped in {shipped}, not {wanted}: give it another code"));
    }
    if *kind != row.kind {
        let (shipped, wanted) = (kind.name(), row.kind.name());
        return Err(format!("metric {code} is shipped as a {shipped}, not a {wanted}: give it another code"));
    }
    Ok(Metric { unit: unit.clone(), ..row })
}
