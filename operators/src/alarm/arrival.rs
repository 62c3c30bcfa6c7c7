//! What arrivals bring, and what kinds of alarms over them have in common.
//!
//! Enters: reports as quality control left them. Leaves: what each brought, for signals of arrivals: judged like those of
//! readings, with times of arrival in the place of times of measurement.
//! Guarantees: an alarm says that for the limit of silence reports came and none of them was of use; it is raised and
//! cleared by an arrival. The order of the log does not matter as long as no arrival stands further behind a newer one
//! than that limit. Marks count as they were first given.

use schemas::{Millis, Side, time::SECOND};
use serde_json::{Value, json};

use super::{
    communication::level, episode::Limits, journal::Emission, rhythm::Patience, rule::Rule,
    series::WatchedSeries,
};
use crate::{CheckedReport, Heard, Profile};

/// What an arrival brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Brought {
    /// A usable value.
    Value,
    /// No usable value.
    Nothing,
    /// What had come before, or another word about it.
    Known,
    /// A time that cannot be true, so far from that of its arrival, ms; negative where the clock is slow.
    WrongTime(Millis),
}

impl Brought {
    /// What a checked report brought.
    #[must_use]
    pub fn of(report: CheckedReport<'_>) -> Brought {
        let mut new = report.readings.iter().filter(|reading| reading.change.is_first()).peekable();
        if report.readings.is_empty() {
            Brought::Nothing
        } else if new.peek().is_none() {
            Brought::Known
        } else if new.any(|reading| reading.flag.usable()) {
            Brought::Value
        } else {
            Brought::Nothing
        }
    }

    /// What a report brought that was not checked.
    #[must_use]
    pub fn of_heard(heard: &Heard) -> Brought {
        match heard.misdated {
            true => Brought::WrongTime(heard.observed_at - heard.received_at),
            false => Brought::Known,
        }
    }

    /// Whether nothing is wrong with it.
    #[must_use]
    pub fn is_of_use(self) -> bool {
        matches!(self, Brought::Value | Brought::Known)
    }
}

/// Reports must come in vain for the least limit of the object's silence; the alarm has the level of that.
pub(super) fn limits(profile: &Profile, device: &str) -> Limits {
    let mut levels = [None; 3];
    levels[usize::from(level(profile, device).clamp(1, 3)) - 1] = Some(0.5);
    Limits {
        on_delay: Patience::of(profile, device).least,
        // How wrong the clock is is told once.
        step: f64::MAX,
        // In a silence no value comes either, so no gap is too long.
        ..Limits::plain(Side::High, levels)
    }
}

/// Since when reports came in vain, and how many of them are remembered; the last value is shown as `last_offset_s`
/// where it is an offset.
pub(super) fn describe(rule: &Rule, series: &WatchedSeries, told: &Emission, offset: bool) -> Value {
    let episode = &told.episode;
    let until = episode.cleared_at.unwrap_or(Millis::MAX);
    let during = |at: &Millis| *at >= episode.onset && *at <= until;
    let in_vain = series.readings().filter(|(at, value)| during(at) && *value > 0.0);
    let (reports, last) = in_vain.fold((0, None), |(n, _), (_, value)| (n + 1, Some(value)));
    json!({
        "rule": { "code": rule.code.as_str(), "in_vain_for_s": rule.limits.on_delay / SECOND },
        "since": schemas::time::rfc3339(episode.onset),
        "reports": reports,
        "last_offset_s": last.filter(|_| offset),
        "usable_again": episode.cleared_at.map(schemas::time::rfc3339),
    })
}
