//! The stage: everything of an epoch that may raise, change or end an alarm.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use rustc_hash::FxHashMap;
use schemas::{AlarmTransition, Code, Millis, time::HOUR};

use super::{
    AlarmedEpoch,
    communication::{self, Contact, Deadlines},
    object::{ObjectState, ToldOfSeries},
    position::Place,
    threshold::Rules,
    transition::sort,
    watch::{Cause, Told},
};
use crate::{CheckedEpoch, CheckedReport, Object, Profile, ProfileChange, Stage};

/// What can be set.
#[derive(Clone, Copy, Debug)]
pub struct AlarmSettings {
    /// How far behind the newest reading of its series a reading may come and still revise alarms, ms.
    pub horizon: Millis,
}

impl Default for AlarmSettings {
    /// Two hours.
    fn default() -> AlarmSettings {
        AlarmSettings { horizon: 2 * HOUR }
    }
}

/// A registered facility and the objects of it that have reported.
#[derive(Debug)]
struct FacilityState {
    profile: Arc<Profile>,
    /// By device.
    objects: BTreeMap<Code, u32>,
}

/// Threshold, communication and position alarms of the facilities of one worker.
///
/// An object's state begins with its first report and ends when its facility is no longer registered, which clears
/// its alarms with cause `registry`. Objects of facilities that are not registered are not watched.
#[derive(Debug, Default)]
pub struct Alarms {
    settings: AlarmSettings,
    rules: Rules,
    facilities: FxHashMap<Code, FacilityState>,
    numbers: FxHashMap<Rc<Object>, u32>,
    objects: Vec<Option<ObjectState>>,
    free: Vec<u32>,
    deadlines: Deadlines,
    /// Objects to be revised before the epoch ends.
    dirty: BTreeSet<u32>,
    told: Vec<ToldOfSeries>,
    silence: Vec<Told>,
}

impl Stage for Alarms {
    type Input = CheckedEpoch;
    type Output = AlarmedEpoch;
    const NAME: &'static str = "alarm";

    fn apply(&mut self, input: &CheckedEpoch) -> AlarmedEpoch {
        let mut output = AlarmedEpoch { epoch: input.epoch, clock: input.clock, ..AlarmedEpoch::default() };
        for change in &input.profiles {
            self.register(change, input.clock, &mut output.transitions);
        }
        for report in &input.reports {
            output.too_late += self.read(report, input.clock, &mut output.transitions);
        }
        while let Some(number) = self.dirty.pop_first() {
            let Some(object) = &mut self.objects[number as usize] else { continue };
            object.revise(self.settings.horizon, &mut self.told);
            self.flush(number, &mut output.transitions);
        }
        self.expire(input.clock, &mut output.transitions);
        sort(&mut output.transitions);
        output
    }

    /// Watched series and objects.
    fn entries(&self) -> usize {
        self.objects.iter().flatten().map(|object| 1 + object.series()).sum()
    }
}

impl Alarms {
    /// The stage before its first epoch.
    #[must_use]
    pub fn new(settings: AlarmSettings) -> Alarms {
        Alarms { settings, ..Alarms::default() }
    }

    /// Readings remembered, and the bytes that they and their series take.
    #[must_use]
    pub fn remembered(&self) -> (usize, usize) {
        let each = self.objects.iter().flatten().map(ObjectState::remembered);
        each.fold((0, 0), |all, own| (all.0 + own.0, all.1 + own.1))
    }

    fn register(&mut self, change: &ProfileChange, clock: Millis, out: &mut Vec<AlarmTransition>) {
        let Some(profile) = &change.profile else {
            self.unregister(&change.facility, clock, out);
            return;
        };
        let facility = self
            .facilities
            .entry(change.facility.clone())
            .or_insert_with(|| FacilityState { profile: Arc::clone(profile), objects: BTreeMap::new() });
        let before = std::mem::replace(&mut facility.profile, Arc::clone(profile));
        let affected =
            before.households_below != profile.households_below || before.area_below != profile.area_below;
        let numbers: Vec<u32> = facility.objects.values().copied().collect();
        for number in numbers {
            self.watch(number, profile, affected, clock);
            self.flush(number, out);
        }
    }

    /// Puts a profile in force for an object.
    fn watch(&mut self, number: u32, profile: &Profile, affected: bool, clock: Millis) {
        let Some(object) = &mut self.objects[number as usize] else { return };
        let device = object.object.device.clone();
        let rules = self.rules.resolve(profile, &device);
        if affected {
            object.repeat(clock, &mut self.told);
            object.contact.repeat(clock, &mut self.silence);
        }
        object.watch(&rules, Place::of(profile, &device), clock, &mut self.told);
        if object.dirty {
            object.revise(self.settings.horizon, &mut self.told);
        }
        let limit = communication::limit(profile, &device);
        let level = communication::level(profile, &device);
        object.contact.change(limit, level, clock, &mut self.silence);
        if !object.contact.lost() {
            self.deadlines.insert(object.contact.deadline(), number);
        }
    }

    fn unregister(&mut self, facility: &Code, clock: Millis, out: &mut Vec<AlarmTransition>) {
        let Some(state) = self.facilities.get(facility) else { return };
        let numbers: Vec<u32> = state.objects.values().copied().collect();
        for number in numbers {
            if let Some(object) = &mut self.objects[number as usize] {
                object.end(clock, &mut self.told);
                object.contact.clear(clock, Cause::Registry, &mut self.silence);
            }
            self.flush(number, out);
            if let Some(object) = self.objects[number as usize].take() {
                self.numbers.remove(&object.object);
                self.free.push(number);
            }
        }
        self.facilities.remove(facility);
    }

    /// Takes a report; returns how many of its readings came too late to count.
    fn read(&mut self, report: &CheckedReport, clock: Millis, out: &mut Vec<AlarmTransition>) -> u64 {
        let number = match self.numbers.get(&report.object) {
            Some(number) => *number,
            None => match self.admit(report, clock) {
                Some(number) => number,
                None => return 0,
            },
        };
        let Some(object) = &mut self.objects[number as usize] else { return 0 };
        let was_lost = object.contact.lost();
        object.contact.arrive(report.received_at, &mut self.silence);
        let too_late = object.read(report, self.settings.horizon, &mut self.told);
        if was_lost && !object.contact.lost() {
            self.deadlines.insert(object.contact.deadline(), number);
        }
        if object.dirty {
            self.dirty.insert(number);
        }
        if !self.told.is_empty() || !self.silence.is_empty() {
            self.flush(number, out);
        }
        too_late
    }

    /// Begins the state of an object of a registered facility.
    fn admit(&mut self, report: &CheckedReport, clock: Millis) -> Option<u32> {
        let device = &report.object.device;
        let facility = self.facilities.get_mut(&report.object.facility)?;
        let profile = Arc::clone(&facility.profile);
        let contact = Contact::new(
            report.received_at,
            communication::limit(&profile, device),
            communication::level(&profile, device),
        );
        let state = ObjectState::new(Rc::clone(&report.object), contact);
        let number = match self.free.pop() {
            Some(number) => {
                self.objects[number as usize] = Some(state);
                number
            }
            None => {
                self.objects.push(Some(state));
                (self.objects.len() - 1) as u32
            }
        };
        facility.objects.insert(device.clone(), number);
        self.numbers.insert(Rc::clone(&report.object), number);
        self.watch(number, &profile, false, clock);
        Some(number)
    }

    fn expire(&mut self, clock: Millis, out: &mut Vec<AlarmTransition>) {
        while let Some(number) = self.deadlines.due(clock) {
            let Some(object) = &mut self.objects[number as usize] else { continue };
            object.contact.expire(clock, &mut self.silence);
            if !object.contact.lost() {
                self.deadlines.insert(object.contact.deadline(), number);
            }
            self.flush(number, out);
        }
    }

    /// Turns what is to be told of an object into transitions.
    fn flush(&mut self, number: u32, out: &mut Vec<AlarmTransition>) {
        let Some(object) = &self.objects[number as usize] else { return };
        let profile = self.facilities.get(&object.object.facility).map(|facility| facility.profile.as_ref());
        out.extend(self.told.drain(..).map(|told| object.describe(profile, &told)));
        out.extend(self.silence.drain(..).map(|told| object.describe_contact(profile, &told)));
    }
}
