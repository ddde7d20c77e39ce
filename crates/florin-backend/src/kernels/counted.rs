//! Which numbers of some rows count: whole rows by their own marks, numbers of a row by marks that the rows of a group share.

/// Marks, zero for what has no effect.
#[derive(Clone, Copy)]
pub(crate) struct Counted<'a> {
    /// `[rows]`
    pub(crate) rows: &'a [u8],
    /// `[groups, columns]`, each for as many rows in turn; without, all columns of a row that counts do.
    pub(crate) columns: Option<&'a [u8]>,
}

impl<'a> Counted<'a> {
    /// The marks of a row's numbers, none where all of them count.
    #[inline(always)]
    pub(crate) fn columns_of(&self, row: usize, columns: usize) -> Option<&'a [u8]> {
        let marks = self.columns?;
        let group = row * (marks.len() / columns) / self.rows.len();
        let marks = &marks[group * columns..][..columns];
        if marks.contains(&0) { Some(marks) } else { None }
    }
}
