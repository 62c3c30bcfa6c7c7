//! The sums of a window, in the room they need: most of a city's windows are of rooms and small devices, whose sums fit 32
//! bits.
//!
//! Guarantees: what a list holds does not depend on its form; written, it is a list of 64-bit integers.

use std::{cmp::Ordering, hash::Hash};

use serde::{Deserialize, Serialize};

/// A list of integers. All of them take 32 bits until one needs more.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Vec<i64>")]
pub(super) enum Sums {
    /// Every one fits.
    Narrow(Vec<i32>),
    /// One of them does not, or did not once.
    Wide(Vec<i64>),
}

impl Sums {
    /// A list with room for so many.
    pub(super) fn gathered(count: usize, sums: impl IntoIterator<Item = i64>) -> Sums {
        let mut list = Sums::Narrow(Vec::with_capacity(count));
        sums.into_iter().for_each(|sum| list.insert(list.len(), sum));
        list
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Sums::Narrow(sums) => sums.len(),
            Sums::Wide(sums) => sums.len(),
        }
    }

    pub(super) fn get(&self, place: usize) -> i64 {
        match self {
            Sums::Narrow(sums) => i64::from(sums[place]),
            Sums::Wide(sums) => sums[place],
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).map(|place| self.get(place))
    }

    pub(super) fn set(&mut self, place: usize, sum: i64) {
        match (&mut *self, i32::try_from(sum)) {
            (Sums::Narrow(sums), Ok(sum)) => sums[place] = sum,
            (Sums::Narrow(_), Err(_)) => self.widened()[place] = sum,
            (Sums::Wide(sums), _) => sums[place] = sum,
        }
    }

    pub(super) fn insert(&mut self, place: usize, sum: i64) {
        match (&mut *self, i32::try_from(sum)) {
            (Sums::Narrow(sums), Ok(sum)) => insert(sums, place, sum),
            (Sums::Narrow(_), Err(_)) => insert(self.widened(), place, sum),
            (Sums::Wide(sums), _) => insert(sums, place, sum),
        }
    }

    pub(super) fn remove(&mut self, place: usize) {
        match self {
            Sums::Narrow(sums) => drop(sums.remove(place)),
            Sums::Wide(sums) => drop(sums.remove(place)),
        }
    }

    /// Room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        match self {
            Sums::Narrow(sums) => sums.reserve_exact(more),
            Sums::Wide(sums) => sums.reserve_exact(more),
        }
    }

    /// Adds other sums to these, place by place, `sign` times (1 or -1).
    pub(super) fn add(&mut self, other: &Sums, sign: i64) {
        if let (Sums::Narrow(mine), Sums::Narrow(theirs)) = (&mut *self, other) {
            let sum = |(mine, theirs): (&i32, &i32)| i64::from(*mine) + sign * i64::from(*theirs);
            if mine.iter().zip(theirs).map(sum).fold(true, |fit, sum| fit & (sum == i64::from(sum as i32))) {
                for (mine, theirs) in mine.iter_mut().zip(theirs) {
                    *mine = mine.wrapping_add((sign as i32).wrapping_mul(*theirs));
                }
                return;
            }
        }
        for (mine, theirs) in self.widened().iter_mut().zip(other.iter()) {
            *mine += sign * theirs;
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Sums::Narrow(sums) => sums.capacity() * size_of::<i32>(),
            Sums::Wide(sums) => sums.capacity() * size_of::<i64>(),
        }
    }

    fn widened(&mut self) -> &mut Vec<i64> {
        if let Sums::Narrow(sums) = self {
            *self = Sums::Wide(sums.iter().map(|sum| i64::from(*sum)).collect());
        }
        match self {
            Sums::Wide(sums) => sums,
            Sums::Narrow(_) => unreachable!("it was made wide just now"),
        }
    }
}

/// Grows little at a time: there are several lists per facility, which live for hours.
fn insert<T>(sums: &mut Vec<T>, place: usize, sum: T) {
    if sums.len() == sums.capacity() {
        sums.reserve_exact(4);
    }
    sums.insert(place, sum);
}

impl Default for Sums {
    fn default() -> Sums {
        Sums::Narrow(Vec::new())
    }
}

impl From<Vec<i64>> for Sums {
    fn from(sums: Vec<i64>) -> Sums {
        Sums::gathered(sums.len(), sums)
    }
}

impl Serialize for Sums {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl PartialEq for Sums {
    fn eq(&self, other: &Sums) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Sums {}

impl PartialOrd for Sums {
    fn partial_cmp(&self, other: &Sums) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sums {
    fn cmp(&self, other: &Sums) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl Hash for Sums {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.iter().for_each(|sum| sum.hash(state));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum() -> impl Strategy<Value = i64> {
        let bounds = [i32::MIN, i32::MAX].map(|bound| i64::from(bound) - 2..i64::from(bound) + 3);
        prop_oneof![-9..9i64, bounds[0].clone(), bounds[1].clone(), -(1i64 << 60)..(1 << 60)]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(usize, i64),
        Set(usize, i64),
        Remove(usize),
        Add(Vec<i64>, bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..9usize, sum()).prop_map(|(place, sum)| Step::Insert(place, sum)),
            (0..9usize, sum()).prop_map(|(place, sum)| Step::Set(place, sum)),
            (0..9usize).prop_map(Step::Remove),
            (prop::collection::vec(sum(), 9), any::<bool>()).prop_map(|(sums, minus)| Step::Add(sums, minus)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn are_a_list_of_integers(script in prop::collection::vec(step(), 0..40)) {
            let (mut sums, mut plain) = (Sums::default(), Vec::<i64>::new());
            for step in script {
                let fits = |place: usize, len: usize| if len == 0 { None } else { Some(place % len) };
                match step {
                    Step::Insert(place, sum) => {
                        let place = place % (plain.len() + 1);
                        sums.insert(place, sum);
                        plain.insert(place, sum);
                    }
                    Step::Set(place, sum) => if let Some(place) = fits(place, plain.len()) {
                        sums.set(place, sum);
                        plain[place] = sum;
                    },
                    Step::Remove(place) => if let Some(place) = fits(place, plain.len()) {
                        sums.remove(place);
                        plain.remove(place);
                    },
                    Step::Add(other, minus) => {
                        let other: Vec<i64> = other.into_iter().cycle().take(plain.len()).collect();
                        let sign = if minus { -1 } else { 1 };
                        sums.add(&Sums::from(other.clone()), sign);
                        plain.iter_mut().zip(other).for_each(|(mine, theirs)| *mine += sign * theirs);
                    }
                }
                prop_assert_eq!(&sums, &Sums::from(plain.clone()));
                prop_assert_eq!(sums.iter().collect::<Vec<_>>(), plain.clone());
                let written = postcard::to_stdvec(&sums).unwrap();
                prop_assert_eq!(&written, &postcard::to_stdvec(&plain).unwrap());
                prop_assert_eq!(postcard::from_bytes::<Sums>(&written).unwrap(), sums.clone());
            }
        }
    }

    #[test]
    fn what_fits_takes_half() {
        let narrow = Sums::from(vec![i64::from(i32::MAX), i64::from(i32::MIN), 7]);
        assert_eq!(narrow.heap_bytes(), 12);
        assert!(matches!(Sums::from(vec![i64::from(i32::MAX) + 1, 7]), Sums::Wide(_)));
    }
}
