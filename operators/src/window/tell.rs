//! What windows say at the end of an epoch: those that changed, hour by hour, then by day and longer, and the hours that
//! models may look at.

use schemas::{Millis, Period, Scope, ScopeKind, time::HOUR};
use smallvec::SmallVec;

use super::{
    Calendar, ClosedHour, Window, Windowed, day_of, derive,
    facts::Facts,
    ladder::{self, Before, ChangedDay},
    open::{Touched, Touches},
    site::Site,
};
use crate::reason::Reason;

impl Window {
    /// Derives what follows from this epoch's changes, hour by hour and then day by day, and tells them.
    pub(super) fn tell(&mut self) -> Vec<Windowed> {
        let mut told = Vec::new();
        let mut touched = std::mem::take(&mut self.touched);
        let mut hours = std::mem::take(&mut touched.hours);
        hours.sort_unstable_by_key(|touched| (touched.site, touched.hour));
        for hours in hours.chunk_by_mut(|a, b| a.site == b.site) {
            self.tell_site(hours, &touched, &mut told);
        }
        touched.hours = hours;
        self.touched = touched;
        told.sort_unstable_by(|a, b| {
            (&a.scope.code, a.period, a.window_start).cmp(&(&b.scope.code, b.period, b.window_start))
        });
        told
    }

    /// The same for one facility. It leaves when it is gone.
    fn tell_site(&mut self, hours: &mut [Touched], touches: &Touches, told: &mut Vec<Windowed>) {
        let number = hours[0].site;
        let Some(site) = self.sites.get_mut(number) else { return };
        let mut days = SmallVec::<[(usize, Facts, Reason); 2]>::new();
        let (moved, booked) = (site.moved_from.take(), std::mem::take(&mut site.booked));
        if moved.is_some() {
            let all = site.days.iter().enumerate();
            days.extend(all.map(|(place, day)| (place, day.facts.clone(), self.registry)));
        }
        for touched in hours.iter_mut() {
            let moved_setpoint = site.derive(touched.hour);
            let Some(hour) = site.hour(touched.hour) else { continue };
            hour.touched = false;
            let reason = touches.reason(number, touched.hour);
            let (before, after) = (std::mem::take(&mut touched.before), hour.facts.clone());
            let reopened =
                moved_setpoint || self.modelled.iter().any(|fact| before.get(*fact) != after.get(*fact));
            if hour.settled && reopened {
                hour.settled = false;
                self.reopened.push(number);
            }
            let bounds = day_of(&self.calendar, &self.last_day, touched.hour);
            if bounds.0 >= self.horizon.day {
                let known = site.days.iter().any(|day| day.start == bounds.0);
                let place = site.day(bounds.0);
                if !known {
                    days.iter_mut().filter(|(at, ..)| *at >= place).for_each(|(at, ..)| *at += 1);
                }
                let noted = days.iter().position(|(at, ..)| *at == place).unwrap_or_else(|| {
                    days.push((place, site.days[place].facts.clone(), Reason::LIVE));
                    days.len() - 1
                });
                let day_over = self.clock.is_some_and(|clock| bounds.1 <= clock);
                let last_hour = touched.hour + HOUR >= bounds.1;
                days[noted].2 = days[noted].2.or_graver(reason.of_longer(day_over || last_hour));
                let traits = site.traits;
                let day = &mut site.days[place].facts;
                day.add_all(&after.minus(&before).only(derive::SUMS), 1);
                let of_day = booked.iter().filter(|undated| undated.hour == touched.hour);
                of_day.for_each(|undated| derive::book(day, &traits, undated));
            }
            if touched.hour >= self.horizon.hour {
                let window = (Period::Hour, touched.hour);
                self.totals.spread(site, moved.as_deref(), window, (&before, &after), reason);
            }
            tell_facility(told, site, (Period::Hour, touched.hour), (before, after), reason);
        }
        let mut changed_days = Vec::new();
        for (place, before, reason) in days {
            let traits = site.traits;
            let day = &mut site.days[place];
            derive::derive_static(&mut day.facts, &traits);
            let (start, after) = (day.start, day.facts.clone());
            self.totals.spread(site, moved.as_deref(), (Period::Day, start), (&before, &after), reason);
            if self.calendar.has_longer() {
                let end = day_of(&self.calendar, &self.last_day, start).1;
                changed_days.push(ChangedDay { start, end, more: after.minus(&before), reason });
            }
            tell_facility(told, site, (Period::Day, start), (before, after), reason);
        }
        if self.calendar.has_longer() {
            let (season, traits) = (site.season, site.traits);
            let terms = ladder::Terms { calendar: &self.calendar, season, traits, clock: self.clock };
            for Before { place, facts: before, reason } in
                site.longer_mut().add(&changed_days, moved.as_ref().map(|_| self.registry), &terms)
            {
                let window = site.longer_mut().at(place);
                let (key, after) = ((window.period, window.start), window.facts.clone());
                self.totals.spread(site, moved.as_deref(), key, (&before, &after), reason);
                tell_facility(told, site, key, (before, after), reason);
            }
        }
        if site.gone {
            self.series -= site.entries();
            let facility = site.code.clone();
            self.sites.remove(&facility);
        }
    }

    /// The hours of stations and sources that have settled, and those that changed since.
    pub(super) fn settled(&mut self, clock: Millis) -> Vec<ClosedHour> {
        let due = |hour: Millis| self.calendar.settled(hour) <= clock;
        let mut numbers = std::mem::take(&mut self.reopened);
        numbers.dedup();
        let count = |clock| due_count(&self.calendar, clock);
        if self.clock.is_none_or(|before| count(before) != count(clock)) {
            numbers = (0..self.sites.end()).collect();
        }
        let mut settled = Vec::new();
        for number in numbers {
            if !self.sites.get(number).is_some_and(|site| site.is_awaited(due)) {
                continue;
            }
            let Some(site) = self.sites.get_mut(number) else { continue };
            for hour in site.hours.iter_mut().filter(|hour| !hour.settled && due(hour.start)) {
                hour.settled = true;
                let (facility, facts) = (site.code.clone(), hour.facts.clone());
                let setpoint = (hour.setpoint > 0).then(|| f64::from(hour.setpoint) / 10.0);
                let reason = self.touched.reason(number, hour.start);
                settled.push(ClosedHour { facility, hour: hour.start, facts, setpoint, reason });
            }
        }
        settled.sort_unstable_by(|a, b| (&a.facility, a.hour).cmp(&(&b.facility, b.hour)));
        settled
    }
}

/// Counts the hours that have settled by a time, up to a constant.
fn due_count(calendar: &Calendar, clock: Millis) -> Millis {
    Calendar::hour(clock.saturating_sub(calendar.settled(0)))
}

fn tell_facility(
    told: &mut Vec<Windowed>,
    site: &Site,
    window: (Period, Millis),
    (before, after): (Facts, Facts),
    reason: Reason,
) {
    if before != after {
        let scope = Scope { kind: ScopeKind::Facility, code: site.code.clone() };
        told.push(Windowed { scope, period: window.0, window_start: window.1, before, after, reason });
    }
}
