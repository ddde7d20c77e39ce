//! Tiles of f32 by NEON; bounds are checked before, pointers move inside them.
//!
//! Of 32 registers 24 hold sums and four weights. An inner place of six rows takes 38 instructions, 24 of which multiply four
//! numbers each.

use std::arch::aarch64::*;
use std::arch::asm;

use super::part::Part;
use super::tiles::TOGETHER;
use crate::kernels::packed::{PANEL, WIDTH};

/// Columns of a register.
const LANES: usize = 4;

#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile<const R: usize>(rows: &[f32], part: Part, into: &mut [f32]) {
    part.check::<R>(rows, 1, into);
    // SAFETY: every AArch64 has NEON; the sizes were checked.
    unsafe { inner::<R>(rows.as_ptr(), part, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "neon")]
unsafe fn inner<const R: usize>(rows: *const f32, part: Part<'_>, into: *mut f32) {
    let Part { weights, first, count, column, .. } = part;
    // SAFETY: every offset stays inside what the caller checked.
    unsafe {
        let (rows, into) = (rows.add(first * R), into.add(column));
        let panel = weights.as_ptr();
        let mut sums = [[vdupq_n_f32(0.0); PANEL / LANES]; R];
        if first > 0 {
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [0, 1, 2, 3].map(|part| vld1q_f32(into.add(row * WIDTH + part * LANES)));
            }
        }
        for place in 0..count {
            let weights = [0, 1, 2, 3].map(|part| vld1q_f32(panel.add(place * PANEL + part * LANES)));
            let rows = rows.add(place / TOGETHER * TOGETHER * R + place % TOGETHER);
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = one_lane(*rows.add(row * TOGETHER));
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = vfmaq_n_f32(*sum, weights, x);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (part, sum) in sums.into_iter().enumerate() {
                vst1q_f32(into.add(row * WIDTH + part * LANES), sum);
            }
        }
    }
}

/// The number itself. Hides that it comes from memory: the compiler would fill a register with it by a load that takes a turn of
/// the units that multiply, where they can multiply by one lane.
#[expect(unsafe_code, reason = "what the compiler should not see through")]
#[inline(always)]
fn one_lane(mut x: f32) -> f32 {
    // SAFETY: no instruction at all.
    unsafe { asm!("// {x:v}", x = inout(vreg) x, options(pure, nomem, nostack, preserves_flags)) };
    x
}
