//! `adapter_config.json`: how PEFT scales, turns and initialized the updates of an adapter.
//!
//! Unknown fields are tolerated; a method whose update is not read is refused by its name.

use std::path::{Component, Path, PathBuf};

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, brief};
use crate::store::Location;

/// A configuration longer than this is not read; one with a rank for each of ten thousand modules has a million bytes.
const LONGEST: u64 = 16_000_000;
/// More true patterns than this are not compiled.
const MOST_PATTERNS: usize = 256;
/// Size limit of a compiled pattern.
const PATTERN_BYTES: usize = 1 << 18;

/// The file, as far as it decides the numbers.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(expecting = "a map of settings")]
struct Stored {
    peft_type: Option<String>,
    peft_version: Option<String>,
    base_model_name_or_path: Option<String>,
    r: Option<u64>,
    lora_alpha: Option<f64>,
    alpha: Option<f64>,
    use_rslora: Option<bool>,
    fan_in_fan_out: Option<bool>,
    use_dora: Option<bool>,
    rank_pattern: Option<Map<String, Value>>,
    alpha_pattern: Option<Map<String, Value>>,
    init_lora_weights: Option<Value>,
    kasa_config: Option<Value>,
    target_parameters: Option<Vec<String>>,
    layer_replication: Option<Value>,
    use_qalora: Option<bool>,
    use_bdlora: Option<Value>,
    fine_tune_type: Option<String>,
    lora_parameters: Option<Parameters>,
}

/// How MLX and llama.cpp scale updates: by `scale`, and by `alpha` over the rank if that is given, too.
#[derive(Debug, PartialEq, Deserialize)]
struct Parameters {
    rank: Option<u64>,
    alpha: Option<f64>,
    scale: Option<f64>,
}

/// The settings of an adapter.
#[derive(Debug)]
pub(super) struct AdapterConfig {
    stored: Stored,
    /// The scale's numerator where no pattern says otherwise.
    alpha: f64,
    ranks: Vec<(Pattern, f64)>,
    alphas: Vec<(Pattern, f64)>,
    folder: PathBuf,
}

impl AdapterConfig {
    /// Reads the file at `location`.
    pub(super) fn read(location: &Location) -> Result<Self, Error> {
        crate::format::check(location)?;
        let text = location.text("a configuration", LONGEST)?;
        let malformed = |reason: String| location.malformed(reason);
        let stored = serde_json::from_slice(&text).map_err(|e| malformed(invalid(&e)))?;
        Self::new(&location.describe(), stored).map_err(malformed)
    }

    /// The settings among `fields`, from the header of the weights at `path`; none if they do not say how
    /// updates are scaled.
    pub(super) fn of_fields(path: &Path, fields: Map<String, Value>) -> Result<Option<Self>, String> {
        let says = |field: &str| fields.get(field).is_some_and(|value| !value.is_null());
        if !says("lora_alpha") && !says("alpha") && !says("lora_parameters") {
            return Ok(None);
        }
        let stored = serde_json::from_value(Value::Object(fields)).map_err(|e| invalid(&e))?;
        Self::new(path, stored).map(Some)
    }

    /// Whether both say the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.stored == other.stored
    }

    fn new(path: &Path, stored: Stored) -> Result<Self, String> {
        let alpha = supported(&stored)?;
        let ranks = patterns("rank_pattern", stored.rank_pattern.as_ref())?;
        let alphas = patterns("alpha_pattern", stored.alpha_pattern.as_ref())?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { stored, alpha, ranks, alphas, folder })
    }

    /// The scale of the update of `module`, whose factors have `rank` directions; `module` is named as in the model.
    pub(super) fn scale(&self, module: &str, rank: usize) -> f64 {
        if let Some(Parameters { alpha, scale: Some(scale), .. }) = self.stored.lora_parameters {
            return scale * alpha.map_or(1.0, |alpha| alpha / rank as f64);
        }
        let alpha = first(&self.alphas, module).unwrap_or(self.alpha);
        let root = self.stored.use_rslora == Some(true);
        alpha / if root { (rank as f64).sqrt() } else { rank as f64 }
    }

    /// The rank that the configuration gives `module`.
    pub(super) fn rank(&self, module: &str) -> Option<usize> {
        let whole = self.stored.r.or(self.stored.lora_parameters.as_ref().and_then(|given| given.rank));
        first(&self.ranks, module).map(|r| r as usize).or(whole.map(|r| r as usize))
    }

    /// Whether weights are stored input × output.
    pub(super) fn is_transposed(&self) -> bool {
        self.stored.fan_in_fan_out == Some(true)
    }

    /// Whether every update comes with the lengths of its rows.
    pub(super) fn is_dora(&self) -> bool {
        self.stored.use_dora == Some(true) || self.stored.fine_tune_type.as_deref() == Some("dora")
    }

    /// Whether KaSA cut the smallest directions off the base's matrices when training began.
    pub(super) fn cuts_base(&self) -> bool {
        self.stored.kasa_config.as_ref().is_some_and(|config| !config.is_null())
    }

    /// The method that moved the base when training began, so that the updates do not apply to the original weights.
    pub(super) fn moved_base(&self) -> Option<&str> {
        if self.cuts_base() {
            return Some("kasa");
        }
        let init = self.stored.init_lora_weights.as_ref()?.as_str()?;
        let moves = ["pissa", "olora", "corda", "lora_ga", "loftq"];
        moves.iter().any(|name| init.to_lowercase().starts_with(name)).then_some(init)
    }

    /// Whether the layers of the adapted model are repeated layers of the base.
    pub(super) fn repeats_layers(&self) -> bool {
        self.stored.layer_replication.as_ref().is_some_and(|layers| !layers.is_null())
    }

    /// The parameters of `module` that were adapted by their own name: the stacks of a fused mixture of experts.
    pub(super) fn parameters_of(&self, module: &str) -> Vec<&str> {
        let targets = self.stored.target_parameters.iter().flatten();
        let mut parameters: Vec<&str> = targets
            .filter_map(|target| target.rsplit_once('.'))
            .filter(|(owner, _)| module == *owner || super::ends_in(module, owner))
            .map(|(_, parameter)| parameter)
            .collect();
        parameters.sort_unstable();
        parameters.dedup();
        parameters
    }

    /// Whether this PEFT takes every stack of experts for input × output, as versions before 0.19 did.
    pub(super) fn has_turned_experts(&self) -> bool {
        let version = self.stored.peft_version.as_deref().unwrap_or_default();
        let mut numbers = version.split('.').map(|number| number.parse::<u64>().ok());
        matches!((numbers.next().flatten(), numbers.next().flatten()), (Some(0), Some(0..19)))
    }

    /// Where the base lies, if the configuration says so and something is there.
    pub(super) fn base(&self) -> Option<PathBuf> {
        let base = self.stored.base_model_name_or_path.as_deref().filter(|base| !base.is_empty())?;
        let beside = self.folder.join(base);
        let plain = without_detours(&beside);
        // Through a link, `..` leads elsewhere than it reads.
        let same = plain.canonicalize().ok()? == beside.canonicalize().ok()?;
        Some(if same { plain } else { beside })
    }
}

fn invalid(error: &serde_json::Error) -> String {
    format!("is no valid adapter configuration: {}", brief(&error.to_string()))
}

/// `path` without names that a `..` takes back.
fn without_detours(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir
            && matches!(plain.components().next_back(), Some(Component::Normal(_)))
        {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// The scale's numerator, if the method is one whose updates are read.
fn supported(stored: &Stored) -> Result<f64, String> {
    let alpha = match stored.peft_type.as_deref() {
        Some("LORA") | None => stored.lora_alpha,
        Some("LOHA" | "LOKR") => stored.alpha,
        Some(other) => {
            return Err(format!(
                "`peft_type` is `{}`, whose updates svdkit does not read (LORA, LOHA, LOKR)",
                brief(other)
            ));
        }
    };
    if stored.use_qalora == Some(true) {
        return Err("`use_qalora` pools the inputs, which svdkit does not read".to_owned());
    }
    if stored.use_bdlora.as_ref().is_some_and(|config| !config.is_null() && *config != Value::Bool(false)) {
        return Err("`use_bdlora` makes the factors block-diagonal, which svdkit does not read".to_owned());
    }
    if stored.r == Some(0) {
        return Err("`r` is 0".to_owned());
    }
    // PEFT's default.
    Ok(alpha.unwrap_or(8.0))
}

/// A key of `rank_pattern` or `alpha_pattern`: it matches a module's whole name, or the part after one of its dots.
#[derive(Debug)]
enum Pattern {
    /// Letters, digits and dots, where a dot is any character.
    Plain(String),
    Regex(Box<Regex>),
}

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        if text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            return Ok(Self::Plain(text.to_owned()));
        }
        // Linear time whatever a stranger wrote, and no more memory than this.
        let config = Regex::config()
            .nfa_size_limit(Some(PATTERN_BYTES))
            .hybrid(false)
            .onepass(false)
            .dfa(false)
            .backtrack(false)
            .utf8_empty(false);
        let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(50);
        let whole = format!(r"^(?:.*\.)?(?:{text})$");
        let regex = Regex::builder().configure(config).syntax(syntax).build(&whole);
        let regex = regex.map_err(|_| "is no pattern that svdkit reads, or too large a one".to_owned())?;
        Ok(Self::Regex(Box::new(regex)))
    }

    fn matches(&self, module: &str) -> bool {
        match self {
            Self::Plain(text) => {
                let (name, text) = (module.as_bytes(), text.as_bytes());
                let Some(start) = name.len().checked_sub(text.len()) else { return false };
                let alike = name[start..].iter().zip(text).all(|(c, wanted)| *wanted == b'.' || c == wanted);
                alike && (start == 0 || name[start - 1] == b'.')
            }
            Self::Regex(regex) => regex.is_match(module),
        }
    }
}

/// The value of the first pattern that matches, in the order stored.
fn first(patterns: &[(Pattern, f64)], module: &str) -> Option<f64> {
    patterns.iter().find(|(pattern, _)| pattern.matches(module)).map(|(_, value)| *value)
}

fn patterns(field: &str, stored: Option<&Map<String, Value>>) -> Result<Vec<(Pattern, f64)>, String> {
    let (mut patterns, mut regexes) = (vec![], 0);
    for (key, value) in stored.into_iter().flatten() {
        let at = |reason: &str| format!("`{field}`: `{}` {reason}", brief(key));
        let value = value.as_f64().filter(|value| field == "alpha_pattern" || *value >= 1.0);
        let value = value.ok_or_else(|| at("has no number that can be used"))?;
        let pattern = Pattern::new(key).map_err(|reason| at(&reason))?;
        regexes += usize::from(matches!(pattern, Pattern::Regex(_)));
        if regexes > MOST_PATTERNS {
            return Err(format!("`{field}` has more than {MOST_PATTERNS} patterns, which are not read"));
        }
        patterns.push((pattern, value));
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, module: &str, expected: bool) {
        assert_eq!(Pattern::new(pattern).expect("a pattern").matches(module), expected, "{pattern} {module}");
    }

    #[test]
    fn a_pattern_matches_a_whole_name_or_what_follows_a_dot() {
        for form in ["q_proj", "(q_proj)"] {
            check(form, "q_proj", true);
            check(form, "model.layers.0.q_proj", true);
            check(form, "model.layers.0.seq_proj", false);
            check(form, "q_proj.lora", false);
        }
        check("layers.0.mlp.down_proj", "model.layers.0.mlp.down_proj", true);
        check("layers.0.mlp.down_proj", "model.layers.10.mlp.down_proj", false);
        // A dot is any character, as in the expression it is.
        check("a.b", "axb", true);
        check(r"layers\.(0|1)\..*", "model.layers.1.up", true);
        check(r"layers\.\d\..*_proj", "layers.10.q_proj", false);
        check("a|b", "x.b", true);
    }

    #[test]
    fn patterns_of_strangers_are_bounded() {
        for bomb in [r"(a{1000}){1000}", r"(((a{100}){100}){100}){100}", "(", r"(?=a)b", &"(".repeat(9000)] {
            assert!(Pattern::new(bomb).is_err(), "{bomb:.20}");
        }
    }
}
