//! What ClickHouse's answers mean for the data.
//!
//! Enters: an error of the client. Leaves: retry or stop. Guarantees: anything not known to be hopeless is retried,
//! so that a new or unexpected answer holds the data and raises an operational alarm instead of losing anything.

use clickhouse::error::Error as Answer;

use super::NAME;
use crate::Error;

/// Codes after which the same insert can never succeed, and what to do about them.
const HOPELESS: &[(u32, &str)] = &[
    (10, SCHEMA),
    (16, SCHEMA),
    (20, SCHEMA),
    (47, SCHEMA),
    (50, SCHEMA),
    (53, SCHEMA),
    (60, SCHEMA),
    (70, SCHEMA),
    (81, SCHEMA),
    (349, SCHEMA),
    (62, VERSION),
    (73, VERSION),
    (115, "remove the setting from insert_settings"),
    (452, "remove the setting from insert_settings or allow it to the user"),
];
/// Codes that pass when the operator does something, and what.
const HELD: &[(u32, &str)] = &[
    (164, "the user may only read: give it INSERT, or set another clickhouse.user"),
    (192, USER),
    (193, USER),
    (194, USER),
    (201, "the user's quota is used up: raise it"),
    (241, "give the server memory, or set clickhouse.in_flight lower"),
    (242, "the replica has lost its keeper: see system.replicas"),
    (243, "free its disk"),
    (252, "merges are behind: see system.merges, and set pipeline.block_epochs higher for fewer parts"),
    (497, "grant INSERT to the user"),
    (516, USER),
    (774, "the table's setting table_readonly is on: ALTER TABLE ... MODIFY SETTING table_readonly = 0"),
];
const USER: &str = "check clickhouse.user and its password; rows wait until the server accepts them";
const SCHEMA: &str = "run `nuanliu migrate`; when it finds nothing to do, somebody has changed the table: restore it as \
                      deploy/clickhouse has it";
const VERSION: &str = "use a supported version of the server";

/// Says what must be done about an error.
///
/// Schema and syntax errors stop the pipeline with advice; everything else (connections, timeouts, 5xx, refused
/// passwords, too many parts, memory, read-only replicas, answers of proxies) is tried again.
pub(super) fn classify(table: &str, error: &Answer) -> Error {
    let said = match error {
        Answer::BadResponse(text) => shorten(text),
        other => source_chain(other),
    };
    let code = code(&said);
    let advice = |codes: &[(u32, &'static str)]| {
        codes.iter().find(|(known, _)| Some(*known) == code).map(|(_, advice)| *advice)
    };
    match (advice(HOPELESS), advice(HELD)) {
        (Some(advice), _) => Error::Stop { sink: NAME, detail: format!("table {table}: {said}; {advice}") },
        (None, Some(advice)) => {
            Error::Retry { sink: NAME, detail: format!("table {table}: {said}; {advice}") }
        }
        (None, None) => Error::Retry { sink: NAME, detail: format!("table {table}: {said}") },
    }
}

/// The number in `Code: 252. DB::Exception: …`.
fn code(said: &str) -> Option<u32> {
    let digits = said.split("Code: ").nth(1)?;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Answers can be long pages: the beginning says what happened.
fn shorten(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(500) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

fn source_chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        source = inner.source();
    }
    shorten(&said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("Code: 60. DB::Exception: Table nuanliu.readings does not exist. (UNKNOWN_TABLE)", true)]
    #[case("Code: 81. DB::Exception: Database nuanliu does not exist", true)]
    #[case("Code: 16. DB::Exception: No such column epoch in table", true)]
    #[case("Code: 53. DB::Exception: Type mismatch", true)]
    #[case(
        "Code: 115. DB::Exception: Setting foo is neither a builtin setting nor started with the prefix",
        true
    )]
    #[case("Code: 252. DB::Exception: Too many parts (300)", false)]
    #[case("Code: 241. DB::Exception: Memory limit (total) exceeded", false)]
    #[case("Code: 242. DB::Exception: Table is in readonly mode", false)]
    #[case("Code: 774. DB::Exception: Table is in readonly mode", false)]
    #[case("Code: 516. DB::Exception: default: Authentication failed", false)]
    #[case("Code: 192. DB::Exception: There is no user", false)]
    #[case("Code: 497. DB::Exception: Not enough privileges", false)]
    #[case("Code: 40. DB::Exception: Checksum doesn't match: corrupted data", false)]
    #[case("Code: 9999. DB::Exception: something new", false)]
    #[case("<html><body>502 Bad Gateway</body></html>", false)]
    #[case("503 Service Unavailable", false)]
    fn answers_are_classified(#[case] said: &str, #[case] stops: bool) {
        let error = classify("readings", &Answer::BadResponse(said.to_owned()));
        assert_eq!(matches!(error, Error::Stop { .. }), stops, "{error}");
        assert!(error.to_string().contains("readings"));
    }

    #[test]
    fn what_the_operator_can_mend_says_how() {
        let error = classify("readings", &Answer::BadResponse("Code: 516. DB::Exception: x".to_owned()));
        assert!(error.to_string().contains("check clickhouse.user"), "{error}");
    }

    #[test]
    fn a_timeout_is_retried() {
        assert!(matches!(classify("kpis", &Answer::TimedOut), Error::Retry { .. }));
    }

    #[test]
    fn a_stop_says_what_to_do() {
        let error = classify("readings", &Answer::BadResponse("Code: 60. DB::Exception: x".to_owned()));
        assert!(error.to_string().contains("nuanliu migrate"));
    }
}
