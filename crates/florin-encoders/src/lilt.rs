//! LiLT: a text encoder and a narrow encoder of the places where words stand, layer beside layer; in each layer both attend by the sum
//! of both one's scores.
//!
//! Paper: Wang et al. 2022 (LiLT), <https://arxiv.org/abs/2202.13669>
//! Difference: no dropout inside; as in transformers, gradients pass through all scores, where the paper, while it pre-trains, lets none of
//! the layout flow into the text's.

use burn::prelude::*;
use florin_nn::{
    Embedding, Encoded, Encoder, LayerNorm, Linear, Modality, NormOrder, Tokens, TransformerBlock,
    TransformerBlockConfig,
};
use serde::Deserialize;

use crate::bert::at_positions;
use crate::{BertConfig, BertEncoder, BertInput, BoxEmbeddings, ConfigError, activation, check_size, no_such};

const ENCODER: &str = "lilt";
/// What is looked up of a box: four sides, height and width.
const BOX_PARTS: usize = 6;

/// Sizes of the encoder, in the names of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LiltConfig {
    /// Those of the text flow.
    #[serde(flatten)]
    pub text: BertConfig,
    /// How many times narrower the layout flow is.
    #[serde(default = "default_ratio")]
    pub channel_shrink_ratio: usize,
    /// Places that a side of a box may have.
    #[serde(default = "default_places")]
    pub max_2d_position_embeddings: usize,
}

fn default_ratio() -> usize {
    4
}

fn default_places() -> usize {
    1024
}

/// A batch of word pieces on pages.
#[derive(Clone, Debug)]
pub struct LiltInput {
    /// The pieces.
    pub text: BertInput,
    /// Left, top, right, bottom of each piece, `[batch, seq, 4]`, each below the number of places.
    pub boxes: Tensor<3, Int>,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct LiltEncoder {
    /// The text flow: an encoder such as BERT's.
    pub text: BertEncoder,
    /// What is looked up of boxes, a sixth of the text's width each.
    pub boxes: BoxEmbeddings,
    /// `[dim, layout dim]`
    pub box_projection: Linear,
    /// The layout flow's own positions in the row, `[positions, layout dim]`.
    pub box_positions: Embedding,
    /// Norm of their sum.
    pub box_norm: LayerNorm,
    /// The blocks of the layout flow, one beside each of the text flow's.
    pub layout_layers: Vec<TransformerBlock>,
    dim: usize,
}

impl LiltConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.text.validate()?;
        let Self { text, channel_shrink_ratio: ratio, .. } = self;
        check_size(ENCODER, "channel_shrink_ratio", *ratio, 1, 16_384)?;
        if !text.hidden_size.is_multiple_of(BOX_PARTS) {
            return Err(no_such(ENCODER, "hidden_size", "a multiple of 6", text.hidden_size));
        }
        if !(text.hidden_size / text.num_attention_heads).is_multiple_of(*ratio) {
            let expected = "a divisor of hidden_size / num_attention_heads";
            return Err(no_such(ENCODER, "channel_shrink_ratio", expected, ratio));
        }
        check_size(ENCODER, "intermediate_size / channel_shrink_ratio", text.intermediate_size / ratio, 1, 131_072)
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<LiltEncoder, ConfigError> {
        self.validate()?;
        let Self { text, channel_shrink_ratio: ratio, .. } = self;
        let (dim, narrow, epsilon) = (text.hidden_size, text.hidden_size / ratio, text.layer_norm_eps);
        let (heads, hidden) = (text.num_attention_heads, text.intermediate_size / ratio);
        let usual = TransformerBlockConfig::new(narrow, heads, hidden, epsilon, NormOrder::Post);
        let block = TransformerBlockConfig { activation: activation(ENCODER, &text.hidden_act)?, ..usual };
        Ok(LiltEncoder {
            text: text.init(device),
            boxes: BoxEmbeddings::new(self.max_2d_position_embeddings, dim / BOX_PARTS, device)?,
            box_projection: Linear::new(dim, narrow, device),
            box_positions: Embedding::new(text.max_position_embeddings, narrow, device),
            box_norm: LayerNorm::new(narrow, epsilon, device),
            layout_layers: (0..text.num_hidden_layers).map(|_| block.init(device)).collect(),
            dim,
        })
    }
}

impl LiltEncoder {
    /// The text flow's hidden state after the embeddings and after every block: the last is the encoder's output.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, seq]`, seq at most the number of positions
    /// - each output: `[batch, seq, dim]`
    ///
    /// # Panics
    ///
    /// If the sequence is longer than the position table.
    pub fn hidden_states(&self, input: &LiltInput) -> Vec<Tensor<3>> {
        let hidden = input.text.mask.for_attention();
        let mut states = vec![self.text.embed(&input.text)];
        let mut layout = self.embed_boxes(input);
        for (text_layer, layout_layer) in self.text.layers.iter().zip(&self.layout_layers) {
            let text = states[states.len() - 1].clone();
            let by_text = text_layer.attention.scores(text.clone(), text.clone());
            let by_layout = layout_layer.attention.scores(layout.clone(), layout.clone());
            states.push(text_layer.forward(text, hidden.clone(), Some(by_layout)));
            // What the last block makes of layout nobody reads.
            if states.len() <= self.layout_layers.len() {
                layout = layout_layer.forward(layout, hidden.clone(), Some(by_text));
            }
        }
        states
    }

    /// # Shapes
    ///
    /// - output: `[batch, seq, layout dim]`
    fn embed_boxes(&self, input: &LiltInput) -> Tensor<3> {
        let [_, seq, _] = input.boxes.dims();
        let parts = self.boxes.parts(input.boxes.clone()).to_vec();
        let places = at_positions(&self.box_positions, input.text.positions.as_ref(), seq);
        self.box_norm.forward(self.box_projection.forward(Tensor::cat(parts, 2)) + places)
    }
}

impl Encoder for LiltEncoder {
    type Input = LiltInput;

    fn modality(&self) -> Modality {
        Modality::Text
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn encode(&self, input: LiltInput) -> Encoded {
        let last = self.hidden_states(&input).pop().expect("the embeddings are a state");
        let tokens = Tokens::new(last, input.text.mask);
        Encoded { modality: Modality::Text, pooled: tokens.mean(), tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_do_not_share_out_are_refused() {
        let refusal = |hidden: usize, heads: usize, inside: usize| {
            let text = format!(
                r#"{{"vocab_size": 9, "hidden_size": {hidden}, "num_hidden_layers": 1, "num_attention_heads": {heads},
                "intermediate_size": {inside}, "max_position_embeddings": 5}}"#
            );
            let config: LiltConfig = serde_json::from_str(&text).expect("whole settings");
            config.validate().err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refusal(24, 3, 8), "");
        assert_eq!(refusal(32, 4, 8), "lilt: hidden_size must be a multiple of 6, found 32");
        let ratio = "lilt: channel_shrink_ratio must be a divisor of hidden_size / num_attention_heads, found 4";
        assert_eq!(refusal(24, 4, 8), ratio);
        let inside = "lilt: intermediate_size / channel_shrink_ratio must lie between 1 and 131072, found 0";
        assert_eq!(refusal(24, 3, 3), inside);
    }
}
