//! What is written: safetensors, copies of checkpoints, and files that appear complete or not at all.

mod adapter_folder;
mod carried;
mod checkpoint_copy;
mod event_file;
mod files;
mod journal;
mod safetensors;
mod shelf;
mod spectra;
mod spool;
mod temporary;

pub use adapter_folder::{
    AdapterDialect, AdapterModule, ModuleKind, check_adapter_folder, has_place, remove_adapter,
    write_adapter, write_adapter_with,
};
pub use carried::{CarriedTensor, Kept, TensorBytes};
pub use checkpoint_copy::{CheckpointCopy, RowWriter};
pub use event_file::{EVENT_FILE, extend_events, write_events};
pub use files::check_outside;
pub use journal::Journal;
pub use shelf::{Shelf, Usage};
pub use spectra::write_spectra;
pub use spool::Spool;
pub use temporary::{TemporaryFile, TemporaryFolder, remove_all};
