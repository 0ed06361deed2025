//! The first factors of an adapter, and what they leave of the weight: methods that begin with a decomposition.
//!
//! Weights are out × in here, whatever way round they are stored. The update is `s·B·A`.

mod columns;
mod numbers;
mod rest;

use std::path::Path;

use crate::checkpoint::Moments;
use crate::error::Error;
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};
use crate::report::{FactorDetail, Measurements};
use crate::solver::{
    self, Basis, Chosen, Cost, Cut, Entries, Factors, Form, Need, Operator, Precision, Weighting,
};

use super::random::Stream;
use super::weighting;
pub(super) use columns::{ADAPTER_NORM, PRESERVATION_ERROR};
pub use columns::{INITIALIZED, columns};
use rest::Rest;

/// EVA may give a module this many times the rank asked for (`rho` of PEFT).
pub const RHO: f64 = 2.0;

/// How an adapter begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The leading directions of W (Meng et al. 2024).
    Pissa,
    /// Its last ones (SoMA, Yun et al. 2025; MiLoRA).
    Minor,
    /// The leading ones, singular vectors apart from values (Cao 2024).
    Sorsa,
    /// B = 0, and the last directions of W are cut off (Wang et al. 2024).
    Kasa,
    /// The leading directions of W·C̃, C̃ the inputs' covariance (Yang et al. 2024).
    CordaIpm,
    /// Its last ones, which keep what the inputs need.
    CordaKpm,
    /// The leading directions of the inputs; B = 0 (Paischer et al. 2024).
    Eva,
    /// What a compressed weight lacks, in the norm of the layer's outputs (Liu et al. 2024).
    Eora,
    /// Q_r and R_r of W = Q·R (Büyükakyüz 2024).
    Olora,
}

impl Method {
    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pissa => "pissa",
            Self::Minor => "minor",
            Self::Sorsa => "sorsa",
            Self::Kasa => "kasa",
            Self::CordaIpm => "corda-ipm",
            Self::CordaKpm => "corda-kpm",
            Self::Eva => "eva",
            Self::Eora => "eora",
            Self::Olora => "olora",
        }
    }

    /// Whether the base is no longer the original one.
    pub const fn moves_base(self) -> bool {
        !matches!(self, Self::Eva | Self::Eora)
    }

    /// The most directions that it can take of a matrix; EoRA fills up with zeros.
    pub fn most(self, (rows, cols): (usize, usize)) -> usize {
        match self {
            Self::Eora => usize::MAX,
            Self::Eva => cols,
            Self::Kasa => rows.min(cols).saturating_sub(1),
            _ => rows.min(cols),
        }
    }
}

/// What an adapter is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setup {
    /// How it begins.
    pub method: Method,
    /// Its rank.
    pub rank: usize,
    /// `s`: what B·A is multiplied by.
    pub scale: f64,
    /// The type that factors are written in.
    pub dtype: Dtype,
    /// The seed of what is random.
    pub seed: u64,
}

/// The weight of one module.
#[derive(Debug, Clone, Copy)]
pub struct Module<'m> {
    /// Its name.
    pub name: &'m str,
    /// The original weight, out × in.
    pub weight: &'m Matrix,
    /// The compressed one, where the adapter is to make up for that.
    pub compressed: Option<&'m Matrix>,
    /// The type that a residual is rounded to.
    pub stored_as: Dtype,
    /// What is known of its inputs, and the file that says so.
    pub moments: Option<(&'m Moments, &'m Path)>,
}

/// What an adapter begins with in one module.
#[derive(Debug, Clone, PartialEq)]
pub struct Initial {
    /// The numbers, in the order of the method's columns.
    pub values: Measurements,
    /// Singular values, and how much of the variance each direction explains.
    pub detail: FactorDetail,
    /// `B` and `A`, not scaled, rounded to the type that they are written in.
    pub factors: LowRank,
    /// The diagonal between them, rounded alike; empty where there is none.
    pub diagonal: Vec<f64>,
    /// What the weight becomes, where the method moves it, rounded to its type.
    pub residual: Option<Matrix>,
}

/// What a method found, in doubles.
#[derive(Default)]
struct Found {
    /// The columns of B.
    up: Vec<Vec<f64>>,
    /// The rows of A.
    down: Vec<Vec<f64>>,
    diagonal: Vec<f64>,
    cut: Option<Cut>,
    right: Option<Weighting>,
    /// What is taken from the weight beside `s·BA`.
    removed: Option<LowRank>,
    /// Shares of the variance of the inputs.
    explained: Vec<f64>,
}

/// What a module takes.
pub fn cost(setup: &Setup, layer: &crate::layer::Layer, moments: bool) -> Cost {
    let form = Form::of(layer, Precision::Fast).kept();
    let entries = layer.len() as u64;
    let dense = 8 * entries;
    let side = layer.cols;
    let own = match setup.method {
        Method::Eva => Cost { flops: 0.0, bytes: 0 },
        Method::Pissa | Method::Sorsa | Method::Olora => solver::cost(&form, Need::Leading(setup.rank)),
        Method::Minor | Method::Kasa | Method::CordaKpm => solver::cost(&form, Need::Vectors),
        Method::CordaIpm | Method::Eora => {
            let Cost { flops, bytes } = solver::cost(&form, Need::Leading(setup.rank));
            Cost { flops, bytes: bytes + 3 * dense }
        }
    };
    let square = Form::whole((side, side), Dtype::F64, Precision::Exact);
    let of_data = match setup.method {
        Method::Eva => solver::cost(&square, Need::Leading(setup.rank)),
        _ if moments => solver::cost(&square, Need::Vectors),
        _ => Cost { flops: 0.0, bytes: 0 },
    };
    Cost {
        flops: own.flops + of_data.flops + 8.0 * entries as f64,
        bytes: own.bytes.max(of_data.bytes) + dense,
    }
}

/// The first factors for one module.
///
/// # Errors
/// When an entry is not finite, data are not what they should be, or a decomposition does not converge.
pub fn initial(setup: &Setup, module: &Module<'_>) -> Result<Initial, Error> {
    let Module { weight, compressed, .. } = *module;
    for matrix in std::iter::once(weight).chain(compressed) {
        if Entries::of(matrix).nonfinite_count() > 0 {
            return Err(Error::NotFinite { rows: weight.rows(), cols: weight.cols() });
        }
    }
    let operator = match compressed {
        Some(compressed) => Operator::from(weight).minus(&Operator::from(compressed))?,
        None => Operator::from(weight),
    };
    let mut found = found(setup, module, &operator)?;
    sign(&mut found);
    let shape = (weight.rows(), weight.cols());
    let exact = product(shape, &found.up, &found.down)?;
    let factors = rounded(&exact, setup.dtype)?;
    let diagonal = Matrix::rounded(1, found.diagonal.len(), setup.dtype, &found.diagonal)?.to_f64();
    let rest = match (setup.method, &found.removed) {
        (Method::Eva, _) => None,
        (_, Some(removed)) => Some(Rest::of(&operator, (removed, removed), module)?),
        (_, None) => {
            let [exact, factors] = [&exact, &factors].map(|product| product.clone().scaled(setup.scale));
            Some(Rest::of(&operator, (&exact?, &factors?), module)?)
        }
    };
    let values = numbers::values(setup, &operator, &found, rest.as_ref(), &factors)?;
    let singular_values = found.cut.map_or_else(Vec::new, |cut| cut.found);
    let detail = FactorDetail { singular_values, importance: found.explained, ..FactorDetail::default() };
    let residual = rest.and_then(|rest| rest.written).filter(|_| setup.method.moves_base());
    Ok(Initial { values, detail, factors, diagonal, residual })
}

fn found(setup: &Setup, module: &Module<'_>, operator: &Operator<'_>) -> Result<Found, Error> {
    let Setup { method, rank, scale, .. } = *setup;
    let none = Weighting::None;
    let data = || module.moments.ok_or_else(|| Error::Contract(format!("`{}`: no data", module.name)));
    let of_data = |error| match (error, module.moments) {
        (Error::Usage(reason), Some((_, path))) => Error::tensor(path, module.name, reason),
        (error, _) => error,
    };
    let right = match method {
        Method::CordaIpm | Method::CordaKpm => weighting::damped(data()?.0).map_err(of_data)?,
        Method::Eora => weighting::root(data()?.0).map_err(of_data)?,
        _ => none.clone(),
    };
    let of = |chosen| solver::cut(operator, (&none, &right), &chosen);
    Ok(match method {
        Method::Pissa | Method::CordaIpm => {
            Found { right: Some(right.clone()), ..balanced(of(Chosen::Top(rank))?, scale) }
        }
        Method::Minor | Method::CordaKpm => {
            Found { right: Some(right.clone()), ..balanced(of(Chosen::Bottom(rank))?, scale) }
        }
        Method::Eora => {
            let axes = if let Weighting::Axes(axes, _) = &right { axes.count() } else { operator.cols() };
            let count = rank.min(operator.rows()).min(axes);
            let mut found = balanced(of(Chosen::Top(count))?, scale);
            // Directions that there are not are zeros.
            found.up.resize(rank, vec![0.0; operator.rows()]);
            found.down.resize(rank, vec![0.0; operator.cols()]);
            Found { right: Some(right), ..found }
        }
        Method::Sorsa => {
            let cut = of(Chosen::Top(rank))?;
            let up = cut.left.columns().zip(&cut.values).map(|(u, s)| times(u, *s)).collect();
            Found {
                up,
                down: cut.right.columns().map(<[f64]>::to_vec).collect(),
                cut: Some(cut),
                ..Found::default()
            }
        }
        Method::Olora => {
            let (q, r) = solver::first_columns(operator, rank)?;
            let all = |basis: &Basis| basis.columns().map(<[f64]>::to_vec).collect();
            // Their authors and PEFT do not divide by the scale: s·Q_r·R_r is taken from W.
            Found { up: all(&q), down: all(&r), ..Found::default() }
        }
        Method::Kasa => kasa(setup, module, of(Chosen::Bottom(rank))?)?,
        Method::Eva => eva(rank, operator, data()?.0).map_err(of_data)?,
    })
}

/// `B = L·√(Σ/s)` and `A = √(Σ/s)·Rᵀ`.
fn balanced(cut: Cut, scale: f64) -> Found {
    let side = |basis: &Basis| -> Vec<Vec<f64>> {
        basis.columns().zip(&cut.values).map(|(x, s)| times(x, (s / scale).sqrt())).collect()
    };
    Found { up: side(&cut.left), down: side(&cut.right), cut: Some(cut), ..Found::default() }
}

fn times(vector: &[f64], by: f64) -> Vec<f64> {
    vector.iter().map(|x| x * by).collect()
}

/// B = 0, A as a linear layer begins (He et al. 2015 with a = √5), a normal diagonal; the weight without its last directions.
fn kasa(setup: &Setup, module: &Module<'_>, cut: Cut) -> Result<Found, Error> {
    let (rows, cols) = (module.weight.rows(), module.weight.cols());
    let mut stream = Stream::new(setup.seed, module.name);
    let bound = 1.0 / (cols as f64).sqrt();
    let diagonal = (0..setup.rank).map(|_| stream.normal()).collect();
    let down = (0..setup.rank).map(|_| (0..cols).map(|_| stream.uniform(bound)).collect()).collect();
    let tail: Vec<Vec<f64>> = cut.left.columns().zip(&cut.values).map(|(u, s)| times(u, *s)).collect();
    let right: Vec<Vec<f64>> = cut.right.columns().map(<[f64]>::to_vec).collect();
    let removed = Some(product((rows, cols), &tail, &right)?);
    Ok(Found {
        up: vec![vec![0.0; rows]; setup.rank],
        down,
        diagonal,
        cut: Some(cut),
        removed,
        ..Found::default()
    })
}

/// The leading directions of the centered inputs, more of them than the rank: which are kept depends on the other modules.
fn eva(rank: usize, operator: &Operator<'_>, moments: &Moments) -> Result<Found, Error> {
    let Moments::Inputs(inputs) = moments else {
        return Err(Error::Contract("EVA without inputs".to_owned()));
    };
    let inputs = weighting::centered(inputs)?;
    let most = most_ranks(rank).min(inputs.rows()).min(inputs.cols());
    let Factors { values, right, .. } = solver::leading(&Operator::from(&inputs), most)?;
    let all = inputs.to_f64().iter().map(|x| x * x).sum::<f64>();
    if values.is_empty() || all == 0.0 {
        return Err(Error::Usage("all tokens have the same inputs; save those of more tokens".to_owned()));
    }
    let explained = values.iter().map(|s| s * s / all).collect();
    let down: Vec<Vec<f64>> = right.columns().map(<[f64]>::to_vec).collect();
    Ok(Found { up: vec![vec![0.0; operator.rows()]; down.len()], down, explained, ..Found::default() })
}

/// The most ranks that EVA gives a module.
pub fn most_ranks(rank: usize) -> usize {
    (rank as f64 * RHO).round() as usize
}

/// Ranks that are `rank` on average, at most [`RHO`] times that, where the inputs' directions explain most of their variance.
/// `explained` has the shares of each module, `shares_with` the earlier module that has the same inputs; that one never has
/// the lower rank.
///
/// EVA, Paischer et al. 2024, as PEFT does it.
pub fn redistributed(explained: &[Vec<f64>], shares_with: &[Option<usize>], rank: usize) -> Vec<usize> {
    let mut ranks = super::budget::allocate(explained, rank * explained.len(), most_ranks(rank));
    for (follower, first) in shares_with.iter().enumerate() {
        if let Some(first) = first.filter(|first| ranks[*first] < ranks[follower]) {
            ranks.swap(first, follower);
        }
    }
    ranks
}

/// In each row of A the entry of largest magnitude is positive, the first of equal ones: so that a file does not depend on
/// the decomposition.
fn sign(found: &mut Found) {
    if !found.diagonal.is_empty() {
        return;
    }
    for (up, down) in found.up.iter_mut().zip(&mut found.down) {
        let largest =
            down.iter().fold(0.0f64, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
        if largest < 0.0 {
            up.iter_mut().chain(down).filter(|x| **x != 0.0).for_each(|x| *x = -*x);
        }
    }
}

/// `Σ upᵢ·downᵢᵀ`.
fn product(shape: (usize, usize), up: &[Vec<f64>], down: &[Vec<f64>]) -> Result<LowRank, Error> {
    let left = (0..shape.0).flat_map(|row| up.iter().map(move |column| column[row])).collect();
    LowRank::new(shape, up.len(), left, down.concat())
}

/// Both factors rounded to `dtype`.
fn rounded(product: &LowRank, dtype: Dtype) -> Result<LowRank, Error> {
    let (shape, rank) = ((product.rows(), product.cols()), product.rank());
    let left = Matrix::rounded(shape.0, rank, dtype, product.left())?.to_f64();
    LowRank::new(shape, rank, left, Matrix::rounded(rank, shape.1, dtype, product.right())?.to_f64())
}
