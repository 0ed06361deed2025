//! How a tensor stands to that of the base.

use crate::analysis::compare::Retyped;
use crate::report::Standing;

/// The status of two tensors from their headers (shape and type); unchanged until bytes are compared.
pub(super) fn between<S: PartialEq, T: PartialEq>(
    base: Option<(S, T)>,
    tuned: Option<(S, T)>,
) -> (Option<Standing>, Retyped) {
    match (base, tuned) {
        (None, None) => (None, Retyped::No),
        (None, Some(_)) => (Some(Standing::Added), Retyped::No),
        (Some(_), None) => (Some(Standing::Removed), Retyped::No),
        (Some((base_shape, base_type)), Some((shape, dtype))) => {
            let retyped = if base_type == dtype { Retyped::No } else { Retyped::Yes };
            let standing = match (base_shape == shape, retyped) {
                (false, _) => Standing::Reshaped,
                (true, Retyped::Yes) => Standing::Measured,
                (true, Retyped::No) => Standing::Unchanged,
            };
            (Some(standing), retyped)
        }
    }
}

/// One status of a matrix for all sides.
pub(super) fn summary(standings: &[Option<Standing>]) -> Standing {
    let all = |which: Standing| standings.iter().flatten().all(|standing| *standing == which);
    let same = [Standing::Unchanged, Standing::Added, Standing::Removed, Standing::Reshaped];
    same.into_iter().find(|standing| all(*standing)).unwrap_or(Standing::Measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_what_bytes_need_not_decide() {
        let check = |base, tuned, expected| assert_eq!(between(base, tuned), expected, "{base:?} {tuned:?}");
        let (here, turned) = (Some(((2, 3), "f32")), Some(((3, 2), "f32")));
        check(here, here, (Some(Standing::Unchanged), Retyped::No));
        check(here, turned, (Some(Standing::Reshaped), Retyped::No));
        check(here, Some(((2, 3), "bf16")), (Some(Standing::Measured), Retyped::Yes));
        check(here, None, (Some(Standing::Removed), Retyped::No));
        check(None, here, (Some(Standing::Added), Retyped::No));
        check(None::<((i32, i32), &str)>, None, (None, Retyped::No));
    }

    #[test]
    fn a_row_is_what_all_sides_are() {
        let check = |standings: &[Option<Standing>], expected| {
            assert_eq!(summary(standings), expected, "{standings:?}");
        };
        check(&[Some(Standing::Added), None], Standing::Added);
        check(&[Some(Standing::Unchanged), Some(Standing::Unchanged)], Standing::Unchanged);
        check(&[Some(Standing::Unchanged), Some(Standing::Removed)], Standing::Measured);
    }
}
