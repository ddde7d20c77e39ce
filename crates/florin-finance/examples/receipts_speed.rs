//! Times the document model at its real size, as `tests/peers/receipts_model.py receipts_frozen_text` times it in PyTorch.
//!
//! `cargo run --release -p florin-finance --example receipts_speed` prints one JSON object: a training step of eight documents
//! of 130 words above the vectors of a frozen text encoder, and one document's scores, its lines encoded anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::Distribution;
use florin_encoders::BertConfig;
use florin_losses::{SpanLoss, SpanScores};
use florin_models::document::{
    DocumentBatch, DocumentConfig, DocumentFeatures, DocumentModel, PRINT_FEATURES, PictureFeatures, TextCache,
    TextContext, WordText,
};
use florin_train::{AdamWOptimiser, AdamWSettings, Gradients, ParameterGroup};
use serde_json::json;

const WORDS: usize = 130;
const BATCH: usize = 8;
const SECONDS: f64 = 15.0;
/// Ids of the tokens before and after a text, and of padding.
const SPECIAL: [u32; 3] = [101, 102, 0];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::var("FLORIN_DEVICE").unwrap_or_else(|_| "cpu".into());
    let device = florin_backend::device(&name)?;
    florin_backend::seed(&device, 7);
    let config = config();
    let learning = device.clone().autodiff();
    let mut model = config.init(&learning);
    let mut optimiser = AdamWOptimiser::new(&AdamWSettings {
        groups: vec![ParameterGroup { prefix: String::new(), learning_rate: 1e-4, weight_decay: 0.05 }],
        beta_1: 0.9,
        beta_2: 0.98,
        epsilon: 1e-8,
    });
    let (batch, gold) = batch(&config, BATCH, &learning);
    let steps = timed(|| {
        let loss = loss(&model, &batch, &gold, config.longest_span);
        let (gradients, _) = Gradients::of(&model, loss.backward()).clip(1.0);
        model = optimiser.step(model.clone(), &gradients, 1.0);
        let _ = device.sync();
    });
    let reader = model.valid();
    let document = document(&config);
    let reads = timed(|| {
        let mut cache = TextCache::new();
        cache.encode(&[&document], &reader.text, &config, SPECIAL, &device);
        let batch = DocumentBatch::new(&[&document], &config, SPECIAL, &cache, &device);
        let _ = reader.forward(&batch).none.into_data();
    });
    let at = |times: &[f64], share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{}",
        json!({"receipts_frozen_text": {
            "side": "florin", "device": name, "batch": BATCH, "words": WORDS,
            "training_step_seconds": at(&steps, 0.5),
            "training_receipts_per_second": BATCH as f64 / at(&steps, 0.5),
            "prediction_p50_seconds": at(&reads, 0.5),
            "prediction_p99_seconds": at(&reads, 0.99),
            "peak_memory_bytes": peak_memory(),
        }})
    );
    Ok(())
}

/// MiniLM's sizes below the usual document model.
fn config() -> DocumentConfig {
    let text = BertConfig {
        vocab_size: 30_522,
        hidden_size: 384,
        num_hidden_layers: 6,
        num_attention_heads: 12,
        intermediate_size: 1_536,
        max_position_embeddings: 512,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        hidden_act: "gelu".to_owned(),
    };
    let fields = ["company", "date", "address", "total"].map(str::to_owned).to_vec();
    let mut config = DocumentConfig::new(fields, text);
    config.text_context = TextContext::Line;
    config.text_states = vec![0, 2, 4, 6];
    config
}

/// A made-up document, no two lines alike: what the numbers are does not change the time.
fn document(config: &DocumentConfig) -> DocumentFeatures {
    let patches = config.image.as_ref().map_or(0, |image| image.patches());
    let pixels = config.image.as_ref().map_or(0, |image| image.height * image.width);
    DocumentFeatures {
        pieces: (0..WORDS).map(|word| Arc::from([1_000 + word as u32, 2_000 + word as u32])).collect(),
        line_of: (0..WORDS).map(|word| word / 3).collect(),
        boxes: (0..WORDS).map(|word| [(word % 100) as u16; 6]).collect(),
        ordinals: (0..WORDS).map(|word| [(word % 16) as u16; 4]).collect(),
        print: vec![[0.5; PRINT_FEATURES]; WORDS],
        centres: (0..WORDS).map(|word| [(word % 3) as f32 * 4.0, (word / 3) as f32]).collect(),
        widths: vec![3.0; WORDS],
        heights: vec![1.0; WORDS],
        picture: Some(PictureFeatures {
            ink: Arc::new((0..pixels).map(|pixel| (pixel % 251) as u8).collect()),
            pooling: (0..WORDS).map(|word| vec![(word % patches.max(1), 1.0)]).collect(),
        }),
    }
}

/// Several such documents above the vectors of a text encoder, and what is right of them.
fn batch(config: &DocumentConfig, count: usize, device: &Device) -> (DocumentBatch, Tensor<4, Bool>) {
    let features = document(config);
    let documents = vec![&features; count];
    let mut batch = DocumentBatch::new(&documents, config, SPECIAL, &TextCache::new(), device);
    let shape = [count, WORDS, config.text_width()];
    batch.text = WordText::Vectors(Tensor::random(shape, Distribution::Normal(0.0, 1.0), device));
    let marks: Vec<bool> =
        (0..count * 4 * WORDS * WORDS).map(|place| place % (WORDS * WORDS) == 3 * WORDS + 5).collect();
    let gold = Tensor::from_data(TensorData::new(marks, [count, 4, WORDS, WORDS]), device);
    (batch, gold)
}

fn loss(model: &DocumentModel, batch: &DocumentBatch, gold: &Tensor<4, Bool>, longest: usize) -> Tensor<1> {
    let output = model.forward(batch);
    let weight = Tensor::ones(output.none.dims(), &output.none.device());
    let scores = SpanScores { start: output.start, inside: output.inside, end: output.end, none: output.none };
    SpanLoss { longest }.forward(scores, &batch.lengths, gold.clone(), weight).loss
}

/// Seconds of each call, sorted, after two that do not count.
fn timed(mut call: impl FnMut()) -> Vec<f64> {
    call();
    call();
    let began = Instant::now();
    let mut times = Vec::new();
    while began.elapsed() < Duration::from_secs_f64(SECONDS) || times.len() < 3 {
        let start = Instant::now();
        call();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times
}

/// The largest resident size so far, where the system tells it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
