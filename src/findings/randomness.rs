//! Weights that cannot be told from their initialization.

use super::tell::{self, Line, first_and_more};
use super::view::Matrix;
use super::{Definition, Of, Search, Searched, Seen, Unknown};
use crate::notation::real;
use crate::report::Level;

/// Below this short side trained matrices pass every test of randomness.
pub(super) const SHORTEST: f64 = 32.0;
/// What is told of a matrix that is smaller.
pub(super) const SMALL: &str = "a side below 32";
/// What is told of one that is no weight by its name.
const NO_WEIGHT: &str = "not a linear map, a convolution or an embedding, by its name";

/// The columns that tests of randomness take.
const TESTS: &[&str] = &["mp_distance", "mp_edge_z", "iid_z", "kurtosis", "init_bound", "init_bound_xavier"];

pub(super) const RANDOM_LIKE: Definition = Definition {
    name: "random-like",
    levels: &[Level::Caution],
    of: Of::Weights,
    evidence: TESTS,
    search: Search::Each {
        see: |matrix| match randomness(matrix) {
            Ok(Randomness::Random) => Seen::Yes(Level::Caution, -tightness(matrix)),
            Ok(_) => Seen::No,
            Err(why) => Seen::Unknown(why),
        },
        tell: |hits| {
            let matrix = hits[0].matrix;
            let number = |key: &str| matrix.number(key).unwrap_or_default();
            let (short, _) = matrix.short_and_long();
            let bound = if number("kurtosis") < 1.9 { touched(matrix) } else { None };
            let more = match bound {
                Some(bound) => {
                    format!("Its largest entry is exactly {bound}: untouched since initialization.")
                }
                None => "Training that moved it by less than about a fifth of its size would look the same."
                    .to_owned(),
            };
            let sentence = format!(
                "{} cannot be told from random initialization: its {} singular values lie on the Marchenko–Pastur curve ({}; random: up to {}), none stands out, and rows and columns are as even as chance. {more}",
                matrix.name(),
                tell::count(short as usize),
                real(number("mp_distance")),
                real(limit(short)),
            );
            first_and_more(hits, &sentence)
        },
    },
};

pub(super) const BARELY_TRAINED: Definition = Definition {
    name: "barely-trained",
    levels: &[Level::Note],
    of: Of::Weights,
    evidence: TESTS,
    search: Search::Each {
        see: |matrix| match randomness(matrix) {
            Ok(Randomness::Moved(share)) => Seen::Yes(Level::Note, -share),
            Ok(_) => Seen::No,
            Err(why) => Seen::Unknown(why),
        },
        tell: |hits| {
            let matrix = hits[0].matrix;
            let share = matrix.number("kurtosis").map_or(0.0, moved);
            let sentence = format!(
                "{} is a uniform initialization that moved by about {} of its size, in no direction of its own.",
                matrix.name(),
                tell::percent(share),
            );
            first_and_more(hits, &sentence)
        },
    },
};

pub(super) const UNTRAINED_MODEL: Definition = Definition {
    name: "untrained-model",
    levels: &[Level::Problem],
    of: Of::Weights,
    evidence: TESTS,
    search: Search::All(|side| {
        const FEWEST: usize = 5;
        let tested: Vec<_> =
            side.of(Of::Weights).iter().filter_map(|m| Some((m, randomness(m).ok()?))).collect();
        let random = tested.iter().filter(|(_, found)| *found == Randomness::Random);
        let random: Vec<String> = random.map(|(matrix, _)| matrix.name().to_owned()).collect();
        let (a, b) = (random.len(), tested.len());
        if b < FEWEST {
            let unknown = format!("fewer than {FEWEST} matrices have 32 rows and columns or more");
            return Searched { line: None, unknown: Some(Unknown::everywhere(unknown)) };
        }
        let sentence = format!(
            "This checkpoint looks freshly initialized: {} of the {} matrices that are large enough to judge look random.",
            tell::count(a),
            tell::count(b)
        );
        let line = Line { level: Level::Problem, matrices: random, sentence };
        Searched { line: (10 * a >= 9 * b).then_some(line), unknown: None }
    }),
};

pub(super) const ORTHOGONAL: Definition = Definition {
    name: "orthogonal",
    levels: &[Level::Note],
    of: Of::Weights,
    evidence: &["condition_number"],
    search: Search::Each {
        see: |matrix| {
            if !matrix.is_weight() || matrix.short_and_long().0 < 8.0 {
                return Seen::No;
            }
            match matrix.number("condition_number") {
                Some(condition) if condition <= 1.02 => Seen::Yes(Level::Note, -condition),
                _ => Seen::No,
            }
        },
        tell: |hits| {
            let matrix = hits[0].matrix;
            let (short, _) = matrix.short_and_long();
            let sentence = format!(
                "{}: all {} singular values are equal, as in an orthogonal initialization, a rotation or the identity.",
                matrix.name(),
                tell::count(short as usize),
            );
            first_and_more(hits, &sentence)
        },
    },
};

/// What tests of randomness say.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Randomness {
    Random,
    /// A uniform start that moved by this share of its size.
    Moved(f64),
    Else,
}

fn randomness(matrix: &Matrix<'_>) -> Result<Randomness, &'static str> {
    if !matrix.is_weight() {
        return Err(NO_WEIGHT);
    }
    if matrix.row.shape.iter().any(|side| (*side as f64) < SHORTEST) {
        return Err(SMALL);
    }
    let [distance, edge, uneven, kurtosis] =
        match ["mp_distance", "mp_edge_z", "iid_z", "kurtosis"].map(|key| matrix.needed(key)) {
            [Ok(a), Ok(b), Ok(c), Ok(d)] => [a, b, c, d],
            [Err(why), ..] | [_, Err(why), ..] | [_, _, Err(why), _] | [.., Err(why)] => return Err(why),
        };
    let (short, long) = matrix.short_and_long();
    if short < SHORTEST {
        return Err(SMALL);
    }
    let entries = short * long;
    let random = distance <= limit(short)
        && edge <= 5.0
        && uneven <= 5.0
        && kurtosis <= 3.0 + 5.0 * (24.0 / entries).sqrt();
    let fine = matrix.bits().is_some_and(|bits| bits >= 16);
    Ok(match () {
        () if !random => Randomness::Else,
        () if fine && kurtosis > 1.8 + 6.0 / entries.sqrt() && kurtosis <= 2.2 => {
            Randomness::Moved(moved(kurtosis))
        }
        () => Randomness::Random,
    })
}

/// The largest `mp_distance` of random numbers: eigenvalues repel, so it shrinks like √(ln k)/k.
fn limit(short: f64) -> f64 {
    (1.4 + 0.5 * short.ln()) / short
}

/// How far it is below the limit, for telling the clearest first.
fn tightness(matrix: &Matrix<'_>) -> f64 {
    let (short, _) = matrix.short_and_long();
    matrix.number("mp_distance").map_or(0.0, |distance| distance / limit(short))
}

/// By what share of its size a uniform start has moved: movement pulls the kurtosis from 1.8 towards 3.
fn moved(kurtosis: f64) -> f64 {
    (1.0 - ((3.0 - kurtosis) / 1.2).sqrt()).max(0.0).sqrt()
}

/// The bound of a uniform initialization that the largest entry is exactly at.
fn touched(matrix: &Matrix<'_>) -> Option<&'static str> {
    let at = |key: &str| matrix.number(key).is_some_and(|bound| (0.998..=1.0005).contains(&bound));
    match () {
        () if at("init_bound") => Some("1/√inputs"),
        () if at("init_bound_xavier") => Some("the Xavier bound"),
        () => None,
    }
}
