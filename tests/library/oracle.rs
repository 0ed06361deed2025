//! Numbers that other tools produced, with their versions: WeightWatcher 0.7.7 on the bundled model and on small matrices
//! made by formula, powerlaw 1.5. On a miss the worst column, matrix and difference are named.

#![expect(clippy::unreadable_literal, reason = "copied digit by digit from the peers")]

use std::path::Path;

use serde_json::Value as Json;
use svdkit::analysis::spectrum::measure;
use svdkit::checkpoint;
use svdkit::layer::{Filter, Layer, select};
use svdkit::matrix::{Dtype, Matrix};
use svdkit::metric::{METRICS, Metric, RANKS, Subject, WEIGHTWATCHER, energy_shares};
use svdkit::report::Measurements;
use svdkit::solver::{Entries, NoMemo, Precision, singular_values};

/// Columns that only arithmetic separates from the peer's; the others depend on the choice of a tail.
const EXACT: [&str; 13] = [
    "sv_max",
    "sv_min",
    "lambda_max",
    "norm",
    "log_norm",
    "spectral_norm",
    "log_spectral_norm",
    "stable_rank",
    "entropy",
    "matrix_rank",
    "rank_loss",
    "num_evals",
    "Q",
];

/// The smallest singular value: the fast route squares the matrix, and with it the ratio to σ₁ that rounding is measured by.
const SMALLEST: [&str; 2] = ["sv_min", "smallest_singular_value"];

/// The largest relative difference in each class of columns: norms and ranks, then the fit.
#[derive(Default)]
struct Worst {
    exact: (f64, String),
    fit: (f64, String),
}

impl Worst {
    fn see(&mut self, matrix: &str, key: &str, found: f64, expected: f64) {
        let difference = (found - expected).abs() / expected.abs().max(1e-300);
        let worst = if EXACT.contains(&key) { &mut self.exact } else { &mut self.fit };
        if difference > worst.0 && found.to_bits() != expected.to_bits() {
            *worst = (
                difference,
                format!("{matrix} {key}: {found:e}, peer {expected:e}, off by {difference:.1e}"),
            );
        }
    }

    fn check(&self, exact: f64, fit: f64) {
        assert!(self.exact.0 < exact, "{}", self.exact.1);
        assert!(self.fit.0 < fit, "{}", self.fit.1);
    }
}

fn number(values: &Measurements, key: &str) -> f64 {
    values
        .get(key)
        .unwrap_or_else(|| panic!("no column {key}"))
        .number()
        .unwrap_or_else(|| panic!("{key} is missing"))
}

fn check_bundled(precision: Precision) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let text = std::fs::read_to_string(root.join("oracle/weightwatcher_charlm.json")).unwrap();
    let oracle: Json = serde_json::from_str(&text).unwrap();
    let (_, source) = checkpoint::open(&root.join("charlm/base")).unwrap();
    let selection = select(source.tensors(), &Filter::default());
    let mut worst = Worst::default();
    let rows = oracle["rows"].as_array().unwrap();
    assert_eq!(rows.len(), selection.layers.len());
    for row in rows {
        let name = row["name"].as_str().unwrap();
        let layer = selection.layers.iter().find(|layer| layer.name == name).unwrap();
        let peer = measure(source.as_ref(), layer, precision, WEIGHTWATCHER, &NoMemo).unwrap().values;
        for (key, expected) in row.as_object().unwrap().iter().filter(|(_, value)| value.is_number()) {
            if precision == Precision::Exact || !SMALLEST.contains(&key.as_str()) {
                worst.see(name, key, number(&peer, key), expected.as_f64().unwrap());
            }
        }
        let ours = measure(source.as_ref(), layer, precision, METRICS, &NoMemo).unwrap().values;
        let pairs = [
            ("alpha", "alpha"),
            ("xmin", "xmin"),
            ("ks_distance", "D"),
            ("alpha_sigma", "sigma"),
            ("tail_count", "num_pl_spikes"),
            ("alpha_weighted", "alpha_weighted"),
            ("stable_rank", "stable_rank"),
            ("spectral_norm", "sv_max"),
            ("smallest_singular_value", "sv_min"),
            ("max_eigenvalue", "lambda_max"),
        ];
        for (key, peers) in pairs {
            if precision == Precision::Exact || !SMALLEST.contains(&key) {
                worst.see(name, peers, number(&ours, key), row[peers].as_f64().unwrap());
            }
        }
        // The promise of docs/numerics.md, with a factor for luck.
        let promise = 4.0 * f64::EPSILON * number(&ours, "condition_number").powi(2) + 1e-12;
        for (values, key) in [(&peer, SMALLEST[0]), (&ours, SMALLEST[1])] {
            let (found, expected) = (number(values, key), row["sv_min"].as_f64().unwrap());
            assert!((found / expected - 1.0).abs() < promise, "{name} {key}: {found:e}, peer {expected:e}");
        }
    }
    worst.check(1e-9, 1e-6);
}

#[test]
fn the_bundled_model_agrees_with_weightwatcher() {
    check_bundled(Precision::Exact);
}

#[test]
fn the_fast_route_agrees_with_weightwatcher_too() {
    check_bundled(Precision::Fast);
}

/// The generator of the golden matrices: a linear congruence, uniform in [−½, ½).
fn golden(rows: usize, cols: usize, seed: u32) -> Vec<f64> {
    let mut state = seed;
    let entry = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    (0..rows * cols).map(entry).collect()
}

fn check_golden(
    (rows, cols): (usize, usize),
    entries: &[f64],
    metrics: &'static [Metric],
    expected: &[(&str, f64)],
) {
    let layer = Layer::plain("golden", (rows, cols), Dtype::F64);
    let spectrum =
        singular_values(&Matrix::from_f64(rows, cols, entries).unwrap(), Precision::Exact).unwrap();
    let raw = Entries::new();
    let values = Subject::new(&layer, &raw, Ok(&spectrum)).evaluate(metrics);
    let mut worst = Worst::default();
    for (key, expected) in expected {
        worst.see("golden", key, number(&values, key), *expected);
    }
    worst.check(1e-9, 1e-9);
}

#[test]
fn the_tall_golden_matrix_agrees_with_weightwatcher() {
    let expected = [
        ("num_evals", 32.0),
        ("sv_max", 3.500048926364608),
        ("sv_min", 0.37273946940832503),
        ("lambda_max", 12.250342486946046),
        ("alpha", 3.005369160850117),
        ("xmin", 4.1796787678309055),
        ("D", 0.18935539612914698),
        ("sigma", 0.5359574524216787),
        ("num_pl_spikes", 14.0),
        ("sigma_mp", 0.968579844710477),
        ("W_scale", 0.49560254449318786),
        ("mp_softrank", 1.028785273859263),
        ("bulk_max", 12.602971950302553),
        ("bulk_min", 0.12861514782091732),
        ("num_spikes", 0.0),
        ("detX_num", 25.0),
        ("ERG_gap", 11.0),
        ("detX_val", 1.0905799102358382),
        ("norm", 130.28155197472864),
        ("log_norm", 2.114882923442468),
        ("log_spectral_norm", 1.088148230587211),
        ("alpha_weighted", 3.270287134640426),
        ("log_alpha_norm", 3.87946927012261),
        ("stable_rank", 10.634931399963433),
        ("matrix_rank", 32.0),
        ("entropy", 0.9018046113548962),
    ];
    check_golden((48, 32), &golden(48, 32, 1), WEIGHTWATCHER, &expected);
}

#[test]
fn the_tall_golden_matrix_has_the_published_ranks() {
    let expected = [
        ("effective_rank", 28.4996916250327),
        ("effective_rank_energy", 22.769379057370504),
        ("stable_rank", 10.634931399963433),
        ("participation_ratio", 19.08529712700364),
        ("nuclear_norm", 58.44339343920852),
        ("condition_number", 9.390067898954936),
        ("rank_at_90", 20.0),
        ("rank_at_95", 23.0),
        ("rank_at_99", 29.0),
        ("numerical_rank", 32.0),
        ("alpha_hill", 2.5544056410496108),
    ];
    check_golden((48, 32), &golden(48, 32, 1), METRICS, &expected);
}

#[test]
fn few_values_take_weightwatchers_fit_for_small_samples() {
    let expected = [
        ("num_evals", 12.0),
        ("alpha", 2.744055240733381),
        ("xmin", 1.438614209207661),
        ("D", 0.14551111730839794),
        ("sigma", 0.6166166437432552),
        ("num_pl_spikes", 8.0),
        ("sigma_mp", 0.9294810534010634),
        ("W_scale", 0.7289184083564184),
        ("mp_softrank", 1.039841359800297),
        ("bulk_max", 4.738540770532345),
        ("bulk_min", 0.1394896165134848),
        ("num_spikes", 0.0),
        ("detX_num", 11.0),
        ("ERG_gap", 3.0),
        ("detX_val", 0.2644911546268315),
        ("alpha_weighted", 1.80744753942284),
        ("log_alpha_norm", 2.1768430791635116),
        ("entropy", 0.9006448764967884),
    ];
    check_golden((24, 12), &golden(24, 12, 2), WEIGHTWATCHER, &expected);
    check_golden(
        (24, 14),
        &golden(24, 14, 1),
        WEIGHTWATCHER,
        &[("alpha", 1.8113102384834794), ("xmin", 0.6359491676416895)],
    );
    let expected = [
        ("alpha", 1.774296806482245),
        ("D", 0.2245568233816071),
        ("sigma", 0.2737552612573417),
        ("xmin", 0.6045349060657809),
    ];
    check_golden((24, 8), &golden(24, 8, 9), WEIGHTWATCHER, &expected);
    // Its standard error of that tail is negative; everything else is repeated.
    let expected = [("alpha", 1.6185069013405202), ("D", 0.35397702002976), ("xmin", 0.509179874479271)];
    check_golden((24, 5), &golden(24, 5, 9), WEIGHTWATCHER, &expected);
}

#[test]
fn the_square_golden_matrix_agrees_with_weightwatcher() {
    let expected = [
        ("sv_max", 3.004782293655613),
        ("alpha", 14.0636953749527),
        ("xmin", 7.525258540666205),
        ("D", 0.18273461977286787),
        ("sigma", 6.53184768747635),
        ("num_pl_spikes", 4.0),
        ("sigma_mp", 1.016397788646247),
        ("W_scale", 0.6136997648885877),
        ("mp_softrank", 1.2152048038482666),
        ("bulk_max", 10.971739824114733),
        ("bulk_min", 0.0),
        ("num_spikes", 0.0),
        ("detX_num", 24.0),
        ("ERG_gap", 20.0),
        ("detX_val", 0.40798039190111657),
        ("norm", 84.96460926364955),
        ("alpha_weighted", 13.439633277521924),
        ("log_alpha_norm", 13.608879335991846),
        ("stable_rank", 9.410485756082778),
        ("entropy", 0.8495344961189945),
    ];
    check_golden((32, 32), &golden(32, 32, 4), WEIGHTWATCHER, &expected);
}

#[test]
fn a_planted_spike_agrees_with_weightwatcher() {
    let spike = 8.0 / (48f64.sqrt() * 32f64.sqrt());
    let entries: Vec<f64> = golden(48, 32, 1).iter().map(|x| x + spike).collect();
    let expected = [
        ("lambda_max", 77.05658351920086),
        ("alpha", 2.428928017237401),
        ("xmin", 3.6610541273345016),
        ("D", 0.09863567885245483),
        ("num_pl_spikes", 16.0),
        ("sigma_mp", 0.8558606744022659),
        ("W_scale", 0.40024616023272236),
        ("mp_softrank", 0.19579933599853513),
        ("bulk_max", 15.087627887375191),
        ("bulk_min", 0.15397142028513133),
        ("num_spikes", 1.0),
        ("detX_num", 20.0),
        ("ERG_gap", 4.0),
        ("log_alpha_norm", 4.604558951672851),
        ("stable_rank", 2.592303703186135),
        ("entropy", 0.7415582689610376),
    ];
    check_golden((48, 32), &entries, WEIGHTWATCHER, &expected);
    check_golden((48, 32), &entries, METRICS, &[("spike_count", 1.0)]);
}

#[test]
fn the_rank_family_agrees_with_the_published_values() {
    let expected = [
        ("rankme", 28.499928775692783),
        ("intrinsic_rank", 16.697878992197932),
        ("spectrum_snr", 0.6710750418277007),
        ("gavish_donoho_rank", 0.0),
        ("rank_at_90", 20.0),
        ("break_even_rank", 19.0),
        ("saved_at_95", 1.0 - 23.0 * 80.0 / 1536.0),
    ];
    check_golden((48, 32), &golden(48, 32, 1), RANKS, &expected);
    // Their cut for unknown noise, 4.223571937929088, over that for noise of deviation 1.
    let noise = 4.223571937929088 / (2.1002041065782207 * 48f64.sqrt());
    check_golden((48, 32), &golden(48, 32, 1), METRICS, &[("noise_sigma", noise)]);
}

#[test]
fn a_product_of_thin_factors_has_the_published_ranks() {
    let (left, right) = (golden(32, 4, 6), golden(4, 24, 7));
    let entry = |i: usize| (0..4).map(|k| left[i / 24 * 4 + k] * right[k * 24 + i % 24]).sum::<f64>();
    let entries: Vec<f64> = (0..32 * 24).map(entry).collect();
    let expected = [
        ("effective_rank", 3.8798227079724303),
        ("stable_rank", 2.1532384588719657),
        ("numerical_rank", 4.0),
        ("largest_gap_at", 4.0),
    ];
    check_golden((32, 24), &entries, RANKS, &expected);
    check_golden((32, 24), &entries, METRICS, &[("spectral_norm", 3.2360418139737868)]);
}

#[test]
fn a_matrix_made_of_integers_has_the_published_ranks() {
    let entry = |i: i64, j: i64| ((7 * i * i + 3 * j * j * j + 5 * i * j + 2 * i + 4) % 17 - 8) as f64 / 4.0;
    let entries: Vec<f64> = (0..6).flat_map(|i| (0..5).map(move |j| entry(i, j))).collect();
    let expected = [
        ("effective_rank", 4.5879172387),
        ("effective_rank_energy", 3.9198319133),
        ("stable_rank", 2.4309197863),
        ("break_even_rank", 2.0),
        // Shares of energy, running: 0.4113669261, 0.6820928612, 0.8605949982, 0.9756117724, 1.
        ("rank_at_90", 4.0),
        ("rank_at_95", 4.0),
        ("rank_at_99", 5.0),
    ];
    check_golden((6, 5), &entries, RANKS, &expected);
    let expected = [("nuclear_norm", 12.0022227209), ("frobenius_norm", 5.7716981903)];
    check_golden((6, 5), &entries, METRICS, &expected);
    let spectrum = singular_values(&Matrix::from_f64(6, 5, &entries).unwrap(), Precision::Exact).unwrap();
    let running = energy_shares(&spectrum).into_iter().scan(0.0, |sum, share| {
        *sum += share;
        Some(*sum)
    });
    for (found, expected) in running.zip([0.4113669261, 0.6820928612, 0.8605949982, 0.9756117724, 1.0]) {
        assert!((found - expected).abs() < 1e-10, "{found}, published {expected}");
    }
}
