//! `nuanliu check`: mistakes are named where they stand, with exit code 78, before anything runs.

use std::fs;

use tests::Site;

const WRONG: i32 = 78;

/// What a check says of a configuration that has this section at its end.
fn check(section: &str, arguments: &[&str]) -> (i32, String) {
    let site = Site::new("check", &format!("---\n{section}"));
    let all: Vec<&str> = ["check", "--offline"].iter().chain(arguments).copied().collect();
    let (code, output) = site.try_nuanliu(&all);
    (code, output.replace(&site.config().display().to_string(), "nuanliu.toml"))
}

#[test]
fn a_right_configuration_passes_without_services() {
    let (code, output) = check("", &[]);
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("configuration: ok") && output.contains("catalogues: ok"), "{output}");
}

#[test]
fn mistakes_of_the_configuration_are_named_with_line_and_column() {
    let line = fs::read_to_string(Site::new("check", "").config()).unwrap().lines().count();
    for (section, expected) in [
        ("[rules]\nlateness_hour = 3\n", "nuanliu.toml:LINE:1: unknown field `lateness_hour`"),
        ("[rules]\nlateness_hour = 3\n", "did you mean `lateness_hours`?"),
        ("[rules]\nlateness_hours = \"three\"\n", "nuanliu.toml:LINE:18: invalid type"),
        ("[rule]\n", "did you mean `rules`?"),
        ("[rules]\ntime_zone = \"Mars/Olympus\"\n", "rules.time_zone `Mars/Olympus` is not known"),
        ("[rules\n", "nuanliu.toml:"),
        ("[kafka]\n", "nuanliu.toml:"),
    ] {
        let (code, output) = check(section, &[]);
        let found = (0..3).any(|more| output.contains(&expected.replace("LINE", &(line + more).to_string())));
        assert_eq!(code, WRONG, "{section}{output}");
        assert!(found, "{section}gives\n{output}and not\n{expected} (near line {line})");
    }
}

#[test]
fn a_missing_configuration_is_named() {
    let site = Site::new("check", "");
    fs::remove_file(site.config()).unwrap();
    let (code, output) = site.try_nuanliu(&["check"]);
    assert_eq!(code, WRONG, "{output}");
    assert!(output.contains("nuanliu.toml: cannot be read"), "{output}");
}

#[test]
fn mistakes_of_the_registry_are_named_with_file_and_line() {
    let site = Site::new("check", "");
    let registry = site.path("registry");
    fs::create_dir(&registry).unwrap();
    let write = |name: &str, text: &str| fs::write(registry.join(name), text).unwrap();
    write("districts.csv", "code,name,parent\n220100,长春,\n220101,南关,220199\n");
    write("enterprises.csv", "code,name\nE-1,一\nE-1,二\n");
    write(
        "facilities.csv",
        "code,kind,name,parent,enterprise,district,longitude,latitude,heated_area\n\
         ST-1,station,甲,ST-2,E-1,220100,125.3,43.9,9000\n\
         ST-2,station,乙,ST-1,E-1,220100,125.3,43.9,9000\n\
         ST-3,statoin,丙,,E-1,220100,125.3,43.9,9000\n\
         ST-4,station,丁,,E-1,220100,425.3,43.9,-5\n",
    );
    let arguments = ["check", "--offline", "--registry", registry.to_str().unwrap()];
    let (code, output) = site.try_nuanliu(&arguments);
    assert_eq!(code, WRONG, "{output}");
    for place in
        ["districts.csv:3", "enterprises.csv:3", "facilities.csv:2", "facilities.csv:4", "facilities.csv:5"]
    {
        assert!(output.contains(place), "{place} is not named:\n{output}");
    }
    // The same directory is refused by `load`, and nothing of it is published.
    let (code, output) = site.try_nuanliu(&["registry", "load", registry.to_str().unwrap()]);
    assert_ne!(code, 0, "{output}");
}

#[test]
fn services_are_asked_unless_told_otherwise() {
    let site = Site::new("check", "");
    let (code, output) = site.try_nuanliu(&["check"]);
    assert_eq!(code, WRONG, "the topics and tables are not there yet:\n{output}");
    assert!(output.contains("migrate"), "{output}");
    site.nuanliu(&["migrate"]);
    let output = site.nuanliu(&["check"]);
    assert!(output.contains("kafka: ok") && output.contains("clickhouse: ok"), "{output}");
}
