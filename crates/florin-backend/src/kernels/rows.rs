//! Reductions of one row, in sixteen lanes that the compiler turns into vector registers.

pub(super) const LANES: usize = 16;

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

/// The sum of what a function makes of each difference. What is left over is added up apart: lanes that a loop of unknown length writes to would not
/// stay in registers.
#[inline(always)]
pub(crate) fn sum_of_differences(a: &[f32], b: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let ((left, left_rest), (right, right_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0f32; LANES];
    for (a, b) in left.iter().zip(right) {
        lanes = std::array::from_fn(|lane| lanes[lane] + of(a[lane] - b[lane]));
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(a, b)| of(a - b)).sum();
    // By halves, which short rows feel: one after another, sixteen sums wait for each other.
    let eight: [f32; 8] = std::array::from_fn(|lane| lanes[lane] + lanes[lane + 8]);
    let four: [f32; 4] = std::array::from_fn(|lane| eight[lane] + eight[lane + 4]);
    (four[0] + four[2]) + (four[1] + four[3]) + rest
}
