//! The text tower of dual encoders: pre-norm blocks over word pieces, each seeing only what stands before it (CLIP) or all (SigLIP).
//!
//! Paper: Radford et al. 2021 (CLIP), <https://arxiv.org/abs/2103.00020>
//! Difference: none; the projection into the shared space belongs to `florin-models`.
//! Paper: Zhai et al. 2023 (SigLIP), <https://arxiv.org/abs/2303.15343>
//! Difference: none.

use burn::prelude::*;
use florin_nn::{
    Conditions, Embedding, Encoded, Encoder, LayerNorm, Mask, Modality, NormOrder, Tokens, TransformerBlock,
    TransformerBlockConfig, through_blocks,
};
use serde::{Deserialize, Serialize};

use crate::bert::at_positions;
use crate::{ConfigError, activation, check_heads, check_size};

/// Sizes of the tower, in the names of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextTowerConfig {
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the perceptrons.
    pub intermediate_size: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Activation inside the perceptrons, in [`activation`]'s names.
    pub hidden_act: String,
    /// Epsilon of the norms.
    pub layer_norm_eps: f64,
    /// Whether a piece sees only what stands before it; the family's to say, not a file's.
    #[serde(skip)]
    pub causal: bool,
}

/// A batch of word pieces.
#[derive(Clone, Debug)]
pub struct TextTowerInput {
    /// `[batch, seq]`
    pub ids: Tensor<2, Int>,
    /// Which pieces are real.
    pub mask: Mask,
    /// The position of each piece, `[batch, seq]`; counted from the start of the row unless given.
    pub positions: Option<Tensor<2, Int>>,
}

/// The tower.
#[derive(Module, Debug)]
pub struct TextTower {
    /// `[vocabulary, dim]`
    pub word_embeddings: Embedding,
    /// `[positions, dim]`
    pub position_embeddings: Embedding,
    /// The blocks, lowest first.
    pub layers: Vec<TransformerBlock>,
    /// The final norm.
    pub norm: LayerNorm,
    dim: usize,
    causal: bool,
}

impl TextTowerConfig {
    /// Refuses sizes that cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_size("text tower", "vocab_size", self.vocab_size, 1, 2_000_000)?;
        check_size("text tower", "hidden_size", self.hidden_size, 1, 16_384)?;
        check_size("text tower", "num_hidden_layers", self.num_hidden_layers, 0, 256)?;
        check_size("text tower", "intermediate_size", self.intermediate_size, 1, 131_072)?;
        check_size("text tower", "max_position_embeddings", self.max_position_embeddings, 1, 1_000_000)?;
        check_heads("text tower", self.num_attention_heads, self.hidden_size)
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<TextTower, ConfigError> {
        self.validate()?;
        let usual = TransformerBlockConfig::new(
            self.hidden_size,
            self.num_attention_heads,
            self.intermediate_size,
            self.layer_norm_eps,
            NormOrder::Pre,
        );
        let block = TransformerBlockConfig { activation: activation("text tower", &self.hidden_act)?, ..usual };
        Ok(TextTower {
            word_embeddings: Embedding::new(self.vocab_size, self.hidden_size, device),
            position_embeddings: Embedding::new(self.max_position_embeddings, self.hidden_size, device),
            layers: (0..self.num_hidden_layers).map(|_| block.init(device)).collect(),
            norm: LayerNorm::new(self.hidden_size, self.layer_norm_eps, device),
            dim: self.hidden_size,
            causal: self.causal,
        })
    }
}

impl TextTower {
    /// The hidden state after the embeddings and after every block, before the final norm.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, seq]`, seq at most the number of positions
    /// - each output: `[batch, seq, dim]`
    ///
    /// # Panics
    ///
    /// If the sequence is longer than the position table.
    pub fn hidden_states(&self, input: &TextTowerInput) -> Vec<Tensor<3>> {
        let hidden = input.mask.for_attention();
        let mut states = vec![self.embed(input)];
        for layer in &self.layers {
            let conditions = Conditions { hidden: hidden.clone(), causal: self.causal, ..Default::default() };
            let next = layer.forward_under(states[states.len() - 1].clone(), conditions);
            states.push(next);
        }
        states
    }

    /// The last hidden state alone, normed. On the `cpu` device nothing is computed for padding, and nothing of use stands there.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, seq]`, seq at most the number of positions
    /// - output: `[batch, seq, dim]`
    ///
    /// # Panics
    ///
    /// If the sequence is longer than the position table.
    pub fn forward(&self, input: &TextTowerInput) -> Tensor<3> {
        self.norm.forward(through_blocks(self.embed(input), &input.mask, &self.layers, self.causal))
    }

    fn embed(&self, input: &TextTowerInput) -> Tensor<3> {
        let [_, seq] = input.ids.dims();
        let position = at_positions(&self.position_embeddings, input.positions.as_ref(), seq);
        self.word_embeddings.forward(input.ids.clone()) + position
    }
}

impl Encoder for TextTower {
    type Input = TextTowerInput;

    fn modality(&self) -> Modality {
        Modality::Text
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn encode(&self, input: TextTowerInput) -> Encoded {
        let tokens = Tokens::new(self.forward(&input), input.mask);
        Encoded { modality: Modality::Text, pooled: tokens.mean(), tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_causal_tower_does_not_see_what_comes_and_the_other_does() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 4);
        for causal in [true, false] {
            let sizes = small();
            let tower = TextTowerConfig { causal, ..sizes }.init(&device).unwrap();
            let first = |ids: [[i32; 3]; 1]| {
                let (ids, mask) = (Tensor::from_ints(ids, &device), Mask::all_kept(1, 3, &device));
                let states = tower.hidden_states(&TextTowerInput { ids, mask, positions: None });
                states[2].clone().narrow(1, 0, 1)
            };
            let change = (first([[1, 2, 3]]) - first([[1, 2, 4]])).abs().max().into_scalar::<f32>();
            assert_eq!(change == 0.0, causal, "a later piece changes the first by {change}");
        }
    }

    #[test]
    fn without_padding_tokens_are_what_they_are_with_it() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        for causal in [true, false] {
            let sizes = small();
            let tower = TextTowerConfig { causal, ..sizes }.init(&device).unwrap();
            let mask = Mask::from_lengths(&[3, 5, 1], 5, &device);
            let ids = Tensor::from_ints([[1, 2, 3, 8, 8], [4, 5, 6, 7, 8], [2, 8, 8, 8, 8]], &device);
            let input = TextTowerInput { ids, mask: mask.clone(), positions: None };
            let exact = tower.norm.forward(tower.hidden_states(&input)[2].clone());
            let gap = mask.zeroed(exact - tower.forward(&input)).abs().max().into_scalar::<f32>();
            assert!(gap < 1e-5, "causal {causal}: off by {gap}");
        }
    }

    fn small() -> TextTowerConfig {
        TextTowerConfig {
            vocab_size: 9,
            hidden_size: 8,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 16,
            max_position_embeddings: 5,
            hidden_act: "quick_gelu".to_owned(),
            layer_norm_eps: 1e-5,
            causal: true,
        }
    }
}
