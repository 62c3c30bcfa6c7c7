//! The stage as a whole: against a naive oracle, and case by case.

mod cases;
mod measure;
mod oracle;
mod outages;
mod resume;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use differential_dataflow::difference::IsZero;
use jiff::tz::TimeZone;
use schemas::{
    Catalogue, Code, Device, Facility, FacilityKind, Flag, Millis, Period, Scope, ScopeKind, TestSet,
    time::{DAY, HOUR, MINUTE},
};

use super::*;
use crate::{
    Change, Checked, Object, Profile,
    flow::{Carrier, whole::CheckedReport},
};

/// 2024-01-15T00:00:00Z, which is 08:00 in China.
const START: Millis = 1_705_276_800_000;

fn scope(kind: ScopeKind, code: &str) -> Scope {
    Scope { kind, code: Code::from(code) }
}

fn facility(code: &str, kind: FacilityKind, area: f64, scopes: Vec<Scope>) -> Profile {
    Profile {
        facility: Facility {
            name: code.to_owned(),
            heated_area: Some(area),
            attributes: [("interval".into(), "60".into())].into(),
            ..Facility::new(code, kind)
        },
        devices: [].into(),
        scopes: scopes.into(),
        thresholds: Arc::default(),
        households_below: 0,
        area_below: area,
    }
}

fn with_device(mut profile: Profile, device: &str, interval: u32) -> Profile {
    profile.facility.attributes.clear();
    let attributes = schemas::Attributes::from([("interval".into(), interval.to_string().into())]);
    profile.devices.insert(
        Code::from(device),
        Device {
            code: Code::from(device),
            facility: profile.facility.code.clone(),
            kind: Code::from("room_sensor"),
            model: String::new(),
            maker: String::new(),
            installed: String::new(),
            attributes,
        },
    );
    profile
}

fn city() -> Scope {
    scope(ScopeKind::City, "220100")
}

fn register(profile: Profile) -> ProfileChange {
    ProfileChange { facility: profile.facility.code.clone(), profile: Some(Arc::new(profile)) }
}

fn report(facility: &str, device: &str, at: Millis, readings: &[(&str, f64, Flag, Change)]) -> CheckedReport {
    let checked = |(metric, value, flag, change): &(&str, f64, Flag, Change)| Checked {
        metric: Catalogue::in_force().id(metric).unwrap(),
        value: *value,
        flag: *flag,
        failed: TestSet::EMPTY,
        change: *change,
    };
    CheckedReport {
        object: Rc::new(Object { facility: Code::from(facility), device: Code::from(device) }),
        observed_at: at,
        received_at: at,
        carrier: Carrier::default(),
        readings: readings.iter().map(checked).collect(),
    }
}

fn good(facility: &str, at: Millis, metric: &str, value: f64) -> CheckedReport {
    report(facility, "", at, &[(metric, value, Flag::Good, Change::New)])
}

/// A small deterministic generator, so that a failing case is its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Runs a stage and keeps what it tells.
struct Run {
    window: Window,
    epoch: Epoch,
    facilities: BTreeMap<(Code, Period, Millis), Facts>,
    scopes: BTreeMap<(Scope, Period, Millis), Facts>,
    last: Option<WindowedEpoch>,
}

impl Run {
    fn new(calendar: Calendar) -> Run {
        let window = Window::new(calendar);
        Run { window, epoch: 0, facilities: BTreeMap::new(), scopes: BTreeMap::new(), last: None }
    }

    fn in_china() -> Run {
        Run::new(Calendar::default())
    }

    fn epoch(
        &mut self,
        clock: Millis,
        profiles: Vec<ProfileChange>,
        reports: Vec<CheckedReport>,
    ) -> &WindowedEpoch {
        self.epoch += 1;
        let reports = reports.into_iter().collect();
        let epoch = CheckedEpoch { epoch: self.epoch, clock, profiles, reports, ..CheckedEpoch::default() };
        let told = self.window.apply(&epoch);
        assert!(told.facility.is_sorted_by_key(|w| (w.scope.code.clone(), w.period, w.window_start)));
        assert!(told.contributions.is_sorted_by_key(|(key, _)| key.clone()));
        for windowed in &told.facility {
            let key = (windowed.scope.code.clone(), windowed.period, windowed.window_start);
            let known = self.facilities.insert(key, windowed.after.clone()).unwrap_or_default();
            assert_eq!(known, windowed.before, "the state before is the one that was told last");
        }
        for (key, facts) in &told.contributions {
            let sum = self.scopes.entry(key.clone()).or_default();
            sum.add_all(facts, 1);
            if sum.is_zero() {
                self.scopes.remove(key);
            }
        }
        self.last.insert(told)
    }

    /// Lets time come this far, in as many epochs as that takes.
    fn until(&mut self, clock: Millis) -> &WindowedEpoch {
        while self.epoch(clock, vec![], vec![]).clock < clock {}
        self.epoch(clock, vec![], vec![])
    }

    fn hour(&self, facility: &str, hour: Millis) -> Facts {
        self.facilities.get(&(Code::from(facility), Period::Hour, hour)).cloned().unwrap_or_default()
    }

    fn day(&self, facility: &str, day: Millis) -> Facts {
        self.facilities.get(&(Code::from(facility), Period::Day, day)).cloned().unwrap_or_default()
    }

    /// Why the facility's hours changed that were told last.
    fn told_because(&self, facility: &str) -> Reason {
        let told = self.last.iter().flat_map(|told| &told.facility);
        let mut hours = told.filter(|w| w.scope.code == facility && w.period == Period::Hour);
        hours.next().map(|windowed| windowed.reason).unwrap()
    }

    /// Why a window of a scope changed in the last epoch.
    fn reason(&self, scope: &Scope, period: Period, start: Millis) -> Reason {
        let key = (scope.clone(), period, start);
        let told = self.last.iter().flat_map(|told| &told.reasons);
        told.filter(|(of, _)| *of == key).map(|(_, reason)| *reason).next().unwrap_or_default()
    }

    fn scope(&self, scope: &Scope, period: Period, start: Millis) -> Facts {
        self.scopes.get(&(scope.clone(), period, start)).cloned().unwrap_or_default()
    }
}
