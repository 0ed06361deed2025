//! Text that a hostile file may have chosen, as a part of Markdown: it stays the text it is.
//!
//! No escape stops everything that a page makes of Markdown: GitHub, for one, turns `@name` and `www.…` into links after
//! it has read it. Only code is left alone. So plain words are written unchanged, and any other text becomes code.

/// The context of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextPlace {
    /// In a cell of a table, which a bar would end even inside of code.
    Cell,
    /// In a line of its own.
    Line,
}

/// `text` as it is where it means nothing to Markdown, else as code.
pub(super) fn inline(text: &str, place: TextPlace) -> String {
    let text = text.replace(['\n', '\r'], " ");
    if is_plain(&text) { text.replace('<', "&lt;").replace('>', "&gt;") } else { code(&text, place) }
}

/// `text` as code, between more backticks than it holds in a row.
pub(super) fn code(text: &str, place: TextPlace) -> String {
    if text.is_empty() {
        return String::new();
    }
    let text = text.replace(['\n', '\r'], " ");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let blank = |c: Option<char>| matches!(c, Some('`' | ' '));
    let pad = if blank(text.chars().next()) || blank(text.chars().next_back()) { " " } else { "" };
    let text = if place == TextPlace::Cell { text.replace('|', "\\|") } else { text };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Whether no part of `text` could be a mark, a link, a mention or a number of an issue.
fn is_plain(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let links = ["://", "www.", "mailto:", "xmpp:", "](", "][", "]:", "[ ]", "[x]", "&#"];
    if links.iter().any(|link| lower.contains(link)) {
        return false;
    }
    if lower.split(|c: char| !c.is_alphanumeric() && c != '-' && c != ':').any(is_reference) {
        return false;
    }
    let around =
        |at: usize, c: char| (text[..at].chars().next_back(), text[at + c.len_utf8()..].chars().next());
    text.char_indices().all(|(at, c)| match c {
        // Between letters and digits it is not a mark.
        '_' => {
            let (before, after) = around(at, c);
            [before, after].into_iter().all(|c| c.is_some_and(|c| c.is_alphanumeric() || c == '_'))
        }
        // `@ model is commit …`, `? likely the same`: a sign of ours, before a blank.
        '@' | '#' | '!' => around(at, c).1 == Some(' '),
        '&' => around(at, c).1.is_none_or(char::is_whitespace),
        '`' | '*' | '|' | '~' | '$' | '\\' | '^' | '{' | '}' => false,
        _ => true,
    })
}

/// Whether a lower-case word is an issue (`gh-12`), a commit (seven hexadecimal digits or more) or a picture (`:smile:`).
fn is_reference(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let commit = |text: &str| {
        let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (7..=64).contains(&text.len()) && hexadecimal && !digits(text)
    };
    let issue = word.strip_prefix("gh-").is_some_and(digits);
    issue || word.split(['-', ':']).any(commit) || word.matches(':').count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(inline(text, TextPlace::Cell), expected);
    }

    #[test]
    fn plain_words_stay_and_all_else_is_code() {
        for plain in [
            "model.layers.0.self_attn.q_proj",
            "experts.up[3]",
            "alpha 7.1 (and 3 more)",
            "+12 %",
            "@ m is commit 1",
        ] {
            check(plain, plain);
        }
        check("1 < 2 > 0", "1 &lt; 2 &gt; 0");
        check("<img src=x>", "&lt;img src=x&gt;");
        for hostile in [
            "[a](https://x.y)",
            "![a](b)",
            "https://x.y",
            "www.x.y",
            "a@x.y",
            "@org/team",
            "fixes #1",
            "*a*",
            "_a_",
            "a_",
            "~~a~~",
            "$x$",
            "&#64;org",
            "&lt;b",
            "[a][b]",
            "[a]: b",
            "a\\",
            "mailto:a",
            "GH-12",
            "see gh-3.",
            "deadbeef1",
            ":smile:",
        ] {
            check(hostile, &format!("`{hostile}`"));
        }
        check("", "");
    }

    #[test]
    fn code_ends_where_it_should() {
        check("a`b", "``a`b``");
        check("`a``", "``` `a`` ```");
        check("a|`b", "``a\\|`b``");
        assert_eq!(code("a|b", TextPlace::Line), "`a|b`");
        assert_eq!(code(" ", TextPlace::Cell), "`   `");
        assert_eq!(code("alpha < 2", TextPlace::Cell), "`alpha < 2`");
    }
}
