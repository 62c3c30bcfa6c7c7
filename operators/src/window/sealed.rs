//! What a facility seals: hours that have closed for the scopes, of days that are open.
//!
//! ```text
//!       sealed            in memory
//!  ├──────┬──────┬──────┤├───────────────►
//!  first open hour       `hot_from`   now
//! ```
//!
//! Enters: a facility, and the hour from which on it is to be in memory. Leaves: a record for the cold tier, or the
//! facility with what its records say. Guarantees: a facility that thawed hours is what it would be, had it never sealed
//! them; a record holds everything from where the one before ended, or from the hour that was thawed last, so that of two
//! which speak of the same hour the newer one is right.

use std::collections::BTreeMap;

use schemas::{Code, Epoch, Millis};
use serde::{Deserialize, Serialize};

use super::{
    object::{Doubt, Object, QuantitySeries},
    open::Hour,
    points::{Points, Strip},
    quantity::Quantity,
    site::Site,
};
use crate::{
    cold::{Batch, ColdTier},
    durable::{Durable, RestoreError, decode, known_form},
    window::Window,
};

/// In so many epochs everything is sealed that has closed.
const SLICES: u32 = 64;
/// So many facilities are looked at in an epoch, at least.
pub(super) const SLICE: u32 = 1_000;

/// What a facility sealed at once, in the form of the state.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// It holds everything from then on.
    from: Millis,
    hours: Vec<Hour>,
    parcels: Vec<Parcel>,
}

/// What it holds of an object.
#[derive(Debug, Serialize, Deserialize)]
struct Parcel {
    code: Code,
    beats: Option<Strip>,
    series: Vec<(Quantity, Strip)>,
    doubts: Vec<Doubt>,
}

impl Record {
    fn read(form: u16, bytes: &[u8]) -> Result<Record, RestoreError> {
        known_form(Window::STATE, form, Window::FORM)?;
        decode(Window::STATE, "what was sealed: ", bytes)
    }
}

/// A record, and the time before which it is right.
struct Valid {
    record: Record,
    until: Millis,
}

impl Site {
    /// Whether hours before `floor` are in memory, open or not. Whatever an object holds lies in an hour that is in
    /// memory, but for the one point per series that stays.
    pub(super) fn holds_before(&self, floor: Millis) -> bool {
        self.hours.first().is_some_and(|hour| hour.start < floor)
    }

    /// Seals what lies before `floor`; what lies before `first_open` has been forgotten. Gives the record for the cold
    /// tier; none when there is nothing to seal.
    pub(super) fn seal(&mut self, first_open: Millis, floor: Millis) -> Option<Vec<u8>> {
        let sealed = self.hours.partition_point(|hour| hour.start < floor);
        let hours: Vec<Hour> = self.hours.drain(..sealed).collect();
        let since = self.hot_from.max(first_open);
        let parcels = self.objects.iter_mut().filter_map(|object| object.seal(since, floor)).collect();
        self.objects.iter_mut().for_each(|object| object.forget_reported(first_open));
        if hours.is_empty() {
            return None;
        }
        let record = Record { from: self.hot_from, hours, parcels };
        self.hot_from = floor;
        // Serialising plain values into memory has nothing that could fail; if it did, going on would lose state.
        let bytes = postcard::to_stdvec(&record);
        Some(bytes.unwrap_or_else(|error| unreachable!("a plain value cannot be serialised: {error}")))
    }

    /// Thaws what was sealed of the hours from `from` on, as far as they are open. Answers from when on something can be
    /// taken in: later than the first open hour where what lies before is lost, or was forgotten by an earlier version.
    pub(super) fn thaw(&mut self, from: Millis, first_open: Millis, cold: &dyn ColdTier) -> Millis {
        let from = from.max(first_open);
        if from >= self.hot_from {
            return first_open;
        }
        let (mut until, mut valid, mut unreadable) = (self.hot_from, Vec::new(), None);
        cold.find(Window::STATE, &self.code, from, &mut |found| {
            if found.until < until {
                // What lay between them is lost.
                return false;
            }
            match Record::read(found.form, found.record) {
                Ok(record) if record.from < until => {
                    let next = record.from;
                    valid.push(Valid { record, until });
                    until = next;
                }
                // A newer one says it all.
                Ok(_) => {}
                Err(error) => unreadable = Some(error),
            }
            unreadable.is_none() && until > from
        });
        if let Some(error) = unreadable {
            cold.fail(error);
            return until;
        }
        self.hot_from = until;
        valid.reverse();
        self.put_before(valid, first_open);
        if until <= from { first_open } else { until }
    }

    /// Puts what records say before what is in memory; the records are in the order of time.
    fn put_before(&mut self, mut valid: Vec<Valid>, first_open: Millis) {
        let mut hours =
            Vec::with_capacity(self.hours.len() + valid.iter().map(|v| v.record.hours.len()).sum::<usize>());
        for Valid { record, until } in &mut valid {
            let open = first_open.max(record.from)..*until;
            hours.extend(record.hours.drain(..).filter(|hour| open.contains(&hour.start)));
        }
        hours.append(&mut self.hours);
        self.hours = hours;
        for parcel in valid.iter().flat_map(|valid| &valid.record.parcels) {
            let _known = self.object(&parcel.code);
        }
        for object in &mut self.objects {
            let parcels = valid.iter_mut().filter_map(|Valid { record, until }| {
                let (open, parcels) = (first_open.max(record.from)..*until, &mut record.parcels);
                let at = parcels.binary_search_by(|parcel| parcel.code.cmp(&object.code)).ok()?;
                Some((&mut parcels[at], open))
            });
            let parcels: Vec<_> = parcels.collect();
            if !parcels.is_empty() {
                object.put_before(parcels, first_open);
            }
        }
    }
}

impl Window {
    /// Seals what is closed for the scopes, of some facilities: of all soon, and never of so many that it would be felt.
    /// Until then they hold more than they must, which changes nothing.
    pub(super) fn seal_some(&mut self, epoch: Epoch) {
        let Some(next) = self.sealing else { return };
        let end = self.sites.end().min(next + self.slice.max(self.sites.end() / SLICES));
        let (first_open, floor) = (self.horizon.first_hour(), self.horizon.hour);
        let mut records = BTreeMap::new();
        for number in next..end {
            // One that holds nothing of the kind is not touched, so that it need not be saved. Models get their hours
            // before.
            let seals = |site: &Site| site.holds_before(floor) && !site.is_awaited(|hour| hour < floor);
            if self.sites.get(number).is_some_and(seals)
                && let Some(site) = self.sites.get_mut(number)
                && let Some(record) = site.seal(first_open, floor)
            {
                records.insert(site.code.clone(), record);
            }
        }
        self.sealing = (end < self.sites.end()).then_some(end);
        if !records.is_empty() {
            let (state, form) = (Self::STATE, Self::FORM);
            self.cold.put(Batch { state, form, epoch, until: floor, records });
        }
    }
}

impl Object {
    /// Seals what lies before `floor`; nothing of it was in memory before `since` but one point per series.
    fn seal(&mut self, since: Millis, floor: Millis) -> Option<Parcel> {
        let strip = |points: &Points| points.strip(since, floor);
        let beats = strip(&self.beats);
        let series =
            self.series.iter().filter_map(|s| Some((s.quantity, strip(&s.points)?))).collect::<Vec<_>>();
        let sealed = self.doubts.partition_point(|doubt| doubt.at < floor);
        let doubts: Vec<Doubt> = self.doubts.drain(..sealed).collect();
        self.forget(floor);
        let some = beats.is_some() || !series.is_empty() || !doubts.is_empty();
        some.then(|| Parcel { code: self.code.clone(), beats, series, doubts })
    }

    /// Puts what parcels say before what is in memory; they are in the order of time, each with the hours for which it is
    /// right.
    fn put_before(&mut self, mut parcels: Vec<(&mut Parcel, std::ops::Range<Millis>)>, first_open: Millis) {
        let mut doubts = Vec::new();
        for (parcel, open) in &mut parcels {
            doubts.extend(parcel.doubts.drain(..).filter(|doubt| open.contains(&doubt.at)));
        }
        doubts.append(&mut self.doubts);
        self.doubts = doubts;
        self.order_doubts();
        let beats = parcels.iter().filter_map(|(parcel, open)| Some((parcel.beats.as_ref()?, open.end)));
        self.beats.put_before(beats, first_open);
        for (quantity, strip) in parcels.iter().flat_map(|(parcel, _)| &parcel.series) {
            if !self.series.iter().any(|series| series.quantity == *quantity) {
                self.series.push(QuantitySeries { quantity: *quantity, points: strip.series() });
            }
        }
        for series in &mut self.series {
            let strips = parcels.iter().filter_map(|(parcel, open)| {
                let found = parcel.series.iter().find(|(quantity, _)| *quantity == series.quantity);
                Some((&found?.1, open.end))
            });
            series.points.put_before(strips, first_open);
        }
    }
}

/// A record that was read, as it is written.
#[cfg(test)]
pub(super) fn written_anew(record: &[u8]) -> Vec<u8> {
    postcard::to_stdvec(&Record::read(Window::FORM, record).unwrap()).unwrap()
}
