//! Matrices that are constant along their diagonals, as biases by distance are, and the sums along these.

use rayon::prelude::*;

use super::made::made;

/// Numbers that one task takes, at least a row.
const NUMBERS: usize = 1 << 14;

/// A matrix `[queries, keys]` for each row of `queries + keys − 1` numbers, whose first stands at the last query and the first key.
pub(crate) fn forward(rows: &[f32], [queries, keys]: [usize; 2]) -> Vec<f32> {
    let length = queries + keys - 1;
    let heads = rows.len() / length;
    made(heads * queries * keys, (NUMBERS / keys.max(1)).max(1) * keys, |first, output| {
        for (row, output) in (first / keys..).zip(output.chunks_exact_mut(keys)) {
            let (head, query) = (row / queries, row % queries);
            output.copy_from_slice(&rows[head * length + queries - 1 - query..][..keys]);
        }
    })
}

/// The gradient of the rows from that of the matrices.
pub(crate) fn backward(gradient: &[f32], [queries, keys]: [usize; 2]) -> Vec<f32> {
    let length = queries + keys - 1;
    let heads = gradient.len() / (queries * keys).max(1);
    let mut found = vec![0f32; heads * length];
    found.par_chunks_mut(length).zip(gradient.par_chunks(queries * keys)).for_each(|(found, gradient)| {
        for (query, gradient) in gradient.chunks_exact(keys).enumerate() {
            let found = &mut found[queries - 1 - query..][..keys];
            found.iter_mut().zip(gradient).for_each(|(found, gradient)| *found += gradient);
        }
    });
    found
}
