//! `spectrum --eig` and `--robust`: numbers of the papers, and what they refuse.

use std::f64::consts::PI;

use serde_json::{Value, json};

use crate::adapter::{doubles, noise};
use crate::features::{file, golden, near, only};
use crate::harness::{BASE, check_exit, json as report, list, save, stdout};

/// HiPPO-LegS.
fn legs(side: usize) -> Vec<f64> {
    let entry = |i: usize, j: usize| match i.cmp(&j) {
        std::cmp::Ordering::Less => 0.0,
        std::cmp::Ordering::Equal => -(i as f64 + 1.0),
        std::cmp::Ordering::Greater => -((2.0 * i as f64 + 1.0) * (2.0 * j as f64 + 1.0)).sqrt(),
    };
    (0..side * side).map(|k| entry(k / side, k % side)).collect()
}

/// The report on one square matrix.
fn eigenvalues(side: usize, entries: Vec<f64>, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "a.safetensors", &[("a", side, entries)]);
    report(&[&["spectrum", path.to_str().unwrap(), "--eig"], more].concat())
}

#[test]
fn eigenvalues_of_a_matrix_are_those_of_numpy() {
    let golden = &golden()["eig_L8"];
    let found = eigenvalues(8, noise(8, 8, 401), &["--eig-at=-1,-1+1i,0,i,1,1+1i"]);
    let row = only(&found);
    for (column, key) in [
        ("eigenvector_condition", "cond_V"),
        ("henrici_departure", "henrici"),
        ("spectral_radius", "radius"),
        ("spectral_abscissa", "abscissa"),
    ] {
        near(&row[column], &golden[key], column);
    }
    for (found, expected) in list(&row["lists"], "sigma_min_at").iter().zip(list(golden, "sigma_min_on_grid"))
    {
        near(found, expected, "σ_min");
    }
}

#[test]
fn a_state_matrix_far_from_normal_keeps_its_eigenvalues() {
    for side in [8, 12] {
        let golden = &golden()[format!("hippo_legs_{side}").as_str()];
        let found = eigenvalues(side, legs(side), &[]);
        let row = only(&found);
        for column in ["spectral_abscissa", "numerical_abscissa"] {
            near(&row[column], &golden[column], column);
        }
        near(&row["henrici_departure"], &golden["henrici"], "henrici");
        let values = list(&row["lists"], "eigenvalues_real");
        for (found, expected) in values.iter().zip(list(golden, "eigenvalues_sorted")) {
            near(found, expected, "eigenvalue");
        }
        let condition = row["eigenvector_condition"].as_f64().unwrap();
        if side == 8 {
            // A condition number of κ is known to κ roundings.
            let expected = golden["cond_V"].as_f64().unwrap();
            assert!((condition / expected - 1.0).abs() < 1e-9, "{condition} is not {expected}");
        } else {
            assert!((condition.log10() - golden["cond_V"].as_f64().unwrap()).abs() < 1e-4, "{condition}");
        }
    }
}

#[test]
fn noise_makes_a_state_matrix_diagonalizable() {
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (own, added) = (legs(8), noise(8, 8, 402));
    let scale = 0.05 * norm(&own) / norm(&added);
    let entries = own.iter().zip(&added).map(|(a, e)| a + scale * e).collect();
    let found = eigenvalues(8, entries, &[]);
    near(&only(&found)["eigenvector_condition"], &golden()["ptd_legs_8_plus_noise"]["cond_V"], "κ");
}

/// The report on one channel of S4D with these eigenvalues.
fn channel(real: &[f64], imaginary: &[f64]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let logs: Vec<f64> = real.iter().map(|x| (-x).ln()).collect();
    let tables = [("s4.log_A_real", 4, logs), ("s4.A_imag", 4, imaginary.to_vec())];
    let path = file(folder.path(), "a.safetensors", &tables);
    report(&["spectrum", path.to_str().unwrap(), "--eig", "--include", "*log_A_real"])
}

#[test]
fn a_state_space_is_told_from_where_it_began() {
    let all = golden();
    let golden = &all["s4d_inits_N8"];
    let numbers =
        |value: &Value| value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    let half = [-0.5; 4];
    let starts = [
        ("real_distance", numbers(&golden["real"]), vec![0.0; 4]),
        ("lin_distance", half.to_vec(), numbers(&golden["lin_imag"])),
        ("inv_distance", half.to_vec(), numbers(&golden["inv_imag"])),
        ("legs_distance", half.to_vec(), numbers(&all["hippo_legs_8"]["s4d_legs_imag"])),
    ];
    for (column, real, imaginary) in &starts {
        let found = channel(real, imaginary);
        let row = only(&found);
        for (other, _, _) in &starts {
            let distance = row[*other].as_f64().unwrap();
            assert_eq!(distance < 1e-9, other == column, "{other} of {column}: {distance}");
        }
        assert_eq!(row["unstable_count"], 0);
        near(&row["slowest_time"], &json!(-1.0 / real[0]), "slowest");
        near(&row["fastest_time"], &json!(-1.0 / real[3]), "fastest");
        for (found, expected) in list(&row["lists"], "eigenvalues_imag").iter().zip(imaginary) {
            near(found, &json!(expected), "imaginary part");
        }
    }
    // Training that moved every imaginary part by π: two of the length of the start are left of it.
    let moved: Vec<f64> = (1..5).map(|k| PI * f64::from(k)).collect();
    let found = channel(&half, &moved);
    let expected = (4.0 * PI * PI / (1.0 + 14.0 * PI * PI)).sqrt();
    near(&only(&found)["lin_distance"], &json!(expected), "moved");
}

#[test]
fn mamba_stores_logarithms_of_real_rates() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<f64> = (0..48).map(|k| f64::from(k % 16 + 1).ln()).collect();
    let path = file(folder.path(), "m.safetensors", &[("layers.0.mixer.A_log", 16, rows)]);
    let found = report(&["spectrum", path.to_str().unwrap(), "--eig"]);
    let row = only(&found);
    near(&row["spectral_abscissa"], &json!(-1.0), "abscissa");
    near(&row["real_distance"], &json!(0.0), "distance");
    near(&row["fastest_time"], &json!(1.0 / 16.0), "fastest");
    assert_eq!(row["missing"]["lin_distance"]["code"], "not_state_space");
}

/// 4·L(24,3,61)·L(3,16,62) + T/20, with two giant entries.
fn outliers() -> Vec<f64> {
    let (left, right, rest) = (noise(24, 3, 61), noise(3, 16, 62), noise(24, 16, 11));
    let product = |k: usize| -> f64 { (0..3).map(|i| left[k / 16 * 3 + i] * right[i * 16 + k % 16]).sum() };
    let mut entries: Vec<f64> = (0..384).map(|k| 4.0 * product(k) + 0.05 * rest[k]).collect();
    entries[3 * 16 + 5] += 50.0;
    entries[10 * 16 + 2] -= 30.0;
    entries
}

#[test]
fn giant_entries_do_not_move_robust_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "o.safetensors", &[("o", 16, outliers())]);
    let found = report(&["spectrum", path.to_str().unwrap(), "--robust", "dpd", "--robust-directions", "6"]);
    let (row, all) = (only(&found), golden());
    let golden = &all["rsvddpd"];
    let close = |found: &Value, expected: &Value, allowed: f64| {
        let [found, expected] = [found, expected].map(|x| x.as_f64().unwrap());
        assert!((found - expected).abs() < allowed, "{found} is not {expected}");
    };
    for (found, expected) in
        list(&row["lists"], "leading_singular_values").iter().zip(list(golden, "outlier_plain"))
    {
        near(found, expected, "plain");
    }
    // The loops end at steps of 1e-4, so a start that differs in signs ends elsewhere by about as much.
    for (found, expected) in
        list(&row["lists"], "robust_singular_values").iter().zip(list(golden, "outlier_robust"))
    {
        close(found, expected, 1e-4);
    }
    for (found, expected) in list(&row["lists"], "dicmr").iter().zip(list(golden, "dicmr")) {
        close(found, expected, 1e-3);
    }
    assert_eq!(row["robust_rank"], golden["dicmr_rank"]);
    let golden = &all["localisation"];
    for (column, key) in [
        ("left_localization", "ipr_u1"),
        ("right_localization", "ipr_v1"),
        ("leading_peak", "max_u1_max_v1"),
        ("entry_share", "max_entry_share"),
    ] {
        near(&row[column], &golden[key], column);
    }
}

#[test]
fn the_example_of_the_package_comes_out_as_published() {
    let folder = tempfile::tempdir().unwrap();
    let mut entries: Vec<f64> = (0..20).map(|k| f64::from(k % 5 * 4 + k / 5 + 1)).collect();
    entries[5 + 2] = 100.0;
    let path = file(folder.path(), "x.safetensors", &[("x", 5, entries)]);
    let found = report(&["spectrum", path.to_str().unwrap(), "--robust", "dpd"]);
    let all = golden();
    let published = list(&all["rsvddpd"], "readme_published");
    for (found, expected) in list(&only(&found)["lists"], "robust_singular_values").iter().zip(published) {
        let [found, expected] = [found, expected].map(|x| x.as_f64().unwrap());
        assert!((found - expected).abs() < 5e-4, "{found} is not {expected}");
    }
}

#[test]
fn what_has_no_eigenvalues_says_so() {
    let report = report(&["spectrum", BASE, "--eig", "--include", "*.0.self_attn.?_proj"]);
    let code = |row: &Value| row["missing"]["spectral_abscissa"]["code"].as_str().map(str::to_owned);
    let codes: Vec<Option<String>> = list(&report, "rows").iter().map(code).collect();
    // Keys and values are 64 × 128, queries and outputs square.
    let none = Some("no_eigenvalues".to_owned());
    assert_eq!(codes, [none.clone(), None, None, none]);
    let huge = eigenvalues(2, vec![1e300, 2e300, 3e300, 1e300], &["--robust", "dpd"]);
    for column in ["spectral_radius", "entry_share"] {
        assert_eq!(only(&huge)["missing"][column]["code"], "overflow", "{column}");
    }
    check_exit(&["spectrum", BASE, "--columns", "spectral_radius"], 2, "add `--eig`");
    check_exit(&["spectrum", BASE, "--columns", "robust_rank"], 2, "add `--robust dpd`");
    check_exit(&["spectrum", BASE, "--eig", "--eig-at", "1j"], 2, "a complex number");
    check_exit(&["spectrum", BASE, "--robust", "dpd", "--robust-alpha", "2"], 2, "a number from 0 to 1");
    let plan = stdout(&["spectrum", BASE, "--eig", "--robust", "dpd", "--dry-run"]);
    assert!(plan.contains("eigenvalues") && plan.contains("robust values"), "{plan}");
}

/// Energies of the cosine basis at 1, 2, 4, 8 directions.
#[track_caller]
fn cosines(shape: (usize, usize), entries: Vec<f64>) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "g.safetensors", &[("g", shape.1, entries)]);
    let found = report(&["rank", path.to_str().unwrap(), "--basis", "dct=1,2,4,8"]);
    only(&found).clone()
}

#[test]
fn the_cosine_basis_holds_what_numpy_says() {
    for (key, shape, seed) in [("dct_T", (24, 16), 11), ("dct_Fl", (16, 24), 12)] {
        let row = cosines(shape, noise(shape.0, shape.1, seed));
        let golden = &golden()[key];
        for k in [1, 2, 4, 8] {
            let expected = &golden["energy"][k.to_string().as_str()];
            for (column, key) in [
                ("dct_energy", "l1"),
                ("dct_best_energy", "l2"),
                ("dct_first_energy", "first_k"),
                ("dct_efficiency", "eta_l1"),
            ] {
                near(&row[format!("{column}_at_{k}").as_str()], &expected[key], column);
            }
        }
        assert_eq!(list(&row["lists"], "dct_order"), &list(golden, "order_l1")[..8]);
    }
}

#[test]
fn a_smooth_matrix_takes_few_cosines() {
    let entry = |i: usize, j: usize| (0.2 * (i as f64 + 1.0) * (j as f64 + 0.5)).cos() / (1.0 + i as f64);
    let row = cosines((24, 16), (0..384).map(|k| entry(k / 16, k % 16)).collect());
    for k in [2, 4, 8] {
        for (column, key) in [("dct_first_energy", "first_k"), ("dct_best_energy", "best_k")] {
            let found = &row[format!("{column}_at_{k}").as_str()];
            near(found, &golden()["dct_smooth"][key][k.to_string().as_str()], column);
        }
        let svd = row[format!("dct_energy_at_{k}").as_str()].as_f64().unwrap()
            / row[format!("dct_efficiency_at_{k}").as_str()].as_f64().unwrap();
        near(&json!(svd), &golden()["dct_smooth"]["svd"][k.to_string().as_str()], "svd");
    }
}

#[test]
fn a_basis_is_named_and_ranks_above_the_matrix_are_left_blank() {
    check_exit(&["rank", BASE, "--basis", "wavelet"], 2, "`dct`, or `dct=` with ranks");
    check_exit(&["rank", BASE, "--basis", "dct=0"], 2, "`dct`, or `dct=` with ranks");
    let found = report(&["rank", BASE, "--basis", "dct=64,65", "--include", "*.0.self_attn.k_proj"]);
    let row = only(&found);
    near(&row["dct_energy_at_64"], &json!(1.0), "all directions");
    assert_eq!(row["missing"]["dct_energy_at_65"]["code"], "too_few_directions");
}

#[test]
fn imaginary_parts_of_another_shape_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, imaginary: (usize, Vec<f64>)| {
        let tables = [
            ("s4.log_A_real", 4, noise(2, 4, 1)),
            ("s4.A_imag", imaginary.0, imaginary.1),
            ("w", 3, noise(3, 3, 2)),
        ];
        let path = file(folder.path(), name, &tables);
        let arguments = ["spectrum", path.to_str().unwrap(), "--eig"];
        check_exit(&arguments, 2, "tensor `s4.A_imag`: is");
        let found = report(&arguments);
        let failed = |row: &&Value| row["failed"].is_string();
        assert_eq!(list(&found, "rows").iter().filter(failed).count(), 1, "{found}");
    };
    check("wide.safetensors", (8, noise(2, 8, 3)));
    check("one.safetensors", (4, noise(1, 4, 3)));
}

#[test]
fn mamba_2_stores_a_rate_for_each_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let rates: Vec<f64> = (1..=24).map(|k| f64::from(k).ln()).collect();
    let square = doubles("layers.0.mixer.in_proj.weight", &[3, 3], &noise(3, 3, 1));
    save(&path, &[doubles("layers.0.mixer.A_log", &[24], &rates), square]);
    let path = path.to_str().unwrap();
    let found = report(&["spectrum", path, "--eig", "--include", "*A_log"]);
    let row = only(&found);
    near(&row["slowest_time"], &json!(1.0), "slowest");
    near(&row["fastest_time"], &json!(1.0 / 24.0), "fastest");
    assert_eq!(list(&row["lists"], "eigenvalues_real").len(), 24);
    assert_eq!(row["missing"]["real_distance"]["code"], "not_state_space");
    // Without eigenvalues it is a vector, as ever.
    let plain = report(&["spectrum", path]);
    assert_eq!(list(&plain, "skipped")[0]["tensor"], "layers.0.mixer.A_log");
}

#[test]
fn a_rule_on_eigenvalues_is_about_rows_that_have_some() {
    let rows = ["spectrum", BASE, "--eig", "--include", "*.0.self_attn.?_proj"];
    let rule = |rule: &'static str| [&rows[..], &["--fail-if", rule]].concat();
    check_exit(&rule("spectral_radius > 1e6"), 0, "");
    check_exit(&rule("spectral_radius > 0"), 1, "");
    check_exit(&rule("max(spectral_radius) > 1e6"), 0, "");
    // Nothing to judge is no pass.
    check_exit(&rule("*.k_proj: spectral_radius > 1e6"), 2, "no `spectral_radius` that could be judged");
    check_exit(&rule("lin_distance > 1"), 2, "no `lin_distance` that could be judged");
}

#[test]
fn ranks_above_every_matrix_are_left_blank_with_a_word() {
    for (option, label) in [("--basis=dct=1000", "DCT 1000"), ("--select-columns=1000", "swapped")] {
        let table = stdout(&["rank", BASE, "--include", "*.0.*", option, "--width", "200"]);
        assert!(table.contains("the matrix has fewer directions than are asked for"), "{label}: {table}");
    }
}
