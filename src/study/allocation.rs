//! `farms --allocate`: one number a layer, from its exponent.

use serde_json::json;

use crate::analysis::allocation::{self, Excess, Map};
use crate::error::Error;
use crate::layer::{Purpose, natural, purpose};
use crate::render::allocation::{Allocation, Share};
use crate::report::{Report, Row, Value};

use super::advice::Modules;

/// The options.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AllocationRequest {
    /// What each layer gets.
    pub gets: Gets,
    /// What shares one exponent.
    pub per: Per,
    /// Which matrices take part.
    pub modules: Modules,
}

/// What each layer gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gets {
    /// A share of its entries to prune: `target` on average, spread by `epsilon` before scaling.
    Sparsity {
        /// Between 0 and 1.
        target: f64,
        /// From 0 to below 1.
        epsilon: f64,
        /// What becomes of shares above 1.
        excess: Excess,
    },
    /// A learning rate: `rate` times what `map` makes of its exponent, within `range` where the map has one.
    Rate {
        /// Above 0.
        rate: f64,
        /// How an exponent becomes a multiple.
        map: Map,
        /// The lowest and highest.
        range: (f64, f64),
    },
}

/// What shares one exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// Nothing: each matrix has its own.
    Layer,
    /// All matrices of a block have the mean of theirs.
    Block,
}

impl AllocationRequest {
    /// What every layer of `report` gets.
    ///
    /// # Errors
    /// When no matrix has an exponent.
    pub fn allocate(&self, report: &Report) -> Result<Allocation, Error> {
        // Rows are in natural name order only where the user did not sort them.
        let mut rows: Vec<&Row> = report.rows.iter().collect();
        rows.sort_by(|a, b| natural(&a.name, &b.name));
        let in_blocks = rows.iter().any(|row| row.block.is_some());
        let (mut kept, mut alphas, mut excluded) = (vec![], vec![], vec![]);
        for row in rows {
            match exponent(row, in_blocks, self.modules) {
                Ok(alpha) => {
                    kept.push(row);
                    alphas.push(alpha);
                }
                Err(reason) => excluded.push((row.name.to_string(), reason)),
            }
        }
        if kept.is_empty() {
            let first = excluded.first().map_or_else(String::new, |(name, why)| format!(": `{name}`: {why}"));
            return Err(Error::Usage(format!("no matrix has an exponent to allocate by{first}")));
        }
        if self.per == Per::Block {
            let blocks: Vec<&str> = kept.iter().map(|row| block(row)).collect();
            alphas = allocation::means(&alphas, &blocks);
        }
        let sizes: Vec<u64> = kept.iter().map(|row| row.shape[0] * row.shape[1]).collect();
        let values = self.values(&alphas, &sizes);
        let own = self.settings().into_iter().map(|(key, value)| (key.into(), value));
        let settings = report.settings.iter().map(|(key, value)| (key.clone(), json!(value))).chain(own);
        let layers = kept.iter().zip(alphas).zip(sizes).zip(values);
        let share = |(((row, alpha), parameters), value): (((&&Row, f64), u64), f64)| Share {
            name: row.name.to_string(),
            alpha,
            parameters,
            value,
        };
        Ok(Allocation {
            kind: match self.gets {
                Gets::Sparsity { .. } => "sparsity",
                Gets::Rate { .. } => "learning_rate",
            },
            model: report.model.path.clone(),
            settings: settings.collect(),
            layers: layers.map(share).collect(),
            excluded,
        })
    }

    fn values(&self, alphas: &[f64], sizes: &[u64]) -> Vec<f64> {
        match self.gets {
            Gets::Sparsity { target, epsilon, excess } => {
                let sizes: Vec<f64> = sizes.iter().map(|n| *n as f64).collect();
                allocation::sparsities(alphas, &sizes, (target, epsilon), excess)
            }
            Gets::Rate { rate, map, range } => {
                allocation::rates(alphas, map, range).iter().map(|x| x * rate).collect()
            }
        }
    }

    /// What decides the numbers beside the exponents.
    fn settings(&self) -> Vec<(&'static str, serde_json::Value)> {
        let mut settings = vec![("per", json!(if self.per == Per::Block { "block" } else { "layer" }))];
        match self.gets {
            Gets::Sparsity { target, epsilon, excess } => {
                settings.extend([("target", json!(target)), ("epsilon", json!(epsilon))]);
                if excess == Excess::Clip {
                    settings.push(("compat", json!("farms")));
                }
            }
            Gets::Rate { rate, map, range: (low, high) } => {
                settings.extend([("map", json!(map_word(map))), ("lr", json!(rate))]);
                if has_range(map) {
                    settings.push(("range", json!([low, high])));
                }
            }
        }
        settings
    }
}

/// Whether a map goes from a lowest to a highest multiple.
pub fn has_range(map: Map) -> bool {
    !matches!(map, Map::Sqrt | Map::Log2)
}

fn map_word(map: Map) -> &'static str {
    match map {
        Map::Linear => "linear",
        Map::Sqrt => "sqrt",
        Map::Log2 => "log2",
        Map::Step => "step",
        Map::Sigmoid => "sigmoid",
    }
}

/// The exponent of a row that takes part, or why it does not.
fn exponent(row: &Row, in_blocks: bool, modules: Modules) -> Result<f64, String> {
    if modules == Modules::Inner {
        let outer = match purpose(&row.name) {
            _ if in_blocks && row.block.is_none() => Some("in none of the model's numbered blocks"),
            Purpose::Table => Some("an embedding or a table of positions"),
            Purpose::Norm => Some("the scale of a norm"),
            Purpose::Head => Some("an output head"),
            Purpose::Inner => None,
        };
        if let Some(outer) = outer {
            return Err(outer.to_owned());
        }
    }
    match row.values.get("farms_alpha") {
        Some(Value::Real(alpha)) => Ok(alpha),
        Some(Value::Missing(why)) => Err(why.to_string()),
        _ => Err(row.failed.clone().unwrap_or_else(|| "not measured".to_owned())),
    }
}

/// `model.layers.3` of `model.layers.3.mlp.up_proj`; the whole name where no part of it is a number.
fn block(row: &Row) -> &str {
    let mut end = 0;
    for part in row.name.split('.') {
        end += part.len();
        if part.parse::<u64>().is_ok() {
            return &row.name[..end];
        }
        end += 1;
    }
    &row.name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::farms::FARMS;
    use crate::report::{Measurements, MissingReason};

    fn row(name: &str, block: Option<u64>, alpha: Value) -> Row {
        let column = FARMS.iter().map(|metric| &metric.column).find(|column| column.key == "farms_alpha");
        let values = Measurements(column.into_iter().map(|column| (column, alpha)).collect()).into();
        Row { name: name.into(), block, values, ..Row::default() }
    }

    #[test]
    fn a_block_is_a_name_up_to_its_number() {
        let check = |name: &str, expected| assert_eq!(block(&row(name, None, Value::Count(0))), expected);
        check("model.layers.3.mlp.up_proj", "model.layers.3");
        check("lm_head", "lm_head");
    }

    #[test]
    fn what_has_no_exponent_says_why() {
        let check = |row: &Row, expected: &str| {
            assert_eq!(exponent(row, true, Modules::Inner), Err(expected.to_owned()));
        };
        check(&row("emb", None, Value::Real(2.0)), "in none of the model's numbered blocks");
        check(&row("h.0.w", Some(0), Value::Missing(MissingReason::AllZero)), "every entry is zero");
        let failed = Row { failed: Some("gone".to_owned()), ..row("h.0.w", Some(0), Value::Count(0)) };
        check(&failed, "gone");
        assert_eq!(exponent(&row("emb", None, Value::Real(2.0)), false, Modules::Inner), Ok(2.0));
        check(&row("h.0.ln_1", Some(0), Value::Real(2.0)), "the scale of a norm");
        assert_eq!(exponent(&row("lm_head", None, Value::Real(2.0)), true, Modules::All), Ok(2.0));
    }
}
