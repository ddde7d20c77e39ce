//! Rows in the order in which a tile reads them: copied once for all panels, so that no two rows take turns in a line of the cache.

use crate::kernels::gapless::Gapless;
use crate::kernels::packed::Lines;

/// Inner places of a row that stand together.
pub(super) const TOGETHER: usize = 8;

/// A block of rows, tile after tile: `[places / TOGETHER, rows of the tile, TOGETHER]`. What fills up the last group is never read.
#[derive(Default)]
pub(crate) struct Tiles {
    numbers: Vec<f32>,
    /// Numbers of a tile at most.
    size: usize,
}

impl Tiles {
    /// Takes over rows of so many numbers; a tile has so many rows at most.
    pub(super) fn load(&mut self, x: Lines, input: usize, height: usize) {
        let Lines { matrix, first, count } = x;
        let length = input.next_multiple_of(TOGETHER);
        self.size = height * length;
        self.numbers.resize(count * length, 0.0);
        match matrix {
            Gapless::Rows(x) => {
                let rows = x[first * input..(first + count) * input].chunks(height * input);
                rows.zip(self.numbers.chunks_mut(self.size)).for_each(|(rows, tile)| load_rows(rows, input, tile));
            }
            Gapless::Columns(x) => {
                let rows = x.len() / input;
                for (group, columns) in x.chunks(rows * TOGETHER).enumerate() {
                    let mut lines: [&[f32]; TOGETHER] = [&[]; TOGETHER];
                    for (line, column) in lines.iter_mut().zip(columns.chunks_exact(rows)) {
                        *line = &column[first..first + count];
                    }
                    let lines = &lines[..columns.len() / rows];
                    for (index, tile) in self.numbers.chunks_mut(self.size).enumerate() {
                        let rows = tile.len() / length;
                        let into = &mut tile[group * rows * TOGETHER..][..rows * TOGETHER];
                        load_columns(lines, index * height, into.as_chunks_mut().0);
                    }
                }
            }
        }
    }

    /// Tile by tile, the last of which may have fewer rows.
    pub(super) fn each(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.numbers.chunks(self.size)
    }
}

/// A tile of as many rows of so many numbers.
fn load_rows(rows: &[f32], input: usize, tile: &mut [f32]) {
    let group = rows.len() / input * TOGETHER;
    for (row, x) in rows.chunks_exact(input).enumerate() {
        let (whole, rest) = x.as_chunks::<TOGETHER>();
        let mut groups = tile[row * TOGETHER..].chunks_mut(group);
        whole.iter().zip(&mut groups).for_each(|(x, into)| into[..TOGETHER].copy_from_slice(x));
        if let Some(into) = groups.next() {
            into[..rest.len()].copy_from_slice(rest);
        }
    }
}

/// A group of inner places, each a line, of the rows from one on.
fn load_columns(lines: &[&[f32]], first: usize, into: &mut [[f32; TOGETHER]]) {
    if let Ok(lines) = <&[&[f32]; TOGETHER]>::try_from(lines) {
        let lines = lines.map(|line| &line[first..first + into.len()]);
        for (row, into) in into.iter_mut().enumerate() {
            *into = lines.map(|line| line[row]);
        }
    } else {
        for (row, into) in into.iter_mut().enumerate() {
            into.iter_mut().zip(lines).for_each(|(into, line)| *into = line[first + row]);
        }
    }
}
