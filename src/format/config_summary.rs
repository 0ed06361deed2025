//! A summary of the settings beside a checkpoint: a few keys of `config.json` and `adapter_config.json`, unchanged.
//!
//! Claims for people to read. Nothing is computed from them, so a file that cannot be read is a line among the others.

use serde_json::{Map, Value};

use crate::error::Error;
use crate::store::Location;

/// Settings longer than this are not read.
const LONGEST: u64 = 16_000_000;
/// The most entries of a list that are kept.
const LONGEST_LIST: usize = 32;

/// The files that are read.
const FILES: [&str; 2] = ["config.json", "adapter_config.json"];

/// Parts of a configuration that hold a configuration again.
const SECTIONS: [&str; 4] = ["text_config", "vision_config", "audio_config", "quantization_config"];

/// The keys that are kept: kind, size and storage of a model, and an adapter's method and base.
const KEYS: [&str; 46] = [
    "model_type",
    "architectures",
    "_class_name",
    "torch_dtype",
    "dtype",
    "num_hidden_layers",
    "num_layers",
    "n_layer",
    "hidden_size",
    "n_embd",
    "d_model",
    "intermediate_size",
    "moe_intermediate_size",
    "num_attention_heads",
    "n_head",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "first_k_dense_replace",
    "tie_word_embeddings",
    "quant_method",
    "quant_type",
    "fmt",
    "format",
    "bits",
    "group_size",
    "weight_block_size",
    "load_in_4bit",
    "load_in_8bit",
    "peft_type",
    "peft_version",
    "base_model_name_or_path",
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "init_lora_weights",
    "fan_in_fan_out",
    "target_modules",
    "target_parameters",
    "modules_to_save",
];

/// The claims beside the checkpoint at `location`, by file.
pub fn config_summary(location: &Location) -> Map<String, Value> {
    let folder = location.folder();
    let mut found = Map::new();
    for name in FILES {
        let file = folder.join(name);
        if !file.is_named() {
            continue;
        }
        let claims = match read(&file) {
            Ok(Value::Object(settings)) => Value::Object(chosen(&settings)),
            Ok(_) => Value::from("is not a map of settings"),
            Err(why) => Value::from(why),
        };
        found.insert(name.to_owned(), claims);
    }
    found
}

fn read(file: &Location) -> Result<Value, String> {
    let text = file.text("a file of settings", LONGEST).map_err(|e| match e {
        Error::Io { source, .. } => format!("cannot be read: {source}"),
        Error::Malformed { reason, .. } => reason,
        other => other.to_string(),
    })?;
    serde_json::from_slice(&text).map_err(|e| format!("is not valid JSON: {e}"))
}

/// The known keys of `settings` and of its sections, in the order of the tables above.
fn chosen(settings: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    let sections = SECTIONS.iter().filter_map(|name| Some((*name, settings.get(*name)?.as_object()?)));
    for (section, settings) in std::iter::once(("", settings)).chain(sections) {
        for key in KEYS {
            let value = settings.get(key).and_then(plain);
            let name = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            found.extend(value.map(|value| (name, value)));
        }
    }
    found
}

/// A value that says something in a line: no null, no map, no list of them.
fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::Array(items) => {
            let simple = |item: &&Value| !item.is_object() && !item.is_array() && !item.is_null();
            let mut kept: Vec<Value> = items.iter().filter(simple).take(LONGEST_LIST).cloned().collect();
            if items.len() > LONGEST_LIST {
                kept.push(Value::from(format!("… {} in all", items.len())));
            }
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        other => Some(other.clone()),
    }
}
