//! A naive account of what episodes a finished series has, written without the fold, for tests.

use schemas::{Millis, Side};

use super::episode::Limits;

/// An episode as the oracle sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub onset: Millis,
    pub raised_at: Millis,
    pub cleared_at: Option<Millis>,
    pub first_value: f64,
    pub level: u8,
    pub peak_level: u8,
    pub peak_value: f64,
    pub peak_at: Millis,
}

fn severities(limits: &Limits, values: &[f64]) -> Vec<u8> {
    let past = |value: f64, limit: f64, slack: f64| match limits.side {
        Side::High => (value >= limit, value > limit - slack),
        Side::Low => (value <= limit, value < limit + slack),
    };
    let mut found: Vec<u8> = Vec::new();
    for value in values {
        let before = found.last().copied().unwrap_or(0);
        let of = |level: usize| {
            let severity = 4 - level as u8;
            let (beyond, held) = past(*value, limits.levels[level - 1]?, limits.deadband);
            (beyond || (held && severity <= before)).then_some(severity)
        };
        found.push([of(1), of(2), of(3)].into_iter().flatten().max().unwrap_or(0));
    }
    found
}

/// The episodes of a whole series, by looking at all of it.
pub fn episodes(limits: &Limits, series: &[(Millis, f64)]) -> Vec<Expected> {
    let at: Vec<Millis> = series.iter().map(|p| p.0).collect();
    let value: Vec<f64> = series.iter().map(|p| p.1).collect();
    let mut found = Vec::new();
    let mut from = 0;
    let gap = |i: usize| at[i] - at[i - 1] > limits.longest_gap;
    while from < at.len() {
        // Judged afresh: what was before it is good, over, or not known to have lasted.
        let mut severity = vec![0; from];
        severity.extend(severities(limits, &value[from..]));
        let Some(onset) = (from..at.len()).find(|i| severity[*i] > 0) else { break };
        let run_end = (onset + 1..at.len()).find(|i| severity[*i] == 0 || gap(*i)).unwrap_or(at.len());
        let confirmed = (onset..run_end).find(|i| {
            at[*i] - at[onset] >= limits.on_delay && i - onset + 1 >= usize::from(limits.confirmations)
        });
        let Some(confirmed) = confirmed else {
            from = run_end;
            continue;
        };
        let cleared = (confirmed..at.len()).find_map(|start| {
            let starts = severity[start] == 0 && (severity[start - 1] > 0 || gap(start));
            let end = (start + 1..at.len()).find(|i| severity[*i] > 0 || gap(*i)).unwrap_or(at.len());
            let enough = (start..end).find(|i| at[*i] - at[start] >= limits.off_delay);
            enough.filter(|_| starts).map(|i| (i, at[start] + limits.off_delay))
        });
        let end = cleared.map_or(at.len(), |(index, _)| index);
        let bad: Vec<usize> = (onset..end).filter(|i| severity[*i] > 0).collect();
        let mut peak = onset;
        for i in &bad {
            let worse = match limits.side {
                Side::High => value[*i] > value[peak],
                Side::Low => value[*i] < value[peak],
            };
            peak = if worse { *i } else { peak };
        }
        found.push(Expected {
            onset: at[onset],
            raised_at: if limits.confirmations > 1 { at[confirmed] } else { at[onset] + limits.on_delay },
            cleared_at: cleared.map(|(_, at)| at),
            first_value: value[onset],
            level: 4 - severity[bad[bad.len() - 1]],
            peak_level: 4 - bad.iter().map(|i| severity[*i]).max().unwrap_or(0),
            peak_value: value[peak],
            peak_at: at[peak],
        });
        from = end + usize::from(cleared.is_some());
    }
    found
}
