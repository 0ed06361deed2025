//! The last gate before a writer: whatever a renderer did, no character leaves that drives a terminal or hides.

use std::io::{self, Write};

use super::style::Paint;
use crate::error::{begins_command, is_hidden};

/// How a character that may not leave as it is, is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `\u001b`: a reader of JSON gets the true text back. Only strings can hold such a character.
    Json,
    /// `\u{1b}`; colors of our own pass where they are wanted, and nothing that a build server takes for a command.
    Text(Paint),
    /// The same for commands of our own to a build server.
    Commands,
}

/// Writes escaped text to another writer.
pub(super) struct Escaped<W> {
    out: W,
    style: Style,
    /// The start of a character whose other bytes have not come yet.
    start: Vec<u8>,
    /// The character written last.
    last: char,
}

impl<W: Write> Escaped<W> {
    pub(super) fn new(out: W, style: Style) -> Self {
        Self { out, style, start: vec![], last: '\n' }
    }

    fn write_text(&mut self, text: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            let last = std::mem::replace(&mut self.last, c);
            if self.passes(c, (last, &text[..at]), &text[at..]) {
                continue;
            }
            self.out.write_all(&text.as_bytes()[plain..at])?;
            plain = at + c.len_utf8();
            match self.style {
                Style::Json => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}")?;
                    }
                }
                Style::Text(_) | Style::Commands => write!(self.out, "{}", c.escape_unicode())?,
            }
        }
        self.out.write_all(&text.as_bytes()[plain..])
    }

    fn passes(&self, c: char, (last, before): (char, &str), rest: &str) -> bool {
        match (self.style, c) {
            (_, '\n') => true,
            // `##[` and `##vso[` are commands of build servers, and JSON itself has no such sign.
            (Style::Json, '#') => last != '#',
            (Style::Text(Paint::Color), '\u{1b}') => is_color(rest),
            // At the start of a piece of text, the last character stands for all before it.
            (Style::Text(_), ':' | '#') if before.is_empty() => {
                !begins_command(last.encode_utf8(&mut [0; 4]), rest)
            }
            (Style::Text(_), ':' | '#') => !begins_command(before, rest),
            _ => !is_hidden(c),
        }
    }
}

/// Whether `text` begins with a sequence that sets a color or a weight.
fn is_color(text: &str) -> bool {
    let Some(codes) = text.strip_prefix("\u{1b}[") else { return false };
    codes.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = std::mem::take(&mut self.start);
        all.extend_from_slice(bytes);
        for chunk in all.utf8_chunks() {
            self.write_text(chunk.valid())?;
            // The last chunk may end in the middle of a character; our own texts have no other fault.
            self.start = chunk.invalid().to_vec();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(style: Style, text: &str, expected: &str) {
        for step in 1..=text.len() {
            let mut out = vec![];
            let mut escaped = Escaped::new(&mut out, style);
            for part in text.as_bytes().chunks(step) {
                escaped.write_all(part).expect("a vector takes everything");
            }
            assert_eq!(String::from_utf8(out).expect("text"), expected, "{step} bytes at once");
        }
    }

    #[test]
    fn text_is_escaped_however_it_comes() {
        let plain = Style::Text(Paint::Plain);
        check(plain, "σ 模🙂\n", "σ 模🙂\n");
        check(plain, "a\u{7f}\u{9b}2J\u{202e}\t\u{e0041}", r"a\u{7f}\u{9b}2J\u{202e}\u{9}\u{e0041}");
        check(plain, "\u{1b}[1mx\u{1b}[0m", r"\u{1b}[1mx\u{1b}[0m");
        check(Style::Commands, "::error::a\u{7}\n", "::error::a\\u{7}\n");
        let mut out = vec![];
        let blanks = " ";
        writeln!(Escaped::new(&mut out, plain), "a::b\n {blanks}::error::x ::y").expect("a vector");
        assert_eq!(String::from_utf8(out).expect("text"), "a::b\n  \\u{3a}:error::x \\u{3a}:y\n");
    }

    #[test]
    fn only_colors_are_let_through_and_only_where_they_are_wanted() {
        let mut out = vec![];
        let mut escaped = Escaped::new(&mut out, Style::Text(Paint::Color));
        escaped.write_all("\u{1b}[1;31mx\u{1b}[0m\u{1b}[2J\u{1b}]0;t\u{7}".as_bytes()).expect("a vector");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "\u{1b}[1;31mx\u{1b}[0m\\u{1b}[2J\\u{1b}]0;t\\u{7}");
    }

    #[test]
    fn json_reads_back_as_the_same_text() {
        let text = "\u{7f}\u{9b}\u{202e}\u{2028}\u{e0041}🙂 ##vso[x] \u{feff}";
        let json = serde_json::to_string(text).expect("JSON");
        let mut out = vec![];
        Escaped::new(&mut out, Style::Json).write_all(json.as_bytes()).expect("a vector");
        assert!(!String::from_utf8_lossy(&out).contains(is_hidden), "{out:?}");
        assert!(!String::from_utf8_lossy(&out).contains("##"), "{out:?}");
        assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
    }
}
