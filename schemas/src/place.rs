//! Where a record lies: what a figure or an alarm rests on can be looked up there.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Topic;

/// Where a record lies on one of our topics; written `reports/3/1042`: topic without prefix, partition, offset.
///
/// ```
/// use schemas::{RecordPlace, Topic};
///
/// let place = RecordPlace { topic: Topic::Reports, partition: 3, offset: 1042 };
/// assert_eq!(place.to_string(), "reports/3/1042");
/// assert_eq!("reports/3/1042".parse(), Ok(place));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordPlace {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.topic.name(), self.partition, self.offset)
    }
}

/// A text that names no place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place of a record: expected topic/partition/offset, such as reports/3/1042")]
pub struct NoPlace(String);

impl FromStr for RecordPlace {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<RecordPlace, NoPlace> {
        let mut parts = text.split('/');
        let mut part = || parts.next().unwrap_or_default();
        let (topic, partition, offset) = (part(), part().parse(), part().parse());
        let topic = Topic::ALL.iter().copied().find(|known| known.name() == topic);
        match (topic, partition, offset, parts.next()) {
            (Some(topic), Ok(partition), Ok(offset), None) => Ok(RecordPlace { topic, partition, offset }),
            _ => Err(NoPlace(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::another_topic("chat/3/1")]
    #[case::no_offset("reports/3")]
    #[case::more("reports/3/1/2")]
    #[case::no_number("reports/a/1")]
    #[case::empty("")]
    fn what_names_no_place_is_refused(#[case] text: &str) {
        assert_eq!(text.parse::<RecordPlace>(), Err(NoPlace(text.to_owned())));
    }
}
