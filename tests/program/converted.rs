//! Converted copies of the bundled model, in the layouts of real model families: what only stands elsewhere is proven and
//! named by one comparison, and one entry that differs breaks the proof.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::harness::{BASE, Stored, json, list, save};

/// A bf16 matrix by rows.
type Rows = Vec<Vec<[u8; 2]>>;

/// The matrices of the bundled model, by name without `.weight`.
fn bundled() -> BTreeMap<String, Rows> {
    let bytes = fs::read(Path::new(BASE).join("model.safetensors")).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Map<String, Value> = serde_json::from_slice(&bytes[8..start]).unwrap();
    let matrices = tensors.iter().filter_map(|(name, info)| {
        let cols = info["shape"].as_array().filter(|shape| shape.len() == 2)?[1].as_u64()? as usize;
        let at = |i: usize| start + info["data_offsets"][i].as_u64().unwrap() as usize;
        let rows = bytes[at(0)..at(1)].as_chunks().0.chunks(cols).map(<[_]>::to_vec).collect();
        Some((name.strip_suffix(".weight").unwrap().to_owned(), rows))
    });
    matrices.collect()
}

fn transposed(matrix: &Rows) -> Rows {
    (0..matrix[0].len()).map(|j| matrix.iter().map(|row| row[j]).collect()).collect()
}

/// New row `i` is old row `order(i)`.
fn by(matrix: &Rows, order: impl Fn(usize) -> usize) -> Rows {
    (0..matrix.len()).map(|i| matrix[order(i)].clone()).collect()
}

/// Two heads of queries, one of keys and one of values, and so on: grouped attention by group, heads of 32 rows.
fn by_group([queries, keys, values]: [&Rows; 3]) -> Rows {
    let heads = |of: &Rows, first: usize, count: usize| of[first * 32..(first + count) * 32].to_vec();
    (0..2).flat_map(|g| [heads(queries, 2 * g, 2), heads(keys, g, 1), heads(values, g, 1)].concat()).collect()
}

fn write(path: &Path, model: &BTreeMap<String, Rows>) -> String {
    let stored = |(name, rows): (&String, &Rows)| -> Stored {
        (format!("{name}.weight"), "BF16", vec![rows.len(), rows[0].len()], rows.concat().concat())
    };
    save(path, &model.iter().map(stored).collect::<Vec<_>>());
    path.to_str().unwrap().to_owned()
}

/// Compares `base` with `converted`: the one line on its order, and the rows that it is about.
fn reordered(
    base: &BTreeMap<String, Rows>,
    converted: &BTreeMap<String, Rows>,
) -> Option<(String, Vec<String>)> {
    let folder = tempfile::tempdir().unwrap();
    let [base, converted] = [("base.safetensors", base), ("converted.safetensors", converted)]
        .map(|(name, model)| write(&folder.path().join(name), model));
    let report = json(&["compare", &base, &converted, "--no-vectors"]);
    let finding = list(&report, "findings").iter().find(|finding| finding["name"] == "reordered")?;
    let matrices = list(finding, "matrices").iter().map(|name| name.as_str().unwrap().to_owned());
    Some((finding["sentence"].as_str().unwrap().to_owned(), matrices.collect()))
}

/// `convert` makes of the bundled model a copy whose order is told in `words` and proven for `proven`; if an entry of
/// `broken` then differs, that one is not.
#[track_caller]
fn check(
    base: &BTreeMap<String, Rows>,
    converted: &BTreeMap<String, Rows>,
    (words, proven): (&[&str], usize),
    broken: &str,
) {
    let (sentence, matrices) = reordered(base, converted).expect("proven");
    for words in words {
        assert!(sentence.contains(words), "{sentence}");
    }
    assert_eq!(matrices.len(), proven, "{sentence}");
    assert!(matrices.iter().any(|name| name == broken), "{matrices:?}");
    let mut converted = converted.clone();
    let entry = &mut converted.get_mut(broken).unwrap()[5][3];
    entry[0] ^= 1;
    let (sentence, matrices) = reordered(base, &converted).expect("the others are proven");
    assert_eq!(matrices.len(), proven - 1, "{sentence}");
    assert!(!matrices.iter().any(|name| name == broken), "{matrices:?}");
}

/// The bundled model with every matrix of a layer replaced by what `convert` makes of the layer.
fn layers(convert: impl Fn(usize, &dyn Fn(&str) -> Rows) -> Vec<(String, Rows)>) -> BTreeMap<String, Rows> {
    let base = bundled();
    let outside = base.iter().filter(|(name, _)| !name.starts_with("model.layers."));
    let mut model: BTreeMap<String, Rows> =
        outside.map(|(name, rows)| (name.clone(), rows.clone())).collect();
    for i in 0..4 {
        let part = |name: &str| base[&format!("model.layers.{i}.{name}")].clone();
        model.extend(convert(i, &part));
    }
    model
}

const ATTENTION: [&str; 3] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];

/// Phi-3: queries, keys and values below each other, gate above up.
fn like_phi3() -> BTreeMap<String, Rows> {
    layers(|i, part| {
        let at = |name: &str| format!("model.layers.{i}.{name}");
        vec![
            (at("self_attn.qkv_proj"), ATTENTION.map(part).concat()),
            (at("self_attn.o_proj"), part("self_attn.o_proj")),
            (at("mlp.gate_up_proj"), [part("mlp.gate_proj"), part("mlp.up_proj")].concat()),
            (at("mlp.down_proj"), part("mlp.down_proj")),
        ]
    })
}

#[test]
fn queries_keys_values_and_gates_fused_as_in_phi3_are_proven_and_so_is_the_way_back() {
    let words = ["q_proj, k_proj, v_proj fused in 4 matrices", "gate_proj, up_proj fused in 4 matrices"];
    check(&bundled(), &like_phi3(), (&words, 8), "model.layers.2.self_attn.qkv_proj");
    let (sentence, _) = reordered(&like_phi3(), &bundled()).expect("proven");
    assert!(sentence.contains("qkv_proj cut into q_proj, k_proj, v_proj in 4 matrices"), "{sentence}");
}

#[test]
fn attention_by_group_as_in_internlm2_and_inputs_first_as_in_gpt2_are_proven() {
    let internlm2 = layers(|i, part| {
        let [q, k, v] = ATTENTION.map(part);
        let at = |name: &str| format!("model.layers.{i}.{name}");
        let mut layer = vec![(at("attention.wqkv"), by_group([&q, &k, &v]))];
        let others = ["self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];
        layer.extend(others.map(|name| (at(name), part(name))));
        layer
    });
    let words = ["q_proj, k_proj, v_proj fused, rows 8 blocks of 32 permuted, in 4 matrices"];
    check(&bundled(), &internlm2, (&words, 4), "model.layers.0.attention.wqkv");
    let gpt2 = layers(|i, part| {
        let at = |name: &str| format!("transformer.h.{i}.{name}");
        vec![
            (at("attn.c_attn"), transposed(&ATTENTION.map(part).concat())),
            (at("attn.c_proj"), transposed(&part("self_attn.o_proj"))),
            (at("mlp.c_gate"), transposed(&part("mlp.gate_proj"))),
            (at("mlp.c_fc"), transposed(&part("mlp.up_proj"))),
            (at("mlp.c_proj"), transposed(&part("mlp.down_proj"))),
        ]
    });
    let words =
        ["q_proj, k_proj, v_proj fused and transposed in 4 matrices", "up_proj renamed c_fc and transposed"];
    check(&bundled(), &gpt2, (&words, 20), "transformer.h.3.attn.c_attn");
}

#[test]
fn heads_in_another_order_and_rotary_pairs_are_proven() {
    let base = bundled();
    let mut converted = base.clone();
    for (name, rows) in &mut converted {
        match name.rsplit('.').next().unwrap() {
            "q_proj" => *rows = by(rows, |i| [2, 0, 3, 1][i / 32] * 32 + i % 32),
            // Rotary halves to pairs.
            "k_proj" => *rows = by(rows, |i| i / 32 * 32 + i % 2 * 16 + i % 32 / 2),
            "v_proj" => *rows = by(rows, |i| (i + 32) % 64),
            _ => {}
        }
    }
    let words = [
        "rows 4 blocks of 32 permuted in 4 matrices",
        "rows same inside every 32: interleaved 2 by 2 (block 1)",
        "rows halves swapped (block 32)",
    ];
    check(&base, &converted, (&words, 12), "model.layers.1.self_attn.v_proj");
}

#[test]
fn gate_and_up_swapped_or_by_turns_are_proven() {
    let base = like_phi3();
    for (words, order) in [
        ("rows halves swapped", (|i, n| (i + n / 2) % n) as fn(usize, usize) -> usize),
        ("rows interleaved 2 by 2 (block 1)", |i, n| i % 2 * (n / 2) + i / 2),
    ] {
        let mut converted = base.clone();
        for (_, rows) in converted.iter_mut().filter(|(name, _)| name.ends_with("gate_up_proj")) {
            let n = rows.len();
            *rows = by(rows, |i| order(i, n));
        }
        check(&base, &converted, (&[words], 4), "model.layers.0.mlp.gate_up_proj");
    }
}

#[test]
fn experts_renumbered_and_hidden_units_renumbered_are_proven() {
    // Four experts in one layer: the layers' own.
    let experts = |number: &dyn Fn(usize) -> usize| -> BTreeMap<String, Rows> {
        let base = bundled();
        let expert = |i: usize| {
            let base = &base;
            ["gate_proj", "up_proj", "down_proj"].map(|part| {
                let name = format!("model.layers.0.mlp.experts.{}.{part}", number(i));
                (name, base[&format!("model.layers.{i}.mlp.{part}")].clone())
            })
        };
        (0..4).flat_map(expert).collect()
    };
    let words = ["experts.0.down_proj is the base's model.layers.0.mlp.experts.3.down_proj and 11 more"];
    let renumbered = experts(&|i| (i + 1) % 4);
    check(&experts(&|i| i), &renumbered, (&words, 12), "model.layers.0.mlp.experts.2.up_proj");
    let mut hidden = bundled();
    for (name, rows) in hidden.iter_mut().filter(|(name, _)| name.contains("layers.1.mlp.")) {
        let n = if name.ends_with("down_proj") { rows[0].len() } else { rows.len() };
        let order = move |i: usize| i * 7 % n;
        *rows = if name.ends_with("down_proj") {
            transposed(&by(&transposed(rows), order))
        } else {
            by(rows, order)
        };
    }
    let words = ["Rows and columns of model.layers.1.mlp have one order: hidden units are renumbered."];
    check(&bundled(), &hidden, (&words, 3), "model.layers.1.mlp.up_proj");
}
