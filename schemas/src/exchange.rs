//! The tables of the provincial exchange (T chapter 3), as data.
//!
//! Enters: `catalogue/exchange/*.csv`. Leaves: tables and fields, and what is wrong with a row. Guarantees: a row that
//! passes [`Table::check`] has every required field, in its type, length and set of values.

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Error, FacilityKind, Period, ScopeKind};

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// 字符型.
    String,
    /// 整型.
    Integer,
    /// 浮点型.
    Float,
    /// 日期型: `2019-04-19`.
    Date,
    /// 日期时间型: `2019-04-19 12:00:00`.
    Datetime,
}

/// When a field must be filled (T 3: 约束/条件).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Required {
    /// Always.
    M,
    /// Never.
    O,
    /// When the condition holds, which only the sender knows.
    C,
}

/// A field of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Code: pinyin initials.
    pub code: String,
    /// Chinese name.
    pub name: String,
    /// Type.
    pub kind: FieldType,
    /// Greatest length in bytes of UTF-8, for strings.
    pub length: Option<usize>,
    /// When it must be filled.
    pub required: Required,
    /// Allowed values; empty when any.
    pub values: Vec<String>,
    /// Where the value comes from: alternatives in their order.
    pub sources: Vec<Source>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A constant.
    Constant(String),
    /// A path into our records, such as `facility.name`.
    Path(String),
}

/// Which of our records give rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Facilities of these kinds.
    Facility(Vec<FacilityKind>),
    /// Devices.
    Device,
    /// Thresholds.
    Threshold,
    /// The KPIs of one scope and window together.
    Kpi(ScopeKind, Period),
    /// Alarm transitions.
    Alarm,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Group.
    pub group: String,
    /// Table.
    pub table: String,
    /// Chinese name.
    pub name: String,
    /// What gives its rows.
    pub feed: Feed,
    /// Seconds a row waits for further values of the same object and window.
    pub settle: u32,
    /// Codes of the fields by which a row is found again.
    pub key: Vec<String>,
    /// Where the document describes it.
    pub clause: String,
    /// Its fields, in the document's order.
    pub fields: Vec<Field>,
}

/// What is wrong with one field of a row.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Code of the field.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.detail)
    }
}

impl Table {
    /// Everything that is wrong with a row; empty when nothing is.
    #[must_use]
    pub fn check(&self, row: &Map<String, Value>) -> Vec<Problem> {
        let problem = |field: &str, detail: String| Problem { field: field.to_owned(), detail };
        let mut problems: Vec<Problem> = self
            .fields
            .iter()
            .filter_map(|field| Some(problem(&field.code, field.check(row.get(&field.code))?)))
            .collect();
        let unknown = row.keys().filter(|code| !self.fields.iter().any(|field| field.code == **code));
        problems.extend(unknown.map(|code| problem(code, format!("is no field of {}", self.table))));
        problems
    }
}

impl Field {
    /// What is wrong with a value of this field, if anything.
    #[must_use]
    pub fn check(&self, value: Option<&Value>) -> Option<String> {
        let text = match value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(_) => return Some("must be a string or a number".to_owned()),
        };
        let Some(text) = text else {
            return (self.required == Required::M).then(|| "is required".to_owned());
        };
        if let Some(length) = self.length
            && text.len() > length
        {
            return Some(format!("is {} bytes long, {length} are allowed", text.len()));
        }
        if !self.values.is_empty() && !self.values.contains(&text) {
            return Some(format!("{text:?} is none of {}", self.values.join(", ")));
        }
        let fits = match self.kind {
            FieldType::String => true,
            FieldType::Integer => text.parse::<i64>().is_ok(),
            FieldType::Float => text.parse::<f64>().is_ok_and(f64::is_finite),
            FieldType::Date => text.parse::<jiff::civil::Date>().is_ok(),
            FieldType::Datetime => text.len() >= 19 && text.parse::<jiff::civil::DateTime>().is_ok(),
        };
        let wanted = match self.kind {
            FieldType::String => "a string",
            FieldType::Integer => "a whole number",
            FieldType::Float => "a number",
            FieldType::Date => "a date like 2019-04-19",
            FieldType::Datetime => "a time like 2019-04-19 12:00:00",
        };
        (!fits).then(|| format!("{text:?} is not {wanted}"))
    }
}

/// Every table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct TableLine {
    group: String,
    table: String,
    name: String,
    feed: String,
    settle: u32,
    key: String,
    clause: String,
}

#[derive(Deserialize)]
struct FieldLine {
    table: String,
    field: String,
    name: String,
    r#type: FieldType,
    length: Option<usize>,
    required: Required,
    values: String,
    source: String,
}

impl Tables {
    /// The tables that ship with the product.
    #[must_use]
    pub fn in_force() -> &'static Tables {
        static BUILTIN: OnceLock<Tables> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            // A test reads every line of these files, so they cannot be malformed in a released binary.
            Tables::read(
                include_str!("../catalogue/exchange/tables.csv"),
                include_str!("../catalogue/exchange/fields.csv"),
            )
            .unwrap_or_else(|error| panic!("{error}"))
        })
    }

    /// Reads tables and their fields from CSV text.
    ///
    /// # Errors
    /// [`Error::Catalogue`] with the line of the first thing that is wrong.
    pub fn read(tables: &str, fields: &str) -> Result<Tables, Error> {
        const TABLES: &str = "exchange/tables.csv";
        const FIELDS: &str = "exchange/fields.csv";
        let mut read = Tables { tables: Vec::new() };
        for (line, row) in lines::<TableLine>(TABLES, tables)? {
            let wrong = |detail: String| wrong(TABLES, line, detail);
            if read.get(&row.group, &row.table).is_some() {
                return Err(wrong(format!("table {} stands twice", row.table)));
            }
            read.tables.push(Table {
                feed: feed(&row.feed).ok_or_else(|| wrong(format!("feed {:?} is not known", row.feed)))?,
                group: row.group,
                table: row.table,
                name: row.name,
                settle: row.settle,
                key: list(&row.key, ';'),
                clause: row.clause,
                fields: Vec::new(),
            });
        }
        for (line, row) in lines::<FieldLine>(FIELDS, fields)? {
            let wrong = |detail: String| wrong(FIELDS, line, detail);
            let Some(table) = read.tables.iter_mut().find(|table| table.table == row.table) else {
                return Err(wrong(format!("table {} is not in {TABLES}", row.table)));
            };
            if table.fields.iter().any(|field| field.code == row.field) {
                return Err(wrong(format!("field {} of {} stands twice", row.field, row.table)));
            }
            table.fields.push(Field {
                code: row.field,
                name: row.name,
                kind: row.r#type,
                length: row.length,
                required: row.required,
                values: list(&row.values, ';'),
                sources: list(&row.source, '|').iter().map(|text| source(text)).collect(),
            });
        }
        for (place, table) in read.tables.iter().enumerate() {
            let unknown = table.key.iter().find(|key| !table.fields.iter().any(|field| field.code == **key));
            if let Some(key) = unknown {
                let detail = format!("key field {key} of {} is not in {FIELDS}", table.table);
                return Err(wrong(TABLES, place + 4, detail));
            }
        }
        Ok(read)
    }

    /// A table by group and name.
    #[must_use]
    pub fn get(&self, group: &str, table: &str) -> Option<&Table> {
        self.tables.iter().find(|known| known.group == group && known.table == table)
    }

    /// A table by name.
    #[must_use]
    pub fn named(&self, table: &str) -> Option<&Table> {
        self.tables.iter().find(|known| known.table == table)
    }

    /// Every table, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter()
    }
}

fn wrong(file: &str, line: usize, detail: String) -> Error {
    Error::Catalogue { file: file.to_owned(), line, detail }
}

fn lines<T: for<'de> Deserialize<'de>>(file: &str, text: &str) -> Result<Vec<(usize, T)>, Error> {
    let mut reader =
        csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| wrong(file, 1, e.to_string()))?.clone();
    reader
        .into_records()
        .map(|record| {
            let record = record.map_err(|e| wrong(file, 0, e.to_string()))?;
            let line = record.position().map_or(0, |p| p.line() as usize);
            let row = record.deserialize(Some(&headers)).map_err(|e| wrong(file, line, e.to_string()))?;
            Ok((line, row))
        })
        .collect()
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
            Some(Feed::Facility(list(rest, ';').iter().map(kind).collect::<Option<_>>()?))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(row) => row,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn the_shipped_tables_are_well_formed() {
        let tables = Tables::in_force();
        let alarm = tables.get("operation", "device_alarm").unwrap();
        assert_eq!(alarm.fields.len(), 20, "T 3.5.2 (7) lists 20 fields");
        for table in tables.iter() {
            assert!(table.fields.iter().all(|field| !field.sources.is_empty()), "{}", table.table);
            assert!(!table.key.is_empty() && table.clause.starts_with("T "), "{}", table.table);
        }
    }

    #[rstest::rstest]
    #[case(json!({"HRZBH": "ST-1", "HRZMC": "一号站", "GRMJ": 12000.5}), "")]
    #[case(json!({"HRZBH": "ST-1"}), "HRZMC: is required")]
    #[case(json!({"HRZBH": "", "HRZMC": "a"}), "HRZBH: is required")]
    #[case(json!({"HRZBH": "ST-1", "HRZMC": "a", "GRMJ": "x"}), "GRMJ: \"x\" is not a number")]
    #[case(json!({"HRZBH": "123456789012345678901", "HRZMC": "a"}), "HRZBH: is 21 bytes long, 20 are allowed")]
    #[case(json!({"HRZBH": "ST-1", "HRZMC": ["a"]}), "HRZMC: must be a string or a number")]
    #[case(json!({"HRZBH": "ST-1", "HRZMC": "a", "X": 1}), "X: is no field of heat_station")]
    fn rows_are_checked(#[case] value: Value, #[case] want: &str) {
        let problems = Tables::in_force().named("heat_station").unwrap().check(&row(value));
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(said.join("; "), want);
    }

    #[rstest::rstest]
    #[case(FieldType::Datetime, "2019-04-19 12:00:00", true)]
    #[case(FieldType::Datetime, "2019-04-19", false)]
    #[case(FieldType::Datetime, "2019-02-30 12:00:00", false)]
    #[case(FieldType::Date, "2019-04-19", true)]
    #[case(FieldType::Date, "19.4.2019", false)]
    #[case(FieldType::Integer, "3", true)]
    #[case(FieldType::Integer, "3.5", false)]
    #[case(FieldType::Float, "NaN", false)]
    fn types_are_checked(#[case] kind: FieldType, #[case] text: &str, #[case] fits: bool) {
        let field = Field {
            code: "F".to_owned(),
            name: String::new(),
            kind,
            length: None,
            required: Required::M,
            values: Vec::new(),
            sources: Vec::new(),
        };
        assert_eq!(field.check(Some(&json!(text))).is_none(), fits);
    }

    #[test]
    fn values_outside_the_set_are_named() {
        let alarm = Tables::in_force().named("device_alarm").unwrap();
        let level = alarm.fields.iter().find(|field| field.code == "DQBJJB").unwrap();
        assert_eq!(level.check(Some(&json!(2))), None);
        assert!(level.check(Some(&json!("4"))).unwrap().contains("none of 1, 2, 3"));
    }

    #[test]
    fn malformed_files_are_named_by_line() {
        let tables = "group,table,name,feed,settle,key,clause\nb,t,名,alarm,0,K,T 1\n";
        let head = "table,field,name,type,length,required,values,source\n";
        let said = |tables: &str, fields: &str| {
            Tables::read(tables, &format!("{head}{fields}")).unwrap_err().to_string()
        };
        assert!(said(tables, "u,K,名,string,,M,,=1\n").contains("fields.csv:2: table u"));
        assert!(said(tables, "t,K,名,text,,M,,=1\n").contains("fields.csv:2"));
        assert!(
            said(tables, "t,K,名,string,,M,,=1\nt,K,名,string,,M,,=1\n").contains(":3: field K of t stands")
        );
        assert!(said(tables, "").contains("key field K"));
        let feed = tables.replace("alarm", "weather");
        assert!(said(&feed, "").contains("tables.csv:2: feed \"weather\""));
    }
}
