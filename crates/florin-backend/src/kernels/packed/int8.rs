//! Weights in eight bits, a scale for every column; rows in eight bits, a scale and a zero point for every row.
//!
//! A row's numbers are `scale · (q − zero)`, q from 0 to 255 over its own range, which always holds zero; a column's are
//! `scale · w`, w from −127 to 127. The sum of products is exact in 32 bits, so that every machine gives the same result:
//! `scale_row · scale_column · (Σ q w − zero · Σ w)`.
//!
//! AVX2 sums products of bytes in sixteen bits, where they may not fit. Here they always do, by a column's scale (see `together`).
//!
//! Paper: Jacob et al. 2017, <https://arxiv.org/abs/1712.05877>
//! Difference: rows are measured as they come, one by one, and not calibrated.

#[cfg(target_arch = "aarch64")]
mod neon;
mod together;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

use bytes::Bytes;
use multiversion::multiversion;
use rayon::prelude::*;

use super::numbers::Numbers;
use super::{Instructions, Lines, PANEL, Panels, ROWS_512, WIDTH, by_rows, misfit};

/// Inner places that stand together: what one instruction sums.
const GROUP: usize = 4;
/// The largest inner size whose sums fit 32 bits whatever the numbers: `2 · 255 · 127 · 32768 < 2³¹`.
pub(crate) const LONGEST: usize = 1 << 15;

/// The packed weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Int8 {
    input: usize,
    output: usize,
    /// `[panels, groups, PANEL, GROUP]`, an even number of panels; filled up with zeros.
    values: Numbers<i8>,
    /// One for every column, filled up.
    scales: Vec<f32>,
    /// `Σ w` of every column, filled up.
    sums: Vec<i32>,
    pub(super) instructions: Instructions,
}

/// A block of rows in eight bits.
#[derive(Default)]
pub(crate) struct Rows {
    /// `[rows, groups · GROUP]`, for whatever multiplies bytes.
    bytes: Vec<u8>,
    /// The same in sixteen bits, for whatever multiplies those.
    words: Vec<i16>,
    /// Scale and zero point of each row.
    ranges: Vec<(f32, i32)>,
    turned: Vec<f32>,
}

impl Int8 {
    /// Rounds and packs `[input, output]`, row-major.
    ///
    /// # Panics
    ///
    /// If there are not `input · output` weights, none, or `input` is more than [`LONGEST`].
    pub(crate) fn pack(weights: &[f32], input: usize, output: usize) -> Self {
        assert!(weights.len() == input * output && !weights.is_empty(), "weights of {input} x {output}");
        assert!(input <= LONGEST, "sums of {input} products of eight bits may not fit 32 bits");
        let padded = output.next_multiple_of(WIDTH);
        let groups = input.div_ceil(GROUP);
        let mut values = vec![0i8; padded * groups * GROUP];
        let (mut scales, mut sums) = (vec![0f32; padded], vec![0i32; padded]);
        let panels = values.par_chunks_mut((PANEL * groups * GROUP).max(1));
        let panels = panels.zip(scales.par_chunks_mut(PANEL)).zip(sums.par_chunks_mut(PANEL));
        panels.enumerate().for_each(|(panel, ((values, scales), sums))| {
            let first = (panel * PANEL).min(output);
            let columns = first..(first + PANEL).min(output);
            pack_panel(weights, output, columns, values, scales);
            add_columns(values, sums);
        });
        Self { input, output, values: Numbers::Own(values), scales, sums, instructions: available() }
    }

    /// A weight whose [`Self::bytes`] and [`Self::scales`] somebody kept; neither size is zero.
    pub(crate) fn of(bytes: Bytes, scales: Vec<f32>, input: usize, output: usize) -> Result<Self, String> {
        if input > LONGEST {
            return Err(format!("{input} inputs, expected at most {LONGEST}"));
        }
        let (groups, padded) = (input.div_ceil(GROUP), output.next_multiple_of(WIDTH));
        let (found, expected) = (bytes.len(), padded * groups * GROUP);
        let values = Numbers::<i8>::of(bytes).filter(|_| found == expected);
        let values = values.ok_or_else(|| misfit("bytes of panels", found, expected))?;
        if scales.len() != padded {
            return Err(misfit("scales", scales.len(), padded));
        }
        if !scales.iter().all(|scale| scale.is_finite()) {
            return Err("a scale that is infinite or no number".to_owned());
        }
        // Taken anew: what is derived cannot contradict what it is derived from.
        let mut sums = vec![0i32; padded];
        let panels = sums.par_chunks_mut(PANEL).zip(values.par_chunks(PANEL * groups * GROUP));
        let found = panels.map(|(sums, values)| {
            add_columns(values, sums);
            let most =
                values.chunks(2 * PANEL * GROUP).map(|groups| together::most(&numbers_of(groups))).max().unwrap_or(0);
            (most, values.contains(&i8::MIN))
        });
        let (most, beyond) = found.reduce(|| (0, false), |one, other| (one.0.max(other.0), one.1 || other.1));
        // Two products with it may not fit sixteen bits, in which NEON sums them.
        if beyond {
            return Err("a weight of -128, expected -127 to 127".to_owned());
        }
        if most > together::MOST {
            let expected = together::MOST;
            return Err(format!(
                "weights that add up to {most} where they are summed together, expected at most {expected}"
            ));
        }
        Ok(Self { input, output, values, scales, sums, instructions: available() })
    }

    /// The numbers in memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.values)
    }

    /// One for every column, filled up.
    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The weights as the product sees them, `[input, output]`.
    pub(crate) fn unpack(&self) -> Vec<f32> {
        let groups = self.groups();
        let mut weights = Vec::with_capacity(self.input * self.output);
        for place in 0..self.input {
            for column in 0..self.output {
                let (panel, within) = (column / PANEL, column % PANEL);
                let index = ((panel * groups + place / GROUP) * PANEL + within) * GROUP + place % GROUP;
                weights.push(f32::from(self.values[index]) * self.scales[column]);
            }
        }
        weights
    }

    fn groups(&self) -> usize {
        self.input.div_ceil(GROUP)
    }

    /// Whether rows are bytes.
    fn takes_bytes(&self) -> bool {
        match self.instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 | Instructions::Avx512 => true,
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon | Instructions::NeonDot => true,
            _ => false,
        }
    }
}

/// Rounds up to [`PANEL`] columns of rows of so many weights; their scales are zero before.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn pack_panel(weights: &[f32], output: usize, columns: Range<usize>, values: &mut [i8], scales: &mut [f32]) {
    let mut scale = [0f32; PANEL];
    for rows in weights.chunks(together::PLACES * output) {
        let places = places_of(rows, output, columns.clone());
        for place in &places {
            for (scale, weight) in scale.iter_mut().zip(place) {
                let least = weight.abs() / 127.0;
                // What is not a number stays.
                *scale = if least > *scale || weight.is_nan() { least } else { *scale };
            }
        }
        for (scale, least) in scale.iter_mut().zip(together::least_scales(&places)) {
            *scale = if least > *scale { least } else { *scale };
        }
    }
    scales.copy_from_slice(&scale);
    for (rows, values) in weights.chunks(together::PLACES * output).zip(values.chunks_mut(2 * PANEL * GROUP)) {
        let mut places = places_of(rows, output, columns.clone()).map(|place| {
            std::array::from_fn(|column| {
                let weight = place[column] / scale[column];
                let weight = if weight > 127.0 { 127.0 } else { weight };
                let weight = if weight < -127.0 { -127.0 } else { weight };
                // Of zeros, and where there is no number.
                let weight = if weight.is_nan() { 0.0 } else { weight };
                (weight + ROUNDING).to_bits() as i32 - ROUNDING.to_bits() as i32
            })
        });
        together::keep_within(&mut places);
        for (group, places) in values.chunks_exact_mut(PANEL * GROUP).zip(places.as_chunks::<GROUP>().0) {
            for (column, into) in group.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
                *into = std::array::from_fn(|place| places[place][column] as i8);
            }
        }
    }
}

/// Up to [`together::PLACES`] rows of a panel's columns, filled up with zeros.
#[inline(always)]
fn places_of(rows: &[f32], output: usize, columns: Range<usize>) -> [[f32; PANEL]; together::PLACES] {
    let mut places = [[0f32; PANEL]; together::PLACES];
    for (place, row) in places.iter_mut().zip(rows.chunks_exact(output)) {
        if columns.len() == PANEL {
            place.copy_from_slice(&row[columns.start..][..PANEL]);
        } else {
            place[..columns.len()].copy_from_slice(&row[columns.clone()]);
        }
    }
    places
}

/// One or two groups of a panel as [`together`] wants them.
fn numbers_of(groups: &[i8]) -> [[i32; PANEL]; together::PLACES] {
    let mut places = [[0; PANEL]; together::PLACES];
    for (place, places) in places.iter_mut().enumerate() {
        let group = groups.get(place / GROUP * PANEL * GROUP..).unwrap_or_default();
        places
            .iter_mut()
            .zip(group.iter().skip(place % GROUP).step_by(GROUP))
            .for_each(|(into, &w)| *into = i32::from(w));
    }
    places
}

/// Adds a panel's weights up, column by column.
fn add_columns(values: &[i8], sums: &mut [i32]) {
    for group in values.chunks_exact(PANEL * GROUP) {
        for (sum, column) in sums.iter_mut().zip(group.as_chunks::<GROUP>().0) {
            *sum += column.iter().map(|&w| i32::from(w)).sum::<i32>();
        }
    }
}

/// The best instructions that this machine has.
fn available() -> Instructions {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
        {
            return Instructions::Avx512;
        }
        if is_x86_feature_detected!("avx2") {
            return Instructions::Avx2;
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("dotprod") {
        return Instructions::NeonDot;
    }
    Instructions::CERTAIN
}

impl Panels for Int8 {
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
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => x86::ROWS,
            other => other.rows(),
        }
    }

    fn load(&self, x: Lines, into: &mut Rows) {
        let (rows, length) = (x.count, self.groups() * GROUP);
        into.ranges.clear();
        let lines = x.rows(self.input, &mut into.turned).chunks_exact(self.input);
        if self.takes_bytes() {
            into.bytes.resize(rows * length, 0);
            into.ranges.extend(lines.zip(into.bytes.chunks_exact_mut(length)).map(|(x, row)| round_row(x, row)));
            #[cfg(target_arch = "aarch64")]
            with_sign(into);
        } else {
            into.words.resize(rows * length, 0);
            into.ranges.extend(lines.zip(into.words.chunks_exact_mut(length)).map(|(x, row)| round_row_wide(x, row)));
        }
    }

    fn multiply(&self, rows: &Rows, pair: usize, into: &mut [f32]) {
        let mut sums = [0i32; ROWS_512 * WIDTH];
        let (groups, count) = (self.groups(), rows.ranges.len());
        let length = groups * GROUP;
        let panels = &self.values[pair * WIDTH * length..(pair + 1) * WIDTH * length];
        let step = self.height();
        for first in (0..count).step_by(step) {
            let some = step.min(count - first);
            let place = first * length..(first + some) * length;
            let sums = &mut sums[..some * WIDTH];
            match self.instructions {
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => {
                    let rows = &rows.bytes[place];
                    by_rows!(some, x86::tile_avx512(rows, panels, groups, sums), 1 2 3 4 5 6 7 8 9 10 11 12);
                }
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => {
                    let rows = &rows.bytes[place];
                    by_rows!(some, x86::tile_avx2(rows, panels, groups, sums), 1 2 3);
                }
                #[cfg(target_arch = "aarch64")]
                Instructions::NeonDot => {
                    let rows = &rows.bytes[place];
                    by_rows!(some, neon::tile_dot(rows, panels, groups, sums), 1 2 3 4 5 6);
                }
                #[cfg(target_arch = "aarch64")]
                Instructions::Neon => {
                    let rows = &rows.bytes[place];
                    by_rows!(some, neon::tile(rows, panels, groups, sums), 1 2 3 4 5);
                }
                _ => tile_portable(&rows.words[place], panels, groups, sums),
            }
            let into = &mut into[first * WIDTH..(first + some) * WIDTH];
            scale(sums, &rows.ranges[first..], &self.scales.as_chunks().0[pair], &self.sums.as_chunks().0[pair], into);
        }
    }
}

/// Sums to numbers.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn scale(sums: &[i32], ranges: &[(f32, i32)], scales: &[f32; WIDTH], of_columns: &[i32; WIDTH], into: &mut [f32]) {
    let lines = sums.as_chunks::<WIDTH>().0.iter().zip(into.as_chunks_mut::<WIDTH>().0);
    for ((sums, into), (scale, zero)) in lines.zip(ranges) {
        for column in 0..WIDTH {
            let sum = sums[column] - zero * of_columns[column];
            into[column] = sum as f32 * (scale * scales[column]);
        }
    }
}

/// Rounds a row to bytes; its scale and zero point.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn round_row(x: &[f32], into: &mut [u8]) -> (f32, i32) {
    let (scale, zero, inverse) = range(x);
    for (into, x) in into.iter_mut().zip(x) {
        *into = place_of(*x, inverse, zero) as u8;
    }
    (scale, zero)
}

/// Takes 128 off all numbers and their zero points, so that bytes have a sign: all products stay the same.
#[cfg(target_arch = "aarch64")]
fn with_sign(rows: &mut Rows) {
    rows.bytes.iter_mut().for_each(|q| *q ^= 0x80);
    rows.ranges.iter_mut().for_each(|(_, zero)| *zero -= 128);
}

/// The same to sixteen bits.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn round_row_wide(x: &[f32], into: &mut [i16]) -> (f32, i32) {
    let (scale, zero, inverse) = range(x);
    for (into, x) in into.iter_mut().zip(x) {
        *into = place_of(*x, inverse, zero) as i16;
    }
    (scale, zero)
}

/// 1.5 · 2²³: a small number that is added to it is rounded to a whole one, which stands in the lowest bits.
const ROUNDING: f32 = 12_582_912.0;

/// Where a number stands from 0 to 255.
#[inline(always)]
fn place_of(x: f32, inverse: f32, zero: i32) -> u32 {
    let place = x * inverse + (ROUNDING + zero as f32);
    // Not a number becomes zero here; its row's scale is not a number either.
    let place = if place > ROUNDING { place } else { ROUNDING };
    let place = if place < ROUNDING + 255.0 { place } else { ROUNDING + 255.0 };
    place.to_bits() - ROUNDING.to_bits()
}

/// Scale, zero point and one over the scale of a row; a row that holds what is not finite gives no numbers.
#[inline(always)]
fn range(x: &[f32]) -> (f32, i32, f32) {
    let (mut lowest, mut highest, mut visible) = ([0f32; 16], [0f32; 16], [0f32; 16]);
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    let mut see = |xs: &[f32]| {
        let lanes = lowest.iter_mut().zip(&mut highest).zip(&mut visible);
        for (((lowest, highest), visible), &x) in lanes.zip(xs) {
            *lowest = if x < *lowest { x } else { *lowest };
            *highest = if x > *highest { x } else { *highest };
            // Zero, unless x is infinite or not a number.
            *visible += x * 0.0;
        }
    };
    chunks.for_each(&mut see);
    see(rest);
    let lowest = lowest.into_iter().fold(0f32, f32::min);
    let highest = highest.into_iter().fold(0f32, f32::max);
    if visible.into_iter().sum::<f32>() != 0.0 || visible.iter().any(|lane| lane.is_nan()) {
        return (f32::NAN, 0, 0.0);
    }
    let scale = highest / 255.0 - lowest / 255.0;
    let inverse = 1.0 / scale;
    if !inverse.is_finite() {
        // Nothing but zeros, or numbers so small that their products vanish.
        return (0.0, 0, 0.0);
    }
    (scale, (-lowest * inverse).round_ties_even() as i32, inverse)
}

/// A tile of rows and two panels, `[rows, WIDTH]`.
fn tile_portable(rows: &[i16], panels: &[i8], groups: usize, into: &mut [i32]) {
    let length = groups * GROUP;
    for (row, into) in rows.chunks_exact(length.max(1)).zip(into.chunks_exact_mut(WIDTH)) {
        for (panel, into) in panels.chunks_exact((PANEL * length).max(1)).zip(into.chunks_exact_mut(PANEL)) {
            into.fill(0);
            for (x, weights) in row.as_chunks::<GROUP>().0.iter().zip(panel.as_chunks::<{ PANEL * GROUP }>().0) {
                for (into, weight) in into.iter_mut().zip(weights.as_chunks::<GROUP>().0) {
                    *into += (0..GROUP).map(|place| i32::from(x[place]) * i32::from(weight[place])).sum::<i32>();
                }
            }
        }
    }
}
