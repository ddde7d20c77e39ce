//! Tiles of eight bits by NEON, and by its sums of four products (DotProd); bounds are checked before, pointers move inside them.
//!
//! Rows are bytes with sign, 128 less than they stand for, and so are their zero points: the product is the same.
//!
//! By DotProd four inner places of six rows and a panel take 38 instructions, 24 of which multiply sixteen numbers each. By NEON
//! alone four places of five rows and half a panel take 40, 20 of which multiply eight each and ten of which add.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{PANEL, WIDTH, check};
use super::GROUP;

/// Rows of a tile without DotProd: of 32 registers ten hold sums, and the compiler fills the others with sums of two products.
pub(super) const ROWS: usize = 5;
/// Columns of a register.
const LANES: usize = 4;
/// Columns whose places one load takes apart.
const PART: usize = 8;

/// Two products of bytes are summed in sixteen bits, which hold them: `2 · 128 · 127 < 2¹⁵`. They are those of inner places 0
/// and 2, and of 1 and 3; neighbours are added in 32 bits.
#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile<const R: usize>(rows: &[u8], panels: &[i8], groups: usize, into: &mut [i32]) {
    check::<R>(rows.len(), panels.len(), groups * GROUP, into.len());
    // SAFETY: every AArch64 has NEON; the sizes were checked.
    unsafe { inner::<R>(rows.as_ptr(), panels.as_ptr(), groups, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "neon")]
unsafe fn inner<const R: usize>(rows: *const u8, panels: *const i8, groups: usize, into: *mut i32) {
    let length = groups * GROUP;
    for first in (0..WIDTH).step_by(PART) {
        // SAFETY: part of the two panels; every offset below stays inside what the caller checked.
        unsafe {
            let panel = panels.add(first / PANEL * PANEL * length + first % PANEL * GROUP);
            let mut sums = [[vdupq_n_s32(0); PART / LANES]; R];
            for group in 0..groups {
                let int16x8x2_t(a, b) = vld2q_s16(panel.add(group * PANEL * GROUP).cast());
                let weights = [vreinterpretq_s8_s16(a), vreinterpretq_s8_s16(b)];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let int16x8x2_t(a, b) = vld2q_dup_s16(rows.add(row * length + group * GROUP).cast());
                    let x = [vreinterpretq_s8_s16(a), vreinterpretq_s8_s16(b)];
                    let low = vmull_s8(vget_low_s8(weights[0]), vget_low_s8(x[0]));
                    let low = vmlal_s8(low, vget_low_s8(weights[1]), vget_low_s8(x[1]));
                    let high = vmlal_high_s8(vmull_high_s8(weights[0], x[0]), weights[1], x[1]);
                    *sums = [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], high)];
                }
            }
            store(sums, into.add(first));
        }
    }
}

/// Four products summed at once.
#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile_dot<const R: usize>(rows: &[u8], panels: &[i8], groups: usize, into: &mut [i32]) {
    check::<R>(rows.len(), panels.len(), groups * GROUP, into.len());
    // SAFETY: called where DotProd was found; the sizes were checked.
    unsafe { inner_dot::<R>(rows.as_ptr(), panels.as_ptr(), groups, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "neon,dotprod")]
unsafe fn inner_dot<const R: usize>(rows: *const u8, panels: *const i8, groups: usize, into: *mut i32) {
    let length = groups * GROUP;
    for half in 0..WIDTH / PANEL {
        // SAFETY: one of the two panels; every offset below stays inside what the caller checked.
        unsafe {
            let panel = panels.add(half * PANEL * length);
            let mut sums = [[vdupq_n_s32(0); PANEL / LANES]; R];
            for group in 0..groups {
                let weights = [0, 1, 2, 3].map(|part| vld1q_s8(panel.add((group * PANEL + part * LANES) * GROUP)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = rows.add(row * length + group * GROUP).cast::<f32>().read_unaligned();
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = products(*sum, weights, x);
                    }
                }
            }
            store(sums, into.add(half * PANEL));
        }
    }
}

/// `sums + Σ` of four products a lane; the four of x are in the bits of an f32. By hand, for the function is not stable yet.
#[expect(unsafe_code, reason = "an instruction that has no function yet")]
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn products(mut sums: int32x4_t, weights: int8x16_t, x: f32) -> int32x4_t {
    // SAFETY: the instruction is there where this may be called, and touches these registers alone.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {x:v}.4b[0]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// # Safety
///
/// There are `R` rows of `WIDTH` numbers, of which `C` registers are left here.
#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "neon")]
#[inline]
unsafe fn store<const R: usize, const C: usize>(sums: [[int32x4_t; C]; R], into: *mut i32) {
    for (row, sums) in sums.into_iter().enumerate() {
        for (part, sum) in sums.into_iter().enumerate() {
            // SAFETY: by the caller's word.
            unsafe { vst1q_s32(into.add(row * WIDTH + part * LANES), sum) };
        }
    }
}
