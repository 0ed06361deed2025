//! The configuration beside a model's weights, `config.json`: facts about storage that the tensors don't show.

use serde_json::Value;

use crate::error::{Error, brief};
use crate::store::Location;

/// Its name.
pub(crate) const NAME: &str = "config.json";

/// The longest configuration that is read.
const LONGEST: u64 = 16_000_000;

/// Where a model with several parts keeps the settings of the one that speaks.
const PARTS: [&str; 4] = ["text_config", "llm_config", "language_config", "thinker_config"];

/// A model's configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Config {
    /// `model_type`, its own and those of its parts.
    pub models: Vec<String>,
    /// How its weights are quantized.
    pub quantization: Quantization,
    /// Its own fields, then those of its parts.
    fields: Vec<Value>,
}

/// The quantization settings of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Quantization {
    /// The method, if they are.
    pub method: Option<String>,
    /// Rows and columns under one scale.
    pub block: Option<(usize, usize)>,
    /// Bits of a code, where all groups agree.
    pub bits: Option<u32>,
}

impl Config {
    /// The configuration of the checkpoint at `location`; empty if there is none.
    ///
    /// # Errors
    /// If it can't be read, or is not JSON.
    pub(crate) fn beside(location: &Location) -> Result<Self, Error> {
        let file = location.folder().join(NAME);
        if !file.is_named() {
            return Ok(Self::default());
        }
        let value: Value = serde_json::from_slice(&file.text("a configuration", LONGEST)?).map_err(|e| {
            file.malformed(format!("is not valid JSON: {}; download it again", brief(&e.to_string())))
        })?;
        Ok(Self::of(value))
    }

    /// A field of its own, by its name.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.fields.first()?.get(name)
    }

    /// The configuration from parsed JSON. Fields of an unexpected kind say nothing.
    fn of(value: Value) -> Self {
        let mut fields = vec![value];
        let mut next = 0;
        // A part may have one nested part; deeper ones are ignored.
        while next < fields.len() && fields.len() < 8 {
            let inner: Vec<Value> = PARTS.iter().filter_map(|part| fields[next].get(part).cloned()).collect();
            fields.extend(inner);
            next += 1;
        }
        let models = fields.iter().filter_map(|part| Some(part.get("model_type")?.as_str()?.to_owned()));
        let quantization = fields.iter().find_map(|part| part.get("quantization_config"));
        Self {
            models: models.collect(),
            quantization: quantization.map_or_else(Quantization::default, Quantization::of),
            fields,
        }
    }

    /// The first of the numbers called one of `keys`, which may be `a.b`; the innermost part knows best.
    pub(crate) fn number(&self, keys: &[&str]) -> Option<usize> {
        self.first(keys, |value| usize::try_from(value.as_u64()?).ok().filter(|n| *n > 0))
    }

    /// The same of numbers that need not be whole.
    pub(crate) fn real(&self, keys: &[&str]) -> Option<f64> {
        self.first(keys, Value::as_f64)
    }

    /// The same of switches.
    pub(crate) fn switch(&self, keys: &[&str]) -> Option<bool> {
        self.first(keys, Value::as_bool)
    }

    fn first<T>(&self, keys: &[&str], read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let within =
            |part: &Value, key: &&str| read(key.split('.').try_fold(part, |value, key| value.get(key))?);
        self.fields.iter().rev().find_map(|part| keys.iter().find_map(|key| within(part, key)))
    }

    /// The configuration of one of its parts; itself, where it has none of that name.
    pub(crate) fn section(&self, name: &str) -> Self {
        match self.field(name) {
            Some(part) if part.is_object() => Self::of(part.clone()),
            _ => self.clone(),
        }
    }
}

impl Quantization {
    fn of(value: &Value) -> Self {
        let size = |value: &Value| usize::try_from(value.as_u64()?).ok();
        let block = value.get("weight_block_size").and_then(Value::as_array);
        let block = block.and_then(|sizes| match sizes.as_slice() {
            [rows, cols] => Some((size(rows)?, size(cols)?)),
            _ => None,
        });
        let groups = value.get("config_groups").and_then(Value::as_object);
        let weights = groups.into_iter().flatten().filter_map(|(_, group)| group.get("weights"));
        let mut bits: Vec<u64> = weights.filter_map(|weights| weights.get("num_bits")?.as_u64()).collect();
        bits.dedup();
        let method = value.get("quant_method").and_then(Value::as_str).unwrap_or("an unnamed method");
        Self {
            method: value.is_object().then(|| method.to_owned()),
            block,
            bits: if let [bits] = bits[..] { u32::try_from(bits).ok() } else { None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::of(serde_json::from_str(text).expect("valid JSON"))
    }

    #[test]
    fn parts_of_a_model_are_looked_into() {
        let config = config(
            r#"{"model_type": "llama4", "hidden_size": 1,
                "text_config": {"model_type": "llama4_text", "hidden_size": 8, "ffn_config": {"experts": 4}}}"#,
        );
        assert_eq!(config.models, ["llama4", "llama4_text"]);
        assert_eq!(config.number(&["n_embd", "hidden_size"]), Some(8));
        assert_eq!(config.number(&["ffn_config.experts"]), Some(4));
        assert_eq!(config.number(&["model_type", "heads"]), None);
        assert_eq!(config.section("text_config").models, ["llama4_text"]);
        assert_eq!(config.section("vision_config"), config);
    }

    #[test]
    fn how_weights_are_quantized_is_read_as_far_as_it_is_said() {
        let quantization = config(
            r#"{"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 64],
                "config_groups": {"a": {"weights": {"num_bits": 4}}, "b": {"weights": {"num_bits": 4}}}}}"#,
        );
        let expected = Quantization { method: Some("fp8".to_owned()), block: Some((128, 64)), bits: Some(4) };
        assert_eq!(quantization.quantization, expected);
        assert_eq!(config("[]"), Config { fields: vec![Value::Array(vec![])], ..Config::default() });
    }
}
