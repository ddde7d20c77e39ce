//! Tiles of bfloat16 by NEON, and by its instruction for them (BF16); bounds are checked before, pointers move inside them.
//!
//! Widened, two inner places of ten rows and half a panel take 66 instructions, 40 of which multiply four numbers each and four of
//! which widen; a twelfth row would leave too few registers. By BF16 two places of six rows and a panel take 38, 24 of which
//! multiply eight numbers each.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{PANEL, WIDTH, check};
use super::GROUP;

/// Rows of a tile whose weights are widened: of 32 registers 20 hold sums, four weights.
pub(super) const ROWS: usize = 10;
/// Columns of a register.
const LANES: usize = 4;

/// Weights are widened in registers: an even place by a shift, an odd one by a mask. Few rows take a whole panel at once, so that
/// there are sums enough to add to while others are under way; many take half of it, so that the sums stay in registers.
#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile<const R: usize>(rows: &[f32], panels: &[u16], groups: usize, into: &mut [f32]) {
    check::<R>(rows.len(), panels.len(), groups * GROUP, into.len());
    let (rows, panels, into) = (rows.as_ptr(), panels.as_ptr(), into.as_mut_ptr());
    // SAFETY: every AArch64 has NEON; the sizes were checked.
    unsafe { if R > 4 { inner::<R, 2>(rows, panels, groups, into) } else { inner::<R, 4>(rows, panels, groups, into) } }
}

/// `C` registers of columns at a time.
#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "neon")]
unsafe fn inner<const R: usize, const C: usize>(rows: *const f32, panels: *const u16, groups: usize, into: *mut f32) {
    let length = groups * GROUP;
    for first in (0..WIDTH).step_by(C * LANES) {
        // SAFETY: columns of the two panels; every offset below stays inside what the caller checked.
        unsafe {
            let panel = panels.add(first / PANEL * PANEL * length + first % PANEL * GROUP);
            let odd = vdupq_n_u32(!0xffff);
            let mut sums = [[vdupq_n_f32(0.0); C]; R];
            for group in 0..groups {
                let mut weights = [[vdupq_n_f32(0.0); GROUP]; C];
                for (part, weights) in weights.iter_mut().enumerate() {
                    let both = vld1q_u16(panel.add((group * PANEL + part * LANES) * GROUP));
                    let both = vreinterpretq_u32_u16(both);
                    *weights =
                        [vshlq_n_u32::<16>(both), vandq_u32(both, odd)].map(|place| vreinterpretq_f32_u32(place));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = vld1_f32(rows.add(row * length + group * GROUP));
                    for (sum, [even, odd]) in sums.iter_mut().zip(weights) {
                        *sum = vfmaq_lane_f32::<0>(*sum, even, x);
                        *sum = vfmaq_lane_f32::<1>(*sum, odd, x);
                    }
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (part, sum) in sums.into_iter().enumerate() {
                    vst1q_f32(into.add(row * WIDTH + first + part * LANES), sum);
                }
            }
        }
    }
}

/// Pairs of products summed at once.
#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile_dot<const R: usize>(rows: &[u16], panels: &[u16], groups: usize, into: &mut [f32]) {
    check::<R>(rows.len(), panels.len(), groups * GROUP, into.len());
    // SAFETY: called where BF16 was found; the sizes were checked.
    unsafe { inner_dot::<R>(rows.as_ptr(), panels.as_ptr(), groups, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "neon,bf16")]
unsafe fn inner_dot<const R: usize>(rows: *const u16, panels: *const u16, groups: usize, into: *mut f32) {
    let length = groups * GROUP;
    for half in 0..WIDTH / PANEL {
        // SAFETY: one of the two panels; every offset below stays inside what the caller checked.
        unsafe {
            let panel = panels.add(half * PANEL * length);
            let mut sums = [[vdupq_n_f32(0.0); PANEL / LANES]; R];
            for group in 0..groups {
                let weights = [0, 1, 2, 3].map(|part| vld1q_u16(panel.add((group * PANEL + part * LANES) * GROUP)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = rows.add(row * length + group * GROUP).cast::<f32>().read_unaligned();
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = products(*sum, weights, x);
                    }
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (part, sum) in sums.into_iter().enumerate() {
                    vst1q_f32(into.add(row * WIDTH + half * PANEL + part * LANES), sum);
                }
            }
        }
    }
}

/// `sums + Σ` of two products a lane; the pair of x is in the bits of an f32. By hand, for the function is not stable yet.
#[expect(unsafe_code, reason = "an instruction that has no function yet")]
#[target_feature(enable = "neon,bf16")]
#[inline]
fn products(mut sums: float32x4_t, weights: uint16x8_t, x: f32) -> float32x4_t {
    // SAFETY: the instruction is there where this may be called, and touches these registers alone.
    unsafe {
        asm!(
            "bfdot {sums:v}.4s, {weights:v}.8h, {x:v}.2h[0]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
