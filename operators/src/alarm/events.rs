//! Alarms about what people report: an event says since when something is the matter with a facility, and until when.
//!
//! Enters: events of registered facilities. Leaves: transitions of the kinds over events ([`super::kind`]).
//! Guarantees: an event replaces the one before it with the same id and kind, however late, so that the same last words
//! end in the same episodes, whatever came between. No kind is known here by name.
//!
//! What is over is remembered for [`REMEMBERED`]; an event that ended before that, and one more than [`MATTERS`] at a time
//! of one facility and kind, count as too late. State: the facilities with events that are remembered.

mod signal;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use schemas::{AlarmTransition, Code, Millis, time::DAY};
use serde::{Deserialize, Serialize};

use super::{
    AlarmedEpoch,
    journal::{Cause, Emission},
    kind::{self, KindRules, Signal},
    matter::Matter,
    monitor::{Revision, RuleMonitor},
    saved::SavedMonitor,
    transition::{by_registry, sort},
};
use crate::{
    CheckedEpoch, Profile, ProfileChange, Stage,
    durable::{Durable, Keyed, RestoreError, Saved, known_form, read_section, shard},
    flow::CheckedEvent,
};
use signal::SignalState;

/// How long what is over is remembered, so that its event may still be corrected.
pub const REMEMBERED: Millis = 45 * DAY;
/// How many events of one facility and kind are remembered at most.
pub const MATTERS: usize = 256;

/// The alarms of one worker's facilities over events.
#[derive(Debug)]
pub struct EventAlarms {
    facilities: Keyed<Code, FacilityState, SavedFacility>,
    rules: KindRules,
    /// The clock at which what is over was last looked for.
    swept: Millis,
}

#[derive(Debug, Serialize)]
struct FacilityState {
    #[serde(skip)]
    profile: Arc<Profile>,
    /// By place of the kind.
    signals: Vec<SignalState>,
}

/// A facility as it was written.
#[derive(Debug, Deserialize)]
struct SavedFacility {
    /// With the id of each kind.
    signals: Vec<(u32, BTreeMap<Code, Matter>, SavedMonitor)>,
}

/// The place of the kind with an id.
fn place(id: u32) -> Option<u8> {
    (0..).zip(kind::ALL).find(|(_, kind)| kind.id == id).map(|(place, _)| place)
}

impl Default for EventAlarms {
    fn default() -> EventAlarms {
        EventAlarms {
            facilities: Keyed::new(|facility| shard(facility)),
            rules: KindRules::default(),
            swept: Millis::MIN,
        }
    }
}

impl Durable for EventAlarms {
    const STATE: &'static str = "events";
    const FORM: u16 = 1;

    fn begin(&mut self) {
        self.facilities.begin();
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        self.facilities.save(entries, out)
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        let mut unknown = None;
        read_section(Self::STATE, section, |_: Code, facility: Option<SavedFacility>| {
            let ids = facility.iter().flat_map(|facility| &facility.signals).map(|(id, ..)| *id);
            unknown = unknown.or(ids.into_iter().find(|id| place(*id).is_none()));
        })?;
        if let Some(id) = unknown {
            let detail = format!(
                "it holds events of the alarm kind with the id {id}, which this version does not have: run the version that \
                 wrote it"
            );
            return Err(RestoreError::Unreadable { state: Self::STATE, detail });
        }
        self.facilities.restore(Self::STATE, section)
    }
}

impl Stage for EventAlarms {
    type Input = CheckedEpoch;
    type Output = AlarmedEpoch;
    const NAME: &'static str = "events";

    fn apply(&mut self, input: &CheckedEpoch) -> AlarmedEpoch {
        let mut output = AlarmedEpoch { epoch: input.epoch, clock: input.clock, ..AlarmedEpoch::default() };
        for change in &input.profiles {
            self.register(change, input.clock, &mut output.transitions);
        }
        by_registry(&mut output.transitions, input.registry);
        // The first epoch after a restart names every registered facility.
        self.facilities.forget_restored();
        for event in &input.events {
            output.too_late += self.take(event, input.clock, &mut output.transitions);
        }
        self.sweep(input.clock);
        sort(&mut output.transitions);
        output
    }

    /// Facilities with events.
    fn entries(&self) -> usize {
        self.facilities.len()
    }
}

impl EventAlarms {
    fn register(&mut self, change: &ProfileChange, clock: Millis, out: &mut Vec<AlarmTransition>) {
        let (code, facilities) = (&change.facility, &mut self.facilities);
        let Some(profile) = &change.profile else {
            if let Some(mut state) = facilities.remove(code) {
                state.each(code, out, |monitor, told| monitor.end(clock, Cause::Registry, told));
            }
            return;
        };
        for (code, saved) in facilities.restored_from(code, |restored| restored == code) {
            let rules = &mut self.rules;
            let signal = |(id, matters, monitor): (u32, _, SavedMonitor)| {
                let kind = place(id)?;
                let rule = rules.of_facility(kind, profile);
                Some(SignalState { kind, matters, monitor: monitor.resume(|_, _| Rc::clone(&rule)) })
            };
            let signals = saved.signals.into_iter().filter_map(signal).collect();
            facilities.insert_restored(code, FacilityState { profile: Arc::clone(profile), signals });
        }
        let number = facilities.number(code);
        let Some(state) = number.and_then(|number| facilities.get_mut(number)) else { return };
        let before = std::mem::replace(&mut state.profile, Arc::clone(profile));
        for signal in &mut state.signals {
            let rule = self.rules.of_facility(signal.kind, profile);
            let judged_otherwise = signal.monitor.rule.limits != rule.limits;
            signal.monitor.rule = rule;
            if judged_otherwise {
                let revision = Revision { why: Cause::Registry.into(), newest: signal.newest(), at: clock };
                signal.judge(&state.profile, code, revision, clock, out);
            }
        }
        if (before.households_below, before.area_below) != (profile.households_below, profile.area_below) {
            state.each(code, out, |monitor, told| monitor.repeat(clock, Cause::Registry, told));
        }
    }

    /// Takes an event; answers how often it came too late to count.
    fn take(&mut self, checked: &CheckedEvent, clock: Millis, out: &mut Vec<AlarmTransition>) -> u64 {
        let (event, profile) = (&checked.event, &checked.profile);
        let (key, mut too_late) = (Code::from(format!("{}/{}", event.kind, event.id)), 0);
        for (place, kind) in (0..).zip(kind::ALL) {
            let Signal::Event(matter) = kind.signal else { continue };
            let (matter, number) = (matter(event), self.facilities.number(&event.facility));
            let known = number.and_then(|number| self.facilities.get(number)?.signal(place));
            let before = known.and_then(|signal| signal.matters.get(&key)).copied();
            if matter == before {
                continue;
            }
            if matter.is_some_and(|matter| matter.is_over(limit(clock))) {
                too_late += 1;
                continue;
            }
            let number = number.unwrap_or_else(|| {
                let state = FacilityState { profile: Arc::clone(profile), signals: Vec::new() };
                self.facilities.insert(event.facility.clone(), state)
            });
            let Some(state) = self.facilities.get_mut(number) else { continue };
            let rules = &mut self.rules;
            let signal = state.signal_or(place, || RuleMonitor::new(rules.of_facility(place, profile)));
            if before.is_none() && signal.matters.len() >= MATTERS {
                too_late += 1;
                continue;
            }
            let revision = signal.put(key.clone(), matter, before, checked.place);
            signal.judge(profile, &event.facility, revision, clock, out);
            self.forget(number, clock);
        }
        too_late
    }

    /// Forgets what has been over for long enough. Looked for once a day; a restart in the day finds nothing more.
    fn sweep(&mut self, clock: Millis) {
        if clock.div_euclid(DAY) <= self.swept.div_euclid(DAY) {
            return;
        }
        self.swept = clock;
        (0..self.facilities.end()).for_each(|number| self.forget(number, clock));
    }

    /// Forgets what has been over of a facility for long enough, and the facility when that was all.
    fn forget(&mut self, number: u32, clock: Millis) {
        let limit = limit(clock);
        let fades = |state: &FacilityState| state.signals.iter().any(|signal| signal.fades(limit));
        if !self.facilities.get(number).is_some_and(fades) {
            return;
        }
        let Some(state) = self.facilities.get_mut(number) else { return };
        state.signals.iter_mut().for_each(|signal| signal.forget(limit));
        state.signals.retain(|signal| !signal.is_over());
        if state.signals.is_empty()
            && let Some(facility) = self.facilities.key(number).cloned()
        {
            self.facilities.remove(&facility);
        }
    }
}

impl FacilityState {
    fn signal(&self, kind: u8) -> Option<&SignalState> {
        self.signals.iter().find(|signal| signal.kind == kind)
    }

    /// The signal of a kind, which begins where it is not there.
    fn signal_or(&mut self, kind: u8, monitor: impl FnOnce() -> RuleMonitor) -> &mut SignalState {
        let place = self.signals.binary_search_by_key(&kind, |signal| signal.kind);
        let place = place.unwrap_or_else(|place| {
            self.signals.insert(place, SignalState { kind, matters: BTreeMap::new(), monitor: monitor() });
            place
        });
        &mut self.signals[place]
    }

    /// Lets the rule of every signal tell something.
    fn each(
        &mut self,
        facility: &Code,
        out: &mut Vec<AlarmTransition>,
        tell: impl Fn(&mut RuleMonitor, &mut Vec<Emission>),
    ) {
        for signal in &mut self.signals {
            let mut told = Vec::new();
            tell(&mut signal.monitor, &mut told);
            out.extend(told.iter().map(|told| signal.describe(&self.profile, facility, told)));
        }
    }
}

/// What was over before is forgotten: the same all day, so that it does not matter when it is looked for.
fn limit(clock: Millis) -> Millis {
    clock.div_euclid(DAY) * DAY - REMEMBERED
}
