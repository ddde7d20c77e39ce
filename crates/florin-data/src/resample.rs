//! Pictures of another size, pixel for pixel as Pillow 13 makes them: antialiased filters in fixed point, first along rows, then along
//! columns; the other way round where a picture loses more than twice as much height as width, which older versions of Pillow do not.
//!
//! Every new pixel is a weighted mean of the old ones under a filter as wide as the picture shrinks. Weights are whole numbers of 22 bits
//! and sums are rounded once a pass, as in Pillow's `Resample.c`, so that models see the bytes that they were trained on.

use std::f64::consts::PI;

use multiversion::multiversion;

/// Bits of a weight: a sum of 8-bit pixels stays within 32.
const BITS: u32 = 32 - 8 - 2;
/// Bytes of rows that are weighed together: their sums fill four of AVX2's registers.
const LANES: usize = 32;

/// Filters, under Pillow's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of what is covered.
    Box,
    /// A triangle.
    Bilinear,
    /// A narrow window without the bilinear one's blur.
    Hamming,
    /// A cubic with a = -0.5.
    Bicubic,
    /// A sinc of three lobes.
    Lanczos,
}

/// A picture of 8 bits a channel: rows of pixels of channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// `height · width · channels` bytes.
    pub bytes: Vec<u8>,
}

/// The old pixels under the filter of a new one.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

impl Filter {
    /// By Pillow's number.
    pub fn of_number(number: u64) -> Option<Self> {
        [Self::Nearest, Self::Lanczos, Self::Bilinear, Self::Bicubic, Self::Box, Self::Hamming]
            .get(usize::try_from(number).ok()?)
            .copied()
    }

    /// How far it reaches from its centre, in pixels of the smaller picture.
    fn reach(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
        match self {
            Self::Nearest | Self::Box => f64::from(x > -0.5 && x <= 0.5),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming if x.abs() >= 1.0 => 0.0,
            Self::Hamming => sinc(x) * (0.54 + 0.46 * (x * PI).cos()),
            Self::Bicubic => {
                let (a, x) = (-0.5, x.abs());
                if x < 1.0 {
                    ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * a
                } else {
                    0.0
                }
            }
            Self::Lanczos => {
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
        }
    }

    /// The windows of every new pixel along one side.
    fn windows(self, from: usize, to: usize) -> Vec<Window> {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let reach = self.reach() * stretch;
        let window = |new: usize| {
            let centre = (new as f64 + 0.5) * scale;
            // A conversion to a whole number cuts off, and what is below zero becomes zero.
            let first = (centre - reach + 0.5) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            let weights: Vec<f64> =
                (first..end).map(|old| self.weight((old as f64 - centre + 0.5) * (1.0 / stretch))).collect();
            let sum: f64 = weights.iter().sum();
            let whole = |weight: &f64| {
                let share = if sum == 0.0 { *weight } else { weight / sum } * f64::from(1 << BITS);
                (if share < 0.0 { share - 0.5 } else { share + 0.5 }) as i32
            };
            Window { first, weights: weights.iter().map(whole).collect() }
        };
        (0..to).map(window).collect()
    }
}

impl Pixels {
    /// The picture in another size.
    ///
    /// # Panics
    ///
    /// If a side is zero, before or after.
    pub fn resized(&self, width: usize, height: usize, filter: Filter) -> Self {
        assert!(self.width > 0 && self.height > 0 && width > 0 && height > 0, "a picture has at least one pixel");
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        if filter == Filter::Nearest {
            return self.nearest(width, height);
        }
        let rows = |picture: &Self| picture.along_rows(&filter.windows(self.width, width));
        let columns = |picture: &Self| picture.along_columns(&filter.windows(self.height, height));
        // The order of the passes changes roundings: Pillow's rule, in its words "to make the horizontal pass faster".
        let lower = self.height as i64 - height as i64;
        let columns_first = lower > 0 && lower > 2 * (self.width as i64 - width as i64);
        match (width == self.width, height == self.height) {
            (true, _) => columns(self),
            (_, true) => rows(self),
            _ if columns_first => rows(&columns(self)),
            _ => columns(&rows(self)),
        }
    }

    fn along_rows(&self, windows: &[Window]) -> Self {
        // How many channels move together is told to the compiler: a call for each pixel would take longer than its sums.
        let bytes =
            if self.channels.is_multiple_of(3) { self.rows_by::<3>(windows) } else { self.rows_by::<1>(windows) };
        Self { width: windows.len(), bytes, ..*self }
    }

    /// As many rows together as fill [`LANES`], so many channels at a time, turned so that a column of them lies in one piece.
    fn rows_by<const CHANNELS: usize>(&self, windows: &[Window]) -> Vec<u8> {
        let (size, new_size) = (self.width * self.channels, windows.len() * self.channels);
        let mut bytes = vec![0; self.height * new_size];
        let (mut columns, mut found) = (vec![[0; LANES]; self.width], vec![[0; LANES]; windows.len()]);
        let together = LANES / CHANNELS;
        for (rows, into) in self.bytes.chunks(together * size).zip(bytes.chunks_mut(together * new_size)) {
            for first in (0..self.channels).step_by(CHANNELS) {
                for (place, row) in rows.chunks_exact(size).enumerate() {
                    for (column, channels) in columns.iter_mut().zip(row.chunks_exact(self.channels)) {
                        column.as_chunks_mut::<CHANNELS>().0[place] = channels[first..].as_chunks().0[0];
                    }
                }
                weigh_columns(&columns, windows, &mut found);
                for (place, row) in into.chunks_exact_mut(new_size).enumerate() {
                    for (column, channels) in found.iter().zip(row.chunks_exact_mut(self.channels)) {
                        channels[first..].as_chunks_mut().0[0] = column.as_chunks::<CHANNELS>().0[place];
                    }
                }
            }
        }
        bytes
    }

    fn along_columns(&self, windows: &[Window]) -> Self {
        let size = self.width * self.channels;
        let mut bytes = vec![0; windows.len() * size];
        let mut sums = vec![0; size];
        for (window, into) in windows.iter().zip(bytes.chunks_exact_mut(size)) {
            weigh_rows(&self.bytes[window.first * size..], &window.weights, &mut sums, into);
        }
        Self { height: windows.len(), bytes, ..*self }
    }

    fn nearest(&self, width: usize, height: usize) -> Self {
        let places = |from: usize, to: usize| {
            // Pillow adds the step again and again, and its rounding with it.
            let step = from as f64 / to as f64;
            let mut place = step * 0.5;
            let mut next = || {
                let found = (place as usize).min(from - 1);
                place += step;
                found
            };
            (0..to).map(|_| next()).collect::<Vec<_>>()
        };
        let (columns, rows) = (places(self.width, width), places(self.height, height));
        let mut bytes = Vec::with_capacity(width * height * self.channels);
        for row in rows {
            for &column in &columns {
                let start = (row * self.width + column) * self.channels;
                bytes.extend_from_slice(&self.bytes[start..start + self.channels]);
            }
        }
        Self { width, height, bytes, ..*self }
    }
}

/// The new columns under some windows.
#[multiversion(targets("x86_64+avx2"))]
fn weigh_columns(columns: &[[u8; LANES]], windows: &[Window], into: &mut [[u8; LANES]]) {
    for (window, into) in windows.iter().zip(into) {
        let mut sums = [0i32; LANES];
        for (column, &weight) in columns[window.first..].iter().zip(&window.weights) {
            sums.iter_mut().zip(column).for_each(|(sum, &pixel)| *sum += i32::from(pixel) * weight);
        }
        *into = sums.map(rounded);
    }
}

/// The new row under some weights of rows, each as long as `sums`.
#[multiversion(targets("x86_64+avx2"))]
fn weigh_rows(rows: &[u8], weights: &[i32], sums: &mut [i32], into: &mut [u8]) {
    sums.fill(0);
    for (row, &weight) in rows.chunks_exact(sums.len()).zip(weights) {
        sums.iter_mut().zip(row).for_each(|(sum, &pixel)| *sum += i32::from(pixel) * weight);
    }
    into.iter_mut().zip(sums).for_each(|(into, sum)| *into = rounded(*sum));
}

/// A sum of weighted pixels as a pixel.
fn rounded(sum: i32) -> u8 {
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that neither side stores: a fixed recurrence.
    fn drawn(width: usize, height: usize, channels: usize) -> Pixels {
        let mut state = 12_345u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        Pixels { width, height, channels, bytes: (0..width * height * channels).map(|_| next()).collect() }
    }

    /// A sum over all bytes that tells any two apart.
    fn digest(pixels: &Pixels) -> u32 {
        pixels.bytes.iter().fold(2_166_136_261, |sum: u32, &byte| (sum ^ u32::from(byte)).wrapping_mul(16_777_619))
    }

    #[test]
    fn every_filter_gives_the_bytes_that_pillow_gives() {
        // Width, height, channels, new width, new height, Pillow's number of the filter, digest: tests/golden/resample.py.
        const CASES: &[(usize, usize, usize, usize, usize, u64, u32)] = &include!("resample_cases.in");
        for &(width, height, channels, to_width, to_height, number, expected) in CASES {
            let filter = Filter::of_number(number).expect("a filter of Pillow's");
            let found = drawn(width, height, channels).resized(to_width, to_height, filter);
            assert_eq!(
                digest(&found),
                expected,
                "{width} x {height} x {channels} to {to_width} x {to_height} by {filter:?}"
            );
        }
    }

    #[test]
    fn channels_do_not_touch_each_other() {
        for channels in [2, 4, 6] {
            let picture = drawn(23, 37, channels);
            let of = |picture: &Pixels, channel: usize| Pixels {
                channels: 1,
                bytes: picture.bytes.iter().skip(channel).step_by(channels).copied().collect(),
                ..*picture
            };
            let resized = picture.resized(11, 40, Filter::Bicubic);
            for channel in 0..channels {
                let alone = of(&picture, channel).resized(11, 40, Filter::Bicubic);
                assert_eq!(of(&resized, channel), alone, "channel {channel} of {channels}");
            }
        }
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let picture = drawn(5, 4, 3);
        assert_eq!(picture.resized(5, 4, Filter::Lanczos), picture);
        assert_eq!(Filter::of_number(9), None);
    }
}
