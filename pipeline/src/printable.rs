//! Text from outside as a terminal may show it.
//!
//! Enters: codes, details, payloads, names that others chose. Leaves: the same text, in which everything that would steer
//! a terminal or turn the order of letters stands as its escape. Guarantees: what is printed can move no cursor, set no
//! title, hide no line and pretend to be no other line; letters of every language stay as they are. Pure.

use std::{borrow::Cow, fmt::Write};

/// Escapes control characters (C0, DEL, C1), characters that end a line and those that turn the direction of writing
/// (Unicode UAX #9, 2): `\n`, `\t`, `\r`, or `\u{1b}` by number.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(|letter| !steers(letter)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            letter if steers(letter) => escaped.extend(letter.escape_default()),
            letter => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

/// As [`printable`] for text of several lines of our own: lines after the first are indented, so that none of them can
/// pass for a message of its own.
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return printable(text);
    }
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    Cow::Owned(lines.join("\n    "))
}

/// As [`printable`] for bytes that should be UTF-8; those that are not stand as `\xff`.
#[must_use]
pub fn printable_bytes(bytes: &[u8]) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        escaped.push_str(&printable(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to text does not fail.
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    escaped
}

fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("一号站 45.2 °C «é»", "一号站 45.2 °C «é»")]
    #[case("\u{1b}]0;owned\u{7}\u{1b}[2J", "\\u{1b}]0;owned\\u{7}\\u{1b}[2J")]
    #[case("a\r\nb\tc\0", "a\\r\\nb\\tc\\u{0}")]
    #[case("\u{7f}\u{9b}31m\u{85}", "\\u{7f}\\u{9b}31m\\u{85}")]
    #[case(
        "ST-1\u{202e}7-TS\u{2066}\u{200f}\u{61c}\u{2028}",
        "ST-1\\u{202e}7-TS\\u{2066}\\u{200f}\\u{61c}\\u{2028}"
    )]
    fn what_steers_a_terminal_is_escaped(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(printable(text), shown);
        assert_eq!(printable_bytes(text.as_bytes()), shown);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_by_number() {
        assert_eq!(printable_bytes(b"a\xff\x9b[2Jb"), "a\\xff\\x9b[2Jb");
    }

    #[test]
    fn later_lines_cannot_pass_for_messages() {
        assert_eq!(
            printable_lines("two topics:\nINFO forged\u{1b}[0m"),
            "two topics:\n    INFO forged\\u{1b}[0m"
        );
    }
}
