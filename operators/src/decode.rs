//! Decoding: Kafka values become observations.
//!
//! Enters: the bytes of a record with its place in the topic. Leaves: observations whose metrics are known and whose
//! values are finite, and rejects. Guarantees: every reading of a readable record leaves either in its observation
//! or as a reject of its own, so one bad reading does not hold up the others; an unreadable record leaves as a
//! reject with its bytes, and so does one whose codes or number of readings are beyond all measure. Values are read, not
//! judged, except that text is marked as not normal. A time of arrival that cannot be true does not count: the broker's
//! stamp of the record takes its place, and nothing else of the report is lost.
//!
//! A reading that the sender reports as not measured leaves as a reject (`not_measured`): it is no reading and has no
//! row, and for completeness it counts as missing like one that never came. A report of which no reading is left travels
//! on without readings: it says nothing of its object but that there is contact. A negative sequence number is for the
//! connectors to refuse; one that has come this far is passed on as it is.

use schemas::{
    Catalogue, Error, MetricId, Millis, Reason, Reject, RejectStage, ReportView,
    avro::{Codec, Named, Record, ReportReader},
    number,
    report::{MAX_CODE, MAX_READINGS, REDRIVEN, ValueView},
    time::{ARRIVAL_TOLERANCE, EARLIEST, LATEST},
};

use crate::{
    durable::{holder, shard},
    flow::{Observation, Observations, Observed},
    refuse::{self, Header},
};

/// A record of Kafka.
#[derive(Clone, Copy, Debug)]
pub struct KafkaRecord<'a> {
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// When the broker appended it: the time of the reject when the record has none of its own.
    pub appended_at: Millis,
    /// The value.
    pub value: &'a [u8],
}

/// Decodes reports. What it learns from one report makes the next one faster and changes no output.
pub struct ReportDecoder {
    codec: Codec,
    topic: String,
    metrics: MetricLookup,
    arrivals: ArrivalTimes,
}

/// Which times of arrival are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrivalTimes {
    /// Those of live data: none lies more than [`ARRIVAL_TOLERANCE`] ahead of the broker's stamp, however long before it.
    BeforeStamp,
    /// Those of replays and simulations, which may be ahead of the brokers.
    Any,
}

/// When a report arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The time, as it is believed.
    pub at: Millis,
    /// The shard of its facility.
    pub shard: u16,
    /// Whether it is what the report said.
    pub as_said: bool,
}

type Refusal = (Reason, String);

impl ReportDecoder {
    /// A decoder for a topic of this name.
    #[must_use]
    pub fn new(codec: Codec, topic: &str, arrivals: ArrivalTimes) -> ReportDecoder {
        let metrics = MetricLookup::new(Catalogue::in_force());
        ReportDecoder { codec, topic: topic.to_owned(), metrics, arrivals }
    }

    /// Decodes one record into at most one observation and any number of rejects. `shares` are those of the workers:
    /// the observation goes into the one that holds its facility. Answers when it arrived; `None` when it is not readable.
    pub fn decode(
        &mut self,
        record: KafkaRecord<'_>,
        shares: &mut [Observations],
        rejects: &mut Vec<Reject>,
    ) -> Option<Arrived> {
        let refused = rejects.len();
        let place = RecordOrigin { record, topic: &self.topic };
        let read = self.codec.report_body(record.value).map_err(|error| refusal(&error)).and_then(|body| {
            let reader = ReportReader::new(&body).map_err(|error| refusal(&error))?;
            let view = reader.view();
            bounded(view)?;
            let shard = shard(view.facility);
            let at = self.arrivals.believed(view.received_at, record.appended_at);
            let share = &mut shares[holder(shard, shares.len())];
            let read = observe(&mut self.metrics, place, (reader, at), (share, rejects));
            read.inspect_err(|_| share.abandon())?;
            Ok(Arrived { at, shard, as_said: at == view.received_at })
        });
        read.map_err(|(reason, detail)| {
            rejects.truncate(refused);
            rejects.push(whole(place, record.appended_at, reason, detail));
        })
        .ok()
    }
}

impl ArrivalTimes {
    /// The time of arrival of a record that the broker stamped with `appended_at`, where that is known.
    fn believed(self, received_at: Millis, appended_at: Millis) -> Millis {
        let stamped = (EARLIEST..=LATEST).contains(&appended_at);
        let latest = match self {
            ArrivalTimes::BeforeStamp if stamped => appended_at + ARRIVAL_TOLERANCE,
            _ => LATEST,
        };
        match (EARLIEST..=latest).contains(&received_at) {
            true => received_at,
            false if stamped => appended_at,
            false => received_at.clamp(EARLIEST, latest),
        }
    }
}

/// Refuses what no sender means: it would only be carried through everything.
fn bounded(report: ReportView<'_>) -> Result<(), Refusal> {
    for (what, code) in [("facility", report.facility), ("device", report.device.unwrap_or_default())] {
        if code.len() > MAX_CODE {
            let detail = format!("the code of the {what} has {} bytes, {MAX_CODE} are allowed", code.len());
            return Err((Reason::TooLarge, detail));
        }
    }
    Ok(())
}

/// Decodes a record of any other topic.
///
/// # Errors
/// The reject of a record that cannot be read, with its bytes.
pub fn decode<R: Record>(codec: &Codec, topic: &str, record: KafkaRecord<'_>) -> Result<R, Box<Reject>> {
    codec.decode(record.value).map_err(|error| Box::new(unreadable(topic, record, &error)))
}

/// The reject of a record that an operator has passed over, with its bytes.
#[must_use]
pub fn skipped(topic: &str, record: KafkaRecord<'_>, reason: &str) -> Reject {
    whole(
        RecordOrigin { record, topic },
        record.appended_at,
        Reason::Skipped,
        format!("passed over: {reason}"),
    )
}

/// Where a report was read.
#[derive(Clone, Copy)]
struct RecordOrigin<'a> {
    record: KafkaRecord<'a>,
    topic: &'a str,
}

impl RecordOrigin<'_> {
    fn origin(self) -> String {
        refuse::origin(self.topic, self.record.partition, self.record.offset)
    }
}

fn unreadable(topic: &str, record: KafkaRecord<'_>, error: &Error) -> Reject {
    let (reason, detail) = refusal(error);
    whole(RecordOrigin { record, topic }, record.appended_at, reason, detail)
}

fn refusal(error: &Error) -> Refusal {
    let reason = match error {
        Error::UnknownSchema { .. } => Reason::UnknownSchema,
        _ => Reason::Malformed,
    };
    (reason, error.to_string())
}

fn whole(place: RecordOrigin<'_>, at: Millis, reason: Reason, detail: String) -> Reject {
    let raw = place.record.value.to_vec();
    Reject { at, origin: place.origin(), reason, detail, raw, stage: RejectStage::Dataflow, readings: 0 }
}

/// Reads a report that arrived at `received_at` into a share. After an error what it read so far is to be abandoned.
fn observe(
    metrics: &mut MetricLookup,
    place: RecordOrigin<'_>,
    (mut reader, received_at): (ReportReader<'_>, Millis),
    (share, rejects): (&mut Observations, &mut Vec<Reject>),
) -> Result<(), Refusal> {
    let report = ReportView { received_at, ..reader.view() };
    let (mut before, mut readings) = (None, 0);
    while let Some((metric, value)) =
        reader.next(|code| metrics.find(before, code)).map_err(|error| refusal(&error))?
    {
        readings += 1;
        if readings > MAX_READINGS {
            return Err((Reason::TooLarge, format!("the report has more than {MAX_READINGS} readings")));
        }
        let reading = match metric {
            Named::Known(metric) => read(metric, value).map_err(|reason| (reason, metric.code())),
            Named::Unknown(code) => Err((Reason::UnknownMetric, code)),
        };
        match reading {
            Ok(reading) => {
                before = Some(reading.metric);
                share.add(reading);
            }
            Err((reason, code)) => {
                let detail = explain(reason, code, value);
                rejects.push(refuse::reading(header(report), &place.origin(), (code, value), reason, detail));
            }
        }
    }
    share.close(&Observation {
        facility: report.facility,
        device: report.device.unwrap_or_default(),
        observed_at: report.observed_at,
        received_at: report.received_at,
        sequence: report.sequence,
        partition: place.record.partition,
        offset: place.record.offset,
        redriven: report.origin.starts_with(REDRIVEN),
        readings: &[],
    });
    Ok(())
}

fn header(report: ReportView<'_>) -> Header<'_> {
    Header {
        facility: report.facility,
        device: report.device.unwrap_or_default(),
        observed_at: report.observed_at,
        received_at: report.received_at,
        sequence: report.sequence,
    }
}

/// A negative zero becomes zero, so that equal values are the same bytes everywhere.
///
/// Text is read where it can be, and is not normal even when it is plain: a number belongs there.
fn read(metric: MetricId, value: ValueView<'_>) -> Result<Observed, Reason> {
    let observed = |value: f64, normal| Observed { metric, value: value + 0.0, normal };
    match value {
        ValueView::Number(value) if value.is_finite() => Ok(observed(value, true)),
        ValueView::Number(_) => Err(Reason::NotFinite),
        ValueView::Text(text) => number::parse(text).map(|parsed| observed(parsed.value, false)),
        ValueView::Missing => Err(Reason::NotMeasured),
    }
}

fn explain(reason: Reason, code: &str, value: ValueView<'_>) -> String {
    match (reason, value) {
        (Reason::UnknownMetric, _) => format!("metric {code} is not in the catalogue"),
        (Reason::NotMeasured, _) => format!("{code} was reported as not measured"),
        (_, ValueView::Number(value)) => format!("{code} is {value}, expected a finite number"),
        (_, ValueView::Text(text)) => format!("{code} is the text {text:?}, expected a finite number"),
        (_, ValueView::Missing) => format!("{code} has no value"),
    }
}

/// Finds metrics by code. Readings mostly follow one another as they did before, so the one that came after the
/// metric before is tried first.
struct MetricLookup {
    catalogue: &'static Catalogue,
    /// Code and number, by the number of the metric before, and one more for the first of a report.
    after: Vec<(&'static [u8], MetricId)>,
}

impl MetricLookup {
    fn new(catalogue: &'static Catalogue) -> MetricLookup {
        MetricLookup { catalogue, after: vec![(&[], MetricId(0)); catalogue.iter().count() + 1] }
    }

    #[inline]
    fn find(&mut self, before: Option<MetricId>, code: &[u8]) -> Option<MetricId> {
        let after = match before {
            Some(metric) => &mut self.after[usize::from(metric.0)],
            None => self.after.last_mut()?,
        };
        if after.0 != code || code.is_empty() {
            let id = self.catalogue.id(std::str::from_utf8(code).ok()?)?;
            *after = (self.catalogue.metric(id).code.as_bytes(), id);
        }
        Some(after.1)
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Code, RawReading, RawValue, Report, time::DAY};

    use super::*;
    use crate::flow::whole::Observation;

    const TOPIC: &str = "heating.reports";
    /// 2024-01-15T08:00:00Z.
    const T: Millis = 1_705_305_600_000;

    fn raw_report(readings: Vec<(&str, RawValue)>) -> Report {
        Report {
            facility: "ST-1".into(),
            device: Some("D-1".into()),
            observed_at: T + 1_000,
            received_at: T + 3_000,
            origin: "http:198.51.100.7".into(),
            sequence: Some(-4),
            readings: readings
                .into_iter()
                .map(|(metric, value)| RawReading { metric: Code::from(metric), value })
                .collect(),
        }
    }

    fn decoded(value: &[u8]) -> (Vec<Observation>, Vec<Reject>) {
        let mut decoder = ReportDecoder::new(Codec::single_object(), TOPIC, ArrivalTimes::Any);
        let (mut shares, mut rejects) = ([Observations::of(3), Observations::of(3)], Vec::new());
        let record = KafkaRecord { partition: 3, offset: 1042, appended_at: 9_000, value };
        let arrived = decoder.decode(record, &mut shares, &mut rejects);
        assert!(shares.iter().all(|share| !share.is_open()));
        assert!(shares[1 - holder(shard("ST-1"), 2)].is_empty(), "every facility has one worker");
        let observations: Vec<_> =
            shares.iter().flat_map(Observations::iter).map(Observation::from).collect();
        assert_eq!(arrived.map(|arrived| arrived.at), observations.first().map(|o| o.received_at));
        (observations, rejects)
    }

    fn encoded(readings: Vec<(&str, RawValue)>) -> Vec<u8> {
        Codec::single_object().encode(&raw_report(readings)).unwrap()
    }

    #[test]
    fn a_report_becomes_an_observation() {
        let readings = vec![
            ("secondary_supply_temp", RawValue::Number(45.2)),
            ("secondary_return_temp", RawValue::Text("３８，５".to_owned())),
            ("room_temp", RawValue::Text("20.5".to_owned())),
        ];
        let (observations, rejects) = decoded(&encoded(readings));
        assert_eq!(rejects, []);
        let [observation] = &observations[..] else { panic!("{observations:?}") };
        assert_eq!((observation.facility.as_str(), observation.device.as_str()), ("ST-1", "D-1"));
        assert_eq!((observation.observed_at, observation.received_at), (T + 1_000, T + 3_000));
        assert_eq!((observation.partition, observation.offset, observation.sequence), (3, 1042, Some(-4)));
        let readings: Vec<_> =
            observation.readings.iter().map(|r| (r.metric.code(), r.value, r.normal)).collect();
        assert_eq!(
            readings,
            [
                ("secondary_supply_temp", 45.2, true),
                ("secondary_return_temp", 38.5, false),
                ("room_temp", 20.5, false)
            ]
        );
    }

    #[rstest::rstest]
    #[case("colour", RawValue::Number(1.0), Reason::UnknownMetric, "1.0", "metric colour is not")]
    #[case("room_temp", RawValue::Number(f64::NAN), Reason::NotFinite, "\"NaN\"", "room_temp is NaN")]
    #[case("room_temp", RawValue::Number(f64::INFINITY), Reason::NotFinite, "\"inf\"", "room_temp is inf")]
    #[case("room_temp", RawValue::Text("1e999".into()), Reason::NotFinite, "\"1e999\"", "the text \"1e999\"")]
    #[case("room_temp", RawValue::Text("warm".into()), Reason::NotANumber, "\"warm\"", "the text \"warm\"")]
    #[case("room_temp", RawValue::Text("".into()), Reason::NotANumber, "\"\"", "the text \"\"")]
    #[case("room_temp", RawValue::Missing, Reason::NotMeasured, "null", "not measured")]
    fn a_bad_reading_does_not_hold_up_the_others(
        #[case] metric: &str,
        #[case] value: RawValue,
        #[case] reason: Reason,
        #[case] written: &str,
        #[case] detail: &str,
    ) {
        let good = ("room_humidity", RawValue::Number(40.0));
        let (observations, rejects) = decoded(&encoded(vec![(metric, value), good]));
        assert_eq!(observations[0].readings.len(), 1);
        let [reject] = &rejects[..] else { panic!("{rejects:?}") };
        assert_eq!((reject.reason, reject.readings, reject.at), (reason, 1, T + 3_000));
        assert_eq!(reject.origin, format!("kafka:heating.reports/3/1042#{metric}"));
        assert!(reject.detail.contains(detail), "{}", reject.detail);
        let raw = String::from_utf8(reject.raw.clone()).unwrap();
        let want = format!("\"readings\":[{{\"metric\":\"{metric}\",\"value\":{written}}}]}}");
        assert!(raw.ends_with(&want), "{raw}");
    }

    #[rstest::rstest]
    #[case::as_said(ArrivalTimes::BeforeStamp, 9_000, 8_000, 8_000)]
    #[case::history(ArrivalTimes::BeforeStamp, 400 * DAY, 0, 0)]
    #[case::clocks_differ_a_little(ArrivalTimes::BeforeStamp, 0, ARRIVAL_TOLERANCE, ARRIVAL_TOLERANCE)]
    #[case::ahead_of_the_stamp(ArrivalTimes::BeforeStamp, 9_000, 9_001 + ARRIVAL_TOLERANCE, 9_000)]
    #[case::the_year_9999(ArrivalTimes::BeforeStamp, 9_000, 253_402_300_799_000 - T, 9_000)]
    #[case::the_end_of_time(ArrivalTimes::BeforeStamp, 9_000, Millis::MAX - T, 9_000)]
    #[case::before_2000(ArrivalTimes::BeforeStamp, 9_000, -T, 9_000)]
    #[case::not_stamped(ArrivalTimes::BeforeStamp, -T, 400 * DAY, 400 * DAY)]
    #[case::not_stamped_and_impossible(ArrivalTimes::BeforeStamp, -T - 1, Millis::MAX - T, LATEST - T)]
    #[case::a_simulation_ahead(ArrivalTimes::Any, 9_000, 400 * DAY, 400 * DAY)]
    #[case::a_simulation_beyond_all(ArrivalTimes::Any, 9_000, LATEST - T + 1, 9_000)]
    fn an_arrival_that_cannot_be_is_the_stamp_of_the_record(
        #[case] arrivals: ArrivalTimes,
        #[case] appended: Millis,
        #[case] received: Millis,
        #[case] want: Millis,
    ) {
        assert_eq!(arrivals.believed(T + received, T + appended), T + want);
    }

    #[test]
    fn a_report_whose_arrival_cannot_be_keeps_everything_else() {
        let mut decoder = ReportDecoder::new(Codec::single_object(), TOPIC, ArrivalTimes::BeforeStamp);
        let report =
            Report { received_at: LATEST, ..raw_report(vec![("room_temp", RawValue::Number(20.0))]) };
        let value = Codec::single_object().encode(&report).unwrap();
        let (mut shares, mut rejects) = ([Observations::of(3)], Vec::new());
        let record = KafkaRecord { partition: 3, offset: 1042, appended_at: T + 9_000, value: &value };
        let arrived = decoder.decode(record, &mut shares, &mut rejects).unwrap();
        assert_eq!((arrived.at, arrived.as_said), (T + 9_000, false));
        let observation = shares[0].iter().next().unwrap();
        assert_eq!((observation.observed_at, observation.received_at), (T + 1_000, T + 9_000));
        assert_eq!((observation.readings.len(), rejects.len()), (1, 0));
    }

    #[test]
    fn what_is_beyond_all_measure_is_a_reject() {
        let reading = || ("room_temp", RawValue::Number(20.0));
        let code = |bytes: usize| Code::from("x".repeat(bytes));
        let sized = |facility: usize, device: usize, readings: usize| {
            let readings = (0..readings).map(|_| reading()).collect();
            let report =
                Report { facility: code(facility), device: Some(code(device)), ..raw_report(readings) };
            let value = Codec::single_object().encode(&report).unwrap();
            let mut decoder = ReportDecoder::new(Codec::single_object(), TOPIC, ArrivalTimes::Any);
            let (mut shares, mut rejects) = ([Observations::of(3)], Vec::new());
            let record = KafkaRecord { partition: 3, offset: 1042, appended_at: 9_000, value: &value };
            let arrived = decoder.decode(record, &mut shares, &mut rejects).is_some();
            assert!(
                !shares[0].is_open() && arrived == rejects.is_empty() && arrived == (shares[0].len() == 1)
            );
            rejects.pop().map(|reject| (reject.reason, reject.detail, reject.raw == value))
        };
        assert_eq!(sized(MAX_CODE, MAX_CODE, MAX_READINGS), None);
        for (facility, device, readings, what) in [
            (MAX_CODE + 1, 1, 1, "the code of the facility has 129 bytes, 128 are allowed"),
            (1, 900_000, 1, "the code of the device has 900000 bytes"),
            (1, 1, MAX_READINGS + 1, "more than 2048 readings"),
            (1, 1, 70_000, "more than 2048 readings"),
        ] {
            let (reason, detail, whole) = sized(facility, device, readings).unwrap();
            assert!(reason == Reason::TooLarge && detail.contains(what) && whole, "{detail}");
        }
    }

    #[test]
    fn zero_has_one_form() {
        let (observations, _) = decoded(&encoded(vec![("room_temp", RawValue::Number(-0.0))]));
        assert!(observations[0].readings[0].value.is_sign_positive());
    }

    #[test]
    fn a_report_of_which_no_reading_is_left_travels_on_without_readings() {
        let nothing = [("room_temp", RawValue::Missing), ("room_humidity", RawValue::Missing)];
        let unusable = [("a", RawValue::Number(1.0)), ("room_temp", RawValue::Text("warm".into()))];
        for (readings, refused) in [(nothing.to_vec(), 2), (unusable.to_vec(), 2), (Vec::new(), 0)] {
            let (observations, rejects) = decoded(&encoded(readings));
            let [observation] = &observations[..] else { panic!("{observations:?}") };
            assert_eq!((observation.facility.as_str(), observation.device.as_str()), ("ST-1", "D-1"));
            assert_eq!((observation.observed_at, observation.received_at), (T + 1_000, T + 3_000));
            assert_eq!(observation.readings, []);
            assert_eq!(rejects.iter().map(|r| r.readings).sum::<u32>(), refused);
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_leaves_with_its_bytes() {
        let whole = encoded(vec![("room_temp", RawValue::Number(20.0))]);
        let mut strange = whole.clone();
        strange[3] ^= 1;
        let cases: [(&[u8], Reason, Millis); 5] = [
            (b"", Reason::Malformed, 9_000),
            (b"{\"facility\":\"ST-1\"}", Reason::Malformed, 9_000),
            (&whole[..whole.len() - 3], Reason::Malformed, 9_000),
            (&[&whole[..], b"x"].concat(), Reason::Malformed, 9_000),
            (&strange, Reason::UnknownSchema, 9_000),
        ];
        for (bytes, reason, at) in cases {
            let (observations, rejects) = decoded(bytes);
            assert_eq!(observations, [], "{bytes:?}");
            let [reject] = &rejects[..] else { panic!("{bytes:?}: {rejects:?}") };
            assert_eq!((reject.reason, reject.at, reject.readings), (reason, at, 0), "{bytes:?}");
            assert_eq!(reject.origin, "kafka:heating.reports/3/1042");
            assert_eq!(reject.raw, bytes);
        }
    }

    #[test]
    fn the_lookup_is_right_whatever_came_before() {
        let catalogue = Catalogue::in_force();
        let mut lookup = MetricLookup::new(catalogue);
        let codes = ["room_temp", "room_humidity", "supply_temp", "room_temp", "nothing", "room_humidity"];
        for _ in 0..2 {
            let mut before = None;
            for code in codes {
                let found = lookup.find(before, code.as_bytes());
                assert_eq!(found, catalogue.id(code), "{code}");
                before = found.or(before);
            }
        }
    }

    #[test]
    fn other_topics_are_decoded_or_rejected() {
        let record = KafkaRecord { partition: 0, offset: 1, appended_at: 5, value: b"\x00" };
        let reject = decode::<schemas::RegistryEntry>(&Codec::single_object(), "heating.registry", record)
            .unwrap_err();
        assert_eq!(
            (reject.reason, reject.origin.as_str()),
            (Reason::Malformed, "kafka:heating.registry/0/1")
        );
    }
}
