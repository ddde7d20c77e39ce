//! What stands on an encoder of pictures: how a picture becomes one vector, and what is read from that or from its patches.
//!
//! ViT and DeiT read the class token, DINOv2 that and the mean of the patches, BEiT their normed mean, or of every hidden patch a code.

use burn::prelude::*;
use florin_encoders::activation;
use florin_nn::{Activation, LayerNorm, Linear};
use serde::Deserialize;

use crate::ModelError;
use crate::loss::class_loss;
use crate::named_tensors::{Inputs, refused};
use crate::names::{Rule, rule};
use crate::system::Checkpoint;

/// What transformers calls the parts beyond the encoder.
pub(crate) const HEAD_NAMES: [Rule; 4] = [
    rule("pooler", "~pooler"),
    rule("head", "classifier"),
    rule("head.class", "cls_classifier"),
    rule("head.distillation", "distillation_classifier"),
];

/// The input that says which patches are hidden.
pub(crate) const MASKED: &str = "bool_masked_pos";

/// How a picture becomes one vector.
#[derive(Module, Debug)]
pub struct ImagePooler {
    /// `[dim, pooled dim]`, with an activation behind it.
    pub dense: Option<Linear>,
    /// Norm of what is read.
    pub norm: Option<LayerNorm>,
    #[module(skip)]
    pub(crate) reads: Reads,
    #[module(skip)]
    pub(crate) activation: Activation,
}

/// What a picture's vector is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The class token.
    ClassToken,
    /// The mean of the patches.
    Patches,
    /// The class token and behind it the mean of the patches.
    Both,
}

/// A head.
#[derive(Module, Debug)]
pub enum ImageHead {
    /// Scores of classes from the picture's vector, which is the class token where there is no pooler.
    Classes(Linear),
    /// Scores of classes from the class token and from that of the teacher, which are averaged.
    Distilled(DistilledHead),
    /// Scores of codes for every patch.
    Codes(CodesHead),
}

/// What a patch that was hidden looked like, as the code of a tokenizer of pictures.
#[derive(Module, Debug)]
pub struct CodesHead {
    /// Norm of the patches' vectors.
    pub norm: LayerNorm,
    /// `[dim, codes]`
    pub dense: Linear,
}

/// Two classifiers of one picture.
#[derive(Module, Debug)]
pub struct DistilledHead {
    /// Reads the class token, `[dim, classes]`.
    pub class: Linear,
    /// Reads the distillation token, `[dim, classes]`.
    pub distillation: Linear,
}

/// What a `config.json` says of the pooler.
#[derive(Deserialize)]
struct PoolerConfig {
    pooler_output_size: Option<usize>,
    pooler_act: Option<String>,
}

impl ImagePooler {
    /// One that changes nothing of what it reads.
    pub(crate) fn of(reads: Reads) -> Self {
        Self { dense: None, norm: None, reads, activation: Activation::Identity }
    }

    /// # Shapes
    ///
    /// - last: `[batch, tokens, dim]`, of which the last `patches` are patches
    /// - output: `[batch, pooled dim]`
    pub(crate) fn forward(&self, last: &Tensor<3>, patches: usize) -> Tensor<2> {
        let mean = || behind(last, patches).mean_dim(1).squeeze_dim::<2>(1);
        let read = match self.reads {
            Reads::ClassToken => at(last, 0),
            Reads::Patches => mean(),
            Reads::Both => Tensor::cat(vec![at(last, 0), mean()], 1),
        };
        let normed = match &self.norm {
            Some(norm) => norm.forward(read),
            None => read,
        };
        match &self.dense {
            Some(dense) => dense.forward_activated(normed, self.activation),
            None => normed,
        }
    }
}

impl CodesHead {
    /// # Shapes
    ///
    /// - patches: `[batch, patches, dim]`
    /// - output: `[batch, patches, codes]`
    pub fn forward(&self, patches: Tensor<3>) -> Tensor<3> {
        self.dense.forward(self.norm.forward(patches))
    }
}

/// The mean over hidden patches of how far the scores are from the input `labels`, which has one code for each of them; none without it.
///
/// # Shapes
///
/// - logits: `[batch, patches, codes]`
/// - output: `[1]`
pub(crate) fn code_loss(
    inputs: &Inputs,
    logits: &Tensor<3>,
    masked: Option<&[bool]>,
) -> Result<Option<Tensor<1>>, ModelError> {
    if !inputs.has("labels") {
        return Ok(None);
    }
    let marks = masked.unwrap_or_default().iter().enumerate();
    let places: Vec<i32> = marks.filter(|(_, masked)| **masked).map(|(place, _)| place as i32).collect();
    if places.is_empty() {
        return Err(refused(MASKED, "marks that hide the patches of which labels are given", "nothing hidden"));
    }
    let [batch, patches, codes] = logits.dims();
    let count = places.len();
    let places = Tensor::from_data(TensorData::new(places, [count]), &logits.device());
    let hidden = logits.clone().reshape([batch * patches, codes]).select(0, places);
    class_loss::<1>(inputs, "labels", hidden)
}

/// The pooler of a model without a head, if the file has one.
pub(crate) fn pooler(
    checkpoint: &Checkpoint,
    family: &'static str,
    dim: usize,
    device: &Device,
) -> Result<Option<ImagePooler>, ModelError> {
    let weights = checkpoint.weights();
    if !weights.has("pooler.dense.weight") && !weights.has(&format!("{family}.pooler.dense.weight")) {
        return Ok(None);
    }
    let config: PoolerConfig = checkpoint.config()?;
    let size = config.pooler_output_size.filter(|&size| size > 0).unwrap_or(dim);
    let activation = activation(family, config.pooler_act.as_deref().unwrap_or("tanh"))?;
    let dense = Some(Linear::new(dim, size, device));
    Ok(Some(ImagePooler { dense, activation, ..ImagePooler::of(Reads::ClassToken) }))
}

/// A pooler under a head that does not read it.
pub(crate) fn is_pooler(name: &str) -> bool {
    name.contains("pooler.")
}

/// The head of a model that is asked for without one.
pub(crate) fn is_head(name: &str) -> bool {
    ["classifier.", "cls_classifier.", "distillation_classifier."].iter().any(|head| name.starts_with(head))
}

/// The vectors at one place.
///
/// # Shapes
///
/// - x: `[batch, tokens, dim]`
/// - output: `[batch, dim]`
pub(crate) fn at(x: &Tensor<3>, place: usize) -> Tensor<2> {
    x.clone().narrow(1, place, 1).squeeze_dim(1)
}

/// The last vectors.
///
/// # Shapes
///
/// - x: `[batch, tokens, dim]`
/// - output: `[batch, count, dim]`
pub(crate) fn behind(x: &Tensor<3>, count: usize) -> Tensor<3> {
    let [_, tokens, _] = x.dims();
    x.clone().narrow(1, tokens - count, count)
}
