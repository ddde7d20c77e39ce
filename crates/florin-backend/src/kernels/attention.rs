//! Scaled dot-product attention and its gradients without the score matrix: a block of queries against a block of keys at a time, and
//! of each query only the logarithm of its weights' sum is kept for the way back.
//!
//! Paper: Dao et al. 2022 (FlashAttention), <https://arxiv.org/abs/2205.14135>
//! Difference: blocks are for a processor's cache, and up to 256 keys are one, where nothing has to be corrected.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::float_math::exp;
use super::made::made;
use super::product::{Existing, Matrix, Threads, multiply};
use super::rows::{dot, max, sum};

/// Scores that a block may hold: a quarter of a megabyte, so that they stay in a core's own cache.
const SCORES: usize = 1 << 16;
/// Keys of a block at most. As many queries fit beside them: arranging either for a product then costs least.
const KEYS: usize = 1 << 8;
/// Queries of a block at least, unless there are fewer.
const FEWEST: usize = 16;

/// Numbers that one task arranges.
const NUMBERS: usize = 1 << 14;

/// Numbers of shape `[batch, heads, seq, dim]`, in any order of memory; a stride of zero repeats them.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) strides: [usize; 4],
}

impl<'a, T> View<'a, T> {
    /// What stands at an index and after it.
    fn from(&self, index: [usize; 4]) -> &'a [T] {
        let start: usize = index.iter().zip(self.strides).map(|(i, stride)| i * stride).sum();
        &self.data[start..]
    }
}

impl<'a> View<'a, f32> {
    /// Without the positions before one.
    fn behind(self, position: usize) -> Self {
        Self { data: self.from([0, 0, position, 0]), strides: self.strides }
    }

    /// Rows of one head, from one position on.
    fn head(&self, batch: usize, head: usize, first: usize, rows: usize, dim: usize) -> Matrix<'a> {
        let data = if rows == 0 { &[] } else { self.from([batch, head, first, 0]) };
        Matrix::strided(data, [rows, dim], [self.strides[2], self.strides[3]])
    }
}

/// What attends to what. All views have the shapes below; those of hidden and bias are `[batch, heads, queries, keys]`.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    /// `[batch, heads, queries, dim]`
    pub(crate) query: View<'a, f32>,
    /// `[batch, key heads, keys, dim]`
    pub(crate) key: View<'a, f32>,
    /// `[batch, key heads, keys, value dim]`
    pub(crate) value: View<'a, f32>,
    /// Not zero where a key must not be seen.
    pub(crate) hidden: Option<View<'a, u8>>,
    /// Added to the scaled scores.
    pub(crate) bias: Option<View<'a, f32>>,
    pub(crate) sizes: Sizes,
}

/// Sizes of an attention and how it scales.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) key_heads: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    pub(crate) dim: usize,
    pub(crate) value_dim: usize,
    pub(crate) scale: f32,
    /// How many places before its own and after it a query sees, its own always; queries and keys are aligned at the end.
    pub(crate) before: usize,
    pub(crate) after: usize,
}

impl Sizes {
    /// Queries of a block beside so many keys.
    fn block(&self, keys: usize) -> usize {
        let most = (SCORES / keys.max(1)).clamp(FEWEST, self.queries.max(FEWEST));
        // A block meets all keys that any of its queries sees: in a window few more than each does.
        let reach = self.before.saturating_add(self.after);
        if reach < self.keys { most.min((reach / 2).next_multiple_of(FEWEST).max(2 * FEWEST)) } else { most }
    }

    /// Which keys a query sees, as far as its place decides.
    fn seen(&self, query: usize) -> Range<usize> {
        let behind = query + self.keys;
        let end = behind.saturating_add(self.after).saturating_add(1).saturating_sub(self.queries).min(self.keys);
        behind.saturating_sub(self.queries.saturating_add(self.before)).min(end)..end
    }

    /// The keys that any query of a block sees.
    fn seen_by(&self, task: Task) -> Range<usize> {
        let end = self.seen(task.first + task.rows.max(1) - 1).end;
        self.seen(task.first).start.min(end)..end
    }

    /// The same a block at a time, each of at most so many.
    fn key_blocks(&self, task: Task, most: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let seen = self.seen_by(task);
        seen.clone().step_by(most.max(1)).map(move |first| first..seen.end.min(first + most))
    }

    /// Whether no key is out of any query's sight.
    fn sees_all(&self) -> bool {
        self.before == usize::MAX && self.after == usize::MAX
    }

    fn key_head(&self, head: usize) -> usize {
        head * self.key_heads / self.heads
    }
}

/// The output, `[batch, queries, heads, value dim]` in memory, and the logarithm of every query's summed weights,
/// `[batch, heads, queries]`; minus infinity for a query that sees no key.
pub(crate) fn forward(attention: &Attention) -> (Vec<f32>, Vec<f32>) {
    let sizes = attention.sizes;
    let (block, width) = (sizes.block(sizes.keys.min(KEYS)), sizes.heads * sizes.value_dim);
    let length = sizes.batch * sizes.heads * sizes.queries;
    if sizes.batch * sizes.queries * width == 0 || sizes.keys == 0 {
        return (vec![0.0; sizes.batch * sizes.queries * width], vec![f32::NEG_INFINITY; length]);
    }
    let tasks = tasks(sizes, block);
    let blocks: Vec<Block> =
        tasks.into_par_iter().map_init(Vec::new, |scores, task| attend(attention, task, scores)).collect();
    let of_head = sizes.queries.div_ceil(block);
    let shape = [sizes.batch, sizes.queries, sizes.heads, sizes.value_dim];
    let output = heads_last(shape, |batch, query, head| {
        let rows = &blocks[(batch * sizes.heads + head) * of_head + query / block].output;
        &rows[query % block * sizes.value_dim..]
    });
    let mut sums = Vec::with_capacity(length);
    blocks.iter().for_each(|block| sums.extend_from_slice(&block.sums));
    (output, sums)
}

/// Rows of one head each, as `[batch, seq, heads, dim]`; a function has the row of a batch's position and head.
fn heads_last<'a>(
    [batch, seq, heads, dim]: [usize; 4],
    row: impl Fn(usize, usize, usize) -> &'a [f32] + Sync,
) -> Vec<f32> {
    let width = (heads * dim).max(1);
    made(batch * seq * heads * dim, (NUMBERS / width).max(1) * width, |first, into| {
        for (place, into) in into.chunks_exact_mut(width).enumerate() {
            let place = first / width + place;
            for (head, into) in into.chunks_exact_mut(dim).enumerate() {
                into.copy_from_slice(&row(place / seq, place % seq, head)[..dim]);
            }
        }
    })
}

/// The same for sequences that lie end to end in the batch's only row, each attending to itself alone. The output is as of one row;
/// the sums stand sequence by sequence.
pub(crate) fn forward_sequences(attention: &Attention, lengths: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let parts: Vec<_> = sequences(attention, lengths).into_par_iter().map(|(one, _)| forward(&one)).collect();
    let width = attention.sizes.heads * attention.sizes.value_dim;
    let mut output = Vec::with_capacity(attention.sizes.queries * width);
    let mut sums = Vec::with_capacity(attention.sizes.queries * attention.sizes.heads);
    for (of_output, of_sums) in parts {
        output.extend(of_output);
        sums.extend(of_sums);
    }
    (output, sums)
}

/// What each sequence that holds anything attends to, and where it stands in the row.
fn sequences<'a>(attention: &Attention<'a>, lengths: &[usize]) -> Vec<(Attention<'a>, Range<usize>)> {
    let mut end = 0;
    let places = lengths.iter().map(|length| {
        end += length;
        end - length..end
    });
    let one = |place: Range<usize>| {
        let at = |view: View<'a, f32>| view.behind(place.start);
        let sizes = Sizes { queries: place.len(), keys: place.len(), ..attention.sizes };
        let (query, key, value) = (at(attention.query), at(attention.key), at(attention.value));
        (Attention { query, key, value, hidden: None, bias: None, sizes }, place)
    };
    places.filter(|place| !place.is_empty()).map(one).collect()
}

/// A block of queries of one head.
#[derive(Clone, Copy)]
struct Task {
    batch: usize,
    head: usize,
    first: usize,
    rows: usize,
}

fn tasks(sizes: Sizes, block: usize) -> Vec<Task> {
    let mut tasks = Vec::new();
    for batch in 0..sizes.batch {
        for head in 0..sizes.heads {
            for first in (0..sizes.queries).step_by(block) {
                tasks.push(Task { batch, head, first, rows: block.min(sizes.queries - first) });
            }
        }
    }
    tasks
}

struct Block {
    output: Vec<f32>,
    sums: Vec<f32>,
}

fn attend(attention: &Attention, task: Task, scores: &mut Vec<f32>) -> Block {
    let sizes = attention.sizes;
    let mut so_far = vec![SoFar { most: f32::NEG_INFINITY, total: 0.0 }; task.rows];
    let mut output = vec![0f32; task.rows * sizes.value_dim];
    let mut existing = Existing::Replace;
    for keys in sizes.key_blocks(task, KEYS) {
        score(attention, task, keys.clone(), scores);
        exponentials(scores, keys.len(), &mut so_far, &mut output);
        let key_head = sizes.key_head(task.head);
        let value = attention.value.head(task.batch, key_head, keys.start, keys.len(), sizes.value_dim);
        let weights = Matrix::new(scores, task.rows, keys.len());
        multiply(&mut output, weights, value, 1.0, existing, Threads::One);
        existing = Existing::Add;
    }
    for (row, SoFar { total, .. }) in output.chunks_exact_mut(sizes.value_dim).zip(&so_far) {
        // Where nothing was seen there is nothing to share out.
        let inverse = if *total == 0.0 { 0.0 } else { 1.0 / total };
        row.iter_mut().for_each(|value| *value *= inverse);
    }
    let logarithm = |SoFar { most, total }| if total == 0.0 { f32::NEG_INFINITY } else { most + f32::ln(total) };
    Block { output, sums: so_far.into_iter().map(logarithm).collect() }
}

/// What is known of a query after some of the keys.
#[derive(Clone, Copy)]
struct SoFar {
    /// The largest score.
    most: f32,
    /// The sum of the exponentials of all, each less the largest.
    total: f32,
}

/// Rows of scores to unnormalised weights, and what came of the keys before to what it is beside a larger score.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn exponentials(scores: &mut [f32], keys: usize, so_far: &mut [SoFar], output: &mut [f32]) {
    let width = output.len() / so_far.len().max(1);
    for ((index, row), so_far) in scores.chunks_exact_mut(keys).enumerate().zip(so_far) {
        let most = max(row);
        if most == f32::NEG_INFINITY && !row.iter().any(|score| score.is_nan()) {
            // Nothing may be seen: weights of zero. A row of NaN is not that, and must stay visible.
            row.fill(0.0);
            continue;
        }
        let before = so_far.most;
        so_far.most = if most > before { most } else { before };
        for score in &mut *row {
            *score = exp(*score - so_far.most);
        }
        if so_far.total != 0.0 && so_far.most != before {
            let factor = exp(before - so_far.most);
            so_far.total *= factor;
            output[index * width..][..width].iter_mut().for_each(|value| *value *= factor);
        }
        so_far.total += sum(row);
    }
}

/// The scaled, biased scores of a block; minus infinity where a key must not be seen.
fn score(attention: &Attention, task: Task, keys: Range<usize>, scores: &mut Vec<f32>) {
    let sizes = attention.sizes;
    scores.resize(task.rows * keys.len(), 0.0);
    let query = attention.query.head(task.batch, task.head, task.first, task.rows, sizes.dim);
    let key = attention.key.head(task.batch, sizes.key_head(task.head), keys.start, keys.len(), sizes.dim);
    multiply(scores, query, key.transposed(), sizes.scale, Existing::Replace, Threads::One);
    if attention.bias.is_none() && attention.hidden.is_none() && sizes.sees_all() {
        return;
    }
    bias_and_hide(attention, task, keys, scores);
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn bias_and_hide(attention: &Attention, task: Task, keys: Range<usize>, scores: &mut [f32]) {
    let sizes = attention.sizes;
    for (row, scores) in scores.chunks_exact_mut(keys.len()).enumerate() {
        let query = task.first + row;
        let index = [task.batch, task.head, query, keys.start];
        if let Some(bias) = &attention.bias {
            add(scores, bias.from(index), bias.strides[3]);
        }
        if let Some(hidden) = &attention.hidden {
            hide(scores, hidden.from(index), hidden.strides[3]);
        }
        let seen = sizes.seen(query);
        let [start, end] = [seen.start, seen.end].map(|key| key.clamp(keys.start, keys.end) - keys.start);
        scores[..start].fill(f32::NEG_INFINITY);
        scores[end..].fill(f32::NEG_INFINITY);
    }
}

#[inline(always)]
fn add(scores: &mut [f32], bias: &[f32], stride: usize) {
    if stride == 1 {
        scores.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
    } else {
        scores.iter_mut().enumerate().for_each(|(key, score)| *score += bias[key * stride]);
    }
}

#[inline(always)]
fn hide(scores: &mut [f32], hidden: &[u8], stride: usize) {
    let hidden_score = |score: f32, hidden: u8| if hidden == 0 { score } else { f32::NEG_INFINITY };
    if stride == 1 {
        scores.iter_mut().zip(hidden).for_each(|(score, hidden)| *score = hidden_score(*score, *hidden));
    } else {
        scores.iter_mut().enumerate().for_each(|(key, score)| *score = hidden_score(*score, hidden[key * stride]));
    }
}

/// Gradients, each `[batch, seq, heads, dim]` in memory, but the bias's `[batch, heads, queries, keys]`.
pub(crate) struct Gradients {
    pub(crate) query: Vec<f32>,
    pub(crate) key: Vec<f32>,
    pub(crate) value: Vec<f32>,
    pub(crate) bias: Option<Vec<f32>>,
}

/// What the way back needs of the way there.
#[derive(Clone, Copy)]
pub(crate) struct Past<'a> {
    /// `[batch, queries, heads, value dim]` in memory.
    pub(crate) output: &'a [f32],
    /// `[batch, heads, queries]`
    pub(crate) sums: &'a [f32],
}

/// Gradients from that of the output, `[batch, heads, queries, value dim]`.
pub(crate) fn backward(attention: &Attention, past: Past, gradient: View<f32>, of_bias: bool) -> Gradients {
    let sizes = attention.sizes;
    let tasks: Vec<(usize, usize)> =
        (0..sizes.batch).flat_map(|batch| (0..sizes.key_heads).map(move |head| (batch, head))).collect();
    let heads: Vec<KeyHead> = tasks
        .into_par_iter()
        .map_init(Scratch::default, |scratch, (batch, key_head)| {
            key_head_backward(attention, past, gradient, of_bias, [batch, key_head], scratch)
        })
        .collect();
    let group = sizes.heads / sizes.key_heads;
    let of = |batch: usize, key_head: usize| &heads[batch * sizes.key_heads + key_head];
    let Sizes { batch, queries, keys, key_heads, dim, value_dim, .. } = sizes;
    Gradients {
        query: heads_last([batch, queries, sizes.heads, dim], |batch, query, head| {
            &of(batch, head / group).query[(head % group * queries + query) * dim..]
        }),
        key: heads_last([batch, keys, key_heads, dim], |batch, key, head| &of(batch, head).key[key * dim..]),
        value: heads_last([batch, keys, key_heads, value_dim], |batch, key, head| {
            &of(batch, head).value[key * value_dim..]
        }),
        bias: of_bias.then(|| heads.iter().flat_map(|head| &head.bias).copied().collect()),
    }
}

/// The same for sequences that lie end to end in the batch's only row.
pub(crate) fn backward_sequences(
    attention: &Attention,
    lengths: &[usize],
    past: Past,
    gradient: View<f32>,
) -> Gradients {
    let Sizes { heads, value_dim, .. } = attention.sizes;
    let one = |(one, place): (Attention, Range<usize>)| {
        let output = &past.output[place.start * heads * value_dim..place.end * heads * value_dim];
        let sums = &past.sums[place.start * heads..place.end * heads];
        backward(&one, Past { output, sums }, gradient.behind(place.start), false)
    };
    let parts: Vec<Gradients> = sequences(attention, lengths).into_par_iter().map(one).collect();
    let mut all = Gradients { query: Vec::new(), key: Vec::new(), value: Vec::new(), bias: None };
    for part in parts {
        all.query.extend(part.query);
        all.key.extend(part.key);
        all.value.extend(part.value);
    }
    all
}

/// Gradients of one key head and of the query heads that share it.
struct KeyHead {
    /// `[heads of the group, queries, dim]`
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Default)]
struct Scratch {
    weights: Vec<f32>,
    slopes: Vec<f32>,
}

fn key_head_backward(
    attention: &Attention,
    past: Past,
    gradient: View<f32>,
    of_bias: bool,
    [batch, key_head]: [usize; 2],
    scratch: &mut Scratch,
) -> KeyHead {
    let sizes = attention.sizes;
    let group = sizes.heads / sizes.key_heads;
    let mut part = KeyHead {
        query: vec![0f32; group * sizes.queries * sizes.dim],
        key: vec![0f32; sizes.keys * sizes.dim],
        value: vec![0f32; sizes.keys * sizes.value_dim],
        bias: Vec::with_capacity(if of_bias { group * sizes.queries * sizes.keys } else { 0 }),
    };
    if sizes.keys == 0 {
        return part;
    }
    // The bias's gradient is that of all keys, a query after another.
    let most = if of_bias { sizes.keys } else { sizes.keys.min(KEYS) };
    let block = sizes.block(most);
    for head in key_head * group..(key_head + 1) * group {
        for first in (0..sizes.queries).step_by(block) {
            let task = Task { batch, head, first, rows: block.min(sizes.queries - first) };
            let Scratch { weights, slopes } = &mut *scratch;
            let outer = gradient.head(batch, head, first, task.rows, sizes.value_dim);
            let query = attention.query.head(batch, head, first, task.rows, sizes.dim);
            let place = ((head - key_head * group) * sizes.queries + first) * sizes.dim;
            let into = &mut part.query[place..place + task.rows * sizes.dim];
            for keys in sizes.key_blocks(task, most) {
                let key = attention.key.head(batch, key_head, keys.start, keys.len(), sizes.dim);
                let value = attention.value.head(batch, key_head, keys.start, keys.len(), sizes.value_dim);
                score(attention, task, keys.clone(), weights);
                slopes.resize(weights.len(), 0.0);
                multiply(slopes, outer, value.transposed(), 1.0, Existing::Replace, Threads::One);
                weigh(sizes, past, gradient, task, weights, slopes);
                let weights = Matrix::new(weights, task.rows, keys.len());
                let slope = Matrix::new(slopes, task.rows, keys.len());
                let of = |dim: usize| keys.start * dim..keys.end * dim;
                let of_value = &mut part.value[of(sizes.value_dim)];
                multiply(of_value, weights.transposed(), outer, 1.0, Existing::Add, Threads::One);
                let of_key = &mut part.key[of(sizes.dim)];
                multiply(of_key, slope.transposed(), query, sizes.scale, Existing::Add, Threads::One);
                multiply(into, slope, key, sizes.scale, Existing::Add, Threads::One);
            }
            if of_bias {
                // What no query of the block sees is of no consequence.
                let seen = sizes.seen_by(task);
                for row in 0..task.rows {
                    part.bias.resize(part.bias.len() + seen.start, 0.0);
                    part.bias.extend_from_slice(&slopes[row * seen.len()..][..seen.len()]);
                    part.bias.resize(part.bias.len() + sizes.keys - seen.end, 0.0);
                }
            }
        }
    }
    part
}

/// Scores to weights `p`, and gradients of weights to those of scores: `p (g - Σ_k p_k g_k)`, where the sum over keys is that
/// over the output's numbers times their gradients.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn weigh(sizes: Sizes, past: Past, gradient: View<f32>, task: Task, weights: &mut [f32], slopes: &mut [f32]) {
    let Task { batch, head, first, .. } = task;
    let keys = weights.len() / task.rows;
    let rows = weights.chunks_exact_mut(keys).zip(slopes.chunks_exact_mut(keys)).enumerate();
    for (row, (weights, slopes)) in rows {
        let query = first + row;
        let total = past.sums[(batch * sizes.heads + head) * sizes.queries + query];
        if total == f32::NEG_INFINITY {
            weights.fill(0.0);
            slopes.fill(0.0);
            continue;
        }
        let place = ((batch * sizes.queries + query) * sizes.heads + head) * sizes.value_dim;
        let output = &past.output[place..place + sizes.value_dim];
        let outer = gradient.from([batch, head, query, 0]);
        let stride = gradient.strides[3];
        let level = if stride == 1 {
            dot(output, &outer[..sizes.value_dim])
        } else {
            output.iter().enumerate().map(|(place, output)| output * outer[place * stride]).sum()
        };
        for (weight, slope) in weights.iter_mut().zip(slopes) {
            *weight = exp(*weight - total);
            *slope = *weight * (*slope - level);
        }
    }
}
