//! Names of matrices in a narrow column: shortened where they stay distinct, on several lines where they don't.
//!
//! Words that most names share give way first. Numbers and the last part of a name stay, and no two names become one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use unicode_width::UnicodeWidthStr;

/// A word of this length saves nothing.
const SHORTEST_WORD: usize = 3;
/// How far the second line of a name is moved to the right.
const INDENT: &str = "  ";

/// `names`, of which no two are equal, in at most `room` characters where that leaves them distinct.
pub(super) fn shortened(names: &[&str], room: usize) -> Vec<String> {
    let mut left_out = BTreeSet::new();
    let mut short: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    for word in by_use(names) {
        if widest(&short) <= room {
            break;
        }
        left_out.insert(word);
        let tried: Vec<String> = names.iter().map(|name| without(name, &left_out)).collect();
        // Two names that only the sign for what is left out tells apart look alike.
        let read: BTreeSet<String> = tried.iter().map(|name| name.replace(['…', '.'], "")).collect();
        if read.len() == names.len() {
            short = tried;
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

/// The words that may be left out: those of most names first, then the long ones.
fn by_use<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let mut uses: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for name in names {
        let parts: Vec<&str> = name.split('.').collect();
        for (place, part) in parts.iter().enumerate().take(parts.len() - 1) {
            let is_word = !part.contains(|c: char| c.is_ascii_digit()) && part.len() >= SHORTEST_WORD;
            if is_word {
                uses.entry(part).or_insert((0, place)).0 += 1;
            }
        }
    }
    let mut words: Vec<_> = uses.into_iter().collect();
    words.sort_by_key(|(word, (count, place))| (Reverse(*count), *place, Reverse(word.len()), *word));
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
