//! Finds what a user means by a word: a key, a table's header, in any case and with blanks, or a word about its meaning.

use crate::error::Error;
use crate::report::Column;

/// Words that name neither a column nor a finding, each with the names it stands for.
pub const ABOUT: [(&str, &[&str]); 23] = [
    ("overtrained", &["alpha", "tail_count", "alpha_sigma"]),
    ("undertrained", &["alpha", "farms_alpha", "barely-trained"]),
    ("heavytail", &["alpha", "alpha_hill", "farms_alpha"]),
    ("tailexponent", &["alpha", "alpha_hill", "farms_alpha"]),
    ("powerlaw", &["alpha", "xmin", "ks_distance"]),
    ("goodnessoffit", &["ks_distance", "alpha_sigma"]),
    ("collapse", &["effective_rank", "rank-collapsed"]),
    ("energy", &["rank_at_95", "effective_rank_energy", "frobenius_norm"]),
    ("norm", &["spectral_norm", "frobenius_norm", "nuclear_norm"]),
    ("sharpness", &["spectral_norm", "condition_number"]),
    ("lipschitz", &["spectral_norm"]),
    ("lambdamax", &["max_eigenvalue", "spectral_norm"]),
    ("conditioning", &["condition_number", "smallest_singular_value"]),
    ("noise", &["noise_sigma", "bulk_edge", "spike_count", "random-like"]),
    ("signal", &["spike_count", "spectrum_snr", "gavish_donoho_rank"]),
    ("snr", &["spectrum_snr"]),
    ("random", &["random-like", "mp_distance", "untrained-model"]),
    ("outliers", &["outlier", "spike_count", "large-entry"]),
    ("nan", &["nonfinite_count", "non-finite"]),
    ("dead", &["zero_rows", "zero_columns", "dead-rows", "dead-columns"]),
    ("forgetting", &["intruder_count", "delta_frobenius_ratio", "subspace_overlap"]),
    ("similarity", &["subspace_overlap", "alignment", "direction_drift"]),
    ("pruning", &["farms_alpha", "saved_at_95"]),
];

/// The column that is meant by `word`: its key, else its header, whatever the case and the blanks.
///
/// # Errors
/// [`Error::Column`] with the names that may have been meant.
pub fn column(word: &str, columns: &[&'static Column]) -> Result<&'static Column, Error> {
    let is = |column: &&&'static Column| column.key == word;
    let found = columns.iter().find(is).or_else(|| {
        let wanted = plain(word);
        let by =
            |text: fn(&Column) -> &'static str| columns.iter().find(|column| plain(text(column)) == wanted);
        by(|column| column.key).or_else(|| by(|column| column.label)).filter(|_| !wanted.is_empty())
    });
    found.copied().ok_or_else(|| {
        unknown("no column", word, &columns.iter().map(|column| column.key).collect::<Vec<_>>())
    })
}

/// The one of `names` that is meant by `word`, whatever the case and the blanks.
///
/// # Errors
/// [`Error::Column`] with the names that may have been meant.
pub fn nearest<'k>(word: &str, names: &[&'k str]) -> Result<&'k str, Error> {
    let exact = names.iter().find(|name| **name == word);
    let found = exact.or_else(|| names.iter().find(|name| plain(name) == plain(word)));
    found.copied().ok_or_else(|| unknown("nothing", word, names))
}

/// The closest match for `word` in `known`, if there is one.
pub fn likeliest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let near = known.map(|known| (strsim::jaro_winkler(word, known), known));
    near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness > 0.7).map(|(_, known)| known)
}

fn unknown(what: &str, word: &str, names: &[&str]) -> Error {
    let wanted = plain(word);
    let about = |wanted: &str| {
        let about = ABOUT.iter().find(|(known, _)| *known == wanted).map_or(&[][..], |(_, about)| about);
        let about = about.iter().filter(|name| names.contains(name)).map(|name| format!("`{name}`"));
        Some(about.collect::<Vec<_>>().join(", ")).filter(|about| !about.is_empty())
    };
    let near = || likeliest(word, names.iter().copied());
    let near_word = || likeliest(&wanted, ABOUT.iter().map(|(word, _)| *word)).and_then(about);
    let hint = match about(&wanted) {
        Some(about) => format!("; related: {about}"),
        None => match (near(), near_word()) {
            (Some(near), _) => format!("; did you mean `{near}`?"),
            (None, Some(about)) => format!("; related: {about}"),
            (None, None) => "; `svdkit explain` lists all".to_owned(),
        },
    };
    Error::Column { at: None, key: word.to_owned(), problem: format!("{what} is called `{word}`{hint}") }
}

/// Lower case, without blanks, lines and dots.
fn plain(text: &str) -> String {
    let kept = text.chars().filter(|c| !c.is_whitespace() && !"_-.".contains(*c));
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::METRICS;

    fn columns() -> Vec<&'static Column> {
        METRICS.iter().map(|metric| &metric.column).collect()
    }

    #[test]
    fn a_column_is_found_by_what_the_table_prints() {
        let columns = columns();
        for (word, key) in [
            ("alpha", "alpha"),
            ("Alpha", "alpha"),
            ("α", "alpha"),
            (" stable rank ", "stable_rank"),
            ("KS D", "ks_distance"),
            ("σ₁", "spectral_norm"),
            ("NaN/Inf", "nonfinite_count"),
        ] {
            assert_eq!(column(word, &columns).map(|column| column.key).ok(), Some(key), "{word}");
        }
        for column_of_all in &columns {
            let found = column(column_of_all.label, &columns).map(|column| column.label);
            assert_eq!(found.ok(), Some(column_of_all.label));
        }
    }

    #[test]
    fn a_word_about_something_leads_to_its_columns() {
        let told = |word: &str| {
            column(word, &columns()).map_or_else(|error| error.to_string(), |c| c.key.to_owned())
        };
        assert!(told("overtrained").contains("`alpha`, `tail_count`"), "{}", told("overtrained"));
        assert!(told("collapse").contains("`effective_rank`"), "{}", told("collapse"));
        assert!(told("sharpnes").contains("related: `spectral_norm`"), "{}", told("sharpnes"));
        // A header comes before a word about something.
        assert_eq!(told("rank"), "numerical_rank");
        assert!(told("stable_rnak").contains("did you mean `stable_rank`"), "{}", told("stable_rnak"));
        assert!(!told("").contains("mean"), "{}", told(""));
    }
}
