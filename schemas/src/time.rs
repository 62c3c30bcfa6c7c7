//! Time as data: milliseconds since 1970-01-01 UTC, and the forms in which senders write it.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// One second, minute, hour and day in milliseconds.
pub const SECOND: Millis = 1_000;
/// One minute.
pub const MINUTE: Millis = 60 * SECOND;
/// One hour.
pub const HOUR: Millis = 60 * MINUTE;
/// One day.
pub const DAY: Millis = 24 * HOUR;

/// The earliest time a reading may carry: 2000-01-01T00:00:00Z.
pub const EARLIEST: Millis = 946_684_800_000;
/// How far ahead of its arrival a reading's time may lie before it is refused.
pub const FUTURE_TOLERANCE: Millis = HOUR;

/// Reads a time as senders write it: RFC 3339, or a civil time without offset taken in `zone`.
///
/// Full-width digits and separators are folded first. Returns `None` when it is no time.
#[must_use]
pub fn parse(text: &str, zone: &TimeZone) -> Option<Millis> {
    let folded = crate::number::fold_full_width(text.trim());
    if let Ok(at) = folded.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let civil: DateTime = folded.replace('/', "-").parse().ok()?;
    Some(zone.to_zoned(civil).ok()?.timestamp().as_millisecond())
}

/// Whether a reading's time can be true for something that arrived at `received_at`.
///
/// # Errors
/// [`crate::Reason::TimeBefore2000`] or [`crate::Reason::TimeInFuture`].
pub fn plausible(observed_at: Millis, received_at: Millis) -> Result<(), crate::Reason> {
    if observed_at < EARLIEST {
        Err(crate::Reason::TimeBefore2000)
    } else if observed_at > received_at.saturating_add(FUTURE_TOLERANCE) {
        Err(crate::Reason::TimeInFuture)
    } else {
        Ok(())
    }
}

/// RFC 3339 in UTC with milliseconds, for messages and outputs.
#[must_use]
pub fn rfc3339(at: Millis) -> String {
    Timestamp::from_millisecond(at).map_or_else(|_| format!("{at} ms"), |t| format!("{t:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("2024-01-15T08:00:00Z", Some(1_705_305_600_000))]
    #[case("2024-01-15T16:00:00+08:00", Some(1_705_305_600_000))]
    #[case("2024-01-15 16:00:00", Some(1_705_305_600_000))]
    #[case("2024/01/15 16:00:00", Some(1_705_305_600_000))]
    #[case("２０２４-01-15T08:00:00Z", Some(1_705_305_600_000))]
    #[case("2024-02-30T08:00:00Z", None)]
    #[case("yesterday", None)]
    fn reads_the_forms_senders_use(#[case] text: &str, #[case] want: Option<Millis>) {
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(parse(text, &zone), want);
    }

    #[test]
    fn refuses_times_that_cannot_be_true() {
        assert_eq!(plausible(0, EARLIEST), Err(crate::Reason::TimeBefore2000));
        assert_eq!(plausible(EARLIEST + 2 * HOUR, EARLIEST), Err(crate::Reason::TimeInFuture));
        assert_eq!(plausible(EARLIEST + HOUR, EARLIEST), Ok(()));
    }
}
