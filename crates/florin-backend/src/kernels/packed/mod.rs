//! Products with weights that were packed once: panels of columns in the order in which a kernel reads them.
//!
//! Rows are taken a block at a time, so that a block stays in a core's own cache while all panels pass by. Whatever is done
//! to the result (scales, bias, activation) is done while it is there. Which instructions compute is chosen at run time.

pub(crate) mod bf16;
pub(crate) mod int8;
mod numbers;
pub(crate) mod single;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::activation;
use super::gapless::Gapless;
use super::transpose::transpose_columns;
use crate::Activation;

/// Columns of a panel.
pub(crate) const PANEL: usize = 16;
/// Columns that one pass over a block of rows computes: two panels.
pub(crate) const WIDTH: usize = 2 * PANEL;
/// Rows of a block at most: what they are made of stays in half a megabyte.
const BLOCK: usize = 64;
/// Fewer rows than this are shared among threads by columns.
const FEW: usize = 16;
/// Multiplications below which waking other threads costs more than it gains.
const WORTH_THREADS: usize = 1 << 19;

/// Why bytes are no packed weight of a size.
fn misfit(what: &str, found: usize, expected: usize) -> String {
    format!("{found} {what}, expected {expected}")
}

/// Rows of a tile whose sums fill 12 of AVX2's 16 registers, or 24 of NEON's 32, which are half as wide.
const ROWS: usize = 6;
/// Rows of a tile in AVX-512, where 24 of 32 registers hold sums.
const ROWS_512: usize = 12;

/// Instructions that a kernel may use, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Instructions {
    /// Whatever the compiler makes of it for the target.
    #[cfg_attr(all(target_arch = "aarch64", not(test)), expect(dead_code, reason = "tests compare with it"))]
    Portable,
    /// AVX2 with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 with what the format is multiplied by there: VNNI, BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// NEON, which every AArch64 has.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// NEON with what the format is multiplied by there: DotProd, BF16.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

impl Instructions {
    /// What every machine has that the target names.
    #[cfg(target_arch = "aarch64")]
    const CERTAIN: Self = Self::Neon;
    #[cfg(not(target_arch = "aarch64"))]
    const CERTAIN: Self = Self::Portable;

    /// Rows of a tile, where the format does not say otherwise.
    fn rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => ROWS_512,
            _ => ROWS,
        }
    }
}

/// Calls a tile's function for the number of rows that there are, which it wants as a constant.
macro_rules! by_rows {
    ($rows:expr, $module:ident :: $tile:ident $arguments:tt, $($count:literal)+) => {
        match $rows {
            $($count => $module::$tile::<$count> $arguments,)+
            other => unreachable!("a tile of {other} rows"),
        }
    };
}
use by_rows;

/// Refuses what is too short for a tile of `R` rows, each of so many numbers, and two panels: vector instructions rely on it.
fn check<const R: usize>(rows: usize, panels: usize, length: usize, into: usize) {
    assert!(rows >= R * length && panels >= WIDTH * length && into >= R * WIDTH, "a tile's sizes");
}

/// Weights `[input, output]`, packed; neither is zero.
pub(crate) trait Panels: Sync {
    /// A block of rows as the kernel wants them.
    type Rows: Default + Send + Sync;

    fn input(&self) -> usize;

    fn output(&self) -> usize;

    /// Rows of `input` numbers each.
    fn load(&self, x: &[f32], into: &mut Self::Rows);

    /// Columns `pair · WIDTH ..` of the product with rows that were loaded, `[rows, WIDTH]`.
    fn multiply(&self, x: &[f32], rows: &Self::Rows, pair: usize, into: &mut [f32]);
}

/// So many rows of `input` numbers from one on; of columns a block is turned in a core's own cache.
fn rows_of<'a>(x: Gapless<'a>, first: usize, rows: usize, input: usize, turned: &'a mut Vec<f32>) -> &'a [f32] {
    match x {
        Gapless::Rows(numbers) => &numbers[first * input..(first + rows) * input],
        Gapless::Columns(numbers) => {
            turned.resize(rows * input, 0.0);
            transpose_columns(numbers, numbers.len() / input, first, turned, input);
            turned
        }
    }
}

/// `f(x · weight + bias)`, `[rows, output]`.
#[expect(unsafe_code, reason = "memory that is written whole need not be filled with zeros first")]
pub(crate) fn product<P: Panels>(x: Gapless, weight: &P, bias: Option<&[f32]>, kind: Activation) -> Vec<f32> {
    let length = x.numbers().len() / weight.input() * weight.output();
    let mut result = Vec::with_capacity(length);
    if length > 0 {
        fill(&mut result.spare_capacity_mut()[..length], x, weight, bias, kind);
    }
    // SAFETY: `fill` has written every number: each block of rows, or all rows at once, in every pair of panels.
    unsafe { result.set_len(length) };
    result
}

/// Writes the product whole.
fn fill<P: Panels>(result: &mut [MaybeUninit<f32>], x: Gapless, weight: &P, bias: Option<&[f32]>, kind: Activation) {
    let (input, output) = (weight.input(), weight.output());
    let rows = x.numbers().len() / input;
    let threads = if rows * input * output < WORTH_THREADS { 1 } else { rayon::current_num_threads() };
    if threads > 1 && rows < FEW {
        few(rows_of(x, 0, rows, input, &mut Vec::new()), rows, weight, bias, kind, result);
        return;
    }
    let block = rows.div_ceil(threads * rows.div_ceil(threads * BLOCK));
    let one = |(scratch, turned): &mut (Scratch<P::Rows>, _), (index, result): (usize, &mut [MaybeUninit<f32>])| {
        let x = rows_of(x, index * block, result.len() / output, input, turned);
        weight.load(x, &mut scratch.rows);
        for pair in 0..output.div_ceil(WIDTH) {
            let tile = scratch.columns(x, weight, pair, bias, kind);
            spread(tile, pair, output, result);
        }
    };
    if threads == 1 {
        let mut scratch = Default::default();
        result.chunks_mut(block * output).enumerate().for_each(|piece| one(&mut scratch, piece));
    } else {
        result.par_chunks_mut(block * output).enumerate().for_each_init(Default::default, one);
    }
}

/// The same for rows so few that threads share the columns.
fn few<P: Panels>(
    x: &[f32],
    rows: usize,
    weight: &P,
    bias: Option<&[f32]>,
    kind: Activation,
    result: &mut [MaybeUninit<f32>],
) {
    let output = weight.output();
    let mut loaded = P::Rows::default();
    weight.load(x, &mut loaded);
    let mut tiles = vec![0f32; output.div_ceil(WIDTH) * rows * WIDTH];
    tiles.par_chunks_mut(rows * WIDTH).enumerate().for_each_init(Vec::new, |before, (pair, tile)| {
        weight.multiply(x, &loaded, pair, tile);
        finish(tile, pair, bias, kind, before);
    });
    for (pair, tile) in tiles.chunks_exact(rows * WIDTH).enumerate() {
        spread(tile, pair, output, result);
    }
}

/// What one thread works in.
#[derive(Default)]
struct Scratch<R> {
    rows: R,
    tile: Vec<f32>,
    before: Vec<f32>,
}

impl<R> Scratch<R> {
    fn columns<P: Panels<Rows = R>>(
        &mut self,
        x: &[f32],
        weight: &P,
        pair: usize,
        bias: Option<&[f32]>,
        kind: Activation,
    ) -> &[f32] {
        self.tile.resize(x.len() / weight.input() * WIDTH, 0.0);
        weight.multiply(x, &self.rows, pair, &mut self.tile);
        finish(&mut self.tile, pair, bias, kind, &mut self.before);
        &self.tile
    }
}

/// Bias and activation of a tile `[rows, WIDTH]`.
fn finish(tile: &mut [f32], pair: usize, bias: Option<&[f32]>, kind: Activation, before: &mut Vec<f32>) {
    if let Some(bias) = bias {
        let bias = &bias[pair * WIDTH..];
        for row in tile.chunks_exact_mut(WIDTH) {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
    }
    if kind != Activation::Identity {
        before.clear();
        before.extend_from_slice(tile);
        activation::apply(kind, before, tile);
    }
}

/// Puts a tile into rows of `output` numbers, without the columns that only fill the last panel.
fn spread(tile: &[f32], pair: usize, output: usize, result: &mut [MaybeUninit<f32>]) {
    let first = pair * WIDTH;
    let width = WIDTH.min(output - first);
    for (row, result) in tile.chunks_exact(WIDTH).zip(result.chunks_exact_mut(output)) {
        result[first..first + width].write_copy_of_slice(&row[..width]);
    }
}
