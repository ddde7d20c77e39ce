//! Cost of a softmax over every span of words, and over there being none, without a matrix of spans.
//!
//! `score(i, j) = start_i + end_j + Σ_{k=i..j} inside_k` is a number of i plus a number of j: a row of spans is read from the latter, and only
//! those that are no longer than allowed.

use multiversion::multiversion;
use rayon::prelude::*;

use super::float_math::exp;
use super::rows::{max, sum, sum_of};

/// Scores of fields, `[batch, fields, words]` each and `[batch, fields]` of none, and which spans of them can be and are right.
#[derive(Clone, Copy)]
pub(crate) struct Spans<'a> {
    pub(crate) start: &'a [f32],
    pub(crate) inside: &'a [f32],
    pub(crate) end: &'a [f32],
    pub(crate) none: &'a [f32],
    /// `[batch, fields, words, words]`, zero where (first, last) is not right.
    pub(crate) gold: &'a [u8],
    /// Words of each document.
    pub(crate) lengths: &'a [usize],
    pub(crate) words: usize,
    /// Words of the longest span.
    pub(crate) longest: usize,
}

/// Gradients, each of the shape of what it is of.
pub(crate) struct SpanGradients {
    pub(crate) start: Vec<f32>,
    pub(crate) inside: Vec<f32>,
    pub(crate) end: Vec<f32>,
    pub(crate) none: Vec<f32>,
}

/// `−log Σ p` over the right spans of each field, `[batch, fields]`; of a field without any, of there being none.
pub(crate) fn forward(spans: &Spans) -> Vec<f32> {
    (0..spans.none.len()).into_par_iter().map(|field| Field::new(spans, field).cost()).collect()
}

/// The gradients from that of the costs.
pub(crate) fn backward(spans: &Spans, gradient: &[f32]) -> SpanGradients {
    let (words, fields) = (spans.words, spans.none.len());
    let empty = || vec![0f32; fields * words];
    let mut found = SpanGradients { start: empty(), inside: empty(), end: empty(), none: vec![0f32; fields] };
    let tasks = found.start.par_chunks_mut(words.max(1)).zip(found.inside.par_chunks_mut(words.max(1)));
    let tasks = tasks.zip(found.end.par_chunks_mut(words.max(1))).zip(found.none.par_iter_mut()).enumerate();
    tasks.for_each(|(field, (((start, inside), end), none))| {
        *none = Field::new(spans, field).slopes(gradient[field], start, end);
        // What a word inside adds, it adds to every span that ends at it or later and does not begin after it.
        let mut sum = 0f64;
        for word in (0..words).rev() {
            sum += f64::from(end[word]);
            inside[word] = sum as f32;
            sum -= f64::from(start[word]);
        }
    });
    found
}

/// One field of one document.
struct Field<'a> {
    /// What a span's first word adds to its score, of every word of the document.
    from: Vec<f32>,
    /// What its last word adds.
    to: Vec<f32>,
    none: f32,
    gold: &'a [u8],
    words: usize,
    longest: usize,
}

impl<'a> Field<'a> {
    fn new(spans: &Spans<'a>, field: usize) -> Self {
        let Spans { words, longest, .. } = *spans;
        let document = field * spans.lengths.len() / spans.none.len();
        let length = spans.lengths[document].min(words);
        let of = |numbers: &'a [f32]| &numbers[field * words..][..length];
        let (mut from, mut to, mut before) = (Vec::with_capacity(length), Vec::with_capacity(length), 0f64);
        for ((start, inside), end) in of(spans.start).iter().zip(of(spans.inside)).zip(of(spans.end)) {
            from.push((f64::from(*start) - before) as f32);
            before += f64::from(*inside);
            to.push((f64::from(*end) + before) as f32);
        }
        let gold = &spans.gold[field * words * words..][..words * words];
        Self { from, to, none: spans.none[field], gold, words, longest }
    }

    /// The last words that a span from `first` can have.
    fn lasts(&self, first: usize) -> std::ops::Range<usize> {
        first..first.saturating_add(self.longest).min(self.to.len())
    }

    /// Every right span that can be.
    fn right(&self) -> Vec<(usize, usize)> {
        let of_first = |first: usize| {
            let lasts = self.lasts(first);
            let marks = &self.gold[first * self.words..][..self.words][lasts.clone()];
            // Most rows have none: looking for one is faster than looking at each.
            let any = marks.contains(&1) || marks.iter().any(|mark| *mark != 0);
            lasts.zip(marks).filter(move |(_, mark)| any && **mark != 0).map(move |(last, _)| (first, last))
        };
        (0..self.from.len()).flat_map(of_first).collect()
    }

    /// The largest score of all.
    fn most(&self) -> f32 {
        let of_first = |first: usize| self.from[first] + max(&self.to[self.lasts(first)]);
        (0..self.from.len()).map(of_first).fold(self.none, |one, other| if one > other { one } else { other })
    }

    /// `Σ e^{score − most}` over the right spans, or of none.
    fn right_total(&self, right: &[(usize, usize)], most: f32) -> f32 {
        if right.is_empty() {
            return exp(self.none - most);
        }
        right.iter().map(|&(first, last)| exp(self.from[first] + self.to[last] - most)).sum()
    }

    fn cost(&self) -> f32 {
        let most = self.most();
        let total = totals(self, most);
        // From the largest of its own, lest the exponential of a right span far below the best be zero.
        let right = self.right();
        let best = match right.is_empty() {
            true => self.none,
            false => right.iter().map(|&(first, last)| self.from[first] + self.to[last]).fold(f32::MIN, f32::max),
        };
        total.ln() - self.right_total(&right, best).ln() + (most - best)
    }

    /// Adds gradients of first and last words, gives that of none.
    fn slopes(&self, gradient: f32, start: &mut [f32], end: &mut [f32]) -> f32 {
        if gradient == 0.0 {
            return 0.0;
        }
        let most = self.most();
        let total = totals(self, most);
        spread(self, most, gradient / total, start, end);
        let of_none = gradient / total * exp(self.none - most);
        let right = self.right();
        if right.is_empty() {
            return of_none - gradient;
        }
        let scores = || right.iter().map(|&(first, last)| self.from[first] + self.to[last]);
        let best = scores().fold(f32::MIN, f32::max);
        let share = gradient / self.right_total(&right, best);
        for (&(first, last), score) in right.iter().zip(scores()) {
            let slope = share * exp(score - best);
            start[first] -= slope;
            end[last] -= slope;
        }
        of_none
    }
}

/// `Σ e^{score − most}` over all spans and none.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn totals(field: &Field, most: f32) -> f32 {
    let mut total = exp(field.none - most);
    for (first, from) in field.from.iter().enumerate() {
        let level = from - most;
        total += sum_of(&field.to[field.lasts(first)], |to| exp(to + level));
    }
    total
}

/// Adds `share · e^{score − most}` of every span to its first and to its last word.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn spread(field: &Field, most: f32, share: f32, start: &mut [f32], end: &mut [f32]) {
    let mut slopes = vec![0f32; field.to.len()];
    for (first, from) in field.from.iter().enumerate() {
        let (lasts, level) = (field.lasts(first), from - most);
        let slopes = &mut slopes[..lasts.len()];
        for (slope, to) in slopes.iter_mut().zip(&field.to[lasts.clone()]) {
            *slope = share * exp(to + level);
        }
        end[lasts].iter_mut().zip(&*slopes).for_each(|(end, slope)| *end += slope);
        start[first] += sum(slopes);
    }
}
