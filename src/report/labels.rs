//! Text columns of another tool's tables, for notebooks that expect them.

use serde::{Deserialize, Serialize};

use super::Word;

/// WeightWatcher's words for a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// The name of the layer in the model.
    pub longname: String,
    /// `dense`, `conv2d` or `unknown`, by the axes of the tensor.
    pub layer_type: Word,
    /// Whether there are eigenvalues.
    pub has_esd: bool,
    /// `over-trained` below an alpha of 2, `under-trained` above 6, else empty. These are its words, not ours.
    #[serde(default = "no_warning")]
    pub warning: Word,
}

fn no_warning() -> Word {
    "".into()
}
