//! ModernBERT: pre-norm blocks with rotary positions and gated perceptrons, most of which see only the pieces near each piece.
//!
//! Paper: Warner et al. 2024 (ModernBERT), <https://arxiv.org/abs/2412.13663>
//! Difference: no dropout inside; positions are counted from the start of the row, and stretched ones (another `rope_type` than the
//! default) are refused; fields carry the names of Hugging Face's `config.json`, older and newer.

use burn::prelude::*;
use florin_nn::{
    Attention, AttentionBiases, AttentionConfig, Conditions, Embedding, Encoded, Encoder, LayerNorm, Mask, Mlp,
    Modality, Pairing, Rotary, SlidingWindow, Tokens, Unpadding,
};
use serde::Deserialize;

use crate::{ConfigError, activation, check_heads, check_size, no_such};

const ENCODER: &str = "modernbert";

/// Sizes of the encoder, in the names of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ModernBertConfig {
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size` into heads of even width.
    pub num_attention_heads: usize,
    /// Width inside the perceptrons, behind the gate.
    pub intermediate_size: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Activation of the gates, in [`activation`]'s names.
    #[serde(default = "default_activation")]
    pub hidden_activation: String,
    /// Epsilon of the norms.
    #[serde(default = "default_epsilon")]
    pub norm_eps: f64,
    /// Whether the norms have a shift.
    #[serde(default)]
    pub norm_bias: bool,
    /// Whether the projections of attention have biases.
    #[serde(default)]
    pub attention_bias: bool,
    /// Whether the layers of the perceptrons have biases.
    #[serde(default)]
    pub mlp_bias: bool,
    /// Width of the window of blocks that see what is near: half of it on each side.
    #[serde(default = "default_window")]
    pub local_attention: usize,
    /// What each block sees, lowest first.
    pub layer_types: Option<Vec<Sight>>,
    /// Every how many blocks one sees everything, the first included, where `layer_types` does not say; the older name.
    #[serde(default = "default_every")]
    pub global_attn_every_n_layers: usize,
    /// The rotations of each kind of block.
    #[serde(default)]
    pub rope_parameters: RotationsConfig,
    /// Base of the rotations of blocks that see everything, where `rope_parameters` does not say; the older name.
    #[serde(default = "default_global_base")]
    pub global_rope_theta: f64,
    /// The same of blocks that see what is near.
    #[serde(default = "default_local_base")]
    pub local_rope_theta: f64,
    /// The older name of a stretching of all rotations.
    pub rope_scaling: Option<RotationConfig>,
}

/// What a block sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// Every piece.
    FullAttention,
    /// The pieces near each piece.
    SlidingAttention,
}

/// The rotations of each kind of block.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct RotationsConfig {
    /// Of blocks that see everything.
    pub full_attention: Option<RotationConfig>,
    /// Of blocks that see what is near.
    pub sliding_attention: Option<RotationConfig>,
}

/// How positions become angles.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RotationConfig {
    /// `default`, unless they are stretched.
    #[serde(default = "default_rotation", alias = "type")]
    pub rope_type: String,
    /// Base of the wavelengths.
    pub rope_theta: Option<f64>,
}

fn default_activation() -> String {
    "gelu".to_owned()
}

fn default_epsilon() -> f64 {
    1e-5
}

fn default_window() -> usize {
    128
}

fn default_every() -> usize {
    3
}

fn default_rotation() -> String {
    "default".to_owned()
}

fn default_global_base() -> f64 {
    160_000.0
}

fn default_local_base() -> f64 {
    10_000.0
}

/// A batch of word pieces.
#[derive(Clone, Debug)]
pub struct ModernBertInput {
    /// `[batch, seq]`
    pub ids: Tensor<2, Int>,
    /// Which pieces are real.
    pub mask: Mask,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct ModernBertEncoder {
    /// `[vocabulary, dim]`
    pub word_embeddings: Embedding,
    /// Norm of the embeddings.
    pub embedding_norm: LayerNorm,
    /// The blocks, lowest first.
    pub layers: Vec<ModernBertBlock>,
    /// The final norm.
    pub norm: LayerNorm,
    dim: usize,
}

/// Norms before the branches, but for the very first, which stands behind the embeddings' own.
#[derive(Module, Debug)]
pub struct ModernBertBlock {
    /// Norm of the attention branch; the first block has none.
    pub attention_norm: Option<LayerNorm>,
    /// Attention.
    pub attention: Attention,
    /// Norm of the perceptron's branch.
    pub mlp_norm: LayerNorm,
    /// The gated perceptron.
    pub mlp: Mlp,
    #[module(skip)]
    window: Option<SlidingWindow>,
    #[module(skip)]
    rotary: Rotary,
}

impl ModernBertConfig {
    /// Refuses what cannot be built or would be computed otherwise.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_size(ENCODER, "vocab_size", self.vocab_size, 1, 2_000_000)?;
        check_size(ENCODER, "hidden_size", self.hidden_size, 1, 16_384)?;
        check_size(ENCODER, "num_hidden_layers", self.num_hidden_layers, 0, 256)?;
        check_size(ENCODER, "intermediate_size", self.intermediate_size, 1, 131_072)?;
        check_size(ENCODER, "max_position_embeddings", self.max_position_embeddings, 1, 1_000_000)?;
        check_size(ENCODER, "local_attention", self.local_attention, 0, 1_000_000)?;
        check_size(ENCODER, "global_attn_every_n_layers", self.global_attn_every_n_layers, 1, 1_000_000)?;
        check_heads(ENCODER, self.num_attention_heads, self.hidden_size)?;
        let head_dim = self.hidden_size / self.num_attention_heads;
        if !head_dim.is_multiple_of(2) {
            return Err(no_such(ENCODER, "hidden_size / num_attention_heads", "even", head_dim));
        }
        activation(ENCODER, &self.hidden_activation)?;
        if let Some(kinds) = self.layer_types.as_ref().filter(|kinds| kinds.len() != self.num_hidden_layers) {
            return Err(no_such(ENCODER, "layer_types", "as many as num_hidden_layers", kinds.len()));
        }
        let RotationsConfig { full_attention, sliding_attention } = &self.rope_parameters;
        let stated = [full_attention, sliding_attention, &self.rope_scaling].into_iter().flatten();
        if let Some(stretched) = stated.map(|rotation| &rotation.rope_type).find(|kind| *kind != "default") {
            return Err(no_such(ENCODER, "rope_type", "default", stretched));
        }
        let bases = [Sight::FullAttention, Sight::SlidingAttention].map(|sight| self.rotary(sight).base);
        match bases.into_iter().find(|base| !(*base > 0.0 && base.is_finite())) {
            Some(base) => Err(no_such(ENCODER, "rope_theta", "above 0", base)),
            None => Ok(()),
        }
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<ModernBertEncoder, ConfigError> {
        self.validate()?;
        let every = self.global_attn_every_n_layers;
        let sight = |layer: usize| match &self.layer_types {
            Some(kinds) => kinds[layer],
            None if layer.is_multiple_of(every) => Sight::FullAttention,
            None => Sight::SlidingAttention,
        };
        let block = |layer| self.block(layer, sight(layer), device);
        Ok(ModernBertEncoder {
            word_embeddings: Embedding::new(self.vocab_size, self.hidden_size, device),
            embedding_norm: self.norm(device),
            layers: (0..self.num_hidden_layers).map(block).collect::<Result<_, _>>()?,
            norm: self.norm(device),
            dim: self.hidden_size,
        })
    }

    /// A norm such as the encoder and the heads on it have, new.
    pub fn norm(&self, device: &Device) -> LayerNorm {
        let norm = if self.norm_bias { LayerNorm::new } else { LayerNorm::without_bias };
        norm(self.hidden_size, self.norm_eps, device)
    }

    fn block(&self, layer: usize, sight: Sight, device: &Device) -> Result<ModernBertBlock, ConfigError> {
        let dim = self.hidden_size;
        let biases = if self.attention_bias { AttentionBiases::ALL } else { AttentionBiases::NONE };
        let mlp = if self.mlp_bias { Mlp::gated } else { Mlp::gated_without_biases };
        Ok(ModernBertBlock {
            attention_norm: (layer > 0).then(|| self.norm(device)),
            attention: AttentionConfig::new(dim, self.num_attention_heads).with_biases(biases).init(device),
            mlp_norm: self.norm(device),
            mlp: mlp(dim, self.intermediate_size, activation(ENCODER, &self.hidden_activation)?, device),
            window: (sight == Sight::SlidingAttention).then(|| SlidingWindow::around(self.local_attention / 2)),
            rotary: self.rotary(sight),
        })
    }

    fn rotary(&self, sight: Sight) -> Rotary {
        let (stated, older) = match sight {
            Sight::FullAttention => (&self.rope_parameters.full_attention, self.global_rope_theta),
            Sight::SlidingAttention => (&self.rope_parameters.sliding_attention, self.local_rope_theta),
        };
        let base = stated.as_ref().and_then(|rotation| rotation.rope_theta).unwrap_or(older);
        Rotary { base, ..Rotary::new(Pairing::Halves) }
    }
}

impl ModernBertEncoder {
    /// The hidden state after the embeddings and after every block, the last of them after the final norm too: the encoder's output.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, seq]`
    /// - each output: `[batch, seq, dim]`
    pub fn hidden_states(&self, input: &ModernBertInput) -> Vec<Tensor<3>> {
        let mut x = self.embed(input);
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        for layer in &self.layers {
            states.push(x.clone());
            x = layer.forward(x, &input.mask);
        }
        states.push(self.norm.forward(x));
        states
    }

    /// The last hidden state alone. On the `cpu` device nothing is computed for padding, and zero stands there.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, seq]`
    /// - output tokens: `[batch, seq, dim]`
    pub fn forward(&self, input: ModernBertInput) -> Tokens {
        let x = self.embed(&input);
        let unpadding = if florin_backend::fuses(&x) { Unpadding::of(&input.mask) } else { None };
        // Pieces must stay as far apart as they are.
        let unpadding = unpadding.filter(|unpadding| !unpadding.has_holes());
        let last = match unpadding {
            Some(unpadding) => {
                let through = |x, layer: &ModernBertBlock| layer.forward_unpadded(x, &unpadding);
                let x = self.layers.iter().fold(unpadding.remove(x), through);
                unpadding.restore(self.norm.forward(x))
            }
            None => self.norm.forward(self.layers.iter().fold(x, |x, layer| layer.forward(x, &input.mask))),
        };
        Tokens::new(last, input.mask)
    }

    fn embed(&self, input: &ModernBertInput) -> Tensor<3> {
        self.embedding_norm.forward(self.word_embeddings.forward(input.ids.clone()))
    }
}

impl ModernBertBlock {
    /// # Shapes
    ///
    /// - x, output: `[batch, seq, dim]`
    pub fn forward(&self, x: Tensor<3>, mask: &Mask) -> Tensor<3> {
        self.with_branches(x, |normed| self.mixed(normed, mask))
    }

    /// The same for sequences end to end.
    ///
    /// # Shapes
    ///
    /// - x, output: `[1, total, dim]`
    pub fn forward_unpadded(&self, x: Tensor<3>, unpadding: &Unpadding) -> Tensor<3> {
        let conditions = Conditions { window: self.window, rotary: Some(self.rotary), ..unpadding.conditions() };
        self.with_branches(x, |normed| self.attention.forward_under(normed.clone(), normed, conditions))
    }

    fn with_branches(&self, x: Tensor<3>, mix: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        let normed = match &self.attention_norm {
            Some(norm) => norm.forward(x.clone()),
            None => x.clone(),
        };
        let x = x + mix(normed);
        let normed = self.mlp_norm.forward(x.clone());
        x + self.mlp.forward(normed)
    }

    fn mixed(&self, x: Tensor<3>, mask: &Mask) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let padding = mask.for_attention();
        let hidden = match self.window {
            None => padding,
            // A block of queries meets the keys of its own places and of one reach: of a short text there are fewer in all.
            Some(window) if florin_backend::fuses(&x) || seq > 2 * (window.before + window.after) => {
                return self.attention.forward_windowed(x, window, Some(mask), Some(self.rotary));
            }
            Some(window) => {
                let far = window.hidden(seq, seq, &x.device());
                Some(match padding {
                    Some(padding) => far.expand([batch, 1, seq, seq]).bool_or(padding.expand([batch, 1, seq, seq])),
                    None => far,
                })
            }
        };
        let conditions = Conditions { hidden, rotary: Some(self.rotary), ..Default::default() };
        self.attention.forward_under(x.clone(), x, conditions)
    }
}

impl Encoder for ModernBertEncoder {
    type Input = ModernBertInput;

    fn modality(&self) -> Modality {
        Modality::Text
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn encode(&self, input: ModernBertInput) -> Encoded {
        let tokens = self.forward(input);
        Encoded { modality: Modality::Text, pooled: tokens.mean(), tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(more: &str) -> ModernBertConfig {
        let text = format!(
            r#"{{"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2,
            "intermediate_size": 6, "max_position_embeddings": 50, "local_attention": 4{more}}}"#
        );
        serde_json::from_str(&text).expect("whole settings")
    }

    #[test]
    fn older_and_newer_settings_say_the_same_and_the_newer_win() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let seen = |config: ModernBertConfig| {
            let encoder = config.init(&device).unwrap();
            encoder.layers.iter().map(|layer| (layer.window.is_some(), layer.rotary.base)).collect::<Vec<_>>()
        };
        let usual = [(false, 160_000.0), (true, 10_000.0), (true, 10_000.0), (false, 160_000.0)];
        assert_eq!(seen(small("")), usual);
        let older = r#", "global_attn_every_n_layers": 2, "global_rope_theta": 7.0, "local_rope_theta": 5.0"#;
        assert_eq!(seen(small(older)), [(false, 7.0), (true, 5.0), (false, 7.0), (true, 5.0)]);
        let kinds = r#""layer_types": ["sliding_attention", "full_attention", "full_attention", "full_attention"]"#;
        let bases = r#""rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 3.0}}"#;
        let both = small(&format!("{older}, {kinds}, {bases}"));
        assert_eq!(seen(both), [(true, 5.0), (false, 3.0), (false, 3.0), (false, 3.0)]);
    }

    #[test]
    fn what_would_be_computed_otherwise_is_refused() {
        let refusal = |more| small(more).validate().unwrap_err().to_string();
        let stretched = r#", "rope_scaling": {"type": "yarn", "factor": 2.0}"#;
        assert_eq!(refusal(stretched), "modernbert: rope_type must be default, found yarn");
        let kinds = r#", "layer_types": ["full_attention"]"#;
        assert_eq!(refusal(kinds), "modernbert: layer_types must be as many as num_hidden_layers, found 1");
        assert_eq!(refusal(r#", "local_rope_theta": 0.0"#), "modernbert: rope_theta must be above 0, found 0");
        let odd = ModernBertConfig { hidden_size: 6, ..small("") };
        let message = odd.validate().unwrap_err().to_string();
        assert_eq!(message, "modernbert: hidden_size / num_attention_heads must be even, found 3");
    }

    #[test]
    fn windows_in_blocks_are_windows_by_mask_with_padding_on_either_side() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 5);
        let encoder = small("").init(&device).unwrap();
        let block = &encoder.layers[1];
        let x = Tensor::<3>::random([2, 40, 8], burn::tensor::Distribution::Default, &device);
        let kept: Vec<bool> = (0..80).map(|place| !(4..11).contains(&place) && place != 79).collect();
        let mask = Mask::from_kept(&kept, 2, 40, &device);
        let far = SlidingWindow::around(2).hidden(40, 40, &device).expand([2, 1, 40, 40]);
        let padding = mask.for_attention().expect("something is hidden").expand([2, 1, 40, 40]);
        let conditions =
            Conditions { hidden: Some(far.bool_or(padding)), rotary: Some(block.rotary), ..Default::default() };
        let by_mask = block.attention.forward_under(x.clone(), x.clone(), conditions);
        let difference = (block.mixed(x, &mask) - by_mask).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-6, "blocks and mask differ by {difference}");
    }

    #[test]
    fn without_padding_pieces_are_what_they_are_with_it() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        florin_backend::seed(&device, 6);
        let encoder = small("").init(&device).unwrap();
        let ids = Tensor::<1, Int>::arange(0..60, &device).remainder_scalar(9).reshape([3, 20]);
        // Behind the pieces, before them, and between: there they must stay as far apart as they are.
        for hidden in [[14..20, 20..20, 43..60], [0..6, 39..40, 40..41], [14..20, 25..31, 59..60]] {
            let kept: Vec<bool> = (0..60).map(|place| !hidden.iter().any(|of| of.contains(&place))).collect();
            let mask = Mask::from_kept(&kept, 3, 20, &device);
            let input = ModernBertInput { ids: ids.clone(), mask: mask.clone() };
            let exact = encoder.hidden_states(&input).pop().expect("the embeddings are a state");
            let gap = mask.zeroed(exact - encoder.forward(input).padded()).abs().max().into_scalar::<f32>();
            assert!(gap < 1e-5, "{hidden:?}: off by {gap}");
        }
    }
}
