//! Facts per facility, scope, hour and day, kept exact while readings arrive late or are corrected.
//!
//! Enters: checked epochs. Leaves: per epoch the windows of each facility before and after, what that changes in every
//! scope above, and hours that are settled enough for models.
//! Guarantees: the facts of an open window are a function of the usable readings and the registry, in whatever order
//! they came (the counts of revisions and repetitions excepted: they tell how it came about). A window that ended more
//! than the lateness ago is closed: it is forgotten, and what comes later for it is counted as too late.
//!
//! Work is split over files: [`points`] keep recent values, `segment` says what lies between two of them, `object` and
//! `site` hold what is known of an object and a facility, `derive` adds facts that follow from others.

pub mod calendar;
mod derive;
pub mod facts;
mod object;
mod packing;
pub mod points;
mod quantity;
mod segment;
mod site;
mod tally;

use std::cell::Cell;

use differential_dataflow::difference::IsZero;
use rustc_hash::FxHashMap;
use schemas::{Code, Epoch, Millis, Period, Scope, ScopeKind, time::HOUR};
use smallvec::SmallVec;

pub use self::{
    calendar::{Calendar, Horizon},
    facts::{Component, Facts, Mask},
    points::{Around, Point, Points},
    quantity::{Quantities, Quantity, Role},
};
use self::{
    object::Now,
    site::{ScopeIds, Site, Touched},
    tally::Tally,
};
use crate::{CheckedEpoch, Profile, ProfileChange, Stage};

/// A window of one facility that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Windowed {
    /// The facility.
    pub scope: Scope,
    /// Hour or day.
    pub period: Period,
    /// Start of the window.
    pub window_start: Millis,
    /// The facts before this epoch; empty when there were none.
    pub before: Facts,
    /// The facts now.
    pub after: Facts,
}

/// An hour of a station or source in which little will change any more.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedHour {
    /// The facility.
    pub facility: Code,
    /// Start of the hour.
    pub hour: Millis,
    /// Its facts.
    pub facts: Facts,
}

/// What an epoch changes in the windows.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowedEpoch {
    /// Number of the epoch.
    pub epoch: Epoch,
    /// The clock of the epoch.
    pub clock: Millis,
    /// What is closed: windows before it are retracted from the scopes, which is no change of any KPI.
    pub horizon: Horizon,
    /// Facilities' windows that changed, sorted by (facility, period, start).
    pub facility: Vec<Windowed>,
    /// What that adds to the scopes above, sorted, one entry per key.
    pub contributions: Vec<((Scope, Period, Millis), Facts)>,
    /// Settled hours, sorted by (facility, hour).
    pub hours: Vec<ClosedHour>,
    /// Readings whose window was closed already.
    pub too_late: u64,
    /// Readings of facilities that are not registered; validation lets none through.
    pub unregistered: u64,
}

type RollUp = FxHashMap<(u32, Period, Millis), Facts>;

/// The windows of the facilities of one worker.
pub struct Window {
    calendar: Calendar,
    quantities: Quantities,
    index: FxHashMap<Code, u32>,
    sites: Vec<Option<Site>>,
    free: Vec<u32>,
    scopes: Vec<Scope>,
    scope_ids: FxHashMap<Scope, u32>,
    /// The clock of the epoch before; `None` before the first.
    clock: Option<Millis>,
    horizon: Horizon,
    tally: Tally,
    touched: Vec<Touched>,
    roll_up: RollUp,
    /// Registry changes counted in scopes that a facility has left; they leave with their window.
    left: Vec<(u32, Period, Millis)>,
    last_day: Cell<(Millis, Millis)>,
}

impl Window {
    /// Windows by this calendar.
    #[must_use]
    pub fn new(calendar: Calendar) -> Window {
        Window {
            calendar,
            quantities: Quantities::builtin(),
            index: FxHashMap::default(),
            sites: Vec::new(),
            free: Vec::new(),
            scopes: Vec::new(),
            scope_ids: FxHashMap::default(),
            clock: None,
            horizon: Horizon::NOTHING_CLOSED,
            tally: Tally::default(),
            touched: Vec::new(),
            roll_up: RollUp::default(),
            left: Vec::new(),
            last_day: Cell::new((0, 0)),
        }
    }

    /// Bytes on the heap for facilities and their series, and the number of series, for memory figures.
    #[must_use]
    pub fn footprint(&self) -> (usize, usize) {
        let sites = self.sites.iter().flatten();
        let series = sites.clone().flat_map(|site| &site.objects).map(object::Object::series_count).sum();
        (
            sites.map(Site::heap_bytes).sum::<usize>() + self.sites.capacity() * size_of::<Option<Site>>(),
            series,
        )
    }

    /// Retracts and forgets what is closed. Decided by the clock of the epoch before, so that everything which one
    /// epoch says about a window leaves before the window does.
    fn close(&mut self) {
        let horizon = self.clock.map_or(Horizon::NOTHING_CLOSED, |clock| self.calendar.horizon(clock));
        if horizon == self.horizon {
            return;
        }
        self.horizon = horizon;
        for site in self.sites.iter_mut().flatten() {
            let (roll_up, scopes, mask) = (&mut self.roll_up, &site.scopes, site.rolls_up);
            let mut retract =
                |period, start, facts: &Facts| contribute(roll_up, scopes, mask, (period, start), facts, -1);
            site.hours.retain(|hour| {
                let open = hour.start >= horizon.hour;
                if !open {
                    retract(Period::Hour, hour.start, &hour.facts);
                }
                open
            });
            site.days.retain(|day| {
                let open = day.start >= horizon.day;
                if !open {
                    retract(Period::Day, day.start, &day.facts);
                }
                open
            });
            site.objects.iter_mut().for_each(|object| object.forget(horizon.hour));
        }
        let roll_up = &mut self.roll_up;
        self.left.retain(|(scope, period, start)| {
            let open = !horizon.is_closed(*period, *start);
            if !open {
                roll_up.entry((*scope, *period, *start)).or_default().add(Component::RegistryChanges, -1);
            }
            open
        });
    }

    /// Applies a registry change.
    fn register(&mut self, change: &ProfileChange, clock: Millis) {
        let now = now(&self.quantities, Role::Network, self.horizon, self.clock);
        match (&change.profile, self.index.get(&change.facility).copied()) {
            (Some(profile), Some(number)) => {
                let scopes = intern(&mut self.scopes, &mut self.scope_ids, profile);
                if let Some(site) = &mut self.sites[number as usize] {
                    site.revise((profile.clone(), scopes), Calendar::hour(clock), &now, &mut self.tally);
                    site.gone = false;
                    site.take(&mut self.tally, number, &now, &mut self.touched);
                }
            }
            (Some(profile), None) => {
                let scopes = intern(&mut self.scopes, &mut self.scope_ids, profile);
                let site = Some(Site::new(profile.clone(), scopes, Calendar::hour(clock)));
                let number = self.free.pop().unwrap_or(self.sites.len() as u32);
                match self.sites.get_mut(number as usize) {
                    Some(place) => *place = site,
                    None => self.sites.push(site),
                }
                self.index.insert(change.facility.clone(), number);
            }
            (None, Some(number)) => {
                if let Some(site) = &mut self.sites[number as usize] {
                    site.note_registry_change(Calendar::hour(clock), &mut self.tally);
                    site.leave(ScopeIds::new(), site.rolls_up);
                    site.gone = true;
                    site.take(&mut self.tally, number, &now, &mut self.touched);
                }
            }
            (None, None) => {}
        }
    }

    /// Takes the reports and repetitions of an epoch in; returns how many readings were too late and unregistered.
    fn receive(&mut self, epoch: &CheckedEpoch) -> (u64, u64) {
        let (mut too_late, mut unregistered) = (0, 0);
        for report in &epoch.reports {
            let site = self.index.get(&report.object.facility).copied();
            let Some((number, site)) = site.and_then(|n| Some((n, self.sites[n as usize].as_mut()?))) else {
                unregistered += report.readings.len() as u64;
                continue;
            };
            if report.observed_at < self.horizon.hour {
                too_late += report.readings.len() as u64;
                continue;
            }
            let now = now(&self.quantities, site.means.role, self.horizon, self.clock);
            site.object(&report.object.device).receive(report, &now, &mut self.tally);
            site.take(&mut self.tally, number, &now, &mut self.touched);
        }
        for repeated in &epoch.repeated {
            let site = self.index.get(&repeated.object.facility).copied();
            let Some((number, site)) = site.and_then(|n| Some((n, self.sites[n as usize].as_mut()?))) else {
                continue;
            };
            if repeated.observed_at >= self.horizon.hour {
                let hour = Calendar::hour(repeated.observed_at);
                self.tally.add(hour, Component::Duplicates, i64::from(repeated.readings));
                let now = now(&self.quantities, site.means.role, self.horizon, self.clock);
                site.take(&mut self.tally, number, &now, &mut self.touched);
            }
        }
        (too_late, unregistered)
    }

    /// Completes the hours that ended with this clock: the silent count as missing.
    fn end_hours(&mut self, clock: Millis) {
        let (open, last) = (self.calendar.horizon(clock).hour, Calendar::hour(clock));
        let first = self.clock.map_or(open, |before| Calendar::hour(before).max(open));
        if self.clock.is_some_and(|before| Calendar::hour(before) == last) {
            return;
        }
        let ended: Vec<Millis> = (0..).map(|n| first + n * HOUR).take_while(|hour| *hour < last).collect();
        for (number, site) in self.sites.iter_mut().enumerate() {
            let Some(site) = site.as_mut().filter(|site| !site.gone) else { continue };
            let now = now(&self.quantities, site.means.role, self.horizon, self.clock);
            site.end_hours(&ended, clock, &now, &mut self.tally);
            site.take(&mut self.tally, number as u32, &now, &mut self.touched);
        }
    }

    /// Derives what follows from this epoch's changes, hour by hour and then day by day, and tells them.
    fn tell(&mut self) -> Vec<Windowed> {
        let mut told = Vec::new();
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable_by_key(|touched| (touched.site, touched.hour));
        for hours in touched.chunk_by_mut(|a, b| a.site == b.site) {
            if let Some(site) = self.sites[hours[0].site as usize].take() {
                let site = self.tell_site(site, hours, &mut told);
                self.sites[hours[0].site as usize] = site;
            }
        }
        touched.clear();
        self.touched = touched;
        told.sort_unstable_by(|a, b| {
            (&a.scope.code, a.period, a.window_start).cmp(&(&b.scope.code, b.period, b.window_start))
        });
        told
    }

    /// The same for one facility. It is given back unless it is gone.
    fn tell_site(&mut self, mut site: Site, hours: &mut [Touched], told: &mut Vec<Windowed>) -> Option<Site> {
        let mut days = SmallVec::<[(usize, Facts); 2]>::new();
        let moved = site.moved_from.take();
        if moved.is_some() {
            days.extend(site.days.iter().enumerate().map(|(place, day)| (place, day.facts.clone())));
        }
        for touched in hours.iter_mut() {
            site.derive(touched.hour);
            let Some(hour) = site.hour(touched.hour) else { continue };
            hour.touched = false;
            let (before, after) = (std::mem::take(&mut touched.before), hour.facts.clone());
            let bounds = self.day_of(touched.hour);
            if bounds.0 >= self.horizon.day {
                let known = site.days.iter().any(|day| day.start == bounds.0);
                let place = site.day(bounds.0);
                if !known {
                    days.iter_mut().filter(|(at, _)| *at >= place).for_each(|(at, _)| *at += 1);
                }
                if days.iter().all(|(at, _)| *at != place) {
                    days.push((place, site.days[place].facts.clone()));
                }
                let day_over = self.clock.is_some_and(|clock| bounds.1 <= clock);
                let last_hour = touched.hour + HOUR >= bounds.1;
                let sums = if day_over || last_hour { derive::SUMS } else { derive::SUMS_OF_OPEN };
                site.days[place].facts.add_all(&after.minus(&before).only(sums), 1);
            }
            self.spread(&site, moved.as_deref(), (Period::Hour, touched.hour), &before, &after);
            tell_facility(told, &site, (Period::Hour, touched.hour), before, after);
        }
        for (place, before) in days {
            let means = site.means;
            let day = &mut site.days[place];
            derive::derive_static(&mut day.facts, &means);
            let (start, after) = (day.start, day.facts.clone());
            self.spread(&site, moved.as_deref(), (Period::Day, start), &before, &after);
            tell_facility(told, &site, (Period::Day, start), before, after);
        }
        if site.gone {
            self.index.remove(&site.code);
            self.free.push(hours[0].site);
            return None;
        }
        Some(site)
    }

    /// Adds a change of a facility's window to the scopes above it, and moves it where the facility moved.
    fn spread(
        &mut self,
        site: &Site,
        moved: Option<&(ScopeIds, Mask)>,
        window: (Period, Millis),
        before: &Facts,
        after: &Facts,
    ) {
        let Some((old, mask)) = moved else {
            contribute(&mut self.roll_up, &site.scopes, site.rolls_up, window, &after.minus(before), 1);
            return;
        };
        contribute(&mut self.roll_up, old, *mask, window, before, -1);
        contribute(&mut self.roll_up, &site.scopes, site.rolls_up, window, after, 1);
        for scope in old.iter().filter(|scope| !site.scopes.contains(scope)) {
            self.left.push((*scope, window.0, window.1));
            self.roll_up.entry((*scope, window.0, window.1)).or_default().add(Component::RegistryChanges, 1);
        }
    }

    fn day_of(&self, hour: Millis) -> (Millis, Millis) {
        let (start, end) = self.last_day.get();
        if !(start..end).contains(&hour) {
            self.last_day.set(self.calendar.day(hour));
        }
        self.last_day.get()
    }

    /// The hours of stations and sources that have settled.
    fn settled(&mut self, clock: Millis) -> Vec<ClosedHour> {
        let due = |hour: Millis| self.calendar.settled(hour) <= clock;
        if self
            .clock
            .is_some_and(|before| due_count(&self.calendar, before) == due_count(&self.calendar, clock))
        {
            return Vec::new();
        }
        let mut settled = Vec::new();
        for site in self.sites.iter_mut().flatten() {
            if !matches!(site.means.role, Role::Station | Role::Source) {
                continue;
            }
            for hour in site.hours.iter_mut().filter(|hour| !hour.settled && due(hour.start)) {
                hour.settled = true;
                let (facility, facts) = (site.code.clone(), hour.facts.clone());
                settled.push(ClosedHour { facility, hour: hour.start, facts });
            }
        }
        settled.sort_unstable_by(|a, b| (&a.facility, a.hour).cmp(&(&b.facility, b.hour)));
        settled
    }

    fn take_roll_up(&mut self) -> Vec<((Scope, Period, Millis), Facts)> {
        let roll_up = std::mem::take(&mut self.roll_up);
        let mut contributions: Vec<_> = roll_up
            .into_iter()
            .filter(|(_, facts)| !facts.is_zero())
            .map(|((scope, period, start), facts)| {
                ((self.scopes[scope as usize].clone(), period, start), facts)
            })
            .collect();
        contributions.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        contributions
    }
}

impl Stage for Window {
    type Input = CheckedEpoch;
    type Output = WindowedEpoch;
    const NAME: &'static str = "window";

    fn apply(&mut self, epoch: &CheckedEpoch) -> WindowedEpoch {
        let clock = self.clock.map_or(epoch.clock, |before| before.max(epoch.clock));
        self.close();
        for change in &epoch.profiles {
            self.register(change, clock);
        }
        let (too_late, unregistered) = self.receive(epoch);
        self.end_hours(clock);
        let facility = self.tell();
        let hours = self.settled(clock);
        self.clock = Some(clock);
        let contributions = self.take_roll_up();
        let (epoch, horizon) = (epoch.epoch, self.horizon);
        WindowedEpoch { epoch, clock, horizon, facility, contributions, hours, too_late, unregistered }
    }

    fn entries(&self) -> usize {
        self.sites.iter().flatten().flat_map(|site| &site.objects).map(object::Object::series_count).sum()
    }
}

/// Counts the hours that have settled by a time, up to a constant.
fn due_count(calendar: &Calendar, clock: Millis) -> Millis {
    Calendar::hour(clock.saturating_sub(calendar.settled(0)))
}

fn now(quantities: &Quantities, role: Role, horizon: Horizon, clock: Option<Millis>) -> Now<'_> {
    Now { quantities, role, floor: horizon.hour, clock: clock.unwrap_or(Millis::MIN) }
}

fn tell_facility(
    told: &mut Vec<Windowed>,
    site: &Site,
    window: (Period, Millis),
    before: Facts,
    after: Facts,
) {
    if before != after {
        let scope = Scope { kind: ScopeKind::Facility, code: site.code.clone() };
        told.push(Windowed { scope, period: window.0, window_start: window.1, before, after });
    }
}

fn contribute(
    roll_up: &mut RollUp,
    scopes: &[u32],
    mask: Mask,
    (period, start): (Period, Millis),
    facts: &Facts,
    sign: i64,
) {
    let facts = facts.only(mask);
    if !facts.is_zero() {
        for scope in scopes {
            roll_up.entry((*scope, period, start)).or_default().add_all(&facts, sign);
        }
    }
}

/// The numbers of a profile's scopes, new ones added. A scope once named keeps its number: there are few.
fn intern(scopes: &mut Vec<Scope>, ids: &mut FxHashMap<Scope, u32>, profile: &Profile) -> ScopeIds {
    let number = |scope: &Scope| {
        *ids.entry(scope.clone()).or_insert_with(|| {
            scopes.push(scope.clone());
            scopes.len() as u32 - 1
        })
    };
    profile.scopes.iter().map(number).collect()
}

#[cfg(test)]
mod tests;
