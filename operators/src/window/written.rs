//! Facts as checkpoints hold them: a set of ids, and the sums in their order.

use serde::{Deserialize, Serialize, Serializer};
use smallvec::SmallVec;

use super::{
    facts::{COUNT, Component, Facts, RETIRED},
    mask::Mask,
    sums::Sums,
};

const BITS: u16 = 64;
/// Words that the ids take.
const WORDS: usize = (Component::ALL[COUNT - 1].id() / BITS) as usize + 1;

// So that sums in the order of components are in that of ids.
const _: () = {
    let mut n = 1;
    while n < COUNT {
        assert!(
            Component::ALL[n - 1].id() < Component::ALL[n].id(),
            "components are not in the order of their ids"
        );
        n += 1;
    }
};

/// Every component by its id.
const BY_ID: [Option<Component>; WORDS * BITS as usize] = {
    let (mut known, mut n) = ([None; WORDS * BITS as usize], 0);
    while n < COUNT {
        known[Component::ALL[n].id() as usize] = Some(Component::ALL[n]);
        n += 1;
    }
    known
};

/// The place of an id among the words: which word, and which bit.
fn place(component: Component) -> (usize, u64) {
    (usize::from(component.id() / BITS), 1 << (component.id() % BITS))
}

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// What [`Written`] reads.
        #[derive(Serialize)]
        #[serde(rename = "Facts")]
        struct Writing<'f> {
            ids: &'f [u64],
            values: &'f Sums,
        }
        let (present, values) = self.parts();
        let (mut ids, mut words) = ([0; WORDS], 0);
        for component in present.iter() {
            let (word, bit) = place(component);
            ids[word] |= bit;
            words = word + 1;
        }
        Writing { ids: &ids[..words], values }.serialize(serializer)
    }
}

/// Facts as they were written, before it is certain that they are some.
#[derive(Debug, Deserialize)]
#[serde(rename = "Facts")]
pub(super) struct Written {
    /// A bit per id, 64 to a word.
    ids: Vec<u64>,
    values: Sums,
}

impl Written {
    /// Facts of form 1 of the windows, whose ids were less than 64.
    pub(super) fn of_form_1(ids: u64, values: Sums) -> Written {
        Written { ids: vec![ids], values }
    }
}

impl TryFrom<Written> for Facts {
    type Error = &'static str;

    fn try_from(Written { ids, values }: Written) -> Result<Facts, &'static str> {
        let held: usize = ids.iter().map(|word| word.count_ones() as usize).sum();
        if held != values.len() || values.iter().any(|sum| sum == 0) {
            return Err("facts do not hold the components they name");
        }
        let (mut present, mut known) = (Mask::EMPTY, SmallVec::<[i64; 32]>::new());
        let written =
            (0..ids.len() as u16 * BITS).filter(|id| ids[usize::from(id / BITS)] >> (id % BITS) & 1 == 1);
        for (id, sum) in written.zip(values.iter()) {
            match BY_ID.get(usize::from(id)).copied().flatten() {
                Some(component) => {
                    present.insert(component);
                    known.push(sum);
                }
                None if RETIRED.contains(&id) => {}
                None => return Err("facts hold a component that this version does not know"),
            }
        }
        Ok(Facts::of(present, Sums::gathered(known.len(), known)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::facts::COUNT, *};

    #[test]
    fn an_id_is_given_once() {
        let ids: BTreeSet<u16> = Component::ALL.iter().map(|component| component.id()).collect();
        assert_eq!(ids.len(), COUNT);
    }

    #[rstest::rstest]
    #[case::fine(vec![0b101], vec![7, -7], true)]
    #[case::none(vec![], vec![], true)]
    #[case::one_missing(vec![0b101], vec![7], false)]
    #[case::a_zero(vec![0b101], vec![7, 0], false)]
    #[case::unknown(vec![0, 1 << 63], vec![7], false)]
    #[case::unknown_beside_known(vec![1, 1], vec![7, 8], false)]
    fn only_facts_are_read(#[case] ids: Vec<u64>, #[case] values: Vec<i64>, #[case] fine: bool) {
        let bytes = postcard::to_stdvec(&(ids, values)).unwrap();
        let facts = postcard::from_bytes::<Facts>(&bytes);
        assert_eq!(facts.is_ok(), fine);
        if let Ok(facts) = facts {
            assert_eq!(postcard::to_stdvec(&facts).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_counted_no_more_is_passed_over() {
        let bytes = postcard::to_stdvec(&(vec![1_u64 | 1 << 59 | 1 << 62], vec![7_i64, 5, 3])).unwrap();
        let facts: Facts = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(
            facts.iter().collect::<Vec<_>>(),
            [(Component::HeatCounter, 7), (Component::ReadingsMissing, 3)]
        );
    }
}
