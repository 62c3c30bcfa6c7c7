//! One file's rows as reports.
//!
//! Enters: CSV, plain or gzip, and a mapping. Leaves: for every row a report, or a reject with file and line.
//! Guarantees: values pass unjudged (sentinels, zeros and impossible values included): a cell becomes a number, "not
//! measured", or the text that it is.

use std::{
    io::{BufReader, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use jiff::{Timestamp, civil::DateTime, fmt::strtime, tz::TimeZone};
use schemas::{
    Code, Millis, RawReading, RawValue, Reason, Reject, Report, Stage, number,
    time::{self, SECOND},
};

use super::mapping::{Mapping, MetricColumn, Naming, wrong};
use crate::Error;

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowReject {
    /// The file as given.
    pub file: String,
    /// Its line, from 1; 0 when the file itself breaks off.
    pub line: u64,
    /// Why.
    pub reason: Reason,
    /// What is wrong and what was expected.
    pub detail: String,
    /// The row.
    pub raw: Vec<u8>,
    /// How many readings it would have held.
    pub readings: u32,
}

impl RowReject {
    /// The record for `heating.rejects`.
    #[must_use]
    pub fn into_reject(self, at: Millis) -> Reject {
        Reject {
            at,
            origin: format!("replay:{}:{}", self.file, self.line),
            reason: self.reason,
            detail: self.detail,
            raw: self.raw,
            stage: Stage::Connector,
            readings: self.readings,
        }
    }
}

/// The rows of one file, in their order.
pub struct Rows {
    file: String,
    reader: csv::Reader<Box<dyn Read + Send>>,
    record: csv::ByteRecord,
    mapping: Mapping,
    zone: TimeZone,
    origin: Code,
    columns: usize,
    time: usize,
    facility: Place,
    device: Option<Place>,
    metrics: Vec<(usize, MetricColumn)>,
    delay: Millis,
    previous: Option<Millis>,
    broken: bool,
}

/// Where a code is found.
enum Place {
    Fixed(Code),
    Column(usize),
}

impl Rows {
    /// Opens a file. `through` may count the bytes read (before decompression).
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Setting`] when the mapping does not fit its header or name.
    pub fn open<R: Read + Send + 'static>(
        path: &Path,
        mapping: &Mapping,
        through: impl FnOnce(std::fs::File) -> R,
    ) -> Result<Rows, Error> {
        let file = path.display().to_string();
        let opened =
            std::fs::File::open(path).map_err(|source| Error::Io { object: file.clone(), source })?;
        let raw = BufReader::with_capacity(1 << 16, through(opened));
        let plain: Box<dyn Read + Send> = if path.extension().is_some_and(|e| e == "gz") {
            Box::new(MultiGzDecoder::new(raw))
        } else {
            Box::new(raw)
        };
        Rows::read(&file, plain, mapping)
    }

    /// Reads plain CSV; `file` stands in rejects and errors.
    ///
    /// # Errors
    /// As for [`Rows::open`].
    pub fn read(file: &str, plain: Box<dyn Read + Send>, mapping: &Mapping) -> Result<Rows, Error> {
        let mut reader =
            csv::ReaderBuilder::new().delimiter(mapping.delimiter as u8).flexible(true).from_reader(plain);
        let header = reader
            .headers()
            .map_err(|error| Error::Io { object: file.to_owned(), source: error.into() })?
            .clone();
        let find = |column: &str| {
            // A byte order mark belongs to the file, not to the first column's name.
            header.iter().position(|name| name.trim_start_matches('\u{feff}').trim() == column).ok_or_else(
                || {
                    let has = header.iter().collect::<Vec<_>>().join(", ");
                    wrong(
                        file,
                        "header",
                        &format!("column {column} of the mapping is missing, there are: {has}"),
                    )
                },
            )
        };
        let name = Path::new(file).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let place = |naming: &Naming| match (&naming.constant, &naming.column) {
            (Some(code), _) => Ok(Place::Fixed(code.as_str().into())),
            (_, Some(column)) => find(column).map(Place::Column),
            _ => naming.in_file_name(&name).map(|text| Place::Fixed(naming.code(text))).ok_or_else(|| {
                let pattern = naming.file.as_deref().unwrap_or_default();
                wrong(file, "file name", &format!("does not fit the mapping's pattern {pattern}"))
            }),
        };
        let metrics = mapping
            .columns
            .iter()
            .map(|c| Ok((find(&c.column)?, c.clone())))
            .collect::<Result<_, Error>>()?;
        Ok(Rows {
            time: find(&mapping.time.column)?,
            facility: place(&mapping.facility)?,
            device: mapping.device.as_ref().map(place).transpose()?,
            zone: mapping.zone(file)?,
            origin: format!("replay:{name}").into(),
            columns: header.len(),
            delay: (mapping.delay * SECOND as f64) as Millis,
            metrics,
            file: file.to_owned(),
            reader,
            record: csv::ByteRecord::new(),
            mapping: mapping.clone(),
            previous: None,
            broken: false,
        })
    }

    fn row(&mut self) -> Result<Report, RowReject> {
        if self.record.len() != self.columns {
            let detail = format!("{} columns, the header has {}", self.record.len(), self.columns);
            return Err(self.reject(Reason::Malformed, detail));
        }
        let observed_at = self.observed_at()?;
        let facility = self.code(&self.facility, &self.mapping.facility)?;
        let device = match (&self.device, &self.mapping.device) {
            (Some(place), Some(naming)) => Some(self.code(place, naming)?),
            _ => None,
        };
        let readings = self
            .metrics
            .iter()
            .map(|(index, column)| RawReading {
                metric: column.metric.as_str().into(),
                value: value(&self.record[*index], column, &self.mapping.missing),
            })
            .collect();
        self.previous = Some(observed_at);
        Ok(Report {
            facility,
            device,
            observed_at,
            received_at: observed_at + self.delay,
            origin: self.origin.clone(),
            sequence: None,
            readings,
        })
    }

    fn code(&self, place: &Place, naming: &Naming) -> Result<Code, RowReject> {
        match place {
            Place::Fixed(code) => Ok(code.clone()),
            Place::Column(index) => match std::str::from_utf8(&self.record[*index]).map(str::trim) {
                Ok("") => Err(self.reject(Reason::MissingField, format!("column {} is empty", index + 1))),
                Ok(text) => Ok(naming.code(text)),
                Err(_) => Err(self.reject(Reason::Malformed, format!("column {} is not UTF-8", index + 1))),
            },
        }
    }

    fn observed_at(&self) -> Result<Millis, RowReject> {
        let text = String::from_utf8_lossy(&self.record[self.time]);
        let read = match &self.mapping.time.format {
            Some(format) => written(format, text.trim(), &self.zone, self.previous),
            None => time::parse(&text, &self.zone),
        };
        read.ok_or_else(|| {
            let form = self.mapping.time.format.as_deref().unwrap_or("RFC 3339 or civil time");
            self.reject(Reason::BadTime, format!("time {text:?} is not written as {form}"))
        })
    }

    fn reject(&self, reason: Reason, detail: String) -> RowReject {
        let mut writer = csv::WriterBuilder::new()
            .delimiter(self.mapping.delimiter as u8)
            .flexible(true)
            .from_writer(Vec::new());
        // Writing to memory does not fail.
        let raw = writer.write_byte_record(&self.record).ok().and_then(|()| writer.into_inner().ok());
        RowReject {
            file: self.file.clone(),
            line: self.record.position().map_or(0, csv::Position::line),
            reason,
            detail,
            raw: raw.unwrap_or_default(),
            readings: self.metrics.len() as u32,
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Report, RowReject>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => Some(self.row()),
            Ok(false) => None,
            Err(error) => {
                self.broken = true;
                Some(Err(RowReject {
                    file: self.file.clone(),
                    line: 0,
                    reason: Reason::Malformed,
                    detail: format!(
                        "the file breaks off after line {}: {error}",
                        self.reader.position().line()
                    ),
                    raw: Vec::new(),
                    readings: 0,
                }))
            }
        }
    }
}

/// Reads a time in a strptime form; see [`super::mapping::TimeColumn::zone`] for hours that occur twice or never.
fn written(format: &str, text: &str, zone: &TimeZone, previous: Option<Millis>) -> Option<Millis> {
    let parts = strtime::parse(format, text).ok()?;
    if parts.offset().is_some() {
        return parts.to_timestamp().ok().map(Timestamp::as_millisecond);
    }
    let civil: DateTime = parts.to_datetime().ok()?;
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    let first = ambiguous.compatible().ok()?.as_millisecond();
    let repeated = matches!(ambiguous.offset(), jiff::tz::AmbiguousOffset::Fold { .. });
    if repeated && previous.is_some_and(|previous| first <= previous) {
        return ambiguous.later().ok().map(Timestamp::as_millisecond);
    }
    Some(first)
}

/// A cell as a value. Without factor and offset, text that is no plain number goes on as it is; with them, a number
/// in any of the forms that [`number::parse`] understands is converted, and other text goes on as it is.
fn value(cell: &[u8], column: &MetricColumn, missing: &[String]) -> RawValue {
    let text = String::from_utf8_lossy(cell);
    if missing.iter().any(|marker| *marker == text.trim()) {
        return RawValue::Missing;
    }
    let converted = column.factor != 1.0 || column.offset != 0.0;
    match number::parse(&text) {
        Ok(read) if converted => RawValue::Number(exact(read.value * column.factor + column.offset)),
        Ok(read) if read.normal => RawValue::Number(read.value),
        _ => RawValue::Text(text.into_owned()),
    }
}

/// Takes off the noise that a conversion leaves in the last binary digits.
fn exact(value: f64) -> f64 {
    let rounded = (value * 1e6).round() / 1e6;
    if (rounded - value).abs() <= value.abs() * 1e-12 { rounded } else { value }
}
