//! What `--mitigate` writes, read back: which bytes change, what the weights then are, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value as Json;
use svdkit::checkpoint;
use svdkit::layer::Filter;

use super::harness::program;

fn charlm(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/charlm").join(name)
}

fn intruders(tuned: &Path, options: &[&str]) -> Output {
    let mut command = program();
    command.arg("intruders").arg(charlm("base")).arg(tuned).args(["--format", "json"]).args(options);
    command.output().unwrap()
}

fn rows(output: &Output) -> Vec<Json> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    report["rows"].as_array().unwrap().clone()
}

fn total(rows: &[Json]) -> u64 {
    rows.iter().map(|row| row["intruder_count"].as_u64().unwrap()).sum()
}

#[test]
fn a_full_copy_differs_in_its_intruders_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("mitigated");
    let options = ["--epsilon", "0.7", "--mitigate", "0.5", "--out", out.to_str().unwrap()];
    let before = rows(&intruders(&charlm("full"), &options));
    let (_, old) = checkpoint::open(&charlm("full")).unwrap();
    let (_, new) = checkpoint::open(&out).unwrap();
    assert_eq!(old.tensors(), new.tensors());
    for layer in old.select(&Filter::default()).layers {
        let row = before.iter().find(|row| row["name"] == layer.name.as_str()).unwrap();
        let (old, new) = (old.read(&layer, 0..layer.rows).unwrap(), new.read(&layer, 0..layer.rows).unwrap());
        let none = row["intruders"].as_array().unwrap().is_empty();
        assert_eq!(none, old == new, "{}", layer.name);
    }
    let (old, new) = (
        fs::read(charlm("full").join("model.safetensors")).unwrap(),
        fs::read(out.join("model.safetensors")).unwrap(),
    );
    assert_eq!(old.len(), new.len());
    assert_eq!(fs::read(charlm("full/config.json")).unwrap(), fs::read(out.join("config.json")).unwrap());
    // Half the strength of the strongest intruder: what is left of it is not among the first any more, or weaker.
    let after = rows(&intruders(&out, &["--epsilon", "0.7"]));
    assert!(total(&after) < total(&before), "{} of {}", total(&after), total(&before));
}

#[cfg(unix)]
#[test]
fn an_empty_folder_gives_way_by_whatever_path_it_is_named_and_keeps_its_rights() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let rights = std::os::unix::fs::PermissionsExt::from_mode(0o710);
    fs::set_permissions(folder.path().join("empty"), rights).unwrap();
    std::os::unix::fs::symlink("empty", folder.path().join("link")).unwrap();
    let out = folder.path().join("link");
    let only = ["--include", "*.0.self_attn.q_proj", "--mitigate", "0.5", "--out", out.to_str().unwrap()];
    rows(&intruders(&charlm("full"), &only));
    assert!(folder.path().join("empty/model.safetensors").is_file());
    assert!(out.symlink_metadata().unwrap().is_symlink());
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(folder.path().join("empty")).unwrap());
    assert_eq!(mode & 0o777, 0o710, "its rights stay");
}

#[test]
fn keeping_all_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("mitigated");
    let options = ["--epsilon", "0.7", "--mitigate", "1", "--out", out.to_str().unwrap()];
    rows(&intruders(&charlm("full"), &options));
    assert_eq!(
        fs::read(charlm("full").join("model.safetensors")).unwrap(),
        fs::read(out.join("model.safetensors")).unwrap()
    );
}

#[test]
fn an_adapter_keeps_its_rank_or_takes_the_one_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for (rank, name) in [(None, "same"), (Some("14"), "more")] {
        let out = folder.path().join(name);
        let mut options = vec!["--mitigate", "0", "--out", out.to_str().unwrap()];
        options.extend(rank.iter().flat_map(|rank| ["--rank", *rank]));
        let before = rows(&intruders(&charlm("lora-r4"), &options));
        let changed: Vec<&Json> = before.iter().filter(|row| row["intruder_count"] != 0).collect();
        for row in &changed {
            let kept = row["energy_kept"].as_f64().unwrap();
            assert!(if rank.is_some() { kept > 1.0 - 1e-12 } else { (0.5..1.0).contains(&kept) }, "{row}");
        }
        assert!(before.iter().all(|row| row["intruder_count"] != 0 || row.get("energy_kept").is_none()));
        let after = rows(&intruders(&out, &[]));
        let expected = rank.map_or(4, |rank| rank.parse().unwrap());
        for row in &changed {
            let again = after.iter().find(|again| again["name"] == row["name"]).unwrap();
            assert_eq!(again["update"]["rank"], expected, "{again}");
            assert_eq!(again["update"]["scale"], row["update"]["scale"], "{again}");
        }
        assert!(total(&after) * 3 < total(&before), "{} of {}", total(&after), total(&before));
    }
}

/// `lora-r4` in `folder`, its tensors named by `name` and turned where MLX turns them.
fn respelled(folder: &Path, settings: Option<&str>, turn: bool, name: impl Fn(&str, &str) -> String) {
    fs::create_dir(folder).unwrap();
    let bytes = fs::read(charlm("lora-r4").join("adapter_model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .iter()
        .map(|(stored, view)| {
            let (module, side) = stored.trim_start_matches("base_model.model.").split_once(".lora_").unwrap();
            let (shape, size) = (view.shape().to_vec(), view.dtype().bitsize() / 8);
            let entry = |i: usize| view.data()[i * size..(i + 1) * size].to_vec();
            let entries: Vec<u8> = (0..shape[1])
                .flat_map(|j| (0..shape[0]).map(move |i| (i, j)))
                .flat_map(|(i, j)| entry(i * shape[1] + j))
                .collect();
            let (shape, entries) =
                if turn { (vec![shape[1], shape[0]], entries) } else { (shape, view.data().to_vec()) };
            (name(module, &side[..1]), shape, entries)
        })
        .collect();
    let dtype = file.iter().next().unwrap().1.dtype();
    let views = tensors.iter().map(|(name, shape, entries)| {
        (name, safetensors::tensor::TensorView::new(dtype, shape.clone(), entries).unwrap())
    });
    fs::write(folder.join("adapters.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let config = fs::read_to_string(charlm("lora-r4").join("adapter_config.json")).unwrap();
    fs::write(folder.join("adapter_config.json"), settings.unwrap_or(&config)).unwrap();
}

#[test]
fn linear_factors_are_written_back_in_the_spelling_they_have() {
    let folder = tempfile::tempdir().unwrap();
    let peft = folder.path().join("peft");
    rows(&intruders(&charlm("lora-r4"), &["--mitigate", "0", "--out", peft.to_str().unwrap()]));
    let expected = rows(&intruders(&peft, &[]));
    let [diffusers, mlx] = ["diffusers", "mlx"].map(|name| folder.path().join(name));
    let side = |side: &str| if side == "A" { "down" } else { "up" };
    respelled(&diffusers, None, false, |module, of| format!("{module}.lora.{}.weight", side(of)));
    let scale = expected[0]["update"]["scale"].as_f64().unwrap();
    let settings = format!(r#"{{"lora_parameters": {{"rank": 4, "scale": {scale}}}}}"#);
    respelled(&mlx, Some(&settings), true, |module, of| format!("{module}.lora_{}", of.to_lowercase()));
    for adapter in [diffusers, mlx] {
        let out = adapter.with_extension("out");
        rows(&intruders(&adapter, &["--mitigate", "0", "--out", out.to_str().unwrap()]));
        let found = rows(&intruders(&out, &[]));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((&found["name"], &found["intruders"]), (&expected["name"], &expected["intruders"]));
        }
    }
}

#[test]
fn what_cannot_be_written_is_refused_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let check = |tuned: &Path, options: &[&str], expected: &str| {
        let output = intruders(tuned, options);
        assert_eq!(output.status.code(), Some(2));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(expected), "{message}");
    };
    fs::write(folder.path().join("file"), "").unwrap();
    let full = folder.path().to_str().unwrap();
    check(&charlm("full"), &["--mitigate", "0", "--out", full], "is not an empty folder");
    let out = folder.path().join("new");
    let out = out.to_str().unwrap();
    check(&charlm("full"), &["--of", "delta", "--mitigate", "0", "--out", out], "leave out `--of delta`");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
}
