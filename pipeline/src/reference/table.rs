//! Tables in Markdown.

/// A heading, then a table: one row per line of cells.
pub(super) fn chapter<const N: usize>(
    title: &str,
    columns: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut text = format!("## {title}\n\n");
    text.push_str(&line(columns.map(str::to_owned)));
    text.push_str(&line(columns.map(|_| "---".to_owned())));
    text.extend(rows.into_iter().map(line));
    text.push('\n');
    text
}

fn line<const N: usize>(cells: [String; N]) -> String {
    let cells = cells.map(|cell| cell.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" "));
    format!("| {} |\n", cells.join(" | "))
}

/// As code; nothing of nothing.
pub(super) fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// A number, or nothing.
pub(super) fn number(number: Option<impl std::fmt::Display>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}
