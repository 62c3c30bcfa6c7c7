//! The stage: everything of an epoch that may raise, change or end an alarm.

use std::{collections::BTreeSet, rc::Rc, sync::Arc};

use rustc_hash::FxHashMap;
use schemas::{AlarmTransition, Code, Millis, SortedMap, time::HOUR};

use super::{
    AlarmedEpoch,
    arrival::Brought,
    communication::{self, Contact, Deadlines},
    journal::{Cause, Emission},
    kind::{KindRules, KindsOfObject},
    object::{ObjectState, SeriesEmission},
    others::Others,
    rhythm::Patience,
    saved::{FormerObject, SavedObject},
    series::Reach,
    threshold::{RuleList, Rules},
    transition::{by_registry, sort},
};
use crate::{
    CheckedEpoch, CheckedReport, Heard, Object, Profile, ProfileChange, Stage,
    durable::{self, Durable, Keyed, RestoreError, Saved},
    flow::Carrier,
    season::Seasons,
};

/// What can be set.
#[derive(Clone, Debug)]
pub struct AlarmSettings {
    /// How far behind the newest reading of its series a reading may come and still revise alarms, ms.
    pub horizon: Millis,
    /// When heating is due: low limits of what heating alone keeps up hold only then.
    pub seasons: Seasons,
}

impl Default for AlarmSettings {
    /// Two hours; heating is due at all times where the registry does not say.
    fn default() -> AlarmSettings {
        AlarmSettings { horizon: 2 * HOUR, seasons: Seasons::default() }
    }
}

/// A registered facility and the objects of it that have reported.
#[derive(Debug)]
struct FacilityState {
    profile: Arc<Profile>,
    /// By device.
    objects: SortedMap<Code, u32>,
}

/// Threshold alarms, those of kinds and those of silence, of the facilities of one worker.
///
/// An object's state begins with its first report and ends when its facility is no longer registered, which clears
/// its alarms with cause `registry`. Objects of facilities that are not registered are not watched.
#[derive(Debug)]
pub struct Alarms {
    settings: AlarmSettings,
    rules: Rules,
    kinds: KindRules,
    facilities: FxHashMap<Code, FacilityState>,
    objects: Keyed<Rc<Object>, ObjectState, SavedObject>,
    deadlines: Deadlines,
    /// Objects to be revised before the epoch ends.
    dirty: BTreeSet<u32>,
    told: Vec<SeriesEmission>,
    silence: Vec<Emission>,
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
        by_registry(&mut output.transitions, input.registry);
        let mut others = Others::of(&input.heard);
        for report in input.reports.iter() {
            while let Some(heard) = others.next(report.object, report.received_at) {
                self.hear(heard, input.clock, &mut output.transitions);
            }
            output.too_late += self.read(report, input.clock, &mut output.transitions);
        }
        for heard in others.rest() {
            self.hear(heard, input.clock, &mut output.transitions);
        }
        let now = self.now(input.clock);
        while let Some(number) = self.dirty.pop_first() {
            let Some(object) = self.objects.get_mut(number) else { continue };
            object.revise(now, &mut self.told);
            self.flush(number, &mut output.transitions);
        }
        if self.rules.stopped(input.clock) {
            self.pause(input.clock, &mut output.transitions);
        }
        self.expire(input.clock, &mut output.transitions);
        // After the first epoch after a restart: what belongs to no registered facility.
        self.objects.forget_restored();
        sort(&mut output.transitions);
        output
    }

    /// Objects. Their series are not counted: every epoch would go through all of them.
    fn entries(&self) -> usize {
        self.objects.len()
    }
}

/// The state is that of the objects; facilities, rules and deadlines follow from it and from the registry.
impl Durable for Alarms {
    const STATE: &'static str = "alarm";
    const FORM: u16 = 4;

    fn begin(&mut self) {
        self.objects.begin();
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        self.objects.save(entries, out)
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        durable::known_form(Self::STATE, form, Self::FORM)?;
        match form {
            1 => self.objects.restore_former::<FormerObject>(Self::STATE, section),
            _ => self.objects.restore(Self::STATE, section),
        }
    }
}

impl Default for Alarms {
    fn default() -> Alarms {
        Alarms::new(AlarmSettings::default())
    }
}

impl Alarms {
    /// The stage before its first epoch.
    #[must_use]
    pub fn new(settings: AlarmSettings) -> Alarms {
        Alarms {
            rules: Rules::new(settings.seasons.clone()),
            settings,
            kinds: KindRules::default(),
            facilities: FxHashMap::default(),
            objects: Keyed::new(|object| durable::shard(&object.facility)),
            deadlines: Deadlines::default(),
            dirty: BTreeSet::new(),
            told: Vec::new(),
            silence: Vec::new(),
        }
    }

    /// Readings remembered, and the bytes that they and their series take.
    #[must_use]
    pub fn remembered(&self) -> (usize, usize) {
        let each = self.objects.iter().map(|(_, _, object)| object.remembered());
        each.fold((0, 0), |all, own| (all.0 + own.0, all.1 + own.1))
    }

    fn register(&mut self, change: &ProfileChange, clock: Millis, out: &mut Vec<AlarmTransition>) {
        let Some(profile) = &change.profile else {
            self.unregister(&change.facility, clock, out);
            return;
        };
        let Some(facility) = self.facilities.get_mut(&change.facility) else {
            self.begin_facility(&change.facility, profile, clock, out);
            return;
        };
        let before = std::mem::replace(&mut facility.profile, Arc::clone(profile));
        let affected =
            before.households_below != profile.households_below || before.area_below != profile.area_below;
        let numbers: Vec<u32> = facility.objects.values().copied().collect();
        for number in numbers {
            self.watch(number, profile, affected, clock);
            self.flush(number, out);
        }
    }

    /// A facility that becomes known, with the objects of it that were restored.
    fn begin_facility(
        &mut self,
        code: &Code,
        profile: &Arc<Profile>,
        clock: Millis,
        out: &mut Vec<AlarmTransition>,
    ) {
        let first = Object { facility: code.clone(), device: Code::default() };
        let restored = self.objects.restored_from(&first, |object| object.facility == *code);
        let begun = FacilityState { profile: Arc::clone(profile), objects: SortedMap::default() };
        self.facilities.insert(code.clone(), begun);
        let mut objects = Vec::with_capacity(restored.len());
        for (object, saved) in restored {
            let device = object.device.clone();
            let rules = self.rules.resolve(profile, &device);
            let kinds = self.kinds.of(profile, &device);
            let contact = (Patience::of(profile, &device), communication::level(profile, &device));
            let mut state = saved.resume(Rc::clone(&object), &rules, &kinds, contact);
            let (judged_by, now) = ((&rules, kinds), self.now(clock));
            let changed = enforce(&mut state, judged_by, profile, now, &mut self.told, &mut self.silence);
            let number = match changed {
                true => self.objects.insert(object, state),
                false => self.objects.insert_restored(object, state),
            };
            objects.push((device, number));
            self.await_arrival(number);
            self.flush(number, out);
        }
        if let Some(facility) = self.facilities.get_mut(code) {
            facility.objects = objects.into_iter().collect();
        }
    }

    /// Puts a profile in force for an object.
    fn watch(&mut self, number: u32, profile: &Profile, affected: bool, clock: Millis) {
        let now = self.now(clock);
        let Some(object) = self.objects.get_mut(number) else { return };
        if affected {
            object.repeat(clock, &mut self.told);
            object.contact.repeat(clock, &mut self.silence);
        }
        let rules = self.rules.resolve(profile, &object.object.device);
        let judged_by = (&rules, self.kinds.of(profile, &object.object.device));
        enforce(object, judged_by, profile, now, &mut self.told, &mut self.silence);
        self.await_arrival(number);
    }

    /// Looks at an object again when it has been silent for too long.
    fn await_arrival(&mut self, number: u32) {
        if let Some(object) = self.objects.get(number).filter(|object| !object.contact.lost()) {
            self.deadlines.insert(object.contact.deadline(), number);
        }
    }

    fn unregister(&mut self, facility: &Code, clock: Millis, out: &mut Vec<AlarmTransition>) {
        let Some(state) = self.facilities.get(facility) else { return };
        let numbers: Vec<u32> = state.objects.values().copied().collect();
        for number in numbers {
            if let Some(object) = self.objects.get_mut(number) {
                object.end(clock, &mut self.told);
                object.contact.clear(clock, Cause::Registry, &mut self.silence);
            }
            self.flush(number, out);
            if let Some(object) = self.objects.key(number).cloned() {
                self.objects.remove(&object);
            }
        }
        self.facilities.remove(facility);
    }

    fn now(&self, clock: Millis) -> Reach {
        Reach { clock, horizon: self.settings.horizon }
    }

    /// Takes a report; returns how many of its readings came too late to count.
    fn read(&mut self, report: CheckedReport<'_>, clock: Millis, out: &mut Vec<AlarmTransition>) -> u64 {
        let Some(number) =
            self.arrive(report.object, report.received_at, (Brought::of(report), report.carrier), clock, out)
        else {
            return 0;
        };
        let now = self.now(clock);
        let Some(object) = self.objects.get_mut(number) else { return 0 };
        let too_late = object.read(report, now, &mut self.told);
        if object.dirty {
            self.dirty.insert(number);
        }
        if !self.told.is_empty() {
            self.flush(number, out);
        }
        too_late
    }

    /// Takes a report that brought no readings of its own.
    fn hear(&mut self, heard: &Heard, clock: Millis, out: &mut Vec<AlarmTransition>) {
        let brought = (Brought::of_heard(heard), heard.carrier);
        let arrived = self.arrive(&heard.object, heard.received_at, brought, clock, out);
        let dirty = |number: &u32| self.objects.get(*number).is_some_and(|object| object.dirty);
        self.dirty.extend(arrived.filter(dirty));
    }

    /// Takes an arrival and what it brought; gives the number of the object, if its facility is registered.
    fn arrive(
        &mut self,
        object: &Rc<Object>,
        at: Millis,
        brought: (Brought, Carrier),
        clock: Millis,
        out: &mut Vec<AlarmTransition>,
    ) -> Option<u32> {
        let (number, known) = match self.objects.number(object) {
            Some(number) => (number, true),
            None => (self.admit(object, at, clock)?, false),
        };
        let now = self.now(clock);
        let object = self.objects.get_mut(number)?;
        let (was_lost, deadline) = (object.contact.lost(), object.contact.deadline());
        let before = known.then(|| object.contact.last());
        object.contact.arrive(at, &mut self.silence);
        self.silence.iter_mut().for_each(|told| told.by = Some(brought.1.place()));
        object.hear(at, brought, before, now, &mut self.told);
        if (was_lost && !object.contact.lost()) || object.contact.deadline() < deadline {
            self.deadlines.insert(object.contact.deadline(), number);
        }
        if !self.told.is_empty() || !self.silence.is_empty() {
            self.flush(number, out);
        }
        Some(number)
    }

    /// Begins the state of an object of a registered facility.
    fn admit(&mut self, object: &Rc<Object>, at: Millis, clock: Millis) -> Option<u32> {
        let device = &object.device;
        let facility = self.facilities.get_mut(&object.facility)?;
        let profile = Arc::clone(&facility.profile);
        let contact =
            Contact::new(at, Patience::of(&profile, device), communication::level(&profile, device));
        let state = ObjectState::new(Rc::clone(object), contact);
        let number = self.objects.insert(Rc::clone(object), state);
        facility.objects.insert(device.clone(), number);
        self.watch(number, &profile, false, clock);
        Some(number)
    }

    /// Ends what heating has stopped under by plan.
    fn pause(&mut self, clock: Millis, out: &mut Vec<AlarmTransition>) {
        for number in 0..self.objects.end() {
            if self.objects.get(number).is_some_and(|object| object.pauses(clock)) {
                if let Some(object) = self.objects.get_mut(number) {
                    object.pause(clock, &mut self.told);
                }
                self.flush(number, out);
            }
        }
    }

    fn expire(&mut self, clock: Millis, out: &mut Vec<AlarmTransition>) {
        while let Some(number) = self.deadlines.due(clock) {
            let Some(contact) = self.objects.get(number).map(|object| &object.contact) else { continue };
            if clock <= contact.deadline() && !contact.lost() {
                self.deadlines.insert(contact.deadline(), number);
                continue;
            }
            let Some(object) = self.objects.get_mut(number) else { continue };
            object.contact.expire(clock, &mut self.silence);
            if !object.contact.lost() {
                self.deadlines.insert(object.contact.deadline(), number);
            }
            self.flush(number, out);
        }
    }

    /// Turns what is to be told of an object into transitions.
    fn flush(&mut self, number: u32, out: &mut Vec<AlarmTransition>) {
        let Some(object) = self.objects.get(number) else { return };
        let profile = self.facilities.get(&object.object.facility).map(|facility| facility.profile.as_ref());
        out.extend(self.told.drain(..).map(|told| object.describe(profile, &told)));
        out.extend(self.silence.drain(..).map(|told| object.describe_contact(profile, &told)));
    }
}

/// Puts rules, kinds, limit and level of a profile in force for an object; answers whether they judge it otherwise than
/// those before.
fn enforce(
    object: &mut ObjectState,
    (rules, kinds): (&RuleList, KindsOfObject),
    profile: &Profile,
    now: Reach,
    told: &mut Vec<SeriesEmission>,
    silence: &mut Vec<Emission>,
) -> bool {
    let device = object.object.device.clone();
    object.watch(rules, kinds, now.clock, told);
    let judged_anew = object.dirty;
    if judged_anew {
        object.revise(now, told);
    }
    let level = communication::level(profile, &device);
    object.contact.change(Patience::of(profile, &device), level, now.clock, silence);
    judged_anew || !told.is_empty() || !silence.is_empty()
}
