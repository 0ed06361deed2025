//! What may have been meant by `--include`, where it matches nothing.

use crate::gate::likeliest;
use crate::layer::Filter;

/// What to try for the first pattern that matches none of `names`.
pub(super) fn hint(filter: &Filter, names: &[&str]) -> String {
    let words = |text: &str| text.trim_matches(['*', '?', '.']).to_owned();
    let Some(pattern) = filter.included.iter().find(|pattern| !names.contains(&pattern.as_str())) else {
        return String::new();
    };
    let wanted = words(pattern);
    if wanted.is_empty() {
        return String::new();
    }
    if !pattern.contains('*') && names.iter().any(|name| name.contains(&wanted)) {
        return format!("; a pattern matches a whole name, so try '*{wanted}*'");
    }
    let parts = names.iter().flat_map(|name| name.split('.'));
    let known = names.iter().copied().chain(parts).filter(|known| *known != wanted);
    match (likeliest(&wanted, known), names.first()) {
        (Some(near), _) => format!("; did you mean `{near}`?"),
        (None, Some(first)) => format!("; a name here is `{first}`"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_matches_nothing_leads_to_what_is_there() {
        let names = ["lm_head", "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"];
        let check = |pattern: &str, expected: &str| {
            let filter = Filter { included: vec![pattern.to_owned()], ..Filter::default() };
            assert_eq!(hint(&filter, &names), expected, "{pattern}");
        };
        check("lm_hed", "; did you mean `lm_head`?");
        check("*.up_prj", "; did you mean `up_proj`?");
        check("mlp", "; a pattern matches a whole name, so try '*mlp*'");
        check("layers.0", "; a pattern matches a whole name, so try '*layers.0*'");
        check("zzz", "; a name here is `lm_head`");
        check("*", "");
    }
}
