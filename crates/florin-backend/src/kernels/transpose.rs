//! The transpose of a matrix on the host, for weights on their way from a file and back.

use rayon::prelude::*;

/// Columns of a strip: as many numbers as a cache line holds, so that each line that is read is used whole.
const STRIP: usize = 16;

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
    result.par_chunks_mut(STRIP * rows).enumerate().for_each(|(strip, out)| {
        let (first, width) = (strip * STRIP, out.len() / rows);
        for (row, line) in values.chunks_exact(columns).enumerate() {
            for (column, &value) in line[first..first + width].iter().enumerate() {
                out[column * rows + row] = value;
            }
        }
    });
    result
}

#[cfg(test)]
mod tests {
    use super::transpose;

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
        }
    }
}
