//! How near each kernel of the `cpu` device comes to what the machine can do, both measured in one run.
//!
//! `cargo run --release -p florin-backend --example roofline`; RAYON_NUM_THREADS=1 for one thread. The machine's peaks are chains of
//! fused multiply-adds in registers, and numbers scaled in place that no cache holds. A kernel is held to the peak that bounds it:
//! products by arithmetic in f32 (int8 may pass it), the rest by the bytes that must be read and written once.

use std::hint::black_box;
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::Distribution;
use florin_backend::{
    Activation, AdamWStep, AttentionOptions, PackedWeight, WeightFormat, activation, adamw, add_norm, attention,
    cross_entropy, embedding, layer_norm, linear, packed_linear, product, softmax, sum_of_squares,
};
use multiversion::multiversion;
use rayon::prelude::*;

/// Seconds for each line.
const SECONDS: f64 = 0.5;
/// Tokens of a batch, width and inner width of BERT-base.
const TOKENS: usize = 1024;
const DIM: usize = 768;
const INNER: usize = 3072;
/// Entries of its vocabulary: a table that no cache holds.
const WORDS: usize = 30_522;
/// Rows and columns that no cache holds twice, and glibc keeps: from 32 MiB on memory is new at each call.
const LARGE: [usize; 2] = [7_168, 1_024];
/// Multiply-adds of a chain.
const STEPS: usize = 1 << 20;

struct Table {
    /// Operations a second, two a multiply-add.
    arithmetic: f64,
    /// Bytes a second, read and written.
    memory: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = florin_backend::device("cpu")?;
    let threads = rayon::current_num_threads();
    let table = Table { arithmetic: arithmetic_peak(threads), memory: memory_peak() };
    println!("{threads} threads: {:.0} GFLOP/s, {:.1} GB/s\n", table.arithmetic / 1e9, table.memory / 1e9);
    println!("| {:34} | {:>10} | {:>14} | share |", "kernel", "time, ms", "reached");
    println!("|{:-<36}|{:->11}:|{:->15}:|------:|", "", "", "");
    let normal = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);

    let (x, weight, words) = (normal([TOKENS, DIM]), normal([DIM, INNER]), normal([DIM, WORDS]));
    let work = [TOKENS, DIM, INNER].map(|size| size as f64).iter().product::<f64>() * 2.0;
    table.compute("product, 1024 x 768 x 3072", work, || product(x.clone(), weight.clone()));
    let learning = x.device().autodiff();
    let own = |x: &Tensor<2>| Tensor::<2>::from_data(x.to_data(), &learning).require_grad();
    let (rows, learnt) = (own(&x), own(&weight));
    table.compute("linear layer with gradients, the same", 3.0 * work, || {
        linear(rows.clone(), learnt.clone(), None).sum().backward()
    });
    for format in WeightFormat::ALL {
        let packed = PackedWeight::pack(weight.clone(), format).ok_or("this weight is packed")?;
        let linear = |x: &Tensor<2>| packed_linear(x.clone(), &packed, None, Activation::Identity);
        table.compute(&format!("packed {}, the same", format.name()), work, || linear(&x));
        let (one, wide) = (normal([1, DIM]), PackedWeight::pack(words.clone(), format).ok_or("so is this")?);
        let name = format!("packed {}, 1 x 768 x 30522", format.name());
        let row = || packed_linear(one.clone(), &wide, None, Activation::Identity);
        table.moved(&name, wide.size() as f64, row);
    }
    for [batch, seq] in [[8usize, 128], [1, 4096]] {
        let heads = || Tensor::<4>::random([batch, 12, seq, 64], Distribution::Normal(0.0, 1.0), &device);
        let (query, key, value) = (heads(), heads(), heads());
        let work = 4.0 * (batch * 12 * seq * seq * 64) as f64;
        let options = AttentionOptions::default();
        table.compute(&format!("attention, {batch} x 12 x {seq} x 64"), work, || {
            attention(query.clone(), key.clone(), value.clone(), None, None, options)
        });
    }

    let [rows, columns] = LARGE;
    let numbers = (rows * columns) as f64;
    let (x, other, scale) = (normal(LARGE), normal(LARGE), Tensor::<1>::ones([columns], &device));
    let norm = || layer_norm(x.clone(), scale.clone(), Some(scale.clone()), 1e-5);
    table.moved("layer norm, 7168 x 1024", 8.0 * numbers, norm);
    let sum = || add_norm(x.clone(), other.clone(), scale.clone(), Some(scale.clone()), 1e-5);
    table.moved("sum and norm", 12.0 * numbers, sum);
    table.moved("softmax", 8.0 * numbers, || softmax(x.clone(), 1));
    table.moved("GELU", 8.0 * numbers, || activation(x.clone(), Activation::Gelu));
    let targets = Tensor::<1, Int>::arange(0..rows as i64, &device).remainder_scalar(columns as i64);
    table.moved("cross-entropy", 4.0 * numbers, || cross_entropy(x.clone(), targets.clone(), None));
    let words = normal([WORDS, DIM]);
    let ids = (Tensor::<1, Int>::arange(0..8_192, &device) * 7_919).remainder_scalar(WORDS as i64).reshape([64, 128]);
    table.moved("embedding, 8192 of 30522 x 768", 8.0 * (8_192 * DIM) as f64, || embedding(words.clone(), ids.clone()));
    let flat = || x.clone().reshape([rows * columns]);
    table.moved("sum of squares", 4.0 * numbers, || sum_of_squares(flat()));
    let gradient = flat();
    let step = AdamWStep { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, rate: 1e-3, decay: 0.01, scale: 1.0, time: 3 };
    let moment = || Tensor::<1>::zeros([rows * columns], &device);
    // What it replaces is its own, as in training.
    let mut state = Some((other.reshape([rows * columns]), [moment(), moment()]));
    table.moved("AdamW", 28.0 * numbers, || {
        state = state.take().map(|(weights, moments)| adamw(weights, gradient.clone(), moments, step));
    });
    Ok(())
}

impl Table {
    fn compute<T>(&self, name: &str, operations: f64, run: impl FnMut() -> T) {
        let seconds = median(run);
        let reached = operations / seconds;
        Self::line(name, seconds, format!("{:.0} GFLOP/s", reached / 1e9), reached / self.arithmetic);
    }

    fn moved<T>(&self, name: &str, bytes: f64, run: impl FnMut() -> T) {
        let seconds = median(run);
        let reached = bytes / seconds;
        Self::line(name, seconds, format!("{:.1} GB/s", reached / 1e9), reached / self.memory);
    }

    fn line(name: &str, seconds: f64, reached: String, share: f64) {
        println!("| {name:34} | {:>10.3} | {reached:>14} | {:>4.0} % |", 1e3 * seconds, 100.0 * share);
    }
}

/// Seconds of a call: the median over a while, after two that do not count.
fn median<T>(mut run: impl FnMut() -> T) -> f64 {
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < 7 || began.elapsed().as_secs_f64() < SECONDS {
        let began = Instant::now();
        black_box(run());
        times.push(began.elapsed().as_secs_f64());
    }
    let mut times = times.split_off(2);
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Every thread multiplies and adds in registers.
fn arithmetic_peak(threads: usize) -> f64 {
    let seconds = median(|| (0..threads).into_par_iter().map(|_| chains(black_box(0.999))).sum::<f32>());
    (threads * STEPS * 12 * 8 * 2) as f64 / seconds
}

/// Twelve chains of as many numbers as a register of AVX2 holds: enough to keep two units busy.
#[multiversion(targets("x86_64+avx2+fma"))]
fn chains(factor: f32) -> f32 {
    let mut sums = [[1f32; 8]; 12];
    for _ in 0..STEPS {
        for sum in &mut sums {
            for lane in sum {
                *lane = lane.mul_add(factor, 0.001);
            }
        }
    }
    sums.iter().flatten().sum()
}

/// Bytes that are read and written in a second, in place: what is written elsewhere must be fetched first, which nobody asked for.
fn memory_peak() -> f64 {
    let mut numbers = vec![1f32; 64 << 20];
    let seconds = median(|| {
        numbers.par_chunks_mut(1 << 18).for_each(|piece| piece.iter_mut().for_each(|number| *number *= 0.999_999));
    });
    8.0 * numbers.len() as f64 / seconds
}
