//! `svdkit inspect`: every tensor is in it once, whatever becomes of it, and no weight is read for it.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::harness::program;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

fn svdkit(arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments).current_dir(FIXTURES).output().unwrap()
}

fn inspect(model: &str, options: &[&str]) -> Value {
    let output = svdkit(&[&["inspect", model, "--format", "json"], options].concat());
    assert!(output.status.success(), "{model}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn sum(inventory: &Value, key: &str) -> u64 {
    inventory["patterns"].as_array().unwrap().iter().map(|pattern| pattern[key].as_u64().unwrap()).sum()
}

fn check_sums(model: &str, options: &[&str]) {
    let inventory = inspect(model, options);
    let totals = &inventory["totals"];
    assert_eq!(totals["tensors"], sum(&inventory, "count"), "{model}");
    assert_eq!(totals["matrices"], sum(&inventory, "matrices"), "{model}");
    assert_eq!(totals["parameters"], sum(&inventory, "parameters"), "{model}");
    let skipped = inventory["patterns"].as_array().unwrap().iter().filter(|p| p["becomes"] == "skipped");
    let skipped: u64 = skipped.map(|pattern| pattern["count"].as_u64().unwrap()).sum();
    assert_eq!(totals["skipped"], skipped, "{model}");
}

#[test]
fn every_tensor_is_counted_once() {
    for model in [
        "charlm/base",
        "charlm/lora-r4",
        "charlm/dora-r4",
        "dialects/parts",
        "dialects/experts",
        "dialects/kohya.safetensors",
        "formats/shapes.safetensors",
        "formats/dtypes.safetensors",
        "formats/sharded",
        "formats/torch/kinds.pth",
        "formats/gguf/kinds.gguf",
        "formats/numpy/arrays.npz",
        "quantized/fp8",
        "quantized/refused",
        "experts/interleaved",
    ] {
        check_sums(model, &[]);
    }
    check_sums("charlm/base", &["--include", "*.0.*"]);
    check_sums("charlm/dora-r4", &["--base", "charlm/base"]);
}

#[test]
fn shapes_of_an_unknown_type_that_no_machine_could_count_are_no_overflow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.safetensors");
    let tensor = |name: &str, at| {
        format!(
            r#""{name}":{{"dtype":"QQ","shape":[1152921504606846976,15],"data_offsets":[{at},{}]}}"#,
            at + 1
        )
    };
    let header = format!("{{{},{},{}}}", tensor("x.0", 0), tensor("x.1", 1), tensor("y", 2));
    let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 3]].concat();
    fs::write(&path, file).unwrap();
    let inventory = inspect(path.to_str().unwrap(), &[]);
    assert_eq!(inventory["totals"]["parameters"], u64::MAX);
}

#[test]
fn it_agrees_with_what_is_measured() {
    for model in [
        "charlm/base",
        "charlm/lora-r4",
        "formats/dtypes.safetensors",
        "formats/gguf/kinds.gguf",
        "quantized/integers",
        "quantized/nvfp4",
        "experts/interleaved",
    ] {
        let output = svdkit(&["spectrum", model, "--format", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let inventory = inspect(model, &[]);
        assert_eq!(inventory["totals"]["matrices"], report["totals"]["measured"], "{model}");
        assert_eq!(inventory["totals"]["skipped"], report["totals"]["skipped"], "{model}");
        assert_eq!(inventory["model"], report["model"], "{model}");
    }
}

#[test]
fn parameters_of_packed_weights_are_the_weights_they_stand_for() {
    for (model, parameters) in [("quantized/integers", 2995), ("quantized/mxfp4", 8256)] {
        assert_eq!(inspect(model, &[])["totals"]["parameters"], parameters, "{model}");
        // What a filter leaves out is counted as if it did not.
        let some = inspect(model, &["--include", "*[0]", "--include", "bytes"]);
        assert_eq!(some["totals"]["parameters"], parameters, "{model}");
    }
}

#[test]
fn sizes_are_those_of_the_files() {
    let inventory = inspect("charlm/base", &[]);
    let file = fs::read(Path::new(FIXTURES).join("charlm/base/model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap());
    assert_eq!(sum(&inventory, "bytes"), file.len() as u64 - header);
    assert_eq!(inventory["model"]["files"][0]["bytes"], file.len());
}

#[test]
fn settings_are_told_as_they_stand() {
    let config = &inspect("charlm/base", &[])["config"]["config.json"];
    assert_eq!((&config["model_type"], &config["num_hidden_layers"]), (&"llama".into(), &4.into()));
    let adapter = inspect("charlm/lora-r4", &[]);
    assert_eq!(adapter["config"]["adapter_config.json"]["lora_alpha"], 8);
    assert_eq!((&adapter["adapter"]["ranks"][0], &adapter["adapter"]["scales"][0]), (&4.into(), &2.0.into()));
    assert_eq!(adapter["adapter"]["count"], 28);
}

#[test]
fn settings_of_any_kind_are_a_line_and_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let model = Path::new(FIXTURES).join("formats/shapes.safetensors");
    fs::copy(model, folder.path().join("model.safetensors")).unwrap();
    let path = folder.path().to_str().unwrap();
    let claims = |text: &str| {
        fs::write(folder.path().join("config.json"), text).unwrap();
        inspect(path, &[])["config"]["config.json"].clone()
    };
    assert_eq!(claims("[]"), "is not a map of settings");
    assert_eq!(claims(r#"{"model_type": null, "bits": {"a": 1}}"#), serde_json::json!({}));
    let nested =
        claims(r#"{"text_config": {"model_type": "x\u001b[31m"}, "quantization_config": {"bits": 4}}"#);
    assert_eq!(nested["quantization_config.bits"], 4);
    let table = svdkit(&["inspect", path]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains(r"text_config.model_type x\u{1b}[31m"), "{table}");
}
