//! From records to differences: what an entry said before is taken back, what it says now is added.
//!
//! State: per key the few codes that the topology needs (the whole entries live in the profiles). A key's state leaves
//! with its tombstone.

use rustc_hash::FxHashMap;
use schemas::{Code, Epoch, Facility, FacilityKind, RegistryEntry, Reject};
use timely::dataflow::{StreamVec, channels::pact::Exchange, operators::Operator};

use super::{
    RegistryRecord, conflict,
    piece::{Link, Piece, Sum, area_units},
};
use crate::{durable::bucket, flow::Stash};

/// What one record changes.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// For the topology, with a difference.
    Link(Link, i64),
    /// For the profiles.
    Piece(Piece),
    /// For the operator.
    Reject(Box<Reject>),
}

/// What the topology needs of a facility.
#[derive(PartialEq)]
struct RegisteredPosition {
    kind: FacilityKind,
    parent: Option<Code>,
    enterprise: Option<Code>,
    district: Option<Code>,
    area: Option<i64>,
}

impl RegisteredPosition {
    fn of(facility: &Facility) -> RegisteredPosition {
        RegisteredPosition {
            kind: facility.kind,
            parent: facility.parent.clone().filter(|parent| *parent != facility.code),
            enterprise: facility.enterprise.clone(),
            district: facility.district.clone(),
            area: area_units(facility.heated_area),
        }
    }

    /// What it says about the topology, `sign` times.
    fn links(&self, code: &Code, sign: i64, give: &mut impl FnMut(Change)) {
        let RegisteredPosition { kind, parent, enterprise, district, area } = self;
        let mut link = |link, difference: i64| give(Change::Link(link, sign * difference));
        if let Some(parent) = parent {
            if *kind == FacilityKind::Household {
                link(Link::Adds { parent: parent.clone(), sum: Sum::Households }, 1);
            }
            if let Some(area) = area.filter(|area| *area != 0) {
                link(Link::Adds { parent: parent.clone(), sum: Sum::Area }, area);
            }
        }
        if let Some(enterprise) = enterprise.clone() {
            link(Link::RunBy { facility: code.clone(), enterprise }, 1);
        }
        if let Some(district) = district.clone() {
            link(Link::StandsIn { facility: code.clone(), district }, 1);
        }
        let parent = parent.clone();
        link(Link::Facility { code: code.clone(), kind: *kind, has_area: area.is_some(), parent }, 1);
    }
}

/// What is remembered of an entry.
#[derive(PartialEq)]
enum KnownEntry {
    Facility(Box<RegisteredPosition>),
    District(Option<Code>),
    Enterprise,
    DeviceOf(Code),
    Threshold,
}

impl KnownEntry {
    fn of(entry: &RegistryEntry) -> KnownEntry {
        match entry {
            RegistryEntry::Facility(facility) => {
                KnownEntry::Facility(Box::new(RegisteredPosition::of(facility)))
            }
            RegistryEntry::District(district) => {
                KnownEntry::District(district.parent.clone().filter(|parent| *parent != district.code))
            }
            RegistryEntry::Enterprise(_) => KnownEntry::Enterprise,
            RegistryEntry::Device(device) => KnownEntry::DeviceOf(device.facility.clone()),
            RegistryEntry::Threshold(_) => KnownEntry::Threshold,
        }
    }

    /// What it says about the topology, `sign` times.
    fn links(&self, code: &Code, sign: i64, give: &mut impl FnMut(Change)) {
        match self {
            KnownEntry::Facility(place) => place.links(code, sign, give),
            KnownEntry::District(parent) => {
                give(Change::Link(Link::District { code: code.clone(), parent: parent.clone() }, sign));
            }
            KnownEntry::Enterprise => give(Change::Link(Link::Enterprise { code: code.clone() }, sign)),
            KnownEntry::DeviceOf(_) | KnownEntry::Threshold => {}
        }
    }
}

/// Applies each epoch's records, in the order of their keys, once the frontier has passed it.
pub(super) fn upsert(records: StreamVec<'_, Epoch, RegistryRecord>) -> StreamVec<'_, Epoch, Change> {
    let peers = records.scope().peers() as u64;
    let pact = Exchange::new(|record: &RegistryRecord| bucket(&record.0));
    records.unary_frontier(pact, "RegistryUpsert", move |_, _| {
        let mut said: FxHashMap<Code, KnownEntry> = FxHashMap::default();
        let mut stash: Stash<Vec<RegistryRecord>> = Stash::default();
        move |(input, frontier), output| {
            input.for_each(|time, records| {
                stash.entry(*time.time(), || (time.retain(0), Vec::new())).append(records);
            });
            while let Some((_, capability, mut records)) = stash.take(|epoch| !frontier.less_equal(epoch)) {
                records.sort_by(|a, b| (&a.0, a.2).cmp(&(&b.0, b.2)));
                let mut session = output.session(&capability);
                let mut records = records.into_iter().peekable();
                while let Some((key, entry, _)) = records.next() {
                    if records.peek().is_none_or(|next| next.0 != key) {
                        apply(&mut said, &key, entry, peers, &mut |change| session.give(change));
                    }
                }
            }
        }
    })
}

/// Applies the last record of a key in an epoch.
fn apply(
    said: &mut FxHashMap<Code, KnownEntry>,
    key: &Code,
    entry: Option<RegistryEntry>,
    peers: u64,
    give: &mut impl FnMut(Change),
) {
    if let Some(entry) = &entry {
        let own = entry.key().0;
        if own != *key {
            let detail = format!("the entry under key {key} says it is {own}: write it under its own key");
            return give(Change::Reject(Box::new(conflict(key, detail))));
        }
        if let Some(detail) = contradiction(entry) {
            give(Change::Reject(Box::new(conflict(key, detail))));
        }
    }
    let code = Code::from(key.split_once('/').map_or("", |(_, code)| code));
    let now = entry.as_ref().map(KnownEntry::of);
    let before = said.remove(key);
    if before != now {
        if let Some(before) = &before {
            before.links(&code, -1, give);
        }
        if let Some(now) = &now {
            now.links(&code, 1, give);
        }
        if let Some(KnownEntry::DeviceOf(facility)) = &before {
            let (facility, code) = (facility.clone(), code.clone());
            give(Change::Piece(Piece::Device { facility, code, device: None }));
        }
    }
    let was_threshold = matches!(before, Some(KnownEntry::Threshold));
    let was_facility = matches!(before, Some(KnownEntry::Facility(_)));
    if let Some(now) = now {
        said.insert(key.clone(), now);
    }
    let threshold = match entry {
        Some(RegistryEntry::Facility(facility)) => {
            return give(Change::Piece(Piece::Facility { code, facility: Some(Box::new(facility)) }));
        }
        Some(RegistryEntry::Device(device)) => {
            let facility = device.facility.clone();
            return give(Change::Piece(Piece::Device { facility, code, device: Some(Box::new(device)) }));
        }
        None if was_facility => return give(Change::Piece(Piece::Facility { code, facility: None })),
        Some(RegistryEntry::Threshold(threshold)) => Some(Box::new(threshold)),
        None if was_threshold => None,
        Some(RegistryEntry::District(_) | RegistryEntry::Enterprise(_)) | None => return,
    };
    for worker in 0..peers {
        give(Change::Piece(Piece::Threshold { worker, key: key.clone(), threshold: threshold.clone() }));
    }
}

/// What an entry says against itself; the rest of it is used.
fn contradiction(entry: &RegistryEntry) -> Option<String> {
    match entry {
        RegistryEntry::Facility(facility) if facility.parent.as_ref() == Some(&facility.code) => {
            Some(format!("facility {} is its own parent: the parent is left out", facility.code))
        }
        RegistryEntry::District(district) if district.parent.as_ref() == Some(&district.code) => {
            Some(format!("district {} is its own parent: the parent is left out", district.code))
        }
        RegistryEntry::Facility(Facility { code, heated_area: Some(area), .. })
            if area_units(Some(*area)).is_none() =>
        {
            Some(format!(
                "facility {code} has heated_area {area} m², which cannot be: it is left out of sums"
            ))
        }
        _ => None,
    }
}
