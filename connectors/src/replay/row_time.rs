//! The time of one row.
//!
//! Enters: a row and how the mapping says its time is written. Leaves: a moment, or the two that a local time stands for
//! in the hour that autumn repeats, or why there is none.

use csv::ByteRecord;
use jiff::{
    fmt::strtime,
    tz::{Offset, TimeZone},
};
use schemas::{
    Millis,
    time::{self, Moments, Written},
};

use super::mapping::{EpochUnit, Mapping, SkippedHour};
use crate::{Error, payload::instant::is_compact};

/// When a row was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowTime {
    /// At a moment.
    At(Millis),
    /// At one of two.
    Either(Twice),
}

/// The two moments of a local time that occurs twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Twice {
    /// The first time.
    pub first: Millis,
    /// The second time.
    pub second: Millis,
}

/// Reads the times of a file.
pub(super) struct Clock {
    column: usize,
    offset: Option<usize>,
    form: Form,
    zone: TimeZone,
    zone_is_given: bool,
    skipped_hour: Option<SkippedHour>,
}

enum Form {
    /// RFC 3339, civil time or compact civil time.
    Auto,
    /// As for strptime.
    Pattern(String),
    Epoch(EpochUnit),
}

impl Clock {
    /// Finds the columns of a mapping that was checked; `file` stands in the errors.
    ///
    /// # Errors
    /// As `find` for a column that is missing.
    pub fn new(
        mapping: &Mapping,
        file: &str,
        find: impl Fn(&str) -> Result<usize, Error>,
    ) -> Result<Clock, Error> {
        let time = &mapping.time;
        let form = match (&time.format, time.unit) {
            (_, Some(unit)) => Form::Epoch(unit),
            (Some(format), None) => Form::Pattern(format.clone()),
            (None, None) => Form::Auto,
        };
        Ok(Clock {
            column: find(&time.column)?,
            offset: time.offset_column.as_deref().map(find).transpose()?,
            form,
            zone: mapping.zone(file)?,
            zone_is_given: time.zone.is_some(),
            skipped_hour: time.skipped_hour,
        })
    }

    /// The time of a row.
    ///
    /// # Errors
    /// What is wrong with it, and what was expected.
    pub fn read(&self, row: &ByteRecord) -> Result<RowTime, String> {
        let text = String::from_utf8_lossy(&row[self.column]);
        let text = text.trim();
        let shown = || text.chars().take(40).collect::<String>();
        let offset = match self.offset {
            Some(column) => offset(&row[column]).map_err(|why| format!("time '{}': {why}", shown()))?,
            None => None,
        };
        let moments = match (self.written(text)?, offset) {
            (Written::Moment(at), _) => return Ok(RowTime::At(at)),
            (Written::Local(local), Some(offset)) => time::moments(local, &TimeZone::fixed(offset)),
            (Written::Local(local), None) => time::moments(local, &self.zone),
        };
        match moments {
            Some(Moments::One(at)) => Ok(RowTime::At(at)),
            Some(Moments::Two(first, second)) => Ok(RowTime::Either(Twice { first, second })),
            Some(Moments::Never(at)) => match self.skipped_hour {
                Some(SkippedHour::Before) => Ok(RowTime::At(at)),
                None => Err(format!(
                    "time '{}' does not occur in {}; set time.skipped_hour when the clock was set forward later",
                    shown(),
                    self.zone_name()
                )),
            },
            None => Err(format!("time '{}' is out of range", shown())),
        }
    }

    fn written(&self, text: &str) -> Result<Written, String> {
        let expected = |form: &str| {
            let shown: String = text.chars().take(40).collect();
            format!("time '{shown}' is not written as {form}")
        };
        match &self.form {
            Form::Auto => {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                if digits && matches!(text.len(), 14 | 17) && !self.zone_is_given && self.offset.is_none() {
                    return Err(expected("a time of a known zone: set time.zone"));
                }
                let other = "RFC 3339 or civil time; a number since 1970 needs time.unit = \"s\" or \"ms\", another form time.format";
                time::read(text).ok_or_else(|| expected(other))
            }
            Form::Pattern(format) => pattern(format, text).ok_or_else(|| expected(format)),
            Form::Epoch(EpochUnit::Seconds) => epoch(text, 1e3).ok_or_else(|| expected("seconds since 1970")),
            Form::Epoch(EpochUnit::Milliseconds) => {
                epoch(text, 1.0).ok_or_else(|| expected("milliseconds since 1970"))
            }
        }
    }

    /// The number of the time's column.
    pub fn column(&self) -> usize {
        self.column
    }

    /// The zone's name, for messages.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("its zone")
    }
}

/// A time in a strptime form.
fn pattern(format: &str, text: &str) -> Option<Written> {
    let parts = strtime::parse(format, text).ok()?;
    if let Ok(at) = parts.to_timestamp() {
        return Some(Written::Moment(at.as_millisecond()));
    }
    parts.to_datetime().ok().map(Written::Local)
}

/// Milliseconds of a number since 1970. Of what could be digits of a date, or is beyond the year 5138, nothing is read.
fn epoch(text: &str, scale: f64) -> Option<Written> {
    let millis =
        text.parse::<f64>().ok().map(|number| number * scale).filter(|millis| millis.abs() < 1e14)?;
    let millis = millis.floor() as Millis;
    (!is_compact(millis)).then_some(Written::Moment(millis))
}

/// An offset from UTC; `None` for an empty cell.
fn offset(cell: &[u8]) -> Result<Option<Offset>, String> {
    let text = String::from_utf8_lossy(cell);
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if matches!(text, "Z" | "z" | "UTC" | "GMT") {
        return Ok(Some(Offset::UTC));
    }
    let (minus, number) = (text.starts_with('-'), text.trim_start_matches(['+', '-']));
    let (hours, minutes) = match (number.split_once(':'), number.len()) {
        (Some(parts), _) => parts,
        (None, 4) => number.split_at_checked(2).unwrap_or((number, "")),
        (None, _) => (number, "0"),
    };
    let part = |text: &str, limit: i32| text.parse::<u8>().ok().map(i32::from).filter(|part| *part < limit);
    let seconds = part(hours, 24).zip(part(minutes, 60)).map(|(h, m)| h * 3_600 + m * 60);
    let offset = seconds.and_then(|s| Offset::from_seconds(if minus { -s } else { s }).ok());
    let shown = || text.chars().take(40).collect::<String>();
    offset
        .map(Some)
        .ok_or_else(|| format!("the offset '{}' is not written as +02:00, +0200, 2 or Z", shown()))
}
