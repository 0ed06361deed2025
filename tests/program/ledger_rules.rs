//! Rules of a run that was done in parts.

use super::harness::{BASE, check_exit, svdkit};
use super::ledger::{folder, json, outcome};

#[test]
fn no_rule_of_any_part_is_forgotten() {
    let (_folder, path) = folder();
    let few = ["spectrum", BASE, "--include", "*.0.*", "-q"];
    let part = |number: &str, rules: &[&str]| {
        let words = [&few[..], &["--ledger", &path, "--resume", "--partition", number], rules].concat();
        assert!(svdkit(&words).status.success(), "{words:?}");
    };
    let rule = ["--fail-if", "spectral_norm > 0"];
    part("1/2", &[]);
    part("2/2", &rule);
    check_exit(&["collect", &path], 1, "");
    let report = json(&[&few[..4], &rule].concat(), &[]);
    assert_eq!(outcome(&svdkit(&["collect", &path, "--format", "json"])), report);
}
