//! Slips of the hand: each is told in one line that says what to type.

use std::fs;

use crate::harness::{BASE, check_exit, check_exit_in, floats, save, stored, svdkit};

const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");
const LORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");

#[test]
fn an_adapter_is_not_a_base() {
    for arguments in
        [&["intruders", LORA, BASE][..], &["spectrum", FULL, "--base", LORA], &["rank", FULL, "--base", LORA]]
    {
        check_exit(
            arguments,
            2,
            "is an adapter, and the base has to be a checkpoint; are the two sides swapped?",
        );
    }
    check_exit(&["compare", LORA, BASE], 2, "is an adapter; are the two sides swapped?");
}

#[test]
fn two_models_without_a_common_matrix_are_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.safetensors");
    save(&other, &[stored("encoder.weight", "F32", &[4, 3], floats(12, 1))]);
    let other = other.to_str().unwrap();
    for arguments in
        [&["compare", BASE, other][..], &["intruders", BASE, other], &["spectrum", other, "--base", BASE]]
    {
        check_exit(arguments, 2, "have no matrix in common: `lm_head` against `encoder`");
    }
}

#[test]
fn a_forgotten_command_and_a_third_model_are_told() {
    check_exit(&[BASE], 2, "is not a command; to measure a model: `svdkit spectrum ");
    check_exit(&["./nope"], 2, "`./nope` is not a command, and there is no such file");
    check_exit(&["nope/nope"], 2, "`nope/nope` is neither a command nor a file here");
    for command in ["compare", "intruders"] {
        check_exit(&[command, BASE, FULL, LORA], 2, &format!("for another fine-tune: `--tuned {LORA}`"));
    }
}

#[test]
fn intruders_of_several_fine_tunes_are_a_table_each() {
    let output =
        svdkit(&["intruders", BASE, "--tuned", FULL, "--tuned", LORA, "--include", "*.0.self_attn.q_proj"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with(" matrix")).count(), 2, "{text}");
    assert!(text.contains("charlm/full") && text.contains("charlm/lora-r4"), "{text}");
    check_exit(&["intruders", BASE, FULL, "--tuned", LORA, "--format", "json"], 2, "run them one by one");
}

#[test]
fn each_of_several_fine_tunes_has_a_name_and_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (lora, full) = (format!("lora={LORA}"), format!("all={FULL}"));
    let arguments =
        ["intruders", BASE, "--tuned", &lora, "--tuned", &full, "--include", "*.0.*q_proj", "-o", "r.json"];
    check_exit_in(folder.path(), &arguments, 0, "wrote r.lora.json: 1 matrix");
    for (file, path) in [("r.lora.json", LORA), ("r.all.json", FULL)] {
        let report = fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(report.contains(path), "{file}: {report}");
    }
}

#[test]
fn a_filter_that_matches_nothing_leads_to_what_is_there() {
    check_exit(&["spectrum", BASE, "--include", "lm_hed"], 2, "did you mean `lm_head`?");
    check_exit(&["spectrum", BASE, "--include", "*.self_atn.*"], 2, "did you mean `self_attn`?");
    check_exit(&["rank", BASE, "--include", "layers.0"], 2, "so try '*layers.0*'");
    check_exit(&["compare", BASE, FULL, "--include", "lm_hed"], 2, "did you mean `lm_head`?");
    check_exit(&["spectrum", BASE, "--columns", "foo"], 2, "`svdkit explain` lists all");
}

#[test]
fn a_bare_name_of_a_hub_model_leads_to_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    check_exit_in(folder.path(), &["spectrum", "gpt2"], 2, "`hf download openai-community/gpt2`");
    check_exit_in(folder.path(), &["spectrum", "some-model"], 2, "named with its owner, as ORG/NAME");
}

#[test]
fn the_same_word_names_a_format_and_its_files() {
    let output = svdkit(&["spectrum", BASE, "--include", "lm_head", "--format", "md"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("| lm_head | 256 × 128 |"));
}

#[test]
fn files_of_different_names_in_one_folder_are_told() {
    let folder = tempfile::tempdir().unwrap();
    save(&folder.path().join("a.safetensors"), &[stored("a.weight", "F32", &[4, 3], floats(12, 1))]);
    save(&folder.path().join("b.safetensors"), &[stored("b.weight", "F32", &[4, 3], floats(12, 2))]);
    let output = svdkit(&["spectrum", folder.path().to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("`a.safetensors`, `b.safetensors` were read as one model"), "{text}");
}

#[test]
fn an_output_that_cannot_be_created_is_named_as_it_was_typed() {
    let folder = tempfile::tempdir().unwrap();
    check_exit_in(folder.path(), &["spectrum", BASE, "-o", "none/x.json"], 2, "there is not a folder `none`");
    if cfg!(target_os = "linux") {
        let output = svdkit(&["spectrum", BASE, "-o", "/proc/x.json"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("/proc/x.json: cannot create") && !said.contains(".svdkit-"), "{said}");
    }
}

#[test]
fn written_files_are_named_with_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["spectrum", BASE, "--include", "*.0.*", "-o", "r.json", "-o", "p.html"];
    check_exit_in(
        folder.path(),
        &arguments,
        0,
        "wrote r.json: 7 matrices, 0 findings\nwrote p.html: 7 matrices",
    );
    let quiet = crate::harness::svdkit_in(folder.path(), &[&arguments[..], &["-q"]].concat());
    assert!(quiet.stderr.is_empty());
    fs::metadata(folder.path().join("p.html")).unwrap();
}

#[test]
fn every_line_of_a_csv_has_a_name() {
    let output = svdkit(&["spectrum", BASE, "--include", "*.0.*", "--format", "csv"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| !line.starts_with(',')), "{text}");
    assert!(
        text.contains("\nmodel.layers.0.input_layernorm,model.layers.0.input_layernorm.weight,"),
        "{text}"
    );
}

#[test]
fn no_lines_and_no_threads_are_refused_in_words() {
    for option in ["--limit", "--jobs"] {
        check_exit(&["spectrum", BASE, option, "0"], 2, "a whole number from 1 on");
    }
}
