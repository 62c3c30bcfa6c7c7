//! Numbers as senders write them: text that may carry full-width digits, a decimal comma or stray spaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Reason;

/// The character before the decimals, where numbers are written as text; thousands are set apart by the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Decimal {
    /// `1,000.5`.
    #[serde(rename = ".")]
    Point,
    /// `1.000,5`.
    #[serde(rename = ",")]
    Comma,
}

/// A number read from text, and whether the text was in the normal form already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parsed {
    /// The finite value.
    pub value: f64,
    /// True when the text was plain ASCII digits with a decimal point.
    pub normal: bool,
}

/// Folds full-width digits, letters, signs and separators (U+FF01 to U+FF5E, U+3000) to ASCII.
#[must_use]
pub fn fold_full_width(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
            '\u{3000}' => ' ',
            '\u{2212}' => '-',
            '。' => '.',
            _ => c,
        })
        .collect()
}

/// Reads a number from text (C 1.4, normativity): full-width characters, one decimal comma and outer spaces are
/// understood and reported as not normal.
///
/// # Errors
/// [`Reason::NotFinite`] for NaN and infinities; [`Reason::AmbiguousNumber`] for a comma with exactly three digits behind
/// it where thousands could be set apart, such as `1,001`, which only [`parse_as`] reads; [`Reason::NotANumber`] for
/// anything else.
pub fn parse(text: &str) -> Result<Parsed, Reason> {
    if let Ok(value) = text.parse::<f64>() {
        return finite(value, true);
    }
    let folded = fold_full_width(text.trim());
    let folded = folded.trim();
    if is_ambiguous(folded) {
        return Err(Reason::AmbiguousNumber);
    }
    let pointed = if folded.matches(',').count() == 1 && !folded.contains('.') {
        folded.replace(',', ".")
    } else {
        folded.to_owned()
    };
    pointed.parse::<f64>().map_err(|_| Reason::NotANumber).and_then(|value| finite(value, false))
}

/// Whether a comma may stand before decimals or between thousands, of which the first group has no leading zero.
fn is_ambiguous(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    unsigned(text).1.split_once(',').is_some_and(|(before, behind)| {
        (1..=3).contains(&before.len())
            && !before.starts_with('0')
            && behind.len() == 3
            && digits(before)
            && digits(behind)
    })
}

fn unsigned(text: &str) -> (&str, &str) {
    text.split_at(usize::from(text.starts_with(['+', '-'])))
}

/// Reads a number from text whose decimal sign is known. Thousands may be set apart by the other sign, a space or an
/// apostrophe.
///
/// # Errors
/// [`Reason::NotFinite`] for NaN and infinities, [`Reason::NotANumber`] for what is not written in this way.
pub fn parse_as(text: &str, decimal: Decimal) -> Result<f64, Reason> {
    let folded = fold_full_width(text.trim());
    let folded = folded.trim();
    if folded.parse().is_ok_and(|value: f64| !value.is_finite()) {
        return Err(Reason::NotFinite);
    }
    let (sign, other) = match decimal {
        Decimal::Point => ('.', ','),
        Decimal::Comma => (',', '.'),
    };
    let (minus, number) = unsigned(folded);
    let (whole, behind) = number.split_at(number.find([sign, 'e', 'E']).unwrap_or(number.len()));
    let whole = without_groups(whole, other).ok_or(Reason::NotANumber)?;
    if behind.contains(['.', ',']) && !behind.starts_with(sign) || behind.matches(['.', ',']).count() > 1 {
        return Err(Reason::NotANumber);
    }
    let plain = format!("{minus}{whole}{}", behind.replacen(sign, ".", 1));
    plain.parse().map_err(|_| Reason::NotANumber).and_then(|value| finite(value, true)).map(|read| read.value)
}

/// The digits of a whole number without what sets its thousands apart; `None` when it is not written so.
fn without_groups(whole: &str, other: char) -> Option<String> {
    let mut separators = whole.chars().filter(|c| !c.is_ascii_digit());
    let Some(separator) = separators.next() else { return Some(whole.to_owned()) };
    let allowed = separator == other || [' ', '\u{a0}', '\u{202f}', '\'', '’'].contains(&separator);
    let mut groups = whole.split(separator);
    let first = groups.next()?;
    let whole_groups = (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3);
    (allowed && whole_groups && separators.all(|c| c == separator)).then(|| whole.replace(separator, ""))
}

fn finite(value: f64, normal: bool) -> Result<Parsed, Reason> {
    if value.is_finite() { Ok(Parsed { value, normal }) } else { Err(Reason::NotFinite) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("45.2", Ok((45.2, true)))]
    #[case("-3e2", Ok((-300.0, true)))]
    #[case(" 45.2", Ok((45.2, false)))]
    #[case("４５．２", Ok((45.2, false)))]
    #[case("45,2", Ok((45.2, false)))]
    #[case("0,455", Ok((0.455, false)))]
    #[case("1001,250", Ok((1001.25, false)))]
    #[case("1,0015", Ok((1.0015, false)))]
    #[case("1,00", Ok((1.0, false)))]
    #[case("1,234.5", Err(Reason::NotANumber))]
    #[case("1,234,567", Err(Reason::NotANumber))]
    #[case("NaN", Err(Reason::NotFinite))]
    #[case("inf", Err(Reason::NotFinite))]
    #[case("1e999", Err(Reason::NotFinite))]
    #[case("", Err(Reason::NotANumber))]
    #[case("45.2℃", Err(Reason::NotANumber))]
    fn reads_numbers(#[case] text: &str, #[case] want: Result<(f64, bool), Reason>) {
        assert_eq!(parse(text).map(|p| (p.value, p.normal)), want);
    }

    #[rstest::rstest]
    #[case("1,001", Decimal::Point, Ok(1001.0))]
    #[case("1,001", Decimal::Comma, Ok(1.001))]
    #[case("-1,234,567.5", Decimal::Point, Ok(-1_234_567.5))]
    #[case("1.234.567,5e1", Decimal::Comma, Ok(12_345_675.0))]
    #[case("1 234,5", Decimal::Comma, Ok(1234.5))]
    #[case("1\u{202f}234,5", Decimal::Comma, Ok(1234.5))]
    #[case("1'234.5", Decimal::Point, Ok(1234.5))]
    #[case(" ４５，２", Decimal::Comma, Ok(45.2))]
    #[case("45.2", Decimal::Point, Ok(45.2))]
    #[case("45", Decimal::Comma, Ok(45.0))]
    #[case(",5", Decimal::Comma, Ok(0.5))]
    #[case("45.2", Decimal::Comma, Err(Reason::NotANumber))]
    #[case("45,2", Decimal::Point, Err(Reason::NotANumber))]
    #[case("1,23,456", Decimal::Point, Err(Reason::NotANumber))]
    #[case("1,234 567", Decimal::Point, Err(Reason::NotANumber))]
    #[case("1.5.2", Decimal::Point, Err(Reason::NotANumber))]
    #[case("1.5,2", Decimal::Point, Err(Reason::NotANumber))]
    #[case("1e1,5", Decimal::Comma, Err(Reason::NotANumber))]
    #[case("45℃", Decimal::Point, Err(Reason::NotANumber))]
    #[case("", Decimal::Point, Err(Reason::NotANumber))]
    #[case("-inf", Decimal::Point, Err(Reason::NotFinite))]
    #[case("1e999", Decimal::Comma, Err(Reason::NotFinite))]
    fn reads_numbers_whose_decimal_sign_is_known(
        #[case] text: &str,
        #[case] decimal: Decimal,
        #[case] want: Result<f64, Reason>,
    ) {
        assert_eq!(parse_as(text, decimal), want);
    }

    #[rstest::rstest]
    #[case("1,001")]
    #[case("-12,345")]
    #[case(" 999,000 ")]
    #[case("１，００１")]
    fn refuses_what_may_be_thousands_or_decimals(#[case] text: &str) {
        assert_eq!(parse(text).map_err(Reason::name), Err("ambiguous_number"));
    }
}
