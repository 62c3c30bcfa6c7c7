//! One cell of a metric's column.
//!
//! Enters: the cell, its column and the mapping. Leaves: a value in the metric's unit, or why it cannot be told.

use schemas::{
    RawValue, Reason,
    number::{self, Decimal},
};

use super::mapping::{Mapping, MetricColumn};
use crate::payload::value::written;

/// A cell as a value. Without factor, offset and decimal sign, text that is no plain number goes on as it is; with them, a
/// number in any of the forms that [`number::parse`] or [`number::parse_as`] understands is converted.
///
/// # Errors
/// [`Reason::AmbiguousNumber`], or [`Reason::NotANumber`] for a number with another decimal sign, with what decides it.
pub(super) fn value(
    cell: &[u8],
    column: &MetricColumn,
    mapping: &Mapping,
) -> Result<RawValue, (Reason, String)> {
    let text = String::from_utf8_lossy(cell);
    if mapping.missing.iter().any(|marker| *marker == text.trim()) {
        return Ok(RawValue::Missing);
    }
    let converted = column.factor != 1.0 || column.offset != 0.0;
    let convert = |value: f64| if converted { exact(value * column.factor + column.offset) } else { value };
    let plain = number::parse(&text);
    match (plain, mapping.decimal) {
        (Ok(read), None) if converted || read.normal => Ok(RawValue::Number(convert(read.value))),
        (Err(Reason::NotANumber), None) if !is_number_of_some_form(&text) => {
            Ok(RawValue::Text(text.into_owned()))
        }
        (Ok(_) | Err(Reason::NotFinite), None) => Ok(RawValue::Text(text.into_owned())),
        (plain, decimal) => match written(&format!("column {}", column.column), &text, decimal) {
            Ok(RawValue::Number(value)) => Ok(RawValue::Number(convert(value))),
            // What is no number in any form is left for the dataflow to refuse.
            Err(_) if plain.is_err() && !is_number_of_some_form(&text) => {
                Ok(RawValue::Text(text.into_owned()))
            }
            other => other,
        },
    }
}

/// Whether text is a number once it is known what its decimal sign is.
fn is_number_of_some_form(text: &str) -> bool {
    [Decimal::Point, Decimal::Comma].iter().any(|decimal| number::parse_as(text, *decimal).is_ok())
}

/// Takes off the noise that a conversion leaves in the last binary digits.
fn exact(value: f64) -> f64 {
    let rounded = (value * 1e6).round() / 1e6;
    if (rounded - value).abs() <= value.abs() * 1e-12 { rounded } else { value }
}
