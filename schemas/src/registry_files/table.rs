//! One CSV file as rows of named cells.
//!
//! Enters: the bytes of a file. Leaves: its rows with their line numbers, or what is wrong with its encoding, header
//! or row lengths. A BOM and CRLF are accepted; anything but UTF-8 is refused with advice.

use crate::nearest::{distance, hint};

/// What a file of the registry or of a catalogue may contain.
#[derive(Debug)]
pub(crate) struct Form {
    pub file: &'static str,
    pub required: &'static [&'static str],
    pub optional: &'static [&'static str],
    /// Whether further columns are attributes.
    pub attributes: bool,
    /// Whether lines that begin with `#` are comments.
    pub comments: bool,
}

impl Form {
    pub fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.required.iter().chain(self.optional).copied()
    }
}

/// What is wrong, by line.
pub(crate) type Problems = Vec<(u64, String)>;

#[derive(Debug)]
pub(crate) struct CsvTable {
    header: Vec<String>,
    pub rows: Vec<Row>,
}

/// A row's line and cells, in the order of the header.
#[derive(Debug)]
pub(crate) struct Row {
    pub line: u64,
    cells: csv::StringRecord,
}

impl CsvTable {
    /// The cell of a column; `None` when it is empty or the file lacks the column.
    pub fn cell<'r>(&self, row: &'r Row, column: &str) -> Option<&'r str> {
        let at = self.header.iter().position(|name| name == column)?;
        row.cells.get(at).filter(|cell| !cell.is_empty())
    }

    /// The cells that are in no column of the form.
    pub fn attributes<'r>(&'r self, row: &'r Row, form: &Form) -> impl Iterator<Item = (&'r str, &'r str)> {
        let known: Vec<&str> = form.columns().collect();
        let cells = self.header.iter().map(String::as_str).zip(&row.cells);
        cells.filter(move |(name, cell)| !known.contains(name) && !cell.is_empty())
    }

    /// Reads a file; a header that cannot be used gives no rows.
    pub fn read(form: &Form, bytes: &[u8], problems: &mut Problems) -> CsvTable {
        let mut table = CsvTable { header: Vec::new(), rows: Vec::new() };
        let Some(text) = text(bytes, problems) else { return table };
        let comment = form.comments.then_some(b'#');
        let mut reader = csv::ReaderBuilder::new();
        reader.flexible(true).trim(csv::Trim::All).comment(comment);
        let mut reader = reader.from_reader(text.as_bytes());
        match reader.headers() {
            Ok(header) => table.header = header.iter().map(str::to_owned).collect(),
            Err(error) => problems.push((1, format!("header is not readable: {error}"))),
        }
        if !header_is_usable(form, &table.header, problems) {
            return table;
        }
        for cells in reader.into_records() {
            match cells {
                Ok(cells) if cells.iter().all(str::is_empty) => {}
                Ok(cells) => {
                    let line = cells.position().map_or(0, |start| line_of(text, start, form));
                    if cells.len() == table.header.len() {
                        table.rows.push(Row { line, cells });
                    } else {
                        let (have, want) = (cells.len(), table.header.len());
                        problems.push((
                            line,
                            format!("has {have} cells, the header has {want}: check commas and quotes"),
                        ));
                    }
                }
                Err(error) => {
                    problems.push((error.position().map_or(0, csv::Position::line), error.to_string()));
                }
            }
        }
        table
    }
}

/// The line of a record. The reader says where the record before it ended: blank lines and comments come between, and
/// the second half of a CRLF.
fn line_of(text: &str, start: &csv::Position, form: &Form) -> u64 {
    let rest = usize::try_from(start.byte()).ok().and_then(|start| text.get(start..)).unwrap_or_default();
    let between =
        |line: &&str| line.trim_end_matches('\r').is_empty() || form.comments && line.starts_with('#');
    start.line() + rest.split('\n').take_while(between).count() as u64
}

fn header_is_usable(form: &Form, header: &[String], problems: &mut Problems) -> bool {
    let before = problems.len();
    for (at, name) in header.iter().enumerate() {
        if name.is_empty() {
            problems.push((1, format!("column {} has no name: name or delete it", at + 1)));
        } else if header[..at].contains(name) {
            problems.push((1, format!("column {name} stands twice: delete one")));
        } else if form.columns().all(|known| known != name) {
            let absent = form.columns().filter(|known| header.iter().all(|name| name != known));
            if !form.attributes {
                let columns: Vec<&str> = form.columns().collect();
                let hint = hint(name, columns.iter().copied());
                problems.push((
                    1,
                    format!("unknown column {name}{hint}: the columns are {}", columns.join(", ")),
                ));
            } else if let Some(meant) = absent
                .filter(|known| distance(&name.to_lowercase(), known) <= if known.len() > 5 { 2 } else { 1 })
                .min_by_key(|known| distance(&name.to_lowercase(), known))
            {
                problems
                    .push((1, format!("column {name} looks like {meant}: rename it to one or the other")));
            }
        }
    }
    for column in form.required {
        if header.iter().all(|name| name != column) {
            problems.push((1, format!("required column {column} is absent: add it")));
        }
    }
    problems.len() == before
}

/// The text of a file in UTF-8.
fn text<'b>(bytes: &'b [u8], problems: &mut Problems) -> Option<&'b str> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        problems.push((1, "is UTF-16: save it as UTF-8 (in a spreadsheet: \"CSV UTF-8\")".to_owned()));
        return None;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            let what = if looks_like_gbk(bytes) { "is GBK, not UTF-8" } else { "is not UTF-8" };
            problems.push((
                line as u64,
                format!(
                    "{what}: save it as UTF-8 (in a spreadsheet: \"CSV UTF-8\"; or iconv -f GBK -t UTF-8)"
                ),
            ));
            None
        }
    }
}

/// Whether all bytes above ASCII come in pairs as GBK has them.
fn looks_like_gbk(bytes: &[u8]) -> bool {
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        let paired = match byte {
            0..=0x7f => true,
            0x81..=0xfe => {
                bytes.next().is_some_and(|second| (0x40..=0xfe).contains(second) && *second != 0x7f)
            }
            _ => false,
        };
        if !paired {
            return false;
        }
    }
    true
}
