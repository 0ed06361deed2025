//! `heads`: numbers of the papers, layouts, refusals, rules and formats.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::adapter::{doubles, noise};
use crate::harness::{BASE, Stored, check_exit, json, list, planted, save, stdout};

/// Numbers of numpy.
fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/heads.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .map_or_else(|| vec![value.as_f64().unwrap()], |all| all.iter().flat_map(numbers).collect())
}

#[track_caller]
fn check(found: &Value, expected: &Value, what: &str) {
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-9, "{what}: {found} is not {expected}");
    }
}

/// Writes a model into a folder of that name.
fn model(folder: &Path, name: &str, config: &Value, tensors: &[Stored]) -> PathBuf {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    save(&folder.join("model.safetensors"), tensors);
    folder
}

/// The small Llama of the golden numbers.
fn llama(folder: &Path, name: &str, norms: bool, biases: bool) -> PathBuf {
    let mut tensors = vec![];
    for layer in 0..2 {
        let own = |part: &str| format!("model.layers.{layer}.{part}");
        for (part, rows, seed) in [("q", 12, 0), ("k", 6, 1), ("v", 6, 2), ("o", 12, 3)] {
            let entries = noise(rows, 12, 200 + 10 * layer + seed);
            tensors.push(doubles(&own(&format!("self_attn.{part}_proj.weight")), &[rows, 12], &entries));
        }
        if norms {
            let gains: Vec<f64> = noise(1, 12, 250 + layer).iter().map(|x| 1.0 + x).collect();
            tensors.push(doubles(&own("input_layernorm.weight"), &[12], &gains));
        }
    }
    if biases {
        for (part, length, seed) in [("q", 12, 260), ("k", 6, 261)] {
            let name = format!("model.layers.0.self_attn.{part}_proj.bias");
            tensors.push(doubles(&name, &[length], &noise(1, length, seed)));
        }
    }
    let config = json!({"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2});
    model(folder, name, &config, &tensors)
}

#[test]
fn heads_and_their_composition_are_those_of_the_papers() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden();
    for (name, norms, options) in [("raw", false, &["--no-fold"][..]), ("folded", true, &[])] {
        let path = llama(folder.path(), name, norms, false);
        let expected = &golden[name];
        let report = json(&[&["heads", text(&path)], options].concat());
        assert_eq!(list(&report, "rows").len(), 8);
        for row in list(&report, "rows") {
            let [layer, head] = ["layer", "head"].map(|key| row[key].as_u64().unwrap() as usize);
            assert_eq!((&row["kind"], &row["kv_head"]), (&json!("head"), &json!(head / 2)));
            check(&row["sigma_ov"], &expected["sigma_OV"][layer][head], "OV");
            check(&row["sigma_qk"], &expected["sigma_QK"][layer][head], "QK");
            check(&row["logit_bound"], &expected["logit_bound"][layer][head], "bound");
            check(&row["value_gain"], &expected["value_gain"][layer][head], "V");
        }
        let report = json(&[&["heads", text(&path), "--compose", "--components"], options].concat());
        assert_eq!(list(&report, "rows").len(), 16);
        for row in list(&report, "rows") {
            let [first, second] =
                ["earlier", "later"].map(|side| row[side]["head"].as_u64().unwrap() as usize);
            assert_eq!(row["kind"], json!("composition"));
            for score in ["Q", "K", "V"] {
                let key = format!("{}_composition", score.to_lowercase());
                check(&row[&key], &expected[score][first][second], score);
            }
            check(&row["baseline"], &golden["raw"]["baseline"], "baseline");
            if first == 0 {
                let components = &expected["component_Q_of_head_0_0_into_1_j"][second];
                check(&row["components"]["q"], components, "components");
            }
        }
    }
    let path = llama(folder.path(), "bias", true, true);
    let first = &json(&["heads", text(&path)])["rows"][0];
    check(&first["logit_bound"], &golden["bias"]["logit_bound_0_0"], "bias");
}

#[test]
fn one_head_twice_composes_with_itself_and_control_tokens_reach_as_far_as_they_do() {
    let folder = tempfile::tempdir().unwrap();
    let golden = &golden()["one"];
    let mut tensors = vec![];
    for layer in 0..2 {
        for (part, key) in [("q", "WQ"), ("k", "WK"), ("v", "WV"), ("o", "WO")] {
            let entries = numbers(&golden[key]);
            let cols = entries.len() / golden[key].as_array().unwrap().len();
            let turned: Vec<f64> =
                (0..cols).flat_map(|j| entries.iter().skip(j).step_by(cols)).copied().collect();
            let shape = [cols, entries.len() / cols];
            let name = format!("model.layers.{layer}.self_attn.{part}_proj.weight");
            tensors.push(doubles(&name, &shape, &turned));
        }
    }
    let config = json!({"model_type": "llama", "num_attention_heads": 1, "head_dim": 2});
    let path = model(folder.path(), "one", &config, &tensors);
    let rows = golden["X0"].as_array().unwrap().iter().map(numbers);
    let inputs: Vec<f64> = rows
        .flat_map(|row| {
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.into_iter().map(move |x| x / length)
        })
        .collect();
    let (of_inputs, of_target) = (folder.path().join("x.safetensors"), folder.path().join("y.safetensors"));
    save(&of_inputs, &[doubles("x", &[3, 6], &inputs)]);
    save(&of_target, &[doubles("y", &[2], &[2.0, 0.0])]);
    let report = json(&["heads", text(&path), "--inputs", text(&of_inputs), "--target", text(&of_target)]);
    let row = &report["rows"][0];
    check(&row["sigma_ov"], &golden["sigma_OV"], "OV");
    check(&row["qk_spectral_norm"], &golden["sigma_max_QK"], "QK");
    let gains = json!([row["query_gain"], row["key_gain"], row["value_gain"]]);
    check(&gains, &golden["sigma_max_q_k_v"], "gains");
    for (key, expected) in
        [("sums", "Dxx"), ("reach", "gamma_i"), ("perpendicular", "Yperp"), ("tokens", "k_min")]
    {
        check(&row["reach"][key], &golden[format!("reach_{expected}")], key);
    }
    assert_eq!(row["control_tokens"], json!(1));
    let pair = &json(&["heads", text(&path), "--compose", "--components"])["rows"][0];
    for (key, expected) in
        [("q_composition", "comp_Q"), ("k_composition", "comp_K"), ("v_composition", "comp_V_self")]
    {
        check(&pair[key], &golden[expected], key);
    }
    check(&pair["components"]["q"], &golden["comp_Q_components"], "components");
    save(&of_target, &[doubles("y", &[3], &[1.0, 0.0, 0.0])]);
    let files = ["--inputs", text(&of_inputs), "--target", text(&of_target)];
    check_exit(&[&["heads", text(&path)], &files[..]].concat(), 2, "the target has 3 numbers");
}

#[test]
fn a_layout_cut_in_another_way_gives_the_same_heads() {
    let folder = tempfile::tempdir().unwrap();
    let (width, heads, size) = (12, 4, 3);
    let part = |seed| noise(width, width, seed);
    let [q, k, v, o] = [1, 2, 3, 4].map(part);
    let turned = |w: &[f64]| -> Vec<f64> {
        (0..width).flat_map(|j| w.iter().skip(j).step_by(width)).copied().collect()
    };
    let gains: Vec<f64> = noise(1, width, 5).iter().map(|x| 1.0 + x).collect();
    let layer_norm = |name: &str| doubles(name, &[width], &gains);
    let opt = model(
        folder.path(),
        "opt",
        &json!({"model_type": "opt", "num_attention_heads": heads}),
        &[
            doubles("decoder.layers.0.self_attn.q_proj.weight", &[width, width], &q),
            doubles("decoder.layers.0.self_attn.k_proj.weight", &[width, width], &k),
            doubles("decoder.layers.0.self_attn.v_proj.weight", &[width, width], &v),
            doubles("decoder.layers.0.self_attn.out_proj.weight", &[width, width], &o),
            layer_norm("decoder.layers.0.self_attn_layer_norm.weight"),
        ],
    );
    // GPT-2: inputs first, thirds side by side.
    let thirds: Vec<f64> = (0..width)
        .flat_map(|i| [&q, &k, &v].into_iter().flat_map(move |w| (0..width).map(move |j| w[j * width + i])))
        .collect();
    let gpt2 = model(
        folder.path(),
        "gpt2",
        &json!({"model_type": "gpt2", "n_head": heads}),
        &[
            doubles("h.0.attn.c_attn.weight", &[width, 3 * width], &thirds),
            doubles("h.0.attn.c_proj.weight", &[width, width], &turned(&o)),
            layer_norm("h.0.ln_1.weight"),
        ],
    );
    // BLOOM: query, key and value of each head in turn.
    let rows = |w: &[f64], head: usize| w[head * size * width..(head + 1) * size * width].to_vec();
    let turns: Vec<f64> = (0..heads).flat_map(|head| [&q, &k, &v].map(|w| rows(w, head)).concat()).collect();
    let bloom = model(
        folder.path(),
        "bloom",
        &json!({"model_type": "bloom", "n_head": heads}),
        &[
            doubles("h.0.self_attention.query_key_value.weight", &[3 * width, width], &turns),
            doubles("h.0.self_attention.dense.weight", &[width, width], &o),
            layer_norm("h.0.input_layernorm.weight"),
        ],
    );
    let of = |path: &Path| json(&["heads", text(path)])["rows"].clone();
    let first = of(&opt);
    for other in [of(&gpt2), of(&bloom)] {
        for head in 0..heads {
            for key in ["sigma_ov", "sigma_qk", "logit_bound", "copying", "output_overlap"] {
                check(&other[head][key], &first[head][key], key);
            }
        }
    }
    assert_eq!(first[0]["logit_bound_rotary"], Value::Null);
}

#[test]
fn what_has_no_known_heads_is_refused_with_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let weight = |name: &str| doubles(name, &[4, 4], &noise(4, 4, 1));
    let check = |name: &str, config: &Value, tensors: &[Stored], words: &str| {
        check_exit(&["heads", text(&model(folder, name, config, tensors))], 2, words);
    };
    let all = ["q", "k", "v", "o"].map(|part| weight(&format!("layers.0.self_attn.{part}_proj.weight")));
    check("mamba", &json!({"model_type": "mamba"}), &all, "model type mamba has no attention heads");
    check(
        "new",
        &json!({"model_type": "newformer"}),
        &all,
        "how model type newformer keeps its heads is not known",
    );
    check("none", &json!({}), &all, "needs the model type and the number of heads");
    check(
        "count",
        &json!({"model_type": "llama"}),
        &all,
        "does not say how many heads there are (`num_attention_heads`)",
    );
    let config = json!({"model_type": "llama", "num_attention_heads": 2});
    check("part", &config, &all[1..], "lacks `layers.0.self_attn.q_proj`");
    check("output", &config, &all[3..], "holds no matrix whose name ends in `self_attn.q_proj`");
    check(
        "key",
        &config,
        &[all[0].clone(), all[2].clone(), all[3].clone()],
        "lacks `layers.0.self_attn.k_proj`",
    );
    check(
        "heads",
        &json!({"model_type": "llama", "num_attention_heads": 3}),
        &all,
        "4 × 4 does not fit the 3 heads",
    );
    check_exit(
        &["heads", BASE, "--compose", "--include", "*.layers.9.*"],
        2,
        "leave none of its 96 pairs of heads",
    );
    check_exit(&["heads", BASE, "--include", "*.layers.9.*"], 2, "leave none of its 16 heads");
    check_exit(&["heads", BASE, "--fail-if", "q_z > 2"], 2, "add `--compose`");
    check_exit(&["heads", BASE, "--compose", "--sort", "copying"], 2, "leave out `--compose`");
    let adapter = BASE.replace("base", "lora-r4");
    check_exit(&["heads", &adapter], 2, "`--base BASE` names the checkpoint whose heads it changes");
}

#[test]
fn a_head_that_can_blow_up_is_found_and_fails_a_rule() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grown");
    fs::create_dir_all(&path).unwrap();
    fs::copy(Path::new(BASE).join("config.json"), path.join("config.json")).unwrap();
    // The queries of head 1 of layer 2, 16 times as large: exponents of bf16 are in the high byte's lower seven bits.
    planted(&path, "model.safetensors", |name, cols, mut bytes| {
        if name == "model.layers.2.self_attn.q_proj" {
            for entry in bytes[32 * cols * 2..64 * cols * 2].chunks_exact_mut(2) {
                let value = u16::from_le_bytes([entry[0], entry[1]]);
                let grown = if value & 0x7f80 == 0 { value } else { value + (4 << 7) };
                entry.copy_from_slice(&grown.to_le_bytes());
            }
        }
        Some(bytes)
    });
    let report = json(&["heads", text(&path)]);
    let finding = &report["findings"][0];
    assert_eq!(finding["name"], json!("exploding-head"), "{}", report["findings"]);
    assert_eq!(finding["matrices"], json!(["model.layers.2.self_attn.head.1"]));
    let run = |rule: &str, code| check_exit(&["heads", text(&path), "--fail-if", rule], code, "");
    run("finding(exploding-head)", 1);
    run("*.layers.2.*: logit_bound > 400", 1);
    run("*.layers.3.*: logit_bound > 400", 0);
    assert_eq!(json(&["heads", BASE])["findings"], json!([]));
    let report = json(&["heads", text(&path), "--base", BASE]);
    for row in list(&report, "rows") {
        let is_grown = row["name"] == "model.layers.2.self_attn.head.1";
        let change = row["logit_bound_change"].as_f64().unwrap();
        assert!((change - if is_grown { 15.0 } else { 0.0 }).abs() < 1e-9, "{row}");
        assert_eq!(row["ov_delta_ratio"], json!(0.0));
        assert!((row["qk_delta_ratio"].as_f64().unwrap() - if is_grown { 15.0 } else { 0.0 }).abs() < 1e-9);
    }
}

#[test]
fn every_format_has_the_heads_and_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let files = ["r.json", "r.jsonl", "r.csv", "r.md", "r.html"].map(out);
    let mut arguments = vec!["heads", BASE, "--quiet"];
    files.iter().for_each(|file| arguments.extend(["-o", file]));
    stdout(&arguments);
    let read = |file: &str| fs::read_to_string(file).unwrap();
    for file in &files {
        assert!(read(file).contains("layers.3.self_attn.head.2"), "{file}");
    }
    assert_eq!(read(&files[1]).lines().filter(|line| line.contains("\"kind\":\"head\"")).count(), 16);
    assert!(read(&files[4]).contains("self_attn.head.3"));
    // A saved report is a side of a comparison.
    let report = json(&["compare", &files[0], &files[0], "--all"]);
    let known = |row: &&Value| row["kind"] == "head" || row["name"].as_str().unwrap().contains(".head.");
    assert_eq!(list(&report, "rows").iter().filter(known).count(), 16);
    let page = out("pairs.html");
    stdout(&["heads", BASE, "--quiet", "--compose", "--components", "-o", &page]);
    let page = read(&page);
    assert!(page.contains("Strongest channels") && page.contains("table class=\"heat\""));
    let table = stdout(&["heads", BASE, "--compose"]);
    assert!(table.contains("… 46 more rows") && table.contains("96 pairs of heads measured"), "{table}");
    let threads = ["1", "3"].map(|n| stdout(&["heads", BASE, "--compose", "--format", "jsonl", "-j", n]));
    assert_eq!(threads[0], threads[1]);
}

#[test]
fn an_adapter_gives_the_heads_of_the_merged_model() {
    let folder = tempfile::tempdir().unwrap();
    let merged = folder.path().join("merged");
    let adapter = BASE.replace("base", "lora-r4");
    stdout(&["adapter", "merge", &adapter, "--base", BASE, "--out", text(&merged)]);
    let both = [json(&["heads", &adapter, "--base", BASE]), json(&["heads", text(&merged), "--base", BASE])];
    let [one, other] = both.each_ref().map(|report| list(report, "rows"));
    assert_eq!(one.len(), 16);
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one["name"], other["name"]);
        // The merged file is rounded to bf16.
        for key in ["logit_bound", "ov_spectral_norm", "qk_delta_ratio"] {
            let [x, y] = [one, other].map(|row| row[key].as_f64().unwrap());
            assert!((x - y).abs() < 0.02 * y, "{key}: {x} and {y}");
        }
    }
    assert!(one.iter().any(|row| row["qk_delta_ratio"].as_f64().unwrap() > 0.1));
}
