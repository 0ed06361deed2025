//! What is kept of a measured head beside its numbers.

use crate::analysis::heads::{HeadMeasured, Module};
use crate::report::{Drawings, Drawn, MissingReason, Reach, Resolution, Value};

/// How small a number the products of a head resolve.
pub(super) fn resolution(base: bool, module: &Module, head: &HeadMeasured) -> Option<Resolution> {
    let spectral_norm = *head.sigma_qk.first()?;
    let accuracy_floor = spectral_norm * module.width as f64 * f64::EPSILON;
    (spectral_norm > 0.0).then_some(Resolution { base, side: None, spectral_norm, accuracy_floor })
}

/// The most control tokens that any token of the inputs needs.
pub(super) fn tokens(reach: Option<&Reach>) -> Value {
    let Some(reach) = reach else { return Value::Missing(MissingReason::NotApplicable) };
    let most = reach.tokens.iter().map(|tokens| tokens.ceil()).max_by(f64::total_cmp);
    most.map_or(Value::Missing(MissingReason::Overflow), |most| Value::count(most as usize))
}

pub(super) fn drawings(head: &HeadMeasured) -> Drawings {
    let drawn = |of: &str, sigma: &[f64]| Drawn::new(of, sigma.iter().copied().enumerate().collect());
    Drawings { spectra: vec![drawn("OV", &head.sigma_ov), drawn("QK", &head.sigma_qk)], directions: vec![] }
}
