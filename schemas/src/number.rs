//! Numbers as senders write them: text that may carry full-width digits, a decimal comma or stray spaces.

use crate::Reason;

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
/// [`Reason::NotFinite`] for NaN and infinities, [`Reason::NotANumber`] for anything else.
pub fn parse(text: &str) -> Result<Parsed, Reason> {
    if let Ok(value) = text.parse::<f64>() {
        return finite(value, true);
    }
    let folded = fold_full_width(text.trim());
    let folded = folded.trim();
    let pointed = if folded.matches(',').count() == 1 && !folded.contains('.') {
        folded.replace(',', ".")
    } else {
        folded.to_owned()
    };
    pointed.parse::<f64>().map_err(|_| Reason::NotANumber).and_then(|value| finite(value, false))
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
    #[case("1,234.5", Err(Reason::NotANumber))]
    #[case("NaN", Err(Reason::NotFinite))]
    #[case("inf", Err(Reason::NotFinite))]
    #[case("1e999", Err(Reason::NotFinite))]
    #[case("", Err(Reason::NotANumber))]
    #[case("45.2℃", Err(Reason::NotANumber))]
    fn reads_numbers(#[case] text: &str, #[case] want: Result<(f64, bool), Reason>) {
        assert_eq!(parse(text).map(|p| (p.value, p.normal)), want);
    }
}
