//! Sets of components, of any number of them.

use super::facts::{Across, COUNT, Component, Group};

const BITS: usize = u64::BITS as usize;
const WORDS: usize = COUNT.div_ceil(BITS);

/// A set of components.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mask([u64; WORDS]);

const fn word(component: Component) -> usize {
    component as usize / BITS
}

const fn bit(component: Component) -> u64 {
    1 << (component as usize % BITS)
}

impl Mask {
    /// No component.
    pub const EMPTY: Mask = Mask([0; WORDS]);
    /// Every component.
    pub const ALL: Mask = Mask::of(Component::ALL);

    /// The components of a list.
    #[must_use]
    pub const fn of(components: &[Component]) -> Mask {
        let (mut mask, mut n) = (Mask::EMPTY, 0);
        while n < components.len() {
            mask.insert(components[n]);
            n += 1;
        }
        mask
    }

    /// The components of a group.
    #[must_use]
    pub const fn of_group(group: Group) -> Mask {
        Mask::of_kind(Some(group), None)
    }

    /// The components that follow in this way from the hours of a longer window.
    #[must_use]
    pub const fn of_across(across: Across) -> Mask {
        Mask::of_kind(None, Some(across))
    }

    const fn of_kind(group: Option<Group>, across: Option<Across>) -> Mask {
        let (mut mask, mut n) = (Mask::EMPTY, 0);
        while n < COUNT {
            let component = Component::ALL[n];
            let of_group = match group {
                Some(group) => component.group() as u8 == group as u8,
                None => true,
            };
            let follows = match across {
                Some(across) => component.across() as u8 == across as u8,
                None => true,
            };
            if of_group && follows {
                mask.insert(component);
            }
            n += 1;
        }
        mask
    }

    /// Those of either.
    #[must_use]
    pub const fn union(mut self, other: Mask) -> Mask {
        let mut n = 0;
        while n < WORDS {
            self.0[n] |= other.0[n];
            n += 1;
        }
        self
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn without(mut self, other: Mask) -> Mask {
        let mut n = 0;
        while n < WORDS {
            self.0[n] &= !other.0[n];
            n += 1;
        }
        self
    }

    /// Those that are not in the set.
    #[must_use]
    pub const fn rest(self) -> Mask {
        Mask::ALL.without(self)
    }

    /// Whether the component is in the set.
    #[inline]
    #[must_use]
    pub const fn has(self, component: Component) -> bool {
        self.0[word(component)] & bit(component) != 0
    }

    /// Puts a component in.
    #[inline]
    pub const fn insert(&mut self, component: Component) {
        self.0[word(component)] |= bit(component);
    }

    /// Takes a component out.
    #[inline]
    pub fn remove(&mut self, component: Component) {
        self.0[word(component)] &= !bit(component);
    }

    /// Whether it holds none.
    #[inline]
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Mask::EMPTY
    }

    /// How many it holds.
    #[inline]
    #[must_use]
    pub fn len(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many it holds before the component.
    #[inline]
    #[must_use]
    pub fn rank(self, component: Component) -> usize {
        let before: usize = self.0[..word(component)].iter().map(|word| word.count_ones() as usize).sum();
        before + (self.0[word(component)] & (bit(component) - 1)).count_ones() as usize
    }

    /// The components in the order of their number.
    #[inline]
    pub fn iter(mut self) -> impl Iterator<Item = Component> {
        let mut word = 0;
        std::iter::from_fn(move || {
            while word < WORDS {
                let bits = &mut self.0[word];
                if *bits != 0 {
                    let number = word * BITS + bits.trailing_zeros() as usize;
                    *bits &= *bits - 1;
                    return Some(Component::ALL[number]);
                }
                word += 1;
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set() -> impl Strategy<Value = BTreeSet<Component>> {
        prop::collection::btree_set((0..COUNT).prop_map(|number| Component::ALL[number]), 0..COUNT)
    }

    fn mask(set: &BTreeSet<Component>) -> Mask {
        Mask::of(&set.iter().copied().collect::<Vec<_>>())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn masks_are_sets(one in set(), other in set(), number in 0..COUNT) {
            let (component, a, b) = (Component::ALL[number], mask(&one), mask(&other));
            prop_assert_eq!(a.iter().collect::<Vec<_>>(), one.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(a.union(b), mask(&one.union(&other).copied().collect()));
            prop_assert_eq!(a.without(b), mask(&one.difference(&other).copied().collect()));
            prop_assert_eq!(a.rest().union(a), Mask::ALL);
            prop_assert_eq!((a.len(), a.is_empty()), (one.len(), one.is_empty()));
            prop_assert_eq!((a.has(component), a.rank(component)),
                (one.contains(&component), one.range(..component).count()));
            let (mut with, mut without) = (a, a);
            with.insert(component);
            without.remove(component);
            prop_assert_eq!((with.len(), without.len()), (a.len() + usize::from(!a.has(component)),
                a.len() - usize::from(a.has(component))));
        }
    }

    #[test]
    fn groups_and_ways_divide_the_components() {
        let groups = [Group::Network, Group::Devices, Group::Outdoor, Group::Rooms, Group::Reports];
        let ways = [Across::Sum, Across::Whole];
        assert_eq!(groups.map(|group| Mask::of_group(group).len()).iter().sum::<usize>(), COUNT);
        assert_eq!(ways.map(|across| Mask::of_across(across).len()).iter().sum::<usize>(), COUNT);
        assert!(Mask::of_group(Group::Rooms).has(Component::Households));
        assert!(Mask::of_across(Across::Whole).has(Component::HeatArea));
    }
}
