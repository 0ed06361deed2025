//! What attention heads read and write, from weights alone.
//!
//! `layouts` says where each model type keeps its attention, `modules` finds it (`names`, `projections`, `latent`), `read` cuts out the four matrices of a
//! head, `measure` gives a head's numbers and `compose` those of a pair. Inputs are rows, as in the papers: `OV = W_V·W_O`,
//! `QK = W_Q·W_Kᵀ`.

mod columns;
mod compose;
mod latent;
mod layouts;
mod measure;
mod modules;
mod names;
mod projections;
mod reach;
mod read;
mod units;

pub use columns::{COMPONENTS, COMPOSITION, CONTROL_TOKENS, HEAD_CHANGES, HEADS};
pub use compose::{Circuits, Components, Composed, bytes as circuits_bytes, cost as composition_cost};
pub use measure::{HeadMeasured, changes, cost, heads};
pub(crate) use modules::modules;
pub use modules::{Module, Modules};
pub use reach::{Inputs, reach};
pub use read::Folding;
pub use units::{HeadTensor, HeadUnits};
