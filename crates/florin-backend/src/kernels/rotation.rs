//! Pairs of numbers turned by the angles of their row's place.

use multiversion::multiversion;

use super::made::made;

/// Numbers that one task takes, at least those of a place.
const NUMBERS: usize = 1 << 14;

/// Which two numbers of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Neighbours: 0 and 1, 2 and 3.
    Interleaved,
    /// The first half with the second: 0 and d/2, 1 and d/2 + 1.
    Halves,
}

/// By how much the first numbers of each head are turned; the others stay.
#[derive(Clone, Copy)]
pub(crate) struct Turns<'a> {
    pub(crate) pairing: Pairing,
    /// `[places, pairs]`, both.
    pub(crate) cosines: &'a [f64],
    pub(crate) sines: &'a [f64],
    pub(crate) pairs: usize,
    /// The other way round: what a gradient is turned by.
    pub(crate) back: bool,
}

/// Every head turned by the angles of its place; x and output are `[batch, places, heads, head_dim]`.
pub(crate) fn turned(x: &[f32], [heads, head_dim]: [usize; 2], turns: Turns) -> Vec<f32> {
    let width = (heads * head_dim).max(1);
    made(x.len(), (NUMBERS / width).max(1) * width, |first, output| {
        turn(&x[first..][..output.len()], [heads, head_dim], turns, first / width, output);
    })
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn turn(x: &[f32], [heads, head_dim]: [usize; 2], turns: Turns, first: usize, output: &mut [f32]) {
    let Turns { pairing, cosines, sines, pairs, back } = turns;
    let sense = if back { -1.0 } else { 1.0 };
    let places = (cosines.len() / pairs).max(1);
    // What a number is multiplied by, and what the other one of its pair is.
    let (mut own, mut other) = (vec![0f32; 2 * pairs], vec![0f32; 2 * pairs]);
    let rows = x.chunks_exact(heads * head_dim).zip(output.chunks_exact_mut(heads * head_dim));
    for (row, (x, output)) in (first..).zip(rows) {
        let of_place = row % places * pairs..(row % places + 1) * pairs;
        let angles = cosines[of_place.clone()].iter().zip(&sines[of_place]).enumerate();
        for (pair, (cosine, sine)) in angles {
            let [one, two] = match pairing {
                Pairing::Interleaved => [2 * pair, 2 * pair + 1],
                Pairing::Halves => [pair, pairs + pair],
            };
            (own[one], own[two]) = (*cosine as f32, *cosine as f32);
            let sine = sense * *sine as f32;
            (other[one], other[two]) = (-sine, sine);
        }
        for (x, output) in x.chunks_exact(head_dim).zip(output.chunks_exact_mut(head_dim)) {
            let ((x, still), (output, stays)) = (x.split_at(2 * pairs), output.split_at_mut(2 * pairs));
            match pairing {
                Pairing::Interleaved => neighbours(x, &own, &other, output),
                Pairing::Halves => halves(x, &own, &other, output),
            }
            stays.copy_from_slice(still);
        }
    }
}

#[inline(always)]
fn neighbours(x: &[f32], own: &[f32], other: &[f32], output: &mut [f32]) {
    let ((x, x_rest), (output, output_rest)) = (x.as_chunks::<8>(), output.as_chunks_mut::<8>());
    let ((own, own_rest), (other, other_rest)) = (own.as_chunks::<8>(), other.as_chunks::<8>());
    for ((output, x), (own, other)) in output.iter_mut().zip(x).zip(own.iter().zip(other)) {
        *output = std::array::from_fn(|place| x[place].mul_add(own[place], x[place ^ 1] * other[place]));
    }
    for (place, output) in output_rest.iter_mut().enumerate() {
        *output = x_rest[place].mul_add(own_rest[place], x_rest[place ^ 1] * other_rest[place]);
    }
}

#[inline(always)]
fn halves(x: &[f32], own: &[f32], other: &[f32], output: &mut [f32]) {
    let half = x.len() / 2;
    let (first, second) = x.split_at(half);
    for (side, [x, partner]) in [[first, second], [second, first]].into_iter().enumerate() {
        let of = side * half..(side + 1) * half;
        let factors = own[of.clone()].iter().zip(&other[of.clone()]);
        for ((output, (x, partner)), (own, other)) in output[of].iter_mut().zip(x.iter().zip(partner)).zip(factors) {
            *output = x.mul_add(*own, partner * other);
        }
    }
}
