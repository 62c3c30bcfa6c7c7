//! Payload profiles: which topics are subscribed to, and how their payloads are read.

use bytes::Bytes;
use schemars::JsonSchema;
use schemas::{Code, Reason, number::Decimal};
use serde::{Deserialize, Serialize};

use super::wrong;
use crate::{
    Error,
    payload::{
        Arrival, Batch, native,
        pointer::{Mapping, Pointers},
        record::code_text,
        senml, thingsboard,
    },
};

/// One `[[mqtt.profiles]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// A topic filter in which `{facility}` and `{device}` may stand for whole levels, beside `+` and `#`. What the topic
    /// names wins: a record that names another facility or device is refused.
    pub topic: String,
    /// How payloads are read.
    #[serde(default)]
    pub format: Format,
    /// For `thingsboard`: what stands between facility and device in a device's name.
    #[serde(default = "slash")]
    pub separator: String,
    /// `.` or `,`: the decimal sign of numbers that are written as text, thousands being set apart by the other. Without
    /// it `45,2` is read and `1,001` is refused, since it may be either.
    pub decimal: Option<Decimal>,
    /// For `pointer`: where things stand.
    pub pointers: Option<Pointers>,
}

fn slash() -> String {
    "/".to_owned()
}

/// The form of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The native form: an object or an array.
    #[default]
    Native,
    /// The native form, one object per line.
    Lines,
    /// SenML in JSON (RFC 8428).
    Senml,
    /// ThingsBoard's gateway telemetry.
    Thingsboard,
    /// JSON whose fields are named by pointers.
    Pointer,
}

/// The profiles when none are configured.
pub(super) fn defaults() -> Vec<Profile> {
    let profile = |topic: &str, format| Profile {
        topic: topic.to_owned(),
        format,
        separator: slash(),
        decimal: None,
        pointers: None,
    };
    vec![
        profile("heating/{facility}/report", Format::Native),
        profile("heating/{facility}/senml", Format::Senml),
        profile("v1/gateway/telemetry", Format::Thingsboard),
    ]
}

/// Profiles that were checked, ready for use.
#[derive(Clone, Debug)]
pub struct Profiles(Vec<Checked>);

#[derive(Clone, Debug)]
struct Checked {
    levels: Vec<Level>,
    decimal: Option<Decimal>,
    reader: Reader,
}

/// A level of a topic filter.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Is(String),
    Any,
    Rest,
    Facility,
    Device,
}

#[derive(Clone, Debug)]
enum Reader {
    Native,
    Lines,
    Senml,
    Thingsboard { separator: String },
    Pointer(Box<Mapping>),
}

impl Profiles {
    /// Checks profiles.
    ///
    /// # Errors
    /// [`Error::Setting`] for a malformed topic or mapping, or when there are none.
    pub fn new(profiles: &[Profile]) -> Result<Profiles, Error> {
        if profiles.is_empty() {
            return Err(wrong("profiles", "nothing would be subscribed to".to_owned()));
        }
        let checked = profiles.iter().enumerate().map(|(number, profile)| Checked::new(number, profile));
        checked.collect::<Result<_, _>>().map(Profiles)
    }

    /// The filters to subscribe to.
    pub fn filters(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|profile| {
            let level = |level: &Level| match level {
                Level::Is(text) => text.clone(),
                Level::Any | Level::Facility | Level::Device => "+".to_owned(),
                Level::Rest => "#".to_owned(),
            };
            profile.levels.iter().map(level).collect::<Vec<_>>().join("/")
        })
    }

    /// Reads a payload with the first profile whose topic matches.
    #[must_use]
    pub fn parse(&self, topic: &str, payload: &Bytes, mut arrival: Arrival) -> (Batch, Arrival) {
        let matching = self.0.iter().find_map(|profile| Some((profile, profile.matches(topic)?)));
        let Some((profile, (facility, device))) = matching else {
            let detail = format!("no profile maps topic {topic}");
            return (Batch::unreadable(payload, Reason::NoProfile, detail), arrival);
        };
        for (what, named) in [("facility", &facility), ("device", &device)] {
            if let Some(Err((reason, detail))) = named.as_ref().map(|code| code_text(what, code)) {
                let detail = format!("topic {topic}: {detail}");
                return (Batch::unreadable(payload, reason, detail), arrival);
            }
        }
        arrival.facility = facility;
        arrival.device = device;
        arrival.decimal = profile.decimal;
        let batch = match &profile.reader {
            Reader::Native => native::parse(payload, &arrival),
            Reader::Lines => native::parse_lines(payload, &arrival),
            Reader::Senml => senml::parse(payload, &arrival),
            Reader::Thingsboard { separator } => thingsboard::parse(payload, &arrival, separator),
            Reader::Pointer(mapping) => mapping.parse(payload, &arrival),
        };
        (batch, arrival)
    }
}

impl Checked {
    fn new(number: usize, profile: &Profile) -> Result<Checked, Error> {
        let name = format!("profiles[{number}]");
        let mut levels = Vec::new();
        for text in profile.topic.split('/') {
            if levels.last() == Some(&Level::Rest) {
                return Err(wrong(&name, format!("'#' may only be the last level of {}", profile.topic)));
            }
            levels.push(match text {
                "+" => Level::Any,
                "#" => Level::Rest,
                "{facility}" => Level::Facility,
                "{device}" => Level::Device,
                other if other.contains(['+', '#']) => {
                    return Err(wrong(&name, format!("level '{other}' holds a wildcard beside other text")));
                }
                other if other.contains(['{', '}']) => {
                    return Err(wrong(
                        &name,
                        format!("level {other} is neither {{facility}} nor {{device}}"),
                    ));
                }
                other => Level::Is(other.to_owned()),
            });
        }
        if profile.topic.is_empty() || profile.topic.starts_with('$') {
            return Err(wrong(&name, "topic must not be empty or begin with $ (see mqtt.group)".to_owned()));
        }
        let names_facility = levels.contains(&Level::Facility);
        if levels.contains(&Level::Device) && !names_facility {
            return Err(wrong(&name, format!("topic {} names a device but no facility", profile.topic)));
        }
        let reader = match (profile.format, &profile.pointers) {
            (Format::Native, None) => Reader::Native,
            (Format::Lines, None) => Reader::Lines,
            (Format::Senml, None) => Reader::Senml,
            (Format::Thingsboard, None) => Reader::Thingsboard { separator: profile.separator.clone() },
            (Format::Pointer, Some(pointers)) => {
                let mapping =
                    Mapping::new(pointers.clone(), names_facility).map_err(|error| match error {
                        Error::Setting { name: field, detail } => wrong(&format!("{name}.{field}"), detail),
                        other => other,
                    })?;
                Reader::Pointer(Box::new(mapping))
            }
            (Format::Pointer, None) => {
                return Err(wrong(&name, "format pointer needs the table pointers".to_owned()));
            }
            (_, Some(_)) => {
                return Err(wrong(&name, "only format pointer has the table pointers".to_owned()));
            }
        };
        Ok(Checked { levels, decimal: profile.decimal, reader })
    }

    /// Facility and device that the topic names, when it matches.
    fn matches(&self, topic: &str) -> Option<(Option<Code>, Option<Code>)> {
        let (mut facility, mut device) = (None, None);
        let mut texts = topic.split('/');
        for level in &self.levels {
            if *level == Level::Rest {
                return Some((facility, device));
            }
            let text = texts.next()?;
            match level {
                Level::Is(wanted) if wanted != text => return None,
                Level::Facility => facility = Some(Code::new(text)),
                Level::Device => device = Some(Code::new(text)),
                _ => {}
            }
        }
        texts.next().is_none().then_some((facility, device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("a/b", "a/b", Some((None, None)))]
    #[case("a/+", "a/b", Some((None, None)))]
    #[case("a/+", "a/b/c", None)]
    #[case("a/+", "a", None)]
    #[case("a/#", "a/b/c", Some((None, None)))]
    #[case("a/#", "a", Some((None, None)))]
    #[case("site/{facility}/{device}/up", "site/ST-1/P1/up", Some((Some("ST-1"), Some("P1"))))]
    #[case("site/{facility}/{device}/up", "site/ST-1/P1/down", None)]
    fn topics_are_matched(
        #[case] topic: &str,
        #[case] given: &str,
        #[case] want: Option<(Option<&str>, Option<&str>)>,
    ) {
        let profile = Profile {
            topic: topic.to_owned(),
            format: Format::Native,
            separator: slash(),
            decimal: None,
            pointers: None,
        };
        let found = Checked::new(0, &profile).unwrap().matches(given);
        assert_eq!(found, want.map(|(f, d)| (f.map(Code::new), d.map(Code::new))));
    }

    #[rstest::rstest]
    #[case("heating/ST-1/report", r#"{"observed_at":0,"readings":{"room_temp":1}}"#, Ok("ST-1"))]
    #[case(
        "heating/ST-1/report",
        r#"{"facility":"ST-2","observed_at":0,"readings":{"room_temp":1}}"#,
        Err(Reason::TopicMismatch)
    )]
    #[case(
        "heating//report",
        r#"{"facility":"ST-2","observed_at":0,"readings":{"room_temp":1}}"#,
        Err(Reason::MissingField)
    )]
    #[case("heating/ST-1/senml", r#"[{"n":"room_temp","v":1}]"#, Ok("ST-1"))]
    #[case("heating/ST-1/senml", r#"[{"bn":"ST-2:","n":"room_temp","v":1}]"#, Err(Reason::TopicMismatch))]
    #[case("v1/gateway/telemetry", r#"{"ST-1":[{"room_temp":1}]}"#, Ok("ST-1"))]
    fn the_default_topics_name_the_facility(
        #[case] topic: &str,
        #[case] payload: &str,
        #[case] want: Result<&str, Reason>,
    ) {
        let arrival = Arrival {
            at: 1_705_305_600_000,
            origin: format!("mqtt:{topic}"),
            zone: jiff::tz::TimeZone::UTC,
            decimal: None,
            accept_received_at: false,
            backfill: schemas::time::BACKFILL,
            facility: None,
            device: None,
        };
        let payload = Bytes::from(payload.replace(":0,", ":1705305600000,"));
        let (batch, _) = Profiles::new(&defaults()).unwrap().parse(topic, &payload, arrival);
        let found = batch.reports().next().map(|report| report.facility.as_str());
        assert_eq!(found.ok_or_else(|| batch.refused[0].reason), want);
    }

    #[test]
    fn filters_have_wildcards_where_names_stand() {
        let profiles = Profiles::new(&defaults()).unwrap();
        let filters: Vec<_> = profiles.filters().collect();
        assert_eq!(filters, ["heating/+/report", "heating/+/senml", "v1/gateway/telemetry"]);
    }
}
