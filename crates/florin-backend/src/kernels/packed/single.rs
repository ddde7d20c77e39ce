//! Weights in f32 as they are: no product has to arrange them again, which pays where few rows share them.

use bytes::Bytes;
use rayon::prelude::*;

use super::numbers::Numbers;
use super::{Instructions, PANEL, Panels, WIDTH, by_rows, misfit};
use crate::kernels::finite::count_not_finite;

/// Inner places of a panel that are taken at a time: 24 kilobytes, which stay in the innermost cache while all rows pass by.
const DEPTH: usize = 384;
/// Rows of a tile in AVX2, where twelve of sixteen registers hold sums.
const ROWS: usize = 6;
/// Rows of a tile in AVX-512, where 24 of 32 registers do.
const ROWS_512: usize = 12;

/// The packed weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Single {
    input: usize,
    output: usize,
    /// `[panels, input, PANEL]`, an even number of panels; filled up with zeros.
    values: Numbers<f32>,
    pub(super) instructions: Instructions,
}

impl Single {
    /// Packs `[input, output]`, row-major.
    ///
    /// # Panics
    ///
    /// If there are not `input · output` weights, or none.
    pub(crate) fn pack(weights: &[f32], input: usize, output: usize) -> Self {
        assert!(weights.len() == input * output && !weights.is_empty(), "weights of {input} x {output}");
        let mut values = vec![0f32; output.next_multiple_of(WIDTH) * input];
        values.par_chunks_mut(PANEL * input).enumerate().for_each(|(panel, values)| {
            let first = (panel * PANEL).min(output);
            let columns = first..(first + PANEL).min(output);
            for (row, values) in weights.chunks_exact(output).zip(values.chunks_exact_mut(PANEL)) {
                values[..columns.len()].copy_from_slice(&row[columns.clone()]);
            }
        });
        Self { input, output, values: Numbers::Own(values), instructions: available() }
    }

    /// A weight whose [`Self::bytes`] somebody kept; neither size is zero.
    pub(crate) fn of(bytes: Bytes, input: usize, output: usize) -> Result<Self, String> {
        let (found, expected) = (bytes.len(), 4 * output.next_multiple_of(WIDTH) * input);
        let values = Numbers::of(bytes).filter(|_| found == expected);
        let values: Numbers<f32> = values.ok_or_else(|| misfit("bytes of panels", found, expected))?;
        match count_not_finite(&values) {
            0 => Ok(Self { input, output, values, instructions: available() }),
            count => Err(format!("{count} numbers that are infinite or none")),
        }
    }

    /// The numbers in memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.values)
    }

    /// The weights `[input, output]`.
    pub(crate) fn unpack(&self) -> Vec<f32> {
        let mut weights = vec![0f32; self.input * self.output];
        for (panel, values) in self.values.chunks_exact(PANEL * self.input).enumerate() {
            let first = (panel * PANEL).min(self.output);
            let columns = first..(first + PANEL).min(self.output);
            for (row, values) in weights.chunks_exact_mut(self.output).zip(values.chunks_exact(PANEL)) {
                row[columns.clone()].copy_from_slice(&values[..columns.len()]);
            }
        }
        weights
    }
}

/// The best instructions that this machine has.
fn available() -> Instructions {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return Instructions::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Instructions::Avx2;
        }
    }
    Instructions::Portable
}

impl Panels for Single {
    type Rows = ();

    fn input(&self) -> usize {
        self.input
    }

    fn output(&self) -> usize {
        self.output
    }

    fn load(&self, _x: &[f32], _into: &mut ()) {}

    fn multiply(&self, x: &[f32], _rows: &(), pair: usize, into: &mut [f32]) {
        let length = self.input;
        let panels = &self.values[pair * WIDTH * length..(pair + 1) * WIDTH * length];
        let step = if self.instructions == Instructions::Avx512 { ROWS_512 } else { ROWS };
        let (passes, depth) = match self.instructions {
            // Both panels in one pass.
            Instructions::Avx512 => (1, DEPTH / 2),
            _ => (WIDTH / PANEL, DEPTH),
        };
        for pass in 0..passes {
            for first in (0..length).step_by(depth) {
                let part = Part { length, first, count: depth.min(length - first), column: pass * PANEL };
                for (rows, into) in x.chunks(step * length).zip(into.chunks_mut(step * WIDTH)) {
                    match self.instructions {
                        #[cfg(target_arch = "x86_64")]
                        Instructions::Avx512 => {
                            by_rows!(into.len() / WIDTH, x86::tile_avx512(rows, panels, part, into), 1 2 3 4 5 6 7 8 9 10 11 12);
                        }
                        #[cfg(target_arch = "x86_64")]
                        Instructions::Avx2 => {
                            by_rows!(into.len() / WIDTH, x86::tile_avx2(rows, panels, part, into), 1 2 3 4 5 6);
                        }
                        _ => tile_portable(rows, panels, part, into),
                    }
                }
            }
        }
    }
}

/// The part of the inner size that a pass takes: what follows the first part is added to what is there.
#[derive(Clone, Copy)]
struct Part {
    /// The whole inner size.
    length: usize,
    first: usize,
    count: usize,
    /// The panel's first column.
    column: usize,
}

/// A tile of rows `[rows, length]` and a panel, in rows of `WIDTH`.
fn tile_portable(rows: &[f32], panels: &[f32], part: Part, into: &mut [f32]) {
    let Part { length, first, count, column } = part;
    let panel = &panels[column * length + first * PANEL..][..count * PANEL];
    for (row, into) in rows.chunks_exact(length).zip(into.chunks_exact_mut(WIDTH)) {
        let into = &mut into[column..column + PANEL];
        if first == 0 {
            into.fill(0.0);
        }
        for (x, weights) in row[first..first + count].iter().zip(panel.as_chunks::<PANEL>().0) {
            into.iter_mut().zip(weights).for_each(|(into, weight)| *into += x * weight);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Tiles in vector instructions; bounds are checked before, pointers move inside them.

    use std::arch::x86_64::*;

    use super::{PANEL, Part, WIDTH};

    fn check<const R: usize>(rows: &[f32], panels: &[f32], part: Part, columns: usize, into: &[f32]) {
        let Part { length, first, count, column } = part;
        assert!(first + count <= length && column + columns <= WIDTH, "a tile's part");
        assert!(
            rows.len() >= R * length && panels.len() >= WIDTH * length && into.len() >= R * WIDTH,
            "a tile's sizes"
        );
    }

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
}
