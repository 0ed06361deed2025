//! The Markdown of the documentation as text for a terminal: paragraphs in lines, lists, tables; no emphasis, no links.

use unicode_width::UnicodeWidthStr;

use super::wrap::wrapped;

/// A column of a table has room for so many characters.
const NARROWEST: usize = 14;

/// `markdown` in lines of at most `width` characters, where its words allow it.
pub fn prose(markdown: &str, width: usize) -> String {
    let mut text: Vec<String> = vec![];
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with('|') {
            let mut rows = vec![cells(line)];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(cells(row));
            }
            rows.retain(|row| !row.iter().all(|cell| cell.chars().all(|c| "-:| ".contains(c))));
            text.extend(table(&rows, width));
        } else if let Some(item) = line.strip_prefix("- ") {
            let item = wrapped(&plain(item), width.saturating_sub(2)).into_iter().enumerate();
            text.extend(item.map(|(i, line)| format!("{}{line}", if i == 0 { "- " } else { "  " })));
        } else if line.is_empty() {
            text.push(String::new());
        } else {
            text.extend(wrapped(&plain(line), width));
        }
    }
    text.join("\n")
}

/// Text without emphasis and the targets of links; code stays in backticks.
fn plain(markdown: &str) -> String {
    let mut text = String::new();
    for (i, part) in markdown.split('`').enumerate() {
        if i > 0 {
            text.push('`');
        }
        if i % 2 == 1 {
            text.push_str(part);
            continue;
        }
        let mut rest = part.chars();
        while let Some(c) = rest.next() {
            match c {
                '*' => {}
                '[' if begins_link(rest.as_str()) => {}
                '\\' => text.extend(rest.next()),
                ']' => match rest.as_str().strip_prefix('(').and_then(|target| target.split_once(')')) {
                    Some((_, after)) => rest = after.chars(),
                    None => text.push(c),
                },
                _ => text.push(c),
            }
        }
    }
    text
}

/// Whether `after` a bracket, up to the next code, comes the text of a link; an interval begins with a bracket, too.
fn begins_link(after: &str) -> bool {
    after.is_empty() || after.find("](").is_some_and(|end| !after[..end].contains('['))
}

/// The cells of a line of a table.
fn cells(line: &str) -> Vec<String> {
    line.trim().trim_matches('|').split(" | ").map(|cell| plain(cell.trim())).collect()
}

/// The rows in columns; where they are too wide, the widest is wrapped, again and again.
fn table(rows: &[Vec<String>], width: usize) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest =
        |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.width()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..count).map(widest).collect();
    while widths.iter().map(|width| width + 2).sum::<usize>() > width + 2
        && let Some(most) = widths.iter_mut().max().filter(|most| **most > NARROWEST)
    {
        *most -= 1;
    }
    let mut lines = vec![];
    for row in rows {
        let cells: Vec<Vec<String>> =
            row.iter().zip(&widths).map(|(cell, width)| wrapped(cell, *width)).collect();
        for part in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let line = cells.iter().zip(&widths).map(|(cell, width)| {
                let text = cell.get(part).map_or("", String::as_str);
                format!("{text}{}  ", " ".repeat(width.saturating_sub(text.width())))
            });
            lines.push(line.collect::<String>().trim_end().to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(markdown: &str, width: usize, expected: &str) {
        assert_eq!(prose(markdown, width), expected, "{markdown}");
    }

    #[test]
    fn emphasis_and_links_are_dropped_and_code_stays() {
        check(
            "**note** *Test.* see [`a_b`](metrics.md#a_b) ≤ 2, `*.mlp.*`",
            80,
            "note Test. see `a_b` ≤ 2, `*.mlp.*`",
        );
        check("Range [0, ∞). See [there](x.md): [1, k]", 80, "Range [0, ∞). See there: [1, k]");
    }

    #[test]
    fn paragraphs_and_items_are_wrapped() {
        check("one two three\n\n- four five six", 10, "one two\nthree\n\n- four\n  five six");
    }

    #[test]
    fn a_table_keeps_its_columns() {
        check("| α | is |\n|---|--:|\n| below 2 | heavy |", 40, "α        is\nbelow 2  heavy");
        let long = "| a | a long sentence about it |";
        check(long, 20, "a  a long sentence\n   about it");
    }
}
