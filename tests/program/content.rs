//! Nothing that a checkpoint stores goes unseen: every tensor takes part in a comparison by its bytes, whatever its type
//! and whatever becomes of it.

use std::fs;
use std::path::{Path, PathBuf};

use svdkit::checkpoint::open;
use svdkit::layer::TensorInfo;

use crate::harness::{Stored, floats, json_in, list, save, stored, svdkit_in, told};

fn halves(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| (x.to_bits() >> 16).to_le_bytes()[..2].to_vec()).collect()
}

/// What no checkpoint may do without in these tests.
fn weight() -> Stored {
    stored("w.weight", "F32", &[3, 4], floats(12, 0))
}

/// A weight of GPTQ and one of bitsandbytes, which are refused, and vectors of every type.
fn refused() -> Vec<Stored> {
    let mut tensors = vec![
        weight(),
        stored("gptq.qweight", "I32", &[2, 4], (0..32).collect()),
        stored("gptq.qzeros", "I32", &[1, 2], vec![0x77; 8]),
        stored("gptq.scales", "F16", &[2, 4], vec![0x11; 16]),
        stored("gptq.g_idx", "I32", &[16], vec![0; 64]),
        stored("nf4.weight", "U8", &[16, 1], vec![5; 16]),
        stored("nf4.weight.absmax", "F32", &[4], floats(4, 1)),
        stored("nf4.weight.quant_map", "F32", &[16], floats(16, 2)),
        stored("nf4.weight.quant_state.bitsandbytes__nf4", "U8", &[9], vec![7; 9]),
        stored("unknown", "F7_X", &[3], vec![1, 2, 3, 4, 5]),
        stored("number", "F32", &[], floats(1, 3)),
    ];
    for (dtype, bits) in [
        ("BOOL", 8),
        ("U8", 8),
        ("I16", 16),
        ("U32", 32),
        ("I64", 64),
        ("F4", 4),
        ("F6_E2M3", 6),
        ("F6_E3M2", 6),
        ("F8_E4M3", 8),
        ("F8_E5M2", 8),
        ("F8_E4M3FNUZ", 8),
        ("F8_E5M2FNUZ", 8),
        ("F8_E8M0", 8),
        ("F16", 16),
        ("BF16", 16),
        ("F64", 64),
        ("C64", 64),
    ] {
        tensors.push(stored(&format!("vector.{dtype}"), dtype, &[8], vec![1; bits]));
    }
    tensors
}

/// Reads `base` as weights and as saved reports of all kinds, and `tuned` as weights and as such a report: what is told of
/// each pair in `column`.
fn check_told(base: &[Stored], tuned: &[Stored], column: &str, expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    for (name, tensors) in [("a", base), ("b", tuned)] {
        save(&folder.path().join(format!("{name}.safetensors")), tensors);
        let file = format!("{name}.safetensors");
        for (options, report) in [(vec![], "full"), (vec!["--no-svd"], "bytes")] {
            let report = format!("{name}.{report}.json");
            let output =
                svdkit_in(folder.path(), &[&["spectrum", &file, "-o", &report], &options[..]].concat());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    for (base, tuned, options) in [
        ("a.safetensors", "b.safetensors", &[][..]),
        ("a.safetensors", "b.safetensors", &["--no-svd"]),
        ("a.full.json", "b.safetensors", &[]),
        ("a.full.json", "b.safetensors", &["--no-svd"]),
        ("a.bytes.json", "b.safetensors", &["--no-svd"]),
        ("a.safetensors", "b.full.json", &[]),
        ("a.full.json", "b.full.json", &[]),
        ("a.bytes.json", "b.bytes.json", &["--no-svd"]),
    ] {
        let report = json_in(folder.path(), &[&["compare", base, tuned], options].concat());
        assert_eq!(told(&report, column), expected, "{column}: {base} {tuned} {options:?}");
        let rule = format!("{column} > 0");
        let rules = [&["compare", base, tuned, "--fail-if", &rule, "--allow-missing"][..], options].concat();
        let output = svdkit_in(folder.path(), &rules);
        let code = i32::from(!expected.is_empty());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{column}: {base} {tuned} {options:?}: {said}");
    }
}

/// The tensors with the bytes of one replaced from its start.
fn with(tensors: &[Stored], name: &str, bytes: &[u8]) -> Vec<Stored> {
    let mut tensors = tensors.to_vec();
    let tensor = tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap();
    tensor.3[..bytes.len()].copy_from_slice(bytes);
    tensors
}

#[test]
fn a_changed_byte_of_any_type_is_a_change() {
    let tensors = refused();
    check_told(&tensors, &tensors, "changed", &[]);
    for (name, _, _, bytes) in &tensors {
        check_told(&tensors, &with(&tensors, name, &[bytes[0] ^ 2]), "changed", &[name]);
    }
}

#[test]
fn what_is_no_number_is_found_in_every_type_that_has_such_codes() {
    // The one of unknown type is told as unknown, so it is left out here.
    let mut tensors = refused();
    tensors.retain(|tensor| tensor.0 != "unknown");
    check_told(&tensors, &tensors, "nonfinite_count", &[]);
    for (name, code) in [
        ("gptq.scales", &[0, 0x7e][..]),
        ("nf4.weight.absmax", &[0, 0, 0xc0, 0x7f]),
        ("number", &[0, 0, 0x80, 0xff]),
        ("vector.F8_E4M3", &[0x7f]),
        ("vector.F8_E5M2", &[0x7c]),
        ("vector.F8_E4M3FNUZ", &[0x80]),
        ("vector.F8_E5M2FNUZ", &[0x80]),
        ("vector.F8_E8M0", &[0xff]),
        ("vector.C64", &[0, 0, 0xc0, 0x7f]),
    ] {
        let tuned = with(&tensors, name, code);
        check_told(&tensors, &tuned, "nonfinite_count", &[name]);
        // One that was so before is told as well.
        check_told(&tuned, &tuned, "nonfinite_count", &[name]);
    }
    let ones = [0xff; 64];
    for name in ["gptq.qzeros", "vector.I64", "vector.F4", "vector.F6_E3M2", "vector.U32"] {
        let length = tensors.iter().find(|tensor| tensor.0 == name).unwrap().3.len();
        check_told(&tensors, &with(&tensors, name, &ones[..length]), "nonfinite_count", &[]);
    }
}

#[test]
fn what_is_stored_on_one_side_alone_is_added_or_removed() {
    let tensors = refused();
    for name in ["gptq.scales", "gptq.qzeros", "nf4.weight.absmax", "vector.F8_E8M0", "unknown"] {
        let less: Vec<Stored> = tensors.iter().filter(|tensor| tensor.0 != name).cloned().collect();
        check_told(&tensors, &less, "removed", &[name]);
        check_told(&less, &tensors, "added", &[name]);
    }
}

#[test]
fn another_shape_or_type_of_scales_is_told() {
    let tensors = refused();
    let mut other = tensors.clone();
    other.iter_mut().find(|tensor| tensor.0 == "gptq.scales").unwrap().2 = vec![4, 2];
    check_told(&tensors, &other, "reshaped", &["gptq.scales"]);
    other = tensors.clone();
    other.iter_mut().find(|tensor| tensor.0 == "gptq.scales").unwrap().1 = "BF16";
    check_told(&tensors, &other, "retyped", &["gptq.scales"]);
    check_told(&tensors, &other, "changed", &["gptq.scales"]);
}

#[test]
fn scales_of_a_weight_that_is_decoded_are_compared_as_well() {
    let fp8 = |codes: u8, scale: f32| {
        vec![
            weight(),
            stored("q.weight", "F8_E4M3", &[2, 4], vec![codes; 8]),
            stored("q.weight_scale", "BF16", &[1], halves(&[scale])),
        ]
    };
    // The same numbers by other codes: the weight is unchanged, what is stored is not.
    let base = fp8(0x38, 2.0);
    check_told(&base, &fp8(0x40, 1.0), "changed", &["q.weight_scale"]);
    check_told(&base, &fp8(0x38, 4.0), "changed", &["q.weight", "q.weight_scale"]);
    check_told(&base, &fp8(0x38, f32::NAN), "nonfinite_count", &["q.weight", "q.weight_scale"]);
    let bare = base[..2].to_vec();
    check_told(&base, &bare, "removed", &["q.weight_scale"]);
    check_told(&bare, &base, "added", &["q.weight_scale"]);
    // Scales that came with the type are told with the weight.
    let plain = vec![weight(), stored("q.weight", "F32", &[2, 4], floats(8, 4))];
    check_told(&plain, &base, "added", &[]);
    check_told(&base, &plain, "removed", &[]);
    check_told(&plain, &base, "retyped", &["q.weight"]);
}

#[test]
fn what_is_not_known_of_a_type_is_said_and_breaks_a_rule() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    save(&path("a.safetensors"), &[weight(), stored("u", "F7_X", &[3], vec![1, 2, 3, 4, 5])]);
    let report = json_in(folder.path(), &["spectrum", "a.safetensors"]);
    let line = &list(&report, "skipped")[0];
    assert!(line["blake3"].is_string() && line.get("nonfinite_count").is_none(), "{line}");
    assert_eq!(line["unseen"], "whether its entries are finite is not known: f7_x is not decoded");
    let rule = ["--fail-if", "nonfinite_count > 0"];
    for command in [&["spectrum", "a.safetensors"][..], &["compare", "a.safetensors", "a.safetensors"]] {
        assert_eq!(
            svdkit_in(folder.path(), &[command, &rule].concat()).status.code(),
            Some(1),
            "{command:?}"
        );
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).map(drop).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        copy(&from.join(&name), &to.join(&name));
    }
}

/// Changes the first byte of every tensor of a fixture, one at a time; each is seen.
fn check_every_byte(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let name_of = |side: &str| format!("{side}-{}", Path::new(name).file_name().unwrap().to_str().unwrap());
    let [base, tuned] = [name_of("a"), name_of("b")];
    copy(&fixture(name), &folder.path().join(&base));
    copy(&fixture(name), &folder.path().join(&tuned));
    let tuned_path = folder.path().join(&tuned);
    let source = open(&tuned_path).unwrap().1;
    let files: Vec<PathBuf> = source
        .files()
        .iter()
        .map(|file| if tuned_path.is_dir() { tuned_path.join(&file.name) } else { tuned_path.clone() })
        .collect();
    for TensorInfo { name: tensor, file, offset, bytes, .. } in source.tensors() {
        let Some(1..) = bytes else { continue };
        let original = fs::read(&files[*file]).unwrap();
        let mut changed = original.clone();
        changed[*offset as usize] ^= 2;
        fs::write(&files[*file], changed).unwrap();
        let report = json_in(folder.path(), &["compare", &base, &tuned, "--no-svd"]);
        fs::write(&files[*file], original).unwrap();
        let failed =
            list(&report, "rows").iter().any(|row| row["tensor"] == **tensor && row.get("failed").is_some());
        // What lies in no order cannot be read, and that is an error.
        assert!(told(&report, "changed").contains(&tensor.as_str()) || failed, "{name}: {tensor}");
    }
}

#[test]
fn every_tensor_of_every_format_is_compared_by_its_bytes() {
    for name in
        ["formats/dtypes.safetensors", "formats/shapes.safetensors", "formats/sharded", "formats/pipeline"]
    {
        check_every_byte(name);
    }
    for name in ["formats/gguf/kinds.gguf", "formats/numpy/arrays.npz", "formats/numpy/columns.npy"] {
        check_every_byte(name);
    }
    for name in ["formats/torch/model.pt", "formats/torch/kinds.pth", "formats/torch/training.pt"] {
        check_every_byte(name);
    }
    for entry in fs::read_dir(fixture("quantized")).unwrap() {
        check_every_byte(&format!("quantized/{}", entry.unwrap().file_name().to_str().unwrap()));
    }
}

/// A GGUF file of one F32 weight and one vector of the type with this number.
fn gguf(path: &Path, kind: u32, entries: u64, data: &[u8]) {
    let tensor = |name: &str, shape: &[u64], kind: u32, offset: u64| {
        let mut bytes = (name.len() as u64).to_le_bytes().to_vec();
        bytes.extend(name.bytes());
        bytes.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes
    };
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &2u64.to_le_bytes(), &0u64.to_le_bytes()].concat();
    file.extend(tensor("w", &[4, 2], 0, 0));
    file.extend(tensor("blocks", &[entries], kind, 32));
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(floats(8, 5));
    file.extend(data);
    fs::write(path, file).unwrap();
}

#[test]
fn blocks_without_a_decoder_are_compared_and_their_scales_searched() {
    let folder = tempfile::tempdir().unwrap();
    // IQ4_NL with a scale of one half at the start of each block, and a type of the future.
    let sound = [[0x00, 0x38], [9; 2]].concat().into_iter().cycle().take(18).collect::<Vec<u8>>();
    gguf(&folder.path().join("a.gguf"), 20, 32, &sound);
    let changed = [&sound[..17], &[1]].concat();
    gguf(&folder.path().join("b.gguf"), 20, 32, &changed);
    gguf(&folder.path().join("c.gguf"), 20, 32, &[&[0, 0x7e], &sound[2..]].concat());
    let compare = |a: &str, b: &str| json_in(folder.path(), &["compare", a, b]);
    assert_eq!(told(&compare("a.gguf", "b.gguf"), "changed"), ["blocks"]);
    assert_eq!(told(&compare("a.gguf", "b.gguf"), "nonfinite_count"), [""; 0]);
    let report = compare("a.gguf", "c.gguf");
    let row = list(&report, "rows").iter().find(|row| row["name"] == "blocks").unwrap();
    assert_eq!(row["nonfinite_count"], 32);
    gguf(&folder.path().join("d.gguf"), 99, 32, &[1; 40]);
    gguf(&folder.path().join("e.gguf"), 99, 32, &[[1; 20], [2; 20]].concat());
    assert_eq!(told(&compare("d.gguf", "e.gguf"), "changed"), ["blocks"]);
}
