//! The transpose of a matrix on the host, for weights on their way from a file and back.

use std::ops::Range;

use rayon::prelude::*;

/// Rows and columns of a tile: as many numbers as a cache line holds, so that each line is read whole and written whole.
const TILE: usize = 16;

/// The transpose of a matrix `[rows, columns]`, row-major.
///
/// # Panics
///
/// If there are not `rows · columns` values.
pub fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    assert_eq!(values.len(), rows * columns, "a matrix of {rows} x {columns}");
    let mut result = vec![0.0; values.len()];
    if values.is_empty() {
        return result;
    }
    result.par_chunks_mut(TILE * rows).enumerate().for_each(|(strip, out)| {
        transpose_columns(values, columns, strip * TILE, out, rows);
    });
    result
}

/// The columns of a matrix from one on as rows of so many numbers, at least as many as the matrix has rows; by this thread alone, as
/// many columns as `out` has room for.
pub(crate) fn transpose_columns(values: &[f32], columns: usize, first: usize, out: &mut [f32], length: usize) {
    for (strip, out) in out.chunks_mut(TILE * length).enumerate() {
        let first = first + strip * TILE;
        for (place, lines) in values.chunks(TILE * columns).enumerate() {
            turn(lines, columns, first..first + out.len() / length, out, length, place * TILE);
        }
    }
}

/// Turns the columns of a few lines into a few numbers of each line of `out`, behind the first `row` of them.
fn turn(lines: &[f32], columns: usize, strip: Range<usize>, out: &mut [f32], rows: usize, row: usize) {
    let width = strip.len();
    if width < TILE || lines.len() < TILE * columns {
        for (place, line) in lines.chunks_exact(columns).enumerate() {
            for (column, &value) in line[strip.clone()].iter().enumerate() {
                out[column * rows + row + place] = value;
            }
        }
        return;
    }
    // By way of an array that stays in the innermost cache: written straight, lines far apart would take turns in it. All lengths are
    // constants, which makes the loops twice as fast.
    let mut tile = [[0.0; TILE]; TILE];
    for place in 0..TILE {
        let line = &lines[place * columns + strip.start..][..TILE];
        for (turned, &value) in tile.iter_mut().zip(line) {
            turned[place] = value;
        }
    }
    for (column, turned) in tile.iter().enumerate() {
        out[column * rows + row..][..TILE].copy_from_slice(turned);
    }
}

#[cfg(test)]
mod tests {
    use super::{transpose, transpose_columns};

    #[test]
    fn rows_become_columns_at_any_size() {
        for (rows, columns) in [(0, 3), (1, 1), (5, 16), (17, 33), (40, 1), (1, 70)] {
            let values: Vec<f32> = (0..rows * columns).map(|value| value as f32).collect();
            let found = transpose(&values, rows, columns);
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(found[column * rows + row], values[row * columns + column]);
                }
            }
            let some = columns / 3;
            let mut of_some = vec![0.0; (columns - some) * rows];
            if rows > 0 {
                transpose_columns(&values, columns, some, &mut of_some, rows);
            }
            assert_eq!(of_some, found[some * rows..]);
        }
    }
}
