//! The legal heating season as the registry and the configuration write it.

use std::str::FromStr;

use jiff::civil::Date;

/// A part of every year, from the first to the last day, both included; it may run over the turn of the year.
///
/// Written `MM-DD..MM-DD`, such as `10-20..04-06`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Season {
    /// Month and day of the first day.
    pub first: (i8, i8),
    /// Month and day of the last day.
    pub last: (i8, i8),
}

impl Season {
    /// The widest season of the north of China: what counts as heating where nobody says when heating is due. It is
    /// wide on purpose: an alarm too many in spring is seen and leads to the right dates, one too few is not.
    pub const WIDEST: Season = Season { first: (9, 15), last: (5, 15) };

    /// Whether a civil day is one of the season.
    #[must_use]
    pub fn contains(self, day: Date) -> bool {
        let day = (day.month(), day.day());
        if self.first <= self.last {
            self.first <= day && day <= self.last
        } else {
            day >= self.first || day <= self.last
        }
    }
}

impl FromStr for Season {
    type Err = String;

    /// # Errors
    /// What is wrong with the text and how it is written.
    fn from_str(text: &str) -> Result<Season, String> {
        let day = |text: &str| -> Option<(i8, i8)> {
            let (month, day) = text.trim().split_once('-')?;
            let (month, day): (i8, i8) = (month.parse().ok()?, day.parse().ok()?);
            // A leap year: 02-29 is a day of some years.
            Date::new(2000, month, day).ok().map(|_| (month, day))
        };
        let days = text.split_once("..").and_then(|(first, last)| Some((day(first)?, day(last)?)));
        days.map(|(first, last)| Season { first, last }).ok_or_else(|| {
            format!("heating season `{text}` is no part of a year: write MM-DD..MM-DD such as 10-20..04-06")
        })
    }
}

impl std::fmt::Display for Season {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ((m, d), (n, e)) = (self.first, self.last);
        write!(f, "{m:02}-{d:02}..{n:02}-{e:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("10-20..04-06", &["2025-10-20", "2026-01-01", "2026-04-06"], &["2025-10-19", "2026-04-07"])]
    #[case(" 5-1 .. 9-30 ", &["2026-05-01", "2026-09-30"], &["2026-04-30", "2026-10-01"])]
    #[case("11-15..02-29", &["2024-02-29", "2025-02-28"], &["2024-03-01", "2025-03-01"])]
    fn days_in_and_out(#[case] season: Season, #[case] inside: &[&str], #[case] outside: &[&str]) {
        let inside_of = |text: &&str| season.contains(text.parse().unwrap());
        assert!(inside.iter().all(inside_of) && !outside.iter().any(inside_of));
        assert_eq!(season.to_string().parse(), Ok(season));
    }

    #[rstest::rstest]
    fn what_is_no_season_is_refused(
        #[values("", "10-20", "10-20..", "13-01..04-06", "10-20..02-30", "2025-10-20..2026-04-06")]
        text: &str,
    ) {
        let problem = text.parse::<Season>().unwrap_err();
        assert!(problem.contains("MM-DD..MM-DD"), "{problem}");
    }
}
