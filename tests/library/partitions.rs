//! Parts of a checkpoint as large as DeepSeek-V3, simulated: its shapes in files that have headers and no bytes.

#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};
use svdkit::checkpoint;
use svdkit::layer::Filter;
use svdkit::report::Source;
use svdkit::solver::Precision;
use svdkit::study::{Asked, Measures, Names, Opened, Partition, Spectra, SpectrumRequest, Study};

/// A file of a checkpoint has about so many bytes.
const FILE: u64 = 4_300_000_000;

/// The matrices of DeepSeek-V3 with its MTP layer, as rows and columns.
fn shapes() -> Vec<(String, [u64; 2])> {
    let mut all = vec![("model.embed_tokens".to_owned(), [129_280, 7168])];
    for layer in 0..62 {
        let mut add = |name: &str, shape| all.push((format!("model.layers.{layer}.{name}"), shape));
        add("self_attn.q_a_proj", [1536, 7168]);
        add("self_attn.q_b_proj", [24_576, 1536]);
        add("self_attn.kv_a_proj_with_mqa", [576, 7168]);
        add("self_attn.kv_b_proj", [32_768, 512]);
        add("self_attn.o_proj", [7168, 16_384]);
        let mut mlp = |name: &str, width| {
            add(&format!("mlp.{name}gate_proj"), [width, 7168]);
            add(&format!("mlp.{name}up_proj"), [width, 7168]);
            add(&format!("mlp.{name}down_proj"), [7168, width]);
        };
        if layer < 3 {
            mlp("", 18_432);
            continue;
        }
        (0..256).for_each(|expert| mlp(&format!("experts.{expert}."), 2048));
        mlp("shared_experts.", 2048);
        add("mlp.gate", [256, 7168]);
        if layer == 61 {
            add("eh_proj", [7168, 14_336]);
            add("embed_tokens", [129_280, 7168]);
            add("shared_head.head", [129_280, 7168]);
        }
    }
    all.push(("lm_head".to_owned(), [129_280, 7168]));
    all
}

/// Writes `tensors` as files without bytes, in order.
fn simulate(folder: &Path, tensors: &[(String, [u64; 2])]) -> usize {
    let (mut index, mut files) = (Map::new(), vec![]);
    let (mut header, mut end) = (Map::new(), 0);
    for (i, (name, shape)) in tensors.iter().enumerate() {
        let bytes = shape[0] * shape[1] * 2;
        let name = format!("{name}.weight");
        header.insert(
            name.clone(),
            json!({"dtype": "BF16", "shape": shape, "data_offsets": [end, end + bytes]}),
        );
        end += bytes;
        index.insert(name, format!("model-{:05}.safetensors", files.len()).into());
        if end > FILE || i + 1 == tensors.len() {
            files.push((std::mem::take(&mut header), std::mem::take(&mut end)));
        }
    }
    for (i, (header, length)) in files.iter().enumerate() {
        let text = Value::Object(header.clone()).to_string().into_bytes();
        let mut file = File::create(folder.join(format!("model-{i:05}.safetensors"))).unwrap();
        file.write_all(&(text.len() as u64).to_le_bytes()).unwrap();
        file.write_all(&text).unwrap();
        file.set_len(8 + text.len() as u64 + length).unwrap();
    }
    let index = json!({"metadata": {}, "weight_map": index}).to_string();
    std::fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    files.len()
}

#[test]
fn deepseek_v3_in_sixteen_parts_is_balanced_and_parts_follow_files() {
    let folder = tempfile::tempdir().unwrap();
    let shapes = shapes();
    assert_eq!(shapes.len(), 45_872);
    let files = simulate(folder.path(), &shapes);
    let (_, source) = checkpoint::open(folder.path()).unwrap();
    let origin =
        Source { path: "MODEL".to_owned(), format: "safetensors".into(), commit: None, files: vec![] };
    let opened = Opened { source, pairs: None, origin, base: None, roots: vec![] };
    let measures = Measures::Values(Names::Svdkit, Precision::Fast);
    let request = SpectrumRequest { measures, asked: Asked::own(), spectra: Spectra::Dropped };
    let study = request.plan(opened, &Filter::default()).unwrap();
    for count in [4, 16, 64] {
        let partition = Partition::new(&study, count);
        assert!(partition.balance() < 1.02, "{count} parts: {}", partition.balance());
        let reads = study.reads();
        let files_of = |part: &Vec<usize>| -> usize {
            part.iter().map(|task| reads[*task].file).collect::<BTreeSet<usize>>().len()
        };
        let opened: usize = partition.parts.iter().map(files_of).sum();
        assert!(opened < files + count, "{opened} files are opened by {count} parts, of {files}");
        let mut all = partition.parts.concat();
        all.sort_unstable();
        assert_eq!(all, (0..45_872).collect::<Vec<_>>(), "each task is in one part");
    }
}
