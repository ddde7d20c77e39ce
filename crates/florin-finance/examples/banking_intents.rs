//! What a linear head on a frozen sentence encoder makes of Banking77: accuracy on five folds.
//!
//! `cargo run --release -p florin-finance --example banking_intents -- MODEL [f32|bf16|int8 [OUT.npy]]`, with `$FLORIN_DATA` naming the folder of data sets.
//! The weight of the data against the penalty is chosen from 1, 10 and 100 within each fold's training rows; OUT.npy keeps the
//! vectors for `tests/peers/banking_intents.py`, which does the same with scikit-learn.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use burn::prelude::*;
use florin_data::table::Table;
use florin_data::vectors::Vectors;
use florin_models::{TextEmbedder, WeightFormat};
use florin_train::LinearProbeConfig;

const CLASSES: usize = 77;
const FOLDS: usize = 5;
const DATA_WEIGHTS: [f64; 3] = [1.0, 10.0, 100.0];

/// Vectors, labels and folds.
struct Rows {
    vectors: Vectors,
    labels: Vec<usize>,
    folds: Vec<usize>,
    device: Device,
}

impl Rows {
    /// Features and labels of the rows whose fold satisfies the test.
    fn of(&self, test: &dyn Fn(usize) -> bool) -> (Tensor<2>, Vec<usize>) {
        let rows: Vec<usize> = (0..self.labels.len()).filter(|&row| test(self.folds[row])).collect();
        let values: Vec<f32> = rows.iter().flat_map(|&row| self.vectors.row(row).iter().copied()).collect();
        let features = Tensor::from_data(TensorData::new(values, [rows.len(), self.vectors.dim]), &self.device);
        (features, rows.iter().map(|&row| self.labels[row]).collect())
    }

    /// Accuracy on some folds of a head fitted to others.
    fn accuracy(&self, data_weight: f64, fitted: &dyn Fn(usize) -> bool, scored: &dyn Fn(usize) -> bool) -> f64 {
        let (features, labels) = self.of(fitted);
        let config = LinearProbeConfig { data_weight, ..Default::default() };
        let probe = config.fit(features, &labels, CLASSES);
        let (features, labels) = self.of(scored);
        let right = probe.classes(features).iter().zip(&labels).filter(|(found, label)| found == label).count();
        right as f64 / labels.len() as f64
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().context("expected MODEL [f32|bf16|int8 [OUT.npy]]")?;
    let precision = arguments.next().unwrap_or_else(|| "f32".to_owned());
    let known = WeightFormat::ALL.into_iter().find(|known| known.name() == precision);
    let format = known.with_context(|| format!("expected f32, bf16 or int8, found {precision}"))?;
    let out: Option<PathBuf> = arguments.next().map(PathBuf::from);
    let data = std::env::var_os("FLORIN_DATA").context("$FLORIN_DATA must name the folder of data sets")?;
    let table = Table::read(Path::new(&data).join("banking77/train.parquet"))?;
    let texts = table.required_text("text")?;
    let whole = |name: &str| -> anyhow::Result<Vec<usize>> {
        Ok(table.required_numbers(name)?.into_iter().map(|number| number as usize).collect())
    };
    let device = florin_backend::device("cpu")?;
    let embedder = TextEmbedder::open(Path::new(&model), &device, Some(format))?;
    let began = Instant::now();
    let given: Vec<&str> = texts.iter().map(String::as_str).collect();
    let found = embedder.embed(&given, 4096, &mut |_| {})?;
    eprintln!("{} texts embedded in {:.1} s", texts.len(), began.elapsed().as_secs_f64());
    let dim = found[0].len();
    let vectors = Vectors { names: texts, dim, values: found.concat() };
    if let Some(out) = &out {
        vectors.write(out)?;
    }
    let rows = Rows { vectors, labels: whole("intent_id")?, folds: whole("fold")?, device };
    let mut sum = 0.0;
    println!("{:4}  {:>6}  {:>8}", "FOLD", "C", "ACCURACY");
    for held_out in 0..FOLDS {
        let inner = (held_out + 1) % FOLDS;
        let score =
            |weight: f64| rows.accuracy(weight, &|fold| fold != held_out && fold != inner, &|fold| fold == inner);
        let scores = DATA_WEIGHTS.map(score);
        let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0);
        let accuracy = rows.accuracy(DATA_WEIGHTS[best], &|fold| fold != held_out, &|fold| fold == held_out);
        println!("{held_out:4}  {:>6}  {accuracy:>8.4}", DATA_WEIGHTS[best]);
        sum += accuracy;
    }
    println!("mean          {:>8.4}", sum / FOLDS as f64);
    Ok(())
}
