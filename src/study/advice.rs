//! `rank --emit`: what other tools should do, from the spectra of a report's matrices.

use std::collections::BTreeMap;

use crate::analysis::budget;
use crate::analysis::resize::{Resized, Rule, resize};
use crate::error::Error;
use crate::layer::{Purpose, bare, purpose};
use crate::metric::{energy_rank, energy_shares};
use crate::render::advice::{Advice, RankPattern};
use crate::report::{Report, Row, Value};
use crate::spectrum::Spectrum;
use crate::text::Text;

/// The options.
#[derive(Debug, Clone, PartialEq)]
pub enum AdviceRequest {
    /// A rank for each module, and `lora_alpha` where it is not the pattern's rank.
    RankPattern(Ranks, Option<f64>),
    /// This many percent of each kind of matrix to train.
    Unfrozen(f64),
    /// The ranks that `resize_lora.py` would cut to.
    Resize(Vec<Rule>),
    /// This many percent of the linear modules, those with the lowest condition number.
    Kappa(f64),
    /// The ratio of every matrix.
    Ratios,
}

/// Which modules are advised on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modules {
    /// Maps inside of the model: no embeddings, positions, norms and output heads.
    Inner,
    /// All.
    All,
}

/// Which rank a module gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ranks {
    /// On average as many, where they hold the largest share of a matrix's energy; at most this multiple to one.
    Budget(u32, Option<f64>),
    /// The fewest that hold this share of the energy.
    Energy(f64),
}

/// Advice, and the matrices that it leaves out.
pub struct Advised<'a> {
    /// The advice.
    pub advice: Advice<'a>,
    /// How many are no module by themselves: a slice of a stack, or a bare parameter.
    pub no_modules: usize,
    /// How many are embeddings, positions, norms or output heads.
    pub outer: usize,
    /// The rank of each matrix, by its name, where ranks are advised.
    pub ranks: Vec<(&'a str, usize)>,
}

/// A measured matrix.
struct Matrix<'a> {
    row: &'a Row,
    spectrum: &'a Spectrum,
}

impl AdviceRequest {
    /// The advice about the matrices of `report` that have one of `spectra`, which are in natural name order. The lists of
    /// other tools are made of the modules that these choose from, whatever `asked` is.
    ///
    /// # Errors
    /// When there is no matrix that it could be about.
    pub fn advise<'a>(
        &self,
        report: &'a Report,
        spectra: &'a [(Text, Spectrum)],
        asked: Modules,
    ) -> Result<Advised<'a>, Error> {
        let rows: BTreeMap<&str, &Row> = report.rows.iter().map(|row| (row.name.as_str(), row)).collect();
        let matrix =
            |(name, spectrum): &'a (Text, Spectrum)| Some(Matrix { row: rows.get(name.as_str())?, spectrum });
        let mut all: Vec<Matrix<'a>> = spectra.iter().filter_map(matrix).collect();
        let measured = all.len();
        if asked == Modules::Inner && matches!(self, Self::RankPattern(..) | Self::Resize(_)) {
            all.retain(|matrix| purpose(&matrix.row.name) == Purpose::Inner);
        }
        let outer = measured - all.len();
        let modules: Vec<&Matrix<'a>> = all.iter().filter(|matrix| is_module(matrix.row)).collect();
        let no_modules = all.len() - modules.len();
        let advised = |advice: Advice<'a>, no_modules| {
            let names = modules.iter().map(|matrix| matrix.row.name.as_str());
            let ranks = match &advice {
                Advice::RankPattern(pattern) => {
                    names.zip(pattern.modules.iter().map(|(_, rank)| *rank)).collect()
                }
                Advice::Resize(rules) => {
                    let first = rules.first().map_or(&[][..], |(_, matrices)| matrices);
                    first.iter().map(|(name, resized)| (*name, resized.rank)).collect()
                }
                _ => vec![],
            };
            Ok(Advised { advice, no_modules, outer, ranks })
        };
        match self {
            Self::Resize(rules) if !all.is_empty() => {
                return advised(Advice::Resize(resized(&all, rules)), 0);
            }
            Self::Kappa(top) if !all.is_empty() => return advised(kappa(&all, *top)?, 0),
            _ if modules.is_empty() => {
                let (kind, and) = (
                    self.kind(),
                    if outer > 0 { "; `--modules all` takes embeddings and heads, too" } else { "" },
                );
                return Err(Error::Usage(format!(
                    "no matrix here is a module's `.weight`: there is no {kind} to write{and}"
                )));
            }
            _ => {}
        }
        let advice = match self {
            Self::RankPattern(ranks, alpha) => Advice::RankPattern(pattern(&modules, *ranks, *alpha)?),
            Self::Unfrozen(top) => Advice::Unfrozen(unfrozen(&modules, *top)),
            Self::Ratios => Advice::Ratios(ratios(&modules)),
            Self::Resize(_) | Self::Kappa(_) => {
                return Err(Error::Usage("there is no matrix here".to_owned()));
            }
        };
        advised(advice, no_modules)
    }

    /// What users call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RankPattern(..) => "peft-rank-pattern",
            Self::Unfrozen(_) => "spectrum-yaml",
            Self::Resize(_) => "kohya",
            Self::Kappa(_) => "kappatune",
            Self::Ratios => "spectrum-snr",
        }
    }
}

/// Whether a row is a module's weight by itself: a slice of a stack or a bare parameter cannot be named.
fn is_module(row: &Row) -> bool {
    let weight = row.update.is_some() || row.tensor.ends_with(".weight");
    weight && !row.name.ends_with(']')
}

fn pattern<'a>(modules: &[&Matrix<'a>], asked: Ranks, alpha: Option<f64>) -> Result<RankPattern<'a>, Error> {
    let ranks: Vec<usize> = match asked {
        Ranks::Budget(budget, rho) => {
            let shares: Vec<Vec<f64>> = modules.iter().map(|matrix| energy_shares(matrix.spectrum)).collect();
            let most = rho.map_or(usize::MAX, |rho| (rho * f64::from(budget)).round() as usize);
            budget::allocate(&shares, budget as usize * modules.len(), most)
        }
        Ranks::Energy(share) => modules.iter().map(|matrix| energy_rank(matrix.spectrum, share)).collect(),
    };
    let given: Vec<usize> = ranks.iter().copied().filter(|rank| *rank > 0).collect();
    if given.is_empty() {
        return Err(Error::Usage("no matrix has a direction to give a rank to: all are zero".to_owned()));
    }
    let rank = match asked {
        Ranks::Budget(budget, _) => budget as usize,
        Ranks::Energy(_) => (given.iter().sum::<usize>() as f64 / given.len() as f64).round() as usize,
    };
    let names = modules.iter().map(|matrix| module(matrix.row));
    Ok(RankPattern { rank, alpha: alpha.unwrap_or(rank as f64), modules: names.zip(ranks).collect() })
}

/// The module whose weight a row is, where it is called by its whole tensor.
fn module(row: &Row) -> &str {
    let whole = row.update.is_none() && row.name == row.tensor;
    if whole { bare(&row.name) } else { &row.name }
}

/// The `top` percent of each role by Spectrum's ratio, best first; a matrix without one comes last.
fn unfrozen<'a>(modules: &[&Matrix<'a>], top: f64) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut roles: BTreeMap<&str, Vec<(&str, Option<f64>)>> = BTreeMap::new();
    for matrix in modules {
        let ratio = matrix.row.values.get("spectrum_snr").and_then(Value::number);
        roles.entry(&matrix.row.role).or_default().push((module(matrix.row), ratio));
    }
    let best = |(role, mut matrices): (&'a str, Vec<(&'a str, Option<f64>)>)| {
        // Ratios are not negative, and a positive number's bits are ordered like it.
        matrices.sort_by_key(|(_, ratio)| std::cmp::Reverse(ratio.map(f64::to_bits)));
        matrices.truncate((matrices.len() as f64 * top / 100.0) as usize);
        (role, matrices.into_iter().map(|(name, _)| name).collect())
    };
    roles.into_iter().map(best).collect()
}

/// The ratio of each module, with its role.
fn ratios<'a>(modules: &[&Matrix<'a>]) -> Vec<(&'a str, &'a str, f64)> {
    let ratio = |matrix: &&Matrix<'a>| {
        let ratio = matrix.row.values.get("spectrum_snr").and_then(Value::number)?;
        Some((module(matrix.row), matrix.row.role.as_str(), ratio))
    };
    modules.iter().filter_map(ratio).collect()
}

/// The endings of stacked experts that PEFT takes.
const STACKED: [&str; 4] = [".gate_up_proj", ".down_proj", ".gate_proj", ".up_proj"];
/// PEFT passes over a matrix with more rows or columns than that.
const LARGEST_SIDE: u64 = 16_384;

/// The `top` percent of linear modules and of stacks of experts with the lowest condition number, lowest first: those of
/// PEFT's `find_kappa_target_modules`. A stack has the mean of its experts.
fn kappa<'a>(all: &[Matrix<'a>], top: f64) -> Result<Advice<'a>, Error> {
    let number = |matrix: &Matrix<'_>| {
        let values = matrix.spectrum.values();
        values.first().zip(values.last()).map(|(largest, least)| largest / (least + 1e-8))
    };
    let fits = |row: &Row| row.shape.iter().all(|side| *side <= LARGEST_SIDE);
    let (mut modules, mut stacks) = (vec![], BTreeMap::<&str, Vec<f64>>::new());
    for matrix in all.iter().filter(|matrix| fits(matrix.row)) {
        let row = matrix.row;
        let axes = row.stored_shape.as_ref().map_or(2, Vec::len);
        let Some(kappa) = number(matrix) else { continue };
        let is_linear = matches!(purpose(&row.name), Purpose::Inner | Purpose::Head);
        if is_module(row) && axes == 2 && is_linear {
            modules.push((module(row), kappa));
        } else if axes == 3 && STACKED.iter().any(|ending| row.tensor.ends_with(ending)) {
            stacks.entry(&row.tensor).or_default().push(kappa);
        }
    }
    let mean = |(name, kappas): (&'a str, Vec<f64>)| (name, kappas.iter().sum::<f64>() / kappas.len() as f64);
    let best = |mut all: Vec<(&'a str, f64)>| -> Vec<&'a str> {
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        all.truncate(((all.len() as f64 * top / 100.0) as usize).max(1));
        all.into_iter().map(|(name, _)| name).collect()
    };
    let (modules, parameters) = (best(modules), best(stacks.into_iter().map(mean).collect()));
    if modules.is_empty() && parameters.is_empty() {
        return Err(Error::Usage(
            "no matrix here is a linear module of at most 16384 rows and columns".to_owned(),
        ));
    }
    Ok(Advice::Kappa { modules, parameters })
}

fn resized<'a>(measured: &[Matrix<'a>], rules: &[Rule]) -> Vec<(Rule, Vec<(&'a str, Resized)>)> {
    let one =
        |matrix: &Matrix<'a>, rule| Some((matrix.row.name.as_str(), resize(matrix.spectrum.values(), rule)?));
    rules
        .iter()
        .map(|rule| (*rule, measured.iter().filter_map(|matrix| one(matrix, *rule)).collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectrum::Route;

    fn row(name: &str, tensor: &str) -> Row {
        Row { name: name.into(), tensor: tensor.into(), role: "up".into(), ..Row::default() }
    }

    fn spectrum(values: [f64; 2]) -> Spectrum {
        Spectrum::new(values.to_vec(), 2, 2, Route::Direct).expect("sound values")
    }

    fn check(asked: Ranks, spectra: [[f64; 2]; 2], expected: Result<(usize, [usize; 2]), &str>) {
        let rows = [row("a", "a.weight"), row("b.weight", "b.weight")];
        let spectra = spectra.map(spectrum);
        let matrices = [0, 1].map(|i| Matrix { row: &rows[i], spectrum: &spectra[i] });
        let found = pattern(&[&matrices[0], &matrices[1]], asked, None);
        let found = found.map_err(|error| error.to_string());
        match (found, expected) {
            (Ok(found), Ok((rank, ranks))) => {
                assert_eq!((found.rank, found.modules), (rank, vec![("a", ranks[0]), ("b", ranks[1])]));
            }
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, _) => panic!("{asked:?}: {:?}", found.map(|found| found.modules)),
        }
    }

    #[test]
    fn ranks_go_where_the_energy_is() {
        check(Ranks::Budget(1, None), [[3.0, 2.9], [3.0, 0.1]], Ok((1, [1, 1])));
        check(Ranks::Budget(1, None), [[3.0, 2.9], [0.0, 0.0]], Ok((1, [2, 0])));
        check(Ranks::Budget(1, Some(1.0)), [[3.0, 2.9], [0.0, 0.0]], Ok((1, [1, 0])));
        check(Ranks::Energy(0.9), [[3.0, 2.9], [3.0, 0.1]], Ok((2, [2, 1])));
        check(Ranks::Energy(0.9), [[0.0, 0.0], [0.0, 0.0]], Err("all are zero"));
    }

    #[test]
    fn a_slice_and_a_bare_parameter_are_not_modules() {
        let rows = [row("a", "a.weight"), row("b[0]", "b.weight"), row("c", "c")];
        assert_eq!(rows.each_ref().map(is_module), [true, false, false]);
    }
}
