//! Rows of which some must not be read.

use super::made::made;

/// Numbers that one task takes, at least a row.
const NUMBERS: usize = 1 << 14;

/// The rows, and zeros in place of those whose mark is not zero, whatever stood there.
pub(crate) fn zeroed(x: &[f32], columns: usize, hidden: &[u8]) -> Vec<f32> {
    let columns = columns.max(1);
    made(x.len(), (NUMBERS / columns).max(1) * columns, |first, output| {
        let rows = x[first..].chunks_exact(columns).zip(&hidden[first / columns..]);
        for ((x, hidden), output) in rows.zip(output.chunks_exact_mut(columns)) {
            if *hidden == 0 {
                output.copy_from_slice(x);
            } else {
                output.fill(0.0);
            }
        }
    })
}
