//! The cases by name: candle's model of each, with the weights of a checkpoint, and what one call of it takes.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, bail};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{VarBuilder, layer_norm, linear_no_bias};
use candle_transformers::models::clip::vision_model::{ClipVisionConfig, ClipVisionTransformer};
use candle_transformers::models::{bert, clip, vit};
use rayon::prelude::*;

use crate::pictures;

const DEVICE: Device = Device::Cpu;
/// Pictures of a batch, as `florin bench` has them.
const PICTURES_AT_ONCE: usize = 16;

/// A model with an input that is ready.
pub(crate) struct Opened {
    /// Things of one call.
    pub(crate) items: usize,
    pub(crate) call: Box<dyn FnMut() -> anyhow::Result<Tensor>>,
}

/// Why a case is not timed here, if it is not.
pub(crate) fn skipped(case: &str) -> Option<&'static str> {
    match case {
        // A test below shows it.
        "train-bert-base-8x128" | "train-minilm-32x32" | "train-clip-b32-8" => {
            Some("candle's layer norm passes no gradient on, so that its models cannot learn")
        }
        "banking-queries" => Some("candle has models and leaves cutting and batching of texts to its caller"),
        _ => None,
    }
}

/// The model of a case.
pub(crate) fn open(folder: &Path, case: &str) -> anyhow::Result<Opened> {
    let path = folder.join(case);
    match case {
        "bert-base-8x128" => texts(&path, 8, 128),
        "bert-base-1x128" => texts(&path, 1, 128),
        "minilm-32x32" => texts(&path, 32, 32),
        "vit-b16-4" => vision(&path, 4),
        "clip-b32-images" => images(&path),
        other => bail!("no case is called {other}"),
    }
}

/// The last states of BERT.
fn texts(path: &Path, rows: usize, seq: usize) -> anyhow::Result<Opened> {
    let model = bert::BertModel::load(weights(path)?, &config(path)?)?;
    let words = Tensor::from_vec(ids(rows * seq), (rows, seq), &DEVICE)?;
    let kinds = words.zeros_like()?;
    Ok(Opened { items: rows, call: Box::new(move || Ok(model.forward(&words, &kinds, None)?)) })
}

/// The last states of ViT. `vit::Model` has a classifier on the first of them alone, so that its parts are put together here as it has them.
fn vision(path: &Path, rows: usize) -> anyhow::Result<Opened> {
    let (config, weights): (vit::Config, _) = (config(path)?, weights(path)?);
    let embeddings = vit::Embeddings::new(&config, false, weights.pp("embeddings"))?;
    let encoder = vit::Encoder::new(&config, weights.pp("encoder"))?;
    let norm = layer_norm(config.hidden_size, config.layer_norm_eps, weights.pp("layernorm"))?;
    let shape = (rows, config.num_channels, config.image_size, config.image_size);
    let input = Tensor::from_vec(pixels(rows * config.num_channels * config.image_size.pow(2)), shape, &DEVICE)?;
    let call = move || Ok(norm.forward(&encoder.forward(&embeddings.forward(&input, None, false)?)?)?);
    Ok(Opened { items: rows, call: Box::new(call) })
}

/// CLIP's vectors of picture files, decoding and resizing included.
fn images(path: &Path) -> anyhow::Result<Opened> {
    let (config, weights) = (ClipVisionConfig::vit_base_patch32(), weights(path)?);
    let model = ClipVisionTransformer::new(weights.pp("vision_model"), &config)?;
    let projection = linear_no_bias(config.embed_dim, config.projection_dim, weights.pp("visual_projection"))?;
    let (pictures, side) = (path.join("pictures"), config.image_size);
    let entries = fs::read_dir(&pictures).with_context(|| pictures.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    let items = files.len();
    let call = move || {
        let batches = files.chunks(PICTURES_AT_ONCE).map(|batch| {
            let values =
                batch.par_iter().map(|file| pictures::pixels(file, side)).collect::<anyhow::Result<Vec<_>>>()?;
            let input = Tensor::from_vec(values.concat(), (batch.len(), config.num_channels, side, side), &DEVICE)?;
            Ok(clip::div_l2_norm(&projection.forward(&model.forward(&input)?)?)?)
        });
        Ok(Tensor::cat(&batches.collect::<anyhow::Result<Vec<_>>>()?, 0)?)
    };
    Ok(Opened { items, call: Box::new(call) })
}

/// The tensors of a checkpoint.
fn weights(path: &Path) -> anyhow::Result<VarBuilder<'static>> {
    let file = path.join("model.safetensors");
    let tensors = candle_core::safetensors::load(&file, &DEVICE).with_context(|| file.display().to_string())?;
    Ok(VarBuilder::from_tensors(tensors, DType::F32, &DEVICE))
}

/// What `config.json` says.
fn config<C: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<C> {
    let path = path.join("config.json");
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    serde_json::from_reader(file).with_context(|| path.display().to_string())
}

/// As `florin bench` makes them.
fn ids(count: usize) -> Vec<u32> {
    (0..count as u32).map(|place| 1_000 + place * 7_919 % 28_000).collect()
}

/// As `florin bench` makes them.
fn pixels(count: usize) -> Vec<f32> {
    (0..count).map(|place| ((place * 7_919 % 1_000) as f64 / 500.0 - 1.0) as f32).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use candle_nn::LayerNorm;

    use super::*;

    #[test]
    fn inputs_are_the_same_as_florins() {
        assert_eq!(ids(5), [1_000, 8_919, 16_838, 24_757, 4_676]);
        assert_eq!(pixels(3), [-1.0, 0.838, 0.676]);
    }

    /// Where this fails candle has learnt it, and the cases of training can be written.
    #[test]
    fn no_gradient_passes_a_layer_norm() {
        let input = Var::new(&[[1f32, 2.0, 4.0]], &DEVICE).unwrap();
        let norm = LayerNorm::new(
            Tensor::new(&[1f32, 2.0, 3.0], &DEVICE).unwrap(),
            Tensor::new(&[0f32; 3], &DEVICE).unwrap(),
            1e-5,
        );
        let loss = norm.forward(&input).unwrap().sqr().unwrap().sum_all().unwrap();
        assert!(loss.backward().unwrap().get(&input).is_none());
    }
}
