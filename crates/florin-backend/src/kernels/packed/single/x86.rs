//! Tiles of f32 by AVX2 and AVX-512; bounds are checked before, pointers move inside them.

use std::arch::x86_64::*;

use super::part::Part;
use super::tiles::TOGETHER;
use crate::kernels::packed::{PANEL, WIDTH};

#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile_avx2<const R: usize>(rows: &[f32], part: Part, into: &mut [f32]) {
    part.check::<R>(rows, 1, into);
    // SAFETY: called where AVX2 and FMA were found; the sizes were checked.
    unsafe { inner_avx2::<R>(rows.as_ptr(), part, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "avx2,fma")]
unsafe fn inner_avx2<const R: usize>(rows: *const f32, part: Part<'_>, into: *mut f32) {
    let Part { weights, first, count, column, ahead, .. } = part;
    // SAFETY: every offset stays inside what the caller checked.
    unsafe {
        let (rows, into) = (rows.add(first * R), into.add(column));
        let panel = weights.as_ptr();
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        if first > 0 {
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [0, PANEL / 2].map(|place| _mm256_loadu_ps(into.add(row * WIDTH + place)));
            }
        }
        let mut ahead = ahead.chunks(share(ahead, count));
        for group in (0..count).step_by(TOGETHER) {
            fetch(ahead.next().unwrap_or_default(), 0);
            let rows = rows.add(group * R);
            for place in 0..TOGETHER.min(count - group) {
                let left = _mm256_loadu_ps(panel.add((group + place) * PANEL));
                let right = _mm256_loadu_ps(panel.add((group + place) * PANEL + PANEL / 2));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*rows.add(row * TOGETHER + place));
                    sums[0] = _mm256_fmadd_ps(x, left, sums[0]);
                    sums[1] = _mm256_fmadd_ps(x, right, sums[1]);
                }
            }
        }
        for (row, [left, right]) in sums.into_iter().enumerate() {
            _mm256_storeu_ps(into.add(row * WIDTH), left);
            _mm256_storeu_ps(into.add(row * WIDTH + PANEL / 2), right);
        }
    }
}

/// How much to fetch with each group of inner places: whole lines, a few at a time, for many would keep the tile's own numbers waiting.
fn share(ahead: &[f32], count: usize) -> usize {
    (ahead.len() / PANEL).div_ceil(count.div_ceil(TOGETHER)).max(1) * PANEL
}

/// Fetches lines, or those so far behind them, into the second cache: read in order, they move into the first on their own.
#[expect(unsafe_code, reason = "an instruction that never fails, whatever the address")]
#[inline(always)]
fn fetch(lines: &[f32], behind: usize) {
    for line in lines.chunks(PANEL) {
        // SAFETY: nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().wrapping_add(behind).cast()) };
    }
}

/// Both panels at once.
#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile_avx512<const R: usize>(rows: &[f32], part: Part, into: &mut [f32]) {
    part.check::<R>(rows, 2, into);
    // SAFETY: called where AVX-512 was found; the sizes were checked.
    unsafe { inner_avx512::<R>(rows.as_ptr(), part, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "avx512f")]
unsafe fn inner_avx512<const R: usize>(rows: *const f32, part: Part<'_>, into: *mut f32) {
    let Part { weights, second, first, count, ahead, .. } = part;
    // SAFETY: every offset stays inside what the caller checked.
    unsafe {
        let (rows, panel) = (rows.add(first * R), weights.as_ptr());
        let (distance, second) = (second, panel.add(second));
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        if first > 0 {
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [0, PANEL].map(|place| _mm512_loadu_ps(into.add(row * WIDTH + place)));
            }
        }
        let mut ahead = ahead.chunks(share(ahead, count));
        for group in (0..count).step_by(TOGETHER) {
            let some = ahead.next().unwrap_or_default();
            fetch(some, 0);
            fetch(some, distance);
            let rows = rows.add(group * R);
            for place in 0..TOGETHER.min(count - group) {
                let left = _mm512_loadu_ps(panel.add((group + place) * PANEL));
                let right = _mm512_loadu_ps(second.add((group + place) * PANEL));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*rows.add(row * TOGETHER + place));
                    sums[0] = _mm512_fmadd_ps(x, left, sums[0]);
                    sums[1] = _mm512_fmadd_ps(x, right, sums[1]);
                }
            }
        }
        for (row, [left, right]) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(into.add(row * WIDTH), left);
            _mm512_storeu_ps(into.add(row * WIDTH + PANEL), right);
        }
    }
}
