//! Matrices whose numbers stand without gaps, by rows or by columns.

/// A matrix without gaps.
#[derive(Clone, Copy)]
pub(crate) enum Gapless<'a> {
    /// Row by row.
    Rows(&'a [f32]),
    /// Column by column.
    Columns(&'a [f32]),
}

impl<'a> Gapless<'a> {
    /// In the order in which they stand.
    pub(crate) fn numbers(self) -> &'a [f32] {
        match self {
            Self::Rows(numbers) | Self::Columns(numbers) => numbers,
        }
    }
}
