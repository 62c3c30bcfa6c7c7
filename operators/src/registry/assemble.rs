//! The profiles, put together piece by piece on the worker that holds the facility.
//!
//! State: the profile of every facility, shared with whoever received it; the thresholds by scope; devices whose facility
//! is unknown. An entry leaves the state with its tombstone. Lists that profiles have in common are held once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{
    Code, Device, Epoch, Facility, FacilityKind, MetricId, Scope, ScopeKind, Side, SortedMap, Threshold,
    registry_files::catalogue_thresholds,
};
use timely::dataflow::{StreamVec, channels::pact::Exchange, operators::Operator};

use super::{
    ProfileStream,
    piece::{Joined, Piece, Sum, area_units},
};
use crate::{Profile, ProfileChange, durable::bucket, flow::Stash};

/// Applies each epoch's pieces once the frontier has passed it.
pub(super) fn assemble(pieces: StreamVec<'_, Epoch, Piece>) -> ProfileStream<'_> {
    let pact = Exchange::new(|piece: &Piece| match piece {
        Piece::Threshold { worker, .. } => *worker,
        Piece::Facility { code: facility, .. }
        | Piece::Device { facility, .. }
        | Piece::Joined { facility, .. } => bucket(facility),
    });
    pieces.unary_frontier(pact, "RegistryAssemble", |_, _| {
        let mut profiles = Profiles::new();
        let mut stash: Stash<Vec<Piece>> = Stash::default();
        move |(input, frontier), output| {
            input.for_each(|time, pieces| {
                stash.entry(*time.time(), || (time.retain(0), Vec::new())).append(pieces);
            });
            while let Some((_, capability, pieces)) = stash.take(|epoch| !frontier.less_equal(epoch)) {
                output.session(&capability).give_iterator(profiles.apply(pieces).into_iter());
            }
        }
    })
}

/// A facility's profile, and the sums below it without its own part.
struct Held {
    profile: Arc<Profile>,
    households: i64,
    area: i64,
}

/// The thresholds of one scope.
type Rules = BTreeMap<RuleKey, Arc<Threshold>>;

/// What tells the thresholds of a scope apart: metric, side and name.
type RuleKey = (MetricId, Side, Code);

fn rule_key(threshold: &Threshold) -> RuleKey {
    (threshold.metric, threshold.side, threshold.rule.clone())
}

#[derive(Default)]
struct Profiles {
    held: BTreeMap<Code, Held>,
    /// Devices of facilities that are not registered.
    orphans: BTreeMap<Code, SortedMap<Code, Device>>,
    /// By scope; the registry's where it has one under a key, else the catalogues'.
    rules: BTreeMap<Code, Rules>,
    /// Scope, metric, side and name of the registry's thresholds, to find them by key when they are removed.
    keys: BTreeMap<Code, (Code, RuleKey)>,
    paths: Paths,
    /// The thresholds of several scopes as one list, by those scopes; gone when any threshold changes.
    lists: FxHashMap<Vec<Code>, Arc<[Arc<Threshold>]>>,
}

/// The lists of scopes that profiles have, each held once: the rooms of a building share theirs.
#[derive(Default)]
struct Paths {
    held: FxHashSet<Arc<[Scope]>>,
    /// With so many, those that no profile has any more are let go.
    sweep: usize,
}

impl Paths {
    fn hold(&mut self, path: Vec<Scope>) -> Arc<[Scope]> {
        if let Some(held) = self.held.get(path.as_slice()) {
            return Arc::clone(held);
        }
        if self.held.len() >= self.sweep {
            self.held.retain(|held| Arc::strong_count(held) > 1);
            self.sweep = 2 * self.held.len() + 1_024;
        }
        let held = Arc::from(path);
        self.held.insert(Arc::clone(&held));
        held
    }
}

impl Profiles {
    fn new() -> Self {
        let mut profiles = Profiles::default();
        for threshold in catalogue_thresholds() {
            let rules = profiles.rules.entry(threshold.scope.clone()).or_default();
            rules.insert(rule_key(threshold), Arc::new(threshold.clone()));
        }
        profiles
    }

    /// Applies the pieces of one epoch, in whatever order they come, and gives the profiles that differ afterwards.
    fn apply(&mut self, pieces: Vec<Piece>) -> Vec<ProfileChange> {
        let (mut facilities, mut devices) = (BTreeMap::new(), BTreeMap::new());
        let (mut scopes, mut joins) = (BTreeSet::new(), BTreeMap::new());
        for piece in pieces {
            match piece {
                Piece::Facility { code, facility } => drop(facilities.insert(code, facility)),
                Piece::Device { facility, code, device } => drop(devices.insert((facility, code), device)),
                Piece::Threshold { key, threshold, .. } => self.rule(key, threshold, &mut scopes),
                Piece::Joined { facility, joined, difference } => {
                    *joins.entry((facility, joined)).or_insert(0) += difference;
                }
            }
        }
        joins.retain(|_, difference| *difference != 0);
        let mut touched: BTreeSet<Code> = facilities.keys().cloned().collect();
        touched.extend(devices.keys().map(|(facility, _): &(Code, Code)| facility.clone()));
        touched.extend(joins.keys().map(|(facility, _): &(Code, Joined)| facility.clone()));
        touched.extend(self.concerned(&scopes));
        let before: BTreeMap<Code, Option<Arc<Profile>>> =
            touched.into_iter().map(|code| (code.clone(), self.profile(&code))).collect();

        // What is no longer so is taken back before a facility goes, what is new is added after it came.
        for ((facility, joined), _) in joins.iter().filter(|(_, difference)| **difference < 0) {
            self.join(facility, joined, false);
        }
        facilities.into_iter().for_each(|(code, facility)| self.facility(code, facility.map(|f| *f)));
        for ((facility, code), device) in devices {
            self.device(&facility, code, device.map(|device| *device));
        }
        for ((facility, joined), _) in joins.iter().filter(|(_, difference)| **difference > 0) {
            self.join(facility, joined, true);
        }
        before.into_iter().filter_map(|(code, before)| self.change(code, before.as_ref())).collect()
    }

    fn profile(&self, code: &Code) -> Option<Arc<Profile>> {
        self.held.get(code).map(|held| held.profile.clone())
    }

    /// Brings what is derived up to date and compares.
    fn change(&mut self, facility: Code, before: Option<&Arc<Profile>>) -> Option<ProfileChange> {
        if let Some(held) = self.held.get_mut(&facility) {
            let thresholds = thresholds(&self.rules, &mut self.lists, &held.profile);
            let mut path = held.profile.scopes.to_vec();
            path.sort();
            let own = i64::from(held.profile.facility.kind == FacilityKind::Household);
            let below = held.area as f64 / 1000.0;
            let area = held.profile.facility.heated_area.filter(|area| area_units(Some(*area)).is_some());
            let profile = Arc::make_mut(&mut held.profile);
            profile.thresholds = thresholds;
            profile.households_below = u32::try_from(held.households + own).unwrap_or(u32::MAX);
            profile.area_below = area.unwrap_or(below);
            profile.scopes = self.paths.hold(path);
        }
        let profile = self.profile(&facility);
        if profile.as_ref() != before {
            return Some(ProfileChange { facility, profile });
        }
        // What was sent before stays shared.
        if let (Some(held), Some(before)) = (self.held.get_mut(&facility), before) {
            held.profile = before.clone();
        }
        None
    }

    fn facility(&mut self, code: Code, facility: Option<Facility>) {
        match (self.held.get_mut(&code), facility) {
            (Some(held), Some(facility)) => {
                let profile = Arc::make_mut(&mut held.profile);
                let old = own_scope(&profile.facility);
                let others = profile.scopes.iter().filter(|scope| Some(*scope) != old.as_ref()).cloned();
                profile.scopes = others.chain(own_scope(&facility)).collect();
                profile.facility = facility;
            }
            (None, Some(facility)) => {
                let profile = Profile {
                    devices: self.orphans.remove(&code).unwrap_or_default(),
                    scopes: own_scope(&facility).into_iter().collect(),
                    thresholds: Arc::default(),
                    households_below: 0,
                    area_below: 0.0,
                    facility,
                };
                self.held.insert(code, Held { profile: Arc::new(profile), households: 0, area: 0 });
            }
            (Some(held), None) => {
                let devices = held.profile.devices.clone();
                self.held.remove(&code);
                if !devices.is_empty() {
                    self.orphans.insert(code, devices);
                }
            }
            (None, None) => {}
        }
    }

    fn device(&mut self, facility: &Code, code: Code, device: Option<Device>) {
        let devices = match self.held.get_mut(facility) {
            Some(held) => &mut Arc::make_mut(&mut held.profile).devices,
            None => self.orphans.entry(facility.clone()).or_default(),
        };
        match device {
            Some(device) => drop(devices.insert(code, device)),
            None => drop(devices.remove(&code)),
        }
        if self.orphans.get(facility).is_some_and(SortedMap::is_empty) {
            self.orphans.remove(facility);
        }
    }

    fn join(&mut self, facility: &Code, joined: &Joined, holds: bool) {
        // The topology speaks only of registered facilities; what it takes back from one that goes, goes with it.
        let Some(held) = self.held.get_mut(facility) else { return };
        let scopes: Vec<Scope> = match joined {
            Joined::Below(sum, total) => {
                let total = if holds { *total } else { 0 };
                match sum {
                    Sum::Households => held.households = total,
                    Sum::Area => held.area = total,
                }
                return;
            }
            Joined::Above(path) | Joined::Districts(path) => path
                .iter()
                .filter_map(|step| Some(Scope { kind: step.scope?, code: step.code.clone() }))
                .filter(|scope| {
                    scope.code != *facility
                        || scope.kind == ScopeKind::District
                        || scope.kind == ScopeKind::City
                })
                .collect(),
            Joined::Enterprise(code) => vec![Scope { kind: ScopeKind::Enterprise, code: code.clone() }],
        };
        let profile = Arc::make_mut(&mut held.profile);
        profile.scopes = if holds {
            profile.scopes.iter().chain(&scopes).cloned().collect()
        } else {
            profile.scopes.iter().filter(|scope| !scopes.contains(scope)).cloned().collect()
        };
    }

    /// Takes in a threshold of the registry, or puts that of the catalogues back in its place.
    fn rule(&mut self, key: Code, threshold: Option<Box<Threshold>>, scopes: &mut BTreeSet<Code>) {
        self.lists.clear();
        match threshold {
            Some(threshold) => {
                let (scope, rule) = (threshold.scope.clone(), rule_key(&threshold));
                scopes.insert(scope.clone());
                self.keys.insert(key, (scope.clone(), rule.clone()));
                self.rules.entry(scope).or_default().insert(rule, Arc::new(*threshold));
            }
            None => {
                let Some((scope, rule)) = self.keys.remove(&key) else { return };
                let beneath = catalogue_thresholds().iter().find(|t| t.scope == scope && rule_key(t) == rule);
                let rules = self.rules.entry(scope.clone()).or_default();
                match beneath {
                    Some(beneath) => drop(rules.insert(rule, Arc::new(beneath.clone()))),
                    None => drop(rules.remove(&rule)),
                }
                if rules.is_empty() {
                    self.rules.remove(&scope);
                }
                scopes.insert(scope);
            }
        }
    }

    /// The facilities whose thresholds are of one of the scopes. Rules change rarely, so all are looked at.
    fn concerned(&self, scopes: &BTreeSet<Code>) -> Vec<Code> {
        if scopes.is_empty() {
            return Vec::new();
        }
        let concerned =
            self.held.iter().filter(|(_, held)| scopes_of(&held.profile).any(|s| scopes.contains(s)));
        concerned.map(|(code, _)| code.clone()).collect()
    }
}

fn own_scope(facility: &Facility) -> Option<Scope> {
    facility.kind.scope().map(|kind| Scope { kind, code: facility.code.clone() })
}

/// What a threshold can name to concern this facility or its devices.
fn scopes_of(profile: &Profile) -> impl Iterator<Item = &str> {
    let devices = profile.devices.values().flat_map(|device| [device.code.as_str(), device.kind.as_str()]);
    [profile.facility.code.as_str(), profile.facility.kind.name()].into_iter().chain(devices)
}

/// The thresholds that concern a facility or its devices, sorted by (metric, side, rule, scope).
fn thresholds(
    rules: &BTreeMap<Code, Rules>,
    lists: &mut FxHashMap<Vec<Code>, Arc<[Arc<Threshold>]>>,
    profile: &Profile,
) -> Arc<[Arc<Threshold>]> {
    let named: BTreeSet<&Code> =
        scopes_of(profile).filter_map(|scope| rules.get_key_value(scope)).map(|(scope, _)| scope).collect();
    let named: Vec<Code> = named.into_iter().cloned().collect();
    if let Some(known) = lists.get(&named) {
        return Arc::clone(known);
    }
    let mut found: Vec<&Arc<Threshold>> = named.iter().flat_map(|scope| rules[scope].values()).collect();
    found.sort_by(|a, b| (rule_key(a), &a.scope).cmp(&(rule_key(b), &b.scope)));
    let list: Arc<[Arc<Threshold>]> = found.into_iter().cloned().collect();
    lists.insert(named, Arc::clone(&list));
    list
}
