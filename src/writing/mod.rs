//! What is written: safetensors, copies of checkpoints, and files that appear complete or not at all.

mod checkpoint_copy;
mod safetensors;
mod shelf;
mod spectra;
mod spool;
mod temporary;

pub use checkpoint_copy::CheckpointCopy;
pub use shelf::{Shelf, Usage};
pub use spectra::write_spectra;
pub use spool::Spool;
pub use temporary::{TemporaryFile, TemporaryFolder, remove_all};
