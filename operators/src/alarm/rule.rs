//! What a series is watched for: limits together with where they come from and what to do.

use schemas::{Code, MetricId, MetricKind, Millis, Side, Threshold, time::SECOND};
use serde_json::{Value, json};

use super::episode::Limits;

/// A rule as it applies to a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Rule or model code, such as `secondary_supply_pressure_high` or `circulation_pump_fault`.
    pub code: Code,
    /// The scope in the registry that it comes from; empty for built-in rules and models.
    pub scope: Code,
    /// The metric it is about, where it is about one.
    pub metric: Option<MetricId>,
    /// What is judged by.
    pub limits: Limits,
    /// Whether a model concluded the values.
    pub analysed: bool,
    /// What to do about it.
    pub advice: String,
}

impl Rule {
    /// The rule of a threshold. Its code is `{metric}_{side}`, for states just `{metric}`.
    ///
    /// A new extreme is told when it is worse than the last one told by more than the deadband, 2 % of the mildest
    /// limit and one unit of the last decimal, whichever is greatest: so a drift tells a few updates, not a flood. Its delays begin again where readings are
    /// further apart than `longest_gap`, ms.
    #[must_use]
    pub fn of_threshold(threshold: &Threshold, longest_gap: Millis) -> Rule {
        let metric = threshold.metric.metric();
        let levels = [threshold.level1, threshold.level2, threshold.level3];
        let mildest = levels.iter().rev().flatten().next().copied().unwrap_or(0.0);
        let advice =
            if threshold.advice.is_empty() { default_advice(threshold) } else { threshold.advice.clone() };
        Rule {
            code: threshold_code(threshold.metric, threshold.side),
            scope: threshold.scope.clone(),
            metric: Some(threshold.metric),
            limits: Limits {
                side: threshold.side,
                levels,
                deadband: threshold.deadband.max(0.0),
                on_delay: i64::from(threshold.on_delay) * SECOND,
                off_delay: i64::from(threshold.off_delay) * SECOND,
                confirmations: 1,
                step: threshold
                    .deadband
                    .max(0.02 * mildest.abs())
                    .max(10f64.powi(-i32::from(metric.decimals))),
                longest_gap,
            },
            analysed: false,
            advice,
        }
    }

    /// Stands for a rule that was in force and is not any more: it has the name and judges nothing.
    #[must_use]
    pub fn out_of_force(code: Code, metric: Option<MetricId>, side: Side) -> Rule {
        let limits = Limits {
            side,
            levels: [None; 3],
            deadband: 0.0,
            on_delay: 0,
            off_delay: 0,
            confirmations: 1,
            step: 0.0,
            longest_gap: Millis::MAX,
        };
        Rule { code, scope: Code::default(), metric, limits, analysed: false, advice: String::new() }
    }

    /// The rule for the evidence.
    #[must_use]
    pub fn describe(&self) -> Value {
        let limits = &self.limits;
        json!({
            "code": self.code.as_str(),
            "scope": self.scope.as_str(),
            "side": limits.side.name(),
            "level1": limits.levels[0],
            "level2": limits.levels[1],
            "level3": limits.levels[2],
            "deadband": limits.deadband,
            "on_delay_s": limits.on_delay / SECOND,
            "off_delay_s": limits.off_delay / SECOND,
            "longest_gap_s": (limits.longest_gap < Millis::MAX).then_some(limits.longest_gap / SECOND),
            "confirmations": limits.confirmations,
        })
    }
}

/// The code of the rule over this side of a metric.
#[must_use]
pub fn threshold_code(metric: MetricId, side: Side) -> Code {
    let metric = metric.metric();
    match (metric.kind, side) {
        (MetricKind::State, Side::High) => Code::from(metric.code.as_str()),
        (_, side) => Code::from(format!("{}_{}", metric.code, side.name())),
    }
}

fn default_advice(threshold: &Threshold) -> String {
    let metric = threshold.metric.metric();
    match (metric.kind, threshold.side) {
        (MetricKind::State, _) => format!("现场核查：{}", metric.name),
        (_, Side::High) => format!("{}偏高，核查并调整", metric.name),
        (_, Side::Low) => format!("{}偏低，核查并调整", metric.name),
    }
}
