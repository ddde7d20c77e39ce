//! Peak memory and time of attention over a long sequence, forward and backward: one layer of BERT-base's size.
//!
//! `cargo run --release -p florin-nn --example attention_memory -- [TOKENS] [--composed]`; one length a process, because the peak is
//! the process's. `--composed` computes in f64, which is not fused and holds the matrix of scores.

use std::time::Instant;

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::{DType, Distribution};
use florin_nn::{Attention, AttentionConfig};

const DIM: usize = 768;
const HEADS: usize = 12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let composed = words.iter().any(|word| word == "--composed");
    let tokens = words.iter().find(|word| !word.starts_with("--")).map_or(Ok(4096), |word| word.parse())?;
    let device = florin_backend::device("cpu")?.autodiff();
    florin_backend::seed(&device, 1);
    let mut attention: Attention = AttentionConfig::new(DIM, HEADS).init(&device);
    let mut x = Tensor::<3>::random([1, tokens, DIM], Distribution::Normal(0.0, 1.0), &device);
    if composed {
        attention = attention.map(&mut Wide);
        x = x.cast(DType::F64).detach();
    }
    let (before, began) = (peak_megabytes()?, Instant::now());
    attention.forward(x.clone(), x, None, None).square().mean().backward();
    let (peak, seconds) = (peak_megabytes()?, began.elapsed().as_secs_f64());
    println!("{tokens:>6} tokens: {:>6} MB beside the {before} MB before, {seconds:.2} s", peak - before);
    Ok(())
}

/// Parameters in f64.
struct Wide;

impl burn::module::ModuleMapper for Wide {
    fn map_float<const D: usize>(&mut self, param: burn::module::Param<Tensor<D>>) -> burn::module::Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(DType::F64).detach().require_grad())
    }
}

/// The most memory that this process has held so far.
fn peak_megabytes() -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1024)
}
