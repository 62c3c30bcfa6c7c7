//! Values as records carry them.
//!
//! Enters: a value's JSON or text. Leaves: a number, "not measured", or text that is a number. Guarantees: what may be two
//! numbers is refused unless the decimal sign is known.

use schemas::{
    Catalogue, MetricKind, RawValue, Reason,
    number::{self, Decimal},
};

use super::{
    MAX_TEXT,
    json::Kind,
    record::{Wrong, unfit},
};

/// A reading's value from JSON. Text that is a number, perhaps in full-width digits, is passed on as text.
///
/// # Errors
/// [`Reason::NotANumber`], [`Reason::NotFinite`], [`Reason::WrongType`], [`Reason::TooDeep`].
pub fn value(metric: &str, kind: &Kind<'_>, decimal: Option<Decimal>) -> Result<RawValue, Wrong> {
    match kind {
        Kind::Null => Ok(RawValue::Missing),
        Kind::Number(text) => finite(metric, text).map(RawValue::Number),
        Kind::Bool(set) if is_state(metric) => Ok(RawValue::Number(f64::from(u8::from(*set)))),
        Kind::Text(text) if text.len() > MAX_TEXT => {
            Err((Reason::NotANumber, format!("{metric} is text of {} bytes, expected a number", text.len())))
        }
        Kind::Text(text) => written(metric, text, decimal),
        other => Err(unfit(metric, other, "a number")),
    }
}

/// A number that is written as text. It goes on as written for the dataflow to read and mark; with a decimal sign that is
/// agreed on it is a number already.
///
/// # Errors
/// [`Reason::NotANumber`], [`Reason::AmbiguousNumber`], [`Reason::NotFinite`].
pub fn written(what: &str, text: &str, decimal: Option<Decimal>) -> Result<RawValue, Wrong> {
    let read = match decimal {
        Some(decimal) => number::parse_as(text, decimal).map(RawValue::Number),
        None => number::parse(text).map(|_| RawValue::Text(text.to_owned())),
    };
    match read {
        Ok(value) => Ok(value),
        Err(Reason::NotFinite) => Err((Reason::NotFinite, format!("{what} is {text}"))),
        Err(reason) => Err((reason, format!("{what} is the text '{text}', {}", expected(text, decimal)))),
    }
}

/// What was expected of text that is no number in the form that is known or without one.
fn expected(text: &str, decimal: Option<Decimal>) -> String {
    let (point, comma) = (number::parse_as(text, Decimal::Point), number::parse_as(text, Decimal::Comma));
    match (decimal, point, comma) {
        (None, Ok(point), Ok(comma)) => format!(
            "which is {point} or {comma}: send a number, or let the setting decimal of the profile or mapping say which"
        ),
        (None, Ok(_), Err(_)) => "expected a number; the setting decimal = \".\" reads it".to_owned(),
        (None, Err(_), Ok(_)) => "expected a number; the setting decimal = \",\" reads it".to_owned(),
        (None, Err(_), Err(_)) => "expected a number".to_owned(),
        (Some(Decimal::Point), ..) => "expected a number with the decimal sign '.' as configured".to_owned(),
        (Some(Decimal::Comma), ..) => "expected a number with the decimal sign ',' as configured".to_owned(),
    }
}

/// The finite value of a JSON number; integers beyond 2^53 become the nearest one.
fn finite(metric: &str, text: &str) -> Result<f64, Wrong> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => {
            let shown: String = text.chars().take(40).collect();
            Err((Reason::NotFinite, format!("{metric} is {shown}, which is no finite number")))
        }
    }
}

fn is_state(metric: &str) -> bool {
    Catalogue::in_force().id(metric).is_some_and(|id| id.metric().kind == MetricKind::State)
}
