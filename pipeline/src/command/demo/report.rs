//! What the demo shows at its end: tables from the store, and every injected fault beside what found it.

use std::io::{Write, stdout};

use clickhouse::{Client, Row};
use connectors::simulator::{
    Fault,
    truth::{Expected, expected},
};
use schemas::{Millis, time};
use serde::Deserialize;

use crate::command::table;

/// How long after a fault's end what it led to still counts as found because of it.
const AFTERMATH: Millis = 3 * time::HOUR;

/// Prints the tables of the store.
///
/// # Errors
/// When the store does not answer.
pub async fn tables(client: &Client) -> anyhow::Result<()> {
    show(client, "Readings by flag (1 good, 3 suspect, 4 fail)", READINGS_BY_FLAG).await?;
    show(client, "Rejects by reason", REJECTS_BY_REASON).await?;
    show(client, "KPIs of the last full day, by enterprise", KPIS_BY_ENTERPRISE).await?;
    show(client, "Alarms by rule", ALARMS_BY_RULE).await?;
    show(client, "Deliveries to the province", DELIVERIES).await
}

async fn show(client: &Client, title: &str, sql: &str) -> anyhow::Result<()> {
    let table = table::of(client.query(sql)).await?;
    write!(stdout().lock(), "\n{title}\n{table}")?;
    Ok(())
}

const READINGS_BY_FLAG: &str = "SELECT flag, count() AS readings, \
    arrayStringConcat(arraySort(groupUniqArrayArray(failed)), ', ') AS tests \
    FROM readings FINAL GROUP BY flag ORDER BY flag";

const REJECTS_BY_REASON: &str = "SELECT reason, stage, count() AS records, sum(readings) AS readings, any(detail) AS example \
    FROM rejects FINAL GROUP BY reason, stage ORDER BY records DESC";

const KPIS_BY_ENTERPRISE: &str = "SELECT scope AS enterprise, \
    round(anyIf(value, kpi = 'heat_supplied'), 0) AS heat_GJ, \
    round(anyIf(value, kpi = 'heat_per_area'), 4) AS GJ_per_m2, \
    round(anyIf(value, kpi = 'secondary_supply_temp_mean'), 1) AS supply_C, \
    round(anyIf(value, kpi = 'secondary_return_temp_mean'), 1) AS return_C, \
    round(anyIf(value, kpi = 'room_temp_mean'), 1) AS room_C, \
    round(anyIf(value, kpi = 'room_temp_compliance'), 1) AS compliant_pct, \
    round(anyIf(value, kpi = 'online_rate'), 2) AS online_pct, \
    round(anyIf(value, kpi = 'completeness'), 2) AS complete_pct \
    FROM kpis FINAL WHERE scope_kind = 'enterprise' AND period = 'day' AND window_start = \
    (SELECT max(window_start) FROM kpis WHERE period = 'day' AND scope_kind = 'city' AND cause = 'closed') \
    GROUP BY scope ORDER BY scope";

const ALARMS_BY_RULE: &str = "SELECT rule, countIf(state = 'active') AS active, \
    countIf(state = 'cleared') AS cleared, countIf(state = 'retracted') AS retracted, \
    min(peak_level) AS gravest, max(affected_households) AS households \
    FROM alarms FINAL GROUP BY rule ORDER BY count() DESC, rule";

const DELIVERIES: &str = "SELECT table, outcome, code, count() AS records, max(last) AS last FROM \
    (SELECT table, key, window, argMax(outcome, sequence) AS outcome, argMax(code, sequence) AS code, max(at) AS last \
    FROM exchange_ledger FINAL GROUP BY table, key, window) \
    GROUP BY table, outcome, code ORDER BY table, outcome, code";

/// What was found because of one fault.
#[derive(Debug)]
pub struct Finding {
    /// What it was found by: a rule, a quality test or a reject reason.
    pub by: String,
    /// From the fault's start until then, ms of event time.
    pub delay: Millis,
}

/// Looks for what must have been found; `None` where nothing was, an empty list where nothing must.
///
/// # Errors
/// When the store does not answer.
pub async fn finding(client: &Client, fault: &Fault) -> anyhow::Result<Option<Finding>> {
    let Expected { alarms, flags, rejects, .. } = expected(fault);
    for rule in alarms {
        if let Some(finding) = first(client, fault, rule, ALARM_OF).await? {
            return Ok(Some(finding));
        }
    }
    for test in flags {
        if let Some(finding) = first(client, fault, test, FLAG_OF).await? {
            return Ok(Some(finding));
        }
    }
    for reason in rejects {
        if let Some(finding) = first(client, fault, reason, REJECT_OF).await? {
            return Ok(Some(finding));
        }
    }
    Ok(None)
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

async fn first(client: &Client, fault: &Fault, name: &str, sql: &str) -> anyhow::Result<Option<Finding>> {
    let found: First = client
        .query(sql)
        .param("facility", fault.facility.as_str())
        .param("name", name)
        .param("from", fault.start)
        .param("until", fault.end + AFTERMATH)
        .fetch_one()
        .await?;
    Ok((found.n > 0).then(|| Finding { by: name.to_owned(), delay: found.first_at - fault.start }))
}

/// Prints every fault beside what found it; gives how many of those that must be found were.
///
/// # Errors
/// When the store does not answer.
pub async fn faults(client: &Client, faults: &[Fault]) -> anyhow::Result<(usize, usize)> {
    let mut lines = Vec::new();
    let (mut found, mut due) = (0, 0);
    for fault in faults {
        let Expected { alarms, flags, rejects, .. } = expected(fault);
        let must = !(alarms.is_empty() && flags.is_empty() && rejects.is_empty());
        let finding = finding(client, fault).await?;
        due += usize::from(must);
        found += usize::from(must && finding.is_some());
        let (by, delay) = match finding {
            Some(finding) => (finding.by, format!("{} min", finding.delay / time::MINUTE)),
            None if must => ("NOT FOUND".to_owned(), String::new()),
            None => ("left to later models".to_owned(), String::new()),
        };
        let start = time::rfc3339(fault.start);
        lines.push(format!(
            "{:<18} {:<10} {:<17} {by:<32} {delay:>8}",
            fault.kind.name(),
            fault.facility,
            &start[..16]
        ));
    }
    let mut out = stdout().lock();
    writeln!(
        out,
        "\nInjected faults\n{:<18} {:<10} {:<17} {:<32} {:>8}",
        "fault", "object", "from", "found by", "after"
    )?;
    for line in lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{found} of {due} faults that must be found were found")?;
    Ok((found, due))
}
