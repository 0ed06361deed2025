//! Questions asked of one matrix or a pair: weights in, numbers out, one file or folder a question. `inventory` asks
//! what there is, of headers alone.

pub mod across;
pub mod adapter;
pub mod allocation;
pub mod budget;
pub mod clash;
pub mod columns;
pub mod compare;
pub mod compensate;
pub mod dct;
mod delta;
pub mod eigen;
pub mod extract;
pub mod farms;
pub mod features;
pub mod heads;
pub mod hygiene;
pub mod init;
pub mod intruders;
pub mod inventory;
pub mod lineage;
pub mod merge;
pub mod permute;
pub mod preview;
mod probability;
mod random;
pub mod rank;
pub mod ranked;
pub mod resize;
pub mod robust;
pub mod scaling;
pub mod series;
pub mod spectrum;
pub mod units;
pub mod verify;
mod weighting;

use crate::report::{Flag, Measurements, MissingReason, Places, Resolution};
use crate::spectrum::Spectrum;
use crate::weight::ContentId;

/// The results for one matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The numbers, in the order of the command's columns.
    pub values: Measurements,
    /// Entries, rows and columns that findings name.
    pub places: Places,
    /// Flags for the reader of the numbers.
    pub flags: Vec<Flag>,
    /// What it is called equal by.
    pub identity: ContentId,
    /// The sum of all squared entries, where a double holds it, or why it is not known.
    pub energy: Result<f64, MissingReason>,
    /// How small a number its singular values resolve, or how far off the largest may be where it is alone.
    pub resolution: Option<Resolution>,
    /// The singular values, whether they fit a double or not; none when the weight is not finite.
    pub spectrum: Option<Spectrum>,
}

impl Measured {
    /// What is the same of equal matrices, and nothing else yet.
    pub(crate) fn nothing(identity: ContentId) -> Self {
        Self {
            values: Measurements::default(),
            places: Places::default(),
            flags: vec![],
            identity,
            energy: Err(MissingReason::NotApplicable),
            resolution: None,
            spectrum: None,
        }
    }
}

/// How small a number `spectrum` resolves; none where σ₁ does not fit a double.
pub fn resolution(spectrum: &Spectrum) -> Option<Resolution> {
    let (spectral_norm, accuracy_floor) = (spectrum.largest(), spectrum.floor());
    spectrum.fits().then_some(Resolution { base: false, side: None, spectral_norm, accuracy_floor })
}
