//! `explain` knows every key and every header that a command's table, sums and CSV can have.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::{json_in, list, svdkit, svdkit_in};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A run of each command with each option that brings columns.
const RUNS: [&str; 37] = [
    "spectrum fixtures/papers/base.safetensors",
    "spectrum fixtures/papers/base.safetensors --names weightwatcher",
    "spectrum fixtures/papers/hippo.npy --eig --robust dpd",
    "rank fixtures/papers/base.safetensors --at 2,4 --select-columns 3 --lowrank-plus-columns 2,0.25 --sst 2 --nf4 2 --basis dct=2,4 --energy 0.8 --threshold 0.5",
    "rank fixtures/papers/base.safetensors --at 2 --fisher fixtures/papers/fisher.safetensors",
    "rank fixtures/papers/base.safetensors --at 2 --acts fixtures/papers/inputs.safetensors --grad-cov fixtures/papers/output_gradients.safetensors",
    "farms fixtures/papers/weight.npy --window 8 --windows-per-dim 3",
    "farms fixtures/charlm/base --window 64 --allocate sparsity=target/sparsity.json",
    "intruders fixtures/papers/base.safetensors fixtures/papers/tuned.safetensors -k 3 --side both --exact",
    "heads fixtures/papers/heads --no-fold",
    "heads fixtures/papers/heads --no-fold --compose",
    "heads fixtures/papers/heads --no-fold --compose --components",
    "features fixtures/papers/activations.npy",
    "features fixtures/papers/gradients --gradients",
    "lineage fixtures/charlm/base fixtures/charlm/full",
    "scaling fixtures/order/width-8.safetensors fixtures/order/width-16.safetensors fixtures/order/width-32.safetensors --lr 0.1 --wd 0.1",
    "compare fixtures/charlm/base --across layers --include *.mlp.*",
    "compare fixtures/order/mlp.safetensors fixtures/order/mlp-moved.safetensors --permute",
    "compare fixtures/papers/base.safetensors fixtures/papers/tuned.safetensors --vectors all --all",
    "compare fixtures/papers/base.safetensors fixtures/papers/tuned.safetensors --no-svd",
    "compare fixtures/papers/base.safetensors --tuned one=fixtures/papers/tuned.safetensors --tuned two=fixtures/papers/compressed.safetensors",
    "compare fixtures/papers/base.safetensors fixtures/papers/compressed.safetensors --compensate 1,2 --acts fixtures/papers/inputs.safetensors",
    "series fixtures/charlm/base fixtures/charlm/full --as-given --base fixtures/charlm/base --include *.0.mlp.*",
    "adapter inspect fixtures/charlm/lora-r4 --base fixtures/charlm/base --include *.0.*",
    "adapter clash fixtures/charlm/lora-r4 fixtures/charlm/lora-r16 --include *.0.*",
    "adapter merge fixtures/charlm/lora-r4 --base fixtures/charlm/base --out target/merged",
    "adapter extract fixtures/charlm/base fixtures/charlm/full --rank 2 --out target/extracted",
    "adapter resize fixtures/charlm/lora-r4 --rank 2 --out target/resized",
    "adapter canon fixtures/charlm/lora-r4 --out target/canon",
    "adapter init fixtures/papers/base.safetensors --method pissa --rank 2 --out target/pissa --base-out target/pissa-base",
    "adapter init fixtures/papers/base.safetensors --method corda-ipm --acts fixtures/papers/inputs.safetensors --rank 2 --out target/corda --base-out target/corda-base",
    "adapter init fixtures/papers/base.safetensors --method eva --acts fixtures/papers/inputs.safetensors --rank 2 --out target/eva",
    "adapter init fixtures/papers/base.safetensors --method kasa --rank 2 --out target/kasa --base-out target/kasa-base",
    "adapter init fixtures/papers/compressed.safetensors --original fixtures/papers/base.safetensors --method eora --acts fixtures/papers/inputs.safetensors --rank 1 --out target/eora",
    "adapter init fixtures/papers/base.safetensors --method sorsa --rank 2 --out target/sorsa --base-out target/sorsa-base",
    "adapter verify target/pissa --base target/pissa-base --original fixtures/papers/base.safetensors",
    "rank fixtures/papers/factored.safetensors",
];

/// The cells of the head of each table in Markdown.
fn headers(markdown: &str) -> Vec<String> {
    let lines: Vec<&str> = markdown.lines().collect();
    let heads = lines.windows(2).filter(|pair| pair[0].starts_with("| ") && pair[1].starts_with("|--"));
    let cells = heads.flat_map(|pair| pair[0].trim_matches('|').split(" | "));
    // The text as it was before it was escaped; `#1` and the names of adapters are no columns.
    let cells = cells.map(|cell| {
        let text = cell.trim().replace("<br>", " ").replace(['\\', '`'], "");
        text.replace("&#124;", "|").replace("&gt;", ">")
    });
    cells.filter(|cell| !cell.contains('#') && !["", "adapter", "all"].contains(&cell.as_str())).collect()
}

#[test]
fn whatever_a_table_has_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let target = format!("{}/", folder.path().display());
    let mut words: BTreeSet<String> = BTreeSet::new();
    for run in RUNS {
        let arguments: Vec<String> = run.split(' ').map(|word| word.replace("target/", &target)).collect();
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // What was written once is not written again.
        let out = arguments.iter().any(|word| word.starts_with("--out"));
        if !out {
            let report = json_in(Path::new(ROOT), &arguments);
            words.extend(list(&report, "columns").iter().map(|key| key.as_str().unwrap().to_owned()));
        }
        arguments.extend(["--columns", "all", "--format", "markdown"]);
        let output = svdkit_in(Path::new(ROOT), &arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let found = headers(&text);
        assert!(found.len() > 3, "{run}: {text}{}", String::from_utf8_lossy(&output.stderr));
        words.extend(found);
    }
    // What only a terminal has, and what a comparison of two reports makes of a header.
    words.extend(
        ["status", "log σ", "over steps", "SVD 4", "Δ energy 2", "base k 80%", "exponent +"]
            .map(str::to_owned),
    );
    let unknown: Vec<&String> =
        words.iter().filter(|word| !svdkit(&["explain", word]).status.success()).collect();
    assert!(unknown.is_empty(), "{} of {}: {unknown:?}", unknown.len(), words.len());
}
