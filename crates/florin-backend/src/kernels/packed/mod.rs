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

use multiversion::multiversion;
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
const BLOCK: usize = 72;
/// Rows of the last blocks, about, at least: all weights are read for each.
const LEAST: usize = 24;
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

    /// Rows of a tile, which blocks hold whole ones of.
    fn height(&self) -> usize;

    /// Takes over rows of `input` numbers each.
    fn load(&self, x: Lines, into: &mut Self::Rows);

    /// Columns `pair · WIDTH ..` of the product with rows that were loaded, `[rows, WIDTH]`.
    fn multiply(&self, rows: &Self::Rows, pair: usize, into: &mut [f32]);
}

/// So many rows of a matrix from one on.
#[derive(Clone, Copy)]
pub(crate) struct Lines<'a> {
    matrix: Gapless<'a>,
    first: usize,
    count: usize,
}

impl<'a> Lines<'a> {
    /// As rows of so many numbers; of columns they are turned first.
    fn rows(self, input: usize, turned: &'a mut Vec<f32>) -> &'a [f32] {
        let Self { matrix, first, count } = self;
        match matrix {
            Gapless::Rows(numbers) => &numbers[first * input..(first + count) * input],
            Gapless::Columns(numbers) => {
                turned.resize(count * input, 0.0);
                transpose_columns(numbers, numbers.len() / input, first, turned, input);
                turned
            }
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
        few(Lines { matrix: x, first: 0, count: rows }, weight, bias, kind, result);
        return;
    }
    let one = |scratch: &mut Scratch<P::Rows>, (first, result): (usize, &mut [MaybeUninit<f32>])| {
        let rows = result.len() / output;
        weight.load(Lines { matrix: x, first, count: rows }, &mut scratch.rows);
        for pair in 0..output.div_ceil(WIDTH) {
            let tile = scratch.columns(rows, weight, pair, bias, kind);
            spread(tile, pair, output, result);
        }
    };
    let pieces = pieces(result, rows, threads, weight.height());
    if threads == 1 {
        let mut scratch = Default::default();
        pieces.for_each(|piece| one(&mut scratch, piece));
    } else {
        pieces.par_bridge().for_each_init(Default::default, one);
    }
}

/// The result in blocks of whole tiles, each with its first row, which threads take in turn: as even as they can be, and smaller at the end
/// where a thread takes several, so that threads end together though one was kept from its processor for a while.
fn pieces<T: Send>(
    mut result: &mut [T],
    rows: usize,
    threads: usize,
    height: usize,
) -> impl Iterator<Item = (usize, &mut [T])> + Send {
    let (columns, tiles) = (result.len() / rows, rows.div_ceil(height));
    let rounds = tiles.div_ceil(threads * (BLOCK / height));
    let (even, least) = (tiles.div_ceil(threads * rounds), LEAST.div_ceil(height));
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = (rows - first).div_ceil(height);
        let size = match left.div_ceil(threads).max(least) {
            _ if rounds == 1 || left >= threads * even => even,
            // What would remain is too little to read all weights for.
            size if left < size + least / 2 => left,
            size => size,
        };
        let count = (size * height).min(rows - first);
        let piece = result.split_off_mut(..count * columns).filter(|piece| !piece.is_empty())?;
        first += count;
        Some((first - count, piece))
    })
}

/// The same for rows so few that threads share the columns.
fn few<P: Panels>(x: Lines, weight: &P, bias: Option<&[f32]>, kind: Activation, result: &mut [MaybeUninit<f32>]) {
    let (rows, output) = (x.count, weight.output());
    let mut loaded = P::Rows::default();
    weight.load(x, &mut loaded);
    let mut tiles = vec![0f32; output.div_ceil(WIDTH) * rows * WIDTH];
    tiles.par_chunks_mut(rows * WIDTH).enumerate().for_each(|(pair, tile)| {
        weight.multiply(&loaded, pair, tile);
        finish(tile, pair, bias, kind);
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
}

impl<R> Scratch<R> {
    fn columns<P: Panels<Rows = R>>(
        &mut self,
        rows: usize,
        weight: &P,
        pair: usize,
        bias: Option<&[f32]>,
        kind: Activation,
    ) -> &[f32] {
        self.tile.resize(rows * WIDTH, 0.0);
        weight.multiply(&self.rows, pair, &mut self.tile);
        finish(&mut self.tile, pair, bias, kind);
        &self.tile
    }
}

/// Bias and activation of a tile `[rows, WIDTH]`.
fn finish(tile: &mut [f32], pair: usize, bias: Option<&[f32]>, kind: Activation) {
    if let Some(bias) = bias {
        let some = &bias[pair * WIDTH..];
        let some = &some[..some.len().min(WIDTH)];
        let mut bias = [0f32; WIDTH];
        bias[..some.len()].copy_from_slice(some);
        add_bias(tile.as_chunks_mut().0, &bias);
    }
    activation::apply(kind, tile);
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx"))]
fn add_bias(tile: &mut [[f32; WIDTH]], bias: &[f32; WIDTH]) {
    for row in tile {
        row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
    }
}

/// Puts a tile into rows of `output` numbers, without the columns that only fill the last panel.
fn spread(tile: &[f32], pair: usize, output: usize, result: &mut [MaybeUninit<f32>]) {
    let first = pair * WIDTH;
    let width = WIDTH.min(output - first);
    let lines = tile.as_chunks::<WIDTH>().0.iter().zip(result.chunks_exact_mut(output));
    if width == WIDTH {
        // Of a length that the compiler knows: no call for each row.
        lines.for_each(|(row, result)| _ = result[first..][..WIDTH].write_copy_of_slice(row));
    } else {
        lines.for_each(|(row, result)| _ = result[first..][..width].write_copy_of_slice(&row[..width]));
    }
}
