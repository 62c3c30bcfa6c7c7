//! How far back quality control remembers.

use schemas::{FacilityKind, Millis, time};

/// How much each object remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// How far behind the object's newest report another may lie and still be compared with its neighbours, ms. At
    /// least as long as the windows of KPIs stay open, so that no repetition revises one.
    pub lateness: Millis,
    /// How many reports of a room or a clean device are remembered at most, at least 2. Most of them report every ten
    /// minutes; of those that report every minute 127 are more than the time in which alarms are revised.
    pub reports: usize,
    /// The same for the facilities of the network, which are few and report every minute: a bound for senders that run
    /// wild, far above what they send in `lateness`.
    pub network_reports: usize,
}

/// A reading needs both neighbours beside it.
pub(super) const LEAST_REPORTS: usize = 2;
/// A facility of the network that reports more often than this forgets earlier than the lateness.
const SHORTEST_INTERVAL: Millis = 5 * time::SECOND;

impl Memory {
    /// Memory that reaches back for `lateness` ms, of rooms and clean devices no further than `reports` reports.
    #[must_use]
    pub fn new(lateness: Millis, reports: usize) -> Memory {
        let reports = reports.max(LEAST_REPORTS);
        let network_reports = usize::try_from(lateness / SHORTEST_INTERVAL).unwrap_or(0).max(reports);
        Memory { lateness, reports, network_reports }
    }

    /// How many reports of an object are remembered at most.
    #[inline]
    #[must_use]
    pub fn reports_of(&self, kind: FacilityKind) -> usize {
        match kind {
            FacilityKind::Household
            | FacilityKind::Building
            | FacilityKind::Community
            | FacilityKind::CleanDevice => self.reports,
            _ => self.network_reports,
        }
    }
}

impl Default for Memory {
    /// Seven hours, of a room or a clean device at most 127 reports.
    fn default() -> Self {
        Memory::new(7 * time::HOUR, 127)
    }
}
