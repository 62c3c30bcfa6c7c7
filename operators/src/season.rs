//! Whether heating is due: the legal heating season of an object at a time (T 2.15, legal heating period).
//!
//! Enters: what the registry says of an object, and a time of the data. Leaves: whether heating is due, or the whole
//! spell around the time for which that holds. Guarantees: a pure function; what cannot be read masks nothing, so that
//! no mistake in a registry silences an alarm in winter.

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, date},
    tz::TimeZone,
};
use schemas::{Millis, registry::attribute, season::Season};

use crate::Profile;

/// The seasons of the objects of a platform: attribute `heating_season` of the device, else of the facility, else the
/// season of the configuration.
#[derive(Clone, Debug)]
pub struct Seasons {
    zone: TimeZone,
    default: Option<Season>,
}

/// A span of time, from its start until before its end, for all of which heating is due or none of which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// Whether heating is due.
    pub heating: bool,
    /// Start, ms.
    pub from: Millis,
    /// End, ms: the first moment that is not part of it.
    pub until: Millis,
}

impl Spell {
    /// Heating is due at all times.
    pub const ALWAYS: Spell = Spell { heating: true, from: Millis::MIN, until: Millis::MAX };

    /// Whether a time lies in it.
    #[must_use]
    pub fn holds(&self, at: Millis) -> bool {
        self.from <= at && at < self.until
    }
}

impl Default for Seasons {
    /// Heating is due at all times where the registry gives no season; days are those of UTC.
    fn default() -> Seasons {
        Seasons { zone: TimeZone::UTC, default: None }
    }
}

impl Seasons {
    /// Seasons of days in `zone`. Where the registry gives none, `default` holds; with none, heating is always due.
    #[must_use]
    pub fn new(zone: TimeZone, default: Option<Season>) -> Seasons {
        Seasons { zone, default }
    }

    /// The season of a device of a facility (or of the facility itself); `None` when heating is always due.
    #[must_use]
    pub fn of(&self, profile: &Profile, device: &str) -> Option<Season> {
        match profile.text(device, attribute::HEATING_SEASON) {
            Some(text) => text.parse().ok(),
            None => self.default,
        }
    }

    /// Whether heating is due at a time.
    #[must_use]
    pub fn heating(&self, profile: &Profile, device: &str, at: Millis) -> bool {
        self.spell(self.of(profile, device), at).heating
    }

    /// The spell around a time. Beyond the range of the calendar heating is due.
    #[must_use]
    pub fn spell(&self, season: Option<Season>, at: Millis) -> Spell {
        season.and_then(|season| self.bounded(season, at)).unwrap_or(Spell::ALWAYS)
    }

    /// The first moment at or after a time at which no heating is due; `Millis::MAX` where there is none.
    #[must_use]
    pub fn pause(&self, season: Option<Season>, at: Millis) -> Millis {
        let spell = self.spell(season, at);
        match spell.heating {
            false => at,
            // A season of the whole year ends where the next begins.
            true if self.spell(season, spell.until).heating => Millis::MAX,
            true => spell.until,
        }
    }

    fn bounded(&self, season: Season, at: Millis) -> Option<Spell> {
        let day = self.zone.to_datetime(Timestamp::from_millisecond(at).ok()?).date();
        let heating = season.contains(day);
        let years = (day.year() - 1)..=(day.year() + 1);
        // A season begins with its first day and ends before the day after its last.
        let starts = years.clone().filter_map(|year| first_on_or_after(year, season.first));
        let ends = years.filter_map(|year| day_after(year, season.last));
        let mut turns: Vec<Date> = starts.chain(ends).collect();
        turns.sort_unstable();
        let from = turns.iter().rfind(|turn| **turn <= day)?;
        let until = turns.iter().find(|turn| **turn > day)?;
        Some(Spell { heating, from: self.midnight(*from)?, until: self.midnight(*until)? })
    }

    fn midnight(&self, day: Date) -> Option<Millis> {
        Some(day.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond())
    }
}

/// The day of a year; the first of March for the 29th of February of a common year.
fn first_on_or_after(year: i16, (month, day): (i8, i8)) -> Option<Date> {
    Date::new(year, month, day).or_else(|_| Date::new(year, 3, 1)).ok()
}

fn day_after(year: i16, (month, day): (i8, i8)) -> Option<Date> {
    match Date::new(year, month, day) {
        Ok(last) => last.checked_add(1.day()).ok(),
        Err(_) => Some(date(year, 3, 1)),
    }
}

#[cfg(test)]
mod tests {
    use schemas::time::{DAY, HOUR};

    use super::*;

    fn at(text: &str) -> Millis {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn seasons() -> Seasons {
        Seasons::new(TimeZone::get("Asia/Shanghai").unwrap(), None)
    }

    #[rstest::rstest]
    #[case("2026-04-06T15:59:59Z", true, "2025-10-19T16:00:00Z", "2026-04-06T16:00:00Z")]
    #[case("2026-04-06T16:00:00Z", false, "2026-04-06T16:00:00Z", "2026-10-19T16:00:00Z")]
    #[case("2026-12-31T23:00:00Z", true, "2026-10-19T16:00:00Z", "2027-04-06T16:00:00Z")]
    fn a_season_turns_at_civil_midnight(
        #[case] time: &str,
        #[case] heating: bool,
        #[case] from: &str,
        #[case] until: &str,
    ) {
        let spell = seasons().spell("10-20..04-06".parse().ok(), at(time));
        assert_eq!(spell, Spell { heating, from: at(from), until: at(until) });
    }

    #[test]
    fn spells_hold_what_each_of_their_times_says() {
        for season in ["10-20..04-06", "01-01..12-31", "05-01..09-30", "11-15..02-29", "02-29..04-01"] {
            let season = season.parse().ok();
            for hour in 0..4 * 366 * 4 {
                let time = at("2023-01-01T00:00:00Z") + hour * 6 * HOUR;
                let spell = seasons().spell(season, time);
                assert!(spell.holds(time));
                for end in [spell.from, spell.until - 1] {
                    assert_eq!(seasons().spell(season, end), spell, "{season:?} at {time}");
                }
                assert!(spell.until - spell.from >= DAY);
            }
        }
    }

    #[rstest::rstest]
    #[case::in_season("10-20..04-06", "2026-01-15T00:00:00Z", Some("2026-04-06T16:00:00Z"))]
    #[case::out_of_it("10-20..04-06", "2026-07-15T00:00:00Z", Some("2026-07-15T00:00:00Z"))]
    #[case::all_year("01-01..12-31", "2026-07-15T00:00:00Z", None)]
    #[case::nobody_says("none", "2026-07-15T00:00:00Z", None)]
    fn heating_pauses(#[case] season: &str, #[case] time: &str, #[case] pause: Option<&str>) {
        assert_eq!(seasons().pause(season.parse().ok(), at(time)), pause.map_or(Millis::MAX, at));
    }

    #[test]
    fn heating_is_due_where_nobody_says_when() {
        assert_eq!(seasons().spell(None, at("2026-07-01T00:00:00Z")), Spell::ALWAYS);
        assert!(seasons().spell(Some(Season::WIDEST), Millis::MAX).heating);
    }
}
