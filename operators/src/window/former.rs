//! Facilities as form 1 of the windows wrote them: it kept no hours for a silence, and remembered neither since when an
//! outdoor temperature is measured nor set points nor which metrics an object reports.
//!
//! Enters: bytes of a checkpoint. Leaves: facilities as they are known now. Never changes.

use schemas::{Code, Millis};
use serde::Deserialize;

use super::{
    facts::{Component, Facts},
    object::{Doubt, Object, QuantitySeries},
    open::{Day, Hour, RestoredSite},
    points::Points,
    sums::Sums,
    written::Written,
};

/// A facility.
#[derive(Debug, Deserialize)]
pub(super) struct FormerSite {
    objects: Vec<FormerObject>,
    hours: Vec<FormerHour>,
    days: Vec<FormerDay>,
}

#[derive(Debug, Deserialize)]
struct FormerObject {
    code: Code,
    first_hour: Millis,
    beats: Points,
    series: Vec<QuantitySeries>,
    doubts: Vec<Doubt>,
}

#[derive(Debug, Deserialize)]
struct FormerHour {
    start: Millis,
    facts: FormerFacts,
    elapsed: u32,
    settled: bool,
}

#[derive(Debug, Deserialize)]
struct FormerDay {
    start: Millis,
    facts: FormerFacts,
}

/// What is read is not known to be facts before it was looked at.
#[derive(Debug, Deserialize)]
#[serde(try_from = "FormerWritten")]
struct FormerFacts(Facts);

#[derive(Deserialize)]
#[serde(rename = "Facts")]
struct FormerWritten {
    ids: u64,
    values: Sums,
}

impl TryFrom<FormerWritten> for FormerFacts {
    type Error = &'static str;

    fn try_from(FormerWritten { ids, values }: FormerWritten) -> Result<FormerFacts, &'static str> {
        Facts::try_from(Written::of_form_1(ids, values)).map(FormerFacts)
    }
}

impl From<FormerSite> for RestoredSite {
    fn from(former: FormerSite) -> RestoredSite {
        let FormerSite { objects, hours, days } = former;
        let measured = |hour: &&FormerHour| hour.facts.0.get(Component::OutdoorTime) > 0;
        let outdoor_since = hours.iter().find(measured).map_or(Millis::MAX, |hour| hour.start);
        let objects = objects.into_iter().map(Object::from).collect();
        let hours = hours.into_iter().map(Hour::from).collect();
        let days = days.into_iter().map(|day| Day { start: day.start, facts: day.facts.0 }).collect();
        RestoredSite { objects, hot_from: Millis::MAX, hours, days, outdoor_since, longer: None }
    }
}

impl From<FormerHour> for Hour {
    fn from(FormerHour { start, facts, elapsed, settled }: FormerHour) -> Hour {
        Hour { start, facts: facts.0, elapsed, settled, ..Hour::default() }
    }
}

impl From<FormerObject> for Object {
    fn from(former: FormerObject) -> Object {
        let FormerObject { code, first_hour, beats, series, doubts } = former;
        Object {
            beats,
            series,
            doubts,
            ..Object::new(code, super::traits::ObjectTraits::default(), first_hour)
        }
    }
}
