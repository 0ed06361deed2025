//! Advice in the files that other tools read: PEFT's rank pattern and targets, Spectrum's lists, kohya's ranks.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::escape::{Escaped, Style};
use super::style::Paint;
use crate::analysis::resize::{Resized, Rule};
use crate::notation;

/// One file of advice.
#[derive(Debug)]
pub enum Advice<'a> {
    /// Arguments of PEFT's `LoraConfig`.
    RankPattern(RankPattern<'a>),
    /// Spectrum's `unfrozen_parameters`: each role with the names to train, best first.
    Unfrozen(Vec<(&'a str, Vec<&'a str>)>),
    /// Ranks of kohya's `resize_lora.py`, by rule.
    Resize(Vec<(Rule, Vec<(&'a str, Resized)>)>),
    /// Arguments of PEFT's `LoraConfig`: modules and stacks of experts to train, best first.
    Kappa {
        /// Linear modules.
        modules: Vec<&'a str>,
        /// Stacks of experts.
        parameters: Vec<&'a str>,
    },
    /// Spectrum's ratio of each module, with its role, as in its `snr_results_….json`.
    Ratios(Vec<(&'a str, &'a str, f64)>),
}

impl Advice<'_> {
    /// What it holds, in a few words.
    pub fn contents(&self) -> String {
        let count = |n: usize| notation::count(n as u64);
        match self {
            Self::RankPattern(pattern) => {
                let given = pattern.modules.iter().filter(|(_, rank)| *rank > 0).count();
                format!("ranks of {} modules", count(given))
            }
            Self::Unfrozen(roles) => {
                format!("{} modules to train", count(roles.iter().map(|(_, names)| names.len()).sum()))
            }
            Self::Resize(rules) => {
                let all = rules.iter().map(|(_, matrices)| matrices.len()).max().unwrap_or(0);
                format!("ranks of {} matrices", count(all))
            }
            Self::Kappa { modules, parameters } => {
                format!("{} modules to train", count(modules.len() + parameters.len()))
            }
            Self::Ratios(modules) => format!("ratios of {} modules", count(modules.len())),
        }
    }
}

/// A LoRA rank for each module.
#[derive(Debug)]
pub struct RankPattern<'a> {
    /// The rank that a module without an entry would get.
    pub rank: usize,
    /// `lora_alpha` at that rank; others get it in proportion, so that all are scaled alike.
    pub alpha: f64,
    /// Ranks by module; 0 for a module that gets no adapter.
    pub modules: Vec<(&'a str, usize)>,
}

/// Writes `advice`.
///
/// # Errors
/// Errors of the writer.
pub fn write(advice: &Advice<'_>, out: &mut dyn Write) -> io::Result<()> {
    let style = match advice {
        Advice::RankPattern(_) | Advice::Kappa { .. } | Advice::Ratios(_) => Style::Json,
        Advice::Unfrozen(_) | Advice::Resize(_) => Style::Text(Paint::Plain),
    };
    let out: &mut dyn Write = &mut Escaped::new(out, style);
    match advice {
        Advice::RankPattern(pattern) => write_pattern(pattern, out),
        Advice::Unfrozen(roles) => write_unfrozen(roles, out),
        Advice::Resize(rules) => write_resize(rules, out),
        Advice::Kappa { modules, parameters } => {
            // PEFT takes nothing for a model without such stacks.
            let parameters = if parameters.is_empty() { Value::Null } else { json!(parameters) };
            write_pretty(&json!({ "target_modules": modules, "target_parameters": parameters }), out)
        }
        Advice::Ratios(modules) => {
            let entry = |(name, role, ratio): &(&str, &str, f64)| {
                ((*name).to_owned(), json!({ "type": role, "snr": ratio }))
            };
            write_pretty(&Value::Object(modules.iter().map(entry).collect()), out)
        }
    }
}

fn write_pretty(value: &Value, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

fn write_pattern(pattern: &RankPattern<'_>, out: &mut dyn Write) -> io::Result<()> {
    let given: BTreeSet<&str> =
        pattern.modules.iter().filter(|(_, rank)| *rank > 0).map(|(name, _)| *name).collect();
    let names: BTreeSet<&str> = pattern.modules.iter().map(|(name, _)| *name).collect();
    // PEFT takes the first key that the end of a module's name matches, so the longer of two such names comes first.
    let (mut longer, plain): (Vec<_>, Vec<_>) =
        pattern.modules.iter().partition(|(name, _)| ends_in(name, &names));
    longer.sort_by_key(|(name, _)| std::cmp::Reverse(name.split('.').count()));
    let ordered = || longer.iter().chain(&plain).filter(|(_, rank)| *rank > 0);
    let map = |value: &dyn Fn(usize) -> Value| {
        Value::Object(ordered().map(|(name, rank)| (key(name), value(*rank))).collect::<Map<_, _>>())
    };
    let number = |x: f64| if x.fract() == 0.0 && x < 1e15 { json!(x as u64) } else { json!(x) };
    let targets = |wanted: &dyn Fn(&str, usize) -> bool| -> Vec<&str> {
        pattern.modules.iter().filter(|(name, rank)| wanted(name, *rank)).map(|(name, _)| *name).collect()
    };
    let mut config = Map::new();
    config.insert("r".to_owned(), json!(pattern.rank));
    config.insert("lora_alpha".to_owned(), number(pattern.alpha));
    config.insert("target_modules".to_owned(), json!(targets(&|_, rank| rank > 0)));
    let excluded = targets(&|name, rank| rank == 0 && ends_in(name, &given));
    if !excluded.is_empty() {
        config.insert("exclude_modules".to_owned(), json!(excluded));
    }
    config.insert("rank_pattern".to_owned(), map(&|rank| json!(rank)));
    let scale = pattern.alpha / pattern.rank as f64;
    config.insert("alpha_pattern".to_owned(), map(&|rank| number(scale * rank as f64)));
    write_pretty(&Value::Object(config), out)
}

/// Whether another of `names` equals the part of `name` after one of its dots.
fn ends_in(name: &str, names: &BTreeSet<&str>) -> bool {
    name.match_indices('.').any(|(at, _)| names.contains(&name[at + 1..]))
}

/// A module's name as a key of PEFT's patterns, which are regular expressions. Dots stay: they match themselves.
fn key(name: &str) -> String {
    name.chars().fold(String::new(), |mut key, c| {
        if "\\^$|?*+()[]{}".contains(c) {
            key.push('\\');
        }
        key.push(c);
        key
    })
}

fn write_unfrozen(roles: &[(&str, Vec<&str>)], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "unfrozen_parameters:\n- ^lm_head.weight$\n- ^model.embed_tokens.weight$")?;
    for (role, names) in roles {
        writeln!(out, "# {role} layers")?;
        for name in names {
            writeln!(out, "- {}", scalar(name))?;
        }
    }
    Ok(())
}

/// `name` as YAML reads it back as that text.
fn scalar(name: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || "._-/".contains(c))
        && !WORDS.contains(&name.to_ascii_lowercase().as_str());
    if plain { name.to_owned() } else { format!("'{}'", name.replace('\'', "''")) }
}

fn write_resize(rules: &[(Rule, Vec<(&str, Resized)>)], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "# rank = index + 1 as resize_lora.py writes it, one more than its rule asks for;")?;
    writeln!(
        out,
        "# index lies in [1, min(m, n) - 1], the limit --new_rank is not applied, fro is a ratio of norms"
    )?;
    let names = rules.iter().flat_map(|(_, matrices)| matrices.iter().map(|(name, _)| name.chars().count()));
    let width = names.max().unwrap_or(0).max("matrix".len());
    let rule_width =
        rules.iter().map(|(rule, _)| rule.to_string().len()).max().unwrap_or(0).max("rule".len());
    writeln!(
        out,
        "{:width$}  {:rule_width$}  {:>5}  {:>6}  {:>6}  {:>8}",
        "matrix", "rule", "rank", "sum", "fro", "ratio"
    )?;
    for (rule, matrices) in rules {
        for (name, resized) in matrices {
            let ratio = resized.ratio.map_or_else(|| "-".to_owned(), notation::real);
            writeln!(
                out,
                "{name:width$}  {:rule_width$}  {:>5}  {:>6.4}  {:>6.4}  {ratio:>8}",
                rule.to_string(),
                resized.rank,
                resized.sum_retained,
                resized.frobenius_retained,
            )?;
        }
    }
    for (rule, matrices) in rules {
        let count = matrices.len() as f64;
        let mean = matrices.iter().map(|(_, resized)| resized.frobenius_retained).sum::<f64>() / count;
        let squares = matrices.iter().map(|(_, resized)| (resized.frobenius_retained - mean).powi(2));
        let deviation = (squares.sum::<f64>() / count).sqrt();
        let ranks: usize = matrices.iter().map(|(_, resized)| resized.rank).sum();
        writeln!(out, "# {rule}: fro {mean:.4} ± {deviation:.4}, mean rank {:.1}", ranks as f64 / count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(modules: &[(&str, usize)]) -> Value {
        let mut out = vec![];
        let pattern = RankPattern { rank: 4, alpha: 6.0, modules: modules.to_vec() };
        write(&Advice::RankPattern(pattern), &mut out).expect("a vector takes everything");
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn alpha_goes_with_the_rank() {
        let config = pattern(&[("b", 2), ("a", 3), ("c", 0)]);
        assert_eq!(config["target_modules"], json!(["b", "a"]));
        assert_eq!(config["rank_pattern"].to_string(), r#"{"b":2,"a":3}"#);
        assert_eq!(config["alpha_pattern"].to_string(), r#"{"b":3,"a":4.5}"#);
        assert_eq!(config.get("exclude_modules"), None);
    }

    #[test]
    fn a_name_that_another_ends_in_takes_nothing_from_it() {
        let config = pattern(&[("q", 1), ("a.q", 2), ("x.a.q", 3), ("y.q", 0), ("k", 0), ("z.k", 0)]);
        assert_eq!(config["rank_pattern"].to_string(), r#"{"x.a.q":3,"a.q":2,"q":1}"#);
        assert_eq!(config["exclude_modules"], json!(["y.q"]));
        assert_eq!(key("a.q[0]"), r"a.q\[0\]");
    }

    #[test]
    fn names_that_yaml_would_read_as_something_else_are_quoted() {
        for (name, expected) in
            [("layers.0.q", "layers.0.q"), ("no", "'no'"), ("0", "'0'"), ("it's: a", "'it''s: a'")]
        {
            assert_eq!(scalar(name), expected);
        }
    }
}
