//! The KPIs that are published, as code and catalogue together say.
//!
//! Enters: facts of a window before and after. Leaves: the rows that changed. Guarantees: a KPI that the catalogue does
//! not publish has no row; catalogue and code are brought together once, not per row.

use std::sync::OnceLock;

use schemas::{Code, KpiEntry, KpiRow, Millis, Period, Scope, ScopeKind, catalogues};

use super::{ALL, Kpi, Parameters};
use crate::{reason::Reason, window::Facts};

/// Every published KPI with what the catalogue sets of it.
#[derive(Debug)]
pub struct Published {
    /// In the order of [`ALL`].
    kpis: Vec<Entry>,
    parameters: Parameters,
}

#[derive(Debug)]
struct Entry {
    kpi: &'static Kpi,
    /// Ten to the power of its decimals, in windows up to a quarter and in longer ones.
    powers: [f64; 2],
}

static IN_FORCE: OnceLock<Published> = OnceLock::new();

impl Published {
    /// Those of the catalogue of this process.
    #[must_use]
    pub fn in_force() -> &'static Published {
        IN_FORCE.get_or_init(|| Published::of(catalogues::in_force().kpis()))
    }

    /// Those of a catalogue that merges over the shipped one.
    #[must_use]
    pub fn of(catalogue: &[KpiEntry]) -> Published {
        let entry = |kpi: &&'static Kpi| {
            let row = catalogue.iter().find(|row| row.code == kpi.code && row.enabled)?;
            let powers = [row.decimals, row.season_decimals].map(|decimals| 10f64.powi(i32::from(decimals)));
            Some(Entry { kpi, powers })
        };
        Published { kpis: ALL.iter().filter_map(entry).collect(), parameters: Parameters::of(catalogue) }
    }

    /// The KPIs of a window that changed, in the order of [`ALL`].
    pub fn rows<'a>(
        &'a self,
        scope: &'a Scope,
        period: Period,
        window_start: Millis,
        (before, after): (Option<&'a Facts>, &'a Facts),
        reason: Reason,
    ) -> impl Iterator<Item = KpiRow> + 'a {
        self.kpis.iter().filter_map(move |entry| {
            let rounded = |facts| entry.rounded((scope.kind, period), facts, &self.parameters);
            let (previous, covered) = before.map_or((None, 0.0), rounded);
            let (value, coverage) = rounded(after);
            (value != previous || coverage != covered).then(|| KpiRow {
                kpi: Code::const_new(entry.kpi.code),
                scope: scope.clone(),
                period,
                window_start,
                value,
                previous,
                coverage,
                cause: reason.cause,
                caused_by: reason.by,
            })
        })
    }

    /// Value and coverage of one KPI.
    #[cfg(test)]
    pub(super) fn figure(&self, code: &str, scope: ScopeKind, facts: &Facts) -> (Option<f64>, f32) {
        let entry = self.kpis.iter().find(|entry| entry.kpi.code == code).unwrap();
        entry.rounded((scope, Period::Day), facts, &self.parameters)
    }
}

impl Entry {
    /// Value and coverage as they are published: rounded, and nothing where the KPI does not apply or has no value.
    fn rounded(
        &self,
        (scope, period): (ScopeKind, Period),
        facts: &Facts,
        parameters: &Parameters,
    ) -> (Option<f64>, f32) {
        let Kpi { about, value, coverage, .. } = self.kpi;
        let Some(value) = about.holds(scope, period, facts).then(|| value(facts, parameters)).flatten()
        else {
            return (None, 0.0);
        };
        // Adding 0 turns -0 into 0.
        let power = self.powers[usize::from(matches!(period, Period::Season | Period::Year))];
        let value = Some((value * power).round() / power + 0.0);
        (value, (coverage(facts).clamp(0.0, 1.0) * 100.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use schemas::{KpiCause, RecordPlace, Topic, catalogues::Catalogues};

    use super::{super::tests::facts, *};
    use crate::window::Component;

    fn station() -> Scope {
        Scope { kind: ScopeKind::Facility, code: Code::const_new("ST-1") }
    }

    fn half_an_hour() -> Facts {
        facts(&[
            (Component::Heat, 1_000_000_000),
            (Component::HeatTime, 1_800_000),
            (Component::StationSpan, 3_600_000),
        ])
    }

    /// The shipped catalogue with one KPI changed.
    fn with(code: &str, change: impl Fn(&mut KpiEntry)) -> Published {
        let mut kpis = Catalogues::shipped().kpis().to_vec();
        change(kpis.iter_mut().find(|kpi| kpi.code == code).unwrap());
        Published::of(&kpis)
    }

    /// A season has the decimals of the source, and no degree-days of its mean.
    #[test]
    fn longer_windows_have_their_own_decimals() {
        let scope = station();
        let mut window = half_an_hour();
        window.add(Component::Heat, 123_456_789_000);
        window.add(Component::OutdoorSpan, 3_600_000);
        window.add(Component::OutdoorTime, 3_600_000);
        window.add(Component::OutdoorFacilities, 1);
        let codes = |period| -> Vec<(String, Option<f64>)> {
            let rows = Published::in_force().rows(&scope, period, 0, (None, &window), Reason::LIVE);
            rows.map(|row| (row.kpi.to_string(), row.value)).collect()
        };
        let heat = |period| codes(period).into_iter().find(|(code, _)| code == "heat_supplied").unwrap().1;
        let entry =
            Catalogues::shipped().kpis().iter().find(|kpi| kpi.code == "heat_supplied").unwrap().clone();
        let round = |decimals: u8| {
            let power = 10f64.powi(decimals.into());
            Some((124.456_789 * power).round() / power)
        };
        assert_eq!(heat(Period::Month), round(entry.decimals));
        assert_eq!(heat(Period::Season), round(entry.season_decimals));
        let degrees = |period| codes(period).iter().any(|(code, _)| code == "degree_days");
        assert!(degrees(Period::Day) && !degrees(Period::Month) && !degrees(Period::Year));
    }

    #[test]
    fn only_what_changed_is_told_with_the_value_before() {
        let (station, half) = (station(), half_an_hour());
        let rows = |before: Option<&Facts>, after: &Facts, reason| -> Vec<KpiRow> {
            Published::in_force().rows(&station, Period::Hour, 0, (before, after), reason).collect()
        };
        let told = rows(None, &half, Reason::LIVE);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].value, told[0].previous, told[0].coverage), (Some(1.0), None, 0.5));
        assert_eq!(told[0].cause, KpiCause::Live);
        let mut more = half.clone();
        more.add(Component::Heat, 100);
        assert_eq!(rows(Some(&half), &more, Reason::LIVE), []);
        more.add(Component::Heat, 2_000_000_000);
        let by = Some(RecordPlace { topic: Topic::Reports, partition: 1, offset: 7 });
        let told = rows(Some(&half), &more, Reason { cause: KpiCause::Late, by });
        assert_eq!((told[0].value, told[0].previous), (Some(3.0), Some(1.0)));
        assert_eq!((told[0].cause, told[0].caused_by), (KpiCause::Late, by));
    }

    #[test]
    fn a_kpi_that_is_not_published_has_no_row() {
        let silent = with("heat_supplied", |kpi| kpi.enabled = false);
        assert_eq!(
            silent.rows(&station(), Period::Hour, 0, (None, &half_an_hour()), Reason::LIVE).count(),
            0
        );
        let other = with("heat_per_area", |kpi| kpi.enabled = false);
        assert_eq!(other.rows(&station(), Period::Hour, 0, (None, &half_an_hour()), Reason::LIVE).count(), 1);
    }

    #[rstest::rstest]
    #[case(0, Some(1.0))]
    #[case(1, Some(1.2))]
    #[case(9, Some(1.234_567_89))]
    fn decimals_are_those_of_the_catalogue(#[case] decimals: u8, #[case] want: Option<f64>) {
        let mut facts = half_an_hour();
        facts.set(Component::Heat, 1_234_567_890);
        let published = with("heat_supplied", |kpi| kpi.decimals = decimals);
        assert_eq!(published.figure("heat_supplied", ScopeKind::Facility, &facts).0, want);
    }

    #[test]
    fn degree_days_and_the_heat_per_degree_day_go_by_one_base() {
        let day = facts(&[
            (Component::Outdoor, 864_000_000),
            (Component::OutdoorTime, 86_400_000),
            (Component::OutdoorSpan, 86_400_000),
            (Component::OutdoorFacilities, 1),
            (Component::StationSpan, 86_400_000),
            (Component::Heat, 1_000_000),
            (Component::HeatAreaTime, 100_000),
        ]);
        let figures = |published: &Published| {
            ["degree_days", "heat_per_area_degree_day"]
                .map(|code| published.figure(code, ScopeKind::City, &day).0)
        };
        assert_eq!(figures(Published::in_force()), [Some(8.0), Some(108.0)]);
        let base = |value| with("degree_days", move |kpi| kpi.parameters[0].1 = value);
        assert_eq!(figures(&base(20.0)), [Some(10.0), Some(86.4)]);
        assert_eq!(figures(&base(10.05)), [Some(0.05), None], "nearer than a tenth of a degree");
        let near = with("heat_per_area_degree_day", |kpi| kpi.parameters[0].1 = 9.0);
        assert_eq!(figures(&near), [Some(8.0), None]);
    }
}
