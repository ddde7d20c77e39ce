//! The text encoder of the BERT family (BERT, MiniLM, RoBERTa, DistilBERT, LayoutLM).
//!
//! Paper: Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>
//! Difference: no dropout inside, and no pooler, which `florin-models` puts on top; fields carry the names of Hugging Face's
//! `config.json`.

use burn::prelude::*;
use florin_nn::{
    Embedding, Encoded, Encoder, LayerNorm, Mask, Modality, NormOrder, Tokens, TransformerBlock,
    TransformerBlockConfig, through_blocks,
};
use serde::{Deserialize, Serialize};

use crate::{ConfigError, activation, check_heads, check_size};

/// Sizes of the encoder, in the names of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Transformer blocks.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the perceptrons.
    pub intermediate_size: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Segment types; none in DistilBERT.
    #[serde(default = "default_type_vocab_size")]
    pub type_vocab_size: usize,
    /// Epsilon of the norms; BERT's is 1e-12.
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f64,
    /// Activation inside the perceptrons, in [`activation`]'s names.
    #[serde(default = "default_activation")]
    pub hidden_act: String,
}

fn default_activation() -> String {
    "gelu".to_owned()
}

fn default_type_vocab_size() -> usize {
    2
}

fn default_epsilon() -> f64 {
    1e-12
}

/// A batch of word pieces.
#[derive(Clone, Debug)]
pub struct BertInput {
    /// `[batch, seq]`
    pub ids: Tensor<2, Int>,
    /// Which pieces are real.
    pub mask: Mask,
    /// The segment of each piece, `[batch, seq]`; the first everywhere unless given.
    pub token_types: Option<Tensor<2, Int>>,
    /// The position of each piece, `[batch, seq]`; counted from the start of the row unless given.
    pub positions: Option<Tensor<2, Int>>,
    /// Vectors added to the embeddings before their norm, `[batch, seq, dim]`: where words stand on a page.
    pub added: Option<Tensor<3>>,
}

impl BertInput {
    /// Pieces of one segment, counted from the start of the row.
    pub fn new(ids: Tensor<2, Int>, mask: Mask) -> Self {
        Self { ids, mask, token_types: None, positions: None, added: None }
    }
}

/// The encoder.
#[derive(Module, Debug)]
pub struct BertEncoder {
    /// `[vocabulary, dim]`
    pub word_embeddings: Embedding,
    /// `[positions, dim]`
    pub position_embeddings: Embedding,
    /// `[types, dim]`
    pub token_type_embeddings: Option<Embedding>,
    /// Norm of the summed embeddings.
    pub embedding_norm: LayerNorm,
    /// The blocks, lowest first.
    pub layers: Vec<TransformerBlock>,
    dim: usize,
}

impl BertConfig {
    /// Refuses sizes that cannot be built or that no model of this family has.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_size("bert", "vocab_size", self.vocab_size, 1, 2_000_000)?;
        check_size("bert", "hidden_size", self.hidden_size, 1, 16_384)?;
        check_size("bert", "num_hidden_layers", self.num_hidden_layers, 0, 256)?;
        check_size("bert", "intermediate_size", self.intermediate_size, 1, 131_072)?;
        check_size("bert", "max_position_embeddings", self.max_position_embeddings, 1, 1_000_000)?;
        check_size("bert", "type_vocab_size", self.type_vocab_size, 0, 1_000)?;
        activation("bert", &self.hidden_act)?;
        check_heads("bert", self.num_attention_heads, self.hidden_size)
    }

    /// New weights.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses; configurations that a user writes are validated before.
    pub fn init(&self, device: &Device) -> BertEncoder {
        let dim = self.hidden_size;
        let (heads, hidden, epsilon) = (self.num_attention_heads, self.intermediate_size, self.layer_norm_eps);
        let activation = activation("bert", &self.hidden_act).unwrap_or_else(|error| panic!("{error}"));
        let usual = TransformerBlockConfig::new(dim, heads, hidden, epsilon, NormOrder::Post);
        let block = TransformerBlockConfig { activation, ..usual };
        BertEncoder {
            word_embeddings: Embedding::new(self.vocab_size, dim, device),
            position_embeddings: Embedding::new(self.max_position_embeddings, dim, device),
            token_type_embeddings: (self.type_vocab_size > 0)
                .then(|| Embedding::new(self.type_vocab_size, dim, device)),
            embedding_norm: LayerNorm::new(dim, self.layer_norm_eps, device),
            layers: (0..self.num_hidden_layers).map(|_| block.init(device)).collect(),
            dim,
        }
    }
}

impl BertEncoder {
    /// The hidden state after the embeddings and after every block: the last is the encoder's output.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, seq]`, seq at most the number of positions
    /// - each output: `[batch, seq, dim]`
    ///
    /// # Panics
    ///
    /// If the sequence is longer than the position table.
    pub fn hidden_states(&self, input: &BertInput) -> Vec<Tensor<3>> {
        let hidden = input.mask.for_attention();
        let mut states = vec![self.embed(input)];
        for layer in &self.layers {
            let next = layer.forward(states[states.len() - 1].clone(), hidden.clone(), None);
            states.push(next);
        }
        states
    }

    /// The last hidden state alone. On the `cpu` device nothing is computed for padding, and zero stands there.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, seq]`
    /// - output tokens: `[batch, seq, dim]`
    pub fn forward(&self, input: BertInput) -> Tokens {
        let x = through_blocks(self.embed(&input), &input.mask, &self.layers, false);
        Tokens::new(x, input.mask)
    }

    /// The hidden state before the first block.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, seq]`, seq at most the number of positions
    /// - output: `[batch, seq, dim]`
    ///
    /// # Panics
    ///
    /// If the sequence is longer than the position table.
    pub fn embed(&self, input: &BertInput) -> Tensor<3> {
        let [_, seq] = input.ids.dims();
        let position = at_positions(&self.position_embeddings, input.positions.as_ref(), seq);
        let beside = match (&self.token_type_embeddings, &input.token_types) {
            (None, _) => position,
            (Some(table), Some(types)) => position + table.forward(types.clone()),
            (Some(table), None) => position + table.weight.val().narrow(0, 0, 1).unsqueeze_dim(0),
        };
        let words = self.word_embeddings.forward(input.ids.clone()) + beside;
        self.embedding_norm.forward(match &input.added {
            Some(added) => words + added.clone(),
            None => words,
        })
    }
}

/// The vectors of positions that are given, or of those counted from the start of the row.
///
/// # Shapes
///
/// - positions: `[batch, seq]`
/// - output: `[batch, seq, dim]`, or `[1, seq, dim]` where none are given
pub(crate) fn at_positions(table: &Embedding, positions: Option<&Tensor<2, Int>>, seq: usize) -> Tensor<3> {
    let [places, _] = table.weight.val().dims();
    assert!(seq <= places, "a sequence of {seq} word pieces is longer than the {places} positions");
    match positions {
        Some(positions) => table.forward(positions.clone()),
        None => table.weight.val().narrow(0, 0, seq).unsqueeze_dim(0),
    }
}

impl Encoder for BertEncoder {
    type Input = BertInput;

    fn modality(&self) -> Modality {
        Modality::Text
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn encode(&self, input: BertInput) -> Encoded {
        let tokens = self.forward(input);
        Encoded { modality: Modality::Text, pooled: tokens.mean(), tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> BertConfig {
        BertConfig {
            vocab_size: 50,
            hidden_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            intermediate_size: 32,
            max_position_embeddings: 12,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_act: "gelu".to_owned(),
        }
    }

    #[test]
    fn padding_does_not_change_a_row() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 7);
        let encoder = small().init(&device);
        let alone =
            encoder.forward(BertInput::new(Tensor::from_ints([[3, 9, 4]], &device), Mask::all_kept(1, 3, &device)));
        let padded = encoder.forward(BertInput::new(
            Tensor::from_ints([[3, 9, 4, 0, 0], [5, 6, 7, 8, 9]], &device),
            Mask::from_lengths(&[3, 5], 5, &device),
        ));
        let difference = (alone.padded() - padded.padded().slice([0..1, 0..3])).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-5, "a padded row differs from the same row alone by {difference}");
    }

    #[test]
    fn padding_is_left_out_and_changes_neither_tokens_nor_gradients() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        florin_backend::seed(&device, 9);
        let encoder = small().init(&device);
        let kept = [true, true, true, false, false, false, false, true, false, false, true, true];
        let mask = Mask::from_kept(&kept, 3, 4, &device);
        let ids = Tensor::from_ints([[3, 9, 4, 0], [1, 2, 3, 7], [8, 0, 5, 6]], &device);
        let input = BertInput::new(ids, mask.clone());
        let padded = encoder.hidden_states(&input).pop().expect("the last state");
        let packed = encoder.forward(input).padded();
        let off = (mask.zeroed(padded.clone()) - packed.clone()).abs().max().into_scalar::<f32>();
        assert!(off < 1e-5, "tokens differ by {off}");
        let weights = Tensor::random([3, 4, 16], burn::tensor::Distribution::Default, &device);
        let gradients = |x: Tensor<3>| (mask.zeroed(x) * weights.clone()).sum().backward();
        let (exact, found) = (gradients(padded), gradients(packed));
        let exact = florin_nn::parameters::collect_gradients(&encoder, &exact);
        let found = florin_nn::parameters::collect_gradients(&encoder, &found);
        assert_eq!(exact.len(), found.len());
        for (name, exact) in exact {
            let off = exact.values.iter().zip(&found[&name].values).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            let largest = exact.values.iter().fold(0.1f32, |most, x| most.max(x.abs()));
            assert!(off < 1e-5 * largest, "{name}: gradients differ by {off} of {largest}");
        }
    }

    #[test]
    fn heads_that_do_not_divide_the_width_are_refused() {
        let config = BertConfig { num_attention_heads: 5, ..small() };
        assert_eq!(config.validate().unwrap_err().to_string(), "bert: heads (5) must divide dim (16)");
    }

    #[test]
    fn every_norm_has_the_epsilon_of_the_settings_and_that_of_bert_where_they_are_silent() {
        let text = r#"{"vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 8, "max_position_embeddings": 5}"#;
        let silent: BertConfig = serde_json::from_str(text).expect("whole settings");
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        for (config, expected) in [(silent, 1e-12), (BertConfig { layer_norm_eps: 0.25, ..small() }, 0.25)] {
            let encoder = config.init(&device);
            let block = &encoder.layers[0];
            let found = [&encoder.embedding_norm, &block.attention_norm, &block.mlp_norm].map(|norm| norm.epsilon);
            assert_eq!(found, [expected; 3]);
        }
    }

    #[test]
    fn hidden_states_are_the_embedding_and_what_each_block_gives() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 8);
        let encoder = small().init(&device);
        let input = BertInput::new(Tensor::from_ints([[3, 9, 4, 1]], &device), Mask::all_kept(1, 4, &device));
        let values = |tensor: Tensor<3>| tensor.into_data().try_to_vec::<f32>().expect("f32");
        let states: Vec<Vec<f32>> = encoder.hidden_states(&input).into_iter().map(values).collect();
        assert_eq!(states.len(), 3);
        assert_eq!(states[0], values(encoder.embed(&input)));
        assert_eq!(states[2], values(encoder.forward(input).padded()));
        assert_ne!(states[1], states[2]);
    }

    #[test]
    fn the_first_piece_takes_the_first_position() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let mut encoder = small().init(&device);
        let zeros = |rows| burn::module::Param::from_tensor(Tensor::<2>::zeros([rows, 16], &device));
        encoder.word_embeddings.weight = zeros(50);
        encoder.token_type_embeddings.as_mut().expect("there are two types").weight = zeros(2);
        // A position's vector points along the dimension of its number.
        encoder.position_embeddings.weight =
            burn::module::Param::from_tensor(Tensor::eye(16, &device).narrow(0, 0, 12));
        let input = BertInput::new(Tensor::from_ints([[1, 1, 1]], &device), Mask::all_kept(1, 3, &device));
        let places = encoder.embed(&input).argmax(2);
        assert_eq!(places.into_data().convert::<i64>().try_to_vec::<i64>().expect("places"), [0, 1, 2]);
    }
}
