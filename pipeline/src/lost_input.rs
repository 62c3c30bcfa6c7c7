//! Input that is no longer there: found before it is silently skipped.
//!
//! Enters: bindings and the present ends of the topics. Leaves: the [`Gap`]s between what is to be read and what Kafka
//! still holds. Guarantees: nothing is skipped unless the operator accepted the loss, and then what was skipped is known
//! to the record.

use schemas::{Epoch, KafkaSettings, Topic};

use crate::{
    Error,
    binding::{Binding, Watermark},
};

/// Records of one partition that were to be read and are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: i32,
    /// First offset that is gone.
    pub from: i64,
    /// Where reading can go on.
    pub resume: i64,
}

impl Gap {
    /// Whether the partition ends before what was read already: it was made anew, or lost its end.
    #[must_use]
    pub fn ends_early(&self) -> bool {
        self.resume < self.from
    }

    /// The partition's name.
    #[must_use]
    pub fn place(&self, settings: &KafkaSettings) -> String {
        format!("{}/{}", settings.topic(self.topic), self.partition)
    }

    /// What is gone, in words.
    #[must_use]
    pub fn gone(&self) -> String {
        if self.ends_early() {
            format!("it was read up to offset {} and now begins anew at {}", self.from, self.resume)
        } else {
            format!(
                "offsets {} to {} are gone ({} at most)",
                self.from,
                self.resume - 1,
                self.resume - self.from
            )
        }
    }
}

/// What lies between the last binding and what the topics hold.
#[must_use]
pub fn gaps(previous: Option<&Binding>, marks: &[Watermark]) -> Vec<Gap> {
    let ranges = previous.iter().flat_map(|binding| &binding.ranges);
    let gap = |range: &crate::binding::Range| {
        let mark = marks.iter().find(|m| m.topic == range.topic && m.partition == range.partition)?;
        let lost = range.upto < mark.low || range.upto > mark.high;
        let Watermark { topic, partition, low, .. } = *mark;
        lost.then_some(Gap { topic, partition, from: range.upto, resume: low })
    };
    ranges.filter_map(gap).collect()
}

/// Lets the next binding begin behind the gaps.
pub fn step_over(previous: &mut Binding, gaps: &[Gap]) {
    for range in &mut previous.ranges {
        let gap = gaps.iter().find(|gap| gap.topic == range.topic && gap.partition == range.partition);
        if let Some(gap) = gap {
            (range.from, range.upto) = (gap.resume, gap.resume);
        }
    }
}

/// What recorded bindings would read again, or the next one would read, and can no more; the bindings then name only
/// what is still there.
pub fn withdraw(recorded: &mut [Binding], marks: &[Watermark]) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    let last = recorded.last().map(|binding| binding.epoch);
    for binding in recorded {
        let last = last == Some(binding.epoch);
        for range in &mut binding.ranges {
            let mark = marks.iter().find(|m| m.topic == range.topic && m.partition == range.partition);
            let Some(mark) = mark.filter(|mark| range.from < mark.low) else { continue };
            let known = gaps.iter().any(|gap| gap.topic == range.topic && gap.partition == range.partition);
            if !known && (range.from < range.upto || (last && range.upto < mark.low)) {
                let (topic, partition) = (range.topic, range.partition);
                gaps.push(Gap { topic, partition, from: range.from, resume: mark.low });
            }
            (range.from, range.upto) = (mark.low, range.upto.max(mark.low));
        }
    }
    gaps
}

/// The error that stops the pipeline before it would skip records.
#[must_use]
pub fn refused(gaps: &[Gap], settings: &KafkaSettings) -> Error {
    let lines = gaps.iter().map(|gap| format!("{}: {}", gap.place(settings), gap.gone()));
    Error::Lost(lines.collect::<Vec<_>>().join("; "))
}

/// Whether the state directory is the one that wrote the offsets which Kafka holds.
///
/// # Errors
/// When Kafka has outputs of epochs that the directory does not know: binding them again would give other epochs.
pub fn agrees(committed: Epoch, bound: Epoch, pipeline: &str) -> Result<(), Error> {
    if committed <= bound {
        return Ok(());
    }
    Err(Error::StateBehind { pipeline: pipeline.to_owned(), committed, bound })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{Range, next};

    fn mark(partition: i32, low: i64, high: i64) -> Watermark {
        Watermark { topic: Topic::Reports, partition, low, high }
    }

    fn binding(epoch: Epoch, ranges: [(i64, i64); 2]) -> Binding {
        let range = |(partition, (from, upto)): (usize, (i64, i64))| Range {
            topic: Topic::Reports,
            partition: partition as i32,
            from,
            upto,
            caught_up: true,
        };
        Binding {
            epoch,
            wall: 0,
            ranges: ranges.into_iter().enumerate().map(range).collect(),
            conditions: Vec::new(),
        }
    }

    #[rstest::rstest]
    #[case::nothing_missing([(10, 30), (0, 9)], &[])]
    #[case::just_not_missing([(20, 30), (9, 9)], &[])]
    #[case::retention_passed([(21, 30), (0, 9)], &[(0, 20, 21)])]
    #[case::made_anew([(0, 3), (0, 9)], &[(0, 20, 0)])]
    #[case::both([(25, 30), (10, 12)], &[(0, 20, 25), (1, 9, 10)])]
    fn gaps_are_found(#[case] marks: [(i64, i64); 2], #[case] expected: &[(i32, i64, i64)]) {
        let previous = binding(1, [(10, 20), (0, 9)]);
        let marks = [mark(0, marks[0].0, marks[0].1), mark(1, marks[1].0, marks[1].1)];
        let found = gaps(Some(&previous), &marks);
        let places: Vec<_> = found.iter().map(|gap| (gap.partition, gap.from, gap.resume)).collect();
        assert_eq!(places, expected);
        let mut stepped = previous;
        step_over(&mut stepped, &found);
        let next = next(Some(&stepped), &marks, 0, 100, Vec::new());
        for (range, mark) in next.ranges.iter().zip(&marks) {
            assert!(range.from >= mark.low && range.upto == mark.high, "{range:?} {mark:?}");
        }
        assert_eq!(gaps(None, &marks), []);
    }

    #[test]
    fn recorded_bindings_name_only_what_is_left() {
        let mut recorded =
            [binding(1, [(0, 10), (0, 4)]), binding(2, [(10, 20), (4, 4)]), binding(3, [(20, 30), (4, 8)])];
        let gaps = withdraw(&mut recorded, &[mark(0, 13, 40), mark(1, 0, 8)]);
        assert_eq!(gaps, [Gap { topic: Topic::Reports, partition: 0, from: 0, resume: 13 }]);
        let left: Vec<_> = recorded.iter().map(|b| (b.ranges[0].from, b.ranges[0].upto)).collect();
        assert_eq!(left, [(13, 13), (13, 20), (20, 30)]);
        assert_eq!(withdraw(&mut recorded, &[mark(0, 13, 40), mark(1, 0, 8)]), []);
        // All that was bound is there or done with, but what comes next is gone.
        let mut idle = [binding(1, [(0, 0), (8, 8)]), binding(2, [(0, 0), (8, 8)])];
        let gaps = withdraw(&mut idle, &[mark(0, 0, 9), mark(1, 12, 20)]);
        assert_eq!(gaps, [Gap { topic: Topic::Reports, partition: 1, from: 8, resume: 12 }]);
        assert_eq!((idle[0].ranges[1].from, idle[1].ranges[1].upto), (12, 12));
    }

    #[test]
    fn a_state_that_is_older_than_the_outputs_is_refused() {
        assert!(agrees(7, 7, "p").is_ok() && agrees(0, 0, "p").is_ok());
        let message = agrees(8, 7, "p").unwrap_err().to_string();
        assert!(message.contains("epoch 8") && message.contains("epoch 7"), "{message}");
    }
}
