//! In contact and of no use: an object whose reports hold no usable value, or are refused for their time.
//!
//! Enters: arrivals and what they brought. Leaves: rules over what arrivals brought, judged like those over readings,
//! with times of arrival in the place of times of measurement.
//! Guarantees: an alarm says that for the limit of silence reports came and none of them was of use; it is raised and
//! cleared by an arrival. The order of the log does not matter as long as no arrival stands further behind a newer one
//! than that limit. Marks count as they were first given.

use std::rc::Rc;

use rustc_hash::FxHashMap;
use schemas::{Code, Millis, Side, time::SECOND};

use super::{communication::level, episode::Limits, rhythm::Patience, rule::Rule};
use crate::{CheckedReport, Heard, Profile};

/// The rule code: reports come, and no usable value with them.
pub const VALUES_MISSING: &str = "values_missing";

/// The rule code: reports come, and their time cannot be true.
pub const CLOCK_WRONG: &str = "clock_wrong";

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

    /// Whether values are missing: 1 when they are; `None` where it says nothing of that.
    #[must_use]
    pub fn missing(self) -> Option<f64> {
        match self {
            Brought::Value => Some(0.0),
            Brought::Nothing => Some(1.0),
            Brought::Known | Brought::WrongTime(_) => None,
        }
    }

    /// How wrong the clock is, s; 0 when its time can be true.
    #[must_use]
    pub fn wrong(self) -> f64 {
        match self {
            Brought::WrongTime(offset) => (offset.abs() / SECOND).max(1) as f64,
            _ => 0.0,
        }
    }
}

/// The rules over the arrivals of an object.
#[derive(Debug)]
pub struct Reception {
    /// Over arrivals without usable values.
    pub values: Rc<Rule>,
    /// Over arrivals of a wrong time.
    pub clock: Rc<Rule>,
}

/// The rules over arrivals, each pair held once however many objects it applies to.
#[derive(Debug, Default)]
pub struct Receptions {
    /// By level and limit; bounded by the limits that the registry names.
    known: FxHashMap<(u8, Millis), Rc<Reception>>,
}

impl Receptions {
    /// The rules of an object: the level and the least limit of its silence.
    pub fn of(&mut self, profile: &Profile, device: &str) -> Rc<Reception> {
        let (level, limit) = (level(profile, device), Patience::of(profile, device).least);
        let begin = || {
            let values = "设备在线但无有效数据：检查传感器、接线与采集配置";
            let clock = "设备在线但时钟错误：校准设备时钟，检查对时服务与时区设置";
            Rc::new(Reception {
                values: Rc::new(rule(VALUES_MISSING, level, limit, values)),
                clock: Rc::new(rule(CLOCK_WRONG, level, limit, clock)),
            })
        };
        Rc::clone(self.known.entry((level, limit)).or_insert_with(begin))
    }
}

fn rule(code: &'static str, level: u8, limit: Millis, advice: &str) -> Rule {
    let mut levels = [None; 3];
    levels[usize::from(level.clamp(1, 3)) - 1] = Some(0.5);
    Rule {
        code: Code::const_new(code),
        scope: Code::const_new(""),
        metric: None,
        limits: Limits {
            side: Side::High,
            levels,
            deadband: 0.0,
            on_delay: limit,
            off_delay: 0,
            confirmations: 1,
            // How wrong the clock is is told once.
            step: f64::MAX,
            // In a silence no value comes either.
            longest_gap: Millis::MAX,
        },
        analysed: false,
        advice: advice.to_owned(),
        heating: None,
    }
}
