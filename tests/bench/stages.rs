//! Times every stage of the solver and sets it beside the speed of the product's inner tile, measured in the same run.
//!
//! `cargo bench` runs all; `cargo bench -- 768` what has 768 in its name. criterion keeps its own statistics; the table
//! at the end gives the best and the median of all runs, since a shared machine has no other honest figures.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::expect_used, reason = "a benchmark may fail by panicking")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::matrix_free::eigen::{PartialEigenParams, partial_svd, partial_svd_scratch};
use faer::{Col, Mat, MatRef, Par, Spec};
use svdkit::linalg::stages::{self, Peak, Stopped};
use svdkit::matrix::{Dtype, Matrix};
use svdkit::metric::fit_tail;
use svdkit::solver::{Operator, Precision, all_vectors, leading, singular_values};

/// Sides of the square weights whose stages are timed.
const SIDES: [usize; 4] = [768, 1024, 2048, 4096];
/// Shapes of the weights that are timed as a whole.
const SHAPES: [(usize, usize); 8] = [
    (768, 768),
    (1024, 1024),
    (2048, 2048),
    (4096, 4096),
    (2048, 768),
    (768, 2048),
    (4096, 1024),
    (4096, 14336),
];
/// Shapes of the weights that show from where on the fast route pays.
const SMALL: [(usize, usize); 9] = [
    (64, 64),
    (128, 128),
    (256, 256),
    (384, 384),
    (512, 512),
    (768, 768),
    (256, 2048),
    (512, 2048),
    (1024, 1024),
];

fn main() {
    let criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut bench = Bench { criterion, lines: vec![] };
    for side in SIDES {
        every_stage(&mut bench, side);
    }
    for shape in SHAPES {
        whole(&mut bench, shape);
    }
    for shape in SMALL {
        both_routes(&mut bench, shape);
    }
    for side in SIDES {
        every_triplet(&mut bench, side);
    }
    for side in SIDES {
        for decay in [0.0, 0.5] {
            triplets(&mut bench, side, decay);
        }
    }
    bench.criterion.final_summary();
    bench.table();
}

/// Gram matrix, band, chase, eigenvalues and the fit of the tail, each by itself on one thread.
fn every_stage(bench: &mut Bench, side: usize) {
    let (weight, n, width) = (gaussian(side, side), side as f64, stages::width(side) as f64);
    let alone = alone();
    let mut stopped = Stopped::new(&weight);
    bench.time(&format!("gram/{side}"), n.powi(3), 1, || alone.install(|| stages::sum(&weight)));
    bench.time_after(&format!("reduce/{side}"), 4.0 / 3.0 * n.powi(3), 1, || {
        stopped.rewind();
        let begun = Instant::now();
        alone.install(|| stopped.reduce());
        begun.elapsed()
    });
    stopped.rewind();
    stopped.reduce();
    bench.time(&format!("chase/{side}"), 6.0 * width * n * n, 1, || {
        black_box(stopped.chase());
    });
    let (diagonal, subdiagonal) = stopped.chase();
    bench.time(&format!("tridiagonal/{side}"), 0.0, 1, || {
        black_box(alone.install(|| stages::eigenvalues(&diagonal, &subdiagonal)));
    });
    let eigenvalues = stages::eigenvalues(&diagonal, &subdiagonal);
    let positive: Vec<f64> = eigenvalues.into_iter().filter(|x| *x > 0.0).collect();
    bench.time(&format!("tail/{side}"), 0.0, 1, || {
        black_box(fit_tail(&positive)).expect("a tail");
    });
}

/// From the weight to its singular values: one weight on one thread, one weight on all, one weight on each.
fn whole(bench: &mut Bench, (rows, cols): (usize, usize)) {
    let weight = gaussian(rows, cols);
    let (short, long) = (rows.min(cols) as f64, rows.max(cols) as f64);
    let flops = long * short * short + 4.0 / 3.0 * short.powi(3);
    let once = || {
        black_box(singular_values(&weight, Precision::Fast)).expect("converges");
    };
    let (alone, threads) = (alone(), rayon::current_num_threads());
    bench.time(&format!("alone/{rows}x{cols}"), flops, 1, || alone.install(once));
    // Inside the pool, as the engine runs it.
    bench.time(&format!("together/{rows}x{cols}"), flops / threads as f64, 1, || {
        rayon::scope(|scope| scope.spawn(|_| once()));
    });
    bench.time(&format!("each/{rows}x{cols}"), flops / threads as f64, threads, || {
        rayon::scope(|scope| (0..threads).for_each(|_| scope.spawn(|_| once())));
    });
}

/// The fast and the exact route on one thread, whatever the size.
fn both_routes(bench: &mut Bench, (rows, cols): (usize, usize)) {
    let weight = gaussian(rows, cols);
    let alone = alone();
    bench.time(&format!("fast/{rows}x{cols}"), 0.0, 1, || {
        black_box(alone.install(|| stages::fast(&weight))).expect("converges");
    });
    bench.time(&format!("exact/{rows}x{cols}"), 0.0, 1, || {
        black_box(singular_values(&weight, Precision::Exact)).expect("converges");
    });
}

/// All triplets of one weight on all threads, and faer's.
fn every_triplet(bench: &mut Bench, side: usize) {
    let weight = gaussian(side, side);
    bench.time(&format!("vectors/{side}"), 0.0, 1, || {
        rayon::scope(|scope| scope.spawn(|_| drop(black_box(all_vectors(&weight)).expect("converges"))));
    });
    let dense = weight.to_f64();
    let dense = MatRef::from_row_major_slice(&dense, side, side);
    let (thin, all, params) = (ComputeSvdVectors::Thin, Par::rayon(0), Spec::default());
    bench.time(&format!("faer-vectors/{side}"), 0.0, 1, || {
        let (mut left, mut right) = (Mat::zeros(side, side), Mat::zeros(side, side));
        let mut values = Diag::zeros(side);
        let mut memory = MemBuffer::new(svd_scratch::<f64>(side, side, thin, thin, all, params));
        let (left, right, stack) = (Some(left.as_mut()), Some(right.as_mut()), MemStack::new(&mut memory));
        black_box(svd(dense, values.as_mut(), left, right, all, stack, params)).expect("converges");
    });
}

/// The ten leading triplets on one thread, and faer's, of a weight whose columns shrink like `1/j^decay`.
fn triplets(bench: &mut Bench, side: usize, decay: f64) {
    let entries = gaussian(side, side).to_f64();
    let shrunk = entries.iter().enumerate().map(|(i, x)| (x / (1.0 + (i % side) as f64).powf(decay)) as f32);
    let bytes = shrunk.flat_map(f32::to_le_bytes).collect();
    let weight = Matrix::new(side, side, Dtype::F32, bytes).expect("as many entries as asked for");
    let kind = if decay > 0.0 { "decaying" } else { "flat" };
    let alone = alone();
    bench.time(&format!("leading/{kind}/{side}"), 0.0, 1, || {
        black_box(alone.install(|| leading(&Operator::from(&weight), 10))).expect("converges");
    });
    let dense = weight.to_f64();
    let dense = MatRef::from_row_major_slice(&dense, side, side);
    let params = PartialEigenParams::default();
    let scratch = partial_svd_scratch(&dense, 10, Par::Seq, params);
    let start = Col::from_fn(side, |i| 1.0 + (i as f64).sin());
    bench.time(&format!("faer/{kind}/{side}"), 0.0, 1, || {
        let (mut left, mut right) = (Mat::zeros(side, 10), Mat::zeros(side, 10));
        let mut values = [0.0; 10];
        let mut memory = MemBuffer::new(scratch);
        let stack = MemStack::new(&mut memory);
        let found = partial_svd(
            left.as_mut(),
            right.as_mut(),
            &mut values,
            &dense,
            start.as_ref(),
            1e-8,
            Par::Seq,
            stack,
            params,
        );
        assert_eq!(black_box(found).n_converged_eigen, 10);
    });
}

/// A pool where no second thread helps.
fn alone() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread")
}

/// criterion, and what it ran.
struct Bench {
    criterion: Criterion,
    lines: Vec<Line>,
}

/// One row of the table.
struct Line {
    name: String,
    best: f64,
    median: f64,
    /// Operations a second of one thread, and the most that the inner tile reached at the time.
    rate: f64,
    peak: f64,
}

impl Bench {
    /// Times `run`, which does `shares` times the work that is reported: `flops` for each thread.
    fn time(&mut self, name: &str, flops: f64, shares: usize, mut run: impl FnMut()) {
        self.time_after(name, flops, shares, || {
            let begun = Instant::now();
            run();
            begun.elapsed()
        });
    }

    /// The same, by the word of `run`.
    fn time_after(&mut self, name: &str, flops: f64, shares: usize, mut run: impl FnMut() -> Duration) {
        let mut times = vec![];
        let mut group = self.criterion.benchmark_group("linalg");
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let mut total = Duration::ZERO;
                for _ in 0..count {
                    let took = run() / shares as u32;
                    times.push(took.as_secs_f64());
                    total += took;
                }
                total
            });
        });
        group.finish();
        times.sort_by(f64::total_cmp);
        // Nothing ran where a filter left it out.
        let Some(best) = times.first() else { return };
        let median = times[times.len() / 2];
        self.lines.push(Line {
            name: name.to_owned(),
            best: *best,
            median,
            rate: flops / best,
            peak: peak(),
        });
    }

    fn table(&self) {
        println!(
            "{:<24} {:>10} {:>10} {:>9} {:>9} {:>8}",
            "", "best ms", "median ms", "GFLOP/s", "peak", "of peak"
        );
        for Line { name, best, median, rate, peak } in &self.lines {
            let (best, median) = (best * 1e3, median * 1e3);
            print!("{name:<24} {best:>10.2} {median:>10.2}");
            if *rate > 0.0 {
                print!(" {:>9.1} {:>9.1} {:>7.0}%", rate / 1e9, peak / 1e9, 100.0 * rate / peak);
            }
            println!();
        }
    }
}

/// Operations a second of one thread in the inner tile, the best of a tenth of a second.
fn peak() -> f64 {
    let mut peak = Peak::new();
    let (begun, mut best) = (Instant::now(), 0.0f64);
    while begun.elapsed() < Duration::from_millis(100) {
        let begun = Instant::now();
        let flops = peak.run();
        best = best.max(flops / begun.elapsed().as_secs_f64());
    }
    best
}

/// A seeded f32 matrix of normal entries.
fn gaussian(rows: usize, cols: usize) -> Matrix {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let mut normal = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    let bytes = (0..rows * cols).flat_map(|_| (normal() as f32).to_le_bytes()).collect();
    Matrix::new(rows, cols, Dtype::F32, bytes).expect("as many entries as asked for")
}
