//! What the catalogues and lists in force hold.

use std::convert::Infallible;

use operators::{
    alarm::{self, communication},
    model::{Model, Visit, visit_all},
};
use schemas::{Dimension, Metric, QualityTest, Reason, catalogues::in_force, quality::Looks};

use super::table::{chapter, code, number};
use crate::conditions::kind;

/// The measured metrics.
pub(super) fn metrics() -> String {
    let row = |metric: &Metric| {
        let Metric { code: name, unit, kind, decimals, min, max, max_rate, spike, flat_above, .. } = metric;
        [
            code(name),
            metric.name.clone(),
            unit.clone(),
            kind.name().to_owned(),
            decimals.to_string(),
            format!("{min} to {max}"),
            number(*max_rate),
            number(*spike),
            flat(metric),
            number(*flat_above),
            metric.zero.map_or("", |zero| zero.name()).to_owned(),
            metric.low.map_or("", |low| low.name()).to_owned(),
        ]
    };
    let columns = [
        "code",
        "name",
        "unit",
        "kind",
        "decimals",
        "possible",
        "greatest change per minute",
        "spike",
        "unchanged for s: suspect, fail",
        "only from",
        "zero",
        "low",
    ];
    chapter("Metrics", columns, in_force().metrics().iter().map(|(_, metric)| row(metric)))
}

/// How long a metric may stand still.
fn flat(metric: &Metric) -> String {
    match (metric.flat_suspect, metric.flat_fail) {
        (None, None) => String::new(),
        (suspect, fail) => format!("{}, {}", number(suspect), number(fail)),
    }
}

/// The tests of data quality.
pub(super) fn quality() -> String {
    let row = |test: &QualityTest| {
        let looks = match test.looks() {
            Looks::Reading => "the reading",
            Looks::Neighbours => "the readings around it",
        };
        let dimension = match test.dimension() {
            Dimension::Validity => "validity",
            Dimension::Timeliness => "timeliness",
            Dimension::Consistency => "consistency",
        };
        [code(test.name()), test.meaning().to_owned(), looks.to_owned(), dimension.to_owned()]
    };
    let columns = ["test", "what it found", "looks at", "counts against"];
    chapter("Quality tests (C 1.4)", columns, QualityTest::ALL.iter().map(row))
}

/// The reasons of rejects.
pub(super) fn rejects() -> String {
    let row =
        |reason: &Reason| [code(reason.name()), reason.meaning().to_owned(), reason.advice().to_owned()];
    chapter("Reject reasons", ["reason", "what it means", "what to do"], Reason::ALL.iter().map(row))
}

/// The KPIs.
pub(super) fn kpis() -> String {
    let rows = in_force().kpis().iter().map(|kpi| {
        let parameters = kpi.parameters.iter().map(|(name, value)| format!("{name} = {value}"));
        [
            code(&kpi.code),
            kpi.name.clone(),
            kpi.english.clone(),
            kpi.unit.clone(),
            kpi.decimals.to_string(),
            kpi.season_decimals.to_string(),
            kpi.source.clone(),
            code(&parameters.collect::<Vec<_>>().join(", ")),
            if kpi.enabled { "yes" } else { "no" }.to_owned(),
        ]
    });
    let columns = [
        "code",
        "name",
        "English name",
        "unit",
        "decimals",
        "of a season",
        "clause",
        "parameters",
        "published",
    ];
    chapter("KPIs", columns, rows)
}

/// The alarm rules: those with thresholds, the other kinds, those of models.
pub(super) fn alarms() -> String {
    let rows = in_force().thresholds().iter().map(|rule| {
        [
            code(&alarm::rule::threshold_code(rule.metric, rule.side, &rule.rule)),
            code(&rule.scope),
            number(rule.level1),
            number(rule.level2),
            number(rule.level3),
            rule.metric.metric().unit.clone(),
            rule.deadband.to_string(),
            format!("{}, {}", rule.on_delay, rule.off_delay),
            if rule.enabled { "yes" } else { "no" }.to_owned(),
            rule.advice.clone(),
        ]
    });
    let columns = [
        "rule",
        "scope",
        "level 1",
        "level 2",
        "level 3",
        "unit",
        "deadband",
        "s to raise, to clear",
        "enabled",
        "advice",
    ];
    let thresholds = chapter("Threshold rules", columns, rows);
    thresholds + &kinds() + &models()
}

/// The kinds that no threshold expresses; those of the platform have a chapter of their own.
fn kinds() -> String {
    let silence =
        (communication::COMMUNICATION_LOST, "nothing arrives from the object", communication::ADVICE);
    let others = alarm::kind::ALL.iter().map(|kind| (kind.code, kind.meaning, kind.advice));
    let rows = [silence].into_iter().chain(others);
    let rows = rows.map(|(rule, meaning, advice)| [code(rule), meaning.to_owned(), advice.to_owned()]);
    chapter("Kinds of alarms", ["rule", "says that", "advice"], rows)
}

/// The rules and the settings of models.
fn models() -> String {
    struct Rules(Vec<[String; 6]>);

    impl Visit for Rules {
        type Error = Infallible;

        fn visit<M: Model>(&mut self) -> Result<(), Infallible> {
            self.0.extend(M::rules().into_iter().map(|rule| {
                let [first, second, third] = rule.limits.levels.map(number);
                [code(M::CODE), code(&rule.code), first, second, third, rule.advice]
            }));
            Ok(())
        }
    }

    let mut rules = Rules(Vec::new());
    let Ok(()) = visit_all(&mut rules);
    let columns = ["model", "rule", "level 1", "level 2", "level 3", "advice"];
    let settings = in_force().models().iter().map(|setting| {
        let (least, most) = setting.bounds;
        [
            code(&setting.attribute()),
            code(&setting.scope),
            setting.value.to_string(),
            setting.unit.clone(),
            format!("{least} to {most}"),
            setting.meaning.clone(),
        ]
    });
    chapter("Rules of models", columns, rules.0)
        + &chapter("Settings of models", ["setting", "scope", "value", "unit", "bounds", "meaning"], settings)
}

/// The conditions of the platform.
pub(super) fn conditions() -> String {
    let rows = kind::ALL.iter().map(|kind| {
        [code(kind.code), kind.level.to_string(), kind.patience.to_string(), kind.advice.to_owned()]
    });
    chapter("Conditions of the platform", ["rule", "level", "s to raise, to clear", "advice"], rows)
}
