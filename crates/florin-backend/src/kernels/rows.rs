//! Reductions of one row, in sixteen lanes that the compiler turns into vector registers.

const LANES: usize = 16;

/// Folds a row lane by lane.
#[inline(always)]
fn fold(row: &[f32], start: f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = join(*lane, *value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = join(*lane, *value);
    }
    lanes.into_iter().fold(start, join)
}

/// The largest number; minus infinity of nothing.
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    fold(row, f32::NEG_INFINITY, |a, b| if a > b { a } else { b })
}

/// The sum.
#[inline(always)]
pub(crate) fn sum(row: &[f32]) -> f32 {
    fold(row, 0.0, |a, b| a + b)
}

/// The sum of what a function makes of each number.
#[inline(always)]
pub(crate) fn sum_of(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += of(*value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += of(*value);
    }
    lanes.into_iter().sum()
}

/// The sum of products.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (left, right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = left.remainder().iter().zip(right.remainder());
    for (a, b) in left.zip(right) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = a.mul_add(*b, *lane);
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(rest) {
        *lane = a.mul_add(*b, *lane);
    }
    lanes.into_iter().sum()
}

/// The sum of squared distances from a number.
#[inline(always)]
pub(crate) fn squares_around(row: &[f32], centre: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            let distance = value - centre;
            *lane = distance.mul_add(distance, *lane);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        let distance = value - centre;
        *lane = distance.mul_add(distance, *lane);
    }
    lanes.into_iter().sum()
}
