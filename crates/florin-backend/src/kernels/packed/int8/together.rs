//! Weights whose products AVX2 sums in sixteen bits: two neighbours of a group of inner places and the same two of the next group. With rows
//! of up to 255 the sums fit if neither the positive nor the negative weights among them add up to more than 128.

use super::super::PANEL;
use super::GROUP;

/// The most that they may add up to: `255 · 128 < 2¹⁵`.
pub(super) const MOST: i32 = 128;
/// Inner places of two groups.
pub(super) const PLACES: usize = 2 * GROUP;
/// Those of them that are summed together.
const TOGETHER: [[usize; 4]; 2] = [[0, 1, GROUP, GROUP + 1], [2, 3, GROUP + 2, GROUP + 3]];

/// The least scale of each column with which weights add up to no more than they may before they are rounded.
#[inline(always)]
pub(super) fn least_scales(places: &[[f32; PANEL]; PLACES]) -> [f32; PANEL] {
    let mut most = [0f32; PANEL];
    for together in TOGETHER {
        let (mut positive, mut negative) = ([0f32; PANEL], [0f32; PANEL]);
        for place in together {
            for (column, &weight) in places[place].iter().enumerate() {
                positive[column] += if weight > 0.0 { weight } else { 0.0 };
                negative[column] += if weight < 0.0 { -weight } else { 0.0 };
            }
        }
        for (column, most) in most.iter_mut().enumerate() {
            let sum = if positive[column] > negative[column] { positive[column] } else { negative[column] };
            *most = if sum > *most { sum } else { *most };
        }
    }
    most.map(|most| most / MOST as f32)
}

/// What the weights of one sign add up to in each column.
#[inline(always)]
fn sums(places: &[[i32; PANEL]; PLACES], together: [usize; 4], sign: i32) -> [i32; PANEL] {
    let mut sums = [0; PANEL];
    for place in together {
        sums.iter_mut().zip(&places[place]).for_each(|(sum, weight)| *sum += (sign * weight).max(0));
    }
    sums
}

/// The most that any weights add up to where they are summed together.
pub(super) fn most(places: &[[i32; PANEL]; PLACES]) -> i32 {
    let sums = TOGETHER.iter().flat_map(|&together| [1, -1].map(|sign| sums(places, together, sign)));
    sums.flatten().fold(0, i32::max)
}

/// Takes what is too much of any sum, by rounding at most two, off its largest weight.
#[inline(always)]
pub(super) fn keep_within(places: &mut [[i32; PANEL]; PLACES]) {
    for together in TOGETHER {
        for sign in [1, -1] {
            let sums = sums(places, together, sign);
            if sums.iter().fold(0, |most, &sum| most.max(sum)) > MOST {
                take_off(places, together, sign, &sums);
            }
        }
    }
}

fn take_off(places: &mut [[i32; PANEL]; PLACES], together: [usize; 4], sign: i32, sums: &[i32; PANEL]) {
    for (column, sum) in sums.iter().enumerate().filter(|(_, sum)| **sum > MOST) {
        let largest = together.into_iter().max_by_key(|&place| sign * places[place][column]);
        places[largest.expect("four places")][column] -= sign * (sum - MOST);
    }
}
