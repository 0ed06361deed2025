//! Sums over the rows and columns of a weight, taken in the one pass over its entries: how even it is, and where it is not.
//!
//! All sums are taken in one order, in lanes of a fixed number, so that their bits depend neither on the blocks that rows
//! come in nor on the machine's instructions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::matrix::Matrix;

/// Partial sums of a row: as many as the widest registers hold.
const LANES: usize = 8;

/// What is known of one row or column.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Line {
    sum: f64,
    squares: f64,
    /// Sum of products of the entries' digests with weights by position, modulo 2⁶⁴: equal lines have equal ones.
    hash: u64,
}

impl Line {
    fn is_zero(self) -> bool {
        // Squares of tiny doubles vanish, and their sum may; the hash of zeros alone is 0.
        self.squares == 0.0 && self.hash == 0
    }
}

/// Sums over the rows taken so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Moments {
    rows: Vec<Line>,
    columns: Vec<Columns>,
    /// Weights of the columns in the hash of a row.
    weights: Vec<[u32; LANES]>,
    /// How many columns there are.
    width: usize,
    fourth: f64,
    /// Sum of the squared powers of two below the entries.
    units: f64,
    /// The distance between neighbors in the storage type, relative to that power.
    step: f64,
}

/// Sums over neighboring columns.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Columns {
    sum: [f64; LANES],
    squares: [f64; LANES],
    hash: [u64; LANES],
}

/// Partial sums of a row.
#[derive(Clone, Copy, Default)]
struct Lanes {
    sum: [f64; LANES],
    squares: [f64; LANES],
    fourth: [f64; LANES],
    units: [f64; LANES],
    hash: [u64; LANES],
}

impl Lanes {
    /// Takes an entry for each lane; `weights` are those of their columns and of their row. Each sum has a loop of its own,
    /// so that it becomes one instruction on all lanes.
    #[inline(always)]
    fn take(
        &mut self,
        entries: [f64; LANES],
        spacing: Option<Spacing>,
        weights: ([u32; LANES], u32),
        columns: &mut Columns,
    ) {
        // −0 is 0.
        let x = entries.map(|x| x + 0.0);
        let squares = x.map(|x| x * x);
        add(&mut self.sum, x);
        add(&mut self.squares, squares);
        add(&mut self.fourth, squares.map(|x| x * x));
        if let Some(spacing) = spacing {
            add(&mut self.units, x.map(|x| spacing.power(x).powi(2)));
        }
        add(&mut columns.sum, x);
        add(&mut columns.squares, squares);
        // Factors of 32 bits: registers multiply many of these at once.
        let digests = x.map(|x| u64::from(digest(x.to_bits(), spacing.is_some())));
        for l in 0..LANES {
            self.hash[l] = self.hash[l].wrapping_add(digests[l] * u64::from(weights.0[l]));
        }
        for l in 0..LANES {
            columns.hash[l] = columns.hash[l].wrapping_add(digests[l] * u64::from(weights.1));
        }
    }
}

#[inline(always)]
fn add(sums: &mut [f64; LANES], terms: [f64; LANES]) {
    for l in 0..LANES {
        sums[l] += terms[l];
    }
}

/// The storage type whose spacing [`Moments::units`] sums: significant bits and the least exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spacing {
    pub digits: i32,
    pub least: i32,
}

/// Rows and columns that are taken together: their sums stay in the nearest cache meanwhile.
const TILE: (usize, usize) = (16, 64 * LANES);

impl Moments {
    /// Takes the next rows; all of them are of one length. Without a `spacing`, nothing is known of rounding.
    #[inline(always)]
    pub(super) fn push(&mut self, rows: &Matrix, spacing: Option<Spacing>) {
        // A loop for each case, without a question in it.
        match spacing {
            Some(spacing) => {
                self.step = spacing.step();
                self.push_rows(rows, Some(spacing));
            }
            None => self.push_rows(rows, None),
        }
    }

    #[inline(always)]
    fn push_rows(&mut self, rows: &Matrix, spacing: Option<Spacing>) {
        let width = rows.cols();
        if width == 0 {
            return;
        }
        if self.weights.is_empty() {
            self.width = width;
            self.columns = vec![Columns::default(); width.div_ceil(LANES)];
            self.weights = (0..self.columns.len() as u64)
                .map(|i| std::array::from_fn(|l| weight(i * LANES as u64 + l as u64)))
                .collect();
        }
        let mut tile = [0.0; TILE.1];
        for first in (0..rows.rows()).step_by(TILE.0) {
            let mut all: [Lanes; TILE.0] = Default::default();
            let lanes = &mut all[..TILE.0.min(rows.rows() - first)];
            for start in (0..width).step_by(TILE.1) {
                let entries = &mut tile[..TILE.1.min(width - start)];
                for (i, lanes) in lanes.iter_mut().enumerate() {
                    let at = (first + i) * width + start;
                    rows.widen(at..at + entries.len(), entries);
                    self.take(lanes, (self.rows.len() + i, start / LANES), entries, spacing);
                }
            }
            for lanes in lanes {
                self.fourth += lanes.fourth.iter().sum::<f64>();
                self.units += lanes.units.iter().sum::<f64>();
                self.rows.push(Line {
                    sum: lanes.sum.iter().sum(),
                    squares: lanes.squares.iter().sum(),
                    hash: lanes.hash.iter().fold(0, |hash, lane| hash.wrapping_add(*lane)),
                });
            }
        }
    }

    /// Takes `entries` of a row, which begin at these columns.
    #[inline(always)]
    fn take(
        &mut self,
        lanes: &mut Lanes,
        (row, columns): (usize, usize),
        entries: &[f64],
        spacing: Option<Spacing>,
    ) {
        let own = weight(row as u64 + (1 << 40));
        let (whole, rest) = entries.as_chunks::<LANES>();
        let (weights, columns) = (&self.weights[columns..], &mut self.columns[columns..]);
        for ((entries, weights), columns) in whole.iter().zip(weights).zip(&mut *columns) {
            lanes.take(*entries, spacing, (*weights, own), columns);
        }
        if !rest.is_empty() {
            // Zeros add nothing but to the spacings.
            let (mut entries, before) = ([0.0; LANES], lanes.units);
            entries[..rest.len()].copy_from_slice(rest);
            lanes.take(entries, spacing, (weights[whole.len()], own), &mut columns[whole.len()]);
            lanes.units[rest.len()..].copy_from_slice(&before[rest.len()..]);
        }
    }

    /// How many rows were taken.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The root mean square of rounding to the storage type: every entry is off by up to half its spacing, evenly.
    pub(super) fn rounding(&self) -> f64 {
        let entries = (self.rows.len() * self.width) as f64;
        self.step * (self.units / entries / 12.0).sqrt()
    }

    /// The sum of all squared entries.
    pub(super) fn energy(&self) -> f64 {
        self.rows.iter().map(|row| row.squares).sum()
    }

    fn columns(&self) -> Vec<Line> {
        let line = |j: usize| {
            let (columns, l) = (&self.columns[j / LANES], j % LANES);
            Line { sum: columns.sum[l], squares: columns.squares[l], hash: columns.hash[l] }
        };
        (0..self.width).map(line).collect()
    }

    /// Lines that hold nothing but zeros, and lines that equal an earlier one.
    pub(super) fn oddities(&self) -> Oddities {
        let (rows, columns) = (&self.rows[..], &self.columns()[..]);
        Oddities {
            zero_rows: zeros(rows),
            zero_columns: zeros(columns),
            duplicate_rows: duplicates(rows, columns.len()),
            duplicate_columns: duplicates(columns, rows.len()),
        }
    }

    /// How even the entries are, lines of zeros left out; none where all are zero, or powers of them fit no double.
    pub(super) fn texture(&self) -> Option<Texture> {
        let columns = self.columns();
        let rows: Vec<Line> = self.rows.iter().copied().filter(|line| !line.is_zero()).collect();
        let columns: Vec<Line> = columns.into_iter().filter(|line| !line.is_zero()).collect();
        let (m, n) = (rows.len() as f64, columns.len() as f64);
        let energy: f64 = rows.iter().map(|row| row.squares).sum();
        let sum: f64 = rows.iter().map(|row| row.sum).sum();
        let mean_square = energy / (m * n);
        let kurtosis = self.fourth / (m * n) / mean_square.powi(2);
        if !(mean_square.powi(2).is_normal() && self.fourth.is_normal() && energy.is_finite()) {
            return None;
        }
        let mean = sum / (m * n);
        let share = |largest: f64| largest / energy;
        let largest = |lines: &[Line]| lines.iter().fold(0.0f64, |most, line| most.max(line.squares));
        let of_means = |lines: &[Line], across: f64| {
            lines.iter().map(|line| (line.sum / across).powi(2)).sum::<f64>() * across / energy
        };
        Some(Texture {
            rows: rows.len(),
            columns: columns.len(),
            mean_square,
            kurtosis,
            row_z: energies_z(&rows, n, mean_square, kurtosis),
            column_z: energies_z(&columns, m, mean_square, kurtosis),
            row_mean_z: means_z(&rows, n, mean, mean_square),
            column_mean_z: means_z(&columns, m, mean, mean_square),
            mean_z: mean * (m * n / mean_square).sqrt(),
            row_energy: share(largest(&rows)),
            column_energy: share(largest(&columns)),
            mean_row_energy: of_means(&columns, m),
            mean_column_energy: of_means(&rows, n),
            mean_energy: share(m * n * mean.powi(2)),
        })
    }
}

/// Lines of a matrix that a reader should know of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oddities {
    /// Rows of zeros.
    pub zero_rows: Vec<usize>,
    /// Columns of zeros.
    pub zero_columns: Vec<usize>,
    /// The first row that another one equals, and that one.
    pub duplicate_rows: Vec<(usize, usize)>,
    /// The same of columns.
    pub duplicate_columns: Vec<(usize, usize)>,
}

/// How even the entries of a matrix are, its rows and columns of zeros left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Texture {
    /// Rows that are not all zero.
    pub rows: usize,
    /// Columns that are not all zero.
    pub columns: usize,
    /// Mean of the squared entries.
    pub mean_square: f64,
    /// Mean of the fourth powers over the square of the mean square: 3 of a normal law, 1.8 of a uniform one.
    pub kurtosis: f64,
    /// How far the energies of rows differ more than chance lets them, in standard deviations; none of one magnitude.
    pub row_z: Option<f64>,
    /// The same of columns.
    pub column_z: Option<f64>,
    /// The same of the means of rows.
    pub row_mean_z: f64,
    /// The same of the means of columns.
    pub column_mean_z: f64,
    /// The mean of all entries, in standard deviations of chance.
    pub mean_z: f64,
    /// Share of the energy in the largest row.
    pub row_energy: f64,
    /// Share in the largest column.
    pub column_energy: f64,
    /// Share in the row that all rows have in common: the means of the columns.
    pub mean_row_energy: f64,
    /// Share in the column that all columns have in common.
    pub mean_column_energy: f64,
    /// Share in the mean of all entries.
    pub mean_energy: f64,
}

impl Texture {
    /// The largest of the five distances from chance.
    pub fn unevenness(&self) -> f64 {
        let all = [self.row_mean_z, self.column_mean_z, self.mean_z];
        let all = all.into_iter().chain(self.row_z).chain(self.column_z);
        all.fold(0.0, |most, z| most.max(z.abs()))
    }
}

impl Spacing {
    /// The power of two below `x`, which its distance to its neighbors goes with; that of the least exponent at least.
    #[inline(always)]
    fn power(self, x: f64) -> f64 {
        const EXPONENT: u64 = 0x7ff << 52;
        let least = f64::from_bits(((i64::from(self.least) + 1023) as u64) << 52);
        f64::from_bits(x.to_bits() & EXPONENT).max(least)
    }

    /// The distance between neighbors relative to that.
    fn step(self) -> f64 {
        2f64.powi(1 - self.digits)
    }
}

/// How far the energies of `lines`, each over `across` entries, differ more than those of independent entries would.
fn energies_z(lines: &[Line], across: f64, mean_square: f64, kurtosis: f64) -> Option<f64> {
    let count = lines.len() as f64;
    let deviations: f64 =
        lines.iter().map(|line| (line.squares / across - mean_square).powi(2)).sum::<f64>() / (count - 1.0);
    let expected = (kurtosis - 1.0) * mean_square.powi(2) / across;
    // Entries of one magnitude have lines of one energy.
    (kurtosis > 1.01 && count > 1.0).then(|| (deviations / expected - 1.0) * ((count - 1.0) / 2.0).sqrt())
}

/// The same of the means of `lines`.
fn means_z(lines: &[Line], across: f64, mean: f64, mean_square: f64) -> f64 {
    let count = lines.len() as f64;
    if count <= 1.0 {
        return 0.0;
    }
    let deviations: f64 =
        lines.iter().map(|line| (line.sum / across - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (deviations / (mean_square / across) - 1.0) * ((count - 1.0) / 2.0).sqrt()
}

fn zeros(lines: &[Line]) -> Vec<usize> {
    (0..lines.len()).filter(|i| lines[*i].is_zero()).collect()
}

/// Fewer entries than this may be equal by chance.
const FEWEST: usize = 4;

/// Every line that equals an earlier one which is not zero, with the first such.
fn duplicates(lines: &[Line], length: usize) -> Vec<(usize, usize)> {
    if length < FEWEST {
        return vec![];
    }
    let mut first = BTreeMap::new();
    let others = lines.iter().enumerate().filter(|(_, line)| !line.is_zero());
    let seen = others.filter_map(|(i, line)| {
        let key = (line.hash, line.sum.to_bits(), line.squares.to_bits());
        let original = *first.entry(key).or_insert(i);
        (original < i).then_some((original, i))
    });
    seen.collect()
}

/// A number for each position that nothing else tells: the finalizer of SplitMix64 (Steele, Lea & Flood 2014), made odd.
fn weight(position: u64) -> u32 {
    let mut x = position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x >> 32) as u32 | 1
}

/// An entry in 32 bits: sign, exponent and the first 23 bits of the fraction, with the rest of the fraction folded in; of a
/// `short` type the first 20 bits are all there are. No two numbers of f32 or a smaller type share one, but for the
/// subnormal ones of f32. Zero has 0.
#[inline(always)]
fn digest(bits: u64, short: bool) -> u32 {
    let high = bits >> 32;
    // The two top bits of the exponent are cut off, and those of 2 and of 0 are then alike; no f32 has the exponent that
    // the one that is set would make 0.
    let apart = if bits == 0 { 0 } else { 1 << 30 };
    if short { high as u32 } else { (bits ^ (bits >> 29) ^ (high & (1 << 31)) ^ apart) as u32 }
}
