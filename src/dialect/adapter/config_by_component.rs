//! The configurations of an adapter: one, or one for each part of a pipeline.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::config::AdapterConfig;
use crate::error::{Error, brief};

/// Configurations by component of a pipeline; the one without a component applies to all.
#[derive(Debug)]
pub(super) struct ConfigByComponent(BTreeMap<String, AdapterConfig>);

impl ConfigByComponent {
    /// One configuration for every module.
    pub(super) fn whole(config: AdapterConfig) -> Self {
        Self(BTreeMap::from([(String::new(), config)]))
    }

    /// Reads the settings that Diffusers writes into the headers of the weights at `path`: `{"transformer.r": 16, …}`.
    pub(super) fn of_headers(path: &Path, texts: &[String]) -> Result<Self, Error> {
        let malformed = |reason: &str| {
            let place = "`lora_adapter_metadata` in the header";
            Error::malformed(
                path,
                format!("{place} {reason}; give the settings with `--adapter-config FILE`"),
            )
        };
        let mut parts: BTreeMap<String, AdapterConfig> = BTreeMap::new();
        for text in texts {
            let fields: Map<String, Value> = serde_json::from_str(text)
                .map_err(|e| malformed(&format!("is not valid: {}", brief(&e.to_string()))))?;
            let mut found: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
            for (key, value) in fields {
                let (part, field) = key.split_once('.').unwrap_or(("", &key));
                found.entry(part.to_owned()).or_default().insert(field.to_owned(), value);
            }
            for (part, fields) in found {
                let config = AdapterConfig::of_fields(path, fields).map_err(|reason| malformed(&reason))?;
                let Some(config) = config else { continue };
                if parts.get(&part).is_some_and(|other| !other.is_like(&config)) {
                    let reason = format!("gives `{}` other settings in another file", brief(&part));
                    return Err(malformed(&reason));
                }
                parts.insert(part, config);
            }
        }
        Ok(Self(parts))
    }

    /// The configuration that a module goes by; `module` is named as in the model.
    pub(super) fn of(&self, module: &str) -> Option<&AdapterConfig> {
        let inside = |part: &str| module.strip_prefix(part).is_some_and(|rest| rest.starts_with('.'));
        let part = self.0.iter().find(|(part, _)| inside(part)).map(|(_, config)| config);
        part.or_else(|| self.0.get(""))
    }

    /// Every configuration.
    pub(super) fn all(&self) -> impl Iterator<Item = &AdapterConfig> {
        self.0.values()
    }
}
