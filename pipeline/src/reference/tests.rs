use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{config::Key, *};

/// The top of the repository.
fn top() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Files below a directory with this ending.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}

fn path(key: &Key) -> String {
    format!("{}.{}", key.section, key.name)
}

#[test]
fn every_key_of_the_configuration_stands_once_and_says_what_it_means() {
    let keys = config::keys();
    let once: BTreeSet<String> = keys.iter().map(path).collect();
    assert_eq!(once.len(), keys.len(), "nothing stands twice");
    assert!(keys.len() > 100, "{}", keys.len());
    for key in &keys {
        assert!(key.meaning.ends_with('.'), "{} says nothing: give the field a doc comment", path(key));
        assert!(!key.section.is_empty() && !key.kind.is_empty(), "{key:?}");
    }
    let of = |wanted: &str| keys.iter().find(|key| path(key) == wanted).unwrap_or_else(|| panic!("{wanted}"));
    let seen = |wanted: &str| (of(wanted).kind.as_str(), of(wanted).default.as_deref());
    assert_eq!(seen("kafka.brokers"), ("string", None));
    assert_eq!(seen("kafka.partitions"), ("integer", Some("4")));
    assert_eq!(seen("kafka.properties"), ("table of string", Some("{}")));
    assert_eq!(seen("pipeline.clock"), ("`\"wall\"`, `\"data\"`", Some("\"wall\"")));
    assert_eq!(seen("http.tokens"), ("list of string", Some("[]")));
    assert_eq!(seen("mqtt.profiles.decimal"), ("`\".\"`, `\",\"`", Some("")));
    assert_eq!(seen("exchange.signing.algorithm").1, Some("\"hmac_sha256\""));
    assert_eq!(seen("receiver.apps.*.secret_file"), ("string", Some("")));
}

/// Every key of a table, by its path; names of the user's are `*`.
fn written(table: &toml::Table, section: &str, found: &mut BTreeSet<String>) {
    for (name, value) in table {
        let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        match value {
            toml::Value::Table(inner) => written(inner, &path, found),
            toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
                list.iter().filter_map(toml::Value::as_table).for_each(|inner| written(inner, &path, found));
            }
            _ => drop(found.insert(path)),
        }
    }
}

#[test]
fn every_key_of_a_shipped_configuration_is_in_the_reference() {
    let known: BTreeSet<String> = config::keys().iter().map(path).collect();
    let files = files(&top().join("deploy"), "toml");
    let mut texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let readme = fs::read_to_string(top().join("README.md")).unwrap();
    let blocks = readme.split("```toml").skip(1).filter_map(|block| block.split_once("```"));
    texts.extend(blocks.map(|(block, _)| block.to_owned()));
    let mut read = 0;
    for text in texts {
        let table: toml::Table = text.parse().unwrap();
        // The mapping of a replay is no configuration.
        if table.contains_key("time") {
            continue;
        }
        let mut found = BTreeSet::new();
        written(&table, "", &mut found);
        assert_eq!(found.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "{text}");
        read += found.len();
    }
    assert!(read > 10, "{read} keys were read");
}

#[rstest::rstest]
#[case("epoch_ms", "", Some("ms"))]
#[case("send_timeout", "How long the server may take to accept a chunk, s.", Some("s"))]
#[case("body_rate", "The least rate at which a body may arrive, bytes/s, over each third.", Some("B/s"))]
#[case("max_body", "The greatest body in bytes, also after decompression.", Some("B"))]
#[case("keep_alive", "Seconds between signs of life.", Some("s"))]
#[case("level", "Least level, so that less is logged.", None)]
fn units_are_those_of_name_or_meaning(#[case] name: &str, #[case] meaning: &str, #[case] want: Option<&str>) {
    assert_eq!(config::unit(name, meaning), want);
}

/// Names of metrics as they stand in the sources.
fn named(text: &str) -> BTreeSet<String> {
    let names = text.split("\"nuanliu_").skip(1).filter_map(|rest| rest.split_once('"'));
    let names = names
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    names.map(|name| format!("nuanliu_{name}")).collect()
}

#[test]
fn every_metric_that_the_sources_name_is_in_the_reference() {
    let text = Chapter::Prometheus.text();
    let listed: BTreeSet<String> = text
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    assert_eq!(listed.len(), text.lines().filter(|line| line.starts_with("| `")).count(), "{text}");
    let sources = ["pipeline", "connectors", "sinks"].map(|name| files(&top().join(name).join("src"), "rs"));
    let sources = sources.iter().flatten().filter(|file| !file.ends_with("demo/mod.rs"));
    let in_code: BTreeSet<String> =
        sources.flat_map(|file| named(&fs::read_to_string(file).unwrap())).collect();
    assert_eq!(listed, in_code);
    assert!(
        text.contains("| `nuanliu_sink_pending` | gauge | `sink` | Blocks not yet acknowledged. |"),
        "{text}"
    );
}

#[rstest::rstest]
#[case(Chapter::Metrics, "room_temp", 95)]
#[case(Chapter::Quality, "flat_line", 12)]
#[case(Chapter::Rejects, "too_old", 28)]
#[case(Chapter::Kpis, "heat_supplied", 19)]
#[case(Chapter::Alarms, "communication_lost", 100)]
#[case(Chapter::Conditions, "sink_down", 8)]
fn every_chapter_lists_what_is_in_force(#[case] chapter: Chapter, #[case] one: &str, #[case] least: usize) {
    let text = chapter.text();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() >= least, "{} rows", rows.len());
    assert_eq!(rows.iter().filter(|row| row.starts_with(&format!("| `{one}` |"))).count(), 1, "{text}");
    let once: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(once.len(), rows.len(), "nothing stands twice");
}

#[test]
fn a_rejects_line_says_what_it_means_and_what_to_do() {
    let text = Chapter::Rejects.text();
    let want = "| `bad_time` | A time that cannot be read. | send the form that the detail names |\n";
    assert!(text.contains(want), "{text}");
}
