//! Peak memory and time of a contrastive loss at a batch of 4,096 pairs, forward and backward, in chunks or whole.
//!
//! `cargo run --release -p florin-losses --example contrast_memory -- [CHUNK]`; one chunk size a process, because the peak is the
//! process's. A chunk of 4,096 holds all scores at once, as an unchunked loss does.

use std::time::Instant;

use burn::prelude::*;
use burn::tensor::Distribution;
use florin_losses::{ClipLoss, NtXentLoss};

const PAIRS: usize = 4096;
const DIM: usize = 512;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chunk = std::env::args().nth(1).map_or(Ok(256), |word| word.parse())?;
    let device = florin_backend::device("cpu")?.autodiff();
    florin_backend::seed(&device, 1);
    let vectors = || Tensor::<2>::random([PAIRS, DIM], Distribution::Normal(0.0, 1.0), &device).require_grad();
    let (image, text) = (vectors(), vectors());
    let scale = Tensor::<1>::from_floats([2.0], &device);
    println!("{:28} {:>6} MB", "two batches of vectors", peak_megabytes()?);
    let began = Instant::now();
    ClipLoss { chunk }.forward(image.clone(), text.clone(), scale).loss.backward();
    println!(
        "{:28} {:>6} MB {:>6.2} s",
        format!("CLIP, chunk {chunk}"),
        peak_megabytes()?,
        began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    NtXentLoss { chunk, ..NtXentLoss::default() }.forward(image, text).loss.backward();
    println!(
        "{:28} {:>6} MB {:>6.2} s",
        format!("NT-Xent, chunk {chunk}"),
        peak_megabytes()?,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The most memory that this process has held so far.
fn peak_megabytes() -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1024)
}
