//! Decoded reports, flat: what travels from the worker that reads a partition to the one that holds a facility.

use schemas::Millis;
use serde::{Deserialize, Serialize};

use super::{Observation, Observed};

/// Consecutive reports of one partition, in the order of their offsets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observations {
    partition: i32,
    heads: Vec<Head>,
    /// Facility and device of all reports, one behind the other.
    names: String,
    /// The readings of all reports, in their order.
    readings: Vec<Observed>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    observed_at: Millis,
    received_at: Millis,
    sequence: Option<i64>,
    offset: i64,
    redriven: bool,
    /// Where its facility, its device and its readings end; they begin where those of the report before end.
    facility: u32,
    device: u32,
    readings: u32,
}

/// How much there is of each part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    reports: usize,
    names: usize,
    readings: usize,
}

impl Observations {
    /// No reports yet of a partition.
    #[must_use]
    pub fn of(partition: i32) -> Observations {
        Observations { partition, ..Observations::default() }
    }

    /// The same, with room for so much.
    #[must_use]
    pub fn sized(partition: i32, size: Size) -> Observations {
        Observations {
            partition,
            heads: Vec::with_capacity(size.reports),
            names: String::with_capacity(size.names),
            readings: Vec::with_capacity(size.readings),
        }
    }

    /// How much it holds.
    #[must_use]
    pub fn size(&self) -> Size {
        Size { reports: self.heads.len(), names: self.names.len(), readings: self.readings.len() }
    }

    /// How many reports there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The readings of all reports.
    #[must_use]
    pub fn readings(&self) -> &[Observed] {
        &self.readings
    }

    /// Where the first report lies: reports are in the order of their places.
    #[must_use]
    pub fn place(&self) -> Option<(i32, i64)> {
        self.heads.first().map(|head| (self.partition, head.offset))
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Adds a report of the partition behind the last one.
    pub fn push(&mut self, report: &Observation<'_>) {
        self.readings.extend_from_slice(report.readings);
        self.close(report);
    }

    /// Adds one more reading to the report that [`Observations::close`] will end.
    pub fn add(&mut self, reading: Observed) {
        self.readings.push(reading);
    }

    /// Whether readings were added that belong to no report yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.readings.len() > self.heads.last().map_or(0, |head| head.readings as usize)
    }

    /// Takes away the readings that were added and belong to no report yet.
    pub fn abandon(&mut self) {
        self.readings.truncate(self.heads.last().map_or(0, |head| head.readings as usize));
    }

    /// Ends the report whose readings were added; those in `report` do not count.
    pub fn close(&mut self, report: &Observation<'_>) {
        self.names.push_str(report.facility);
        let facility = self.names.len() as u32;
        self.names.push_str(report.device);
        self.heads.push(Head {
            observed_at: report.observed_at,
            received_at: report.received_at,
            sequence: report.sequence,
            offset: report.offset,
            redriven: report.redriven,
            facility,
            device: self.names.len() as u32,
            readings: self.readings.len() as u32,
        });
    }

    /// The reports in the order of their offsets.
    pub fn iter(&self) -> impl Iterator<Item = Observation<'_>> {
        let (mut name, mut reading) = (0, 0);
        self.heads.iter().map(move |head| {
            let (facility, device) = (head.facility as usize, head.device as usize);
            let report = Observation {
                facility: &self.names[name..facility],
                device: &self.names[facility..device],
                observed_at: head.observed_at,
                received_at: head.received_at,
                sequence: head.sequence,
                partition: self.partition,
                offset: head.offset,
                redriven: head.redriven,
                readings: &self.readings[reading..head.readings as usize],
            };
            (name, reading) = (device, head.readings as usize);
            report
        })
    }
}

#[cfg(test)]
mod tests {
    use schemas::MetricId;

    use super::*;

    #[test]
    fn reports_come_back_as_they_went_in() {
        let observed = [1.0, 2.0, 3.0].map(|value| Observed { metric: MetricId(1), value, normal: true });
        let report = |offset, facility, device, readings| Observation {
            facility,
            device,
            observed_at: 10 + offset,
            received_at: 20 + offset,
            sequence: Some(offset).filter(|n| n % 2 == 0),
            partition: 3,
            offset,
            redriven: offset == 9,
            readings,
        };
        let sent = [
            report(4, "ST-1", "", &observed[..1]),
            report(5, "", "热泵-1", &observed[1..]),
            report(9, "ST-1", "D", &[]),
            report(10, "ST-2", "", &observed[..2]),
        ];
        let mut reports = Observations::of(3);
        for report in &sent {
            reports.push(report);
        }
        assert_eq!(reports.iter().collect::<Vec<_>>(), sent);
        assert_eq!((reports.len(), reports.place(), reports.is_open()), (4, Some((3, 4)), false));
        let travelled: Observations = postcard::from_bytes(&postcard::to_stdvec(&reports).unwrap()).unwrap();
        assert_eq!(travelled, reports);
        reports.add(observed[0]);
        assert!(reports.is_open());
        reports.abandon();
        assert_eq!(reports, travelled);
    }
}
