//! Sound checkpoints through the library's front door: what is opened, listed and read.

use std::path::Path;

use svdkit::checkpoint::{self, Catalogue, Choice, Opening};
use svdkit::layer::{Filter, Layer, Selection, select};
use svdkit::matrix::Matrix;
use svdkit::report::SkipKind;
use svdkit::spectrum::{Route, Spectrum};

fn open(path: &str) -> std::sync::Arc<Catalogue> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path);
    checkpoint::open(&path).expect("a sound checkpoint opens").1
}

fn selection(source: &Catalogue) -> Selection {
    select(source.tensors(), &Filter::default())
}

/// Writes the file, if the spectra can be written.
fn write_spectra(path: &Path, spectra: &[(&str, &Spectrum)]) -> std::io::Result<()> {
    let mut bytes = vec![];
    svdkit::writing::write_spectra(&mut bytes, spectra)?;
    std::fs::write(path, bytes)
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

/// A spectrum with these values, whatever matrix has it.
fn spectrum(values: &[f64]) -> Spectrum {
    Spectrum::new(values.to_vec(), values.len(), values.len(), Route::Gram).expect("sound values")
}

#[test]
fn written_spectra_are_a_safetensors_file_with_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("spectra.safetensors");
    let spectra: [(&str, &[f64]); 3] = [("layers.2.σ", &[3.0, 0.1]), ("layers.10", &[5.0]), ("empty", &[])];
    let kept = spectra.map(|(name, values)| (name, spectrum(values)));
    let named: Vec<(&str, &Spectrum)> = kept.iter().map(|(name, spectrum)| (*name, spectrum)).collect();
    write_spectra(&path, &named).expect("writable");
    let first = std::fs::read(&path).expect("written");
    write_spectra(&path, &named).expect("writable again");
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
    let floors: serde_json::Value = serde_json::from_str(&metadata["floors"]).expect("an object");
    for (name, spectrum) in &named {
        assert_eq!(floors[*name].as_f64(), Some(spectrum.floor()), "{name}");
    }
    assert_eq!(checkpoint::open(&path).expect("svdkit reads it").1.tensors().len(), 3);
    assert_eq!(std::fs::read_dir(folder.path()).expect("listable").count(), 1, "no temporary file is left");
}

#[test]
fn two_spectra_of_one_name_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("spectra.safetensors");
    let error =
        write_spectra(&path, &[("a", &spectrum(&[1.0])), ("a", &spectrum(&[2.0]))]).expect_err("same name");
    assert!(error.to_string().contains("two tensors would be called `a`") && !path.exists());
}

/// Every matrix of a source by name: type, shape, values.
fn matrices(source: &Catalogue) -> Vec<(String, Matrix)> {
    let read = |layer: &Layer| source.read(layer, 0..layer.rows).expect("readable");
    selection(source).layers.iter().map(|layer| (layer.name.to_string(), read(layer))).collect()
}

#[test]
fn one_matrix_has_the_same_values_in_every_float_type() {
    let source = open("formats/dtypes.safetensors");
    let matrices = matrices(source.as_ref());
    let types: Vec<_> = matrices.iter().map(|(_, matrix)| matrix.dtype().name()).collect();
    assert_eq!(types, ["bf16", "f8_e4m3", "f8_e5m2", "f16", "f32", "f64"]);
    for (name, matrix) in &matrices {
        assert_eq!(matrix.to_f64(), matrices[0].1.to_f64(), "{name}");
    }
}

#[test]
fn types_that_are_no_weights_are_listed_by_their_name() {
    let selection = selection(open("formats/dtypes.safetensors").as_ref());
    let types: Vec<_> = selection.skipped.iter().map(|skipped| skipped.dtype.as_str()).collect();
    let expected = "bool c64 f4 f6_e2m3 f8_e4m3fnuz f8_e5m2fnuz f8_e8m0 i8 i16 i32 i64 u8 u16 u32 u64";
    assert_eq!(types.join(" "), expected);
}

#[test]
fn shapes_become_matrices_in_natural_order() {
    let source = open("formats/shapes.safetensors");
    let selection = selection(source.as_ref());
    let shapes: Vec<_> =
        selection.layers.iter().map(|l| format!("{} {}×{}", l.name, l.rows, l.cols)).collect();
    assert_eq!(
        shapes,
        [
            "blocks.0.conv 6×36",
            "blocks.0.conv1d 6×20",
            "blocks.0.mlp.experts.up_proj[0] 3×4",
            "blocks.0.mlp.experts.up_proj[1] 3×4",
            "blocks.2.linear 4×3",
            "blocks.10.linear 4×3",
        ]
    );
    let reasons: Vec<_> = selection.skipped.iter().map(|s| format!("{}: {}", s.tensor, s.reason)).collect();
    assert_eq!(
        reasons,
        [
            "blocks.2.linear.bias: 1-D",
            "blocks.2.scale: a single number",
            "empty.weight: empty",
            "position_ids: i64 is not a float type",
        ]
    );
}

#[test]
fn a_sharded_folder_is_one_checkpoint_with_what_the_index_left_out() {
    let folder = open("formats/sharded");
    let names: Vec<_> = folder.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names.len(), 7);
    assert_eq!((names[0], names[6]), ("model.layers.0.mlp.up_proj.weight", "unnamed.weight"));
    assert_eq!(folder.files().len(), 3);
    assert_eq!(folder.files()[1].name, "model-00002-of-00003.safetensors");
    let index = open("formats/sharded/model.safetensors.index.json");
    assert_eq!(matrices(index.as_ref()), matrices(folder.as_ref()));
}

#[test]
fn torch_files_hold_the_same_matrices_as_safetensors() {
    let expected = matrices(open("formats/torch/model.safetensors").as_ref());
    assert_eq!(expected.len(), 8);
    for path in ["formats/torch/model.pt", "formats/torch/nested.ckpt", "formats/torch/sharded"] {
        assert_eq!(matrices(open(path).as_ref()), expected, "{path}");
    }
}

#[test]
fn torch_views_are_read_where_their_lines_lie() {
    let source = open("formats/torch/kinds.pth");
    let read = |name: &str, rows| {
        let layers = selection(source.as_ref()).layers;
        let layer = layers.iter().find(|layer| layer.name == name).expect("it is there");
        source.read(layer, rows).expect("readable").to_f64()
    };
    // What torch says these views are; see fixtures/generate.py.
    assert_eq!(read("transposed", 0..1), [-0.3125, 0.375, 1.5, 0.1875]);
    assert_eq!(read("transposed", 4..6).len(), 8);
    assert_eq!(read("columns", 3..4), [1.0, 0.75, -0.09375]);
    let row = read("kernel", 1..2);
    assert_eq!(row[..9], [-0.875, -0.25, -0.5, -0.375, -0.125, -2.5, -0.75, -1.25, 0.15625]);
    assert_eq!(row[9..], [-0.625, -0.375, -0.125, -0.875, 0.125, -0.09375, -2.5, 0.4375, 1.0]);
    assert_eq!(read("kernel", 0..4)[18..36], row);
}

#[test]
fn files_from_before_pytorch_1_6_hold_the_same() {
    let expected = matrices(open("formats/torch/model.safetensors").as_ref());
    let found = matrices(open("formats/torch/legacy.pt").as_ref());
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|matrix| expected.contains(matrix)), "{found:?}");
}

#[test]
fn weights_of_quantized_layers_are_listed_by_their_place() {
    let skipped = open("formats/torch/quantized.pt").select(&Filter::default()).skipped;
    let told: Vec<_> =
        skipped.iter().map(|line| (line.tensor.as_str(), &line.shape[..], line.kind)).collect();
    let packed = |i: usize| format!("0._packed_params._packed_params[{i}]");
    assert_eq!(told[0], (packed(0).as_str(), &[3, 4][..], SkipKind::Refused));
    assert_eq!(told[1], (packed(1).as_str(), &[3][..], SkipKind::Refused));
    assert!(skipped[0].reason.starts_with("a tensor of the kind `qtensor`"), "{}", skipped[0].reason);
}

#[test]
fn torch_tensors_that_are_no_lines_are_refused_or_listed() {
    let source = open("formats/torch/kinds.pth");
    let selection = source.select(&Filter::default());
    let names: Vec<_> = selection.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(
        names,
        ["columns", "experts.turned[0]", "experts.turned[1]", "kernel", "mixed", "transposed", "whole"]
    );
    let read = |i: usize, rows| {
        source.read(&selection.layers[i], rows).expect("each entry has a place of its own").to_f64()
    };
    // What torch says; see fixtures/generate.py.
    assert_eq!(read(4, 1..2)[..6], [0.15625, 0.0625, 0.25, 0.09375, 0.5, -3.0]);
    assert_eq!(read(4, 0..1)[18..24], [-1.75, -0.875, 1.5, -2.0, 0.09375, 0.21875]);
    assert_eq!(read(2, 1..3), [1.0, -0.09375, 0.109_375, -0.0625, 3.0, 1.75]);
    assert_eq!(read(1, 0..1), [-3.0, 1.5, -0.21875]);
    let kinds: Vec<_> = selection.skipped.iter().map(|s| format!("{}: {}", s.dtype, s.reason)).collect();
    assert_eq!(
        kinds,
        [
            "expanded f32: shows the same entries many times; save it after `.contiguous()`",
            "bool: bool is not a float type",
            "sparse_tensor: a tensor of the kind `sparse_tensor` (quantized, sparse, or spread over machines); \
             save it as a dense one",
            "i64: i64 is not a float type",
        ]
    );
}

#[test]
fn what_stands_beside_a_torch_model_is_listed_or_named() {
    let source = open("formats/torch/training.pt");
    let selection = source.select(&Filter::default());
    assert_eq!(selection.layers.iter().map(|layer| layer.name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(selection.skipped[0].reason, "beside `model`, so no part of the model");
    let note = "`training.pt` also holds tensors in `optimizer`, which are not part of the model";
    assert_eq!(source.notes(), [note]);
}

#[test]
fn copies_are_tied_to_the_first_and_constants_to_nothing() {
    let source = open("formats/tied.safetensors");
    let layers = selection(source.as_ref()).layers;
    let names: Vec<_> = layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["embed", "head", "near", "zero_a", "zero_b"]);
    let tied = checkpoint::tied(source.as_ref(), &layers);
    assert_eq!(tied, [None, Some(0), None, None, None]);
}

#[test]
fn a_thousand_shards_need_no_thousand_open_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut map = serde_json::Map::new();
    for i in 0..1100 {
        let name = format!("layers.{i}.weight");
        let shard = format!("model-{:05}-of-01100.safetensors", i + 1);
        write_spectra(&folder.path().join(&shard), &[(&name, &spectrum(&[f64::from(i)]))]).expect("written");
        map.insert(name, shard.into());
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).expect("written");
    let source = checkpoint::open(folder.path()).expect("opens").1;
    assert_eq!((source.tensors().len(), source.files().len()), (1100, 1100));
}

#[test]
fn variants_and_hidden_files_beside_a_model_are_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, tensor: &str| {
        write_spectra(&folder.path().join(name), &[(tensor, &spectrum(&[1.0]))]).expect("written");
    };
    let names = || {
        let source = checkpoint::open(folder.path()).expect("opens").1;
        source.tensors().iter().map(|tensor| tensor.name.clone()).collect::<Vec<_>>()
    };
    std::fs::write(folder.path().join("._unet.safetensors"), b"Mac OS X").expect("written");
    write("unet.safetensors", "a");
    assert_eq!(names(), ["a"]);
    write("model.safetensors", "b");
    write("model.fp16.safetensors", "c");
    assert_eq!(names(), ["b"]);
}

/// A folder with files of one tensor each, named as the file says.
fn folder_of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (file, tensor) in files {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
        write_spectra(&path, &[(tensor, &spectrum(&[1.0]))]).expect("written");
    }
    folder
}

/// Names of the tensors that are opened, and the notes.
fn opened(folder: &Path, choice: Choice<'_>) -> (Vec<String>, Vec<String>) {
    let opening = Opening { choice, ..Opening::default() };
    let source = checkpoint::open_with(folder, &opening).expect("opens").1;
    (source.tensors().iter().map(|tensor| tensor.name.to_string()).collect(), source.notes().to_vec())
}

#[test]
fn a_variant_is_taken_where_it_is_asked_for() {
    let fp16 = Choice { variant: Some("fp16"), ..Choice::default() };
    let names = |files: &[(&str, &str)], index: Option<(&str, &str)>| {
        let folder = folder_of(files);
        if let Some((name, text)) = index {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        opened(folder.path(), fp16).0
    };
    assert_eq!(names(&[("model.safetensors", "a"), ("model.fp16.safetensors", "b")], None), ["b"]);
    assert_eq!(names(&[("unet.safetensors", "a"), ("unet.fp16.safetensors", "b")], None), ["b"]);
    let shards = [("x.fp16-00001-of-00002.safetensors", "a"), ("x.fp16-00002-of-00002.safetensors", "b")];
    assert_eq!(names(&shards, None), ["a", "b"]);
    let shards = [("x-00001-of-00002.fp16.safetensors", "a"), ("x-00002-of-00002.fp16.safetensors", "b")];
    assert_eq!(names(&shards, None), ["a", "b"]);
    let index = r#"{"weight_map": {"a": "x-00001-of-00002.fp16.safetensors"}}"#;
    assert_eq!(names(&shards, Some(("model.safetensors.index.fp16.json", index))), ["a"]);
}

#[test]
fn mistrals_own_file_beside_the_usual_ones_is_left_alone_with_a_note() {
    let index = r#"{"weight_map": {"a": "model-00001-of-00001.safetensors"}}"#;
    let folder = folder_of(&[("model-00001-of-00001.safetensors", "a"), ("consolidated.safetensors", "b")]);
    let note =
        "`consolidated.safetensors` beside it was taken to be the same model and left alone".to_owned();
    let expected = (vec!["a".to_owned()], vec![note]);
    assert_eq!(opened(folder.path(), Choice::default()), expected);
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).expect("written");
    assert_eq!(opened(folder.path(), Choice::default()), expected);
    let alone = folder_of(&[("consolidated.safetensors", "b")]);
    assert_eq!(opened(alone.path(), Choice::default()), (vec!["b".to_owned()], vec![]));
}

#[test]
fn a_pipeline_is_its_components_under_their_names() {
    let folder = folder_of(&[
        ("unet/diffusion_pytorch_model.safetensors", "conv.weight"),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "half.weight"),
        ("text_encoder/model.safetensors", "embed.weight"),
        ("single-file.safetensors", "model.diffusion_model.conv.weight"),
    ]);
    std::fs::create_dir(folder.path().join("scheduler")).expect("a folder");
    let index = r#"{"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"],
        "safety_checker": [null, null], "requires_safety_checker": false,
        "scheduler": ["diffusers", "PNDMScheduler"], "unet": ["diffusers", "UNet2DConditionModel"]}"#;
    std::fs::write(folder.path().join("model_index.json"), index).expect("written");
    let (names, notes) = opened(folder.path(), Choice::default());
    assert_eq!(
        (names, notes),
        (vec!["text_encoder.embed.weight".to_owned(), "unet.conv.weight".to_owned()], vec![])
    );
    let (format, source) = checkpoint::open(folder.path()).expect("opens");
    let files: Vec<_> = source.files().into_iter().map(|file| file.name).collect();
    assert_eq!(format, "diffusers");
    assert_eq!(files, ["text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors"]);
    let components = ["unet".to_owned()];
    let unet = Choice { variant: Some("fp16"), components: &components };
    assert_eq!(opened(folder.path(), unet), (vec!["unet.half.weight".to_owned()], vec![]));
    let (names, notes) = opened(folder.path(), Choice { components: &[], ..unet });
    assert_eq!(names, ["text_encoder.embed.weight", "unet.half.weight"]);
    assert_eq!(notes, ["`text_encoder` has no files of the variant `fp16`; its usual ones were taken"]);
}
