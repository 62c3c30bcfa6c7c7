//! The judge of the demo: what the store says of an injected fault, held against what the truth demands of it.
//!
//! Enters: the store and the faults. Leaves: a [`Verdict`] per fault. Guarantees: a fault is found only where everything
//! is there that must be found of it, and rightly ignored only where nothing is said that must not be, no heat is counted
//! that was not supplied, and no report is lost.

use clickhouse::{Client, Row};
use connectors::simulator::{
    Fault,
    truth::{Expected, expected},
};
use schemas::{Millis, time};
use serde::Deserialize;

/// How long after a fault's end what it led to still counts as found because of it.
const AFTERMATH: Millis = 3 * time::HOUR;
/// How long after its end an alarm is still held against it.
const HELD_AGAINST: Millis = time::HOUR;
/// How long after another fault of the object an alarm may be that one's consequence: buildings cool down slowly.
const CONSEQUENCES: Millis = 12 * time::HOUR;
/// Completeness of an hour in which no report was lost, %.
const COMPLETE: f64 = 99.0;

/// What became of a fault.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Everything that must be found was.
    Found {
        /// What it was found by first: a rule, a quality test or a reject reason.
        by: String,
        /// From the fault's start until then, ms of event time.
        after: Millis,
    },
    /// Nothing must be found, and nothing wrong was said.
    Ignored,
    /// Nothing is demanded yet: models that compare metrics will find it.
    Later,
    /// What must be there is not.
    Missed(String),
    /// Something was said that must not be.
    Invented(String),
}

impl Verdict {
    /// The outcome, what it rests on, and the delay, as the table shows them.
    #[must_use]
    pub fn cells(&self) -> [String; 3] {
        let (outcome, what) = match self {
            Verdict::Found { by, .. } => ("found", by.as_str()),
            Verdict::Ignored => ("rightly ignored", ""),
            Verdict::Later => ("left", "to later models"),
            Verdict::Missed(what) => ("MISSED", what.as_str()),
            Verdict::Invented(what) => ("INVENTED", what.as_str()),
        };
        let after = match self {
            Verdict::Found { after, .. } => format!("{} min", after / time::MINUTE),
            _ => String::new(),
        };
        [outcome.to_owned(), what.to_owned(), after]
    }

    /// Whether it is as the truth demands.
    #[must_use]
    pub fn right(&self) -> bool {
        !matches!(self, Verdict::Missed(_) | Verdict::Invented(_))
    }
}

/// What the store says of a fault.
#[derive(Debug, Default)]
struct Evidence {
    /// What must be found, in the order of the truth, and from the fault's start until it was, ms.
    found: Vec<(&'static str, Option<Millis>)>,
    /// What is there and must not be.
    invented: Vec<String>,
    /// What was lost.
    lost: Vec<String>,
}

impl Evidence {
    fn verdict(self, expected: &Expected) -> Verdict {
        let missing = self.found.iter().filter(|(_, after)| after.is_none());
        let missed: Vec<String> = missing.map(|(name, _)| (*name).to_owned()).chain(self.lost).collect();
        let first = self.found.iter().find_map(|(name, after)| Some((*name, (*after)?)));
        match first {
            _ if !self.invented.is_empty() => Verdict::Invented([self.invented, missed].concat().join(", ")),
            _ if !missed.is_empty() => Verdict::Missed(missed.join(", ")),
            Some((by, after)) => Verdict::Found { by: by.to_owned(), after },
            None if expected.bounded() => Verdict::Ignored,
            None => Verdict::Later,
        }
    }

    /// Takes the heat of the KPIs and what the power adds up to, GJ.
    fn heat(&mut self, (from, to): (f64, f64), counted: Option<f64>, supplied: f64) {
        let counted = counted.unwrap_or(0.0);
        let said = format!("{counted:.3} GJ of {supplied:.3} supplied");
        if counted > to * supplied {
            self.invented.push(said);
        } else if counted < from * supplied {
            self.lost.push(said);
        }
    }
}

/// Judges one of the faults.
///
/// # Errors
/// When the store does not answer.
pub async fn judge(client: &Client, faults: &[Fault], fault: &Fault) -> anyhow::Result<Verdict> {
    let expected = expected(fault);
    let mut evidence = Evidence::default();
    let demands = [(&expected.alarms, ALARM_OF), (&expected.flags, FLAG_OF), (&expected.rejects, REJECT_OF)];
    for (names, sql) in demands {
        for name in names {
            let (first_at, n) = first(client, fault, name, sql).await?;
            evidence.found.push((name, (n > 0).then_some(first_at - fault.start)));
        }
    }
    for (test, most) in &expected.at_most {
        let (_, n) = first(client, fault, test, FLAG_OF).await?;
        if n > *most {
            evidence.invented.push(format!("{test} of {n} readings"));
        }
    }
    for alarm in alarms(client, fault).await? {
        let after = alarm.at - fault.start;
        if expected.forbids(&alarm.rule, after) && !of_another(faults, fault, &alarm) {
            evidence.invented.push(format!("{} after {} min", alarm.rule, after / time::MINUTE));
        }
    }
    if let Some(bounds) = expected.heat {
        let Heat { counted, supplied } = heat(client, fault).await?;
        evidence.heat(bounds, counted, supplied.unwrap_or_default());
    }
    if expected.complete {
        let least = completeness(client, fault).await?.unwrap_or_default();
        if least < COMPLETE {
            evidence.lost.push(format!("an hour is {least} % complete"));
        }
    }
    Ok(evidence.verdict(&expected))
}

/// Whether an alarm on the fault's object may be the consequence of another fault.
fn of_another(faults: &[Fault], fault: &Fault, alarm: &Raised) -> bool {
    let mut others = faults.iter().filter(|other| *other != fault && other.facility == fault.facility);
    others.any(|other| {
        let Expected { alarms, also, .. } = expected(other);
        let may = alarms.iter().chain(&also).any(|rule| *rule == alarm.rule);
        may && (other.start..=other.end + CONSEQUENCES).contains(&alarm.at)
    })
}

const ALARM_OF: &str = "SELECT toUnixTimestamp64Milli(min(raised_at)) AS first_at, count() AS n FROM alarms FINAL \
    WHERE facility = {facility:String} AND rule = {name:String} AND state != 'retracted' \
    AND raised_at BETWEEN fromUnixTimestamp64Milli({from:Int64}) AND fromUnixTimestamp64Milli({until:Int64})";
const FLAG_OF: &str = "SELECT toUnixTimestamp64Milli(min(observed_at)) AS first_at, count() AS n FROM readings FINAL \
    WHERE facility = {facility:String} AND has(failed, {name:String}) \
    AND observed_at BETWEEN fromUnixTimestamp64Milli({from:Int64}) AND fromUnixTimestamp64Milli({until:Int64})";
// A connector stamps its rejects with the true time; the record says when it arrived in simulated time.
const REJECT_OF: &str = "WITH if(stage = 'connector', JSONExtractInt(raw, 'received_at'), toUnixTimestamp64Milli(at)) \
    AS arrived SELECT toInt64(min(arrived)) AS first_at, count() AS n FROM rejects FINAL \
    WHERE position(raw, {facility:String}) > 0 AND reason = {name:String} \
    AND arrived BETWEEN {from:Int64} AND {until:Int64}";

#[derive(Deserialize, Row)]
struct First {
    first_at: i64,
    n: u64,
}

/// When something was first there because of a fault, and how often.
async fn first(client: &Client, fault: &Fault, name: &str, sql: &str) -> anyhow::Result<(Millis, u64)> {
    let query = client.query(sql).param("facility", fault.facility.as_str()).param("name", name);
    let query = query.param("from", fault.start).param("until", fault.end + AFTERMATH);
    let First { first_at, n } = query.fetch_one().await?;
    Ok((first_at, n))
}

const ALARMS: &str = "SELECT rule, toUnixTimestamp64Milli(raised_at) AS at FROM alarms FINAL \
    WHERE facility = {facility:String} AND state != 'retracted' \
    AND raised_at BETWEEN fromUnixTimestamp64Milli({from:Int64}) AND fromUnixTimestamp64Milli({until:Int64}) \
    ORDER BY at, rule";

#[derive(Deserialize, Row)]
struct Raised {
    rule: String,
    at: i64,
}

/// The alarms that were raised on a fault's object while it lasted and soon after.
async fn alarms(client: &Client, fault: &Fault) -> anyhow::Result<Vec<Raised>> {
    let query = client.query(ALARMS).param("facility", fault.facility.as_str());
    Ok(query.param("from", fault.start).param("until", fault.end + HELD_AGAINST).fetch_all().await?)
}

// 1 kW for an hour is 3.6 MJ.
const HEAT: &str = "SELECT toNullable((SELECT sum(value) FROM kpis FINAL WHERE kpi = 'heat_supplied' AND scope_kind = 'facility' \
        AND scope = {facility:String} AND period = 'hour' AND toUnixTimestamp(window_start) * 1000 >= {from:Int64} \
        AND toUnixTimestamp(window_start) * 1000 < {until:Int64})) AS counted, \
    toNullable((SELECT sum(kw) * 0.0036 FROM (SELECT avg(value) AS kw FROM readings FINAL WHERE facility = {facility:String} \
        AND device = '' AND metric = 'heat_power' AND observed_at >= fromUnixTimestamp64Milli({from:Int64}) \
        AND observed_at < fromUnixTimestamp64Milli({until:Int64}) GROUP BY toStartOfHour(observed_at)))) AS supplied";

#[derive(Deserialize, Row)]
struct Heat {
    counted: Option<f64>,
    supplied: Option<f64>,
}

/// Heat of a station in the hours that a fault touches and the one after them, GJ.
async fn heat(client: &Client, fault: &Fault) -> anyhow::Result<Heat> {
    let (from, until) = hours(fault);
    let query = client.query(HEAT).param("facility", fault.facility.as_str());
    Ok(query.param("from", from).param("until", until + time::HOUR).fetch_one().await?)
}

const COMPLETENESS: &str = "SELECT min(value) AS least FROM kpis FINAL WHERE kpi = 'completeness' \
    AND scope_kind = 'facility' AND scope = {facility:String} AND period = 'hour' \
    AND toUnixTimestamp(window_start) * 1000 >= {from:Int64} AND toUnixTimestamp(window_start) * 1000 < {until:Int64}";

#[derive(Deserialize, Row)]
struct Least {
    least: Option<f64>,
}

/// The least completeness of the hours that a fault touches, %.
async fn completeness(client: &Client, fault: &Fault) -> anyhow::Result<Option<f64>> {
    let (from, until) = hours(fault);
    let query = client.query(COMPLETENESS).param("facility", fault.facility.as_str());
    let Least { least } = query.param("from", from).param("until", until).fetch_one().await?;
    Ok(least)
}

/// The begin of the first hour that a fault touches, and the end of the last.
fn hours(fault: &Fault) -> (Millis, Millis) {
    let begin = |at: Millis| at.div_euclid(time::HOUR) * time::HOUR;
    (begin(fault.start), begin(fault.end - 1) + time::HOUR)
}

#[cfg(test)]
mod tests {
    use connectors::simulator::FaultKind;

    use super::*;

    fn fault(kind: FaultKind) -> Fault {
        let (start, end) = (90 * time::MINUTE, 4 * time::HOUR);
        Fault { kind, facility: "ST-0001".into(), device: None, metric: None, start, end, magnitude: 1e3 }
    }

    #[rstest::rstest]
    #[case::found(FaultKind::SensorStuck, &[("flat_line", Some(60_000))], &[], &[], "found flat_line 1 min")]
    #[case::by_the_first(FaultKind::Leak, &[("a", Some(0)), ("b", Some(1))], &[], &[], "found a 0 min")]
    #[case::missed(FaultKind::Leak, &[("a", Some(0)), ("b", None)], &[], &[], "MISSED b ")]
    #[case::ignored(FaultKind::BatchUpload, &[], &[], &[], "rightly ignored  ")]
    #[case::lost(FaultKind::BatchUpload, &[], &[], &["x"], "MISSED x ")]
    #[case::invented(FaultKind::BatchUpload, &[], &["y"], &[], "INVENTED y ")]
    #[case::both(FaultKind::RepeatedBlock, &[("duplicate", None)], &["y"], &["x"], "INVENTED y, duplicate, x ")]
    #[case::later(FaultKind::Drift, &[], &[], &[], "left to later models ")]
    fn verdicts(
        #[case] kind: FaultKind,
        #[case] found: &[(&'static str, Option<Millis>)],
        #[case] invented: &[&str],
        #[case] lost: &[&str],
        #[case] want: &str,
    ) {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let evidence = Evidence { found: found.to_vec(), invented: texts(invented), lost: texts(lost) };
        let verdict = evidence.verdict(&expected(&fault(kind)));
        assert_eq!(verdict.cells().join(" "), want);
        assert_eq!(verdict.right(), !want.starts_with(char::is_uppercase));
    }

    #[rstest::rstest]
    #[case::right(Some(99.0), (0, 0))]
    #[case::jump(Some(849_349.9), (1, 0))]
    #[case::lost(Some(60.0), (0, 1))]
    #[case::none(None, (0, 1))]
    fn heat_is_held_against_power(#[case] counted: Option<f64>, #[case] want: (usize, usize)) {
        let mut evidence = Evidence::default();
        evidence.heat((0.95, 1.05), counted, 100.0);
        assert_eq!((evidence.invented.len(), evidence.lost.len()), want);
    }

    #[test]
    fn an_alarm_of_another_fault_is_not_held_against_this_one() {
        let (repeated, under) = (fault(FaultKind::RepeatedBlock), fault(FaultKind::UnderSupply));
        let faults = [repeated.clone(), Fault { start: 0, end: time::HOUR, ..under }];
        let alarm = |rule: &str| Raised { rule: rule.to_owned(), at: 2 * time::HOUR };
        assert!(of_another(&faults, &repeated, &alarm("under_supply")));
        assert!(!of_another(&faults, &repeated, &alarm("makeup_flow_high")));
        assert!(!of_another(&faults[..1], &repeated, &alarm("under_supply")));
    }

    #[test]
    fn hours_are_whole() {
        assert_eq!(hours(&fault(FaultKind::Leak)), (time::HOUR, 4 * time::HOUR));
    }
}
