//! What each method promises of an adapter and its base, and what a module breaks of it.

use super::super::init::Method;
use crate::notation;
use crate::report::{MissingReason, Row, RowValues, Value};

/// What a method promises of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invariant {
    /// This column is 0 but for rounding.
    Zero(&'static str, &'static str),
    /// `truncated_rank` is the rank or more.
    Truncated,
    /// `lowest_ratio` is 1 or more.
    Leading,
    /// `highest_ratio` is 1 or less.
    Last,
    /// The diagonal of KaSA is there.
    Diagonal,
}

const ORTHONORMAL_A: Invariant = Invariant::Zero("defect_a", "the rows of A are not orthonormal");
const ORTHONORMAL_B: Invariant = Invariant::Zero("defect_b", "the columns of B are not orthonormal");
const ORTHOGONAL_A: Invariant = Invariant::Zero("slant_a", "the rows of A are not orthogonal");
const ORTHOGONAL_B: Invariant = Invariant::Zero("slant_b", "the columns of B are not orthogonal");
const LEFT: Invariant = Invariant::Zero("left_overlap", "the base has a part in the directions of B");
const RIGHT: Invariant = Invariant::Zero("right_overlap", "the base has a part in the directions of A");
const ZERO_UPDATE: Invariant = Invariant::Zero("adapter_norm", "B is not zero");
const PRESERVED: Invariant =
    Invariant::Zero("preservation_error", "base and adapter do not add up to the original weight");

/// The methods that evidence tells, those that promise most of the factors first. CorDA's two ends promise the same, and what
/// EoRA promises many adapters hold.
pub const METHODS: [Method; 7] =
    [Method::Kasa, Method::Eva, Method::Sorsa, Method::Pissa, Method::Minor, Method::Olora, Method::CordaIpm];

/// What a method promises at the start of training. Of SORSA and OLoRA with a scale beside 1, the base keeps a part.
fn invariants(method: Method, scale: f64) -> Vec<Invariant> {
    use Invariant::{Diagonal, Last, Leading, Truncated};
    let plain = (scale - 1.0).abs() < 1e-9;
    match method {
        Method::Pissa => vec![ORTHOGONAL_A, ORTHOGONAL_B, LEFT, RIGHT, Truncated, Leading, PRESERVED],
        Method::Minor => vec![ORTHOGONAL_A, ORTHOGONAL_B, LEFT, RIGHT, Truncated, Last, PRESERVED],
        Method::Sorsa if plain => vec![ORTHONORMAL_A, ORTHOGONAL_B, LEFT, RIGHT, Truncated, PRESERVED],
        Method::Sorsa => vec![ORTHONORMAL_A, ORTHOGONAL_B, PRESERVED],
        Method::Olora if plain => vec![ORTHONORMAL_B, LEFT, Truncated, PRESERVED],
        Method::Olora => vec![ORTHONORMAL_B, PRESERVED],
        Method::CordaIpm | Method::CordaKpm => vec![ORTHOGONAL_B, LEFT, Truncated, PRESERVED],
        Method::Kasa => vec![Diagonal, Truncated],
        Method::Eva => vec![ORTHONORMAL_A, ZERO_UPDATE],
        Method::Eora => vec![ORTHOGONAL_B],
    }
}

/// What a module is measured by beside its columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precisions {
    /// Spacing of 1.0 in the type of the factors, and in that of the base.
    pub spacing: [f64; 2],
    /// What the product of the factors is multiplied by.
    pub scale: f64,
    /// Whether a diagonal lies between them.
    pub has_diagonal: bool,
}

/// The invariants of `method` that a module breaks, in words; one that cannot be judged without the original is not.
pub fn broken(method: Method, values: &RowValues, precisions: &Precisions) -> Vec<String> {
    let number = |key: &str| values.get(key).and_then(Value::number);
    let rank = number("factor_rank").unwrap_or(0.0);
    let [own, base] = precisions.spacing.map(|spacing| spacing.max(f64::from(f32::EPSILON)));
    // Orthonormal vectors rounded to their type, with room for products in f32.
    let near = 8.0 * own.max(base) * rank.max(1.0).sqrt();
    let tell = |invariant: &Invariant| -> Option<String> {
        match invariant {
            Invariant::Zero(key, what) => {
                let found = number(key).filter(|found| *found > near)?;
                Some(format!("{what} ({key} {})", notation::real(found)))
            }
            Invariant::Truncated => {
                let found = number("truncated_rank").filter(|found| *found < rank)?;
                Some(format!("the base lacks {found} directions, not {rank}"))
            }
            Invariant::Leading => {
                let found = number("lowest_ratio").filter(|found| *found < 1.0 - near)?;
                let found = notation::real(found);
                Some(format!("the adapter does not hold the leading directions (lowest_ratio {found})"))
            }
            Invariant::Last => {
                let found = number("highest_ratio").filter(|found| *found > 1.0 + near)?;
                let found = notation::real(found);
                Some(format!("the adapter does not hold the last directions (highest_ratio {found})"))
            }
            Invariant::Diagonal => (!precisions.has_diagonal).then(|| "there is no `lora_diag`".to_owned()),
        }
    };
    invariants(method, precisions.scale).iter().filter_map(tell).collect()
}

/// Fills the column of the invariants that each row breaks; gives the method, and the rows with what they break. Without
/// `claimed`, the method is the one all of whose invariants most rows hold; none where no row holds any.
pub fn judge(
    rows: &mut [Row],
    claimed: Option<Method>,
    precisions: &dyn Fn(&Row) -> Precisions,
) -> (Option<Method>, Vec<(String, Vec<String>)>) {
    let measured = |row: &&Row| row.failed.is_none() && !row.values.is_empty();
    let holds = |row: &Row| {
        METHODS.into_iter().find(|method| broken(*method, &row.values, &precisions(row)).is_empty())
    };
    let method = claimed.or_else(|| {
        let held: Vec<Method> = rows.iter().filter(measured).filter_map(holds).collect();
        METHODS
            .into_iter()
            .rev()
            .max_by_key(|method| held.iter().filter(|other| *other == method).count())
            .filter(|method| held.contains(method))
    });
    let mut told = vec![];
    for row in rows.iter_mut().filter(|row| row.failed.is_none() && !row.values.is_empty()) {
        let value = match method {
            Some(method) => {
                let broken = broken(method, &row.values, &precisions(row));
                let value = Value::count(broken.len());
                if !broken.is_empty() {
                    told.push((row.name.to_string(), broken));
                }
                value
            }
            None => Value::Missing(MissingReason::NotApplicable),
        };
        row.values.set("broken", value);
    }
    (method, told)
}
