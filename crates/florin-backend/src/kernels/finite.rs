//! How many of the numbers of a tensor on the host are none: what a checkpoint is looked through for.

use rayon::prelude::*;

/// Numbers that one task looks at: few enough for a cache, many enough to be worth a task.
const PIECE: usize = 1 << 16;
/// The exponent that infinities and NaN have, and nothing else.
const NOT_FINITE: u32 = 0x7f80_0000;

/// How many of the values are infinite or NaN.
pub fn count_not_finite(values: &[f32]) -> usize {
    values.par_chunks(PIECE).map(|piece| piece.iter().map(count_one).sum::<u32>() as usize).sum()
}

fn count_one(value: &f32) -> u32 {
    u32::from(value.to_bits() & NOT_FINITE == NOT_FINITE)
}

#[cfg(test)]
mod tests {
    use super::{PIECE, count_not_finite};

    #[test]
    fn infinities_and_nan_are_counted_wherever_they_stand() {
        assert_eq!(count_not_finite(&[]), 0);
        let mut values = vec![f32::MAX; 2 * PIECE + 3];
        values[0] = f32::MIN_POSITIVE / 2.0;
        assert_eq!(count_not_finite(&values), 0);
        for (place, value) in
            [(1, f32::NAN), (PIECE, -f32::NAN), (PIECE + 1, f32::INFINITY), (2 * PIECE + 2, -f32::INFINITY)]
        {
            values[place] = value;
        }
        assert_eq!(count_not_finite(&values), 4);
    }
}
