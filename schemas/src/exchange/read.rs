//! Rows of `exchange/tables.csv` and `exchange/fields.csv` to tables, and how they are merged.
//!
//! Enters: rows, and the tables that are there. Leaves: those with them. Guarantees: a table that is there stays as it
//! is; a new one has every field of its key, and names nothing that its feed does not give.

use rustc_hash::FxHashMap;

use super::{ExchangeTable, Feed, Field, FieldType, Required, Source, Tables};
use crate::{
    FacilityKind, Period, ScopeKind,
    nearest::hint,
    registry_files::{
        rows::Cells,
        table::{Form, Problems},
    },
};

pub(crate) const TABLES: Form = Form {
    file: "exchange/tables.csv",
    required: &["group", "table", "name", "feed", "settle", "key"],
    optional: &["clause"],
    attributes: false,
    comments: true,
};

pub(crate) const FIELDS: Form = Form {
    file: "exchange/fields.csv",
    required: &["table", "field", "name", "type", "required", "source"],
    optional: &["length", "values"],
    attributes: false,
    comments: true,
};

/// Reads one table, without its fields.
pub(crate) fn table(cells: &mut Cells<'_>) -> Option<ExchangeTable> {
    let (group, table) = (cells.required("group"), cells.required("table"));
    let (text, key) = (cells.required_text("feed")?, cells.required_text("key")?);
    let feed = feed(&text);
    if feed.is_none() {
        cells.wrong(format!(
            "feed {text:?} is not known: write facility:KIND;KIND, device, threshold, kpi:SCOPE:PERIOD or alarm"
        ));
    }
    Some(ExchangeTable {
        group: group?.to_string(),
        table: table?.to_string(),
        name: cells.required_text("name")?,
        feed: feed?,
        settle: cells.seconds("settle")?,
        key: list(&key, ';'),
        clause: cells.string("clause"),
        fields: Vec::new(),
    })
}

/// Reads one field and the name of its table.
pub(crate) fn field(cells: &mut Cells<'_>) -> Option<(String, Field)> {
    let (table, code) = (cells.required("table"), cells.required("field"));
    let kind = cells.named("type", FieldType::ALL, |kind| kind.name());
    let required = cells.named("required", Required::ALL, |required| required.name());
    let field = Field {
        code: code?.to_string(),
        name: cells.string("name"),
        kind: kind?,
        length: length(cells),
        required: required?,
        values: list(&cells.string("values"), ';'),
        sources: list(&cells.string("source"), '|').iter().map(|text| source(text)).collect(),
    };
    Some((table?.to_string(), field))
}

fn length(cells: &mut Cells<'_>) -> Option<usize> {
    let text = cells.text("length")?.to_owned();
    let length = text.parse().ok();
    if length.is_none() {
        cells.wrong(format!("length {text:?} is no whole number of bytes"));
    }
    length
}

type Lines<T> = Vec<(u64, T)>;

impl Tables {
    /// Puts new tables with their fields behind those that are there; gives how many. The problems are those of the two
    /// files; `kpis` are the codes that fields may name.
    pub(crate) fn merge(
        &mut self,
        (tables, fields): (Lines<ExchangeTable>, Lines<(String, Field)>),
        kpis: &[&str],
        (of_tables, of_fields): (&mut Problems, &mut Problems),
    ) -> usize {
        let shipped = self.tables.len();
        let mut lines: FxHashMap<String, u64> = FxHashMap::default();
        for (line, table) in tables {
            let name = &table.table;
            match (lines.get(name), self.named(name)) {
                (Some(first), _) => {
                    of_tables
                        .push((line, format!("table {name} stands already in line {first}: delete one")));
                }
                (None, Some(_)) => of_tables.push((
                    line,
                    format!("table {name} is shipped and stays as it is: give yours another name"),
                )),
                (None, None) => {
                    lines.insert(name.clone(), line);
                    self.tables.push(table);
                }
            }
        }
        for (line, (table, field)) in fields {
            let added = self.add_field(shipped, &table, field, kpis);
            of_fields.extend(added.err().map(|what| (line, what)));
        }
        for table in &self.tables[shipped..] {
            let absent = |key: &&String| table.fields.iter().all(|field| field.code != **key);
            for key in table.key.iter().filter(absent) {
                let what = format!("key field {key} of {} is not in {}", table.table, FIELDS.file);
                of_tables.push((lines[&table.table], what));
            }
        }
        self.tables.len() - shipped
    }

    /// Gives a field to one of the tables behind `shipped`.
    fn add_field(&mut self, shipped: usize, name: &str, field: Field, kpis: &[&str]) -> Result<(), String> {
        let Some(place) = self.tables.iter().position(|table| table.table == name) else {
            let new = self.tables[shipped..].iter().map(|table| table.table.as_str());
            return Err(format!("table {name} is not in {}{}", TABLES.file, hint(name, new)));
        };
        if place < shipped {
            return Err(format!(
                "table {name} is shipped and stays as it is: give a table of your own the field"
            ));
        }
        let table = &mut self.tables[place];
        let code = &field.code;
        if table.fields.iter().any(|known| known.code == *code) {
            return Err(format!("field {code} of {name} stands twice: delete one"));
        }
        for source in &field.sources {
            if let Source::Path(path) = source
                && !table.feed.knows(path, kpis)
            {
                let what = unknown_source(path, &table.feed, kpis);
                return Err(format!("field {code} of {name}: {what}"));
            }
        }
        table.fields.push(field);
        Ok(())
    }
}

fn unknown_source(path: &str, feed: &Feed, kpis: &[&str]) -> String {
    let kpis: &[&str] = if matches!(feed, Feed::Kpi(..)) { kpis } else { &[] };
    let paths = feed.paths().map(str::to_owned).chain(kpis.iter().map(|kpi| format!("kpi.{kpi}")));
    let paths: Vec<String> = paths.collect();
    let hint = hint(path, paths.iter().map(String::as_str));
    let more =
        if *feed == Feed::Threshold { "" } else { ", and attributes such as facility.attribute.street" };
    format!("unknown source {path}{hint}: the feed gives {}{more}", paths.join(", "))
}

fn list(text: &str, separator: char) -> Vec<String> {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn source(text: &str) -> Source {
    match text.strip_prefix('=') {
        Some(constant) => Source::Constant(constant.to_owned()),
        None => Source::Path(text.to_owned()),
    }
}

fn feed(text: &str) -> Option<Feed> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    match name {
        "facility" => {
            let kind = |name: &String| FacilityKind::ALL.iter().copied().find(|kind| kind.name() == name);
            let kinds = list(rest, ';').iter().map(kind).collect::<Option<Vec<_>>>()?;
            (!kinds.is_empty()).then_some(Feed::Facility(kinds))
        }
        "device" => Some(Feed::Device),
        "threshold" => Some(Feed::Threshold),
        "alarm" => Some(Feed::Alarm),
        "kpi" => {
            let (scope, period) = rest.split_once(':')?;
            let scope = ScopeKind::ALL.iter().copied().find(|kind| kind.name() == scope)?;
            Some(Feed::Kpi(scope, Period::ALL.iter().copied().find(|known| known.name() == period)?))
        }
        _ => None,
    }
}
