//! Tiles of bfloat16 by AVX2 and AVX-512 BF16; bounds are checked before, pointers move inside them.

use std::arch::x86_64::*;

use super::super::{PANEL, WIDTH, check};
use super::GROUP;

/// Weights are widened in registers: an even place by a shift, an odd one by a mask.
#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile_avx2<const R: usize>(rows: &[f32], panels: &[u16], groups: usize, into: &mut [f32]) {
    check::<R>(rows.len(), panels.len(), groups * GROUP, into.len());
    // SAFETY: called where AVX2 and FMA were found; the sizes were checked.
    unsafe { inner_avx2::<R>(rows.as_ptr(), panels.as_ptr(), groups, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "avx2,fma")]
unsafe fn inner_avx2<const R: usize>(rows: *const f32, panels: *const u16, groups: usize, into: *mut f32) {
    let length = groups * GROUP;
    for half in 0..WIDTH / PANEL {
        // SAFETY: one of the two panels; every offset below stays inside what the caller checked.
        unsafe {
            let panel = panels.add(half * PANEL * length);
            // Twelve sums leave four registers. Were weights known to be the same for both places of a group, they would be kept on the
            // stack in between, where reading them back takes longer than all the rest if they happen to cross a line of the cache.
            let again = std::hint::black_box(panel);
            let odd = _mm256_set1_epi32(!0xffff);
            let mut sums = [[_mm256_setzero_ps(); 2]; R];
            for group in 0..groups {
                let both = [0, PANEL].map(|part| _mm256_loadu_si256(panel.add(group * PANEL * GROUP + part).cast()));
                let weights = both.map(|both| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(both)));
                let rows = rows.add(group * GROUP);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*rows.add(row * length));
                    *sums = [0, 1].map(|part| _mm256_fmadd_ps(x, weights[part], sums[part]));
                }
                let both = [0, PANEL].map(|part| _mm256_loadu_si256(again.add(group * PANEL * GROUP + part).cast()));
                let weights = both.map(|both| _mm256_castsi256_ps(_mm256_and_si256(both, odd)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*rows.add(row * length + 1));
                    *sums = [0, 1].map(|part| _mm256_fmadd_ps(x, weights[part], sums[part]));
                }
            }
            for (row, [left, right]) in sums.into_iter().enumerate() {
                _mm256_storeu_ps(into.add(row * WIDTH + half * PANEL), left);
                _mm256_storeu_ps(into.add(row * WIDTH + half * PANEL + PANEL / 2), right);
            }
        }
    }
}

/// Pairs of products summed at once.
#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile_avx512<const R: usize>(rows: &[u16], panels: &[u16], groups: usize, into: &mut [f32]) {
    check::<R>(rows.len(), panels.len(), groups * GROUP, into.len());
    // SAFETY: called where AVX-512 with BF16 was found; the sizes were checked.
    unsafe { inner_avx512::<R>(rows.as_ptr(), panels.as_ptr(), groups, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn inner_avx512<const R: usize>(rows: *const u16, panels: *const u16, groups: usize, into: *mut f32) {
    let length = groups * GROUP;
    // SAFETY: every offset stays inside what the caller checked.
    unsafe {
        let second = panels.add(PANEL * length);
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for group in 0..groups {
            let left = _mm512_loadu_si512(panels.add(group * PANEL * GROUP).cast());
            let right = _mm512_loadu_si512(second.add(group * PANEL * GROUP).cast());
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = rows.add(row * length + group * GROUP).cast::<i32>().read_unaligned();
                let x = _mm512_set1_epi32(x);
                sums[0] = products(sums[0], x, left);
                sums[1] = products(sums[1], x, right);
            }
        }
        for (row, [left, right]) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(into.add(row * WIDTH), left);
            _mm512_storeu_ps(into.add(row * WIDTH + PANEL), right);
        }
    }
}

/// `sums + Σ` of two products a lane.
#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn products(sums: __m512, x: __m512i, weights: __m512i) -> __m512 {
    // SAFETY: the same 512 bits, read as pairs of bfloat16.
    let (x, weights) =
        unsafe { (std::mem::transmute::<__m512i, __m512bh>(x), std::mem::transmute::<__m512i, __m512bh>(weights)) };
    #[cfg(not(miri))]
    {
        _mm512_dpbf16_ps(sums, x, weights)
    }
    // Miri does not know the instruction: the same by hand, so that it sees the rest.
    #[cfg(miri)]
    {
        use super::widened;
        // SAFETY: as above.
        let (x, weights): ([u16; 32], [u16; 32]) = unsafe { (std::mem::transmute(x), std::mem::transmute(weights)) };
        // SAFETY: sixteen numbers.
        let mut sums: [f32; 16] = unsafe { std::mem::transmute(sums) };
        for (lane, sum) in sums.iter_mut().enumerate() {
            for place in [2 * lane, 2 * lane + 1] {
                *sum += widened(x[place]) * widened(weights[place]);
            }
        }
        // SAFETY: sixteen numbers.
        unsafe { std::mem::transmute(sums) }
    }
}
