//! Time as data: milliseconds since 1970-01-01 UTC, and the forms in which senders write it.

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

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
/// How long before its arrival a reading may have been measured unless `rules.backfill_days` says otherwise. A receiver
/// of GPS whose week number has run over is 1,024 weeks behind.
pub const BACKFILL: Millis = 31 * DAY;

/// The latest time of arrival that a report may carry: 2200-01-01T00:00:00Z, far from where times overflow.
pub const LATEST: Millis = 7_258_118_400_000;
/// How far ahead of the broker's stamp a report may say that it arrived: clocks of machines that differ by more raise
/// `clock_skew`.
pub const ARRIVAL_TOLERANCE: Millis = 5 * MINUTE;

/// A time as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// With its offset from UTC.
    Moment(Millis),
    /// Without: a zone says when it was.
    Local(DateTime),
}

/// When a local time was in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moments {
    /// Once.
    One(Millis),
    /// Twice, because clocks were set back: the earlier and the later one.
    Two(Millis, Millis),
    /// Never, because clocks were set forward: when it was by a clock that was not.
    Never(Millis),
}

/// Reads a time as senders write it: RFC 3339, a civil time, or the compact civil time of HJ 212 with 14 or 17 digits,
/// `yyyyMMddHHmmss` and perhaps milliseconds.
///
/// Full-width digits and separators are folded first. Returns `None` when it is no time.
#[must_use]
pub fn read(text: &str) -> Option<Written> {
    let folded = crate::number::fold_full_width(text.trim());
    if let Ok(at) = folded.parse::<Timestamp>() {
        return Some(Written::Moment(at.as_millisecond()));
    }
    if matches!(folded.len(), 14 | 17) && folded.bytes().all(|byte| byte.is_ascii_digit()) {
        return compact(&folded).map(Written::Local);
    }
    folded.replace('/', "-").parse().ok().map(Written::Local)
}

fn compact(digits: &str) -> Option<DateTime> {
    let part = |place: std::ops::Range<usize>| digits.get(place)?.parse::<i16>().ok();
    let two = |from: usize| part(from..from + 2).and_then(|number| i8::try_from(number).ok());
    let millis = if digits.len() > 14 { i32::from(part(14..17)?) } else { 0 };
    DateTime::new(part(0..4)?, two(4)?, two(6)?, two(8)?, two(10)?, two(12)?, millis * 1_000_000).ok()
}

/// When a local time was; `None` when it is out of range.
#[must_use]
pub fn moments(local: DateTime, zone: &TimeZone) -> Option<Moments> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let at = |read: Result<Timestamp, jiff::Error>| read.ok().map(Timestamp::as_millisecond);
    Some(match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => Moments::One(at(ambiguous.compatible())?),
        AmbiguousOffset::Fold { .. } => Moments::Two(at(ambiguous.earlier())?, at(ambiguous.later())?),
        AmbiguousOffset::Gap { .. } => Moments::Never(at(ambiguous.compatible())?),
    })
}

/// Reads a time as [`read`] does, one without offset in `zone`.
///
/// Returns `None` when it is no time, or one that occurs twice or never in the zone.
#[must_use]
pub fn parse(text: &str, zone: &TimeZone) -> Option<Millis> {
    match read(text)? {
        Written::Moment(at) => Some(at),
        Written::Local(local) => match moments(local, zone)? {
            Moments::One(at) => Some(at),
            Moments::Two(..) | Moments::Never(_) => None,
        },
    }
}

/// Whether a reading's time can be true for something that arrived at `received_at` and was held back for at most
/// `backfill` ms.
///
/// # Errors
/// [`crate::Reason::TimeBefore2000`], [`crate::Reason::TooOld`] or [`crate::Reason::TimeInFuture`].
pub fn plausible(observed_at: Millis, received_at: Millis, backfill: Millis) -> Result<(), crate::Reason> {
    if observed_at < EARLIEST {
        Err(crate::Reason::TimeBefore2000)
    } else if observed_at < received_at.saturating_sub(backfill) {
        Err(crate::Reason::TooOld)
    } else if observed_at > received_at.saturating_add(FUTURE_TOLERANCE) {
        Err(crate::Reason::TimeInFuture)
    } else {
        Ok(())
    }
}

/// What is wrong with a time that is [`crate::Reason::TooOld`], and how such data comes in when it is right.
#[must_use]
pub fn too_old(observed_at: Millis, received_at: Millis, backfill: Millis) -> String {
    format!(
        "observed_at {} lies {} days before its arrival at {}, at most {} are allowed: raise rules.backfill_days to load \
         such data, or replay it from a file",
        rfc3339(observed_at),
        received_at.saturating_sub(observed_at) / DAY,
        rfc3339(received_at),
        backfill / DAY
    )
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
    #[case("20240115160000", Some(1_705_305_600_000))]
    #[case("20240115160000250", Some(1_705_305_600_250))]
    #[case("２０２４０１１５１６００００", Some(1_705_305_600_000))]
    #[case("20241315160000", None)]
    #[case("20240115246000", None)]
    #[case("yesterday", None)]
    fn reads_the_forms_senders_use(#[case] text: &str, #[case] want: Option<Millis>) {
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(parse(text, &zone), want);
    }

    #[rstest::rstest]
    #[case("2026-10-25 01:59:59", Some(1_792_886_399_000))]
    #[case("2026-10-25 02:30:00", None)]
    #[case("20261025023000", None)]
    #[case("2026-10-25T02:30:00+02:00", Some(1_792_888_200_000))]
    #[case("2026-10-25T03:00:00", Some(1_792_893_600_000))]
    #[case("2026-03-29 02:30:00", None)]
    fn local_times_that_occur_twice_or_never_are_no_moment(#[case] text: &str, #[case] want: Option<Millis>) {
        assert_eq!(parse(text, &TimeZone::get("Europe/Belgrade").unwrap()), want);
    }

    #[test]
    fn refuses_times_that_cannot_be_true() {
        let judged = |observed_at, received_at| plausible(observed_at, received_at, BACKFILL);
        assert_eq!(judged(0, EARLIEST), Err(crate::Reason::TimeBefore2000));
        assert_eq!(judged(EARLIEST + 2 * HOUR, EARLIEST), Err(crate::Reason::TimeInFuture));
        assert_eq!(judged(EARLIEST + HOUR, EARLIEST), Ok(()));
        assert_eq!(judged(EARLIEST, EARLIEST + BACKFILL), Ok(()));
        assert_eq!(judged(EARLIEST, EARLIEST + BACKFILL + 1), Err(crate::Reason::TooOld));
        assert_eq!(plausible(EARLIEST, Millis::MAX, Millis::MAX), Ok(()), "an operator allows any age");
    }

    #[test]
    fn a_time_that_is_too_old_says_how_old_and_what_to_do() {
        let week = 1_024 * 7 * DAY;
        let detail = too_old(EARLIEST, EARLIEST + week, BACKFILL);
        assert!(detail.contains("lies 7168 days before") && detail.contains("at most 31 are"), "{detail}");
        assert!(detail.contains("rules.backfill_days"), "{detail}");
    }
}
