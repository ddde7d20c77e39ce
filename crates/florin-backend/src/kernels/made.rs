//! New memory that is written once: filling it with zeros first would double what goes to memory.

use rayon::prelude::*;

/// Numbers that a function makes a piece at a time: it is given the first number's place and a piece, in which anything may stand, and
/// writes all of it. A piece is made in a thread's own cache and copied from there; a single one by this thread, which waking another would
/// keep waiting.
#[expect(unsafe_code, reason = "memory that is written whole need not be filled with zeros first")]
pub(crate) fn made(length: usize, piece: usize, make: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    if length <= piece {
        let mut numbers = vec![0f32; length];
        if length > 0 {
            make(0, &mut numbers);
        }
        return numbers;
    }
    let mut numbers = Vec::with_capacity(length);
    let piece = piece.clamp(1, length.max(1));
    let pieces = numbers.spare_capacity_mut()[..length].par_chunks_mut(piece).enumerate();
    pieces.for_each_init(
        || vec![0f32; piece],
        |made, (index, into)| {
            let made = &mut made[..into.len()];
            make(index * piece, made);
            into.write_copy_of_slice(made);
        },
    );
    // SAFETY: the pieces are all of the memory, and each was written.
    unsafe { numbers.set_len(length) };
    numbers
}

#[cfg(test)]
mod tests {
    use super::made;

    #[test]
    fn every_number_is_made_at_its_place() {
        for (length, piece) in [(0, 5), (1, 0), (7, 3), (1000, 64), (12, 100)] {
            let numbers = made(length, piece, |first, piece| {
                piece.iter_mut().enumerate().for_each(|(index, number)| *number = (first + index) as f32);
            });
            assert_eq!(numbers, (0..length).map(|place| place as f32).collect::<Vec<_>>());
        }
    }
}
