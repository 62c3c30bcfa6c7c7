//! Validation: marks every reading with what its tests said, and turns away what cannot be used.
//!
//! Enters: the decoded reports of an epoch, in the order of their offsets, after the registry's changes. Leaves:
//! the same readings with QARTOD flags (C 1.4), revisions of earlier ones, and rejects: every reading of the input
//! leaves as exactly one new or correcting reading or as one reject, and a correction leaves the value it replaces
//! as a reject beside it. Guarantees: a mark never destroys a value; within the memory the final marks and values
//! do not depend on the order of arrival.
//!
//! An event leaves as it is where its facility is registered and its fields are what its kind asks for, else as a reject.
//!
//! A report of a registered object is a sign of life whatever becomes of its readings: without any it leaves as a
//! checked report without readings, and when it is refused for its time, or repeats what is known, as [`Heard`].
//!
//! What each test makes of the flag: range fails (outside the catalogue) or suspects (outside the device's); spike
//! and flat line suspect, then fail; rate of change, a counter's jump and a clock that runs ahead suspect; a counter's
//! fall and what is no measurement (a zero that physics forbids, a report of zeros alone, the limit of a register that no
//! neighbour makes likely) fail. A normalised form, a late arrival, a counter's reset and a correction are noted and leave
//! the reading usable. The registry's attributes `{metric}_min`, `{metric}_max` and `{metric}_resolution` (of a facility or a device)
//! stand before the catalogue.
//!
//! Memory: each object remembers its reports back to [`Memory::lateness`] before its newest, which is further than any
//! window of a KPI stays open; a room or a clean device no more than its last [`Memory::reports`]. What falls out leaves
//! only the state of the tests behind, and its marks are final. Readings of a counter that stands apart are kept for up to
//! [a day](counter::AWAITED), for what confirms a new meter may come after an outage. A neighbour further away than the memory is none: a fault
//! or silence of a metric that fills the memory ends the spike test of the reading before it. An object silent for as
//! long as `lateness` by the clock forgets its reports, a facility or device that leaves the registry everything. What is
//! remembered outlives the process ([`crate::durable`]).
//!
//! A report from before the memory may be new, a correction or a repetition, and its neighbours are gone. So it leaves as
//! [`Change::Unverified`](crate::Change), failed or suspect where its own tests say so and else *not evaluated* (QARTOD 2),
//! never good: in the store it stands in the place of what was there for its time, in an open window only where the object
//! was not heard at that time, so that no repetition makes a failed reading part of a KPI again. The readings by flag
//! (`nuanliu_readings_total`) count them: nothing else has flag 2.

mod admission;
mod column;
mod counter;
mod late;
mod mark;
mod marks;
#[cfg(test)]
mod measure;
mod memory;
mod neighbours;
mod object;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod restarts;
mod ring;
mod rows;
mod rule;
mod saved;
mod test;
#[cfg(test)]
pub(crate) mod tests;
mod values;
#[cfg(test)]
mod vectors;

use std::{rc::Rc, sync::Arc};

use schemas::{Catalogue, Code, Millis, Reason, RecordPlace, Topic, time};
use serde::Serialize;

use self::{
    admission::Admission, memory::LEAST_REPORTS, object::ReportHistory, rule::MetricRule,
    saved::RestoredFacility,
};
use crate::{
    durable::{Keyed, shard},
    flow::{
        Carrier, CheckedEpoch, CheckedEvent, CheckedReports, Heard, Object, Observation, Observations,
        ObservedEpoch, PlacedEvent,
    },
    profile::{Profile, ProfileChange},
    refuse,
    stage::Stage,
};

pub use memory::Memory;
pub use test::{clock_ahead::CLOCK_TOLERANCE, timeliness::ARRIVES_WITHIN};

/// The stage that checks readings. State: one entry per registered facility, with one series of recent reports for
/// it and for each of its devices that has reported.
pub struct Validate {
    facilities: Keyed<Code, FacilityState, RestoredFacility>,
    rules: Vec<MetricRule>,
    memory: Memory,
    /// How long before its arrival a report may have been measured, ms.
    backfill: Millis,
    /// Name of the reports topic, for the origin of rejects.
    topic: String,
    /// The same of the events topic.
    events_topic: String,
    /// The clock at which silent objects were last looked for.
    swept: Millis,
    /// What that was when the checkpoint under way began, until it is saved.
    saving_swept: Option<Millis>,
    columns: usize,
}

/// A registered facility. What follows from its profile is not saved.
#[derive(Serialize)]
struct FacilityState {
    #[serde(skip)]
    profile: Arc<Profile>,
    /// By device, sorted; the facility's own series has the empty device.
    series: Vec<ReportHistory>,
}

impl Validate {
    /// A stage that knows no facility yet. `topic` is the name of the reports topic.
    #[must_use]
    pub fn new(topic: &str, memory: Memory) -> Validate {
        Validate {
            facilities: Keyed::new(|facility| shard(facility)),
            rules: MetricRule::all(Catalogue::in_force()),
            memory: Memory {
                reports: memory.reports.max(LEAST_REPORTS),
                network_reports: memory.network_reports.max(LEAST_REPORTS),
                ..memory
            },
            backfill: time::BACKFILL,
            topic: topic.to_owned(),
            events_topic: "events".to_owned(),
            swept: Millis::MIN,
            saving_swept: None,
            columns: 0,
        }
    }

    /// The same for data that was held back for at most `backfill` ms.
    #[must_use]
    pub fn with_backfill(self, backfill: Millis) -> Validate {
        Validate { backfill, ..self }
    }

    /// The same with another name of the events topic.
    #[must_use]
    pub fn with_events_topic(self, events_topic: String) -> Validate {
        Validate { events_topic, ..self }
    }

    /// An event with what the registry says of its facility.
    fn check_event(&self, placed: &PlacedEvent) -> Result<CheckedEvent, Refusal> {
        let event = &placed.event;
        let known = self.facilities.number(&event.facility).and_then(|number| self.facilities.get(number));
        let state = known.ok_or_else(|| unknown_facility(&event.facility))?;
        event.check()?;
        let (partition, offset) = (placed.partition, placed.offset);
        let place = RecordPlace { topic: Topic::Events, partition, offset };
        Ok(CheckedEvent { event: event.clone(), place, profile: Arc::clone(&state.profile) })
    }

    /// Applies one change of the registry: new limits hold from now on, what is gone is forgotten.
    fn change(&mut self, change: &ProfileChange) {
        let Some(profile) = &change.profile else {
            if let Some(state) = self.facilities.remove(&change.facility) {
                self.columns -= state.columns();
            }
            return;
        };
        let number = self.facilities.number(&change.facility);
        let Some(state) = number.and_then(|number| self.facilities.get_mut(number)) else {
            return self.know(&change.facility, profile);
        };
        self.columns -= state.columns();
        state.profile = Arc::clone(profile);
        state.series.retain(|series| has_device(profile, series.device()));
        state.series.iter_mut().for_each(|series| series.limit(profile));
        self.columns += state.columns();
    }

    /// A facility becomes known, with what was restored of it.
    fn know(&mut self, facility: &Code, profile: &Arc<Profile>) {
        let (rules, columns) = (&self.rules, &mut self.columns);
        self.facilities.know(facility.clone(), |restored| {
            let saved = restored.unwrap_or_default().series;
            let count = saved.len();
            let again = |saved| ReportHistory::restored(saved, facility, profile, rules);
            let mut series: Vec<ReportHistory> = saved.into_iter().map(again).collect();
            series.retain(|series| has_device(profile, series.device()));
            series.iter_mut().for_each(|series| series.limit(profile));
            let whole = count == series.len();
            let state = FacilityState { profile: Arc::clone(profile), series };
            *columns += state.columns();
            (state, whole)
        });
    }

    /// Lets objects that have been silent for as long as the lateness forget their reports. Looked for four times in
    /// that span.
    fn sweep(&mut self, clock: Millis) {
        if clock.saturating_sub(self.swept) < self.memory.lateness / 4 {
            return;
        }
        self.swept = clock;
        let fades = |series: &ReportHistory| series.fades(clock, &self.memory);
        for number in 0..self.facilities.end() {
            if !self.facilities.get(number).is_some_and(|state| state.series.iter().any(fades)) {
                continue;
            }
            if let Some(state) = self.facilities.get_mut(number) {
                let faded = state.series.iter_mut().filter(|series| fades(series));
                faded.for_each(|series| series.forget_all(&self.rules));
            }
        }
    }
}

impl Stage for Validate {
    type Input = ObservedEpoch;
    type Output = CheckedEpoch;
    const NAME: &'static str = "validate";

    fn apply(&mut self, input: &ObservedEpoch) -> CheckedEpoch {
        let mut output = CheckedEpoch {
            epoch: input.epoch,
            clock: input.clock,
            profiles: input.profiles.clone(),
            registry: input.registry,
            reports: CheckedReports::with_capacity(
                input.observations.iter().map(Observations::len).sum(),
                input.observations.iter().map(|reports| reports.readings().len()).sum(),
            ),
            repeated: Vec::new(),
            heard: Vec::new(),
            events: Vec::new(),
            rejects: Vec::new(),
        };
        for change in &input.profiles {
            self.change(change);
        }
        // The first epoch names every registered facility: what was restored of others is gone.
        self.facilities.forget_restored();
        let mut admission = Admission {
            clock: input.clock,
            carrier: Carrier::default(),
            memory: &self.memory,
            rules: &self.rules,
            topic: &self.topic,
            reports: &mut output.reports,
            repeated: &mut output.repeated,
            rejects: &mut output.rejects,
        };
        let reports = input.observations.iter().flat_map(|reports| {
            let believed = input.believed_of(reports.partition());
            reports.iter().map(move |observation| (observation, believed))
        });
        for (observation, believed) in reports {
            let number = self.facilities.number(observation.facility);
            let state = number.and_then(|number| self.facilities.get_mut(number));
            let refused = match FacilityState::series(state, &observation) {
                Ok((series, profile)) => match in_time(&observation, self.backfill, believed) {
                    Ok(()) => {
                        let (columns, told) = (series.columns(), admission.reports.len());
                        series.admit(&observation, profile, &mut admission);
                        self.columns += series.columns() - columns;
                        if admission.reports.len() == told {
                            output.heard.push(heard(series, &observation, false));
                        }
                        continue;
                    }
                    Err(refusal) => {
                        let received_at = observation.received_at.min(believed);
                        let observation = Observation { received_at, ..observation };
                        output.heard.push(heard(series, &observation, true));
                        refusal
                    }
                },
                Err(refusal) => refusal,
            };
            // Without readings there is nothing to refuse: what it held has been refused before.
            if !observation.readings.is_empty() {
                let (reason, detail) = refused;
                admission.rejects.push(refuse::report(&observation, &self.topic, reason, detail));
            }
        }
        for placed in &input.events {
            match self.check_event(placed) {
                Ok(event) => output.events.push(event),
                Err((reason, detail)) => {
                    output.rejects.push(refuse::event(placed, &self.events_topic, reason, detail));
                }
            }
        }
        self.sweep(input.clock);
        output
    }

    /// Remembered series: one per object and metric.
    fn entries(&self) -> usize {
        self.columns
    }
}

#[cfg(test)]
impl Validate {
    /// What the state takes, without the table of facilities and what the registry says of them.
    fn heap_bytes(&self) -> usize {
        self.facilities.iter().map(|(_, _, state)| size_of::<FacilityState>() + state.heap_bytes()).sum()
    }
}

type Refusal = (Reason, String);

impl FacilityState {
    /// The series that a report belongs to, with what is known about its facility.
    fn series<'a>(
        state: Option<&'a mut FacilityState>,
        observation: &Observation<'_>,
    ) -> Result<(&'a mut ReportHistory, &'a Profile), Refusal> {
        let (facility, device) = (observation.facility, observation.device);
        let Some(state) = state else {
            return Err(unknown_facility(facility));
        };
        let at = match state.series.binary_search_by(|series| series.device().cmp(device)) {
            Ok(at) => at,
            Err(at) if has_device(&state.profile, device) => {
                let object = Object { facility: facility.into(), device: device.into() };
                state.series.reserve_exact(1);
                state.series.insert(at, ReportHistory::new(object, &state.profile));
                at
            }
            Err(_) => {
                let detail = format!("device {device} is not in the registry at facility {facility}");
                return Err((Reason::UnknownDevice, detail));
            }
        };
        Ok((&mut state.series[at], &state.profile))
    }

    fn columns(&self) -> usize {
        self.series.iter().map(ReportHistory::columns).sum()
    }

    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        let own = self.series.capacity() * size_of::<ReportHistory>();
        own + self.series.iter().map(ReportHistory::heap_bytes).sum::<usize>()
    }
}

fn unknown_facility(facility: &str) -> Refusal {
    (Reason::UnknownFacility, format!("facility {facility} is not in the registry"))
}

fn heard(series: &ReportHistory, observation: &Observation<'_>, misdated: bool) -> Heard {
    Heard {
        object: Rc::clone(&series.object),
        observed_at: observation.observed_at,
        received_at: observation.received_at,
        carrier: observation.carrier(),
        misdated,
    }
}

fn has_device(profile: &Profile, device: &str) -> bool {
    device.is_empty() || profile.devices.contains_key(device)
}

/// Judges the times of a report that is believed when it arrived by `believed`.
fn in_time(observation: &Observation<'_>, backfill: Millis, believed: Millis) -> Result<(), Refusal> {
    let (observed, received) = (observation.observed_at, observation.received_at);
    if received > believed {
        let detail = format!(
            "the report says that it arrived at {}, those beside it are no later than {}: it moves no clock, which follows \
             once most of the last reports of its partition agree; send it again then if it is right",
            refuse::at(received),
            refuse::at(believed)
        );
        return Err((Reason::TimeInFuture, detail));
    }
    time::plausible(observed, received, backfill).map_err(|reason| {
        let detail = match reason {
            Reason::TooOld => time::too_old(observed, received, backfill),
            _ => format!(
                "observed_at {} cannot be true for a report that arrived at {}",
                refuse::at(observed),
                refuse::at(received)
            ),
        };
        (reason, detail)
    })
}
