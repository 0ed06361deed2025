//! Sound checkpoints through the library's front door: what is opened, listed and read.

use std::path::Path;

use svdkit::checkpoint::{self, MatrixSource};
use svdkit::layer::{Filter, Selection, select};

fn open(path: &str) -> Box<dyn MatrixSource> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path);
    checkpoint::open(&path).expect("a sound checkpoint opens")
}

fn selection(source: &dyn MatrixSource) -> Selection {
    select(source.tensors(), &Filter::default())
}

#[test]
fn the_bundled_model_holds_thirty_matrices_and_nine_vectors() {
    let source = open("charlm/base");
    let selection = selection(source.as_ref());
    assert_eq!(source.format(), "safetensors");
    assert_eq!((selection.layers.len(), selection.skipped.len()), (30, 9));
    let (head, down) = (&selection.layers[0], &selection.layers[2]);
    assert_eq!((head.name.as_str(), head.rows, head.cols), ("lm_head", 256, 128));
    assert_eq!((down.name.as_str(), down.rows, down.cols), ("model.layers.0.mlp.down_proj", 128, 352));
}

#[test]
fn rows_read_apart_are_the_rows_of_the_whole() {
    let source = open("charlm/base");
    for layer in selection(source.as_ref()).layers {
        let whole = source.read(&layer, 0..layer.rows).expect("readable");
        let half = layer.rows / 2;
        let mut parts = source.read(&layer, 0..half).expect("readable").to_f64();
        parts.extend(source.read(&layer, half..layer.rows).expect("readable").to_f64());
        assert_eq!(parts, whole.to_f64(), "{}", layer.name);
        assert!(parts.iter().all(|x| x.is_finite()) && parts.iter().any(|x| *x != 0.0));
    }
}

#[test]
fn rows_outside_a_matrix_are_an_error() {
    let source = open("charlm/base");
    let layer = &selection(source.as_ref()).layers[0];
    let message = source.read(layer, 0..layer.rows + 1).expect_err("one row too many").to_string();
    assert!(message.contains("rows 0..257 of 256"), "{message}");
}

#[test]
fn an_adapter_folder_lists_its_factors() {
    let selection = selection(open("charlm/lora-r4").as_ref());
    assert!(selection.layers.iter().any(|l| l.name.ends_with("q_proj.lora_A") && l.rows == 4));
    assert!(selection.layers.iter().any(|l| l.name.ends_with("q_proj.lora_B") && l.cols == 4));
}
