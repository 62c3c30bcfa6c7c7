//! The state of the reference job: per facility what the tests need and the open windows, kept by the product's own
//! durable map.
//!
//! Enters: the reports of an epoch and the clock at its end. Leaves: the rows of the windows that end with it.
//! Guarantees: what checkpoints hold is all that a restart needs.

use std::{collections::BTreeMap, hint};

use operators::{
    Durable, Observation, Observations, Observed,
    durable::{Keyed, RestoreError, Saved, known_form, shard},
};
use schemas::{Catalogue, Code, MetricId, Millis};
use serde::{Deserialize, Serialize, Serializer};
use smallvec::SmallVec;

use super::rules::{METRICS, RULES, Row, Series, Tallies, hash};

const LATENESS: Millis = 60_000;
const LOOKED_UP_AT_ONCE: usize = 32;

/// What has been seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub readings: u64,
    pub late: u64,
    /// Readings that failed the range, spike, rate and flat-line test.
    pub failed: [u64; 4],
}

#[derive(Debug, Serialize, Deserialize)]
struct Facility {
    hash: u64,
    series: [Series; METRICS],
    /// Those that have ended are begun again in place.
    #[serde(serialize_with = "open_ones")]
    windows: SmallVec<[Window; 2]>,
}

impl Facility {
    /// Reads a little of every part.
    #[inline]
    fn touch(&self) -> i64 {
        self.series.iter().fold(self.touch_windows(), |all, series| all ^ series.at())
    }

    /// Reads a little of every window.
    #[inline]
    fn touch_windows(&self) -> i64 {
        self.windows.iter().fold(0, |all, window| all ^ window.start ^ window.tallies.touch())
    }

    /// Where a window is, if it is open.
    #[inline]
    fn window(&self, start: Millis) -> Option<usize> {
        self.windows.iter().position(|window| window.start == start)
    }

    /// Opens a window and says where.
    fn open(&mut self, start: Millis) -> usize {
        let at = self.window(ENDED).unwrap_or_else(|| {
            self.windows.push(Window { start, tallies: Tallies::NONE });
            self.windows.len() - 1
        });
        let window = &mut self.windows[at];
        window.start = start;
        window.tallies.clear();
        at
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Window {
    /// Or [`ENDED`].
    start: Millis,
    tallies: Tallies,
}

/// What stands for the start of a window that is not open.
const ENDED: Millis = Millis::MIN;

fn open_ones<S: Serializer>(windows: &[Window], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(windows.iter().filter(|window| window.start != ENDED).collect::<Vec<_>>())
}

/// The job on one worker.
pub struct Reference {
    width: Millis,
    /// The rule of a metric, by its number in the catalogue.
    rules: Vec<Option<u8>>,
    facilities: Keyed<Code, Facility>,
    /// The facilities that have a window, by its start.
    open: BTreeMap<Millis, Vec<u32>>,
    /// Windows that end by then are closed.
    closed: Millis,
    pub seen: Seen,
}

impl Reference {
    pub fn new(width: Millis) -> Reference {
        let rule_of = |(_, metric): (MetricId, &schemas::Metric)| {
            RULES.iter().position(|rule| rule.metric == metric.code).map(|rule| rule as u8)
        };
        Reference {
            width,
            rules: Catalogue::in_force().iter().map(rule_of).collect(),
            facilities: Keyed::new(|code| shard(code)),
            open: BTreeMap::new(),
            closed: Millis::MIN,
            seen: Seen::default(),
        }
    }

    /// Takes what was restored into use, before the first epoch.
    pub fn resume(&mut self) {
        for (code, facility) in self.facilities.all_restored() {
            let starts: Vec<Millis> = facility.windows.iter().map(|window| window.start).collect();
            let number = self.facilities.insert(code, facility);
            starts.into_iter().for_each(|start| self.open.entry(start).or_default().push(number));
        }
    }

    /// Takes in reports. Their facilities are looked up some at a time, so that the waits for memory overlap.
    pub fn reports(&mut self, reports: &Observations) {
        let mut reports = reports.iter();
        let mut near: Vec<Observation<'_>> = Vec::with_capacity(LOOKED_UP_AT_ONCE);
        let mut numbers = Vec::with_capacity(LOOKED_UP_AT_ONCE);
        loop {
            near.extend(reports.by_ref().take(LOOKED_UP_AT_ONCE));
            if near.is_empty() {
                return;
            }
            self.facilities.numbers(near.iter().map(|report| report.facility), &mut numbers);
            self.read_ahead(numbers.iter().flatten().copied(), Facility::touch);
            for (report, number) in near.drain(..).zip(&numbers) {
                // One that is not known may have come twice among these.
                let number = number.or_else(|| self.facilities.number(report.facility));
                let number = number.unwrap_or_else(|| self.add(report.facility));
                self.report(&report, number);
            }
        }
    }

    /// Has the memory bring facilities that are needed next, all at once.
    #[inline]
    fn read_ahead(&self, numbers: impl Iterator<Item = u32>, touch: impl Fn(&Facility) -> i64) {
        let held = numbers.filter_map(|number| self.facilities.get(number));
        hint::black_box(held.map(touch).fold(0, |all, one| all ^ one));
    }

    #[inline]
    fn report(&mut self, report: &Observation<'_>, number: u32) {
        let Observation { observed_at, readings, .. } = *report;
        let Some(state) = self.facilities.get_mut(number) else { return };
        self.seen.readings += readings.len() as u64;
        let start = observed_at.div_euclid(self.width) * self.width;
        let mut window = state.window(start);
        if start + self.width <= self.closed {
            self.seen.late += readings.len() as u64;
        } else if window.is_none() {
            window = Some(state.open(start));
            self.open.entry(start).or_default().push(number);
        }
        for &Observed { metric, value, .. } in readings {
            let Some(Some(rule)) = self.rules.get(usize::from(metric.0)) else { continue };
            let rule = usize::from(*rule);
            let failed = state.series[rule].check(&RULES[rule], observed_at, value);
            if failed != 0 {
                (0..4).for_each(|test| self.seen.failed[test] += u64::from(failed >> test & 1));
            }
            if let Some(window) = window {
                state.windows[window].tallies.add(rule, value, failed);
            }
        }
    }

    fn add(&mut self, facility: &str) -> u32 {
        let state =
            Facility { hash: hash(facility), series: [Series::default(); METRICS], windows: SmallVec::new() };
        self.facilities.insert(facility.into(), state)
    }

    /// Closes what ends a minute before the clock, or everything.
    pub fn close(&mut self, clock: Millis, mut give: impl FnMut(Row)) {
        let watermark = clock.saturating_sub(LATENESS);
        while let Some(entry) = self.open.first_entry() {
            let start = *entry.key();
            if start + self.width > watermark {
                break;
            }
            for near in entry.remove().chunks(LOOKED_UP_AT_ONCE) {
                self.read_ahead(near.iter().copied(), Facility::touch_windows);
                near.iter().for_each(|number| self.end(*number, start, &mut give));
            }
        }
        self.closed = self.closed.max(watermark);
    }

    /// Gives the rows of a window, and ends it.
    #[inline]
    fn end(&mut self, number: u32, start: Millis, give: &mut impl FnMut(Row)) {
        let Some(state) = self.facilities.get_mut(number) else { return };
        let Some(at) = state.window(start) else { return };
        let window = &mut state.windows[at];
        for metric in 0..METRICS {
            if let Some(tally) = window.tallies.of(metric) {
                give(Row { hash: state.hash, metric: metric as u32, start, tally });
            }
        }
        window.start = ENDED;
    }
}

impl Durable for Reference {
    const STATE: &'static str = "reference";
    const FORM: u16 = 1;

    fn begin(&mut self) {
        self.facilities.begin();
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        self.facilities.save(entries, out)
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        self.facilities.restore(Self::STATE, section)
    }
}
