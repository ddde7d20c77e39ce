//! Weights in f32 as they are: no product has to arrange them again, which pays where few rows share them.

#[cfg(target_arch = "aarch64")]
mod neon;
mod part;
mod tiles;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

use bytes::Bytes;
use part::Part;
use tiles::Tiles;

use super::numbers::Numbers;
use super::{Instructions, Lines, PANEL, Panels, WIDTH, misfit};
use crate::kernels::finite::count_not_finite;
use crate::kernels::gapless::Gapless;
use crate::kernels::made::made;
use crate::kernels::transpose::transpose_columns;

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
    /// Packs `[input, output]`, neither zero.
    ///
    /// # Panics
    ///
    /// If there are not `input · output` weights, or none.
    pub(crate) fn pack(weights: Gapless, input: usize, output: usize) -> Self {
        let count = weights.numbers().len();
        assert!(count == input * output && count > 0, "weights of {input} x {output}");
        let values = made(output.next_multiple_of(WIDTH) * input, WIDTH * input, |place, panels| {
            let first = place / input;
            for (panel, values) in panels.chunks_exact_mut(PANEL * input).enumerate() {
                let first = (first + panel * PANEL).min(output);
                let columns = first..(first + PANEL).min(output);
                if columns.len() < PANEL {
                    values.fill(0.0);
                }
                match weights {
                    Gapless::Rows(weights) => copy_columns(weights, output, columns, values),
                    Gapless::Columns(weights) => {
                        let columns = &weights[columns.start * input..columns.end * input];
                        transpose_columns(columns, input, 0, values, PANEL);
                    }
                }
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

/// A few columns of rows of so many numbers, into a panel.
fn copy_columns(weights: &[f32], output: usize, columns: Range<usize>, panel: &mut [f32]) {
    let lines = weights.chunks_exact(output).zip(panel.as_chunks_mut::<PANEL>().0);
    if columns.len() == PANEL {
        // Of a length that the compiler knows: no call for each row.
        lines.for_each(|(row, into)| into.copy_from_slice(&row[columns.start..][..PANEL]));
    } else {
        lines.for_each(|(row, into)| into[..columns.len()].copy_from_slice(&row[columns.clone()]));
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
    type Rows = Tiles;

    fn input(&self) -> usize {
        self.input
    }

    fn output(&self) -> usize {
        self.output
    }

    fn height(&self) -> usize {
        self.instructions.rows()
    }

    fn load(&self, x: Lines, into: &mut Tiles) {
        into.load(x, self.input, self.height());
    }

    fn multiply(&self, rows: &Tiles, pair: usize, into: &mut [f32]) {
        let (input, [together, depth]) = (self.input, part::sizes(self.instructions));
        for pass in (0..WIDTH / PANEL).step_by(together) {
            for first in (0..input).step_by(depth) {
                let count = depth.min(input - first);
                let begin = ((pair * WIDTH / PANEL + pass) * input + first) * PANEL;
                let weights = &self.values[begin..][..((together - 1) * input + count) * PANEL];
                // What follows in memory comes next; the last part of panels that are read together is followed by other panels.
                let others = if first + count == input { (together - 1) * input * PANEL } else { 0 };
                let ahead = &self.values[begin + count * PANEL + others..];
                let ahead = &ahead[..ahead.len().min(count * PANEL)];
                let part = Part { weights, second: input * PANEL, first, count, column: pass * PANEL, ahead };
                part.multiply(self.instructions, rows, into);
            }
        }
    }
}
