//! What a command asks, as a value: a request becomes tasks, tasks find records, and records are assembled to a report.
//!
//! No option of the command line, no printing and no clock is in here. A study knows what it takes from headers alone
//! ([`Study::manifest`], [`Study::costs`]); [`run()`] does its tasks under a memory budget and keeps what they find in a
//! [`Ledger`]; [`assemble()`] needs no checkpoint.

mod across;
mod adapter;
mod advice;
mod allocation;
mod asked;
mod assemble;
mod cache;
mod canon;
mod carried;
mod clash;
mod compare;
mod compensate;
mod copying;
mod each;
mod estimate;
mod extract;
mod failure;
mod farms;
mod features;
mod further;
mod heads;
mod identity;
mod init;
mod intruders;
mod kept_rows;
mod ledger;
mod lineage;
mod manifest;
mod matrices;
mod merge;
mod mitigate;
mod modules;
mod part;
mod partition;
mod permute;
mod rank;
mod recent;
mod record;
mod row_header;
mod run;
mod salt;
mod scaling;
mod series;
mod spectrum;
mod step_record;
mod ties;
mod units;
mod unmatched;
mod verify;
mod written;

use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpoint::{Catalogue, Pairs};
use crate::engine::Job;
use crate::error::Error;
use crate::report::Source;
use crate::solver::Memo;

pub use across::{Across, AcrossRequest};
pub use adapter::AdapterRequest;
pub use advice::{AdviceRequest, Advised, Modules, Ranks};
pub use allocation::{AllocationRequest, Gets, Per, has_range};
pub use asked::{Asked, AskedColumn, OwnColumns, Search};
pub use assemble::assemble;
pub use cache::{CACHE_SIZE, Cache};
pub use canon::{CanonRequest, write_canonical};
pub use carried::Carried;
pub use clash::{ClashRequest, Clashing};
pub use compare::{CompareRequest, ComparedSide, Comparison, Depth, Draft, PairHeaders, Question, Sides};
pub use compensate::CompensateRequest;
pub use each::Watch;
pub use estimate::{Estimate, EstimatedPart};
pub use extract::{ExtractRequest, Targets, written_dtype};
pub use failure::{FailedFile, Failure};
pub use farms::FarmsRequest;
pub use features::{Features, FeaturesRequest, Rows, TableFile};
pub use further::Further;
pub use heads::{Heads, HeadsOpened, HeadsRequest};
pub use identity::{Basis, Identity};
pub use init::{InitRequest, Initializing};
pub use intruders::IntrudersRequest;
pub use ledger::{Ledger, Pictures};
pub use lineage::LineageRequest;
pub use manifest::{Beside, CompensationOptions, Complete, Manifest, MatrixHeaders, TaskRows};
pub use matrices::{Matrices, Spectra};
pub use merge::{MergeRequest, Merging};
pub use mitigate::Mitigation;
pub use part::{PartHeader, PartNumber};
pub use partition::{Partition, Reads};
pub use permute::{Permutation, PermuteRequest, Permuting};
pub use rank::{PreviewFiles, RankRequest};
pub use recent::RecentMemo;
pub use record::{Found, FoundMatrix, FoundPair, FoundParts, FoundRow, FoundSide, Record};
pub use row_header::RowHeader;
pub use run::{Begun, Event, run};
pub use scaling::{FamilyMember, ScalingRequest};
pub use series::{Series, StepOrder};
pub use spectrum::{Measures, Names, SpectrumRequest, precision_of};
pub use step_record::StepRecord;
pub use units::ModelOpened;
pub use verify::{Originals, VerifyRequest};
pub use written::{check_all_fit, check_all_there, check_complete, check_no_stack};

/// Tasks over weights that are open. A task takes what its study gives it: one weight, a pair, a group, or the whole.
pub trait Study: Send + Sync {
    /// What its report says before anything is read.
    fn manifest(&self) -> Manifest;

    /// Where its files lie: failures are told from here on.
    fn roots(&self) -> &[PathBuf];

    /// What each task costs at first, in the order of the tasks.
    fn costs(&self) -> Vec<Job>;

    /// What its numbers depend on beside what the manifest says; nothing where that is not told, and no ledger is kept.
    fn basis(&self) -> Option<Basis> {
        None
    }

    /// Where each task begins to read, in the order of the tasks; nothing where that makes no difference.
    fn reads(&self) -> Vec<Reads> {
        vec![]
    }

    /// The work of each task in all its steps, as headers tell: floating-point operations.
    fn work(&self) -> Vec<f64> {
        self.costs().iter().map(|job| job.flops).collect()
    }

    /// The memory that a task may take beyond the limit, for its input is as large: a weight has to be held, but a few
    /// factors may stand for a matrix that no memory holds.
    fn justified(&self, _task: usize) -> u64 {
        u64::MAX
    }

    /// The memory that its report takes, and all that is known of it until then, beside the tasks.
    fn report_bytes(&self) -> u64 {
        0
    }

    /// For each task that waits (some of all, in their order), the position of an earlier one that will find the same; it need not be run. What `memo`
    /// knows costs nothing to find again, and is not looked at.
    fn copies(&self, waiting: &[Waiting], memo: &dyn Memo) -> Vec<Option<usize>>;

    /// Does one task, as far as `memo` does not know it; `before` is what it found when it asked to be run again.
    ///
    /// # Errors
    /// When a weight cannot be read or decomposed.
    fn run(&self, task: usize, before: Option<Found>, memo: &dyn Memo) -> Result<Step, Error>;
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// With all it was to find.
    Done(Found),
    /// There is more to do, at this cost.
    Again(Job, Found),
}

/// A task that has yet to be run, or to be run again.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its position in the study.
    pub task: usize,
    /// What it costs.
    pub cost: Job,
    /// What it has found so far.
    pub before: Option<Found>,
}

/// What a study of one model measures: weights, or the update to a base.
#[derive(Clone)]
pub struct Opened {
    /// The matrices.
    pub source: Arc<Catalogue>,
    /// What they are the differences of, if they are.
    pub pairs: Option<Arc<Pairs>>,
    /// Where they came from.
    pub origin: Source,
    /// Where their base came from.
    pub base: Option<Source>,
    /// The files or folders that were opened.
    pub roots: Vec<PathBuf>,
}
