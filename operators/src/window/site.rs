//! One facility: its objects and its open windows.

use std::{ops::Range, sync::Arc};

use schemas::{Code, FacilityKind, Millis, season::Season, time::HOUR};
use serde::Serialize;
use smallvec::SmallVec;

use super::{
    derive::{self, Beside, FacilityTraits},
    facts::{Component, Facts},
    heat,
    ladder::{self, Longer},
    mask::Mask,
    object::Object,
    open::{Day, Hour, RestoredSite, Touched, Touches},
    quantity::Role,
    segment::Undated,
    tally::Tally,
    traits::{ObjectTraits, RoomLimits, WindowContext},
};
use crate::{CheckedReport, Profile, reason::Reason};

/// Numbers of scopes, in the order of the profile's.
pub(super) type ScopeIds = SmallVec<[u32; 6]>;

/// The state of one facility. It leaves when the facility is no longer registered. Written as [`RestoredSite`].
#[derive(Debug, Serialize)]
pub(super) struct Site {
    #[serde(skip)]
    pub(super) code: Code,
    #[serde(skip)]
    pub(super) profile: Arc<Profile>,
    #[serde(skip)]
    pub(super) scopes: ScopeIds,
    #[serde(skip)]
    pub(super) rolls_up: Mask,
    #[serde(skip)]
    pub(super) traits: FacilityTraits,
    /// What its rooms are measured against where the registry does not say.
    #[serde(skip)]
    pub(super) rooms: RoomLimits,
    /// Sorted by code; the facility itself has the empty one.
    pub(super) objects: Vec<Object>,
    /// Hours before this one are sealed, as far as there are any.
    pub(super) hot_from: Millis,
    /// Sorted by start.
    pub(super) hours: Vec<Hour>,
    /// Sorted by start.
    pub(super) days: Vec<Day>,
    /// The first hour in which it is known to measure an outdoor temperature.
    outdoor_since: Millis,
    /// Where there are longer windows than days.
    pub(super) longer: Option<Box<Longer>>,
    /// Its heating season, where longer windows ask for it.
    #[serde(skip)]
    pub(super) season: Option<Season>,
    /// What came in this epoch for days and none of their hours.
    #[serde(skip)]
    pub(super) booked: Vec<Undated>,
    /// Where it rolled up before this epoch, when that changed in it.
    #[serde(skip)]
    pub(super) moved_from: Option<Box<(ScopeIds, Mask)>>,
    #[serde(skip)]
    pub(super) gone: bool,
}

/// What registry and configuration say of a facility.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) profile: Arc<Profile>,
    /// Where it rolls up.
    pub(super) scopes: ScopeIds,
    /// What its rooms are measured against where the registry does not say.
    pub(super) rooms: RoomLimits,
    /// Its heating season, where longer windows ask for it.
    pub(super) season: Option<Season>,
}

impl Site {
    /// A facility as the registry describes it, of which nothing is known and nothing expected.
    pub(super) fn new(Registered { profile, scopes, rooms, season }: Registered) -> Site {
        let traits = traits(&profile, rooms);
        Site {
            code: profile.facility.code.clone(),
            rolls_up: traits.role.rolls_up(),
            traits,
            rooms,
            profile,
            scopes,
            objects: Vec::new(),
            hot_from: Millis::MIN,
            hours: Vec::new(),
            days: Vec::new(),
            outdoor_since: Millis::MAX,
            longer: None,
            season,
            booked: Vec::new(),
            moved_from: None,
            gone: false,
        }
    }

    /// Takes the state over that was saved under the same profile; hours before `first` are not in the scopes.
    pub(super) fn restore(&mut self, restored: RestoredSite, first: Millis) {
        (self.objects, self.hours, self.days) = (restored.objects, restored.hours, restored.days);
        (self.outdoor_since, self.hot_from) = (restored.outdoor_since, restored.hot_from.min(first));
        self.longer = restored.longer;
        for object in &mut self.objects {
            object.resume(ObjectTraits::of(&self.profile, &object.code, self.rooms));
        }
    }

    /// The object with this device code, which is made when it was not known; not expected before its first report.
    pub(super) fn object(&mut self, device: &str) -> &mut Object {
        let place = match self.objects.binary_search_by(|object| object.code.as_str().cmp(device)) {
            Ok(place) => place,
            Err(place) => {
                let traits = ObjectTraits::of(&self.profile, device, self.rooms);
                let object = Object::new(Code::from(device), traits, Millis::MAX);
                self.objects.reserve_exact(1);
                self.objects.insert(place, object);
                place
            }
        };
        &mut self.objects[place]
    }

    /// Objects whose interval stands in the registry are expected even when they were never heard: devices with an
    /// interval of their own, and the facility itself when it has one and none of its devices has.
    pub(super) fn expect_registered(&mut self, first_hour: Millis) {
        let has = |attributes| schemas::registry::attribute::number(attributes, "interval").is_some();
        let profile = Arc::clone(&self.profile);
        let mut devices = profile.devices.iter().filter(|(_, device)| has(&device.attributes)).peekable();
        if devices.peek().is_none() && has(&profile.facility.attributes) {
            let object = self.object("");
            object.first_hour = object.first_hour.min(first_hour);
        }
        for (code, _) in devices {
            let object = self.object(code);
            object.first_hour = object.first_hour.min(first_hour);
        }
    }

    /// From when on what is known of the facility is needed to take a report in.
    pub(super) fn reach(&self, report: CheckedReport<'_>, now: &WindowContext<'_>) -> Millis {
        let device = report.object.device.as_str();
        let object = self.objects.binary_search_by(|object| object.code.as_str().cmp(device));
        object.map_or(report.observed_at, |place| self.objects[place].reach(report, now))
    }

    /// Whether what registry and configuration say changes any of its windows.
    pub(super) fn is_changed_by(&self, Registered { profile, scopes, rooms, .. }: &Registered) -> bool {
        *scopes != self.scopes
            || traits(profile, *rooms) != self.traits
            || !self.objects_stay(profile, *rooms)
    }

    /// Whether its objects are described as before.
    fn objects_stay(&self, profile: &Profile, rooms: RoomLimits) -> bool {
        self.objects.iter().all(|object| ObjectTraits::of(profile, &object.code, rooms) == object.traits)
    }

    /// Moves what depends on a changed profile or on other room temperatures, before they are taken over; `change` is the
    /// hour that the clock stands in, and why.
    pub(super) fn revise(
        &mut self,
        Registered { profile, scopes, rooms, .. }: &Registered,
        change: (Millis, Reason),
        now: &WindowContext<'_>,
        tally: &mut Tally,
    ) {
        let hours: SmallVec<[Millis; 16]> = self.hours.iter().map(|hour| hour.start).collect();
        let traits = traits(profile, *rooms);
        if traits.role != self.traits.role || !self.objects_stay(profile, *rooms) {
            self.objects.iter().for_each(|object| object.restate(-1, now, &hours, tally));
            for object in &mut self.objects {
                object.traits = ObjectTraits::of(profile, &object.code, *rooms);
                if traits.role != self.traits.role {
                    object.drop_series();
                }
            }
            self.objects.iter().for_each(|object| object.restate(1, now, &hours, tally));
        }
        self.note_registry_change(change, now.floor, tally);
        if traits.role != self.traits.role {
            self.outdoor_since = Millis::MAX;
        }
        if *scopes != self.scopes || traits.role != self.traits.role {
            self.leave(scopes.clone(), traits.role.rolls_up());
        }
    }

    /// Takes over what registry and configuration say, in the hour in which the clock stands.
    pub(super) fn adopt(&mut self, Registered { profile, rooms, season, .. }: Registered, hour: Millis) {
        let traits = traits(&profile, rooms);
        (self.profile, self.traits, self.rooms, self.season) = (profile, traits, rooms, season);
        self.expect_registered(hour);
    }

    /// Says of every hour from `floor` on that the registry changed; of the hour of the clock when there is none, so that
    /// days move too.
    pub(super) fn note_registry_change(
        &self,
        (hour, reason): (Millis, Reason),
        floor: Millis,
        tally: &mut Tally,
    ) {
        let mut hours = self.hours.iter().map(|hour| hour.start).filter(|hour| *hour >= floor).peekable();
        if hours.peek().is_none() {
            tally.because(hour, reason);
        }
        hours.for_each(|hour| tally.because(hour, reason));
    }

    /// Rolls up elsewhere from now on.
    pub(super) fn leave(&mut self, scopes: ScopeIds, rolls_up: Mask) {
        let old =
            (std::mem::replace(&mut self.scopes, scopes), std::mem::replace(&mut self.rolls_up, rolls_up));
        self.moved_from.get_or_insert_with(|| Box::new(old));
    }

    /// Adds what was gathered to the windows, opening them where needed.
    ///
    /// Where power was measured while a heat counter said nothing, its heat has been told and stands.
    pub(super) fn take(
        &mut self,
        tally: &mut Tally,
        site: u32,
        now: &WindowContext<'_>,
        touched: &mut Touches,
    ) {
        for undated in tally.hand_over_undated() {
            let heat = undated.component == Component::HeatCounter;
            if !heat || !self.objects.iter().any(|object| object.powered(undated.span)) {
                self.booked.push(undated);
            }
        }
        tally.hand_over(|amounts| {
            let elapsed = if now.ended(amounts.hour) { HOUR } else { amounts.elapsed };
            let place = self.open(amounts.hour);
            let hour = &mut self.hours[place];
            hour.elapsed = hour.elapsed.max(elapsed as u32);
            if !hour.touched {
                hour.touched = true;
                touched.hours.push(Touched { site, hour: hour.start, before: hour.facts.clone() });
            }
            touched.because(site, hour.start, amounts.reason);
            for (component, amount) in amounts.drain() {
                hour.facts.add(component, amount);
            }
        });
    }

    /// The clock has come to `clock`: completes the hours that ended since, at most those that `open` still holds open
    /// and those that have data. `ended` are the hours that ended since, in order.
    pub(super) fn end_hours(
        &self,
        ended: &[Millis],
        clock: Millis,
        now: &WindowContext<'_>,
        tally: &mut Tally,
    ) {
        let mut close = |objects: &[Object], hour: Millis| {
            objects.iter().for_each(|object| object.close_hour(hour, tally));
            tally.saw(hour, hour + HOUR);
            tally.because(hour, Reason::CLOSED);
        };
        let oldest = ended.first().copied().unwrap_or(Millis::MAX);
        for hour in &self.hours {
            if !now.ended(hour.start) && hour.start + HOUR <= clock && hour.start < oldest {
                close(&self.objects, hour.start);
            }
        }
        let first = self.objects.iter().map(|object| object.first_hour).min().unwrap_or(Millis::MAX);
        for hour in ended {
            if *hour >= first {
                close(&self.objects, *hour);
            }
        }
    }

    /// It measures an outdoor temperature in this hour, and so from then on.
    pub(super) fn measure_outdoor_from(&mut self, hour: Millis, tally: &mut Tally) {
        let since = hour..self.outdoor_since;
        if since.is_empty() {
            return;
        }
        self.outdoor_since = hour;
        self.hours.iter().filter(|hour| since.contains(&hour.start)).for_each(|hour| tally.touch(hour.start));
    }

    /// Other metrics are expected in these hours than before.
    pub(super) fn expect_otherwise(&self, hours: &Range<Millis>, tally: &mut Tally) {
        let ended = self.hours.iter().filter(|hour| hour.over() && hours.contains(&hour.start));
        ended.for_each(|hour| tally.touch(hour.start));
    }

    /// Whether models wait for some of these hours.
    pub(super) fn is_awaited(&self, hours: impl Fn(Millis) -> bool) -> bool {
        matches!(self.traits.role, Role::Station | Role::Source)
            && self.hours.iter().any(|hour| !hour.settled && hours(hour.start))
    }

    /// Its longer windows.
    pub(super) fn longer(&self) -> impl Iterator<Item = &ladder::Window> {
        self.longer.iter().flat_map(|longer| longer.iter())
    }

    /// Its longer windows, to be changed.
    pub(super) fn longer_mut(&mut self) -> &mut Longer {
        self.longer.get_or_insert_default()
    }

    /// The open hour that starts then; it is opened when it is not.
    fn open(&mut self, start: Millis) -> usize {
        let place = self.hours.iter().rposition(|hour| hour.start <= start);
        if let Some(place) = place.filter(|place| self.hours[*place].start == start) {
            return place;
        }
        let place = place.map_or(0, |place| place + 1);
        self.hours.reserve_exact(1);
        self.hours.insert(place, Hour { start, ..Hour::default() });
        place
    }

    /// The open hour that starts then.
    pub(super) fn hour(&mut self, start: Millis) -> Option<&mut Hour> {
        self.hours.iter_mut().rev().find(|hour| hour.start == start)
    }

    /// The day that starts then; it is opened when it is not.
    pub(super) fn day(&mut self, start: Millis) -> usize {
        match self.days.binary_search_by_key(&start, |day| day.start) {
            Ok(place) => place,
            Err(place) => {
                self.days.reserve_exact(1);
                self.days.insert(place, Day { start, facts: Facts::new() });
                place
            }
        }
    }

    /// Derives the facts of an hour after a change, and its set point. Answers whether that changed.
    pub(super) fn derive(&mut self, start: Millis) -> bool {
        let (traits, outdoor) = (self.traits, start >= self.outdoor_since);
        let setpoint = self.objects.iter().find_map(|object| object.setpoint(start)).unwrap_or(0);
        let Some(hour) = self.hours.iter_mut().rev().find(|hour| hour.start == start) else { return false };
        let changed = std::mem::replace(&mut hour.setpoint, setpoint) != setpoint;
        let elapsed = Millis::from(hour.elapsed);
        let heat = heat::heat(&hour.facts, &self.objects, start, elapsed);
        // While an hour goes on, what it lacks may still come.
        let missing =
            if hour.over() { self.objects.iter().map(|o| o.missing_readings(start)).sum() } else { 0 };
        derive::derive_hour(&mut hour.facts, &traits, Beside { elapsed, heat, outdoor, missing });
        changed
    }

    /// How many series it holds, reports among them.
    pub(super) fn entries(&self) -> usize {
        self.objects.iter().map(Object::series_count).sum()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let objects: usize = self.objects.iter().map(Object::heap_bytes).sum();
        let hours: usize = self.hours.iter().map(|hour| hour.facts.heap_bytes()).sum();
        let days: usize = self.days.iter().map(|day| day.facts.heap_bytes()).sum();
        objects
            + hours
            + days
            + self.longer.as_ref().map_or(0, |longer| size_of::<Longer>() + longer.heap_bytes())
            + self.objects.capacity() * size_of::<Object>()
            + self.hours.capacity() * size_of::<Hour>()
            + self.days.capacity() * size_of::<Day>()
    }
}

fn traits(profile: &Profile, rooms: RoomLimits) -> FacilityTraits {
    let area =
        profile.facility.heated_area.filter(|area| area.is_finite() && *area > 0.0).unwrap_or_else(|| {
            let below = profile.area_below;
            if profile.facility.kind == FacilityKind::WeatherStation || !below.is_finite() {
                0.0
            } else {
                below.max(0.0)
            }
        });
    FacilityTraits {
        role: Role::of(profile.facility.kind),
        area: (area * 100.0).round() as i64,
        standard: (ObjectTraits::of(profile, "", rooms).rooms.standard * 1e3).round() as i64,
    }
}
