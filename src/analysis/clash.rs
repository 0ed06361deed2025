//! Whether two updates of one weight fight: their cosine, what is left of both together, and the angles of their spaces.
//!
//! All from singular triplets `Δ = UΣVᵀ`, which thin factors give without the product:
//! `⟨Δ₁, Δ₂⟩ = Σ σ₁ₐ·σ₂ᵦ·(u₁ₐᵀu₂ᵦ)(v₁ₐᵀv₂ᵦ)`.

use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::Matrix;
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::{self, Basis, Cost, Factors, Form, Held, Need, Precision};
use crate::weight::Catalogue;

/// The columns, in report order.
pub static CLASH: [Column; 8] = [
    UPDATE_COSINE,
    JOINT_RATIO,
    LEFT_COSINE,
    LEFT_OVERLAP,
    RIGHT_COSINE,
    RIGHT_OVERLAP,
    FIRST_NORM,
    SECOND_NORM,
];

const UPDATE_COSINE: Column = Column {
    key: "update_cosine",
    label: "cosine",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "⟨Δ₁, Δ₂⟩/(‖Δ₁‖‖Δ₂‖) of two updates of one weight: 1 if they are one up to a factor, −1 if they undo each other, 0 if they have nothing in common",
    range: "[−1, 1]",
    source: "definition",
};

const JOINT_RATIO: Column = Column {
    key: "joint_ratio",
    label: "joint",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖Δ₁ + Δ₂‖²/(‖Δ₁‖² + ‖Δ₂‖²): 1 if they leave each other alone, 2 if they add up, 0 if they cancel",
    range: "[0, 2]",
    source: "definition",
};

const LEFT_COSINE: Column = Column {
    key: "left_cosine",
    label: "left cos",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "the cosine of the smallest principal angle between the column spaces of both updates: 1 if they share an output direction",
    range: "[0, 1]",
    source: "Björck & Golub 1973",
};

const LEFT_OVERLAP: Column = Column {
    key: "left_overlap",
    label: "left overlap",
    format: Format::Share,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "the mean squared cosine of the principal angles between the column spaces: what share of the smaller lies in the other",
    range: "[0, 1]",
    source: "Hu et al. 2021, arXiv 2106.09685, 7.2",
};

const RIGHT_COSINE: Column = Column {
    key: "right_cosine",
    label: "right cos",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "left_cosine of the row spaces: 1 if both read the same input direction",
    range: "[0, 1]",
    source: "Björck & Golub 1973",
};

const RIGHT_OVERLAP: Column = Column {
    key: "right_overlap",
    label: "right overlap",
    format: Format::Share,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "left_overlap of the row spaces",
    range: "[0, 1]",
    source: "Hu et al. 2021, arXiv 2106.09685, 7.2",
};

const FIRST_NORM: Column = Column {
    key: "first_norm",
    label: "‖Δ₁‖",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖Δ₁‖_F of the first adapter's update; 0 where it has none",
    range: "[0, ∞), units of the weights",
    source: "definition",
};

const SECOND_NORM: Column = Column {
    key: "second_norm",
    label: "‖Δ₂‖",
    format: Format::Real,
    quantity: Quantity::Pair(Accuracy::Relative),
    doc: "‖Δ₂‖_F of the second adapter's update; 0 where it has none",
    range: "[0, ∞), units of the weights",
    source: "definition",
};

/// An update as its singular triplets, those of rounding left out.
#[derive(Debug, Clone)]
pub struct UpdateTriplets {
    factors: Factors,
    norm: f64,
}

/// What two updates are to each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Meeting {
    /// A value for each of [`CLASH`].
    pub values: [Value; 8],
    /// The cosines of the principal angles between the column spaces, descending.
    pub left: Vec<f64>,
    /// The same between the row spaces.
    pub right: Vec<f64>,
}

/// What the triplets of an update cost.
pub fn cost(layer: &Layer) -> Cost {
    solver::cost(&Form::of(layer, Precision::Fast), Need::Vectors)
}

/// The operations that two updates cost once their triplets are there.
pub fn cost_of_meeting(first: &Layer, second: &Layer) -> f64 {
    let directions = |layer: &Layer| layer.rank.unwrap_or(layer.rows.min(layer.cols)) as f64;
    2.0 * (first.rows + first.cols) as f64 * directions(first) * directions(second)
}

/// What two adapters are to each other, all modules together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Together {
    /// ⟨Δ₁, Δ₂⟩ over all modules.
    product: f64,
    squares: [f64; 2],
    /// Modules that both change.
    pub shared: u64,
}

impl Together {
    /// Adds the [`values`](Meeting::values) of one module.
    pub fn add(&mut self, values: &[Value; 8]) {
        let number = |value: Value| value.number().unwrap_or(0.0);
        let [cosine, .., first, second] = values.map(number);
        self.squares[0] += first * first;
        self.squares[1] += second * second;
        if first > 0.0 && second > 0.0 {
            self.product += cosine * first * second;
            self.shared += 1;
        }
    }

    /// Cosine, joint ratio and both norms: those of [`CLASH`] that have a meaning for all modules.
    pub fn values(&self) -> Vec<(&'static Column, Value)> {
        let [a, b] = self.squares;
        let (size, sum) = ((a * b).sqrt(), a + b);
        let cosine =
            if size > 0.0 { Value::within(self.product / size, -1.0, 1.0) } else { Value::Real(0.0) };
        let joint = Value::within((sum + 2.0 * self.product) / sum, 0.0, 2.0);
        let [cosine, joint] = [cosine, joint].map(|value| if sum > 0.0 { value } else { NONE });
        let [_, _, .., first, second] = &CLASH;
        vec![
            (&CLASH[0], cosine),
            (&CLASH[1], joint),
            (first, Value::real(a.sqrt())),
            (second, Value::real(b.sqrt())),
        ]
    }
}

impl UpdateTriplets {
    /// Those of `layer` of `source`.
    ///
    /// # Errors
    /// When it cannot be read, is not finite or does not converge.
    pub fn read(source: &Catalogue, layer: &Layer) -> Result<Self, Error> {
        let held = Held::read(source, layer)?;
        let (factors, spectrum) = solver::vectors_and_values(&held)?;
        let factors = factors.truncated(spectrum.resolved().len());
        Ok(Self { norm: spectrum.norm(), factors })
    }
}

/// What `first` and `second` are to each other; an adapter that leaves the weight alone has nothing there.
///
/// # Errors
/// When a small decomposition does not converge.
pub fn meeting(first: Option<&UpdateTriplets>, second: Option<&UpdateTriplets>) -> Result<Meeting, Error> {
    let norm = |side: Option<&UpdateTriplets>| side.map_or(0.0, |side| side.norm);
    let norms = [norm(first), norm(second)];
    let (Some(first), Some(second)) = (first, second) else {
        return Ok(Meeting::alone(norms));
    };
    let largest = norms[0].max(norms[1]);
    if norms[0] == 0.0 || norms[1] == 0.0 {
        return Ok(Meeting::alone(norms));
    }
    let left = first.factors.left.cosines(&second.factors.left);
    let right = first.factors.right.cosines(&second.factors.right);
    // In units of the larger, so that no square leaves its range.
    let unit = |values: &[f64], norm: f64| -> Vec<f64> { values.iter().map(|s| s / norm).collect() };
    let (ours, theirs) = (unit(&first.factors.values, norms[0]), unit(&second.factors.values, norms[1]));
    let mut cosine = 0.0;
    for (b, theirs) in theirs.iter().enumerate() {
        let terms = ours.iter().zip(left.column(b)).zip(right.column(b));
        cosine += theirs * terms.map(|((s, u), v)| s * u * v).sum::<f64>();
    }
    let squares = norms.map(|norm| (norm / largest) * (norm / largest));
    let cross = 2.0 * cosine * (norms[0] / largest) * (norms[1] / largest);
    let joint = (squares[0] + squares[1] + cross) / (squares[0] + squares[1]);
    let (left, right) = (angles(&left)?, angles(&right)?);
    let best = |cosines: &[f64]| cosines.first().copied().map_or(NONE, Value::real);
    let values = [
        Value::within(cosine, -1.0, 1.0),
        Value::within(joint, 0.0, 2.0),
        best(&left),
        overlap(&left),
        best(&right),
        overlap(&right),
        Value::real(norms[0]),
        Value::real(norms[1]),
    ];
    Ok(Meeting { values, left, right })
}

const NONE: Value = Value::Missing(MissingReason::NoUpdate);

impl Meeting {
    /// Where one side has no update: it leaves the other alone.
    fn alone(norms: [f64; 2]) -> Self {
        let is_none = norms.iter().all(|norm| *norm == 0.0);
        let of_one = |value| if is_none { NONE } else { Value::Real(value) };
        let (cosine, alone) = (of_one(0.0), of_one(1.0));
        let [first, second] = norms.map(Value::real);
        Self { values: [cosine, alone, NONE, NONE, NONE, NONE, first, second], left: vec![], right: vec![] }
    }
}

/// The singular values of the cosines of two orthonormal bases.
fn angles(cosines: &Basis) -> Result<Vec<f64>, Error> {
    let (rows, cols) = (cosines.length(), cosines.count());
    if rows == 0 || cols == 0 {
        return Ok(vec![]);
    }
    let entries: Vec<f64> = cosines.columns().flatten().copied().collect();
    let matrix = Matrix::from_f64(cols, rows, &entries)?;
    let spectrum = solver::singular_values(&matrix, Precision::Exact)?;
    Ok(spectrum.values().iter().map(|cosine| cosine.min(1.0)).collect())
}

fn overlap(cosines: &[f64]) -> Value {
    if cosines.is_empty() {
        return NONE;
    }
    let mean = cosines.iter().map(|cosine| cosine * cosine).sum::<f64>() / cosines.len() as f64;
    Value::within(mean, 0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::low_rank::LowRank;

    fn noise(seed: u32, count: usize) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        (0..count).map(|_| next()).collect()
    }

    fn update(seed: u32, scale: f64) -> LowRank {
        let left = noise(seed, 40 * 3).iter().map(|x| x * scale).collect();
        LowRank::new((40, 30), 3, left, noise(seed + 7, 3 * 30)).expect("sizes agree")
    }

    fn triplets(product: &LowRank) -> UpdateTriplets {
        let layer = Layer::plain("w", (40, 30), crate::matrix::Dtype::F64);
        let source =
            Catalogue::given(crate::weight::Holds::Updates, [(layer.clone(), product.clone().into())]);
        let layer = source.select(&crate::layer::Filter::default()).layers[0].clone();
        UpdateTriplets::read(&source, &layer).expect("in memory")
    }

    #[test]
    fn the_same_is_one_its_negative_minus_one_and_strangers_are_as_their_entries_say() {
        let (a, b) = (update(1, 1.0), update(3, 0.7));
        let found = |x: &LowRank, y: &LowRank| {
            meeting(Some(&triplets(x)), Some(&triplets(y))).expect("converges").values
        };
        let number = |value: Value| value.number().expect("measured");
        for (scale, cosine, joint) in [(2.0, 1.0, 1.8), (-1.0, -1.0, 0.0)] {
            let values = found(&a, &update(1, scale));
            assert!((number(values[0]) - cosine).abs() < 1e-14, "{values:?}");
            assert!((number(values[1]) - joint).abs() < 1e-14, "{values:?}");
            assert!((number(values[2]) - 1.0).abs() < 1e-14 && (number(values[5]) - 1.0).abs() < 1e-14);
        }
        let dense = |x: &LowRank| x.dense(0..40).expect("fits").to_f64();
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let (x, y) = (dense(&a), dense(&b));
        let expected = dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt();
        let values = found(&a, &b);
        assert!((number(values[0]) - expected).abs() < 1e-12, "{} {expected}", number(values[0]));
        assert!((number(values[6]) / dot(&x, &x).sqrt() - 1.0).abs() < 1e-13);
    }

    #[test]
    fn modules_together_are_one_long_update() {
        let pairs = [(update(1, 1.0), update(3, 0.7)), (update(5, 2.0), update(5, -0.1))];
        let mut together = Together::default();
        for (a, b) in &pairs {
            together.add(&meeting(Some(&triplets(a)), Some(&triplets(b))).expect("converges").values);
        }
        together.add(&meeting(Some(&triplets(&pairs[0].0)), None).expect("nothing to converge").values);
        let dense = |x: &LowRank| x.dense(0..40).expect("fits").to_f64();
        let [x, y]: [Vec<f64>; 2] = [
            [&pairs[0].0, &pairs[1].0, &pairs[0].0].into_iter().flat_map(dense).collect(),
            [&pairs[0].1, &pairs[1].1].into_iter().flat_map(dense).chain(vec![0.0; 1200]).collect(),
        ];
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let (xx, yy, xy) = (dot(&x, &x), dot(&y, &y), dot(&x, &y));
        let expected = [xy / (xx * yy).sqrt(), (xx + yy + 2.0 * xy) / (xx + yy), xx.sqrt(), yy.sqrt()];
        for ((_, found), expected) in together.values().into_iter().zip(expected) {
            assert!((found.number().expect("measured") - expected).abs() < 1e-12, "{found:?} {expected}");
        }
        assert_eq!(together.shared, 2);
    }

    #[test]
    fn who_leaves_a_weight_alone_leaves_the_other_alone() {
        let alone = meeting(Some(&triplets(&update(1, 1.0))), None).expect("nothing to converge").values;
        assert_eq!(alone[..2], [Value::Real(0.0), Value::Real(1.0)]);
        let nothing = meeting(None, None).expect("nothing to converge").values;
        assert_eq!(nothing[0], NONE);
    }
}
