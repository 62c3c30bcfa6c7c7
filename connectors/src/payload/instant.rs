//! Times as records carry them.
//!
//! Enters: a field's text or number. Leaves: milliseconds since 1970, or why they cannot be told. Guarantees: nothing is
//! guessed; a local time is one moment of the arrival's zone or refused.

use jiff::{civil::DateTime, tz::TimeZone};
use schemas::{
    Millis, Reason,
    time::{self, Moments, Written},
};

use super::{
    Arrival,
    json::{Kind, Node},
    record::{Wrong, unfit},
};

/// A time from JSON: RFC 3339, a civil time in the arrival's zone (compact as in HJ 212 also), or milliseconds since 1970
/// as a number or as digits. 14 and 17 digits are a compact time: as milliseconds they would be centuries ahead.
///
/// # Errors
/// [`Reason::BadTime`], [`Reason::WrongType`].
pub fn instant(field: &str, node: &Node<'_>, arrival: &Arrival) -> Result<Millis, Wrong> {
    match &node.kind {
        Kind::Number(text) => match millis(text).ok_or_else(|| bad_time(field, text))? {
            compact if is_compact(compact) => local_time(field, &compact.to_string(), arrival),
            millis => Ok(millis),
        },
        Kind::Text(text) => instant_text(field, text, arrival),
        other => Err(unfit(field, other, "RFC 3339 text or milliseconds since 1970")),
    }
}

/// A time from text.
///
/// # Errors
/// [`Reason::BadTime`].
pub fn instant_text(field: &str, text: &str, arrival: &Arrival) -> Result<Millis, Wrong> {
    // Compact civil dates such as 20240115 are also digits; milliseconds of this century have 12 or 13.
    let digits = text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    match millis(text).filter(|millis| digits && !is_compact(*millis)) {
        Some(millis) => Ok(millis),
        None => local_time(field, text, arrival),
    }
}

/// Whether a number has the 14 or 17 digits of a compact time.
pub fn is_compact(number: i64) -> bool {
    matches!(number.checked_ilog10(), Some(13 | 16))
}

/// A time that is not written as milliseconds.
fn local_time(field: &str, text: &str, arrival: &Arrival) -> Result<Millis, Wrong> {
    match time::read(text).ok_or_else(|| bad_time(field, text))? {
        Written::Moment(at) => Ok(at),
        Written::Local(local) => moment(local, &arrival.zone).map_err(|why| {
            let shown: String = text.chars().take(40).collect();
            (Reason::BadTime, format!("{field} is '{shown}', which {why}"))
        }),
    }
}

/// When a local time was.
///
/// # Errors
/// Why it cannot be said, and what to send.
pub fn moment(local: DateTime, zone: &TimeZone) -> Result<Millis, String> {
    let name = zone.iana_name().unwrap_or("its zone");
    match time::moments(local, zone) {
        Some(Moments::One(at)) => Ok(at),
        Some(Moments::Two(..)) => Err(format!("occurs twice in {name}: send it with its offset")),
        Some(Moments::Never(_)) => Err(format!("does not occur in {name}: send it with its offset")),
        None => Err("is out of range".to_owned()),
    }
}

fn bad_time(field: &str, text: &str) -> Wrong {
    let shown: String = text.chars().take(40).collect();
    let detail =
        format!("{field} is '{shown}', expected RFC 3339, yyyyMMddHHmmss or milliseconds since 1970");
    (Reason::BadTime, detail)
}

/// Whole milliseconds from a JSON number, which some senders write with a fraction or an exponent.
fn millis(text: &str) -> Option<Millis> {
    text.parse::<i64>().ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        (value.abs() < 9.0e15).then_some(value.floor() as i64)
    })
}
