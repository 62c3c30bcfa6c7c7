//! What a series is watched for: limits together with where they come from and what to do.

use std::rc::Rc;

use schemas::{Code, MetricId, MetricKind, Millis, Side, Threshold, time::SECOND};
use serde_json::{Value, json};

use super::{
    episode::{Fold, Limits, Step},
    heating::HeatingTimes,
    journal::Cause,
};

/// A rule as it applies to a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Rule or model code, such as `secondary_supply_pressure_high` or `circulation_pump_fault`.
    pub code: Code,
    /// Tells several rules over one side of a series apart; empty for the first.
    pub name: Code,
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
    /// When it judges; `None` for a rule that judges at all times.
    pub heating: Option<Rc<HeatingTimes>>,
}

impl Rule {
    /// The rule of a threshold. Its code is `{metric}_{side}`, for states just `{metric}`; a named one has `_{name}` behind
    /// that.
    ///
    /// A new extreme is told when it is worse than the last one told by more than the deadband, 2 % of the mildest
    /// limit and one unit of the last decimal, whichever is greatest: so a drift tells a few updates, not a flood. Its delays
    /// begin again where readings are further apart than `longest_gap`, ms; it judges at the times of `heating`.
    #[must_use]
    pub fn of_threshold(
        threshold: &Threshold,
        longest_gap: Millis,
        heating: Option<Rc<HeatingTimes>>,
    ) -> Rule {
        let metric = threshold.metric.metric();
        let levels = [threshold.level1, threshold.level2, threshold.level3];
        let mildest = levels.iter().rev().flatten().next().copied().unwrap_or(0.0);
        let advice =
            if threshold.advice.is_empty() { default_advice(threshold) } else { threshold.advice.clone() };
        Rule {
            code: threshold_code(threshold.metric, threshold.side, &threshold.rule),
            name: threshold.rule.clone(),
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
            heating,
        }
    }

    /// Takes the next usable reading into a fold; `at` must be after every reading before. What it tells has a cause
    /// where no value shows it.
    pub fn judge(
        &self,
        fold: &mut Fold,
        at: Millis,
        value: f64,
    ) -> impl Iterator<Item = (Step, Option<Cause>)> + use<> {
        let paused = self.pause(fold, at);
        let due = self.heating.as_deref().is_none_or(|heating| heating.due(at));
        let step = if due { fold.step(&self.limits, at, value) } else { None };
        let paused = paused.map(|step| (step, Some(Cause::Season)));
        paused.into_iter().chain(step.map(|step| (step, None)))
    }

    /// Ends what is pending or stands where heating has stopped by plan up to a time.
    pub fn pause(&self, fold: &mut Fold, until: Millis) -> Option<Step> {
        let pause = self.paused(fold, until)?;
        fold.end(pause)
    }

    /// Whether the clock may have ended what a reading of this time belongs to.
    #[must_use]
    pub fn ended(&self, at: Millis, clock: Millis) -> bool {
        let heating = self.heating.as_deref();
        heating.is_some_and(|heating| heating.due(at) && heating.pause(at) <= clock)
    }

    /// When heating stopped by plan after the last reading of what is pending or stands, if up to a time.
    #[must_use]
    pub fn paused(&self, fold: &Fold, until: Millis) -> Option<Millis> {
        let heating = self.heating.as_deref()?;
        Some(heating.pause(fold.last()?)).filter(|pause| *pause <= until)
    }

    /// Stands for a rule that was in force and is not any more: it has the name and judges nothing.
    #[must_use]
    pub fn out_of_force(code: Code, name: Code, metric: Option<MetricId>, side: Side) -> Rule {
        let limits = Limits::plain(side, [None; 3]);
        Rule {
            code,
            name,
            scope: Code::default(),
            metric,
            limits,
            analysed: false,
            advice: String::new(),
            heating: None,
        }
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
            "heating_season": self.heating.as_ref().map(|heating| heating.season().to_string()),
        })
    }
}

/// The code of a rule over this side of a metric.
#[must_use]
pub fn threshold_code(metric: MetricId, side: Side, name: &str) -> Code {
    let metric = metric.metric();
    let mut code = metric.code.clone();
    if (metric.kind, side) != (MetricKind::State, Side::High) {
        code.push('_');
        code.push_str(side.name());
    }
    if !name.is_empty() {
        code.push('_');
        code.push_str(name);
    }
    Code::from(code)
}

fn default_advice(threshold: &Threshold) -> String {
    let metric = threshold.metric.metric();
    match (metric.kind, threshold.side) {
        (MetricKind::State, _) => format!("现场核查：{}", metric.name),
        (_, Side::High) => format!("{}偏高，核查并调整", metric.name),
        (_, Side::Low) => format!("{}偏低，核查并调整", metric.name),
    }
}
