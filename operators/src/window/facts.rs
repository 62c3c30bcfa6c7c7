//! Facts of a window: exact sums, in fixed point, that KPIs are computed from. The table of components is the catalogue: a
//! new fact is a line of it, with an id that no other had.
//!
//! Enters: contributions of segments, reports and the registry. Leaves: sums. Guarantees: addition is exact, so the
//! order of contributions does not matter and a retraction cancels what it retracts; `Facts` is the difference type of
//! a differential collection.

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Semigroup};
use serde::Deserialize;

use super::{mask::Mask, sums::Sums, written::Written};

/// Which facilities add a fact to the scopes above them ([`super::Role::rolls_up`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Heat, water and electricity of the network: the stations, where heat that passes several meters counts once.
    Network,
    /// Electricity of clean-heating devices.
    Devices,
    /// Outdoor temperature.
    Outdoor,
    /// Room temperature.
    Rooms,
    /// Reports and their quality.
    Reports,
}

/// How the fact of a longer window follows from those of the hours in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// As their sum.
    Sum,
    /// Not at all: it says something about the window as a whole, and is derived from the other facts of that.
    Whole,
}

macro_rules! components {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $group:ident, $across:ident;)*) => {
        /// One sum. Times are ms; integrals over time are in thousandths of the unit, times seconds.
        ///
        /// *Derived* ones are functions of the other facts of one facility and one window, kept as sums so that they
        /// roll up.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Component { $($(#[$doc])* $name,)* }

        impl Component {
            /// Every component, in the order of its number.
            pub const ALL: &'static [Component] = &[$(Component::$name,)*];

            /// By which it is known in checkpoints, for ever: an id is never given again, and the next component has a
            /// greater one.
            #[must_use]
            pub const fn id(self) -> u16 {
                match self { $(Component::$name => $id,)* }
            }

            /// Which facilities add it to the scopes above them.
            #[must_use]
            pub const fn group(self) -> Group {
                match self { $(Component::$name => Group::$group,)* }
            }

            /// How it follows from the hours of a longer window.
            #[must_use]
            pub const fn across(self) -> Across {
                match self { $(Component::$name => Across::$across,)* }
            }
        }
    };
}

components! {
    /// Heat by counter, J.
    HeatCounter = 0, Network, Sum;
    /// Time that the heat counter covers.
    HeatCounterTime = 1, Network, Sum;
    /// Heat as integral of power, J.
    HeatPower = 2, Network, Sum;
    /// Time that power covers.
    HeatPowerTime = 3, Network, Sum;
    /// Derived: heat by counter, and by power in the time that no counter covers or in which it is frozen, J.
    Heat = 4, Network, Sum;
    /// Derived: time behind `Heat`.
    HeatTime = 5, Network, Sum;
    /// Derived: area of the facilities behind `Heat`, 0.01 m².
    HeatArea = 6, Network, Whole;
    /// Derived: area × time behind `Heat`, m²·s.
    HeatAreaTime = 7, Network, Sum;
    /// Integral of the primary supply temperature.
    PrimarySupply = 8, Network, Sum;
    /// Its time.
    PrimarySupplyTime = 9, Network, Sum;
    /// Integral of the flow measured together with it.
    PrimarySupplyFlow = 10, Network, Sum;
    /// Integral of flow × temperature.
    PrimarySupplyProduct = 11, Network, Sum;
    /// Integral of the primary return temperature.
    PrimaryReturn = 12, Network, Sum;
    /// Its time.
    PrimaryReturnTime = 13, Network, Sum;
    /// Integral of the flow measured together with it.
    PrimaryReturnFlow = 14, Network, Sum;
    /// Integral of flow × temperature.
    PrimaryReturnProduct = 15, Network, Sum;
    /// Integral of the secondary supply temperature.
    SecondarySupply = 16, Network, Sum;
    /// Its time.
    SecondarySupplyTime = 17, Network, Sum;
    /// Integral of the flow measured together with it.
    SecondarySupplyFlow = 18, Network, Sum;
    /// Integral of flow × temperature.
    SecondarySupplyProduct = 19, Network, Sum;
    /// Integral of the secondary return temperature.
    SecondaryReturn = 20, Network, Sum;
    /// Its time.
    SecondaryReturnTime = 21, Network, Sum;
    /// Integral of the flow measured together with it.
    SecondaryReturnFlow = 22, Network, Sum;
    /// Integral of flow × temperature.
    SecondaryReturnProduct = 23, Network, Sum;
    /// Make-up water, cm³.
    Makeup = 24, Network, Sum;
    /// Its time.
    MakeupTime = 25, Network, Sum;
    /// Derived: area of the facilities behind it, 0.01 m².
    MakeupArea = 26, Network, Whole;
    /// Electricity of stations and sources, mWh.
    Electricity = 27, Network, Sum;
    /// Its time.
    ElectricityTime = 28, Network, Sum;
    /// Derived: area of the facilities behind it, 0.01 m².
    ElectricityArea = 29, Network, Whole;
    /// Derived: heat of the hours in which heat and electricity were measured, J.
    PairedHeat = 30, Network, Sum;
    /// Derived: electricity of those hours, mWh.
    PairedElectricity = 31, Network, Sum;
    /// Derived: elapsed time of the stations and sources, measured or not.
    StationSpan = 32, Network, Sum;
    /// Electricity of clean-heating devices, mWh.
    DeviceElectricity = 33, Devices, Sum;
    /// Its time.
    DeviceElectricityTime = 34, Devices, Sum;
    /// Derived: elapsed time of the clean-heating devices.
    DeviceSpan = 35, Devices, Sum;
    /// Integral of the outdoor temperature.
    Outdoor = 36, Outdoor, Sum;
    /// Its time.
    OutdoorTime = 37, Outdoor, Sum;
    /// Derived: facilities that measure it, in this window or before.
    OutdoorFacilities = 38, Outdoor, Whole;
    /// Derived: their elapsed time, measured or not.
    OutdoorSpan = 39, Outdoor, Sum;
    /// Integral of the room temperature.
    Room = 40, Rooms, Sum;
    /// Its time.
    RoomTime = 41, Rooms, Sum;
    /// Time at or above the standard temperature.
    RoomCompliant = 42, Rooms, Sum;
    /// Time above 24 °C.
    RoomOverHigh = 43, Rooms, Sum;
    /// Derived: elapsed time of the facilities that have rooms.
    RoomSpan = 44, Rooms, Sum;
    /// Derived: how much of that is covered by at least one room.
    RoomCovered = 45, Rooms, Sum;
    /// Derived: households with a room temperature in the window.
    Households = 46, Rooms, Whole;
    /// Derived: those whose mean is at or above their standard.
    HouseholdsCompliant = 47, Rooms, Whole;
    /// Time in which objects reported at their interval.
    Online = 48, Reports, Sum;
    /// Time in which they were expected to.
    Expected = 49, Reports, Sum;
    /// Reports expected.
    ReportsExpected = 50, Reports, Sum;
    /// Reports received.
    ReportsReceived = 51, Reports, Sum;
    /// Derived: received, but at most expected.
    ReportsCounted = 52, Reports, Sum;
    /// Readings received.
    Readings = 53, Reports, Sum;
    /// Those that may be used.
    Valid = 54, Reports, Sum;
    /// Those that came in time.
    Timely = 55, Reports, Sum;
    /// Those in normal form that do not contradict others.
    Consistent = 56, Reports, Sum;
    /// Readings received again.
    Duplicates = 57, Reports, Sum;
    /// Derived: readings of metrics that reports lacked though the object reports them.
    ReadingsMissing = 62, Reports, Sum;
    /// Readings that arrived in the window after their own had closed: they revise nothing.
    BeyondRevision = 63, Reports, Sum;
}

/// Ids of components that are no more: late changes, corrected ones, those of the registry, and closings were counted
/// before [`crate::reason`] told of them.
pub(super) const RETIRED: [u16; 4] = [58, 59, 60, 61];

/// The number of components.
pub const COUNT: usize = Component::ALL.len();

/// The sums of one window. Only those that are not zero are stored, so equal facts are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "Written")]
pub struct Facts {
    present: Mask,
    values: Sums,
}

impl Facts {
    /// The sums of some components in their order; there are as many as components, and none is zero.
    pub(super) fn of(present: Mask, values: Sums) -> Facts {
        Facts { present, values }
    }

    /// Which components they hold, and the sums in their order.
    pub(super) fn parts(&self) -> (Mask, &Sums) {
        (self.present, &self.values)
    }

    /// No facts.
    #[must_use]
    pub fn new() -> Facts {
        Facts::default()
    }

    /// One sum; 0 when nothing contributed.
    #[must_use]
    pub fn get(&self, component: Component) -> i64 {
        if self.present.has(component) { self.values.get(self.place(component)) } else { 0 }
    }

    /// Adds to one sum. Sums saturate, which no city reaches.
    pub fn add(&mut self, component: Component, amount: i64) {
        if amount != 0 {
            let place = self.place(component);
            if self.present.has(component) {
                match self.values.get(place).saturating_add(amount) {
                    0 => {
                        self.present.remove(component);
                        self.values.remove(place);
                    }
                    sum => self.values.set(place, sum),
                }
            } else {
                self.present.insert(component);
                self.values.insert(place, amount);
            }
        }
    }

    /// Replaces one sum.
    pub fn set(&mut self, component: Component, amount: i64) {
        self.add(component, amount - self.get(component));
    }

    /// Adds all sums of other facts, `sign` times.
    pub fn add_all(&mut self, other: &Facts, sign: i64) {
        if self.present == other.present {
            self.values.add(&other.values, sign);
            if self.values.iter().any(|sum| sum == 0) {
                self.drop_zeros();
            }
        } else {
            self.values.reserve(other.present.without(self.present).len());
            for (component, amount) in other.iter() {
                self.add(component, sign * amount);
            }
        }
    }

    /// These facts less others.
    #[must_use]
    pub fn minus(&self, other: &Facts) -> Facts {
        let mut difference = self.clone();
        difference.add_all(other, -1);
        difference
    }

    /// The facts of some components only.
    #[must_use]
    pub fn only(&self, mask: Mask) -> Facts {
        if self.present.without(mask).is_empty() {
            return self.clone();
        }
        let present = self.present.without(mask.rest());
        let kept = self.iter().filter(|(component, _)| mask.has(*component)).map(|(_, sum)| sum);
        Facts { present, values: Sums::gathered(present.len(), kept) }
    }

    /// The sums that are not zero, in the order of their number.
    pub fn iter(&self) -> impl Iterator<Item = (Component, i64)> + '_ {
        self.present.iter().zip(self.values.iter())
    }

    /// Bytes on the heap, for memory figures.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.values.heap_bytes()
    }

    fn place(&self, component: Component) -> usize {
        self.present.rank(component)
    }

    fn drop_zeros(&mut self) {
        let zeros: Vec<Component> = self.iter().filter(|(_, sum)| *sum == 0).map(|(c, _)| c).collect();
        for component in zeros {
            self.values.remove(self.place(component));
            self.present.remove(component);
        }
    }
}

impl IsZero for Facts {
    fn is_zero(&self) -> bool {
        self.present.is_empty()
    }
}

impl Semigroup for Facts {
    fn plus_equals(&mut self, rhs: &Facts) {
        self.add_all(rhs, 1);
    }
}

impl Monoid for Facts {
    fn zero() -> Facts {
        Facts::default()
    }
}

impl Abelian for Facts {
    fn negate(&mut self) {
        let taken = std::mem::take(self);
        self.add_all(&taken, -1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use differential_dataflow::{Hashable, input::Input, operators::CountTotal};
    use proptest::prelude::*;

    use super::*;

    fn facts() -> impl Strategy<Value = Facts> {
        prop::collection::vec((0..COUNT, -3i64..4), 0..20).prop_map(|pairs| {
            let mut facts = Facts::new();
            for (number, amount) in pairs {
                facts.add(Component::ALL[number], amount);
            }
            facts
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn form_a_group(a in facts(), b in facts(), c in facts()) {
            let plus = |x: &Facts, y: &Facts| { let mut z = x.clone(); z.plus_equals(y); z };
            prop_assert_eq!(plus(&a, &b), plus(&b, &a));
            prop_assert_eq!(plus(&plus(&a, &b), &c), plus(&a, &plus(&b, &c)));
            prop_assert!(a.minus(&a).is_zero());
            let mut negated = b.clone();
            negated.negate();
            prop_assert_eq!(plus(&a, &negated), a.minus(&b));
            for component in Component::ALL {
                prop_assert_eq!(plus(&a, &b).get(*component), a.get(*component) + b.get(*component));
            }
        }
    }

    #[test]
    fn parts_of_facts_are_facts() {
        let mut facts = Facts::new();
        Component::ALL.iter().for_each(|c| facts.add(*c, 1));
        let two = Mask::of(&[Component::Heat, Component::Duplicates]);
        assert_eq!(
            facts.only(two).iter().collect::<Vec<_>>(),
            [(Component::Heat, 1), (Component::Duplicates, 1)]
        );
        assert_eq!(facts.only(two.rest()).iter().count(), COUNT - 2);
    }

    #[test]
    fn ride_in_the_difference_of_a_collection() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        timely::execute_directly(move |worker| {
            let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
                let (input, contributions) = scope.new_collection::<u32, Facts>();
                let changes = contributions.count_total_core::<i64>();
                let seen = Arc::clone(&seen);
                let (probe, _) =
                    changes.inspect(move |change| seen.lock().unwrap().push(change.clone())).probe();
                (input, probe)
            });
            let heat = |joules| {
                let mut facts = Facts::new();
                facts.add(Component::Heat, joules);
                facts
            };
            for (epoch, (scope, joules)) in [(7, 5), (7, 4), (8, 1), (7, -9)].into_iter().enumerate() {
                input.update(scope, heat(joules));
                input.advance_to(epoch as u64 + 1);
                input.flush();
                worker.step_while(|| probe.less_than(input.time()));
            }
        });
        let told: Vec<(u32, i64, u64, i64)> =
            told.lock().unwrap().iter().map(|((k, f), t, d)| (*k, f.get(Component::Heat), *t, *d)).collect();
        let mut want = vec![(7, 5, 0, 1), (7, 5, 1, -1), (7, 9, 1, 1), (8, 1, 2, 1), (7, 9, 3, -1)];
        want.sort_unstable();
        let mut told = told;
        told.sort_unstable();
        assert_eq!(told, want);
        assert_ne!(7u32.hashed(), 8u32.hashed());
    }
}
