//! Tiles of f32 by AVX2 and AVX-512; bounds are checked before, pointers move inside them.

use std::arch::x86_64::*;

use super::{PANEL, Part, WIDTH, check};

#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile_avx2<const R: usize>(rows: &[f32], panels: &[f32], part: Part, into: &mut [f32]) {
    check::<R>(rows, panels, part, PANEL, into);
    // SAFETY: called where AVX2 and FMA were found; the sizes were checked.
    unsafe { inner_avx2::<R>(rows.as_ptr(), panels.as_ptr(), part, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "avx2,fma")]
unsafe fn inner_avx2<const R: usize>(rows: *const f32, panels: *const f32, part: Part, into: *mut f32) {
    let Part { length, first, count, column } = part;
    // SAFETY: every offset stays inside what the caller checked.
    unsafe {
        let (rows, into) = (rows.add(first), into.add(column));
        let panel = panels.add(column * length + first * PANEL);
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        if first > 0 {
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [0, PANEL / 2].map(|place| _mm256_loadu_ps(into.add(row * WIDTH + place)));
            }
        }
        for place in 0..count {
            let left = _mm256_loadu_ps(panel.add(place * PANEL));
            let right = _mm256_loadu_ps(panel.add(place * PANEL + PANEL / 2));
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_set1_ps(*rows.add(row * length + place));
                sums[0] = _mm256_fmadd_ps(x, left, sums[0]);
                sums[1] = _mm256_fmadd_ps(x, right, sums[1]);
            }
        }
        for (row, [left, right]) in sums.into_iter().enumerate() {
            _mm256_storeu_ps(into.add(row * WIDTH), left);
            _mm256_storeu_ps(into.add(row * WIDTH + PANEL / 2), right);
        }
    }
}

/// Both panels at once.
#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile_avx512<const R: usize>(rows: &[f32], panels: &[f32], part: Part, into: &mut [f32]) {
    check::<R>(rows, panels, part, WIDTH, into);
    // SAFETY: called where AVX-512 was found; the sizes were checked.
    unsafe { inner_avx512::<R>(rows.as_ptr(), panels.as_ptr(), part, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "avx512f")]
unsafe fn inner_avx512<const R: usize>(rows: *const f32, panels: *const f32, part: Part, into: *mut f32) {
    let Part { length, first, count, .. } = part;
    // SAFETY: every offset stays inside what the caller checked.
    unsafe {
        let (rows, panel) = (rows.add(first), panels.add(first * PANEL));
        let second = panel.add(PANEL * length);
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        if first > 0 {
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [0, PANEL].map(|place| _mm512_loadu_ps(into.add(row * WIDTH + place)));
            }
        }
        for place in 0..count {
            let left = _mm512_loadu_ps(panel.add(place * PANEL));
            let right = _mm512_loadu_ps(second.add(place * PANEL));
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*rows.add(row * length + place));
                sums[0] = _mm512_fmadd_ps(x, left, sums[0]);
                sums[1] = _mm512_fmadd_ps(x, right, sums[1]);
            }
        }
        for (row, [left, right]) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(into.add(row * WIDTH), left);
            _mm512_storeu_ps(into.add(row * WIDTH + PANEL), right);
        }
    }
}
