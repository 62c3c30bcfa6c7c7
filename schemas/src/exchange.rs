//! The tables of the provincial exchange (T chapter 3), as data.
//!
//! Enters: `catalogue/exchange/*.csv`, and the user's own files. Leaves: tables and fields, and what is wrong with a
//! row. Guarantees: a row that passes [`ExchangeTable::check`] has every required field, in its type, length and set of values.

use serde_json::{Map, Value};

use crate::{FacilityKind, Period, ScopeKind, catalogues};

mod paths;
pub(crate) mod read;

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl FieldType {
    /// Every type.
    pub const ALL: &[FieldType] =
        &[FieldType::String, FieldType::Integer, FieldType::Float, FieldType::Date, FieldType::Datetime];

    /// The name that it is written with.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FieldType::String => "string",
            FieldType::Integer => "integer",
            FieldType::Float => "float",
            FieldType::Date => "date",
            FieldType::Datetime => "datetime",
        }
    }
}

/// When a field must be filled (T 3: 约束/条件).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// Always.
    M,
    /// Never.
    O,
    /// When the condition holds, which only the sender knows.
    C,
}

impl Required {
    /// Every one.
    pub const ALL: &[Required] = &[Required::M, Required::O, Required::C];

    /// The letter that it is written with.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Required::M => "M",
            Required::O => "O",
            Required::C => "C",
        }
    }
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
pub struct ExchangeTable {
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

impl ExchangeTable {
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    tables: Vec<ExchangeTable>,
}

impl Tables {
    /// The shipped tables, and those that the user adds ([`crate::catalogues`]).
    #[must_use]
    pub fn in_force() -> &'static Tables {
        catalogues::in_force().tables()
    }

    /// A table by group and name.
    #[must_use]
    pub fn get(&self, group: &str, table: &str) -> Option<&ExchangeTable> {
        self.tables.iter().find(|known| known.group == group && known.table == table)
    }

    /// A table by name.
    #[must_use]
    pub fn named(&self, table: &str) -> Option<&ExchangeTable> {
        self.tables.iter().find(|known| known.table == table)
    }

    /// Every table, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &ExchangeTable> {
        self.tables.iter()
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
}
