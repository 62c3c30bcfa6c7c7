//! The bodies of all records but reports, in the order of the fields of their schema files.

use super::{
    Record,
    wire::{Cursor, Put},
};
use crate::{
    AlarmState, AlarmTransition, Catalogue, Error, Event, Flag, KpiCause, KpiRow, MetricId, Period,
    QualityTest, Reading, Reason, RecordPlace, Reject, RejectStage, Scope, ScopeKind, TestSet, Topic,
    Transition,
};

/// The value of a closed set whose name is `text`.
pub(super) fn by_name<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|value| name(*value) == text)
}

/// A metric's code.
///
/// # Errors
/// [`Error::Encode`] when the number is not of the catalogue in force.
pub(super) fn metric_code(topic: Topic, metric: MetricId) -> Result<&'static str, Error> {
    match Catalogue::in_force().get(metric) {
        Some(metric) => Ok(&metric.code),
        None => Err(unwritable(topic, format!("metric number {} is not in the catalogue", metric.0))),
    }
}

fn unwritable(topic: Topic, detail: String) -> Error {
    Error::Encode { topic: topic.name(), detail }
}

fn metric(text: &str) -> Option<MetricId> {
    Catalogue::in_force().id(text)
}

const FLAGS: &[Flag] = &[Flag::Good, Flag::NotEvaluated, Flag::Suspect, Flag::Fail, Flag::Missing];
const STAGES: &[RejectStage] = &[RejectStage::Connector, RejectStage::Dataflow, RejectStage::Sink];

fn stage_name(stage: RejectStage) -> &'static str {
    match stage {
        RejectStage::Connector => "connector",
        RejectStage::Dataflow => "dataflow",
        RejectStage::Sink => "sink",
    }
}

impl Record for Event {
    const TOPIC: Topic = Topic::Events;

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.put_str(&self.id);
        out.put_str(&self.kind);
        out.put_str(&self.facility);
        out.put_long(self.at);
        out.put_long(self.received_at);
        out.put_str(&self.origin);
        out.put_map(self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        Ok(())
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(Self::TOPIC, bytes);
        let event = Event {
            id: cursor.string("id")?,
            kind: cursor.string("kind")?,
            facility: cursor.code("facility")?,
            at: cursor.long("at")?,
            received_at: cursor.long("received_at")?,
            origin: cursor.string("origin")?,
            fields: cursor.map("fields")?,
        };
        cursor.end()?;
        Ok(event)
    }
}

impl Record for Reject {
    const TOPIC: Topic = Topic::Rejects;

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.put_long(self.at);
        out.put_str(&self.origin);
        out.put_str(self.reason.name());
        out.put_str(&self.detail);
        out.put_bytes(&self.raw);
        out.put_str(stage_name(self.stage));
        out.put_long(self.readings.into());
        Ok(())
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(Self::TOPIC, bytes);
        let reject = Reject {
            at: cursor.long("at")?,
            origin: cursor.string("origin")?,
            reason: cursor.named("reason", |text| by_name(Reason::ALL, Reason::name, text))?,
            detail: cursor.string("detail")?,
            raw: cursor.bytes("raw")?.to_vec(),
            stage: cursor.named("stage", |text| by_name(STAGES, stage_name, text))?,
            readings: cursor.number("readings")?,
        };
        cursor.end()?;
        Ok(reject)
    }
}

impl Record for Reading {
    const TOPIC: Topic = Topic::Readings;

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let tests = self.failed.names().count();
        if tests != self.failed.0.count_ones() as usize {
            return Err(unwritable(Self::TOPIC, format!("tests {:#b} have no names", self.failed.0)));
        }
        out.put_str(&self.facility);
        out.put_str(&self.device);
        out.put_str(metric_code(Self::TOPIC, self.metric)?);
        out.put_long(self.observed_at);
        out.put_long(self.received_at);
        out.put_double(self.value);
        out.put_long(self.flag.number().into());
        if tests > 0 {
            out.put_long(tests as i64);
            self.failed.names().for_each(|name| out.put_str(name));
        }
        out.put_long(0);
        Ok(())
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(Self::TOPIC, bytes);
        let reading = Reading {
            facility: cursor.code("facility")?,
            device: cursor.code("device")?,
            metric: cursor.named("metric", metric)?,
            observed_at: cursor.long("observed_at")?,
            received_at: cursor.long("received_at")?,
            value: cursor.double("value")?,
            flag: flag(&mut cursor)?,
            failed: failed(&mut cursor)?,
        };
        cursor.end()?;
        Ok(reading)
    }
}

fn flag(cursor: &mut Cursor<'_>) -> Result<Flag, Error> {
    let before = *cursor;
    let number: i32 = cursor.number("flag")?;
    let known = FLAGS.iter().copied().find(|flag| i32::from(flag.number()) == number);
    known.ok_or_else(|| before.wrong("flag", format_args!("{number} is no QARTOD flag")))
}

fn failed(cursor: &mut Cursor<'_>) -> Result<TestSet, Error> {
    let mut failed = TestSet::EMPTY;
    loop {
        let items = cursor.block("failed")?;
        if items == 0 {
            return Ok(failed);
        }
        for _ in 0..items {
            failed.insert(cursor.named("failed", |text| by_name(QualityTest::ALL, QualityTest::name, text))?);
        }
    }
}

fn put_place(out: &mut Vec<u8>, place: Option<RecordPlace>) {
    out.put_option(place, |out, place| out.put_str(&place.to_string()));
}

fn place(cursor: &mut Cursor<'_>) -> Result<Option<RecordPlace>, Error> {
    cursor.option("caused_by", |cursor| cursor.named("caused_by", |text| text.parse().ok()))
}

impl Record for KpiRow {
    const TOPIC: Topic = Topic::Kpis;

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.put_str(&self.kpi);
        out.put_str(self.scope.kind.name());
        out.put_str(&self.scope.code);
        out.put_str(self.period.name());
        out.put_long(self.window_start);
        out.put_option(self.value, Put::put_double);
        out.put_option(self.previous, Put::put_double);
        out.put_float(self.coverage);
        out.put_str(self.cause.name());
        put_place(out, self.caused_by);
        Ok(())
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(Self::TOPIC, bytes);
        let row = KpiRow {
            kpi: cursor.code("kpi")?,
            scope: Scope {
                kind: cursor.named("scope_kind", |text| by_name(ScopeKind::ALL, ScopeKind::name, text))?,
                code: cursor.code("scope")?,
            },
            period: cursor.named("period", |text| by_name(Period::ALL, Period::name, text))?,
            window_start: cursor.long("window_start")?,
            value: cursor.option("value", |cursor| cursor.double("value"))?,
            previous: cursor.option("previous", |cursor| cursor.double("previous"))?,
            coverage: cursor.float("coverage")?,
            cause: cursor.named("cause", |text| by_name(KpiCause::ALL, KpiCause::name, text))?,
            caused_by: place(&mut cursor)?,
        };
        cursor.end()?;
        Ok(row)
    }
}

impl Record for AlarmTransition {
    const TOPIC: Topic = Topic::Alarms;

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let metric = self.metric.map(|metric| metric_code(Self::TOPIC, metric)).transpose()?;
        out.put_str(&self.alarm_id);
        out.put_long(self.sequence.into());
        out.put_str(self.transition.name());
        out.put_long(self.at);
        out.put_str(self.state.name());
        out.put_str(&self.rule);
        out.put_str(&self.facility);
        out.put_str(&self.device);
        out.put_option(metric, |out, code| out.put_str(code));
        out.put_long(self.level.into());
        out.put_long(self.raised_at);
        out.put_option(self.cleared_at, |out, at| out.put_long(at));
        out.put_double(self.first_value);
        out.put_double(self.current_value);
        out.put_double(self.peak_value);
        out.put_long(self.peak_at);
        out.put_long(self.peak_level.into());
        out.put_boolean(self.analysed);
        out.put_long(self.affected_households.into());
        out.put_double(self.affected_area);
        out.put_str(&self.evidence);
        out.put_str(&self.advice);
        out.put_str(&self.cause);
        put_place(out, self.caused_by);
        Ok(())
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(Self::TOPIC, bytes);
        let transition = AlarmTransition {
            alarm_id: cursor.string("alarm_id")?,
            sequence: cursor.number("sequence")?,
            transition: cursor
                .named("transition", |text| by_name(Transition::ALL, Transition::name, text))?,
            at: cursor.long("at")?,
            state: cursor.named("state", |text| by_name(AlarmState::ALL, AlarmState::name, text))?,
            rule: cursor.code("rule")?,
            facility: cursor.code("facility")?,
            device: cursor.code("device")?,
            metric: cursor.option("metric", |cursor| cursor.named("metric", metric))?,
            level: cursor.number("level")?,
            raised_at: cursor.long("raised_at")?,
            cleared_at: cursor.option("cleared_at", |cursor| cursor.long("cleared_at"))?,
            first_value: cursor.double("first_value")?,
            current_value: cursor.double("current_value")?,
            peak_value: cursor.double("peak_value")?,
            peak_at: cursor.long("peak_at")?,
            peak_level: cursor.number("peak_level")?,
            analysed: cursor.boolean("analysed")?,
            affected_households: cursor.number("affected_households")?,
            affected_area: cursor.double("affected_area")?,
            evidence: cursor.string("evidence")?,
            advice: cursor.string("advice")?,
            cause: cursor.string("cause")?,
            caused_by: place(&mut cursor)?,
        };
        cursor.end()?;
        Ok(transition)
    }
}
