//! The index of a sharded checkpoint: `{"metadata": …, "weight_map": {tensor: shard}}`.
//!
//! Only parsed here; whether the shards exist and keep the promise is checked by `folder`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};

use super::presence;
use crate::error::{Error, brief};
use crate::store::Location;

/// Longest index that is read; the largest known model's has about ten million bytes.
const LONGEST: u64 = 100_000_000;

/// Shard name → names of the tensors it is to hold.
pub(crate) type Shards = BTreeMap<String, BTreeSet<String>>;

/// Reads the index at `location`.
pub(crate) fn read(location: &Location) -> Result<Shards, Error> {
    presence::check(location)?;
    let index: Index = serde_json::from_slice(&location.text("an index", LONGEST)?)
        .map_err(|e| location.malformed(format!("not a valid index: {}", brief(&e.to_string()))))?;
    if index.weight_map.0.is_empty() {
        return Err(location.malformed("the index names no tensors"));
    }
    Ok(index.weight_map.0)
}

#[derive(Deserialize)]
#[serde(expecting = "a map with a `weight_map`")]
struct Index {
    weight_map: WeightMap,
}

struct WeightMap(Shards);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensors to shards")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<WeightMap, M::Error> {
                let (mut shards, mut seen) = (Shards::new(), BTreeSet::new());
                while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
                    if !seen.insert(tensor.clone()) {
                        return Err(de::Error::custom(format!("`{tensor}` appears twice")));
                    }
                    shards.entry(shard).or_default().insert(tensor);
                }
                Ok(WeightMap(shards))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}
