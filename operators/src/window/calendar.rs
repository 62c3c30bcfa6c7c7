//! Hours and days, and when they are closed for good.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use schemas::{
    Millis, Period,
    season::Season,
    time::{DAY, HOUR, MINUTE},
};

use super::ladder::{self, LADDER, Rung};
use crate::{Profile, season::Seasons};

/// Windows older than this are closed: nothing revises them any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Start of the first hour that is open.
    pub hour: Millis,
    /// Start of the first day that is open.
    pub day: Millis,
}

impl Default for Horizon {
    fn default() -> Horizon {
        Horizon::NOTHING_CLOSED
    }
}

impl Horizon {
    /// Before everything.
    pub const NOTHING_CLOSED: Horizon = Horizon { hour: Millis::MIN, day: Millis::MIN };

    /// Start of the first hour of the first day that is open: what comes for an hour before it revises nothing.
    #[must_use]
    pub fn first_hour(&self) -> Millis {
        Calendar::hour(self.day.saturating_add(HOUR - 1)).min(self.hour)
    }

    /// Whether a window is closed.
    #[must_use]
    pub fn is_closed(&self, period: Period, start: Millis) -> bool {
        match period {
            Period::Hour => start < self.hour,
            Period::Day => start < self.day,
            longer => start < ladder::closed_before(longer, *self),
        }
    }
}

/// How time is cut into windows, and how long they stay open.
///
/// An hour closes for the scopes above a facility when the lateness is over, a day when the lateness of days is over.
///
/// Hours are hours of UTC. A day is made of the hours that begin in a civil day of the zone: 23 to 25 hours where clocks
/// are put back and forth, and shifted by the odd minutes in a zone whose offset is no whole hour.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    lateness: Millis,
    day_lateness: Millis,
    settling: Millis,
    /// The longer windows that are computed.
    rungs: Vec<&'static Rung>,
    seasons: Seasons,
}

impl Calendar {
    /// Days in `zone`; windows stay open for `lateness` ms behind their end, and an hour is settled enough for models
    /// `settling` ms behind its end (at most the lateness).
    #[must_use]
    pub fn new(zone: TimeZone, lateness: Millis, settling: Millis) -> Calendar {
        let lateness = lateness.max(0);
        Calendar {
            zone,
            lateness,
            day_lateness: lateness,
            settling: settling.clamp(0, lateness),
            rungs: Vec::new(),
            seasons: Seasons::default(),
        }
    }

    /// The same with longer windows, those of the season by `seasons`.
    #[must_use]
    pub fn with_longer(mut self, periods: &[Period], seasons: Seasons) -> Calendar {
        self.rungs = LADDER.iter().filter(|rung| periods.contains(&rung.period)).collect();
        self.seasons = seasons;
        self
    }

    /// Whether there are longer windows than days.
    #[must_use]
    pub fn has_longer(&self) -> bool {
        !self.rungs.is_empty()
    }

    /// The longer windows that hold the day which starts then, with start and end.
    pub fn longer(
        &self,
        day: Millis,
        season: Option<Season>,
    ) -> impl Iterator<Item = (Period, (Millis, Millis))> + '_ {
        self.rungs.iter().filter_map(move |rung| Some((rung.period, (rung.bounds)(self, day, season)?)))
    }

    /// The heating season of a facility, where longer windows ask for it.
    pub(super) fn season_of(&self, profile: &Profile) -> Option<Season> {
        self.has_longer().then(|| self.seasons.of(profile, "")).flatten()
    }

    /// The week from Monday that holds a day.
    pub(super) fn week(&self, day: Millis) -> Option<(Millis, Millis)> {
        let date = self.date(day)?;
        let monday = date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).ok()?;
        Some((self.midnight(monday)?, self.midnight(monday.checked_add(7.days()).ok()?)?))
    }

    /// The span of so many calendar months, a divisor of 12, that holds a day.
    pub(super) fn months(&self, day: Millis, count: i8) -> Option<(Millis, Millis)> {
        let date = self.date(day)?;
        let first = Date::new(date.year(), (date.month() - 1) / count * count + 1, 1).ok()?;
        Some((self.midnight(first)?, self.midnight(first.checked_add(i64::from(count).months()).ok()?)?))
    }

    /// The heating season that holds a day.
    pub(super) fn season(&self, day: Millis, season: Option<Season>) -> Option<(Millis, Millis)> {
        let spell = self.seasons.spell(Some(season?), day);
        spell.heating.then_some((spell.from, spell.until))
    }

    fn date(&self, at: Millis) -> Option<Date> {
        Some(self.zone.to_datetime(Timestamp::from_millisecond(at).ok()?).date())
    }

    fn midnight(&self, date: Date) -> Option<Millis> {
        Some(date.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond())
    }

    /// The same with days that stay open for `lateness` ms behind their end, at least as long as their hours.
    #[must_use]
    pub fn with_day_lateness(mut self, lateness: Millis) -> Calendar {
        self.day_lateness = lateness.max(self.lateness);
        self
    }

    /// Start of the hour that holds a time.
    #[must_use]
    pub fn hour(at: Millis) -> Millis {
        at - at.rem_euclid(HOUR)
    }

    /// Start and end of the civil day that holds a time. Times beyond jiff's range fall in days of UTC.
    #[must_use]
    pub fn day(&self, at: Millis) -> (Millis, Millis) {
        self.civil_day(at).unwrap_or_else(|| {
            let start = at - at.rem_euclid(DAY);
            (start, start.saturating_add(DAY))
        })
    }

    fn civil_day(&self, at: Millis) -> Option<(Millis, Millis)> {
        let start = Timestamp::from_millisecond(at).ok()?.to_zoned(self.zone.clone()).start_of_day().ok()?;
        let end = start.checked_add(1.day()).ok()?;
        Some((start.timestamp().as_millisecond(), end.timestamp().as_millisecond()))
    }

    /// When an hour may be used by models.
    #[must_use]
    pub fn settled(&self, hour: Millis) -> Millis {
        hour + HOUR + self.settling
    }

    /// How far back a counter's increment can at least be dated to its hours, ms: a value that comes in time finds the
    /// days of so long before it open.
    fn dated(&self) -> Millis {
        (self.day_lateness - self.lateness).max(self.day_lateness / 2)
    }

    /// The first hour to which the increment between two values of a counter is dated; the day before it may be closed
    /// when the second one comes. A function of their times, so that it does not matter when they come.
    #[must_use]
    pub fn dated_from(&self, from: Millis, to: Millis) -> Millis {
        let back = to.saturating_sub(self.dated());
        if from >= back {
            return from;
        }
        let day = self.day(back).0;
        from.max(Calendar::hour(day.saturating_add(HOUR - 1)))
    }

    /// How far the windows follow a clock that jumps, in one epoch.
    #[must_use]
    pub fn longest_step(&self) -> Millis {
        self.lateness.max(6 * HOUR)
    }

    /// What is closed when the clock stands at `clock`: windows whose end lies more than their lateness behind it.
    #[must_use]
    pub fn horizon(&self, clock: Millis) -> Horizon {
        if clock <= Millis::MIN + self.day_lateness + 2 * DAY {
            return Horizon::NOTHING_CLOSED;
        }
        let open = |lateness: Millis| Calendar::hour(clock - lateness - 1);
        Horizon { hour: open(self.lateness), day: self.day(open(self.day_lateness)).0 }
    }
}

/// China has one time zone; six hours of lateness hold a room sensor's and a gateway's usual outage, and a day more holds
/// one over midnight.
impl Default for Calendar {
    fn default() -> Calendar {
        Calendar::new(TimeZone::fixed(jiff::tz::offset(8)), 6 * HOUR, 10 * MINUTE).with_day_lateness(DAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        schemas::time::parse(text, &TimeZone::UTC).unwrap()
    }

    #[rstest::rstest]
    #[case("Asia/Shanghai", "2024-01-15T20:00:00Z", "2024-01-15T16:00:00Z", 24)]
    #[case("Europe/Belgrade", "2024-03-31T12:00:00Z", "2024-03-30T23:00:00Z", 23)]
    #[case("Europe/Belgrade", "2024-10-27T12:00:00Z", "2024-10-26T22:00:00Z", 25)]
    fn days_follow_the_zone(#[case] zone: &str, #[case] time: &str, #[case] start: &str, #[case] hours: i64) {
        let calendar = Calendar::new(TimeZone::get(zone).unwrap(), HOUR, 0);
        assert_eq!(calendar.day(at(time)), (at(start), at(start) + hours * HOUR));
    }

    #[rstest::rstest]
    #[case::within_reach(30, 48, 30)]
    #[case::the_whole_of_yesterday(1, 41, 1)]
    #[case::the_day_before_yesterday(20, 67, 48)]
    #[case::days_ago(1, 400, 360)]
    fn increments_are_dated_to_days_that_are_open(#[case] from: i64, #[case] to: i64, #[case] first: i64) {
        let day = at("2024-01-15T16:00:00Z");
        let calendar = Calendar::default();
        let (from, to) = (day + from * HOUR, day + to * HOUR);
        assert_eq!(calendar.dated_from(from, to), day + first * HOUR);
        assert!(!calendar.horizon(to + 6 * HOUR).is_closed(Period::Day, calendar.day(day + first * HOUR).0));
    }

    #[test]
    fn windows_close_when_the_lateness_is_over() {
        let calendar = Calendar::new(TimeZone::UTC, 2 * HOUR, 0);
        let (hour, day) = (at("2024-01-15T10:00:00Z"), at("2024-01-15T00:00:00Z"));
        let closed = |period, start, clock| calendar.horizon(clock).is_closed(period, start);
        assert!(!closed(Period::Hour, hour, hour + 3 * HOUR));
        assert!(closed(Period::Hour, hour, hour + 3 * HOUR + 1));
        assert!(!closed(Period::Day, day, day + DAY + 2 * HOUR));
        assert!(closed(Period::Day, day, day + DAY + 2 * HOUR + 1));
        assert_eq!(calendar.horizon(Millis::MIN), Horizon::NOTHING_CLOSED);
        let calendar = calendar.with_day_lateness(DAY);
        let closed = |period, start, clock| calendar.horizon(clock).is_closed(period, start);
        assert!(closed(Period::Hour, hour, hour + 3 * HOUR + 1));
        assert!(!closed(Period::Day, day, day + 2 * DAY));
        assert!(closed(Period::Day, day, day + 2 * DAY + 1));
    }
}
