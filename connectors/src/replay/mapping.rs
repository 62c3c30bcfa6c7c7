//! The mapping file: which column is the time, the facility and each metric.

use std::{collections::BTreeMap, path::Path};

use jiff::tz::TimeZone;
use schemas::{Catalogue, Code, number::Decimal};
use serde::Deserialize;

use crate::Error;

/// A mapping as written (TOML).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// What separates the columns.
    #[serde(default = "comma")]
    pub delimiter: char,
    /// `.` or `,`: the decimal sign of the numbers, thousands being set apart by the other. Without it `45,2` is read and
    /// `1,001` is refused, since it may be either.
    #[serde(default)]
    pub decimal: Option<Decimal>,
    /// Cells that mean "not measured".
    #[serde(default = "empty")]
    pub missing: Vec<String>,
    /// How long after its observation a row counts as received, s.
    #[serde(default = "second")]
    pub delay: f64,
    /// The time column.
    pub time: TimeColumn,
    /// What names the facility.
    pub facility: Naming,
    /// What names the device, when the rows are of devices.
    #[serde(default)]
    pub device: Option<Naming>,
    /// The columns that are metrics; others are passed over.
    pub columns: Vec<MetricColumn>,
}

/// Where a row's time stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeColumn {
    /// Name of the column.
    pub column: String,
    /// How it is written, in strptime's form (`%s` for seconds since 1970); without it and `unit` RFC 3339, civil time, or
    /// the compact civil time of HJ 212 (`yyyyMMddHHmmss`), for which `zone` must be given.
    #[serde(default)]
    pub format: Option<String>,
    /// The unit of times that are written as a number since 1970, in place of `format`.
    #[serde(default)]
    pub unit: Option<EpochUnit>,
    /// IANA name of the zone of times without offset, UTC when it is not given. A time that does not occur, in the hour
    /// that spring leaves out, is refused unless `skipped_hour` says when it was. In the hour that autumn repeats, the times of an object tell the first from the
    /// second by the one place in the file where they go back; where they do not, `repeated_hour` says which it is, and
    /// without it they are refused.
    #[serde(default)]
    pub zone: Option<String>,
    /// Name of a column with the offset from UTC, such as `+02:00`, `+0200`, `2` or `Z`; the zone counts where it is empty.
    #[serde(default)]
    pub offset_column: Option<String>,
    /// Which one it is when an object has the hour that autumn repeats only once.
    #[serde(default)]
    pub repeated_hour: Option<Occurrence>,
    /// When a time of the hour was that spring leaves out.
    #[serde(default)]
    pub skipped_hour: Option<SkippedHour>,
}

/// Unit of a time that is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum EpochUnit {
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
}

/// When a time was that does not occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SkippedHour {
    /// By the offset before the change: the clock that wrote it was set forward later.
    Before,
}

/// One of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Occurrence {
    /// The earlier.
    First,
    /// The later.
    Second,
}

/// Where a code comes from: exactly one of `constant`, `column` and `file`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Naming {
    /// The same code for every row.
    #[serde(default)]
    pub constant: Option<String>,
    /// The column that holds it.
    #[serde(default)]
    pub column: Option<String>,
    /// The file name with `*` where it stands, such as `scada_*.csv.gz`.
    #[serde(default)]
    pub file: Option<String>,
    /// What is put before a code from a column or file name.
    #[serde(default)]
    pub prefix: String,
    /// Codes for particular texts of the column or file name, before the prefix is put.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
}

/// One column that is a metric: `value * factor + offset` in the metric's unit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricColumn {
    /// Name of the column.
    pub column: String,
    /// Code of the metric.
    pub metric: String,
    /// Multiplied first.
    #[serde(default = "one")]
    pub factor: f64,
    /// Added then.
    #[serde(default)]
    pub offset: f64,
}

fn comma() -> char {
    ','
}
fn empty() -> Vec<String> {
    vec![String::new()]
}
fn second() -> f64 {
    1.0
}
fn one() -> f64 {
    1.0
}

impl Mapping {
    /// Reads a mapping file and checks it.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Setting`] with line and column, or the path of the setting.
    pub fn read(path: &Path) -> Result<Mapping, Error> {
        let object = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Io { object: object.clone(), source })?;
        Mapping::parse(&object, &text)
    }

    /// Reads a mapping from text; `name` stands in the errors.
    ///
    /// # Errors
    /// [`Error::Setting`] as for [`Mapping::read`].
    pub fn parse(name: &str, text: &str) -> Result<Mapping, Error> {
        let mapping: Mapping = toml::from_str(text)
            .map_err(|error| wrong(name, "", &error.to_string().trim_end().replace('\n', "\n  ")))?;
        mapping.check(name)?;
        Ok(mapping)
    }

    fn check(&self, name: &str) -> Result<(), Error> {
        if !self.delimiter.is_ascii() {
            return Err(wrong(name, "delimiter", "must be one ASCII character"));
        }
        if !(0.0..=1e9).contains(&self.delay) {
            return Err(wrong(name, "delay", "must be seconds of at least 0"));
        }
        self.zone(name)?;
        if self.time.unit.is_some() && (self.time.format.is_some() || self.time.offset_column.is_some()) {
            let detail = "a number since 1970 has no format and no offset: give unit alone";
            return Err(wrong(name, "time.unit", detail));
        }
        self.facility.check(name, "facility")?;
        self.device.as_ref().map_or(Ok(()), |device| device.check(name, "device"))?;
        if self.columns.is_empty() {
            return Err(wrong(name, "columns", "no column is mapped to a metric"));
        }
        let mut seen = BTreeMap::new();
        for (index, column) in self.columns.iter().enumerate() {
            let place = format!("columns[{index}].metric");
            if Catalogue::in_force().id(&column.metric).is_none() {
                return Err(wrong(
                    name,
                    &place,
                    &format!("{} is not in the metric catalogue", column.metric),
                ));
            }
            if let Some(first) = seen.insert(&column.metric, index) {
                let text = format!("{} is mapped twice, first by columns[{first}]", column.metric);
                return Err(wrong(name, &place, &text));
            }
            if !column.factor.is_finite() || !column.offset.is_finite() {
                return Err(wrong(name, &place, "factor and offset must be finite"));
            }
        }
        Ok(())
    }

    pub(super) fn zone(&self, name: &str) -> Result<TimeZone, Error> {
        let zone = self.time.zone.as_deref().unwrap_or("UTC");
        TimeZone::get(zone).map_err(|error| wrong(name, "time.zone", &error.to_string()))
    }
}

impl Naming {
    fn check(&self, name: &str, place: &str) -> Result<(), Error> {
        let given = [self.constant.is_some(), self.column.is_some(), self.file.is_some()];
        if given.iter().filter(|is| **is).count() != 1 {
            return Err(wrong(name, place, "give exactly one of constant, column and file"));
        }
        if self.file.as_ref().is_some_and(|file| file.matches('*').count() != 1) {
            return Err(wrong(name, &format!("{place}.file"), "needs exactly one * where the code stands"));
        }
        Ok(())
    }

    /// The code that a text of a column or file name stands for.
    pub(super) fn code(&self, text: &str) -> Code {
        let text = self.names.get(text).map_or(text, String::as_str);
        format!("{}{text}", self.prefix).into()
    }

    /// The part of a file name that the pattern's `*` covers; `None` when the name does not fit.
    pub(super) fn in_file_name<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (before, after) = self.file.as_deref()?.split_once('*')?;
        name.strip_prefix(before)?.strip_suffix(after).filter(|text| !text.is_empty())
    }
}

/// An error about one setting of a mapping.
pub(super) fn wrong(name: &str, place: &str, detail: &str) -> Error {
    let name = if place.is_empty() { name.to_owned() } else { format!("{name}: {place}") };
    Error::Setting { name, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[time]\ncolumn = \"t\"\n[facility]\nconstant = \"A\"\n[[columns]]\ncolumn = \"x\"\nmetric = \"heat_power\"\n";

    #[rstest::rstest]
    #[case("", "", None)]
    #[case("column = \"t\"", "colum = \"t\"", Some("unknown field"))]
    #[case("[time]", "[time]\nzone = \"Mars/Olympus\"", Some("m.toml: time.zone"))]
    #[case("constant = \"A\"", "file = \"a.csv\"", Some("exactly one *"))]
    #[case("constant = \"A\"", "constant = \"A\"\ncolumn = \"f\"", Some("exactly one of constant"))]
    #[case("heat_power", "heat_powr", Some("columns[0].metric: heat_powr is not in"))]
    #[case("[time]", "delay = -1\n[time]", Some("m.toml: delay"))]
    #[case("[time]", "decimal = \";\"\n[time]", Some("unknown variant"))]
    #[case("[time]", "[time]\nunit = \"h\"", Some("unknown variant"))]
    #[case("[time]", "[time]\nunit = \"s\"\nformat = \"%s\"", Some("m.toml: time.unit"))]
    #[case("[time]", "[time]\nrepeated_hour = \"third\"", Some("unknown variant"))]
    #[case("[time]", "decimal = \",\"\n[time]\nunit = \"ms\"", None)]
    fn mappings_are_checked(#[case] from: &str, #[case] to: &str, #[case] want: Option<&str>) {
        let read = Mapping::parse("m.toml", &GOOD.replacen(from, to, usize::from(!from.is_empty())));
        match want {
            None => assert!(read.is_ok(), "{read:?}"),
            Some(text) => {
                let error = read.expect_err("wrong").to_string();
                assert!(error.contains(text), "{error}");
            }
        }
    }

    #[test]
    fn codes_come_from_file_names() {
        let naming =
            Naming { file: Some("scada_*.csv.gz".into()), prefix: "XAI-".into(), ..Naming::default() };
        assert_eq!(naming.in_file_name("scada_L4.csv.gz").map(|t| naming.code(t)), Some("XAI-L4".into()));
        assert_eq!(naming.in_file_name("scada_.csv.gz"), None);
        assert_eq!(naming.in_file_name("L4.csv"), None);
    }
}
