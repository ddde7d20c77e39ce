//! Tiles of eight bits by AVX2 and AVX-512 VNNI; bounds are checked before, pointers move inside them.

use std::arch::x86_64::*;

use super::super::{PANEL, WIDTH, check};
use super::GROUP;

/// Columns whose sums fill two registers.
const PART: usize = 8;

/// Sixteen bits times sixteen bits, neighbours summed: exact, where the instruction for bytes would saturate.
#[expect(unsafe_code, reason = "vector instructions")]
pub(super) fn tile_avx2<const R: usize>(rows: &[i16], panels: &[i8], groups: usize, into: &mut [i32]) {
    check::<R>(rows.len(), panels.len(), groups * GROUP, into.len());
    // SAFETY: called where AVX2 was found; the sizes were checked.
    unsafe { inner_avx2::<R>(rows.as_ptr(), panels.as_ptr(), groups, into.as_mut_ptr()) }
}

#[expect(unsafe_code, reason = "vector instructions")]
#[target_feature(enable = "avx2")]
unsafe fn inner_avx2<const R: usize>(rows: *const i16, panels: *const i8, groups: usize, into: *mut i32) {
    let length = groups * GROUP;
    for part in 0..WIDTH / PART {
        // SAFETY: part of the two panels; every offset below stays inside what the caller checked.
        unsafe {
            let panel = panels.add((part * PART / PANEL) * PANEL * length + (part * PART % PANEL) * GROUP);
            let mut sums = [[_mm256_setzero_si256(); 2]; R];
            for group in 0..groups {
                let weights = panel.add(group * PANEL * GROUP);
                let low = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.cast()));
                let high = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.add(16).cast()));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = rows.add(row * length + group * GROUP).cast::<i64>().read_unaligned();
                    let x = _mm256_set1_epi64x(x);
                    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(x, low));
                    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(x, high));
                }
            }
            for (row, [low, high]) in sums.into_iter().enumerate() {
                // Columns 0 1 4 5 2 3 6 7 after the sum of neighbours.
                let joined = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high));
                _mm256_storeu_si256(into.add(row * WIDTH + part * PART).cast(), joined);
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
