//! Doubles rounded once to the type of a weight.

use half::f16;

use super::Dtype;

/// Rounds `entries` to the nearest numbers of `dtype`, ties to even, into `out`, still as doubles; nothing where that has 8
/// bits. What does not fit becomes infinite, here or in [`narrow`]. Inlined, so that the caller's instruction set holds.
#[inline(always)]
pub fn nearest(dtype: Dtype, entries: &[f64], out: &mut [f64]) {
    let each =
        |of: fn(f64) -> f64, out: &mut [f64]| out.iter_mut().zip(entries).for_each(|(y, x)| *y = of(*x));
    match dtype {
        Dtype::F64 => out.copy_from_slice(entries),
        Dtype::F32 => out.iter_mut().zip(entries).for_each(|(y, x)| *y = f64::from(*x as f32)),
        Dtype::F16 => each(|x| f16::from_f32(to_odd(x)).to_f64(), out),
        Dtype::Bf16 => {
            let mut common = true;
            for (y, x) in out.iter_mut().zip(entries) {
                // Up by half a step of the last bit that stays, or a little less where that is even.
                let bits = x.to_bits();
                let up = bits.wrapping_add(0x0fff_ffff_ffff + (bits >> 45 & 1));
                *y = f64::from_bits(up & !0x1fff_ffff_ffff);
                common &= x.abs() >= f64::from(f32::MIN_POSITIVE) && x.abs() <= f64::MAX;
            }
            if !common {
                each(|x| f64::from(f32::from_bits(u32::from(to_bf16(x)) << 16)), out);
            }
        }
        Dtype::F8E4M3 | Dtype::F8E5M2 => {}
    }
}

/// Stores `entries`, which are numbers of `dtype`; nothing where that has 8 bits.
#[inline(always)]
pub fn narrow(dtype: Dtype, entries: &[f64], out: &mut [u8]) {
    match dtype {
        Dtype::F64 => put(entries, out, f64::to_le_bytes),
        Dtype::F32 => put(entries, out, |x| (x as f32).to_le_bytes()),
        Dtype::F16 => put(entries, out, |x| f16_bits(x as f32).to_le_bytes()),
        Dtype::Bf16 => put(entries, out, |x| (((x as f32).to_bits() >> 16) as u16).to_le_bytes()),
        Dtype::F8E4M3 | Dtype::F8E5M2 => {}
    }
}

/// The bits of a number that an f16 holds, or of infinity, in a form that vectorizes.
#[inline(always)]
fn f16_bits(x: f32) -> u16 {
    let (sign, magnitude) = (x.to_bits() >> 16 & 0x8000, x.to_bits() & 0x7fff_ffff);
    // Where an f16 has no exponent, its bits count steps of 2⁻²⁴: those are the last bits of a number next to ½.
    let tiny = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let common = magnitude.wrapping_sub(112 << 23) >> 13;
    let large = if magnitude <= 255 << 23 { 0x7c00 } else { 0x7e00 };
    let (least, end) = (113 << 23, 143 << 23);
    (sign
        | if magnitude < least {
            tiny
        } else if magnitude < end {
            common
        } else {
            large
        }) as u16
}

#[inline(always)]
fn put<const N: usize>(entries: &[f64], out: &mut [u8], bytes: impl Fn(f64) -> [u8; N]) {
    let (room, _) = out.as_chunks_mut::<N>();
    room.iter_mut().zip(entries).for_each(|(room, x)| *room = bytes(*x));
}

/// The bytes of `entries`, each rounded to `dtype`.
pub(super) fn rounded_bytes(dtype: Dtype, entries: &[f64]) -> Vec<u8> {
    const RUN: usize = 512;
    let mut bytes = vec![0; entries.len() * dtype.size()];
    let mut room = [0.0; RUN];
    for (entries, bytes) in entries.chunks(RUN).zip(bytes.chunks_mut(RUN * dtype.size())) {
        let room = &mut room[..entries.len()];
        nearest(dtype, entries, room);
        narrow(dtype, room, bytes);
    }
    bytes
}

/// Entries as bf16, rounded to nearest even: for tests and writers.
pub fn bf16_bytes(entries: &[f64]) -> Vec<u8> {
    rounded_bytes(Dtype::Bf16, entries)
}

/// The bits of `x` as bf16, rounded to nearest even.
#[inline(always)]
fn to_bf16(x: f64) -> u16 {
    let bits = to_odd(x).to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // A sum could carry a NaN into the sign.
    (if x.is_nan() { 0x7fc0 } else { nearest }) as u16
}

/// `x` as f32, rounded to odd: its last bit says whether anything was cut off, so that rounding once more, to a shorter
/// type, gives what rounding once would (Boldo & Melquiond 2008). The library's own conversions drop 32 bits first.
#[inline(always)]
fn to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    let bits = nearest.to_bits();
    let toward_zero = bits.wrapping_sub(u32::from(back.abs() > x.abs()));
    f32::from_bits(if back.to_bits() == x.to_bits() { bits } else { toward_zero | 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_is_stored_as_it_is() {
        for bits in 0..=u16::MAX {
            let mut bytes = [0; 2];
            narrow(Dtype::F16, &[f16::from_bits(bits).to_f64()], &mut bytes);
            let stored = f16::from_le_bytes(bytes);
            assert!(stored.to_bits() == bits || stored.is_nan() && f16::from_bits(bits).is_nan(), "{bits:x}");
        }
    }

    #[test]
    fn bf16_is_rounded_as_the_library_rounds_what_is_exact_in_f32() {
        for bits in (0..=u32::MAX).step_by(65_521) {
            let x = f32::from_bits(bits);
            let theirs = half::bf16::from_f32(x);
            let bytes = bf16_bytes(&[f64::from(x)]);
            for ours in [to_bf16(f64::from(x)), u16::from_le_bytes([bytes[0], bytes[1]])] {
                assert!(
                    ours == theirs.to_bits() || x.is_nan() && half::bf16::from_bits(ours).is_nan(),
                    "{x:e}"
                );
            }
        }
        // Just above the middle of two neighbors, and just below: in f32 all three are the middle.
        let middle = 1.0 + 2f64.powi(-8);
        let near = [middle - 1e-15, middle, middle + 1e-15, -middle - 1e-15];
        assert_eq!(near.map(to_bf16), [0x3f80, 0x3f80, 0x3f81, 0xbf81]);
        assert_eq!(bf16_bytes(&near), [0x80, 0x3f, 0x80, 0x3f, 0x81, 0x3f, 0x81, 0xbf]);
        let ends = [f64::MAX, f64::MIN_POSITIVE, -0.0];
        assert_eq!(ends.map(to_bf16), [0x7f80, 0, 0x8000]);
        assert_eq!(bf16_bytes(&ends), [0x80, 0x7f, 0, 0, 0, 0x80]);
        assert_eq!(bf16_bytes(&ends[..1]), [0x80, 0x7f]);
    }
}
