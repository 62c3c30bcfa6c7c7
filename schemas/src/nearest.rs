//! The known name that a misspelt one probably means.

/// How many insertions, deletions, substitutions and swaps of neighbours lie between two texts.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, y) in b.iter().enumerate() {
            row[j + 1] = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The nearest of `known` within a third of the text's length, ignoring case; the first of several.
pub fn nearest<'k>(text: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = (text.chars().count() / 3).max(1);
    within(limit, text, known)
}

/// The nearest of `known` at no more than `limit` steps, ignoring case; the first of several.
pub fn within<'k>(limit: usize, text: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let text = text.to_lowercase();
    let length = text.chars().count();
    let close = known.into_iter().filter(|name| name.chars().count().abs_diff(length) <= limit);
    let best = close.map(|name| (distance(&text, &name.to_lowercase()), name)).min_by_key(|(far, _)| *far)?;
    (best.0 <= limit).then_some(best.1)
}

/// ` (did you mean X?)` where something is near, else nothing.
pub fn hint<'k>(text: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(text, known).map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("heated_aera", Some("heated_area"))]
    #[case("Heated_Area", Some("heated_area"))]
    #[case("staton", Some("station"))]
    #[case("colour", None)]
    #[case("", None)]
    fn finds_what_was_meant(#[case] text: &str, #[case] want: Option<&str>) {
        assert_eq!(nearest(text, ["heated_area", "station", "code"]), want);
    }
}
