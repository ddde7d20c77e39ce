//! Tiles of eight bits by AVX2 and AVX-512 VNNI; bounds are checked before, pointers move inside them.

use std::arch::x86_64::*;

use super::super::{PANEL, WIDTH, check};
use super::GROUP;

/// Rows of a tile in AVX2: six of sixteen registers hold sums, four weights. With four rows a sum went through the stack each time, where
/// reading it back takes long if it happens to cross a line of the cache.
pub(super) const ROWS: usize = 3;
/// Columns whose sums fill a register.
const LANES: usize = 8;

/// Bytes without sign times bytes with. Four products are summed in sixteen bits, which hold them: so weights were scaled.
#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile_avx2<const R: usize>(rows: &[u8], panels: &[i8], groups: usize, into: &mut [i32]) {
    check::<R>(rows.len(), panels.len(), groups * GROUP, into.len());
    // SAFETY: called where AVX2 was found; the sizes were checked.
    unsafe { inner_avx2::<R>(rows.as_ptr(), panels.as_ptr(), groups, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "avx2")]
unsafe fn inner_avx2<const R: usize>(rows: *const u8, panels: *const i8, groups: usize, into: *mut i32) {
    let length = groups * GROUP;
    let ones = _mm256_set1_epi16(1);
    for half in 0..WIDTH / PANEL {
        // SAFETY: one of the two panels; every offset below stays inside what the caller checked.
        unsafe {
            let panel = panels.add(half * PANEL * length);
            let mut sums = [[_mm256_setzero_si256(); PANEL / LANES]; R];
            for group in (0..groups / 2 * 2).step_by(2) {
                let weights = panel.add(group * PANEL * GROUP);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = rows.add(row * length + group * GROUP);
                    let [x, y] = [x, x.add(GROUP)].map(|x| _mm256_set1_epi32(x.cast::<i32>().read_unaligned()));
                    for (part, sum) in sums.iter_mut().enumerate() {
                        let weights = weights.add(part * LANES * GROUP);
                        let first = _mm256_maddubs_epi16(x, _mm256_loadu_si256(weights.cast()));
                        let second = _mm256_maddubs_epi16(y, _mm256_loadu_si256(weights.add(PANEL * GROUP).cast()));
                        let both = _mm256_madd_epi16(_mm256_add_epi16(first, second), ones);
                        *sum = _mm256_add_epi32(*sum, both);
                    }
                }
            }
            if groups % 2 == 1 {
                let weights = panel.add((groups - 1) * PANEL * GROUP);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = rows.add(row * length + (groups - 1) * GROUP).cast::<i32>().read_unaligned();
                    for (part, sum) in sums.iter_mut().enumerate() {
                        let weights = _mm256_loadu_si256(weights.add(part * LANES * GROUP).cast());
                        let last = _mm256_maddubs_epi16(_mm256_set1_epi32(x), weights);
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(last, ones));
                    }
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (part, sum) in sums.into_iter().enumerate() {
                    _mm256_storeu_si256(into.add(row * WIDTH + half * PANEL + part * LANES).cast(), sum);
                }
            }
        }
    }
}

/// Bytes without sign times bytes with, four products summed at once.
#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile_avx512<const R: usize>(rows: &[u8], panels: &[i8], groups: usize, into: &mut [i32]) {
    check::<R>(rows.len(), panels.len(), groups * GROUP, into.len());
    // SAFETY: called where AVX-512 with VNNI was found; the sizes were checked.
    unsafe { inner_avx512::<R>(rows.as_ptr(), panels.as_ptr(), groups, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn inner_avx512<const R: usize>(rows: *const u8, panels: *const i8, groups: usize, into: *mut i32) {
    let length = groups * GROUP;
    // SAFETY: every offset stays inside what the caller checked.
    unsafe {
        let second = panels.add(PANEL * length);
        let mut sums = [[_mm512_setzero_si512(); 2]; R];
        for group in 0..groups {
            let left = _mm512_loadu_si512(panels.add(group * PANEL * GROUP).cast());
            let right = _mm512_loadu_si512(second.add(group * PANEL * GROUP).cast());
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = rows.add(row * length + group * GROUP).cast::<i32>().read_unaligned();
                let x = _mm512_set1_epi32(x);
                sums[0] = _mm512_dpbusd_epi32(sums[0], x, left);
                sums[1] = _mm512_dpbusd_epi32(sums[1], x, right);
            }
        }
        for (row, [left, right]) in sums.into_iter().enumerate() {
            _mm512_storeu_si512(into.add(row * WIDTH).cast(), left);
            _mm512_storeu_si512(into.add(row * WIDTH + PANEL).cast(), right);
        }
    }
}
