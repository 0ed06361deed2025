//! docs/atlas: every report is a baseline, has its singular values beside it, and stands in the table.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{json_in, list};

const ATLAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/atlas");

/// The names of the tensors in a safetensors file, and how many entries they have.
fn lengths(path: &Path) -> Vec<(String, u64)> {
    let bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let tensors = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let mut lengths: Vec<_> =
        tensors.map(|(name, tensor)| (name.clone(), tensor["shape"][0].as_u64().unwrap())).collect();
    lengths.sort();
    lengths
}

#[test]
fn every_report_of_the_atlas_is_a_baseline_with_its_singular_values_and_a_line_in_the_table() {
    let folder = Path::new(ATLAS);
    let page = fs::read_to_string(folder.join("README.md")).unwrap();
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let size: u64 = files.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(size < 5 << 20, "{size} bytes");
    let reports: Vec<_> = files.iter().filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    assert!(reports.len() > 9, "{reports:?}");
    assert_eq!(page.matches(".json) | ").count(), reports.len());
    for path in reports {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(page.contains(&format!("]({name}) | ")), "{name}");
        let report: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let mut expected: Vec<(String, u64)> = list(&report, "rows")
            .iter()
            .map(|row| {
                let shape = list(row, "shape").iter().map(|side| side.as_u64().unwrap());
                (row["name"].as_str().unwrap().to_owned(), shape.min().unwrap())
            })
            .collect();
        expected.sort();
        assert_eq!(lengths(&path.with_extension("safetensors")), expected, "{name}");
        let compared = json_in(folder, &["compare", name, name, "--fail-if", "changed > 0"]);
        assert_eq!(compared["verdicts"][0]["outcome"], "pass", "{name}");
        assert_eq!(compared["totals"]["compared"]["unchanged"], expected.len(), "{name}");
    }
}
