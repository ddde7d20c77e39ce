//! Rows of a table, and what is added up in the table's gradient: by all threads, in an order that does not depend on them.

use super::made::made;

/// Numbers that one task makes.
const NUMBERS: usize = 1 << 15;

/// The rows of a table of so many columns, `[ids, dim]`.
///
/// # Panics
///
/// If an id is no row.
pub(crate) fn rows(table: &[f32], dim: usize, ids: &[usize]) -> Vec<f32> {
    let piece = (NUMBERS / dim.max(1)).max(1) * dim;
    made(ids.len() * dim, piece, |first, rows| {
        for (row, id) in rows.chunks_exact_mut(dim).zip(&ids[first / dim..]) {
            row.copy_from_slice(&table[id * dim..][..dim]);
        }
    })
}

/// The gradient of a table of so many numbers: the sum of the rows that came from each entry, in their order; zero of all others.
pub(crate) fn backward(numbers: usize, dim: usize, ids: &[usize], gradient: &[f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&place| ids[place]);
    let piece = (NUMBERS / dim.max(1)).max(1) * dim;
    made(numbers, piece, |first, table| {
        table.fill(0.0);
        let (first, count) = (first / dim, table.len() / dim);
        let rows = &order[order.partition_point(|&place| ids[place] < first)..];
        for &place in rows.iter().take_while(|&&place| ids[place] < first + count) {
            let row = &mut table[(ids[place] - first) * dim..][..dim];
            row.iter_mut().zip(&gradient[place * dim..]).for_each(|(sum, value)| *sum += value);
        }
    })
}
