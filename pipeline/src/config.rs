//! The configuration: one TOML file, and the catalogues beside it. Reading it is pure but for the catalogues, which it puts
//! in force; building from it is not done here.
//!
//! Guarantees: unknown keys and wrong types are refused with file, line and column, and the nearest known key.

use std::{
    fs,
    path::{Path, PathBuf},
};

use connectors::Connect;
use jiff::tz::TimeZone;
use operators::{
    alarm::alarms::AlarmSettings,
    model::Terms,
    season::Seasons,
    validate::Memory,
    window::{Calendar, ladder},
};
use schemars::JsonSchema;
use schemas::{KafkaSettings, Millis, Period, season::Season, time};
use serde::Deserialize;

use crate::{
    catalogue, checkpoint, conditions::Limits, flow::clock::ClockSource, sink_tasks::Configured,
    telemetry::LogForm,
};

/// The whole configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The dataflow.
    #[serde(default)]
    pub pipeline: PipelineSettings,
    /// Checkpoints of its state.
    #[serde(default)]
    pub checkpoint: checkpoint::Settings,
    /// Metrics, thresholds and exchange tables of the user's own.
    #[serde(default)]
    pub catalogue: catalogue::Settings,
    /// The brokers.
    pub kafka: KafkaSettings,
    /// Where readings, KPIs and alarms are stored.
    pub clickhouse: sinks::clickhouse::Settings,
    /// The provincial platform, where there is one.
    #[serde(default)]
    pub exchange: Option<sinks::exchange::Settings>,
    /// The province's side of the exchange, served by the HTTP connector.
    #[serde(default)]
    pub receiver: Option<sinks::exchange::province::Settings>,
    /// The HTTP connector.
    #[serde(default)]
    pub http: Option<connectors::http::Settings>,
    /// The MQTT connector.
    #[serde(default)]
    pub mqtt: Option<connectors::mqtt::Settings>,
    /// Quality control, windows and alarms.
    #[serde(default)]
    pub rules: RuleSettings,
    /// When the platform raises alarms about itself.
    #[serde(default)]
    pub operations: Limits,
    /// Logs and metrics.
    #[serde(default)]
    pub telemetry: TelemetrySettings,
}

/// The `[pipeline]` section.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineSettings {
    /// Names the consumer group and the transactional id; one running process per name.
    pub name: String,
    /// Directory of the bindings, the spool of ClickHouse, the records that are passed over and, unless `checkpoint.url` says
    /// otherwise, the checkpoints; on a disk that survives the process.
    pub state: PathBuf,
    /// Worker threads.
    pub workers: usize,
    /// Milliseconds between two epochs.
    pub epoch_ms: u64,
    /// Epochs in one block of readings and KPIs.
    pub block_epochs: u64,
    /// Epochs on their way before minting waits for the sinks.
    pub epochs_in_flight: u64,
    /// Records of one partition in one epoch.
    pub records_per_partition: i64,
    /// Records of all partitions in one epoch, about: ten such epochs may be in memory while a backlog is worked off.
    pub records_per_epoch: i64,
    /// Seconds that a clean stop waits for the sinks.
    pub drain_seconds: u64,
    /// `wall` for live data, `data` for replays and simulations at speed.
    pub clock: ClockSource,
    /// Whether KPI states also go to the topic `kpis`.
    pub publish_kpis: bool,
}

impl Default for PipelineSettings {
    fn default() -> Self {
        PipelineSettings {
            name: "nuanliu".to_owned(),
            state: PathBuf::from("state"),
            workers: 2,
            epoch_ms: 250,
            block_epochs: 4,
            epochs_in_flight: 64,
            records_per_partition: 20_000,
            records_per_epoch: 80_000,
            drain_seconds: 60,
            clock: ClockSource::Wall,
            publish_kpis: true,
        }
    }
}

/// The `[rules]` section.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSettings {
    /// Time zone of days and months.
    pub time_zone: String,
    /// Hours for which repetitions and corrections of readings are recognised, at least as long as an hour takes late
    /// data (`lateness_hours` and the hour itself) and alarms are revised (`alarm_horizon_minutes`). Facilities of the
    /// network and their devices remember all of it: about 12 kB for each at a report of ten readings a minute.
    pub remember_hours: u32,
    /// Reports of one room or clean device that are remembered at most, about 10 bytes each; that many minutes should be
    /// more than `alarm_horizon_minutes` where they report every minute. What is older than the memory cannot be told
    /// from a repetition: its readings are stored as *not evaluated* (flag 2) instead of good, and change no hour in
    /// which the object was heard at that time.
    pub remember_reports: usize,
    /// Days that a report may have been held back before it arrived: one that was measured earlier is refused (`too_old`),
    /// for a clock that has lost its date would otherwise fill hundreds of months. `nuanliu replay` is not bound by it,
    /// since there data arrives when it was measured; give more days to take an archive in by HTTP, MQTT or Kafka.
    pub backfill_days: u32,
    /// Hours after its end in which the KPIs of an hour still take late data, for every scope. What is older lies beside
    /// the checkpoints.
    pub lateness_hours: u32,
    /// Hours after its end in which the KPIs of a day still take late data, at least `lateness_hours`. So long the hours
    /// of a day are revised too, for the facility that was late; they cost disk: 150 to 250 bytes a series and hour,
    /// before compression.
    pub day_lateness_hours: u32,
    /// Windows longer than a day for which KPIs and quality figures are computed too: `week`, `month`, `quarter`,
    /// `season` (by the heating season of each object), `year`. One that is added counts from the first day that is
    /// open then. Each costs memory, and rows whenever a day changes.
    pub longer_periods: Vec<Period>,
    /// Minutes after its end at which models look at an hour.
    pub settle_minutes: u32,
    /// Minutes for which late readings revise alarms.
    pub alarm_horizon_minutes: u32,
    /// The legal heating season, `MM-DD..MM-DD`, of objects whose attribute `heating_season` says nothing; `none` when
    /// heating is due all year. The default is wider than any city's: give the one of yours.
    pub heating_season: String,
}

impl Default for RuleSettings {
    fn default() -> Self {
        RuleSettings {
            time_zone: "Asia/Shanghai".to_owned(),
            remember_hours: 7,
            remember_reports: 127,
            backfill_days: (time::BACKFILL / time::DAY) as u32,
            lateness_hours: 6,
            day_lateness_hours: 24,
            longer_periods: Vec::new(),
            settle_minutes: 10,
            alarm_horizon_minutes: 120,
            heating_season: Season::WIDEST.to_string(),
        }
    }
}

impl RuleSettings {
    /// How far back readings are remembered by quality control.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let revisable = (hours(self.lateness_hours) + time::HOUR)
            .max(Millis::from(self.alarm_horizon_minutes) * time::MINUTE);
        Memory::new(hours(self.remember_hours).max(revisable), self.remember_reports)
    }

    /// How long before its arrival a report may have been measured, ms.
    #[must_use]
    pub fn backfill(&self) -> Millis {
        Millis::from(self.backfill_days) * time::DAY
    }

    /// How time is cut into windows. The zone has been validated.
    #[must_use]
    pub fn calendar(&self) -> Calendar {
        let zone = TimeZone::get(&self.time_zone).unwrap_or(TimeZone::UTC);
        let settling = Millis::from(self.settle_minutes) * time::MINUTE;
        Calendar::new(zone, hours(self.lateness_hours), settling)
            .with_day_lateness(hours(self.day_lateness_hours))
            .with_longer(&self.longer_periods, self.seasons())
    }

    /// When heating is due. Zone and season have been validated.
    #[must_use]
    pub fn seasons(&self) -> Seasons {
        let zone = TimeZone::get(&self.time_zone).unwrap_or(TimeZone::UTC);
        Seasons::new(zone, self.heating_season.parse().ok())
    }

    /// What holds for all models: the seasons of the configuration.
    #[must_use]
    pub fn models(&self) -> Terms {
        Terms { seasons: self.seasons(), ..Terms::default() }
    }

    /// How far back alarms are revised, and when low limits hold.
    #[must_use]
    pub fn alarms(&self) -> AlarmSettings {
        let horizon = Millis::from(self.alarm_horizon_minutes) * time::MINUTE;
        AlarmSettings { horizon, seasons: self.seasons() }
    }
}

fn hours(count: u32) -> Millis {
    Millis::from(count) * time::HOUR
}

/// The `[telemetry]` section.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySettings {
    /// Form of the log lines.
    pub log: LogForm,
    /// Least level that is logged.
    pub level: String,
    /// `host:port` on which `run`, `connect` and `all` serve `/metrics`; the HTTP connector serves them too.
    pub listen: Option<String>,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        TelemetrySettings { log: LogForm::Text, level: "info".to_owned(), listen: None }
    }
}

/// What is wrong with a configuration; one line per problem.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Invalid(pub Vec<String>);

/// Reads a configuration file, puts its catalogues in force for this process, and validates it with them.
///
/// # Errors
/// Every problem found, as `file:line:column: what`, or that a file cannot be read.
pub fn load(path: &Path) -> Result<Config, Invalid> {
    let text = fs::read_to_string(path)
        .map_err(|error| Invalid(vec![format!("{}: cannot be read: {error}", path.display())]))?;
    let config = parse(&text, &path.display().to_string())?;
    config.catalogue.install()?;
    let problems = validate(&config);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(Invalid(problems.into_iter().map(|problem| format!("{}: {problem}", path.display())).collect()))
    }
}

/// Reads a configuration from text; `name` stands in messages.
///
/// # Errors
/// The first malformed or unknown key.
pub fn parse(text: &str, name: &str) -> Result<Config, Invalid> {
    let config = toml::from_str(text).map_err(|error| {
        let (line, column) = position(text, error.span().map_or(0, |span| span.start));
        let message = error.message().trim();
        let hint = nearest_key(message).map(|key| format!("; did you mean `{key}`?")).unwrap_or_default();
        Invalid(vec![format!("{name}:{line}:{column}: {message}{hint}")])
    })?;
    Ok(passed_on(config))
}

impl Config {
    /// The connectors that are configured.
    #[must_use]
    pub fn connectors(&self) -> Vec<&dyn Connect> {
        let http = self.http.as_ref().map(|http| http as &dyn Connect);
        let mqtt = self.mqtt.as_ref().map(|mqtt| mqtt as &dyn Connect);
        [http, mqtt].into_iter().flatten().collect()
    }

    /// The sinks behind Kafka, configured or not.
    #[must_use]
    pub fn sinks(&self) -> Vec<Configured<'_>> {
        vec![Configured::by(Some(&self.clickhouse)), Configured::by(self.exchange.as_ref())]
    }
}

/// Gives the connectors what they need of the rules, so that senders are told what the dataflow would refuse.
fn passed_on(mut config: Config) -> Config {
    let backfill = config.rules.backfill();
    config.http.iter_mut().for_each(|http| http.set_backfill(backfill));
    config.mqtt.iter_mut().for_each(|mqtt| mqtt.set_backfill(backfill));
    config
}

/// What no type can say; pure.
#[must_use]
pub fn validate(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let mut demand = |holds: bool, problem: &str| {
        if !holds {
            problems.push(problem.to_owned());
        }
    };
    let pipeline = &config.pipeline;
    demand(!pipeline.name.is_empty(), "pipeline.name is empty: it names the consumer group");
    demand((1..=16).contains(&pipeline.workers), "pipeline.workers must be between 1 and 16");
    demand((10..=10_000).contains(&pipeline.epoch_ms), "pipeline.epoch_ms must be between 10 and 10000");
    demand((1..=64).contains(&pipeline.block_epochs), "pipeline.block_epochs must be between 1 and 64");
    demand(
        pipeline.epochs_in_flight > 2 * pipeline.block_epochs,
        "pipeline.epochs_in_flight must be more than twice pipeline.block_epochs, or nothing moves",
    );
    demand(pipeline.records_per_partition > 0, "pipeline.records_per_partition must be at least 1");
    demand(pipeline.records_per_epoch > 0, "pipeline.records_per_epoch must be at least 1");
    demand(
        config.rules.remember_reports >= 8,
        "rules.remember_reports must be at least 8: tests look at neighbours",
    );
    demand(
        (1..=36_500).contains(&config.rules.backfill_days),
        "rules.backfill_days must be between 1 and 36500",
    );
    demand(!config.kafka.brokers.trim().is_empty(), "kafka.brokers is empty: give host:port");
    demand(config.kafka.partitions > 0, "kafka.partitions must be at least 1");
    let checkpoint = config.checkpoint.validate(pipeline.block_epochs);
    problems.extend(checkpoint.into_iter().map(|problem| format!("checkpoint.{problem}")));
    problems.extend(config.operations.validate().into_iter().map(|problem| format!("operations.{problem}")));
    problems.extend(config.sinks().iter().flat_map(Configured::problems));
    for connector in config.connectors() {
        let name = connector.name();
        problems.extend(connector.problems().into_iter().map(|problem| format!("{name}.{problem}")));
    }
    for period in config.rules.longer_periods.iter().filter(|period| ladder::rung(**period).is_none()) {
        problems.push(format!(
            "rules.longer_periods: {} is always computed: name week, month, quarter, season or year",
            period.name()
        ));
    }
    let zone = &config.rules.time_zone;
    if TimeZone::get(zone).is_err() {
        problems.push(format!("rules.time_zone `{zone}` is not known: use a name such as Asia/Shanghai"));
    }
    if let Err(problem) = config.rules.heating_season.parse::<Season>()
        && config.rules.heating_season != "none"
    {
        problems.push(format!("rules.heating_season: {problem}, or `none`"));
    }
    problems
}

fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// From serde's ``unknown field `a`, expected one of `b`, `c` `` the expected name that is closest.
fn nearest_key(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let slips = unknown.len().max(3) / 2;
    schemas::nearest::within(slips, unknown, quoted).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use operators::Profile;
    use schemas::{Facility, FacilityKind};

    use super::*;

    const LEAST: &str = "[kafka]\nbrokers = \"k:9092\"\n[clickhouse]\nurl = \"http://c:8123\"\n";

    #[test]
    fn the_least_configuration_is_valid() {
        let config = parse(LEAST, "c.toml").unwrap();
        assert_eq!(validate(&config), Vec::<String>::new());
    }

    #[rstest::rstest]
    #[case::default("", 6, 24)]
    #[case::longer("day_lateness_hours = 72\n", 6, 72)]
    #[case::never_shorter_than_hours("lateness_hours = 48\n", 48, 48)]
    fn days_stay_open_at_least_as_long_as_hours(#[case] rules: &str, #[case] hour: i64, #[case] day: i64) {
        let rules = parse(&format!("{LEAST}[rules]\ntime_zone = \"UTC\"\n{rules}"), "c.toml").unwrap().rules;
        let clock = 1_000 * time::DAY;
        let horizon = rules.calendar().horizon(clock);
        assert_eq!(horizon.hour, clock - (hour + 1) * time::HOUR);
        assert_eq!(horizon.day, rules.calendar().day(clock - (day + 1) * time::HOUR).0);
    }

    #[rstest::rstest]
    #[case::in_season("", "2026-01-15T00:00:00Z", true)]
    #[case::out_of_it("heating_season = \"10-20..04-06\"\n", "2026-04-07T00:00:00Z", false)]
    #[case::its_last_evening("heating_season = \"10-20..04-06\"\n", "2026-04-06T15:59:59Z", true)]
    #[case::midnight_is_that_of_the_zone(
        "heating_season = \"10-20..04-06\"\n",
        "2026-04-06T16:00:00Z",
        false
    )]
    #[case::all_year("heating_season = \"none\"\n", "2026-07-15T00:00:00Z", true)]
    #[case::no_city_heats_in_july("", "2026-07-15T00:00:00Z", false)]
    fn supply_and_low_limits_are_judged_by_the_season_of_the_configuration(
        #[case] rules: &str,
        #[case] at: jiff::Timestamp,
        #[case] heating: bool,
    ) {
        let rules = parse(&format!("{LEAST}[rules]\n{rules}"), "c.toml").unwrap().rules;
        let station = Profile {
            facility: Facility::new("ST-1", FacilityKind::Station),
            devices: [].into(),
            scopes: [].into(),
            thresholds: [].into(),
            households_below: 0,
            area_below: 0.0,
        };
        for seasons in [rules.models().seasons, rules.alarms().seasons] {
            assert_eq!(seasons.heating(&station, "", at.as_millisecond()), heating);
        }
    }

    #[rstest::rstest]
    #[case("[pipeline]\nworker = 2\n", "c.toml:6:1: unknown field `worker`", "did you mean `workers`?")]
    #[case("[pipelin]\nworkers = 2\n", "c.toml:5:2: unknown field `pipelin`", "did you mean `pipeline`?")]
    #[case("[pipeline]\nworkers = \"two\"\n", "c.toml:6:11: invalid type", "")]
    #[case("[pipeline]\nclock = \"wal\"\n", "c.toml:6:9: unknown variant `wal`", "did you mean `wall`?")]
    #[case("[pipeline\n", "c.toml:5:10: ", "")]
    fn mistakes_are_named_where_they_stand(#[case] text: &str, #[case] start: &str, #[case] end: &str) {
        let problem = parse(&format!("{LEAST}{text}"), "c.toml").unwrap_err().0.remove(0);
        assert!(problem.starts_with(start) && problem.ends_with(end), "{problem}");
    }

    #[rstest::rstest]
    #[case::default("", 7)]
    #[case::longer("remember_hours = 48\n", 48)]
    #[case::as_long_as_windows("lateness_hours = 30\n", 31)]
    #[case::as_long_as_alarms("remember_hours = 1\nlateness_hours = 0\nalarm_horizon_minutes = 120\n", 2)]
    fn nothing_is_revised_that_is_not_remembered(#[case] rules: &str, #[case] want: u32) {
        let memory = parse(&format!("{LEAST}[rules]\n{rules}"), "c.toml").unwrap().rules.memory();
        assert_eq!(memory.lateness, hours(want));
        assert!(memory.network_reports > 60 * want as usize, "every minute of it");
    }

    #[rstest::rstest]
    #[case::default("", 31)]
    #[case::archive("backfill_days = 400\n", 400)]
    fn connectors_refuse_what_the_dataflow_would(#[case] rules: &str, #[case] days: i64) {
        let text = format!("{LEAST}[http]\n[mqtt]\n[rules]\n{rules}");
        let config = parse(&text, "c.toml").unwrap();
        let given = [config.rules.backfill(), config.http.unwrap().backfill, config.mqtt.unwrap().backfill];
        assert_eq!(given, [days * time::DAY; 3]);
    }

    #[test]
    fn impossible_values_are_all_named() {
        let text = format!(
            "{LEAST}[pipeline]\nworkers = 0\nepochs_in_flight = 1\n[rules]\nbackfill_days = 0\ntime_zone = \"Mars\"\nheating_season = \"winter\"\n"
        );
        let problems = validate(&parse(&text, "c.toml").unwrap());
        assert_eq!(problems.len(), 5, "{problems:?}");
    }
}
