//! A part of the inner size, by which a block of rows is multiplied tile by tile while the weights stay in the innermost cache.

#[cfg(target_arch = "aarch64")]
use super::neon;
use super::tiles::{TOGETHER, Tiles};
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::kernels::packed::{Instructions, PANEL, WIDTH, by_rows};

/// Inner places of a panel that are taken at a time: 24 kilobytes, which stay in the innermost cache while all rows pass by.
const DEPTH: usize = 384;

/// Panels that are multiplied in one pass, and inner places that are taken at a time.
pub(super) fn sizes(instructions: Instructions) -> [usize; 2] {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 => [WIDTH / PANEL, DEPTH / 2],
        _ => [1, DEPTH],
    }
}

/// What follows the first part is added to what is there.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// From the part's first number on, `[places, PANEL]`.
    pub(super) weights: &'a [f32],
    /// How far behind the same of the next panel stands.
    pub(super) second: usize,
    /// Whole groups of [`TOGETHER`] stand before.
    pub(super) first: usize,
    pub(super) count: usize,
    /// The panel's first column.
    pub(super) column: usize,
    /// What is wanted next, to be fetched meanwhile, with the same of the second panel: the first tile would wait for all of it.
    pub(super) ahead: &'a [f32],
}

impl Part<'_> {
    /// Multiplies a block of rows, into rows of `WIDTH`.
    pub(super) fn multiply(self, instructions: Instructions, rows: &Tiles, into: &mut [f32]) {
        let tiles = rows.each().len();
        // A single tile waits for nobody: what it reads once in order, the processor fetches ahead itself.
        let share = if tiles > 1 { (self.ahead.len() / PANEL).div_ceil(tiles) * PANEL } else { 0 };
        let mut ahead = self.ahead;
        for (rows, into) in rows.each().zip(into.chunks_mut(instructions.rows() * WIDTH)) {
            let part = Self { ahead: ahead.split_off(..share.min(ahead.len())).unwrap_or_default(), ..self };
            match instructions {
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => {
                    by_rows!(into.len() / WIDTH, x86::tile_avx512(rows, part, into), 1 2 3 4 5 6 7 8 9 10 11 12);
                }
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => {
                    by_rows!(into.len() / WIDTH, x86::tile_avx2(rows, part, into), 1 2 3 4 5 6);
                }
                #[cfg(target_arch = "aarch64")]
                Instructions::Neon => {
                    by_rows!(into.len() / WIDTH, neon::tile(rows, part, into), 1 2 3 4 5 6);
                }
                _ => tile_portable(rows, part, into),
            }
        }
    }

    /// Refuses what is too short for a tile of `R` rows and so many panels.
    pub(super) fn check<const R: usize>(self, rows: &[f32], panels: usize, into: &[f32]) {
        let Self { weights, second, first, count, column, .. } = self;
        assert!(rows.len() >= R * (first + count).next_multiple_of(TOGETHER), "a tile's rows");
        assert!(first % TOGETHER == 0 && weights.len() >= (panels - 1) * second + count * PANEL, "a tile's part");
        assert!(column + panels * PANEL <= WIDTH && into.len() >= R * WIDTH, "a tile's sums");
    }
}

/// A tile of rows and a panel.
fn tile_portable(rows: &[f32], part: Part, into: &mut [f32]) {
    let Part { weights, first, count, column, .. } = part;
    let group = into.len() / WIDTH * TOGETHER;
    for (row, into) in into.chunks_exact_mut(WIDTH).enumerate() {
        let into = &mut into[column..column + PANEL];
        if first == 0 {
            into.fill(0.0);
        }
        let groups = rows[first / TOGETHER * group..].chunks_exact(group);
        let places = groups.flat_map(|rows| &rows[row * TOGETHER..][..TOGETHER]);
        for (x, weights) in places.zip(&weights.as_chunks::<PANEL>().0[..count]) {
            into.iter_mut().zip(weights).for_each(|(into, weight)| *into += x * weight);
        }
    }
}
