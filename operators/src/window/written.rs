//! Facts as checkpoints hold them: a set of ids and the sums in the order of the ids, whatever the order of the components.

use serde::{Deserialize, Serialize};

use super::{
    facts::{Component, Facts},
    sums::Sums,
};

/// Facts as they are written. What is read is not known to be facts before it was looked at.
#[derive(Debug, Deserialize, Serialize)]
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

impl From<Facts> for Written {
    fn from(facts: Facts) -> Written {
        let mut sums: Vec<(u16, i64)> = facts.iter().map(|(component, sum)| (component.id(), sum)).collect();
        sums.sort_unstable();
        let words = sums.last().map_or(0, |(id, _)| usize::from(id / 64) + 1);
        let mut ids = vec![0; words];
        sums.iter().for_each(|(id, _)| ids[usize::from(id / 64)] |= 1 << (id % 64));
        Written { ids, values: Sums::gathered(sums.len(), sums.iter().map(|(_, sum)| *sum)) }
    }
}

impl TryFrom<Written> for Facts {
    type Error = &'static str;

    fn try_from(Written { ids, values }: Written) -> Result<Facts, &'static str> {
        let held: usize = ids.iter().map(|word| word.count_ones() as usize).sum();
        if held != values.len() || values.iter().any(|sum| sum == 0) {
            return Err("facts do not hold the components they name");
        }
        let mut by_id: Vec<Component> = Component::ALL.to_vec();
        by_id.sort_unstable_by_key(|component| component.id());
        let named = |component: &Component| {
            let id = component.id();
            ids.get(usize::from(id / 64)).is_some_and(|word| word & (1 << (id % 64)) != 0)
        };
        let sums: Vec<(Component, i64)> = by_id.into_iter().filter(named).zip(values.iter()).collect();
        if sums.len() != held {
            return Err("facts hold a component that this version does not know");
        }
        Ok(Facts::gathered(sums))
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
    fn only_facts_are_read(#[case] ids: Vec<u64>, #[case] values: Vec<i64>, #[case] fine: bool) {
        let bytes = postcard::to_stdvec(&(ids, values)).unwrap();
        let facts = postcard::from_bytes::<Facts>(&bytes);
        assert_eq!(facts.is_ok(), fine);
        if let Ok(facts) = facts {
            assert_eq!(postcard::to_stdvec(&facts).unwrap(), bytes);
        }
    }
}
