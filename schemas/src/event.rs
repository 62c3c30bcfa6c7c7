//! Business events on `heating.events`: complaints, repairs, plans, order feedback, manual measurements.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Code, Millis, Reason,
    number::fold_full_width,
    time::{self, FUTURE_TOLERANCE, Written},
};

/// The kinds of events.
pub const KINDS: [&str; 5] = ["complaint", REPAIR, "plan", "order_feedback", "manual_measurement"];

/// What puts a fault right.
pub const REPAIR: &str = "repair";

/// One business event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The sender's id of the event; a second event with the same id and kind replaces the first.
    pub id: String,
    /// `complaint`, `repair`, `plan`, `order_feedback` or `manual_measurement`.
    pub kind: String,
    /// The facility it is about; also the Kafka key.
    pub facility: Code,
    /// When it happened.
    pub at: Millis,
    /// When it arrived.
    pub received_at: Millis,
    /// Connector and peer.
    pub origin: String,
    /// The event's own fields, as text.
    pub fields: BTreeMap<String, String>,
}

/// Supply that is stopped for a repair (T 2.15.4.8: area and duration of the stop).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoppedSupply {
    /// The area without heat, m².
    pub area: f64,
    /// Until when; `None` while it lasts.
    pub until: Option<Millis>,
}

impl Event {
    /// The supply that a repair has stopped since [`Event::at`]: its field `stopped_area` in m² and, once heat flows again,
    /// `ended_at`, RFC 3339 with an offset or ms since 1970. `None` for other events, and for repairs that stop no supply.
    ///
    /// # Errors
    /// Which field cannot be what it should be.
    pub fn stopped_supply(&self) -> Result<Option<StoppedSupply>, String> {
        let Some(text) = self.fields.get("stopped_area").filter(|_| self.kind == REPAIR) else {
            return Ok(None);
        };
        let area = fold_full_width(text.trim()).parse::<f64>().ok().filter(|area| *area >= 0.0);
        let area = area.filter(|area| area.is_finite()).ok_or_else(|| {
            format!("fields.stopped_area is '{text}', expected the area in m² that has no heat")
        })?;
        let until = self.fields.get("ended_at").map(|text| self.ended_at(text)).transpose()?;
        Ok((area > 0.0).then_some(StoppedSupply { area, until }))
    }

    /// Checks when it happened against when it arrived, and the fields that its kind asks for.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn check(&self) -> Result<(), (Reason, String)> {
        self.plausible()?;
        self.stopped_supply().map(drop).map_err(|detail| (Reason::WrongType, detail))
    }

    /// Only plans may lie in the future.
    fn plausible(&self) -> Result<(), (Reason, String)> {
        match time::plausible(self.at, self.received_at, Millis::MAX) {
            Err(Reason::TimeInFuture) if self.kind == "plan" => Ok(()),
            told => told.map_err(|reason| (reason, format!("at is {}", time::rfc3339(self.at)))),
        }
    }

    fn ended_at(&self, text: &str) -> Result<Millis, String> {
        let millis = || text.trim().parse::<Millis>().ok().filter(|at| *at >= time::EARLIEST);
        let ended = match time::read(text) {
            Some(Written::Moment(at)) => Some(at),
            Some(Written::Local(_)) => None,
            None => millis(),
        };
        let wrong = |why: &str| format!("fields.ended_at is '{text}', {why}");
        match ended {
            None => Err(wrong("expected RFC 3339 with an offset or ms since 1970")),
            Some(ended) if ended < self.at => Err(wrong("which is before `at`, when the repair began")),
            Some(ended) if ended > self.received_at.saturating_add(FUTURE_TOLERANCE) => {
                Err(wrong("which is yet to come: send the event again when the repair has ended"))
            }
            Some(ended) => Ok(ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Millis = 1_768_000_000_000;

    fn repair(fields: &[(&str, &str)]) -> Event {
        Event {
            id: "R-1".to_owned(),
            kind: REPAIR.to_owned(),
            facility: "ST-1".into(),
            at: BEGAN,
            received_at: BEGAN + 3 * time::HOUR,
            origin: String::new(),
            fields: fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[rstest::rstest]
    #[case::no_supply_stopped(&[], None)]
    #[case::none_is_without_heat(&[("stopped_area", "0"), ("ended_at", "1768000000000")], None)]
    #[case::lasts(&[("stopped_area", "52000.5")], Some((52_000.5, None)))]
    #[case::full_width(&[("stopped_area", " ５２ ")], Some((52.0, None)))]
    #[case::ended(&[("stopped_area", "1e6"), ("ended_at", "2026-01-09T23:06:41Z")], Some((1e6, Some(BEGAN + 1_000))))]
    #[case::in_ms(&[("stopped_area", "9"), ("ended_at", "1768000060000")], Some((9.0, Some(BEGAN + 60_000))))]
    fn a_repair_says_what_has_no_heat(
        #[case] fields: &[(&str, &str)],
        #[case] want: Option<(f64, Option<Millis>)>,
    ) {
        let want = want.map(|(area, until)| StoppedSupply { area, until });
        assert_eq!(repair(fields).stopped_supply(), Ok(want));
        let complaint = Event { kind: "complaint".to_owned(), ..repair(fields) };
        assert_eq!(complaint.stopped_supply(), Ok(None));
    }

    #[rstest::rstest]
    #[case::when_it_arrived(REPAIR, BEGAN, None)]
    #[case::long_ago(REPAIR, BEGAN - 400 * time::DAY, None)]
    #[case::ahead(REPAIR, BEGAN + 9 * time::HOUR, Some(Reason::TimeInFuture))]
    #[case::a_plan("plan", BEGAN + 90 * time::DAY, None)]
    #[case::no_clock(REPAIR, 0, Some(Reason::TimeBefore2000))]
    fn times_are_held_against_the_arrival(
        #[case] kind: &str,
        #[case] at: Millis,
        #[case] want: Option<Reason>,
    ) {
        let event = Event { kind: kind.to_owned(), at, ..repair(&[]) };
        assert_eq!(event.plausible().err().map(|(reason, _)| reason), want);
    }

    #[rstest::rstest]
    #[case(&[("stopped_area", "all")], "fields.stopped_area is 'all'")]
    #[case(&[("stopped_area", "-1")], "fields.stopped_area is '-1'")]
    #[case(&[("stopped_area", "inf")], "fields.stopped_area is 'inf'")]
    #[case(&[("stopped_area", "1"), ("ended_at", "soon")], "expected RFC 3339")]
    #[case::no_offset(&[("stopped_area", "1"), ("ended_at", "2026-01-10 08:00:00")], "expected RFC 3339")]
    #[case(&[("stopped_area", "1"), ("ended_at", "2026-01-09T00:00:00Z")], "before `at`")]
    #[case(&[("stopped_area", "1"), ("ended_at", "2026-01-11T00:00:00Z")], "yet to come")]
    fn what_a_field_cannot_be_is_said(#[case] fields: &[(&str, &str)], #[case] want: &str) {
        let said = repair(fields).stopped_supply().unwrap_err();
        assert!(said.contains(want), "{said}");
    }
}
