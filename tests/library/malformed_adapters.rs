//! Wrong adapters, and what svdkit says about them: one clear line that names the file, the tensor and the choices.
//!
//! A new case is a line: the tensors' names and shapes, the configuration, what is said.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use svdkit::checkpoint::{self, Catalogue, Opening};
use svdkit::layer::Filter;
use svdkit::report::Flag;

type Tensors<'a> = &'a [(&'a str, &'a [usize])];

/// Writes f32 tensors of 0.5 throughout; an `alpha` that ends in `!` is NaN.
fn write(path: &Path, tensors: Tensors<'_>) {
    let (mut header, mut data) = (String::new(), Vec::new());
    for (name, shape) in tensors {
        let value = if name.ends_with('!') { f32::NAN } else { 0.5 };
        let name = name.trim_end_matches('!');
        let start = data.len();
        data.extend((0..shape.iter().product()).flat_map(|_| value.to_le_bytes()));
        let comma = if header.is_empty() { "" } else { "," };
        let end = data.len();
        write!(
            header,
            r#"{comma}"{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        )
        .unwrap();
    }
    let header = format!("{{{header}}}");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

fn folder(tensors: Tensors<'_>, config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("adapter_model.safetensors"), tensors);
    if !config.is_empty() {
        std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    }
    folder
}

#[track_caller]
fn check_with(tensors: Tensors<'_>, config: &str, base: Option<Arc<Catalogue>>, expected: &str) {
    let folder = folder(tensors, config);
    let message = match checkpoint::open_with(folder.path(), &Opening { base, ..Opening::default() }) {
        Ok(_) => panic!("{tensors:?} with {config} opens"),
        Err(error) => error.to_string(),
    };
    assert!(message.contains(expected), "{message}\n  should say: {expected}");
    assert!(message.starts_with(folder.path().to_str().unwrap()), "{message}");
    assert!(!message.chars().any(char::is_control), "{message:?} would move the terminal");
}

#[track_caller]
fn check(tensors: Tensors<'_>, config: &str, expected: &str) {
    check_with(tensors, config, None, expected);
}

const GOOD: Tensors<'_> = &[("m.q.lora_A.weight", &[2, 6]), ("m.q.lora_B.weight", &[4, 2])];

#[test]
fn parts_that_are_missing_or_do_not_fit_are_named() {
    check(&GOOD[..1], "{}", "tensor `m.q.lora_A.weight`: has no `lora_B` or `lora_up` beside it");
    check(&GOOD[1..], "{}", "tensor `m.q.lora_B.weight`: has no `lora_A` or `lora_down` beside it");
    check(
        &[GOOD[0], ("m.q.lora_B.weight", &[4, 3])],
        "{}",
        "tensor `m.q.lora_B.weight`: [4, 3] does not fit [2, 6] of `m.q.lora_A.weight`",
    );
    check(&[("m.q.lora_A.weight", &[0, 6]), GOOD[1]], "{}", "[0, 6] is no shape of a factor");
    check(&[("m.q.lora_A.weight", &[12]), GOOD[1]], "{}", "[12] is no shape of a factor");
    check(GOOD, r#"{"use_dora": true}"#, "has no `lora_magnitude_vector` beside it");
    check(
        &[GOOD[0], GOOD[1], ("m.q.lora_magnitude_vector", &[6])],
        "{}",
        "tensor `m.q.lora_magnitude_vector`: [6] is not a length each of 4",
    );
    check(&[GOOD[0], GOOD[1], ("m.q.lora_diag", &[3])], "{}", "[3] does not fit [2, 6]");
    check(
        &[GOOD[0], ("m.q.lora_A.default.weight", &[2, 6]), GOOD[1]],
        "{}",
        "says what `m.q.lora_A.default.weight` says; keep one of the two",
    );
    check(
        &[("m.q.lora_A.one.weight", &[2, 6]), ("m.k.lora_A.two.weight", &[2, 6])],
        "{}",
        "holds several adapters (`one`, `two`); save one of them alone",
    );
    check(&[("x.hada_w1_a", &[4, 2]), ("x.hada_w1_b", &[2, 6])], "", "has no `hada_w2_a` and `hada_w2_b`");
    check(&[("x.lokr_w1", &[4, 2])], "", "has no `lokr_w2`, or `lokr_w2_a` and `lokr_w2_b`, beside it");
    check(
        &[("x.lokr_w1", &[4, 2]), ("x.lokr_w2_a", &[4, 2]), ("x.lokr_w2_b", &[3, 6])],
        "",
        "tensor `x.lokr_w2_a`: [4, 2] does not fit [3, 6] of `x.lokr_w2_b`",
    );
}

#[test]
fn nothing_is_left_out_of_a_module_silently() {
    const PART: [(&str, &[usize]); 2] = [("m.q.diff", &[4, 6]), ("m.q.hada_w1_a", &[4, 2])];
    for part in PART {
        let expected = format!(
            "tensor `{}`: adds to the same matrix as `m.q.lora_A.weight`, but in another way",
            part.0
        );
        check(&[GOOD[0], GOOD[1], part], "{}", &expected);
    }
    check(
        &[("x.lokr_w1", &[4, 2]), ("x.lokr_w1_a", &[4, 2]), ("x.lokr_w2", &[4, 2])],
        "",
        "tensor `x.lokr_w1_a`: stands beside the matrix that it is a factor of",
    );
}

#[test]
fn scales_that_are_not_known_are_not_made_up() {
    check(GOOD, "", "no `alpha` lies beside it and no `adapter_config.json` beside the file");
    check(
        &[
            ("lora_unet_a.lora_down.weight", &[2, 6]),
            ("lora_unet_a.lora_up.weight", &[4, 2]),
            ("lora_unet_a.alpha!", &[]),
        ],
        "",
        "tensor `lora_unet_a.alpha`: is not one finite number",
    );
    check(
        &[
            ("lora_unet_a.lora_down.weight", &[2, 6]),
            ("lora_unet_a.lora_up.weight", &[4, 2]),
            ("lora_unet_a.alpha", &[2]),
        ],
        "",
        "tensor `lora_unet_a.alpha`: is not one finite number",
    );
}

#[test]
fn configurations_that_are_none_or_of_other_methods_are_refused() {
    for (config, expected) in [
        ("{\"r\": ", "is no valid adapter configuration: EOF while parsing a value at line 1 column 6"),
        ("[1]", "is no valid adapter configuration: invalid type"),
        ("{\"lora_alpha\": NaN}", "is no valid adapter configuration: expected value at line 1 column 16"),
        ("{\"lora_alpha\": 1e999}", "is no valid adapter configuration: number out of range"),
        ("{\"r\": -1}", "is no valid adapter configuration: invalid value: integer `-1`"),
        ("{\"r\": 0}", "`r` is 0"),
        (r#"{"peft_type": "IA3"}"#, "`peft_type` is `IA3`, whose updates svdkit does not read"),
        (r#"{"peft_type": "\u001b[31m"}"#, "`peft_type` is `\\u{1b}[31m`"),
        (r#"{"use_qalora": true}"#, "`use_qalora` pools the inputs"),
        (r#"{"rank_pattern": {"q": 0}}"#, "`rank_pattern`: `q` has no number that can be used"),
        (r#"{"alpha_pattern": {"(a{1000}){1000}": 2}}"#, "`alpha_pattern`: `(a{1000}){1000}` is no pattern"),
        (r#"{"alpha_pattern": {"(?=q)": 2}}"#, "`(?=q)` is no pattern that svdkit reads"),
    ] {
        check(GOOD, config, expected);
    }
    check(&[("m.q.ia3_l", &[6, 1])], "", "belongs to a method whose updates svdkit does not read");
    // By the file's name, though no tensor tells.
    check(
        &[("prompt_embeddings", &[6, 1])],
        r#"{"peft_type": "PROMPT_TUNING"}"#,
        "`peft_type` is `PROMPT_TUNING`",
    );
}

#[test]
fn unknown_fields_and_a_wrong_rank_are_lived_with() {
    let folder = folder(
        GOOD,
        r#"{"r": 1000000000000, "lora_alpha": 4, "future": {"a": [1]}, "init_lora_weights": null}"#,
    );
    let source = checkpoint::open(folder.path()).unwrap().1;
    let update = source.update(&source.select(&Filter::default()).layers[0]).unwrap();
    assert_eq!((update.scale, &update.flags[..]), (Some(2.0), &[Flag::RankNotAsConfigured][..]));
}

#[test]
fn experts_that_could_be_several_things_are_refused() {
    const STACK: Tensors<'_> = &[("m.e.lora_A.weight", &[6, 4]), ("m.e.lora_B.weight", &[4, 6])];
    let base = tempfile::tempdir().unwrap();
    let open = |tensors: Tensors<'_>| -> Option<Arc<Catalogue>> {
        write(&base.path().join("model.safetensors"), tensors);
        Some(checkpoint::open(base.path()).unwrap().1)
    };
    let both =
        r#"{"r": 2, "target_parameters": ["e.up_experts", "e.gate_experts"], "peft_version": "0.18.0"}"#;
    let twice = open(&[("m.e.up_experts", &[3, 4, 4]), ("m.e.gate_experts", &[3, 4, 4])]);
    check_with(
        STACK,
        both,
        twice,
        "fits several of `target_parameters`: `m.e.gate_experts`, `m.e.up_experts`",
    );
    let one = r#"{"r": 2, "target_parameters": ["e.up_experts"], "peft_version": "0.19.0"}"#;
    let square = open(&[("m.e.up_experts", &[3, 4, 4])]);
    check_with(STACK, one, square, "the matrices of `m.e.up_experts` are square");
    check(
        STACK,
        r#"{"r": 4, "target_parameters": ["e.up"]}"#,
        "6 rows are no multiple of the configured rank 4",
    );
}

#[test]
fn a_model_that_is_built_of_factors_is_no_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write(&path, &[GOOD[0], GOOD[1], ("m.q.base_layer.weight", &[4, 6]), ("m.o.weight", &[4, 6])]);
    let (format, source) = checkpoint::open(&path).unwrap();
    assert_eq!((format, source.select(&Filter::default()).layers.len()), ("safetensors", 4));
    let config = folder.path().join("c.json");
    std::fs::write(&config, "{}").unwrap();
    write(&path, &[("m.q.weight", &[4, 6])]);
    let opening = Opening { adapter_config: Some(&config), ..Opening::default() };
    let message = checkpoint::open_with(&path, &opening).err().unwrap().to_string();
    assert!(message.contains("holds no factors of an adapter"), "{message}");
}

#[test]
fn no_change_of_a_byte_makes_an_adapter_panic() {
    for name in ["names", "experts", "gpt2-dora"] {
        let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dialects").join(name);
        let folder = tempfile::tempdir().unwrap();
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            let bytes = std::fs::read(good.join(file)).unwrap();
            let other =
                if file.ends_with("json") { "adapter_model.safetensors" } else { "adapter_config.json" };
            std::fs::copy(good.join(other), folder.path().join(other)).unwrap();
            // Every other byte of the text: the header of the weights ends with its braces.
            let text = bytes.windows(2).position(|pair| pair == b"}}").unwrap_or(bytes.len());
            for (at, with) in (0..text).step_by(2).flat_map(|at| [b'9', b'"'].map(|with| (at, with))) {
                let mut wrong = bytes.clone();
                wrong[at] = with;
                std::fs::write(folder.path().join(file), wrong).unwrap();
                let Ok((_, source)) = checkpoint::open(folder.path()) else { continue };
                for layer in source.select(&Filter::default()).layers {
                    let _ = source.read(&layer, 0..layer.rows.min(2));
                    let _ = source.factors(&layer);
                }
            }
        }
    }
}
