//! An allocation as JSON that a training or pruning script loads: plain maps from module name to number.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::escape::{Escaped, Style};
use crate::report::{SCHEMA, Word};

/// One number for each layer, with its inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// The kind of number, and its key: `sparsity` or `learning_rate`.
    pub kind: &'static str,
    /// The model, as the user gave it.
    pub model: String,
    /// The settings that decide the numbers.
    pub settings: Vec<(Word, Value)>,
    /// The layers, in natural name order.
    pub layers: Vec<Share>,
    /// Layers without a number, and why.
    pub excluded: Vec<(String, String)>,
}

/// The allocation of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// Name of the matrix.
    pub name: String,
    /// The exponent that decided: its own, or the mean of its block.
    pub alpha: f64,
    /// Entries of the matrix.
    pub parameters: u64,
    /// Its number.
    pub value: f64,
}

/// Writes an allocation, one layer a line.
///
/// # Errors
/// Errors of the writer.
pub fn write(allocation: &Allocation, out: &mut dyn Write) -> io::Result<()> {
    let out: &mut dyn Write = &mut Escaped::new(out, Style::Json);
    let parameters: u64 = allocation.layers.iter().map(|layer| layer.parameters).sum();
    let weighed = |layer: &Share| layer.value * layer.parameters as f64;
    let mean = allocation.layers.iter().map(weighed).sum::<f64>() / parameters as f64;
    let settings: Map<String, Value> =
        allocation.settings.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
    let head = [
        ("schema", json!(SCHEMA)),
        ("svdkit", json!(env!("CARGO_PKG_VERSION"))),
        ("allocation", json!(allocation.kind)),
        ("model", json!(allocation.model)),
        ("settings", Value::Object(settings)),
        ("parameters", json!(parameters)),
        ("mean", json!(mean)),
    ];
    out.write_all(b"{\n")?;
    for (key, value) in head {
        writeln!(out, "\"{key}\": {value},")?;
    }
    let layers = || allocation.layers.iter();
    write_map(allocation.kind, layers().map(|layer| (layer.name.as_str(), json!(layer.value))), out)?;
    out.write_all(b",\n")?;
    write_map("alpha", layers().map(|layer| (layer.name.as_str(), json!(layer.alpha))), out)?;
    out.write_all(b",\n")?;
    let excluded = allocation.excluded.iter().map(|(name, reason)| (name.as_str(), json!(reason)));
    write_map("excluded", excluded, out)?;
    out.write_all(b"\n}\n")
}

fn write_map<'a>(
    key: &str,
    entries: impl Iterator<Item = (&'a str, Value)>,
    out: &mut dyn Write,
) -> io::Result<()> {
    write!(out, "\"{key}\": {{")?;
    let mut empty = true;
    for (name, value) in entries {
        write!(out, "{}  {}: {value}", if empty { "\n" } else { ",\n" }, json!(name))?;
        empty = false;
    }
    out.write_all(if empty { b"}" } else { b"\n}" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_reads_back_as_maps() {
        let share =
            |name: &str, parameters, value| Share { name: name.to_owned(), alpha: 2.5, parameters, value };
        let allocation = Allocation {
            kind: "sparsity",
            model: "a \"model\"".to_owned(),
            settings: vec![("target".into(), json!(0.5))],
            layers: vec![share("layers.0.q", 100, 0.4), share("layers.0.k", 300, 0.6)],
            excluded: vec![],
        };
        let mut out = vec![];
        write(&allocation, &mut out).expect("memory does not fail");
        let read: Value = serde_json::from_slice(&out).expect("sound JSON");
        assert_eq!(read["sparsity"]["layers.0.k"], json!(0.6));
        assert_eq!(read["alpha"]["layers.0.q"], json!(2.5));
        assert_eq!((&read["mean"], &read["parameters"]), (&json!(0.55), &json!(400)));
        assert_eq!((&read["excluded"], &read["model"]), (&json!({}), &json!("a \"model\"")));
    }
}
