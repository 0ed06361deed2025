//! Options of `rank` that ask what a decomposition would keep.

use std::path::PathBuf;

use clap::Args;

use crate::analysis::preview::Previews;
use crate::checkpoint::DataKind;
use crate::error::Error;
use crate::study::PreviewFiles;

use super::values::share;

/// Largest coefficient that a strong choice of columns leaves, unless another is asked for.
const STRONG: f64 = 1.2;

/// What is asked, and the files that say what matters.
#[derive(Debug, Args)]
#[command(next_help_heading = "Previews")]
pub(super) struct PreviewOptions {
    /// Covariances of the layers' inputs (docs/data-files.md): ranks by the energy of what layers give
    #[arg(long, value_name = "FILE", conflicts_with = "acts")]
    cov: Option<PathBuf>,
    /// The layers' inputs, for the same
    #[arg(long, value_name = "FILE")]
    acts: Option<PathBuf>,
    /// Mean squares of the gradients of each entry: ranks weighted by them, as FWSVD has it
    #[arg(long, value_name = "FILE")]
    fisher: Option<PathBuf>,
    /// With `--cov` or `--acts`: covariances of the gradients of what layers give; how many parameters matter
    #[arg(long, value_name = "FILE")]
    grad_cov: Option<PathBuf>,
    /// Ranks at which energies and losses are told, as in 16,64
    #[arg(long, value_name = "RANKS", value_delimiter = ',', value_parser = above_zero)]
    at: Vec<usize>,
    /// K columns that stand for the weight: strong rank-revealing QR with coefficients up to F [default F: 1.2], leverage,
    /// coherence
    #[arg(long, value_name = "K[,F]", value_parser = selection)]
    select_columns: Option<(usize, f64)>,
    /// R directions [default: a quarter of all] and that share of the columns beside them, as LOST has it
    #[arg(long, value_name = "[R,]SHARE", value_parser = beside)]
    lowrank_plus_columns: Option<(Option<usize>, f64)>,
    /// Which directions SST samples when it trains R at a time
    #[arg(long, value_name = "R", value_parser = above_zero)]
    sst: Option<usize>,
    /// What NF4 takes from the weight, and what an adapter of rank R gives back
    #[arg(long, value_name = "R", value_parser = above_zero)]
    nf4: Option<usize>,
}

impl PreviewOptions {
    /// What is asked.
    pub(super) fn previews(&self) -> Result<Previews, Error> {
        let inputs = self.cov.is_some() || self.acts.is_some();
        if self.grad_cov.is_some() && !inputs {
            return Err(Error::Usage(
                "`--grad-cov` is held against the layers' inputs; add `--cov FILE` or `--acts FILE`"
                    .to_owned(),
            ));
        }
        let mut ranks = self.at.clone();
        ranks.sort_unstable();
        ranks.dedup();
        Ok(Previews {
            ranks,
            select: self.select_columns,
            sparse: self.lowrank_plus_columns,
            sampled: self.sst,
            quantized: self.nf4,
            inputs,
            fisher: self.fisher.is_some(),
            gradients: self.grad_cov.is_some(),
        })
    }

    /// The files that say what matters.
    pub(super) fn files(&self) -> PreviewFiles {
        let cov = self.cov.iter().map(|path| (DataKind::Covariances, path.clone()));
        let acts = self.acts.iter().map(|path| (DataKind::Inputs, path.clone()));
        PreviewFiles {
            inputs: cov.chain(acts).next(),
            fisher: self.fisher.clone(),
            gradients: self.grad_cov.clone(),
        }
    }
}

fn above_zero(text: &str) -> Result<usize, String> {
    text.trim().parse().ok().filter(|k| *k > 0).ok_or_else(|| "a whole number from 1 on".to_owned())
}

/// `16` or `16,1.2`.
fn selection(text: &str) -> Result<(usize, f64), String> {
    let (count, limit) = text.split_once(',').map_or((text, None), |(count, limit)| (count, Some(limit)));
    let limit =
        limit.map_or(Some(STRONG), |limit| limit.trim().parse().ok().filter(|f| *f > 1.0 && *f < 1e6));
    let wrong = "a number of columns, and the largest coefficient above 1, as in 16 or 16,1.2";
    above_zero(count).ok().zip(limit).ok_or_else(|| wrong.to_owned())
}

/// `0.01` or `16,0.01`.
fn beside(text: &str) -> Result<(Option<usize>, f64), String> {
    let (rank, part) = text.split_once(',').map_or((None, text), |(rank, part)| (Some(rank), part));
    let wrong = "a share of the columns, or a rank and a share, as in 0.01 or 16,0.01";
    let rank = rank.map(above_zero).transpose();
    rank.ok().zip(share(part).ok()).ok_or_else(|| wrong.to_owned())
}
