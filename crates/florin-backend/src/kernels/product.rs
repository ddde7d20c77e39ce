//! Matrix products of strided views, with every bound checked before the one unsafe call.

use gemm::Parallelism;
use rayon::prelude::*;

use super::gapless::Gapless;

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row by row, without gaps.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, [rows, columns], [columns, 1])
    }

    /// # Panics
    ///
    /// If the slice is too short.
    pub(crate) fn strided(data: &'a [f32], [rows, columns]: [usize; 2], strides: [usize; 2]) -> Self {
        let [row_stride, column_stride] = strides;
        let last = rows.saturating_sub(1) * row_stride + columns.saturating_sub(1) * column_stride;
        assert!(rows * columns == 0 || last < data.len(), "a matrix of {rows} × {columns} reaches beyond its numbers");
        Self { data, rows, columns, row_stride, column_stride }
    }

    /// Rows and columns.
    pub(crate) fn sizes(self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// All numbers, where they stand without gaps.
    pub(crate) fn without_gaps(self) -> Option<Gapless<'a>> {
        let Self { data, rows, columns, row_stride, column_stride } = self;
        let by_rows = (column_stride == 1 || columns == 1) && (row_stride == columns || rows == 1);
        let by_columns = (row_stride == 1 || rows == 1) && (column_stride == rows || columns == 1);
        let numbers = data.get(..rows * columns)?;
        match (by_rows, by_columns) {
            (true, _) => Some(Gapless::Rows(numbers)),
            (false, true) => Some(Gapless::Columns(numbers)),
            (false, false) => None,
        }
    }

    /// So many rows from one on.
    fn rows_from(self, first: usize, rows: usize) -> Self {
        Self::strided(
            &self.data[first * self.row_stride..],
            [rows, self.columns],
            [self.row_stride, self.column_stride],
        )
    }

    /// Rows as columns.
    pub(crate) fn transposed(self) -> Self {
        let Self { data, rows, columns, row_stride, column_stride } = self;
        Self { data, rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride }
    }
}

/// What happens to the numbers already in the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// They are replaced.
    Replace,
    /// The product is added to them.
    Add,
}

/// Who multiplies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// This thread alone, as one of many.
    One,
    /// All of them, where the product is large enough to be worth waking them.
    All,
}

/// Multiplications below which waking other threads costs more than it gains.
const WORTH_THREADS: usize = 1 << 20;

/// Rows of a product that one task computes: enough that packing the right factor anew costs little beside them.
const ROWS: usize = 64;

/// Products of pairs, one after another without gaps. Small ones are shared out among threads as a whole, large ones by rows.
///
/// # Panics
///
/// If the sizes do not fit together.
pub(crate) fn multiply_each(output: &mut [f32], pairs: &[[Matrix; 2]]) {
    let Some([left, right]) = pairs.first() else { return };
    let (rows, columns) = (left.rows, right.columns);
    let work = rows * columns * left.columns;
    if rows * columns == 0 {
        return;
    }
    if pairs.len() * work < WORTH_THREADS {
        for (output, [left, right]) in output.chunks_exact_mut(rows * columns).zip(pairs) {
            multiply(output, *left, *right, 1.0, Existing::Replace, Threads::One);
        }
    } else if work < WORTH_THREADS {
        let some = (WORTH_THREADS / work.max(1)).max(1).div_ceil(4);
        output.par_chunks_mut(some * rows * columns).zip(pairs.par_chunks(some)).for_each(|(output, pairs)| {
            for (output, [left, right]) in output.chunks_exact_mut(rows * columns).zip(pairs) {
                multiply(output, *left, *right, 1.0, Existing::Replace, Threads::One);
            }
        });
    } else {
        for (output, [left, right]) in output.chunks_exact_mut(rows * columns).zip(pairs) {
            multiply_by_rows(output, *left, *right);
        }
    }
}

/// One product, a piece of its rows a task: of a few hundred rows, the tasks that gemm makes itself wait for each other more than they gain.
fn multiply_by_rows(output: &mut [f32], left: Matrix, right: Matrix) {
    let piece = (left.rows / 16).clamp(ROWS, 8 * ROWS);
    if left.rows < 2 * piece {
        return multiply(output, left, right, 1.0, Existing::Replace, Threads::All);
    }
    output.par_chunks_mut(piece * right.columns).enumerate().for_each(|(task, output)| {
        let rows = output.len() / right.columns;
        multiply(output, left.rows_from(task * piece, rows), right, 1.0, Existing::Replace, Threads::One);
    });
}

/// `output (+)= factor · left · right`, the output row by row without gaps.
///
/// # Panics
///
/// If the sizes do not fit together.
#[expect(unsafe_code, reason = "the product of the crate gemm takes pointers")]
pub(crate) fn multiply(
    output: &mut [f32],
    left: Matrix,
    right: Matrix,
    factor: f32,
    existing: Existing,
    threads: Threads,
) {
    assert_eq!(output.len(), left.rows * right.columns, "the output must hold the product");
    // SAFETY: the output holds the product, and its numbers are there.
    unsafe { multiply_at(output.as_mut_ptr(), left, right, factor, existing, threads) }
}

/// `left · right` by all threads, in new memory, which is not filled with zeros first.
#[expect(unsafe_code, reason = "the product of the crate gemm takes pointers")]
pub(crate) fn multiplied(left: Matrix, right: Matrix) -> Vec<f32> {
    let length = left.rows * right.columns;
    if left.columns == 0 {
        return vec![0.0; length];
    }
    let mut output = Vec::with_capacity(length);
    // SAFETY: the memory holds the product, which replaces every number and reads none.
    unsafe {
        multiply_at(output.as_mut_ptr(), left, right, 1.0, Existing::Replace, Threads::All);
        output.set_len(length);
    }
    output
}

/// See [`multiply`].
///
/// # Safety
///
/// The output points to as many numbers as the product has, which nothing else holds; where the product is added they are initialised.
#[expect(unsafe_code, reason = "the product of the crate gemm takes pointers")]
unsafe fn multiply_at(
    output: *mut f32,
    left: Matrix,
    right: Matrix,
    factor: f32,
    existing: Existing,
    threads: Threads,
) {
    let (m, n, k) = (left.rows, right.columns, left.columns);
    assert_eq!(k, right.rows, "inner sizes must agree");
    if m * n == 0 {
        return;
    }
    let parallelism =
        if threads == Threads::All && m * n * k >= WORTH_THREADS { Parallelism::Rayon(0) } else { Parallelism::None };
    // SAFETY: the output holds m · n numbers in rows of n, by the caller's word; `Matrix::strided` has checked that the farthest
    // number of each factor lies inside its slice.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output,
            1,
            n as isize,
            existing == Existing::Add,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}
