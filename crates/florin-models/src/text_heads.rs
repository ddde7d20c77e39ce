//! The heads of text encoders: hidden words, classes of a sequence, classes of its tokens.

use burn::module::Param;
use burn::prelude::*;
use florin_backend::linear;
use florin_nn::{Activation, LayerNorm, Linear, zeros};
use serde::Deserialize;

use crate::ModelError;
use crate::loss::label_loss;
use crate::named_tensors::{Inputs, Outputs};
use crate::system::Checkpoint;

/// A head.
#[allow(clippy::large_enum_variant, reason = "one a system, never many of them")]
#[derive(Module, Debug)]
pub enum TextHead {
    /// Scores of the vocabulary at every token.
    MaskedLanguage(MaskedLanguageHead),
    /// Scores of classes from one vector.
    Sequence(ClassHead),
    /// Scores of classes at every token.
    Token(ClassHead),
}

/// Predicts hidden words; its decoder is the table of word embeddings.
#[derive(Module, Debug)]
pub struct MaskedLanguageHead {
    /// `[dim, dim]`
    pub dense: Linear,
    /// Norm behind its activation.
    pub norm: LayerNorm,
    /// One a word, `[vocabulary]`, where the decoder has them.
    pub bias: Option<Param<Tensor<1>>>,
    /// Behind the first layer.
    #[module(skip)]
    pub activation: Activation,
}

/// Scores classes, after a layer of its own where the architecture has one.
#[derive(Module, Debug)]
pub struct ClassHead {
    /// `[dim, dim]`
    pub dense: Option<Linear>,
    /// Norm behind its activation.
    pub norm: Option<LayerNorm>,
    /// `[dim, classes]`
    pub classifier: Linear,
    /// Behind the first layer.
    #[module(skip)]
    pub activation: Activation,
}

/// What a `config.json` says of heads.
#[derive(Deserialize)]
struct HeadConfig {
    tie_word_embeddings: Option<bool>,
}

impl MaskedLanguageHead {
    /// New weights, with the activation behind the first layer.
    pub fn new(dim: usize, vocabulary: usize, activation: Activation, epsilon: f64, device: &Device) -> Self {
        Self {
            dense: Linear::new(dim, dim, device),
            norm: LayerNorm::new(dim, epsilon, device),
            bias: Some(zeros([vocabulary], device)),
            activation,
        }
    }

    /// # Shapes
    ///
    /// - x: `[batch, seq, dim]`
    /// - words: the table of word embeddings, `[vocabulary, dim]`
    /// - output: `[batch, seq, vocabulary]`
    pub fn forward(&self, x: Tensor<3>, words: Tensor<2>) -> Tensor<3> {
        let x = self.norm.forward(self.dense.forward_activated(x, self.activation));
        linear(x, words.transpose(), self.bias.as_ref().map(Param::val))
    }
}

impl ClassHead {
    /// The classifier alone.
    pub fn new(dim: usize, classes: usize, device: &Device) -> Self {
        let classifier = Linear::new(dim, classes, device);
        Self { dense: None, norm: None, classifier, activation: Activation::Identity }
    }

    /// With a layer before it.
    pub fn with_dense(self, dense: Linear, activation: Activation) -> Self {
        Self { dense: Some(dense), activation, ..self }
    }

    /// # Shapes
    ///
    /// - x: `[.., dim]`
    /// - output: `[.., classes]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = match &self.dense {
            Some(dense) => dense.forward_activated(x, self.activation),
            None => x,
        };
        self.classifier.forward(match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        })
    }
}

/// Refuses a masked-language head that does not share the table of word embeddings.
pub(crate) fn check_tied(checkpoint: &Checkpoint) -> Result<(), ModelError> {
    let config: HeadConfig = checkpoint.config()?;
    if config.tie_word_embeddings != Some(false) {
        return Ok(());
    }
    let reason =
        "a decoder of its own (`tie_word_embeddings`: false) is not read; expected the word embeddings as decoder";
    Err(checkpoint.refused(reason.to_owned()))
}

/// Logits at every token, with the loss where labels are given.
pub(crate) fn token_outputs(inputs: &Inputs, logits: Tensor<3>) -> Result<Outputs, ModelError> {
    let [batch, seq, classes] = logits.dims();
    let loss = label_loss::<2>(inputs, logits.clone().reshape([batch * seq, classes]))?;
    Ok(Outputs::new().with_maybe("loss", loss).with("logits", logits))
}
