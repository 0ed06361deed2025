//! Numbers of updates beside those of whole weights: refused in every command, direction and mixture.

use std::fs;

use serde_json::Value;

use crate::harness::{check_exit, svdkit};

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/base");
const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");
const LORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");

#[test]
fn numbers_of_updates_are_not_compared_with_those_of_weights() {
    let folder = tempfile::tempdir().unwrap();
    let saved = |name: &str, arguments: &[&str]| {
        let path = folder.path().join(name).to_str().unwrap().to_owned();
        assert!(svdkit(&[arguments, &["-o", &path]].concat()).status.success(), "{arguments:?}");
        path
    };
    let few = ["--include", "*.0.self_attn.*"];
    for command in ["spectrum", "rank", "farms"] {
        let weights = saved("weights.json", &[&[command, BASE], &few[..]].concat());
        let adapter = saved("adapter.json", &[&[command, LORA], &few[..]].concat());
        let update = saved("update.json", &[&[command, FULL, "--base", BASE], &few[..]].concat());
        let adapted = saved("adapted.json", &[&[command, LORA, "--base", BASE], &few[..]].concat());
        let mut mixed: Value = serde_json::from_str(&fs::read_to_string(&adapter).unwrap()).unwrap();
        mixed["rows"][1].as_object_mut().unwrap().remove("update");
        let part = folder.path().join("mixed.json").to_str().unwrap().to_owned();
        fs::write(&part, mixed.to_string()).unwrap();
        for updates in [&adapter, &update, &adapted, &part] {
            for other in [weights.as_str(), BASE, LORA] {
                for (a, b) in [(updates.as_str(), other), (other, updates)] {
                    for more in [&[][..], &["--no-svd"]] {
                        let mut arguments = [&["compare", a, b][..], more].concat();
                        if other == LORA {
                            arguments.extend(["--base", BASE]);
                        }
                        let output = svdkit(&arguments);
                        let said = String::from_utf8_lossy(&output.stderr);
                        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
                        let told = [updates, other, "whole weights", "svdkit "];
                        assert!(told.iter().all(|part| said.contains(part)), "{arguments:?}: {said}");
                        assert!(output.stdout.is_empty() && said.lines().count() == 1, "{said}");
                    }
                }
            }
            check_exit(&["compare", updates, updates], 0, "");
        }
        let matrix = mixed["rows"][1]["name"].as_str().unwrap();
        for (a, b) in [(&adapter, &part), (&part, &adapter)] {
            check_exit(&["compare", a, b], 2, &format!("`{matrix}` is an update in {adapter}"));
        }
    }
}
