//! Options of `spectrum` that ask for more than its metrics: eigenvalues, robust values.

use clap::{Args, ValueEnum};

use crate::analysis::eigen::{EIGENVALUES, Eigenvalues};
use crate::analysis::robust::{ROBUST, Robust};
use crate::error::Error;
use crate::solver::Complex;
use crate::study::Further;

/// Columns of the table with eigenvalues, most wanted first.
const SHOWN_EIGENVALUES: [&str; 8] = [
    "spectral_abscissa",
    "spectral_radius",
    "numerical_abscissa",
    "eigenvector_condition",
    "henrici_departure",
    "unstable_count",
    "slowest_time",
    "fastest_time",
];
/// The same with robust values.
const SHOWN_ROBUST: [&str; 7] = [
    "spectral_norm",
    "robust_spectral_norm",
    "robust_ratio",
    "robust_rank",
    "entry_share",
    "left_localization",
    "right_localization",
];

/// What is asked beside the metrics.
#[derive(Debug, Args)]
#[command(next_help_heading = "Method")]
pub(super) struct FurtherOptions {
    /// Eigenvalues of square matrices, and of the state spaces in `A_log` (Mamba) and `log_A_real` with `A_imag` (S4D):
    /// stability, time scales, how far from normal
    #[arg(long, conflicts_with = "no_svd")]
    eig: bool,
    /// With `--eig`: list σ_min(zI − A) at these points of the plane, as in -1,0.5+1i
    #[arg(long, value_name = "POINTS", value_delimiter = ',', value_parser = point, requires = "eig", allow_hyphen_values = true)]
    eig_at: Vec<Complex>,
    /// Singular values that a few giant entries do not move, beside the plain ones, and how localized the first direction is
    #[arg(long, value_name = "HOW", value_enum, conflicts_with = "no_svd")]
    robust: Option<RobustName>,
    /// With `--robust`: how little entries far from a direction weigh, from 0 (as in the plain decomposition) to 1
    #[arg(long, value_name = "ALPHA", default_value_t = 0.3, value_parser = weight, requires = "robust")]
    robust_alpha: f64,
    /// With `--robust`: how many directions are looked for
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64), requires = "robust")]
    robust_directions: u16,
}

/// How robust values are found, by the names users type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RobustName {
    /// By the density power divergence (rSVDdpd)
    Dpd,
}

impl FurtherOptions {
    /// What is asked.
    pub(super) fn further(&self) -> Further {
        let robust = Robust { alpha: self.robust_alpha, directions: self.robust_directions.into() };
        Further {
            eigenvalues: self.eig.then(|| Eigenvalues { points: self.eig_at.clone() }),
            robust: self.robust.map(|RobustName::Dpd| robust),
        }
    }

    /// Columns of the table, before those of the command.
    pub(super) fn shown(&self) -> Vec<&'static str> {
        let eigenvalues = if self.eig { &SHOWN_EIGENVALUES[..] } else { &[] };
        let robust = if self.robust.is_some() { &SHOWN_ROBUST[..] } else { &[] };
        eigenvalues.iter().chain(robust).copied().collect()
    }
}

/// An error about a column that needs an option says so.
pub(super) fn hint(error: Error) -> Error {
    let Error::Column { at, key, problem } = error else { return error };
    let has = |columns: &[crate::report::Column]| columns.iter().any(|column| column.key == key);
    let problem = match () {
        () if has(&EIGENVALUES) => format!("`{key}` is a column of eigenvalues: add `--eig`"),
        () if has(&ROBUST) => format!("`{key}` is a column of robust values: add `--robust dpd`"),
        () => problem,
    };
    Error::Column { at, key, problem }
}

/// `-1`, `0.5+1i`, `-2i`.
fn point(text: &str) -> Result<Complex, String> {
    let wrong = || "a complex number, as in -1 or 0.5+1i".to_owned();
    let number = |text: &str| text.parse::<f64>().ok().filter(|x| x.is_finite()).ok_or_else(wrong);
    let text = text.trim();
    let Some(rest) = text.strip_suffix('i') else { return Ok((number(text)?, 0.0)) };
    // The last sign that is neither the first character nor of an exponent.
    let sign = rest
        .char_indices()
        .rfind(|(at, c)| *at > 0 && matches!(c, '+' | '-') && !rest[..*at].ends_with(['e', 'E']));
    let at = sign.map_or(0, |(at, _)| at);
    let imaginary = match &rest[at..] {
        "" | "+" => 1.0,
        "-" => -1.0,
        text => number(text)?,
    };
    Ok((if at == 0 { 0.0 } else { number(&rest[..at])? }, imaginary))
}

fn weight(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x| (0.0..=1.0).contains(x));
    number.ok_or_else(|| "a number from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_as_people_write_them() {
        let all = ["-1", "0.5+1i", "-2i", "i", "1e-3-1e+2i", "3-i"].map(point);
        let expected = [(-1.0, 0.0), (0.5, 1.0), (0.0, -2.0), (0.0, 1.0), (1e-3, -100.0), (3.0, -1.0)];
        assert_eq!(all, expected.map(Ok));
        for wrong in ["", "1j", "1+2", "nan", "1+infi"] {
            assert!(point(wrong).is_err(), "{wrong}");
        }
    }
}
