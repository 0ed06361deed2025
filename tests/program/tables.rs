//! Tables over the names that real models have, at the widths of real terminals.

use std::path::Path;

use unicode_width::UnicodeWidthStr;

use crate::harness::{BASE, check_exit, floats, save, stdout, stored, svdkit};

/// The names of the matrices of some models, by architecture.
fn names() -> Vec<(&'static str, Vec<String>)> {
    let blocks = |count: usize, start: &str, roles: &[&str]| -> Vec<String> {
        (0..count).flat_map(|i| roles.iter().map(move |role| format!("{start}{i}.{role}"))).collect()
    };
    let attention = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
    let mlp = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];
    let llama = blocks(12, "model.layers.", &[&attention[..], &mlp].concat());
    let experts: Vec<String> = (0..9).map(|i| format!("mlp.experts.{i}.gate_proj")).collect();
    let experts: Vec<&str> =
        experts.iter().map(String::as_str).chain(["mlp.gate", "mlp.shared_expert.up_proj"]).collect();
    let encoder = [
        "attention.self.query",
        "attention.self.key",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ];
    let bert = blocks(12, "bert.encoder.layer.", &encoder);
    let tables = ["word_embeddings", "position_embeddings", "token_type_embeddings"];
    let bert = bert.into_iter().chain(tables.map(|table| format!("bert.embeddings.{table}")));
    let unet = ["down_blocks", "up_blocks"].into_iter().flat_map(|side| {
        (0..3).flat_map(move |i| {
            ["attn1.to_q", "attn1.to_out.0", "attn2.to_q", "ff.net.0.proj", "ff.net.2"]
                .map(|role| format!("{side}.{i}.attentions.1.transformer_blocks.0.{role}"))
        })
    });
    let gpt2 = blocks(12, "transformer.h.", &["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]);
    let weights = ["w1", "w2", "w3"];
    let mixtral: Vec<String> =
        (0..8).flat_map(|e| weights.map(|w| format!("block_sparse_moe.experts.{e}.{w}"))).collect();
    let mixtral: Vec<&str> = mixtral.iter().map(String::as_str).chain(["block_sparse_moe.gate"]).collect();
    vec![
        ("gpt2", gpt2),
        ("mixtral", blocks(2, "model.layers.", &mixtral)),
        ("llama", llama),
        ("qwen2-moe", blocks(2, "model.layers.", &experts)),
        ("bert", bert.collect()),
        ("unet", unet.collect()),
    ]
}

fn checkpoint(folder: &Path, (model, names): &(&str, Vec<String>)) -> String {
    let tensors: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(i, name)| stored(&format!("{name}.weight"), "F32", &[6, 5], floats(30, i)))
        .collect();
    let path = folder.join(format!("{model}.safetensors"));
    save(&path, &tensors);
    path.to_str().unwrap().to_owned()
}

fn printed(arguments: &[&str]) -> String {
    let output = svdkit(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn no_table_is_wider_than_asked_and_no_two_rows_look_alike() {
    let folder = tempfile::tempdir().unwrap();
    for model in names() {
        let path = checkpoint(folder.path(), &model);
        for width in ["60", "80", "100", "140", "160"] {
            for sort in [&[][..], &["--sort", "-stable_rank"]] {
                let text = printed(&[&["spectrum", &path, "--width", width][..], sort].concat());
                let (name, most) = (model.0, width.parse::<usize>().unwrap());
                for line in text.lines().take_while(|line| !line.contains("safetensors")) {
                    assert!(line.width() <= most, "{name}, {width}: {line}");
                }
                let head = text.lines().next().unwrap();
                if !sort.is_empty() {
                    assert!(head.contains("stable"), "{name}, {width}: {head}");
                }
                // A row under another heading is another row: its block is told by the heading.
                let rows = text.lines().skip(1).take_while(|line| !line.starts_with(" …"));
                let mut seen = std::collections::BTreeSet::new();
                let mut block = "";
                for row in rows {
                    let is_heading = row.split_whitespace().count() == 1 && !row.starts_with("  ");
                    block = if is_heading { row } else { block };
                    let start: String = row.chars().take(most * 3 / 5).collect();
                    assert!(seen.insert((block, start)), "{name}, {width}: {row}\n{text}");
                }
            }
        }
    }
}

#[test]
fn both_sides_of_a_metric_stay_at_any_width() {
    let folder = tempfile::tempdir().unwrap();
    let base = checkpoint(folder.path(), &names()[2]);
    let others = ["a_rather_long_name", "b"].map(|name| {
        let tensors = names()[2].1.clone().into_iter().enumerate();
        let tensors = tensors
            .map(|(i, tensor)| {
                stored(&format!("{tensor}.weight"), "F32", &[6, 5], floats(30, i + 7 + name.len()))
            })
            .collect::<Vec<_>>();
        let path = folder.path().join(format!("{name}.safetensors"));
        save(&path, &tensors);
        path.to_str().unwrap().to_owned()
    });
    for width in ["40", "60", "80", "100", "160"] {
        let text =
            printed(&["compare", &base, "--tuned", &others[0], "--tuned", &others[1], "--width", width]);
        let head: Vec<&str> = text.lines().take_while(|line| !line.contains("q_proj")).collect();
        let count = |word: &str| head.iter().map(|line| line.matches(word).count()).sum::<usize>();
        assert!(count("‖ΔW‖/‖W₀‖") >= 2 || text.matches("‖ΔW‖/‖W₀‖").count() == 2, "{width}: {text}");
        assert!(text.lines().take(8).all(|line| line.width() <= width.parse().unwrap()), "{width}: {text}");
    }
}

#[test]
fn what_stands_round_a_table_keeps_to_its_width() {
    let folder = tempfile::tempdir().unwrap();
    let unet = names().pop().unwrap();
    let path = checkpoint(folder.path(), &unet);
    let rule = "*.transformer_blocks.0.attn1.*: share(effective_rank < 1000000) > 99.5%";
    let arguments =
        ["spectrum", &path, "--width", "60", "--fail-if", rule, "--fail-if", "max(stable_rank) > 1"];
    let output = svdkit(&arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    for line in text.lines().filter(|line| !line.contains("safetensors")) {
        assert!(line.width() <= 60, "{line}\n{text}");
    }
    assert!(text.contains("100.0 % (12 of 12)"), "{text}");
    let verdict = text.split("max of stable_rank").nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
    assert!(verdict.contains(&"in"), "the matrix is named: {text}");
}

#[test]
fn an_inventory_and_an_explanation_keep_to_the_width() {
    let folder = tempfile::tempdir().unwrap();
    for model in names() {
        let path = checkpoint(folder.path(), &model);
        for width in ["60", "80", "140"] {
            for arguments in [&["inspect", path.as_str()][..], &["explain", "alpha"], &["explain"]] {
                let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_svdkit"));
                let output = command.args(arguments).env_clear().env("COLUMNS", width).output().unwrap();
                let text = String::from_utf8(output.stdout).unwrap();
                for line in text.lines().filter(|line| !line.contains("safetensors")) {
                    assert!(line.width() <= width.parse().unwrap(), "{arguments:?}, {width}: {line}\n{text}");
                }
                assert!(!text.contains('…') && !text.contains("**"), "{text}");
            }
        }
    }
}

#[test]
fn rows_that_break_a_rule_or_have_a_problem_are_red() {
    let folder = tempfile::tempdir().unwrap();
    let tensors: Vec<_> = (0..3)
        .map(|i| {
            let mut entries = floats(48 * 40, i);
            if i == 2 {
                entries[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            }
            stored(&format!("up{i}.weight"), "F32", &[48, 40], entries)
        })
        .collect();
    let path = folder.path().join("m.safetensors");
    save(&path, &tensors);
    let path = path.to_str().unwrap();
    let colored = |more: &[&str]| {
        let text =
            String::from_utf8(svdkit(&[&["spectrum", path, "--color", "always"], more].concat()).stdout);
        let text = text.unwrap();
        let color = |name: &str| {
            let line = text.lines().find(|line| line.contains(name) && line.contains("48 × 40")).unwrap();
            line.strip_prefix("\x1b[").and_then(|rest| rest.split_once('m')).map(|(code, _)| code.to_owned())
        };
        ["up0", "up1", "up2"].map(color)
    };
    let some = |code: &str| Some(code.to_owned());
    // A NaN is a problem by itself.
    assert_eq!(colored(&[]), [None, None, some("31")]);
    assert_eq!(colored(&["--fail-if", "up1: stable_rank > 0"]), [None, some("31"), some("31")]);
    assert_eq!(colored(&["--no-findings"]), [None, None, None]);
}

#[test]
fn columns_that_do_not_fit_continue_below() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path(), &names()[2]);
    let text = printed(&["spectrum", &path, "--width", "80", "--columns", "all", "--limit", "2"]);
    assert!(text.lines().filter(|line| line.starts_with(" matrix")).count() > 3, "{text}");
    assert!(
        text.lines().take_while(|line| !line.contains("more rows")).all(|line| line.width() <= 80),
        "{text}"
    );
    assert!(text.contains("more rows"), "{text}");
}

#[test]
fn a_table_says_what_it_does_not_show() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path(), &names()[2]);
    let text = printed(&["spectrum", &path, "--limit", "3", "--sort", "-alpha"]);
    assert!(text.contains(" … 81 more rows · "), "{text}");
    assert!(text.contains("more columns: --columns all"), "{text}");
}

#[test]
fn columns_are_named_as_the_table_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path(), &names()[2]);
    let text =
        printed(&["spectrum", &path, "--columns", "α, KS D", "--sort", "-Stable Rank", "--limit", "1"]);
    assert!(text.lines().next().is_some_and(|head| head.contains("α") && head.contains("KS D")), "{text}");
    check_exit(&["spectrum", &path, "--columns", "sharpness"], 2, "`spectral_norm`, `condition_number`");
}

#[test]
fn sums_of_groups_fit_a_narrow_terminal_and_lose_no_number() {
    let table = |width: &str| {
        let full = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");
        stdout(&["compare", BASE, full, "--permute", "--vectors", "none", "--width", width])
    };
    // From the header of the groups to the blank line below them.
    let sums = |table: &str| -> Vec<String> {
        let lines = table.lines().skip_while(|line| !line.starts_with(" neurons"));
        lines.take_while(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let wide = sums(&table("160"));
    assert!(wide.len() > 4 && wide.iter().any(|line| line.width() > 80), "{wide:?}");
    for width in ["60", "80"] {
        let narrow = table(width);
        let widest = narrow.lines().map(UnicodeWidthStr::width).max().unwrap();
        assert!(widest <= width.parse().unwrap(), "{widest} of {width}: {narrow}");
        for word in wide.iter().flat_map(|line| line.split_whitespace()) {
            assert!(narrow.contains(word), "{word}: {narrow}");
        }
    }
}
