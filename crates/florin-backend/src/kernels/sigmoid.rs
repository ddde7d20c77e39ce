//! Cost of rows of scores of which one answers yes and all others no, and its gradient, in one pass while a row is in the cache.

use multiversion::multiversion;
use rayon::prelude::*;

use super::float_math::{exp, ln_one_plus, sigmoid};
use super::rows::{dot, sum};

/// Numbers that one task takes, at least a row.
const NUMBERS: usize = 1 << 13;

/// What came out for a row; the last two only where gradients are wanted.
#[derive(Clone, Copy, Default)]
pub(crate) struct RowAnswers {
    /// What its own key costs.
    pub(crate) positive: f32,
    /// What all others cost.
    pub(crate) negative: f32,
    pub(crate) of_scale: f32,
    pub(crate) of_bias: f32,
}

/// Products that become scores by a scale and a bias.
#[derive(Clone, Copy)]
pub(crate) struct Questions {
    pub(crate) keys: usize,
    /// The key of the first row; the next row has the next.
    pub(crate) first: usize,
    pub(crate) scale: f32,
    pub(crate) bias: f32,
}

/// The cost of every row of products; `gradient` is of their size, where it is wanted.
pub(crate) fn ask(products: &[f32], questions: Questions, gradient: Option<&mut [f32]>) -> Vec<RowAnswers> {
    let keys = questions.keys.max(1);
    let mut answers = vec![RowAnswers::default(); products.len() / keys];
    let rows = (NUMBERS / keys).max(1);
    let tasks = answers.par_chunks_mut(rows).zip(products.par_chunks(rows * keys)).enumerate();
    let first = |task: usize| questions.first + task * rows;
    match gradient {
        Some(gradient) => {
            tasks.zip(gradient.par_chunks_mut(rows * keys)).for_each(|((task, (answers, products)), gradient)| {
                ask_rows(products, questions, first(task), answers, Some(gradient));
            })
        }
        None => tasks.for_each(|(task, (answers, products))| ask_rows(products, questions, first(task), answers, None)),
    }
    answers
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn ask_rows(
    products: &[f32],
    questions: Questions,
    first: usize,
    answers: &mut [RowAnswers],
    mut gradient: Option<&mut [f32]>,
) {
    let Questions { keys, scale, bias, .. } = questions;
    let mut scores = vec![0f32; keys];
    for (place, (products, answers)) in products.chunks_exact(keys).zip(answers).enumerate() {
        let own = first + place;
        for (score, product) in scores.iter_mut().zip(products) {
            *score = product.mul_add(scale, bias);
        }
        // As one of the others it would cost nothing.
        let score = std::mem::replace(&mut scores[own], f32::NEG_INFINITY);
        answers.positive = soft_plus(-score);
        if let Some(gradient) = gradient.as_deref_mut() {
            let gradient = &mut gradient[place * keys..][..keys];
            gradient.iter_mut().zip(&scores).for_each(|(slope, score)| *slope = sigmoid(*score));
            gradient[own] = -sigmoid(-score);
            answers.of_scale = dot(gradient, products);
            answers.of_bias = sum(gradient);
            gradient.iter_mut().for_each(|slope| *slope *= scale);
        }
        scores.iter_mut().for_each(|score| *score = soft_plus(*score));
        answers.negative = sum(&scores);
    }
}

/// `ln (1 + eˣ)` without overflow on either side.
#[inline(always)]
fn soft_plus(x: f32) -> f32 {
    let above = if x < 0.0 { 0.0 } else { x };
    above + ln_one_plus(exp(-x.abs()))
}
