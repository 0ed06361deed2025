//! Names of matrices in a narrow column: shortened where they stay distinct, on several lines where they don't.
//!
//! Words that most names share give way first. Numbers and the last part of a name stay, and no two names become one.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use unicode_width::UnicodeWidthStr;

/// A shorter word saves nothing.
const SHORTEST_WORD: usize = 3;
/// So many words are tried: those of most names. Each costs a pass over all names.
const MOST_WORDS: usize = 64;
/// How far the second line of a name is moved to the right.
const INDENT: &str = "  ";

/// `names`, of which no two are equal, in at most `room` characters where that leaves them distinct.
pub(super) fn shortened<'n>(names: &[&'n str], room: usize) -> Vec<Cow<'n, str>> {
    let mut left_out = BTreeSet::new();
    let mut short: Vec<Cow<'n, str>> = names.iter().map(|name| Cow::Borrowed(*name)).collect();
    if widest(names) <= room {
        return short;
    }
    for word in by_use(names).into_iter().take(MOST_WORDS) {
        if widest(&short) <= room {
            break;
        }
        left_out.insert(word);
        let tried: Vec<String> = names.iter().map(|name| without(name, &left_out)).collect();
        // Two names that only the sign for what is left out tells apart look alike.
        let read: BTreeSet<String> = tried.iter().map(|name| name.replace(['…', '.'], "")).collect();
        if read.len() == names.len() {
            short = tried.into_iter().map(Cow::Owned).collect();
        } else {
            left_out.remove(word);
        }
    }
    short
}

/// The characters that the widest of `names` takes.
pub(super) fn widest<S: AsRef<str>>(names: &[S]) -> usize {
    names.iter().map(|name| name.as_ref().width()).max().unwrap_or(0)
}

/// Where a word stands in names.
#[derive(Default)]
struct Uses {
    count: usize,
    place: usize,
    /// Whether a number follows, as in `layers.3`: it says what the number counts.
    numbered: bool,
    /// Whether it stands behind a number.
    inner: bool,
}

/// The words that may be left out: those of most names first, and of these the start of names, then what numbers count, the
/// long ones first, then the rest.
fn by_use<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let digits = |part: &str| part.contains(|c: char| c.is_ascii_digit());
    let mut words: BTreeMap<&str, Uses> = BTreeMap::new();
    for name in names {
        let parts: Vec<&str> = name.split('.').collect();
        let number = parts.iter().position(|part| digits(part)).unwrap_or(parts.len());
        for (place, pair) in parts.windows(2).enumerate() {
            if !digits(pair[0]) && pair[0].len() >= SHORTEST_WORD {
                let uses = words.entry(pair[0]).or_insert(Uses { place, ..Uses::default() });
                uses.count += 1;
                uses.numbered |= digits(pair[1]);
                uses.inner |= place > number;
            }
        }
    }
    let mut words: Vec<_> = words.into_iter().collect();
    words.sort_by_key(|(word, uses)| {
        let (class, order) = match (uses.numbered, uses.inner) {
            (true, _) => (1, usize::MAX - word.len()),
            (false, inner) => (2 * usize::from(inner), uses.place),
        };
        (Reverse(uses.count), class, order, *word)
    });
    words.into_iter().map(|(word, _)| word).collect()
}

/// `name` with `…` for these words and the dots beside them.
fn without(name: &str, words: &BTreeSet<&str>) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let mut text = String::new();
    for (i, part) in parts.iter().enumerate() {
        let is_left_out = i + 1 < parts.len() && words.contains(part);
        match (is_left_out, text.ends_with('…')) {
            (true, true) => {}
            (true, false) => text.push('…'),
            (false, after) => {
                if i > 0 && !after {
                    text.push('.');
                }
                text.push_str(part);
            }
        }
    }
    text
}

/// `name` on as many lines as it needs where each has `room` characters, broken at dots if it can be.
pub(super) fn broken(name: &str, room: usize) -> String {
    let mut lines = vec![String::new()];
    for part in name.split_inclusive(['.', '…', '_', '/']) {
        let line = lines.last_mut().map_or(0, |line| line.width());
        if line > INDENT.len() && line + part.width() > room {
            lines.push(INDENT.to_owned());
        }
        for c in part.chars() {
            if lines.last().is_some_and(|line| line.width() >= room.max(INDENT.len() + 1)) {
                lines.push(INDENT.to_owned());
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], room: usize, expected: &[&str]) {
        assert_eq!(shortened(names, room), expected, "{names:?} in {room}");
    }

    #[test]
    fn words_of_all_names_give_way_first() {
        let names = ["model.layers.0.mlp.up_proj", "model.layers.10.mlp.up_proj", "lm_head"];
        check(&names, 27, &names);
        check(&names, 24, &["…layers.0.mlp.up_proj", "…layers.10.mlp.up_proj", "lm_head"]);
        check(&names, 16, &["…0.mlp.up_proj", "…10.mlp.up_proj", "lm_head"]);
        check(&names, 0, &["…0…up_proj", "…10…up_proj", "lm_head"]);
    }

    #[test]
    fn a_word_with_a_number_stays_longer_than_the_start() {
        let names = [
            "down.0.attentions.0.transformer_blocks.0.to_q",
            "down.0.attentions.1.transformer_blocks.0.to_q",
        ];
        check(&names, 30, &["down.0.attentions.0…0.to_q", "down.0.attentions.1…0.to_q"]);
    }

    #[test]
    fn as_many_words_as_names_take_no_more_time_for_each() {
        let names: Vec<String> =
            (0..20_000).map(|i| format!("{}.weight", "w".repeat(3 + i % 7) + &letters(i))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(shortened(&names, 8).len(), names.len());
    }

    /// A number in letters.
    fn letters(mut i: usize) -> String {
        let mut text = String::new();
        while i > 0 {
            text.push(char::from(b'a' + (i % 26) as u8));
            i /= 26;
        }
        text
    }

    #[test]
    fn what_tells_two_names_apart_stays() {
        let names =
            ["layer.0.attention.output.dense", "layer.0.output.dense", "layer.0.attention.self.dense"];
        check(&names, 0, &["…0.attention…dense", "…0…dense", "…0.attention.self.dense"]);
    }

    #[test]
    fn a_long_name_is_broken_at_its_dots() {
        assert_eq!(broken("down_blocks.0.attn1.to_q", 14), "down_blocks.0.\n  attn1.to_q");
        assert_eq!(broken("abcdefghij", 6), "abcdef\n  ghij");
        assert_eq!(broken("short", 6), "short");
    }
}
