//! How long a checkpoint of about 400 MB takes to open, beside reading its bytes and nothing else.
//!
//! `cargo run --release -p florin-models --example load_time [rounds]`: writes a BERT of the usual size with random weights to a
//! temporary folder, then by turns reads the file and opens the folder. Everything is in the page cache: what is measured is what
//! opening adds to reading.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use florin_models::open;
use florin_models::system::Checkpoint;

const CONFIG: &str = r#"{"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 30522, "hidden_size": 768,
    "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 512}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(7), |rounds| rounds.parse())?;
    let folder = tempfile::tempdir()?;
    let device = florin_backend::device("cpu")?;
    fs::write(folder.path().join("config.json"), CONFIG)?;
    Checkpoint::describe(folder.path())?.system(&device)?.save(folder.path())?;
    let file = folder.path().join("model.safetensors");
    let megabytes = fs::metadata(&file)?.len() as f64 / 1e6;
    let (mut reading, mut opening) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        reading.push(seconds(|| read(&file))?);
        opening
            .push(seconds(|| open(folder.path(), &device).map(|system| system.parameter_count()).map_err(Into::into))?);
    }
    let (reading, opening) = (middle(reading), middle(opening));
    println!(
        "{megabytes:.0} MB, middle of {rounds}: read {reading:.3} s, opened {opening:.3} s, {:.2} times",
        opening / reading
    );
    Ok(())
}

fn read(file: &Path) -> Result<usize, Box<dyn Error>> {
    Ok(fs::read(file)?.len())
}

fn seconds(work: impl Fn() -> Result<usize, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    std::hint::black_box(work()?);
    Ok(start.elapsed().as_secs_f64())
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
