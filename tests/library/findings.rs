//! Golden matrices with the numbers that findings take, as numpy has them, and which findings are true of each.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use svdkit::findings::find;
use svdkit::matrix::Dtype;
use svdkit::metric::METRICS;
use svdkit::report::{Concentration, Report, Row, Source, Totals, Update};

use crate::dense::{Dense, golden, matrix};

fn source() -> Source {
    Source { path: "m".to_owned(), format: "safetensors".into(), commit: None, files: vec![] }
}

fn report(rows: Vec<Row>) -> Report {
    Report {
        schema: svdkit::report::SCHEMA,
        svdkit: "0".into(),
        command: "spectrum".into(),
        model: source(),
        base: None,
        tuned: vec![],
        settings: vec![],
        columns: METRICS.iter().map(|metric| &metric.column).collect(),
        rows,
        skipped: vec![],
        totals: Totals::default(),
        groups: vec![],
        notes: vec![],
        summary: None,
        findings: vec![],
        findings_unchecked: vec![],
        verdicts: vec![],
        unlisted: svdkit::report::Unlisted::default(),
        steps: vec![],
    }
}

/// What a finding of one matrix is called in the golden file.
fn told(name: &str, row: &Row) -> String {
    let which = row.places.leading_direction.filter(|_| name == "dominant-direction");
    let which = which.map_or(String::new(), |part| {
        let short = match part {
            Concentration::Constant => "one constant",
            Concentration::Spread => "spread",
            part => part.words(),
        };
        format!(":{short}")
    });
    format!("{name}{which}")
}

#[test]
fn golden_matrices_have_the_numbers_of_numpy() {
    let golden = golden();
    let columns = [
        ("kurtosis", "kurtosis"),
        ("iid_z", "iid_z"),
        ("mp_distance", "mp_distance"),
        ("mp_edge_z", "edge_z"),
        ("lone_entry", "lone_entry"),
        ("zero_rows", "zero_rows"),
        ("zero_columns", "zero_columns"),
        ("duplicate_rows", "duplicate_rows"),
        ("duplicate_columns", "duplicate_columns"),
        ("effective_rank", "effective_rank"),
    ];
    for (name, golden) in golden["matrices"].as_object().unwrap() {
        let (dense, dtype) = matrix(name, 0);
        let row = dense.row(name, dtype);
        for (key, theirs) in columns {
            let Some(expected) = golden["values"].get(theirs).and_then(Json::as_f64) else { continue };
            let found = row.values.get(key).unwrap().number();
            let found = found.unwrap_or_else(|| panic!("{name}: {key} is missing"));
            // The golden values are roots of eigenvalues, where a σ of zero is not zero; these are numpy.linalg.svd's.
            let expected = match (name.as_str(), key) {
                ("duplicate_rows", "effective_rank") => 41.770_141_693_018_154,
                ("rank_4", "effective_rank") => 3.974_910_625_084_491,
                ("rank_40_of_80", "effective_rank") => 35.148_782_265_944_34,
                _ => expected,
            };
            let close = (found - expected).abs() <= 1e-9 * expected.abs().max(1.0);
            assert!(close, "{name}: {key} is {found}, not {expected}");
        }
    }
}

/// A golden matrix whose seeds are moved by `shift` has the findings of the golden one.
#[track_caller]
fn check_findings(name: &str, golden: &Json, shift: u32) {
    let (dense, dtype) = matrix(name, shift);
    let called = if golden["embedding"] == true { format!("embed.{name}") } else { name.to_owned() };
    let report = report(vec![dense.row(&called, dtype)]);
    let (findings, _) = find(&report, &|_, _| false);
    let found: BTreeSet<String> =
        findings.iter().map(|finding| told(&finding.name, &report.rows[0])).collect();
    let expected: BTreeSet<String> =
        golden["findings"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    // Three equal rows make a direction at the edge of chance, on either side of it.
    let by_chance = |found: &String| shift > 0 && name == "duplicate_rows" && found == "random-like";
    let [found, expected] = [found, expected].map(|mut all| {
        all.retain(|one| !by_chance(one));
        all
    });
    assert_eq!(found, expected, "{name}, seeds + {shift}: {findings:?}");
}

#[test]
fn golden_matrices_have_the_findings_that_are_true_of_them_and_so_have_those_of_other_seeds() {
    for (name, golden) in golden()["matrices"].as_object().unwrap() {
        for shift in [0, 1000, 2000, 3000] {
            check_findings(name, golden, shift);
        }
    }
}

/// A golden update `B·A` of rank 8, its seeds moved by `shift`.
fn update(name: &str, shift: u32) -> Dense {
    let scaled = Dense::uniform(50, 8, 161 + shift).map(|_, c, x| match name {
        "plain" => x,
        "b_zero" => 0.0,
        "half_unused" => {
            if c < 3 {
                x
            } else {
                0.01 * x
            }
        }
        "decay" => x * 0.8f64.powf(c as f64),
        other => panic!("no golden update is called {other}"),
    });
    scaled.times(&Dense::uniform(8, 40, 160 + shift))
}

#[test]
fn golden_updates_have_the_findings_that_are_true_of_them_and_so_have_those_of_other_seeds() {
    for (name, golden) in golden()["updates"].as_object().unwrap() {
        for shift in [0, 1000, 2000] {
            let mut row = update(name, shift).row("w", Dtype::F64);
            row.update = Some(Box::new(Update {
                kind: "lora".into(),
                scale: Some(1.0),
                rank: Some(8),
                tensors: vec![],
                flags: vec![],
            }));
            let rank = row.values.get("rank_at_99").unwrap().number();
            if let Some(expected) = golden.get("rank_at_99").filter(|_| shift == 0) {
                assert_eq!(rank, expected.as_f64(), "{name}");
            }
            let (findings, _) = find(&Report { base: Some(source()), ..report(vec![row]) }, &|_, _| false);
            let found: Vec<&str> = findings.iter().map(|finding| finding.name.as_ref()).collect();
            let expected: Vec<&str> =
                golden["findings"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            assert_eq!(found, expected, "{name}, seeds + {shift}: {findings:?}");
        }
    }
}

#[test]
fn directions_above_rounding_are_counted_by_the_spacing_of_the_type() {
    let golden = golden();
    let check = |name: &str, dense: &Dense, dtype: Dtype| {
        let row = dense.row("w", dtype);
        let found = row.values.get("rank_above_rounding").unwrap().number().unwrap();
        assert_eq!(Some(found), golden["rounding"][name]["above"].as_f64(), "{name}");
    };
    check("bf16(L(100,80,170))", &Dense::uniform(100, 80, 170), Dtype::Bf16);
    check("f16(1e-5*L(100,80,170))", &Dense::uniform(100, 80, 170).map(|_, _, x| 1e-5 * x), Dtype::F16);
    let product = Dense::uniform(100, 6, 171).times(&Dense::uniform(6, 80, 172));
    check("bf16(L(100,6,171)*L(6,80,172))", &product, Dtype::Bf16);
    check("e4m3(0.02*L(100,80,170))", &Dense::uniform(100, 80, 170).map(|_, _, x| 0.02 * x), Dtype::F8E4M3);
}

#[test]
fn weights_that_are_mostly_rounding_are_told_in_every_type_that_rounds() {
    let check = |dense: &Dense, dtype: Dtype, expected: &[&str]| {
        let (findings, _) = find(&report(vec![dense.row("w", dtype)]), &|_, _| false);
        let found: Vec<&str> = findings.iter().map(|finding| finding.name.as_ref()).collect();
        assert_eq!(found, expected, "{dtype}: {findings:?}");
    };
    for shift in [0, 1000, 2000] {
        // 24 of 80 directions, each far above rounding; the others hold nothing else.
        let low = Dense::uniform(100, 24, 171 + shift).times(&Dense::uniform(24, 80, 172 + shift));
        for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F8E4M3, Dtype::F8E5M2] {
            check(&low, dtype, &["below-rounding"]);
        }
        check(&low, Dtype::F32, &[]);
        check(&Dense::bell(100, 80, 170 + shift), Dtype::F8E4M3, &["random-like"]);
    }
}
