//! JSON as senders write it, read in place.
//!
//! Enters: bytes. Leaves: [`Node`]s that borrow from them, each with its place, so that a reject carries exactly the
//! bytes it is about. Guarantees: never a panic, no recursion deeper than [`MAX_DEPTH`], every syntax error with its
//! byte, members in their order with repeated keys kept, numbers as they were written. Four departures from RFC 8259
//! keep one bad value from spoiling a batch:
//! - what C, Python and JavaScript write for NaN and the infinities is a number, in any letter case;
//! - another word, a malformed number, and a string with half a surrogate pair, an unknown escape or a bare control
//!   character are [`Kind::Broken`]; in a key, U+FFFD stands for what cannot be read;
//! - an array or object with a syntax error is [`Kind::Broken`] from its bracket to the one that closes it, unless it is
//!   the whole text;
//! - what nests too deep is passed over as [`Kind::TooDeep`].
//!
//! serde_json is not used here because it keeps neither places nor repeated keys and stops at the first bad value.

use std::{borrow::Cow, ops::Range};

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 32;

/// A value and the bytes it stands in.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<'a> {
    /// Where, in the text given to [`parse`].
    pub span: Range<usize>,
    /// What.
    pub kind: Kind<'a>,
}

/// One member of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Member<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// Key and value, as written.
    pub span: Range<usize>,
    /// The value.
    pub value: Node<'a>,
}

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as written, also NaN and the infinities.
    Number(&'a str),
    /// A string without its escapes.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Node<'a>>),
    /// An object.
    Object(Vec<Member<'a>>),
    /// Something that nests too deep.
    TooDeep,
    /// Something that is no JSON value.
    Broken(SyntaxError),
    /// A record that is longer than allowed, in bytes.
    TooLong(usize),
    /// A record in which this byte of the payload is no UTF-8.
    NoText(usize),
}

impl Kind<'_> {
    /// The name of the type, for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "text",
            Kind::Array(_) => "an array",
            Kind::Object(_) => "an object",
            Kind::TooDeep => "a value that nests too deep",
            Kind::Broken(_) => "no JSON value",
            Kind::TooLong(_) => "too long",
            Kind::NoText(_) => "no text",
        }
    }
}

/// A syntax error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The byte, from 0.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl std::fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JSON syntax error at byte {}: expected {}", self.at, self.expected)
    }
}

/// Reads exactly one value, with white space around it.
///
/// # Errors
/// [`SyntaxError`] at the first byte that cannot be, also for anything after the value.
pub fn parse(text: &str) -> Result<Node<'_>, SyntaxError> {
    let mut reader = Reader { text, at: 0, keep_until: text.len(), mends_from: 1 };
    let node = unbroken(reader.value(0)?)?;
    reader.end()?;
    Ok(node)
}

fn unbroken(node: Node<'_>) -> Result<Node<'_>, SyntaxError> {
    match node.kind {
        Kind::Broken(error) => Err(error),
        _ => Ok(node),
    }
}

/// Reads the elements of an array one after the other, or the value itself when it is none; gives how many there are.
/// Of an element with more than `greatest` bytes there is only the place; one with a syntax error is [`Kind::Broken`].
///
/// # Errors
/// As for [`parse`]; elements before the error have been given then.
pub fn each_element<'a>(
    text: &'a str,
    greatest: usize,
    mut each: impl FnMut(usize, Element<'a>),
) -> Result<usize, SyntaxError> {
    let mut reader = Reader { text, at: 0, keep_until: 0, mends_from: 0 };
    let mut number = 0;
    let mut element = |reader: &mut Reader<'a>| {
        reader.keep_until = reader.at.saturating_add(greatest);
        let mut node = reader.value(0)?;
        if reader.mends_from > 0 {
            node = unbroken(node)?;
        }
        each(number, if node.span.len() > greatest { Err(node.span) } else { Ok(node) });
        number += 1;
        Ok(())
    };
    reader.space();
    if reader.peek() == Some(b'[') {
        reader.sequence(b']', element)?;
    } else {
        reader.mends_from = 1;
        element(&mut reader)?;
    }
    reader.end()?;
    Ok(number)
}

/// An element, or the place of one that is too long.
pub type Element<'a> = Result<Node<'a>, Range<usize>>;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// What is read beyond is not kept: containers stay incomplete, only their places are right.
    keep_until: usize,
    /// A container is passed over when it is broken, from this depth on.
    mends_from: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// How many bytes from here on are of a kind.
    fn run(&self, is: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        rest.iter().position(|byte| !is(*byte)).unwrap_or(rest.len())
    }

    fn keeps(&self) -> bool {
        self.at <= self.keep_until
    }

    fn space(&mut self) {
        self.at += self.run(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn wrong<T>(&self, expected: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError { at: self.at, expected })
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.wrong("nothing after the value") }
    }

    /// A value; `depth` is how many arrays and objects it lies in.
    fn value(&mut self, depth: usize) -> Result<Node<'a>, SyntaxError> {
        self.space();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => {
                self.pass_over()?;
                Kind::TooDeep
            }
            Some(b'{' | b'[') => self.container(depth)?,
            Some(b'"') => match self.string()? {
                (text, None) => Kind::Text(text),
                (_, Some(flaw)) => Kind::Broken(flaw),
            },
            _ => self.scalar()?,
        };
        Ok(Node { span: start..self.at, kind })
    }

    fn container(&mut self, depth: usize) -> Result<Kind<'a>, SyntaxError> {
        let start = self.at;
        let read = if self.peek() == Some(b'{') { self.object(depth) } else { self.array(depth) };
        let Err(error) = read else { return read };
        self.at = start;
        if depth < self.mends_from || self.pass_over().is_err() {
            return Err(error);
        }
        Ok(Kind::Broken(error))
    }

    fn array(&mut self, depth: usize) -> Result<Kind<'a>, SyntaxError> {
        let mut nodes = Vec::new();
        self.sequence(b']', |reader| {
            let node = reader.value(depth + 1)?;
            if reader.keeps() {
                nodes.push(node);
            }
            Ok(())
        })?;
        Ok(Kind::Array(nodes))
    }

    /// A number or a word, up to the next character that must end it.
    fn scalar(&mut self) -> Result<Kind<'a>, SyntaxError> {
        let start = self.at;
        let flaw = if matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            match self.number() {
                Ok(number) if self.peek().is_none_or(ends_scalar) => return Ok(Kind::Number(number)),
                Ok(_) => SyntaxError { at: self.at, expected: "nothing after the value" },
                Err(flaw) => flaw,
            }
        } else {
            SyntaxError { at: start, expected: "a value" }
        };
        self.at = start;
        self.at += self.run(|byte| !ends_scalar(byte));
        match &self.text[start..self.at] {
            "" => Err(flaw),
            "null" => Ok(Kind::Null),
            "true" => Ok(Kind::Bool(true)),
            "false" => Ok(Kind::Bool(false)),
            word if is_not_finite(word) => Ok(Kind::Number(word)),
            _ => Ok(Kind::Broken(flaw)),
        }
    }

    fn number(&mut self) -> Result<&'a str, SyntaxError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let digits = self.run(|byte| byte.is_ascii_digit());
        self.at += digits;
        if digits > 0 { Ok(()) } else { self.wrong("a digit") }
    }

    fn object(&mut self, depth: usize) -> Result<Kind<'a>, SyntaxError> {
        let mut members = Vec::new();
        self.sequence(b'}', |reader| {
            let start = reader.at;
            if reader.peek() != Some(b'"') {
                return reader.wrong("a key in quotes");
            }
            let (key, _) = reader.string()?;
            reader.space();
            if reader.peek() != Some(b':') {
                return reader.wrong("':'");
            }
            reader.at += 1;
            let value = reader.value(depth + 1)?;
            if reader.keeps() {
                members.push(Member { key, span: start..reader.at, value });
            }
            Ok(())
        })?;
        Ok(Kind::Object(members))
    }

    /// The items between an opening bracket, at which the reader stands, and the closing one.
    fn sequence(
        &mut self,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), SyntaxError>,
    ) -> Result<(), SyntaxError> {
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.wrong(if close == b']' { "',' or ']'" } else { "',' or '}'" }),
            }
        }
    }

    /// Passes over a container by its brackets and strings alone.
    fn pass_over(&mut self) -> Result<(), SyntaxError> {
        let mut open = Vec::new();
        loop {
            match self.peek() {
                Some(b'[') => open.push(b']'),
                Some(b'{') => open.push(b'}'),
                Some(byte @ (b']' | b'}')) => {
                    if open.pop() != Some(byte) {
                        return self.wrong("the bracket that closes the one before");
                    }
                }
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(_) => {}
                None => return self.wrong("']' or '}'"),
            }
            self.at += 1;
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    /// A string, and what is wrong in it first.
    fn string(&mut self) -> Result<(Cow<'a, str>, Option<SyntaxError>), SyntaxError> {
        self.at += 1;
        let start = self.at;
        let mut unescaped: Option<String> = None;
        let mut flaw = None;
        let mut from = start;
        loop {
            self.at += self.run(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
            match self.peek() {
                Some(b'"') => {
                    let tail = &self.text[from..self.at];
                    self.at += 1;
                    let text = match unescaped {
                        None => Cow::Borrowed(tail),
                        Some(text) => Cow::Owned(text + tail),
                    };
                    return Ok((text, flaw));
                }
                Some(b'\\') => {
                    let text = unescaped.get_or_insert_with(String::new);
                    text.push_str(&self.text[from..self.at]);
                    let c = self.escape().unwrap_or_else(|error| {
                        flaw.get_or_insert(error);
                        char::REPLACEMENT_CHARACTER
                    });
                    if self.keeps() {
                        text.push(c);
                    } else {
                        text.clear();
                    }
                    from = self.at;
                }
                Some(_) => {
                    flaw.get_or_insert(SyntaxError {
                        at: self.at,
                        expected: "an escape for a control character",
                    });
                    self.at += 1;
                }
                None => return self.wrong("'\"'"),
            }
        }
    }

    /// The character of an escape; after an error the reader stands behind what of it cannot be read.
    fn escape(&mut self) -> Result<char, SyntaxError> {
        self.at += 1;
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return self.wrong("one of \"\\/bfnrtu"),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, SyntaxError> {
        let first = self.four_digits()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).map_or_else(|| self.wrong("a character"), Ok);
        }
        // What follows half a pair is read for itself.
        let after_first = self.at;
        if first < 0xdc00 && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            self.at += 1;
            if let Ok(second @ 0xdc00..0xe000) = self.four_digits() {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return char::from_u32(code).map_or_else(|| self.wrong("a character"), Ok);
            }
        }
        self.at = after_first;
        self.wrong("a pair of surrogates")
    }

    /// `u` and the four hexadecimal digits after it.
    fn four_digits(&mut self) -> Result<u32, SyntaxError> {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5).unwrap_or_default();
        if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return self.wrong("four hexadecimal digits");
        }
        self.at += 5;
        Ok(digits.iter().fold(0, |code, digit| code * 16 + char::from(*digit).to_digit(16).unwrap_or(0)))
    }
}

/// Whether a number or word ends before this byte.
fn ends_scalar(byte: u8) -> bool {
    matches!(byte, b',' | b':' | b'[' | b']' | b'{' | b'}' | b'"' | b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether a word is NaN or an infinity as printf (`nan`, `-nan(ind)`, `1.#QNAN`), Python or JavaScript writes it.
fn is_not_finite(word: &str) -> bool {
    let word = word.strip_prefix(['+', '-']).unwrap_or(word).to_ascii_lowercase();
    matches!(word.as_str(), "nan" | "inf" | "infinity")
        || (word.starts_with("nan(") && word.ends_with(')'))
        || word.starts_with("1.#")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn same(node: &Node<'_>, value: &Value) -> bool {
        match (&node.kind, value) {
            (Kind::Null, Value::Null) => true,
            (Kind::Bool(a), Value::Bool(b)) => a == b,
            (Kind::Number(a), Value::Number(b)) => {
                a.parse::<f64>().unwrap() == b.to_string().parse::<f64>().unwrap()
            }
            (Kind::Text(a), Value::String(b)) => a == b,
            (Kind::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Kind::Object(a), Value::Object(b)) => {
                // serde_json keeps the last of repeated keys.
                b.iter().all(|(key, value)| {
                    a.iter().rev().find(|m| m.key == *key).is_some_and(|m| same(&m.value, value))
                }) && a.iter().all(|m| b.contains_key(&*m.key))
            }
            _ => false,
        }
    }

    fn agrees(text: &str) {
        match (parse(text), serde_json::from_str::<Value>(text)) {
            (Ok(node), Ok(value)) => assert!(same(&node, &value), "{text}: {node:?} is not {value:?}"),
            (Err(_), Err(_)) => {}
            (Ok(node), Err(error)) => assert!(departs(&node), "{text}: read as {node:?}, but {error}"),
            (Err(error), Ok(value)) => panic!("{text}: {error}, but it is {value}"),
        }
        one_by_one(text);
    }

    /// Whether a value holds one of the four departures from RFC 8259.
    fn departs(node: &Node<'_>) -> bool {
        match &node.kind {
            Kind::Broken(_) | Kind::TooDeep => true,
            Kind::Number(text) => text.parse::<f64>().map_or(true, |number| !number.is_finite()),
            Kind::Array(nodes) => nodes.iter().any(departs),
            Kind::Object(members) => members
                .iter()
                .any(|m| m.key.contains(|c: char| c < ' ' || c == '\u{fffd}') || departs(&m.value)),
            _ => false,
        }
    }

    /// The elements one after the other are those of the whole; of those that are too long there is the place.
    fn one_by_one(text: &str) {
        for greatest in [0, 2, 5, usize::MAX] {
            let mut found = Vec::new();
            let number = each_element(text, greatest, |index, element| {
                assert_eq!(index, found.len());
                found.push(element);
            });
            let whole = match parse(text) {
                Err(error) => return assert_eq!(number, Err(error), "{text}"),
                Ok(Node { kind: Kind::Array(nodes), .. }) => nodes,
                Ok(node) => vec![node],
            };
            assert_eq!(number, Ok(whole.len()));
            let wanted = |node: Node<'_>| match node.span.len() > greatest {
                true => (node.span, None),
                false => (node.span.clone(), Some(format!("{:?}", node.kind))),
            };
            let found = found.into_iter().map(|element| match element {
                Ok(node) => (node.span.clone(), Some(format!("{:?}", node.kind))),
                Err(place) => (place, None),
            });
            assert_eq!(
                found.collect::<Vec<_>>(),
                whole.into_iter().map(wanted).collect::<Vec<_>>(),
                "{text}"
            );
        }
    }

    #[rstest::rstest]
    #[case("", 0, "a value")]
    #[case("{\"a\" 1}", 5, "':'")]
    #[case("{\"a\":1,}", 7, "a key in quotes")]
    #[case("[1 2]", 3, "',' or ']'")]
    #[case("[1,]", 3, "a value")]
    #[case("01", 1, "nothing after the value")]
    #[case("1.", 2, "a digit")]
    #[case("\"a", 2, "'\"'")]
    #[case("\"\\x\"", 2, "one of \"\\/bfnrtu")]
    #[case("\"\\ud800\"", 7, "a pair of surrogates")]
    #[case("\"\n\"", 1, "an escape for a control character")]
    #[case("{}{}", 2, "nothing after the value")]
    fn names_the_byte_of_a_syntax_error(
        #[case] text: &str,
        #[case] at: usize,
        #[case] expected: &'static str,
    ) {
        assert_eq!(parse(text), Err(SyntaxError { at, expected }));
        agrees(text);
    }

    #[test]
    fn keeps_places_repeated_keys_and_numbers_as_written() {
        let text = r#" {"a": 1.50, "a":[NaN,-Infinity], "\u00e9\ud83d\ude00":"x\n"} "#;
        let Kind::Object(members) = parse(text).unwrap().kind else { panic!("no object") };
        assert_eq!(members.iter().map(|m| &*m.key).collect::<Vec<_>>(), ["a", "a", "é😀"]);
        assert_eq!(&text[members[0].span.clone()], r#""a": 1.50"#);
        assert_eq!(members[0].value.kind, Kind::Number("1.50"));
        assert_eq!(&text[members[1].value.span.clone()], "[NaN,-Infinity]");
    }

    #[rstest::rstest]
    #[case::object(r#"{"a" 1}"#)]
    #[case::string_with_brackets(r#"{"a" "]}\"}"}"#)]
    #[case::array(r#"[1 2]"#)]
    #[case::inner(r#"{"a":{"b":1,}}"#)]
    #[case::inner_and_outer(r#"{"a":{"b":1,} "c":2}"#)]
    #[case::word("nul")]
    #[case::control_character("\"\u{0}\"")]
    #[case::escaped_quote_after_half_a_pair(r#""\ud83d\"""#)]
    #[case::cut_escape(r#""\u12""#)]
    fn a_broken_element_costs_only_itself(#[case] element: &str) {
        let text = format!(r#"[{{"a":1}},{element} , "x"]"#);
        let mut found = Vec::new();
        let number = each_element(&text, usize::MAX, |_, element| found.extend(element));
        assert_eq!((number, found.len()), (Ok(3), 3));
        assert_eq!(&text[found[1].span.clone()], element);
        assert!(departs(&found[1]), "{found:?}");
        assert_eq!(found[2].kind, Kind::Text("x".into()));
        assert!(departs(&parse(&text).unwrap()));
    }

    #[rstest::rstest]
    #[case::brace_is_missing(r#"[{"a":{"b":1},{"c":2}]"#)]
    #[case::brace_too_many(r#"[{"a":1}},{"c":2}]"#)]
    #[case::quote_is_missing(r#"[{"a":"b},{"c":2}]"#)]
    #[case::cut(r#"[{"a":1},{"c"#)]
    fn an_element_whose_end_cannot_be_told_costs_the_whole(#[case] text: &str) {
        assert!(each_element(text, usize::MAX, |_, _| ()).is_err());
        assert!(parse(text).is_err());
    }

    #[test]
    fn what_nests_too_deep_is_passed_over() {
        let deep = format!("[{}\"]\"{},1]", "[".repeat(100_000), "]".repeat(100_000));
        let Kind::Array(nodes) = parse(&deep).unwrap().kind else { panic!("no array") };
        assert_eq!(nodes.len(), 2);
        assert!(parse(&"[".repeat(100_000)).is_err());
        let at_the_limit = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(!format!("{:?}", parse(&at_the_limit)).contains("TooDeep"));
        assert!(format!("{:?}", parse(&format!("[{at_the_limit}]"))).contains("TooDeep"));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_any_text(text in "\\PC{0,40}") {
            agrees(&text);
        }

        #[test]
        fn agrees_with_serde_json_on_what_looks_like_json(
            text in r#"([\[\]{},: ]|"a"|"\\u00e9"|"\\n"|"[a-z]|-?[0-9]{1,2}|\.5|e9|null|true|false|\\){0,24}"#
        ) {
            agrees(&text);
        }
    }
}
