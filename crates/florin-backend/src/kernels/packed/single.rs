//! Weights in f32 as they are: no product has to arrange them again, which pays where few rows share them.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use bytes::Bytes;
use rayon::prelude::*;

use super::numbers::Numbers;
use super::{Instructions, PANEL, Panels, WIDTH, by_rows, misfit};
use crate::kernels::finite::count_not_finite;

/// Inner places of a panel that are taken at a time: 24 kilobytes, which stay in the innermost cache while all rows pass by.
const DEPTH: usize = 384;

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
    Instructions::CERTAIN
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
        let step = self.instructions.rows();
        let (passes, depth) = match self.instructions {
            // Both panels in one pass.
            #[cfg(target_arch = "x86_64")]
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
                        #[cfg(target_arch = "aarch64")]
                        Instructions::Neon => {
                            by_rows!(into.len() / WIDTH, neon::tile(rows, panels, part, into), 1 2 3 4 5 6);
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

/// Refuses what is too short for a tile of `R` rows and so many columns.
fn check<const R: usize>(rows: &[f32], panels: &[f32], part: Part, columns: usize, into: &[f32]) {
    let Part { length, first, count, column } = part;
    assert!(first + count <= length && column + columns <= WIDTH, "a tile's part");
    super::check::<R>(rows.len(), panels.len(), length, into.len());
}
