//! Tables of the store on a terminal.
//!
//! Enters: a query. Leaves: its rows, aligned. Guarantees: what others wrote into the store steers no terminal and moves
//! no column.

use std::fmt::Write;

use anyhow::Context;
use clickhouse::query::Query;
use unicode_width::UnicodeWidthStr;

use crate::printable::{printable, printable_bytes};

/// The form in which the store is asked: names, types, then the rows as text, each a JSON array on a line.
const FORM: &str = "JSONCompactStringsEachRowWithNamesAndTypes";

/// The rows of a query as text, under their names.
///
/// # Errors
/// When the store does not answer, or not in the form that it was asked for.
pub async fn of(query: Query) -> anyhow::Result<String> {
    let answer = query.fetch_bytes(FORM)?.collect().await?;
    Ok(aligned(&read(&answer)?))
}

/// Names, types and rows.
fn read(answer: &[u8]) -> anyhow::Result<Vec<Vec<String>>> {
    let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| cells(line).context("reading the store's answer")).collect()
}

/// The cells of one line. Payloads need not be UTF-8, though JSON must.
fn cells(line: &[u8]) -> serde_json::Result<Vec<String>> {
    let mut text = String::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            // A backslash of its own, in JSON.
            text.push_str(&printable_bytes(chunk.invalid()).replace('\\', "\\\\"));
        }
    }
    serde_json::from_str(&text)
}

/// The table, a column as wide as its widest cell, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let [names, types, rows @ ..] = lines else { return String::new() };
    let cell = |line: &Vec<String>, column: usize| {
        line.get(column).map_or_else(String::new, |cell| printable(cell).into_owned())
    };
    let mut table = vec![String::new(); rows.len() + 1];
    for (column, kind) in types.iter().enumerate() {
        let cells: Vec<String> = std::iter::once(names).chain(rows).map(|line| cell(line, column)).collect();
        let width = cells.iter().map(|cell| cell.width()).max().unwrap_or(0);
        let number = ["UInt", "Int", "Float", "Nullable(Float"].iter().any(|start| kind.starts_with(start));
        for (line, cell) in table.iter_mut().zip(&cells) {
            let space = " ".repeat(width - cell.width());
            let gap = if column == 0 { "" } else { "  " };
            // Writing to text does not fail.
            let _ =
                if number { write!(line, "{gap}{space}{cell}") } else { write!(line, "{gap}{cell}{space}") };
        }
    }
    table.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_moves_no_column_and_steers_no_terminal() {
        let answer = b"[\"at\", \"n\", \"raw\"]\n[\"String\", \"UInt64\", \"String\"]\n\
            [\"2026\", \"7\", \"\\u001B]0;x\\u0007\\n2027  8\"]\n[\"\xe4\xb8\x80\", \"12345\", \"a\xff\xc2\x9b\"]\n";
        assert_eq!(
            aligned(&read(answer).unwrap()),
            "at        n  raw\n2026      7  \\u{1b}]0;x\\u{7}\\n2027  8\n一    12345  a\\xff\\u{9b}\n"
        );
    }

    #[test]
    fn no_rows_leave_the_names() {
        assert_eq!(aligned(&read(b"[\"a\",\"b\"]\n[\"String\",\"String\"]\n").unwrap()), "a  b\n");
    }
}
