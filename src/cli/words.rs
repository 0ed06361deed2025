//! A command as words: kept in a ledger, shown in a line, put into a script.

/// The words of a command without the options of the ledger.
pub(super) fn bare(words: &[String]) -> Vec<String> {
    let mut kept = vec![];
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--ledger" | "--partition" => drop(rest.next()),
            "--resume" => {}
            word if word.starts_with("--ledger=") || word.starts_with("--partition=") => {}
            word => kept.push(word.to_owned()),
        }
    }
    kept
}

/// Words as a shell takes them.
pub(super) fn quoted(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
pub(super) fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_kept_without_the_options_of_the_ledger() {
        let words =
            ["spectrum", "M", "--ledger", "a", "-j", "2", "--resume", "--partition=1/2", "--ledger=b"];
        let words: Vec<String> = words.map(str::to_owned).to_vec();
        assert_eq!(bare(&words), ["spectrum", "M", "-j", "2"]);
    }

    #[test]
    fn a_shell_takes_words_as_they_are() {
        for (word, expected) in
            [("model-1.bin", "model-1.bin"), ("*.mlp.*", "'*.mlp.*'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(quote(word), expected);
        }
    }
}
