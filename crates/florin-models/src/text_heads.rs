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
    Sequence(SequenceHead),
    /// Scores of classes at every token.
    Token(Linear),
}

/// Predicts hidden words; its decoder is the table of word embeddings.
#[derive(Module, Debug)]
pub struct MaskedLanguageHead {
    /// `[dim, dim]`
    pub dense: Linear,
    /// Norm behind its activation.
    pub norm: LayerNorm,
    /// One a word, `[vocabulary]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    activation: Activation,
}

/// Scores classes, after a layer of its own where the pooler is not that already.
#[derive(Module, Debug)]
pub struct SequenceHead {
    /// `[dim, dim]`
    pub dense: Option<Linear>,
    /// `[dim, classes]`
    pub classifier: Linear,
    #[module(skip)]
    activation: Activation,
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
            bias: zeros([vocabulary], device),
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
        linear(x, words.transpose(), Some(self.bias.val()))
    }
}

impl SequenceHead {
    /// The classifier alone.
    pub fn new(dim: usize, classes: usize, device: &Device) -> Self {
        Self { dense: None, classifier: Linear::new(dim, classes, device), activation: Activation::Identity }
    }

    /// With a layer before it.
    pub fn with_dense(self, activation: Activation, device: &Device) -> Self {
        let [dim, _] = self.classifier.weight.lazy_shape().dims();
        Self { dense: Some(Linear::new(dim, dim, device)), activation, ..self }
    }

    /// # Shapes
    ///
    /// - x: `[batch, dim]`
    /// - output: `[batch, classes]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.dense {
            Some(dense) => dense.forward_activated(x, self.activation),
            None => x,
        };
        self.classifier.forward(x)
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
