//! What the demo shows at its end: tables from the store, and every injected fault beside what became of it.

use std::io::{Write, stdout};

use clickhouse::Client;
use connectors::simulator::Fault;
use schemas::time;

use super::judge::{Verdict, judge};
use crate::command::table;

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

/// Prints every fault beside what became of it; gives how many are not as the truth demands.
///
/// # Errors
/// When the store does not answer.
pub async fn faults(client: &Client, faults: &[Fault]) -> anyhow::Result<usize> {
    let mut lines = Vec::new();
    let (mut found, mut ignored, mut wrong) = (0, 0, 0);
    for fault in faults {
        let verdict = judge(client, faults, fault).await?;
        found += usize::from(matches!(verdict, Verdict::Found { .. }));
        ignored += usize::from(verdict == Verdict::Ignored);
        wrong += usize::from(!verdict.right());
        let start = time::rfc3339(fault.start);
        lines.push(line(fault.kind.name(), &fault.facility, &start[..16], verdict.cells()));
    }
    let heads = ["outcome", "by", "after"].map(str::to_owned);
    let mut out = stdout().lock();
    writeln!(out, "\nInjected faults\n{}", line("fault", "object", "from", heads))?;
    for line in lines {
        writeln!(out, "{line}")?;
    }
    let judged = found + ignored + wrong;
    writeln!(
        out,
        "of {judged} faults {found} were found, {ignored} rightly ignored, {wrong} missed or invented"
    )?;
    Ok(wrong)
}

fn line(kind: &str, object: &str, from: &str, [outcome, by, after]: [String; 3]) -> String {
    let line = format!("{kind:<18} {object:<10} {from:<17} {outcome:<16} {by:<32} {after:>8}");
    line.trim_end().to_owned()
}
