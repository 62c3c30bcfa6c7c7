//! One file's rows as reports.
//!
//! Enters: CSV, plain or gzip, and a mapping. Leaves: for every row a report, or a reject with file and line.
//! Guarantees: values pass unjudged (sentinels, zeros and impossible values included): a cell becomes a number, "not
//! measured", or the text that it is. A number that may be read in two ways is refused, the row's other readings are not.

use std::{
    io::{BufReader, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use schemas::{Code, Millis, RawReading, Reason, Report, time::SECOND};
use smallvec::SmallVec;

use super::{
    cell::value,
    mapping::{Mapping, MetricColumn, Naming, wrong},
    repeated_hour::RepeatedHour,
    row::RowReject,
    row_time::{Clock, RowTime},
};
use crate::Error;

/// The rows of one file, in their order.
pub struct CsvRows {
    file: String,
    reader: csv::Reader<Box<dyn Read + Send>>,
    record: csv::ByteRecord,
    mapping: Mapping,
    clock: Clock,
    repeated_hour: RepeatedHour,
    origin: Code,
    columns: usize,
    facility: CodeSource,
    device: Option<CodeSource>,
    metrics: Vec<(usize, MetricColumn)>,
    delay: Millis,
    ended: bool,
}

/// Where a code is found.
enum CodeSource {
    Fixed(Code),
    Column(usize),
}

impl CsvRows {
    /// Opens a file. `through` may count the bytes read (before decompression).
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Setting`] when the mapping does not fit its header or name.
    pub fn open<R: Read + Send + 'static>(
        path: &Path,
        mapping: &Mapping,
        through: impl FnOnce(std::fs::File) -> R,
    ) -> Result<CsvRows, Error> {
        let file = path.display().to_string();
        let opened =
            std::fs::File::open(path).map_err(|source| Error::Io { object: file.clone(), source })?;
        let raw = BufReader::with_capacity(1 << 16, through(opened));
        let plain: Box<dyn Read + Send> = if path.extension().is_some_and(|e| e == "gz") {
            Box::new(MultiGzDecoder::new(raw))
        } else {
            Box::new(raw)
        };
        CsvRows::read(&file, plain, mapping)
    }

    /// Reads plain CSV; `file` stands in rejects and errors.
    ///
    /// # Errors
    /// As for [`CsvRows::open`].
    pub fn read(file: &str, plain: Box<dyn Read + Send>, mapping: &Mapping) -> Result<CsvRows, Error> {
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
            (Some(code), _) => Ok(CodeSource::Fixed(code.as_str().into())),
            (_, Some(column)) => find(column).map(CodeSource::Column),
            _ => {
                naming.in_file_name(&name).map(|text| CodeSource::Fixed(naming.code(text))).ok_or_else(|| {
                    let pattern = naming.file.as_deref().unwrap_or_default();
                    wrong(file, "file name", &format!("does not fit the mapping's pattern {pattern}"))
                })
            }
        };
        let metrics = mapping
            .columns
            .iter()
            .map(|c| Ok((find(&c.column)?, c.clone())))
            .collect::<Result<_, Error>>()?;
        let delay = (mapping.delay * SECOND as f64) as Millis;
        Ok(CsvRows {
            clock: Clock::new(mapping, file, find)?,
            repeated_hour: RepeatedHour::new(mapping.time.repeated_hour, delay),
            facility: place(&mapping.facility)?,
            device: mapping.device.as_ref().map(place).transpose()?,
            origin: format!("replay:{name}").into(),
            columns: header.len(),
            delay,
            metrics,
            file: file.to_owned(),
            reader,
            record: csv::ByteRecord::new(),
            mapping: mapping.clone(),
            ended: false,
        })
    }

    /// Reads the row that stands in `record`.
    fn row(&mut self) {
        let mut refused = Vec::new();
        match self.report(&mut refused) {
            Ok((report, RowTime::At(_))) => self.repeated_hour.add(Ok(report)),
            Ok((report, RowTime::Either(time))) => {
                let text = String::from_utf8_lossy(&self.record[self.clock.column()]).trim().to_owned();
                let detail = format!("time '{text}' occurs twice in {}", self.clock.zone_name());
                let reject = RowReject {
                    readings: report.readings.len() as u32,
                    ..self.reject(Reason::BadTime, detail)
                };
                self.repeated_hour.hold(report, reject, time);
            }
            Err(reject) => return self.repeated_hour.add(Err(reject)),
        }
        for reject in refused {
            self.repeated_hour.add(Err(reject));
        }
    }

    /// The report of a row, of the first moment when there are two; readings that cannot be used go to `refused`.
    fn report(&self, refused: &mut Vec<RowReject>) -> Result<(Report, RowTime), RowReject> {
        if self.record.len() != self.columns {
            let detail = format!("{} columns, the header has {}", self.record.len(), self.columns);
            return Err(self.reject(Reason::Malformed, detail));
        }
        let time = self.clock.read(&self.record).map_err(|detail| self.reject(Reason::BadTime, detail))?;
        let facility = self.code(&self.facility, &self.mapping.facility)?;
        let device = match (&self.device, &self.mapping.device) {
            (Some(place), Some(naming)) => Some(self.code(place, naming)?),
            _ => None,
        };
        let mut readings = SmallVec::with_capacity(self.metrics.len());
        for (index, column) in &self.metrics {
            match value(&self.record[*index], column, &self.mapping) {
                Ok(value) => readings.push(RawReading { metric: column.metric.as_str().into(), value }),
                Err((reason, detail)) => {
                    let metric = Some(column.metric.clone());
                    refused.push(RowReject { metric, readings: 1, ..self.reject(reason, detail) });
                }
            }
        }
        if readings.is_empty()
            && let Some(first) = refused.first()
        {
            let details: Vec<&str> = refused.iter().map(|reject| reject.detail.as_str()).collect();
            return Err(self.reject(first.reason, details.join("; ")));
        }
        let observed_at = match time {
            RowTime::At(at) => at,
            RowTime::Either(twice) => twice.first,
        };
        let report = Report {
            facility,
            device,
            observed_at,
            received_at: observed_at + self.delay,
            origin: self.origin.clone(),
            sequence: None,
            readings,
        };
        Ok((report, time))
    }

    fn code(&self, place: &CodeSource, naming: &Naming) -> Result<Code, RowReject> {
        match place {
            CodeSource::Fixed(code) => Ok(code.clone()),
            CodeSource::Column(index) => match std::str::from_utf8(&self.record[*index]).map(str::trim) {
                Ok("") => Err(self.reject(Reason::MissingField, format!("column {} is empty", index + 1))),
                Ok(text) => Ok(naming.code(text)),
                Err(_) => Err(self.reject(Reason::Malformed, format!("column {} is not UTF-8", index + 1))),
            },
        }
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
            metric: None,
            reason,
            detail,
            raw: raw.unwrap_or_default(),
            readings: self.metrics.len() as u32,
        }
    }
}

impl CsvRows {
    fn end(&mut self) {
        self.ended = true;
        self.repeated_hour.finish();
    }
}

impl Iterator for CsvRows {
    type Item = Result<Report, RowReject>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.repeated_hour.next() {
                return Some(row);
            }
            if self.ended {
                return None;
            }
            match self.reader.read_byte_record(&mut self.record) {
                Ok(true) => self.row(),
                Ok(false) => self.end(),
                Err(error) => {
                    self.end();
                    let detail =
                        format!("the file breaks off after line {}: {error}", self.reader.position().line());
                    self.repeated_hour.add(Err(RowReject {
                        file: self.file.clone(),
                        line: 0,
                        metric: None,
                        reason: Reason::Malformed,
                        detail,
                        raw: Vec::new(),
                        readings: 0,
                    }));
                }
            }
        }
    }
}
