//! Facts of a window: exact sums, in fixed point, that KPIs are computed from.
//!
//! Enters: contributions of segments, reports and the registry. Leaves: sums. Guarantees: addition is exact, so the
//! order of contributions does not matter and a retraction cancels what it retracts; `Facts` is the difference type of
//! a differential collection.

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Semigroup};
use serde::{Deserialize, Serialize};

use super::sums::Sums;

macro_rules! components {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One sum. Times are ms; integrals over time are in thousandths of the unit, times seconds.
        ///
        /// *Derived* ones are functions of the other facts of one facility and one window, kept as sums so that they
        /// roll up. The order is part of the format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Component { $($(#[$doc])* $name,)* }

        impl Component {
            /// Every component, in the order of its number.
            pub const ALL: &'static [Component] = &[$(Component::$name,)*];
        }
    };
}

components! {
    /// Heat by counter, J.
    HeatCounter,
    /// Time that the heat counter covers.
    HeatCounterTime,
    /// Heat as integral of power, J.
    HeatPower,
    /// Time that power covers.
    HeatPowerTime,
    /// Derived: heat by counter, and by power in the time that no counter covers or in which it is frozen, J.
    Heat,
    /// Derived: time behind `Heat`.
    HeatTime,
    /// Derived: area of the facilities behind `Heat`, 0.01 m².
    HeatArea,
    /// Derived: area × time behind `Heat`, m²·s.
    HeatAreaTime,
    /// Integral of the primary supply temperature.
    PrimarySupply,
    /// Its time.
    PrimarySupplyTime,
    /// Integral of the flow measured together with it.
    PrimarySupplyFlow,
    /// Integral of flow × temperature.
    PrimarySupplyProduct,
    /// Integral of the primary return temperature.
    PrimaryReturn,
    /// Its time.
    PrimaryReturnTime,
    /// Integral of the flow measured together with it.
    PrimaryReturnFlow,
    /// Integral of flow × temperature.
    PrimaryReturnProduct,
    /// Integral of the secondary supply temperature.
    SecondarySupply,
    /// Its time.
    SecondarySupplyTime,
    /// Integral of the flow measured together with it.
    SecondarySupplyFlow,
    /// Integral of flow × temperature.
    SecondarySupplyProduct,
    /// Integral of the secondary return temperature.
    SecondaryReturn,
    /// Its time.
    SecondaryReturnTime,
    /// Integral of the flow measured together with it.
    SecondaryReturnFlow,
    /// Integral of flow × temperature.
    SecondaryReturnProduct,
    /// Make-up water, cm³.
    Makeup,
    /// Its time.
    MakeupTime,
    /// Derived: area of the facilities behind it, 0.01 m².
    MakeupArea,
    /// Electricity of stations and sources, mWh.
    Electricity,
    /// Its time.
    ElectricityTime,
    /// Derived: area of the facilities behind it, 0.01 m².
    ElectricityArea,
    /// Derived: heat of the hours in which heat and electricity were measured, J.
    PairedHeat,
    /// Derived: electricity of those hours, mWh.
    PairedElectricity,
    /// Derived: elapsed time of the stations and sources, measured or not.
    StationSpan,
    /// Electricity of clean-heating devices, mWh.
    DeviceElectricity,
    /// Its time.
    DeviceElectricityTime,
    /// Derived: elapsed time of the clean-heating devices.
    DeviceSpan,
    /// Integral of the outdoor temperature.
    Outdoor,
    /// Its time.
    OutdoorTime,
    /// Derived: facilities that measure it, in this window or before.
    OutdoorFacilities,
    /// Derived: their elapsed time, measured or not.
    OutdoorSpan,
    /// Integral of the room temperature.
    Room,
    /// Its time.
    RoomTime,
    /// Time at or above the standard temperature.
    RoomCompliant,
    /// Time above 24 °C.
    RoomOverHigh,
    /// Derived: elapsed time of the facilities that have rooms.
    RoomSpan,
    /// Derived: how much of that is covered by at least one room.
    RoomCovered,
    /// Derived: households with a room temperature in the window.
    Households,
    /// Derived: those whose mean is at or above their standard.
    HouseholdsCompliant,
    /// Time in which objects reported at their interval.
    Online,
    /// Time in which they were expected to.
    Expected,
    /// Reports expected.
    ReportsExpected,
    /// Reports received.
    ReportsReceived,
    /// Derived: received, but at most expected.
    ReportsCounted,
    /// Readings received.
    Readings,
    /// Those that may be used.
    Valid,
    /// Those that came in time.
    Timely,
    /// Those in normal form that do not contradict others.
    Consistent,
    /// Readings received again.
    Duplicates,
    /// Changes by data that arrived after the window had ended.
    LateChanges,
    /// Changes by corrections and revised marks.
    CorrectedChanges,
    /// Changes by the registry.
    RegistryChanges,
    /// 1 per facility whose window ended.
    Closings,
    /// Derived: readings of metrics that reports lacked though the object reports them.
    ReadingsMissing,
}

/// The number of components.
pub const COUNT: usize = Component::ALL.len();
// The mask of present components is 64 bits wide.
const _: () = assert!(COUNT <= 64);

/// The sums of one window. Only those that are not zero are stored, so equal facts are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Facts {
    present: u64,
    values: Sums,
}

/// Facts as they are read, before it is certain that they are some.
#[derive(Deserialize)]
#[serde(rename = "Facts")]
struct Written {
    present: u64,
    values: Sums,
}

impl TryFrom<Written> for Facts {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Facts, &'static str> {
        let Written { present, values } = written;
        if Component::ALL.len() < (64 - present.leading_zeros()) as usize {
            return Err("facts hold a component that this version does not know");
        }
        if present.count_ones() as usize != values.len() || values.iter().any(|sum| sum == 0) {
            return Err("facts do not hold the components they name");
        }
        Ok(Facts { present, values })
    }
}

impl Facts {
    /// No facts.
    #[must_use]
    pub fn new() -> Facts {
        Facts::default()
    }

    /// One sum; 0 when nothing contributed.
    #[must_use]
    pub fn get(&self, component: Component) -> i64 {
        if self.present & bit(component) == 0 { 0 } else { self.values.get(self.place(component)) }
    }

    /// Adds to one sum. Sums saturate, which no city reaches.
    pub fn add(&mut self, component: Component, amount: i64) {
        if amount != 0 {
            let place = self.place(component);
            if self.present & bit(component) == 0 {
                self.present |= bit(component);
                self.values.insert(place, amount);
            } else {
                match self.values.get(place).saturating_add(amount) {
                    0 => {
                        self.present &= !bit(component);
                        self.values.remove(place);
                    }
                    sum => self.values.set(place, sum),
                }
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
            self.values.reserve((other.present & !self.present).count_ones() as usize);
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
        if self.present & !mask.0 == 0 {
            return self.clone();
        }
        let present = self.present & mask.0;
        let kept = self.iter().filter(|(component, _)| mask.has(*component)).map(|(_, sum)| sum);
        Facts { present, values: Sums::gathered(present.count_ones() as usize, kept) }
    }

    /// The sums that are not zero, in the order of their number.
    pub fn iter(&self) -> impl Iterator<Item = (Component, i64)> + '_ {
        let mut rest = self.present;
        self.values.iter().map(move |amount| {
            let number = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            (Component::ALL[number], amount)
        })
    }

    /// Bytes on the heap, for memory figures.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.values.heap_bytes()
    }

    fn place(&self, component: Component) -> usize {
        (self.present & (bit(component) - 1)).count_ones() as usize
    }

    fn drop_zeros(&mut self) {
        let zeros: Vec<Component> = self.iter().filter(|(_, sum)| *sum == 0).map(|(c, _)| c).collect();
        for component in zeros {
            self.values.remove(self.place(component));
            self.present &= !bit(component);
        }
    }
}

fn bit(component: Component) -> u64 {
    1 << component as u8
}

/// A set of components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask(u64);

impl Mask {
    /// Every component.
    pub const ALL: Mask = Mask(u64::MAX);

    /// The components of a list.
    #[must_use]
    pub const fn of(components: &[Component]) -> Mask {
        let (mut mask, mut n) = (0, 0);
        while n < components.len() {
            mask |= 1 << components[n] as u8;
            n += 1;
        }
        Mask(mask)
    }

    /// The components from one to another, both included.
    #[must_use]
    pub const fn range(from: Component, to: Component) -> Mask {
        Mask((u64::MAX >> (63 - to as u8)) & (u64::MAX << from as u8))
    }

    /// Those of either.
    #[must_use]
    pub const fn and(self, other: Mask) -> Mask {
        Mask(self.0 | other.0)
    }

    /// Those that are not in the set.
    #[must_use]
    pub const fn rest(self) -> Mask {
        Mask(!self.0)
    }

    /// Whether the component is in the set.
    #[must_use]
    pub const fn has(self, component: Component) -> bool {
        self.0 & 1 << component as u8 != 0
    }
}

impl IsZero for Facts {
    fn is_zero(&self) -> bool {
        self.present == 0
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

    #[rstest::rstest]
    #[case::fine(0b101, vec![7, -7], true)]
    #[case::one_missing(0b101, vec![7], false)]
    #[case::a_zero(0b101, vec![7, 0], false)]
    #[case::unknown(1 << COUNT, vec![7], false)]
    #[case::last(1 << (COUNT - 1), vec![7], true)]
    fn only_facts_are_read(#[case] present: u64, #[case] values: Vec<i64>, #[case] fine: bool) {
        let bytes = postcard::to_stdvec(&(present, values)).unwrap();
        assert_eq!(postcard::from_bytes::<Facts>(&bytes).is_ok(), fine);
    }

    #[test]
    fn masks_are_ranges_and_lists() {
        let mut facts = Facts::new();
        Component::ALL.iter().for_each(|c| facts.add(*c, 1));
        let heat = Mask::range(Component::HeatCounter, Component::HeatAreaTime);
        assert_eq!(facts.only(heat).iter().count(), 8);
        assert_eq!(facts.only(heat.rest()).iter().count(), COUNT - 8);
        assert_eq!(facts.only(Mask::of(&[Component::Heat, Component::Closings])).get(Component::Closings), 1);
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
