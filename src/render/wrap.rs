//! Text in lines of a given width: broken at blanks, never inside a number or between a number and its unit.

use unicode_width::UnicodeWidthStr;

use super::names::broken;

/// What belongs to the number before it.
const UNITS: [&str; 10] = ["%", "×", "M", "B", "KiB", "MiB", "GiB", "TiB", "s", "min"];

/// `text` in lines of at most `width` characters; a longer name is broken at its dots.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in words(text) {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ if word.width() > width => lines.extend(broken(&word, width).lines().map(str::to_owned)),
            _ => lines.push(word),
        }
    }
    lines
}

/// The same, with all lines but the first moved to the right by `indent` blanks.
pub(super) fn indented(text: &str, width: usize, indent: usize) -> String {
    wrapped(text, width.saturating_sub(indent).max(20)).join(&format!("\n{}", " ".repeat(indent)))
}

/// The words of `text`, a number with its unit as one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![];
    for word in text.split(' ') {
        let unit = UNITS.contains(&word.trim_end_matches([',', ';', ':', '.', ')']));
        match words.last_mut() {
            Some(before)
                if before.ends_with('×') || (unit && before.ends_with(|c: char| c.is_ascii_digit())) =>
            {
                before.push(' ');
                before.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, width: usize, expected: &[&str]) {
        assert_eq!(wrapped(text, width), expected);
    }

    #[test]
    fn a_line_ends_where_the_next_word_would_not_fit() {
        check("a bc def ghij", 6, &["a bc", "def", "ghij"]);
        check("a layers.10.mlp.up_proj b", 13, &["a", "layers.10.", "  mlp.up_proj", "b"]);
        assert_eq!(indented("one two three", 22, 2), "one two three");
    }

    #[test]
    fn a_number_stays_with_its_unit() {
        check("holds 97 %, of 12 × 34 or 5", 9, &["holds", "97 %, of", "12 × 34", "or 5"]);
        check("a M b", 3, &["a M", "b"]);
    }
}
