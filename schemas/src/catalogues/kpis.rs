//! Rows of `kpis.csv` to what may be set of KPIs, and how they are merged.
//!
//! Enters: rows, and the KPIs that are there. Leaves: the KPIs with them. Guarantees: a user's row sets a KPI that is
//! shipped, never adds one; the unit stays, for the value is computed in it; a KPI keeps the parameters that it has.

use rustc_hash::FxHashMap;

use super::Merged;
use crate::{
    kpi::KpiEntry,
    nearest::hint,
    registry_files::{
        rows::Cells,
        table::{Form, Problems},
    },
    units,
};

pub(super) const FORM: Form = Form {
    file: super::directory::KPIS,
    required: &["code", "name", "english", "unit", "decimals", "season_decimals", "source"],
    optional: &["enabled", "parameters"],
    attributes: false,
    comments: true,
};

/// Decimals that a value may have.
const DECIMALS: u8 = 9;

/// Reads one row.
pub(super) fn read(cells: &mut Cells<'_>) -> Option<KpiEntry> {
    let before = cells.problems.len();
    let code = cells.required("code");
    let [name, english, source] = ["name", "english", "source"].map(|column| cells.required_text(column));
    let unit = cells.required_text("unit");
    let [decimals, season_decimals] =
        ["decimals", "season_decimals"].map(|column| cells.required_whole(column, DECIMALS));
    let entry = KpiEntry {
        code: code?.to_string(),
        name: name?,
        english: english?,
        unit: unit?,
        decimals: decimals?,
        season_decimals: season_decimals?,
        source: source?,
        enabled: cells.boolean("enabled", true),
        parameters: parameters(cells),
    };
    let KpiEntry { code, decimals, season_decimals, .. } = &entry;
    if decimals < season_decimals {
        let what = format!(
            "{code}: decimals {decimals} are fewer than season_decimals {season_decimals}: an hour has at least those \
             of a season"
        );
        cells.wrong(what);
    }
    (cells.problems.len() == before).then_some(entry)
}

/// The parameters that a row gives, in its order.
fn parameters(cells: &mut Cells<'_>) -> Vec<(String, f64)> {
    let mut parameters: Vec<(String, f64)> = Vec::new();
    for text in cells.string("parameters").split_whitespace() {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match crate::number::parse(value) {
            _ if parameters.iter().any(|(known, _)| known == name) => {
                cells.wrong(format!("parameter {name} stands twice: delete one"));
            }
            Ok(number) => parameters.push((name.to_owned(), number.value)),
            Err(_) => cells.wrong(format!(
                "parameter {text:?} is not name=number: write numbers with a decimal point, and spaces between parameters"
            )),
        }
    }
    parameters
}

/// Puts rows among the KPIs; those of the user set what is shipped.
pub(super) fn merge(
    kpis: &mut Vec<KpiEntry>,
    rows: Vec<(u64, KpiEntry)>,
    of_user: bool,
    problems: &mut Problems,
) -> Merged {
    let mut merged = Merged::default();
    let mut lines: FxHashMap<String, u64> = FxHashMap::default();
    for (line, row) in rows {
        let code = row.code.clone();
        let place = kpis.iter().position(|kpi| kpi.code == code);
        let result = match (lines.get(&code), place) {
            (Some(first), _) => Err(format!("KPI {code} stands already in line {first}: delete one")),
            (None, Some(place)) => change(&kpis[place], row).map(|changed| {
                kpis[place] = changed;
                merged.replaced += 1;
            }),
            (None, None) if of_user => Err(unknown(&code, kpis)),
            (None, None) => {
                kpis.push(row);
                merged.added += 1;
                Ok(())
            }
        };
        lines.entry(code).or_insert(line);
        problems.extend(result.err().map(|what| (line, what)));
    }
    merged
}

/// A shipped KPI with what the user's row says of it. A parameter that the row does not name keeps its value.
fn change(shipped: &KpiEntry, row: KpiEntry) -> Result<KpiEntry, String> {
    let code = &shipped.code;
    if !units::same(&shipped.unit, &row.unit) {
        let (computed, wanted) = (&shipped.unit, &row.unit);
        return Err(format!("KPI {code} is computed in {computed}, not {wanted}: leave its unit"));
    }
    let mut parameters = shipped.parameters.clone();
    for (name, value) in &row.parameters {
        match parameters.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = *value,
            None => return Err(no_parameter(shipped, name)),
        }
    }
    Ok(KpiEntry { unit: shipped.unit.clone(), parameters, ..row })
}

fn no_parameter(kpi: &KpiEntry, name: &str) -> String {
    let (code, names) = (&kpi.code, kpi.parameters.iter().map(|(name, _)| name.as_str()));
    let known: Vec<&str> = names.clone().collect();
    match known[..] {
        [] => format!("KPI {code} has no parameter {name}: it has none, leave parameters empty"),
        _ => {
            let hint = hint(name, names);
            format!("KPI {code} has no parameter {name}{hint}: it has {}", known.join(", "))
        }
    }
}

fn unknown(code: &str, kpis: &[KpiEntry]) -> String {
    let codes: Vec<&str> = kpis.iter().map(|kpi| kpi.code.as_str()).collect();
    let hint = hint(code, codes.iter().copied());
    format!("unknown KPI {code}{hint}: the KPIs are {}", codes.join(", "))
}
