//! Adapters of trainers that few know: opened as the updates they are, or refused by name, never read as plain weights.

use std::path::Path;

use svdkit::checkpoint::{self, Catalogue, Factors, Holds, Opening};
use svdkit::layer::Filter;
use svdkit::report::SkipKind;

/// Down of 2 × 3 and up of 4 × 2, their product, and both the other way round.
const DOWN: [f32; 6] = [1.0, 2.0, 3.0, -1.0, 0.5, 0.0];
const UP: [f32; 8] = [1.0, 0.0, 0.0, 1.0, 2.0, 1.0, -1.0, 3.0];
const PRODUCT: [f64; 12] = [1.0, 2.0, 3.0, -1.0, 0.5, 0.0, 1.0, 4.5, 6.0, -4.0, -0.5, -3.0];

fn turned<T: Copy>(entries: &[T], cols: usize) -> Vec<T> {
    (0..cols).flat_map(|j| entries.iter().skip(j).step_by(cols).copied().collect::<Vec<_>>()).collect()
}

/// Writes two tensors of f32.
fn write<const AXES: usize>(path: &Path, tensors: [(&str, [usize; AXES], &[f32]); 2]) {
    let bytes =
        tensors.map(|(_, _, entries)| entries.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    let (middle, end) = (bytes[0].len(), bytes[0].len() + bytes[1].len());
    let entry = |i: usize, (from, to): (usize, usize)| {
        let (name, shape, _) = tensors[i];
        format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{from},{to}]}}"#)
    };
    let header = format!("{{{},{}}}", entry(0, (0, middle)), entry(1, (middle, end)));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(bytes.concat());
    std::fs::write(path, file).unwrap();
}

/// The one update, which is the product times `scale`.
#[track_caller]
fn is_product(source: &Catalogue, name: &str, scale: f64) {
    assert_eq!(source.holds(), Holds::Updates);
    let layers = source.select(&Filter::default()).layers;
    let [layer] = &layers[..] else { panic!("{} updates", layers.len()) };
    assert_eq!((layer.name.as_str(), layer.rows, layer.cols), (name, 4, 3));
    let expected: Vec<f64> = PRODUCT.iter().map(|x| x * scale).collect();
    assert_eq!(source.read(layer, 0..4).unwrap().to_f64(), expected);
    assert_eq!(source.update(layer).unwrap().scale, Some(scale));
}

#[track_caller]
fn check(down: &str, up: &str, config: &str, (name, scale): (&str, f64)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapters.safetensors");
    write(&path, [(down, [2, 3], &DOWN), (up, [4, 2], &UP)]);
    if !config.is_empty() {
        std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    }
    is_product(&checkpoint::open(&path).unwrap().1, name, scale);
}

#[test]
fn scripts_that_number_modules_give_updates() {
    check("unet:0:down", "unet:0:up", "", ("unet:0", 1.0));
    check("w_a_000", "w_b_000", "", ("w_000", 1.0));
}

#[test]
fn attention_processors_of_the_first_diffusers_have_no_scale() {
    let [down, up] = ["down", "up"].map(|side| format!("mid.attn1.processor.to_k_lora.{side}.weight"));
    check(&down, &up, "", ("mid.attn1.to_k", 1.0));
}

#[test]
fn names_that_end_in_lora_down_are_scaled_by_their_settings() {
    check("mid_to_k_lora_down.weight", "mid_to_k_lora_up.weight", r#"{"lora_alpha": 4}"#, ("mid_to_k", 2.0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    write(&path, [("mid_to_k_lora_down.weight", [2, 3], &DOWN), ("mid_to_k_lora_up.weight", [4, 2], &UP)]);
    let message = checkpoint::open(&path).err().unwrap().to_string();
    assert!(message.contains("how it is scaled is not known"), "{message}");
}

#[test]
fn torchtune_has_the_factors_of_peft_under_other_names() {
    check("q.lora_a.weight", "q.lora_b.weight", r#"{"lora_alpha": 2}"#, ("q", 1.0));
}

#[test]
fn mlx_multiplies_from_the_left() {
    for (config, scale) in [
        (r#"{"fine_tune_type": "lora", "lora_parameters": {"rank": 2, "scale": 20.0}}"#, 20.0),
        (r#"{"lora_parameters": {"rank": 2, "scale": 10.0, "alpha": 8}}"#, 40.0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapters.safetensors");
        let (first, second) = (turned(&DOWN, 3), turned(&UP, 2));
        write(&path, [("l.q_proj.lora_a", [3, 2], &first), ("l.q_proj.lora_b", [2, 4], &second)]);
        std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
        is_product(&checkpoint::open(&path).unwrap().1, "l.q_proj", scale);
    }
}

#[test]
fn mlx_stacks_the_factors_of_experts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapters.safetensors");
    let config = r#"{"fine_tune_type": "lora", "lora_parameters": {"rank": 2, "scale": 4.0}}"#;
    std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    let names = ["l.mlp.switch_mlp.up_proj.lora_a", "l.mlp.switch_mlp.up_proj.lora_b"];
    let (down, up) = ([DOWN, DOWN.map(|x| 3.0 * x)].concat(), [UP, UP].concat());
    write(&path, [(names[0], [2, 2, 3], &down), (names[1], [2, 4, 2], &up)]);
    let source = checkpoint::open(&path).unwrap().1;
    let layers = source.select(&Filter::default()).layers;
    let found: Vec<_> = layers.iter().map(|layer| (layer.name.as_str(), layer.rows, layer.cols)).collect();
    assert_eq!(found, [("l.mlp.switch_mlp.up_proj[0]", 4, 3), ("l.mlp.switch_mlp.up_proj[1]", 4, 3)]);
    for (layer, times) in layers.iter().zip([4.0, 12.0]) {
        let expected: Vec<f64> = PRODUCT.iter().map(|x| x * times).collect();
        assert_eq!(source.read(layer, 0..4).unwrap().to_f64(), expected);
        assert_eq!(source.update(layer).unwrap().scale, Some(4.0));
    }
    write(&path, [(names[0], [2, 2, 3], &down), (names[1], [4, 2, 2], &up)]);
    let message = checkpoint::open(&path).err().unwrap().to_string();
    assert!(message.contains("[2, 2, 3] does not fit [4, 2, 2]"), "{message}");
}

/// A GGUF file of two f32 tensors that says it is an adapter, with this alpha.
fn gguf(alpha: f32, names: [&str; 2]) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &2u64.to_le_bytes(), &2u64.to_le_bytes()].concat();
    file.extend([text("general.type"), 8u32.to_le_bytes().to_vec(), text("adapter")].concat());
    file.extend(
        [text("adapter.lora.alpha"), 6u32.to_le_bytes().to_vec(), alpha.to_le_bytes().to_vec()].concat(),
    );
    for (name, [rows, cols], offset) in [(names[0], [2u64, 3], 0u64), (names[1], [4, 2], 32)] {
        file.extend([text(name), 2u32.to_le_bytes().to_vec()].concat());
        file.extend([cols.to_le_bytes(), rows.to_le_bytes()].concat());
        file.extend([&0u32.to_le_bytes()[..], &offset.to_le_bytes()].concat());
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(DOWN.iter().flat_map(|x| x.to_le_bytes()));
    file.extend([0; 8]);
    file.extend(UP.iter().flat_map(|x| x.to_le_bytes()));
    file
}

#[test]
fn adapters_of_llama_cpp_are_scaled_by_their_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.gguf");
    for (alpha, scale) in [(6.0, 3.0), (0.0, 1.0)] {
        std::fs::write(&path, gguf(alpha, ["blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"]))
            .unwrap();
        is_product(&checkpoint::open(&path).unwrap().1, "model.layers.0.self_attn.q_proj", scale);
    }
    // A file that calls itself an adapter is never a plain model.
    std::fs::write(&path, gguf(1.0, ["blk.0.x", "blk.0.y"])).unwrap();
    let message = checkpoint::open(&path).err().unwrap().to_string();
    assert!(message.contains("says that it is an adapter"), "{message}");
    let opening = Opening { factors: Factors::Weights, ..Opening::default() };
    assert_eq!(checkpoint::open_with(&path, &opening).unwrap().1.holds(), Holds::Weights);
}

#[test]
fn thin_factors_of_no_known_kind_are_refused_unless_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let entries = vec![0.5; 32];
    write(&path, [("blocks.0.q.my_A", [2, 16], &entries), ("blocks.0.q.my_B", [16, 2], &entries)]);
    let message = checkpoint::open(&path).err().unwrap().to_string();
    let looks = "looks like an adapter of a kind that svdkit does not know: `blocks.0.q.my_A` ([2, 16]) and \
                 `blocks.0.q.my_B` ([16, 2]) are thin factors of one update";
    assert!(message.contains(looks), "{message}");
    let opening = Opening { factors: Factors::Weights, ..Opening::default() };
    let source = checkpoint::open_with(&path, &opening).unwrap().1;
    assert_eq!((source.holds(), source.select(&Filter::default()).layers.len()), (Holds::Weights, 2));
}

#[test]
fn methods_that_are_not_read_are_refused_by_name_without_their_settings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let entries = vec![0.5; 32];
    for name in [
        "base_model.model.l.0.q.hra_u",
        "base_model.model.l.0.q.miss_block",
        "base_model.model.l.0.q.gralora_A",
        "base_model.model.l.0.q.lily_A.weight",
        "base_model.model.l.0.q.psoft_R.weight",
        "base_model.model.l.0.norm.ln_tuning_layers.weight",
        "base_model.model.l.0.q.shadow_down.default.weight",
        "prompt_embeddings",
        "internal_xlora_classifier.layers.0.weight",
        "l.0.q.vblora_logits_A",
    ] {
        write(&path, [(name, [2, 16], &entries), ("base_model.model.lm_head.weight", [16, 2], &entries)]);
        let message = checkpoint::open(&path).err().unwrap().to_string();
        let refused = format!("tensor `{name}`: belongs to a method whose updates svdkit does not read");
        assert!(message.contains(&refused), "{message}");
    }
}

#[test]
fn parts_of_updates_that_no_known_method_has_are_listed_as_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let entries = vec![0.5; 32];
    // GLoRA of LyCORIS, and a full update beside something else.
    for (names, read) in [
        (["lora_unet_a_to_q.a1.weight", "lora_unet_a_to_q.a2.weight"], 0),
        (["lora_unet_a_to_q.diff", "lora_unet_a_to_q.gate"], 1),
        // Vectors are no weights.
        (["lora_unet_a_norm.w_norm", "lora_unet_a_norm.b_norm"], 2),
    ] {
        write(&path, [(names[0], [2, 16], &entries), (names[1], [16, 2], &entries)]);
        let source = checkpoint::open(&path).unwrap().1;
        let selection = source.select(&Filter::default());
        assert_eq!(source.holds(), Holds::Updates);
        let refused = selection.skipped.iter().filter(|skipped| skipped.kind == SkipKind::Refused).count();
        assert_eq!((refused, selection.layers.len() + selection.skipped.len()), (2 - read, 2), "{names:?}");
    }
}

#[test]
fn a_model_with_adapters_built_in_is_told_from_an_adapter_of_embeddings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let factors = [("q.lora_A.weight", vec![2, 16]), ("q.lora_B.weight", vec![16, 2])];
    let weight = |name, shape: [usize; 2]| (name, shape.to_vec());
    let open = |more: Vec<(&str, Vec<usize>)>| {
        let header: Vec<String> = factors
            .iter()
            .cloned()
            .chain(more)
            .scan(0, |at, (name, shape)| {
                let from = *at;
                *at += 4 * shape.iter().product::<usize>();
                Some(format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{from},{at}]}}"#))
            })
            .collect();
        let header = format!("{{{}}}", header.join(","));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.resize(file.len() + 4 * 2000, 0);
        let length: usize = header
            .rsplit_once("data_offsets\":[")
            .unwrap()
            .1
            .split([',', ']'])
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        file.truncate(8 + header.len() + length);
        std::fs::write(&path, file).unwrap();
        checkpoint::open(&path)
    };
    let whole = open(vec![weight("q.base_layer.weight", [16, 16]), weight("o.weight", [16, 16])]).unwrap().1;
    assert_eq!((whole.holds(), whole.select(&Filter::default()).layers.len()), (Holds::Weights, 4));
    let note =
        "`q.lora_A.weight` and 1 more are factors of an adapter, stored with the weights that they change";
    assert!(whole.notes().iter().any(|text| text.contains(note)), "{:?}", whole.notes());
    // PEFT stores the weights of embeddings that it adapts, and those alone.
    let adapter = open(vec![weight("q.base_layer.weight", [16, 16])]).err().unwrap().to_string();
    assert!(adapter.contains("how it is scaled is not known"), "{adapter}");
}
