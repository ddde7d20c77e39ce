//! Classes by name alone: a dual encoder compares a picture with a sentence for each label.
//!
//! A label's vector is the mean over templates of its sentences' vectors, each of length one; CLIP makes the similarities shares of one,
//! SigLIP a probability each.
//!
//! Paper: Radford et al. 2021 (CLIP, section 3.1), <https://arxiv.org/abs/2103.00020>
//! Difference: none.

use std::path::Path;
use std::rc::Rc;

use burn::prelude::Device;
use florin_nn::WeightFormat;

use crate::ModelError;
use crate::image_embedder::ImageEmbedder;
use crate::named_tensors::refused;
use crate::system::Checkpoint;
use crate::text_embedder::TextEmbedder;

/// Where a template names the label.
pub const PLACE: &str = "{}";

/// A dual encoder with the vectors of its labels.
pub struct ZeroShot {
    images: ImageEmbedder,
    labels: Vec<Vec<f32>>,
    scale: f32,
    /// SigLIP's, whose labels do not exclude each other.
    bias: Option<f32>,
}

impl ZeroShot {
    /// Opens a dual encoder and reads the labels; every template holds `{}`.
    pub fn open(
        folder: &Path,
        labels: &[String],
        templates: &[String],
        device: &Device,
        format: Option<WeightFormat>,
    ) -> Result<Self, ModelError> {
        if labels.is_empty() {
            return Err(refused("labels", "at least one label", "none"));
        }
        if templates.is_empty() {
            return Err(refused("templates", "at least one sentence with `{}` for the label", "none"));
        }
        if let Some(wrong) = templates.iter().find(|template| !template.contains(PLACE)) {
            return Err(refused("templates", "`{}` for the label", wrong));
        }
        let checkpoint = Checkpoint::open(folder)?.packed(format);
        let number = |name: &str| match checkpoint.weights().has(name) {
            true => checkpoint.weights().values(name).map(|values| values.first().copied()),
            false => Ok(None),
        };
        let Some(scale) = number("logit_scale")? else {
            return Err(refused("model", "a dual encoder, with `logit_scale`", "a model without"));
        };
        let bias = number("logit_bias")?;
        let system = Rc::from(checkpoint.system(device)?);
        let images = ImageEmbedder::of(Rc::clone(&system), folder, device)?;
        let texts = TextEmbedder::of(system, folder, device)?;
        let sentences: Vec<String> = labels
            .iter()
            .flat_map(|label| templates.iter().map(move |template| template.replace(PLACE, label)))
            .collect();
        let given: Vec<&str> = sentences.iter().map(String::as_str).collect();
        let vectors = texts.embed(&given, 4096, &mut |_| {})?;
        let labels = vectors.chunks(templates.len()).map(mean_direction).collect();
        Ok(Self { images, labels, scale: scale.exp(), bias })
    }

    /// The probability of each label for each picture.
    pub fn classify(&self, pictures: &[&Path]) -> Result<Vec<Vec<f32>>, ModelError> {
        let vectors = self.images.embed(pictures)?;
        Ok(vectors.iter().map(|vector| self.probabilities(vector)).collect())
    }

    fn probabilities(&self, picture: &[f32]) -> Vec<f32> {
        let cosine = |label: &Vec<f32>| label.iter().zip(picture).map(|(a, b)| a * b).sum::<f32>();
        let logits = self.labels.iter().map(|label| cosine(label) * self.scale);
        match self.bias {
            Some(bias) => logits.map(|logit| 1.0 / (1.0 + (-(logit + bias)).exp())).collect(),
            None => softmax(&logits.collect::<Vec<_>>()),
        }
    }
}

/// The mean of vectors of length one, made one of length one itself.
fn mean_direction(vectors: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0f32; vectors[0].len()];
    for vector in vectors {
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
    }
    let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    sum.iter().map(|value| value / length).collect()
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_to_one_and_directions_have_length_one() {
        let shares = softmax(&[1000.0, 1000.0, 0.0]);
        assert_eq!(shares, [0.5, 0.5, 0.0]);
        let direction = mean_direction(&[vec![1.0, 0.0], vec![0.0, 1.0]]);
        assert!((direction[0] - 0.5f32.sqrt()).abs() < 1e-6 && direction[0] == direction[1]);
    }
}
