//! Sound checkpoints through the library's front door: what is opened, listed and read.

use std::path::Path;

use svdkit::checkpoint::{self, MatrixSource};
use svdkit::layer::{Filter, Selection, select};

fn open(path: &str) -> Box<dyn MatrixSource> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path);
    checkpoint::open(&path).expect("a sound checkpoint opens").1
}

fn selection(source: &dyn MatrixSource) -> Selection {
    select(source.tensors(), &Filter::default())
}

#[test]
fn the_bundled_model_holds_thirty_matrices_and_nine_vectors() {
    let source = open("charlm/base");
    let selection = selection(source.as_ref());
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

#[test]
fn written_spectra_are_a_safetensors_file_with_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("spectra.safetensors");
    let spectra: [(&str, &[f64]); 3] = [("layers.2.σ", &[3.0, 0.1]), ("layers.10", &[5.0]), ("empty", &[])];
    checkpoint::write_spectra(&path, &spectra).expect("writable");
    let first = std::fs::read(&path).expect("written");
    checkpoint::write_spectra(&path, &spectra).expect("writable again");
    assert_eq!(std::fs::read(&path).expect("written"), first);

    let parsed = safetensors::SafeTensors::deserialize(&first).expect("the library reads it");
    for (name, values) in spectra {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = parsed.tensor(name).expect("it is there");
        assert_eq!((tensor.data(), tensor.shape()), (&bytes[..], &[values.len()][..]));
    }
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&first).expect("the library reads it");
    let metadata = metadata.metadata().as_ref().expect("metadata").clone();
    assert_eq!(metadata["format"], "svdkit.spectra");
    assert_eq!(checkpoint::open(&path).expect("svdkit reads it").1.tensors().len(), 3);
    assert_eq!(std::fs::read_dir(folder.path()).expect("listable").count(), 1, "no temporary file is left");
}

#[test]
fn two_spectra_of_one_name_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("spectra.safetensors");
    let error = checkpoint::write_spectra(&path, &[("a", &[1.0]), ("a", &[2.0])]).expect_err("same name");
    assert!(error.to_string().contains("two spectra would be called `a`") && !path.exists());
}
