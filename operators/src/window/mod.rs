//! Facts per facility, scope, hour and day, kept exact while readings arrive late or are corrected.
//!
//! Enters: checked epochs. Leaves: per epoch the windows of each facility before and after, what that changes in every
//! scope above, and hours that are settled enough for models.
//! Guarantees: the facts of an open window are a function of the usable readings and the registry, in whatever order
//! they came (the count of repetitions excepted: it tells how it came about). An hour that ended more than the lateness
//! ago is closed for the scopes above, a day that ended more than the lateness of days ago is closed at all. What comes
//! late for an hour of an open day changes that hour of its facility, and the day everywhere: hours that are closed for
//! the scopes are sealed ([`sealed`]), and thawed when they are needed. What comes for a closed day is counted as too late.
//! The increment of a counter is never lost: what of it is dated to no hour belongs to the day in which it ends
//! ([`segment::Undated`]), so that the days of a month or a season together are what the meter counted.
//!
//! Work is split over files: [`points`] keep recent values, `segment` says what lies between two of them, `object` and
//! `site` hold what is known of an object and a facility, `derive` and `heat` add facts that follow from others, [`ladder`]
//! makes longer windows of days, `tell` says what changed, `scope_totals` gathers what that changes in the scopes, `saved`
//! lets the windows outlive the process.

pub mod calendar;
mod closing;
mod derive;
pub mod facts;
mod former;
mod heat;
pub mod ladder;
mod late;
mod mask;
mod object;
mod open;
mod packing;
pub mod points;
mod quantity;
mod reported;
mod saved;
mod scope_totals;
mod sealed;
mod segment;
mod site;
mod sums;
mod tally;
mod tell;
mod traits;
mod written;

use std::{cell::Cell, rc::Rc, sync::Arc};

use schemas::{
    Code, Epoch, Millis, Period, RecordPlace, Scope,
    time::{DAY, HOUR},
};

pub use self::{
    calendar::{Calendar, Horizon},
    facts::{Component, Facts},
    late::TooLate,
    mask::Mask,
    points::{Around, Point, Points},
    quantity::{Quantities, Quantity, Role},
};
use self::{
    open::{RestoredSite, Touches},
    saved::Time,
    scope_totals::ScopeTotals,
    site::{Registered, ScopeIds, Site},
    tally::Tally,
    traits::{RoomLimits, WindowContext},
};
use crate::{
    CheckedEpoch, CheckedReport, Profile, ProfileChange, Stage,
    cold::{ColdTier, MemoryTier},
    durable::{Durable, Keyed, shard},
    model,
    reason::Reason,
};

/// A window of one facility that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Windowed {
    /// The facility.
    pub scope: Scope,
    /// Its length.
    pub period: Period,
    /// Start of the window.
    pub window_start: Millis,
    /// The facts before this epoch; empty when there were none.
    pub before: Facts,
    /// The facts now.
    pub after: Facts,
    /// Why they changed.
    pub reason: Reason,
}

/// An hour of a station or source that has settled, or that changed since it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedHour {
    /// The facility.
    pub facility: Code,
    /// Start of the hour.
    pub hour: Millis,
    /// Its facts.
    pub facts: Facts,
    /// The last set point of its secondary supply temperature, °C.
    pub setpoint: Option<f64>,
    /// Why it changed in this epoch.
    pub reason: Reason,
}

/// What an epoch changes in the windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowedEpoch {
    /// Number of the epoch.
    pub epoch: Epoch,
    /// How far time has come: the clock of the epoch, or short of it after a jump.
    pub clock: Millis,
    /// What is closed: windows before it are retracted from the scopes, which is no change of any KPI.
    pub horizon: Horizon,
    /// Facilities' windows that changed, sorted by (facility, period, start).
    pub facility: Vec<Windowed>,
    /// What that adds to the scopes above, sorted, one entry per key.
    pub contributions: Vec<((Scope, Period, Millis), Facts)>,
    /// Why the scopes above change, where not because data came in its turn; sorted, one entry per key.
    pub reasons: Vec<((Scope, Period, Millis), Reason)>,
    /// The registry changes of the epoch, for the models.
    pub profiles: Vec<ProfileChange>,
    /// The last registry record of the epoch, where it has some.
    pub registry: Option<RecordPlace>,
    /// Hours that have settled, and those that changed since, sorted by (facility, hour).
    pub hours: Vec<ClosedHour>,
    /// What came too late.
    pub too_late: TooLate,
    /// Readings of facilities that are not registered; validation lets none through.
    pub unregistered: u64,
}

/// The windows of the facilities of one worker.
pub struct Window {
    calendar: Calendar,
    quantities: Quantities,
    /// Facts that models look at: an hour in which one of them changes is given again.
    modelled: Vec<Component>,
    sites: Keyed<Code, Site, RestoredSite>,
    /// Where facilities put what they seal.
    cold: Rc<dyn ColdTier>,
    /// The facility from which sealing goes on, while some may have something to seal.
    sealing: Option<u32>,
    /// How many are looked at in an epoch, at least.
    slice: u32,
    totals: ScopeTotals,
    /// How many series the sites hold: counted along, for going through all of them costs more than an epoch.
    series: usize,
    /// The clock of the epoch before; `None` before the first.
    clock: Option<Millis>,
    horizon: Horizon,
    tally: Tally,
    touched: Touches,
    /// Why what the registry changes in this epoch does.
    registry: Reason,
    /// Facilities with hours that changed in this epoch after they were given to the models.
    reopened: Vec<u32>,
    last_day: Cell<(Millis, Millis)>,
    /// What rooms are measured against.
    rooms: RoomLimits,
    /// What the sums were formed with: after a start, those of the checkpoint.
    rooms_of_sums: RoomLimits,
    /// Whether the state names its room temperatures.
    rooms_named: bool,
    /// To be saved for the checkpoint under way.
    common_to_save: Option<(Time, RoomLimits)>,
    /// Something was restored, and the next epoch is that of the checkpoint.
    resuming: bool,
}

impl Window {
    /// Windows by this calendar and the catalogue in force.
    #[must_use]
    pub fn new(calendar: Calendar) -> Window {
        Window::with_rooms(calendar, RoomLimits::in_force())
    }

    fn with_rooms(calendar: Calendar, rooms: RoomLimits) -> Window {
        Window {
            calendar,
            quantities: Quantities::in_force(),
            modelled: model::FACTS.concat(),
            sites: Keyed::new(|facility: &Code| shard(facility)),
            cold: MemoryTier::shared(),
            sealing: None,
            slice: sealed::SLICE,
            totals: ScopeTotals::new(),
            series: 0,
            clock: None,
            horizon: Horizon::NOTHING_CLOSED,
            tally: Tally::default(),
            touched: Touches::default(),
            registry: Reason::registry(None),
            reopened: Vec::new(),
            last_day: Cell::new((0, 0)),
            rooms,
            rooms_of_sums: rooms,
            rooms_named: false,
            common_to_save: None,
            resuming: false,
        }
    }

    /// The same with another place for what is sealed than memory.
    #[must_use]
    pub fn with_cold(self, cold: Rc<dyn ColdTier>) -> Window {
        Window { cold, ..self }
    }

    /// Bytes on the heap for facilities and their series, and the number of series, for memory figures.
    #[must_use]
    pub fn footprint(&self) -> (usize, usize) {
        let sites: usize = self.sites.iter().map(|(.., site)| site.heap_bytes()).sum();
        let series = self.sites.iter().map(|(.., site)| site.entries()).sum();
        (sites + self.sites.end() as usize * size_of::<Option<(Code, Site)>>(), series)
    }

    /// Retracts what is closed from the scopes, and forgets closed days. Decided by the clock of the epoch before, so that
    /// everything which one epoch says about a window leaves before the window does.
    fn close(&mut self, epoch: Epoch) {
        let horizon = self.clock.map_or(Horizon::NOTHING_CLOSED, |clock| self.calendar.horizon(clock));
        if horizon == self.horizon {
            return;
        }
        let before = std::mem::replace(&mut self.horizon, horizon);
        for number in 0..self.sites.end() {
            let Some(site) = self.sites.get(number).filter(|site| site.closes(before, horizon)) else {
                continue;
            };
            site.retract(before, horizon, &mut self.totals);
            if site.forgets(horizon)
                && let Some(site) = self.sites.get_mut(number)
            {
                site.forget(horizon);
            }
        }
        self.sealing = Some(0);
        if before.day != horizon.day {
            self.cold.forget(Self::STATE, epoch, horizon.first_hour());
        }
    }

    /// How far time comes with an epoch whose clock stands at `to`. It comes in steps, so that a jump says of every hour
    /// what many small steps say, and holds no more of them at once than memory has room for: 6 h or the lateness, and a
    /// part of what is left so that no backlog grows for ever, but never more than [`LONGEST_HASTE`]: an epoch must end soon
    /// wherever the clock stands, or a process cannot be stopped.
    fn advance(&self, to: Millis) -> Millis {
        match self.clock {
            Some(before) if before > 0 => {
                let left = to.saturating_sub(before).max(0);
                before + left.min(self.calendar.longest_step() + (left / 16).min(LONGEST_HASTE))
            }
            started => started.map_or(to, |before| before.max(to)),
        }
    }

    /// Applies a registry change.
    fn register(&mut self, change: &ProfileChange, clock: Millis) {
        let registered = change.profile.as_ref().map(|profile| self.registered(profile, self.rooms));
        let number = self.sites.number(&change.facility);
        let known = number.and_then(|number| Some((number, self.sites.get_mut(number)?)));
        let first_open = self.horizon.first_hour();
        let mut now = now((&self.calendar, &self.quantities), Role::Network, first_open, self.clock);
        match (registered, known) {
            (Some(registered), Some((number, site))) => {
                self.series -= site.entries();
                // Most changes, such as those of thresholds, are none of the windows.
                if site.is_changed_by(&registered) {
                    now.floor = site.thaw(first_open, first_open, &*self.cold);
                    let change = (Calendar::hour(clock), self.registry);
                    site.revise(&registered, change, &now, &mut self.tally);
                }
                site.adopt(registered, Calendar::hour(clock));
                self.series += site.entries();
                site.gone = false;
                site.take(&mut self.tally, number, &now, &mut self.touched);
            }
            (Some(registered), None) => {
                let mut site = Site::new(registered);
                site.expect_registered(Calendar::hour(clock));
                self.series += site.entries();
                self.sites.insert(change.facility.clone(), site);
            }
            (None, Some((number, site))) => {
                // Hours that are closed for the scopes may be sealed, and lose nothing there.
                let hour = (Calendar::hour(clock), self.registry);
                site.note_registry_change(hour, self.horizon.hour, &mut self.tally);
                site.leave(ScopeIds::new(), site.rolls_up);
                site.gone = true;
                site.take(&mut self.tally, number, &now, &mut self.touched);
            }
            (None, None) => {}
        }
    }

    fn registered(&mut self, profile: &Arc<Profile>, rooms: RoomLimits) -> Registered {
        let (scopes, season) = (self.totals.intern(profile), self.calendar.season_of(profile));
        Registered { profile: Arc::clone(profile), scopes, rooms, season }
    }

    /// Measures what was restored against the room temperatures of this process, where they are others than those of the
    /// checkpoint: as if the registry had changed everywhere.
    fn take_room_limits(&mut self, clock: Millis) {
        if std::mem::replace(&mut self.rooms_of_sums, self.rooms) == self.rooms {
            return;
        }
        let change =
            |site: &Site| ProfileChange { facility: site.code.clone(), profile: Some(site.profile.clone()) };
        let changes: Vec<ProfileChange> = self.sites.iter().map(|(.., site)| change(site)).collect();
        changes.iter().for_each(|change| self.register(change, clock));
    }

    /// Takes the reports and repetitions of an epoch in; returns what was too late, and the readings unregistered.
    fn receive(&mut self, epoch: &CheckedEpoch) -> (TooLate, u64) {
        let (mut too_late, mut unregistered) = (TooLate::default(), 0);
        let first_open = self.horizon.first_hour();
        for report in epoch.reports.iter() {
            let facility = &report.object.facility;
            let number = self.sites.number(facility);
            let Some((number, site)) = number.and_then(|n| Some((n, self.sites.get_mut(n)?))) else {
                unregistered += report.readings.len() as u64;
                continue;
            };
            let now = now((&self.calendar, &self.quantities), site.traits.role, first_open, self.clock);
            let mut floor = first_open;
            // What is thawed shows how far the segments beside the report reach.
            while report.observed_at >= floor && floor < site.hot_from {
                let reach = Calendar::hour(site.reach(report, &now)).max(floor);
                if reach >= site.hot_from {
                    break;
                }
                floor = site.thaw(reach, first_open, &*self.cold);
            }
            if report.observed_at < floor {
                too_late.count(&site.profile.facility, report.readings.iter().map(|reading| reading.metric));
                self.note_too_late(number, report);
                continue;
            }
            let now = WindowContext { floor, ..now };
            let objects = site.objects.len();
            let object = site.object(&report.object.device);
            let series = object.series_count();
            let heard = object.receive(report, &now, &mut self.tally);
            self.series += object.series_count() - series;
            self.series += site.objects.len() - objects;
            if let Some(hours) = heard.expects_otherwise {
                site.expect_otherwise(&hours, &mut self.tally);
            }
            if heard.outdoor {
                site.measure_outdoor_from(Calendar::hour(report.observed_at), &mut self.tally);
            }
            site.take(&mut self.tally, number, &now, &mut self.touched);
        }
        for repeated in &epoch.repeated {
            let number = self.sites.number(&repeated.object.facility);
            let number = number.filter(|_| repeated.observed_at >= first_open);
            let Some((number, site)) = number.and_then(|n| Some((n, self.sites.get_mut(n)?))) else {
                continue;
            };
            let hour = Calendar::hour(repeated.observed_at);
            if repeated.observed_at < site.thaw(hour, first_open, &*self.cold) {
                continue;
            }
            self.tally.add(hour, Component::Duplicates, i64::from(repeated.readings));
            let now =
                now((&self.calendar, &self.quantities), site.traits.role, self.horizon.hour, self.clock);
            site.take(&mut self.tally, number, &now, &mut self.touched);
        }
        (too_late, unregistered)
    }

    /// Counts the readings of a report that came too late in the hour in which it arrived.
    fn note_too_late(&mut self, number: u32, report: CheckedReport<'_>) {
        let Some(site) = self.sites.get_mut(number) else { return };
        let arrived = Calendar::hour(report.received_at.max(self.horizon.hour));
        self.tally.add(arrived, Component::BeyondRevision, report.readings.len() as i64);
        let now = now((&self.calendar, &self.quantities), site.traits.role, self.horizon.hour, self.clock);
        site.take(&mut self.tally, number, &now, &mut self.touched);
    }

    /// Completes the hours that ended with this clock: the silent count as missing.
    fn end_hours(&mut self, clock: Millis) {
        let last = Calendar::hour(clock);
        // A clock that had not started says nothing about the time before.
        let started = self.clock.filter(|before| *before > 0).map(Calendar::hour);
        let first = started.unwrap_or_else(|| self.calendar.horizon(clock).hour);
        if first == last {
            return;
        }
        let ended: Vec<Millis> = (0..).map(|n| first + n * HOUR).take_while(|hour| *hour < last).collect();
        for number in 0..self.sites.end() {
            let Some(site) = self.sites.get(number).filter(|site| !site.gone) else { continue };
            let now =
                now((&self.calendar, &self.quantities), site.traits.role, self.horizon.hour, self.clock);
            site.end_hours(&ended, clock, &now, &mut self.tally);
            if !self.tally.is_empty()
                && let Some(site) = self.sites.get_mut(number)
            {
                site.take(&mut self.tally, number, &now, &mut self.touched);
            }
        }
    }
}

impl Stage for Window {
    type Input = CheckedEpoch;
    type Output = WindowedEpoch;
    const NAME: &'static str = "window";

    fn apply(&mut self, epoch: &CheckedEpoch) -> WindowedEpoch {
        if std::mem::take(&mut self.resuming) {
            return self.resume(epoch);
        }
        let clock = self.advance(epoch.clock);
        self.registry = Reason::registry(epoch.registry);
        self.close(epoch.epoch);
        self.seal_some(epoch.epoch);
        self.take_room_limits(clock);
        for change in &epoch.profiles {
            self.register(change, clock);
        }
        let (too_late, unregistered) = self.receive(epoch);
        self.end_hours(clock);
        let facility = self.tell();
        let hours = self.settled(clock);
        self.touched.clear();
        self.clock = Some(clock);
        let (contributions, reasons) = self.totals.take();
        WindowedEpoch {
            epoch: epoch.epoch,
            clock,
            horizon: self.horizon,
            facility,
            contributions,
            reasons,
            profiles: epoch.profiles.clone(),
            registry: epoch.registry,
            hours,
            too_late,
            unregistered,
        }
    }

    fn entries(&self) -> usize {
        self.series
    }
}

/// How much further than usual the windows follow a clock that is far ahead, in one epoch.
const LONGEST_HASTE: Millis = 2 * DAY;

fn now<'a>(
    (calendar, quantities): (&'a Calendar, &'a Quantities),
    role: Role,
    floor: Millis,
    clock: Option<Millis>,
) -> WindowContext<'a> {
    WindowContext { calendar, quantities, role, floor, clock: clock.unwrap_or(Millis::MIN) }
}

/// Start and end of the day that holds an hour; `last` is the one asked for before.
fn day_of(calendar: &Calendar, last: &Cell<(Millis, Millis)>, hour: Millis) -> (Millis, Millis) {
    let (start, end) = last.get();
    if !(start..end).contains(&hour) {
        last.set(calendar.day(hour));
    }
    last.get()
}

#[cfg(test)]
mod tests;
