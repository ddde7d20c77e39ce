//! Weights in bfloat16, which is the upper half of an f32: half the memory, and twice the speed or more where the processor
//! multiplies them itself. There rows are rounded to the same format; elsewhere they stay in f32.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use bytes::Bytes;
use rayon::prelude::*;

use super::numbers::Numbers;
use super::{Instructions, Lines, PANEL, Panels, WIDTH, by_rows, misfit};
use crate::kernels::gapless::Gapless;
use crate::kernels::transpose::transpose_columns;

/// Inner places that stand together.
const GROUP: usize = 2;
/// The exponent that infinities and NaN have, and nothing else.
const NOT_FINITE: u16 = 0x7f80;

/// The packed weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bf16 {
    input: usize,
    output: usize,
    /// `[panels, groups, PANEL, GROUP]`, an even number of panels; filled up with zeros.
    values: Numbers<u16>,
    pub(super) instructions: Instructions,
    /// Whether rows are rounded too where the processor has no need of it.
    rounds_both: bool,
}

/// A block of rows, each filled up to whole groups.
#[derive(Default)]
pub(crate) struct Rows {
    count: usize,
    numbers: Vec<f32>,
    /// Rounded, where the processor multiplies them so.
    rounded: Vec<u16>,
    turned: Vec<f32>,
}

impl Bf16 {
    /// Rounds and packs `[input, output]`, row-major.
    ///
    /// # Panics
    ///
    /// If there are not `input · output` weights, or none.
    pub(crate) fn pack(weights: &[f32], input: usize, output: usize) -> Self {
        assert!(weights.len() == input * output && !weights.is_empty(), "weights of {input} x {output}");
        let groups = input.div_ceil(GROUP);
        let mut values = vec![0u16; output.next_multiple_of(WIDTH) * groups * GROUP];
        values.par_chunks_mut(PANEL * groups * GROUP).enumerate().for_each(|(panel, values)| {
            let first = (panel * PANEL).min(output);
            let columns = first..(first + PANEL).min(output);
            for (place, row) in weights.chunks_exact(output).enumerate() {
                let group = &mut values[place / GROUP * PANEL * GROUP..];
                for (column, weight) in row[columns.clone()].iter().enumerate() {
                    group[column * GROUP + place % GROUP] = rounded(*weight);
                }
            }
        });
        Self::of_panels(Numbers::Own(values), input, output)
    }

    /// Panels made for one product, neither of whose factors is a weight that stays: both are rounded, on every processor.
    pub(crate) fn of_matrix(matrix: Gapless, input: usize, output: usize) -> Self {
        let packed = match matrix {
            Gapless::Rows(values) => Self::pack(values, input, output),
            Gapless::Columns(values) => Self::pack_columns(values, input, output),
        };
        Self { rounds_both: true, ..packed }
    }

    /// As [`Self::pack`], of `[output, input]`.
    fn pack_columns(weights: &[f32], input: usize, output: usize) -> Self {
        let length = input.next_multiple_of(GROUP);
        let mut values = vec![0u16; output.next_multiple_of(WIDTH) * length];
        let pieces = values.par_chunks_mut(PANEL * length).zip(weights.par_chunks(PANEL * input));
        pieces.for_each_init(Vec::new, |turned, (panel, columns)| {
            turned.clear();
            turned.resize(PANEL * length, 0.0);
            transpose_columns(columns, input, 0, &mut turned[..PANEL * input], PANEL);
            let groups = panel.chunks_exact_mut(PANEL * GROUP).zip(turned.chunks_exact(PANEL * GROUP));
            for (group, turned) in groups {
                for (place, turned) in turned.chunks_exact(PANEL).enumerate() {
                    let group = group[place..].iter_mut().step_by(GROUP);
                    group.zip(turned).for_each(|(into, weight)| *into = rounded(*weight));
                }
            }
        });
        Self::of_panels(Numbers::Own(values), input, output)
    }

    fn of_panels(values: Numbers<u16>, input: usize, output: usize) -> Self {
        Self { input, output, values, instructions: available(), rounds_both: false }
    }

    /// A weight whose [`Self::bytes`] somebody kept; neither size is zero.
    pub(crate) fn of(bytes: Bytes, input: usize, output: usize) -> Result<Self, String> {
        let found = bytes.len();
        let expected = 2 * output.next_multiple_of(WIDTH) * input.next_multiple_of(GROUP);
        let values = Numbers::of(bytes).filter(|_| found == expected);
        let values: Numbers<u16> = values.ok_or_else(|| misfit("bytes of panels", found, expected))?;
        match values.par_iter().filter(|bits| *bits & NOT_FINITE == NOT_FINITE).count() {
            0 => Ok(Self::of_panels(values, input, output)),
            count => Err(format!("{count} numbers that are infinite or none")),
        }
    }

    /// The numbers in memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.values)
    }

    /// The weights as the product sees them, `[input, output]`.
    pub(crate) fn unpack(&self) -> Vec<f32> {
        let groups = self.groups();
        let places = (0..self.input).flat_map(|place| (0..self.output).map(move |column| (place, column)));
        places.map(|(place, column)| widened(self.values[index(place, column, groups)])).collect()
    }

    fn groups(&self) -> usize {
        self.input.div_ceil(GROUP)
    }

    /// Whether rows are rounded too.
    pub(super) fn rounds_rows(&self) -> bool {
        match self.instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => true,
            #[cfg(target_arch = "aarch64")]
            Instructions::NeonDot => true,
            _ => false,
        }
    }
}

/// Where a weight stands.
fn index(place: usize, column: usize, groups: usize) -> usize {
    ((column / PANEL * groups + place / GROUP) * PANEL + column % PANEL) * GROUP + place % GROUP
}

/// To the nearest, ties to even; not a number stays one.
#[inline(always)]
fn rounded(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[inline(always)]
fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The best instructions that this machine has.
fn available() -> Instructions {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16")
        {
            return Instructions::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Instructions::Avx2;
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("bf16") {
        return Instructions::NeonDot;
    }
    Instructions::CERTAIN
}

impl Panels for Bf16 {
    type Rows = Rows;

    fn input(&self) -> usize {
        self.input
    }

    fn output(&self) -> usize {
        self.output
    }

    fn height(&self) -> usize {
        match self.instructions {
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => neon::ROWS,
            other => other.rows(),
        }
    }

    fn load(&self, x: Lines, into: &mut Rows) {
        let length = self.groups() * GROUP;
        into.count = x.count;
        let lines = x.rows(self.input, &mut into.turned).chunks_exact(self.input);
        if self.rounds_rows() {
            into.rounded.resize(into.count * length, 0);
            for (x, row) in lines.zip(into.rounded.chunks_exact_mut(length)) {
                row.iter_mut().zip(x).for_each(|(into, x)| *into = rounded(*x));
            }
        } else {
            into.numbers.resize(into.count * length, 0.0);
            for (x, row) in lines.zip(into.numbers.chunks_exact_mut(length)) {
                if self.rounds_both {
                    row.iter_mut().zip(x).for_each(|(into, x)| *into = widened(rounded(*x)));
                } else {
                    row[..self.input].copy_from_slice(x);
                }
            }
        }
    }

    fn multiply(&self, rows: &Rows, pair: usize, into: &mut [f32]) {
        let groups = self.groups();
        let length = groups * GROUP;
        let panels = &self.values[pair * WIDTH * length..(pair + 1) * WIDTH * length];
        let step = self.height();
        for first in (0..rows.count).step_by(step) {
            let some = step.min(rows.count - first);
            let place = first * length..(first + some) * length;
            let into = &mut into[first * WIDTH..(first + some) * WIDTH];
            match self.instructions {
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => {
                    let rows = &rows.rounded[place];
                    by_rows!(some, x86::tile_avx512(rows, panels, groups, into), 1 2 3 4 5 6 7 8 9 10 11 12);
                }
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => {
                    let rows = &rows.numbers[place];
                    by_rows!(some, x86::tile_avx2(rows, panels, groups, into), 1 2 3 4 5 6);
                }
                #[cfg(target_arch = "aarch64")]
                Instructions::NeonDot => {
                    let rows = &rows.rounded[place];
                    by_rows!(some, neon::tile_dot(rows, panels, groups, into), 1 2 3 4 5 6);
                }
                #[cfg(target_arch = "aarch64")]
                Instructions::Neon => {
                    let rows = &rows.numbers[place];
                    by_rows!(some, neon::tile(rows, panels, groups, into), 1 2 3 4 5 6 7 8 9 10);
                }
                _ => tile_portable(&rows.numbers[place], panels, groups, into),
            }
        }
    }
}

/// A tile of rows and two panels, `[rows, WIDTH]`.
fn tile_portable(rows: &[f32], panels: &[u16], groups: usize, into: &mut [f32]) {
    let length = groups * GROUP;
    for (row, into) in rows.chunks_exact(length).zip(into.chunks_exact_mut(WIDTH)) {
        for (panel, into) in panels.chunks_exact(PANEL * length).zip(into.chunks_exact_mut(PANEL)) {
            into.fill(0.0);
            for (x, weights) in row.as_chunks::<GROUP>().0.iter().zip(panel.as_chunks::<{ PANEL * GROUP }>().0) {
                for (into, [even, odd]) in into.iter_mut().zip(weights.as_chunks::<GROUP>().0) {
                    *into += x[0] * widened(*even) + x[1] * widened(*odd);
                }
            }
        }
    }
}
