//! Whisper as CTranslate2 keeps it: the configuration that its folder does not have, and its names of the encoder's parts.
//!
//! Such a folder's `config.json` lists words and heads and says nothing of sizes, which are those of the tensors.

use serde_json::{Value, json};

use crate::names::{Names, Rule, rule};
use crate::weights::Weights;

/// What CTranslate2 calls the model.
pub(crate) const SPECIFICATION: &str = "WhisperSpec";

/// What CTranslate2 calls the parts; the biases of queries, keys and values are one, that of keys zero.
const NAMES: [Rule; 22] = [
    rule("encoder.first.weight", "encoder/conv1/weight"),
    rule("encoder.first.bias", "encoder/conv1/bias"),
    rule("encoder.second.weight", "encoder/conv2/weight"),
    rule("encoder.second.bias", "encoder/conv2/bias"),
    rule("encoder.positions", "encoder/position_encodings/encodings"),
    rule("encoder.layers.#.attention.query.weight", "encoder/layer_#/self_attention/linear_0/weight").rows(0, 3),
    rule("encoder.layers.#.attention.query.bias", "encoder/layer_#/self_attention/linear_0/bias").rows(0, 3),
    rule("encoder.layers.#.attention.key.weight", "encoder/layer_#/self_attention/linear_0/weight").rows(1, 3),
    rule("encoder.layers.#.attention.value.weight", "encoder/layer_#/self_attention/linear_0/weight").rows(2, 3),
    rule("encoder.layers.#.attention.value.bias", "encoder/layer_#/self_attention/linear_0/bias").rows(2, 3),
    rule("encoder.layers.#.attention.output.weight", "encoder/layer_#/self_attention/linear_1/weight"),
    rule("encoder.layers.#.attention.output.bias", "encoder/layer_#/self_attention/linear_1/bias"),
    rule("encoder.layers.#.attention_norm.weight", "encoder/layer_#/self_attention/layer_norm/gamma"),
    rule("encoder.layers.#.attention_norm.bias", "encoder/layer_#/self_attention/layer_norm/beta"),
    rule("encoder.layers.#.mlp.up.weight", "encoder/layer_#/ffn/linear_0/weight"),
    rule("encoder.layers.#.mlp.up.bias", "encoder/layer_#/ffn/linear_0/bias"),
    rule("encoder.layers.#.mlp.down.weight", "encoder/layer_#/ffn/linear_1/weight"),
    rule("encoder.layers.#.mlp.down.bias", "encoder/layer_#/ffn/linear_1/bias"),
    rule("encoder.layers.#.mlp_norm.weight", "encoder/layer_#/ffn/layer_norm/gamma"),
    rule("encoder.layers.#.mlp_norm.bias", "encoder/layer_#/ffn/layer_norm/beta"),
    rule("encoder.norm.weight", "encoder/layer_norm/gamma"),
    rule("encoder.norm.bias", "encoder/layer_norm/beta"),
];

pub(crate) fn names() -> Names {
    Names::new(NAMES).ignoring(is_beside_the_encoder)
}

/// The decoder, the number of heads, and scales, which are read with what they scale.
fn is_beside_the_encoder(name: &str) -> bool {
    name.starts_with("decoder/") || name == "encoder/num_heads" || name.ends_with("_scale")
}

/// The configuration that transformers would have written; an error says which tensor it misses.
pub(crate) fn config(weights: &Weights) -> Result<Value, String> {
    let shape = |name: &str, rank: usize| {
        let found = weights.shape(name).filter(|shape| shape.len() == rank);
        found.ok_or_else(|| format!("there is no tensor `{name}` with {rank} dimensions, by which sizes are known"))
    };
    let convolution = shape("encoder/conv1/weight", 3)?;
    let inner = shape("encoder/layer_0/ffn/linear_0/weight", 2)?[0];
    let places = shape("encoder/position_encodings/encodings", 2)?[0];
    let layers = (0..).take_while(|layer| weights.has(&format!("encoder/layer_{layer}/ffn/layer_norm/gamma"))).count();
    let heads = weights.whole_numbers("encoder/num_heads").map_err(|error| error.to_string())?;
    Ok(json!({
        "model_type": "whisper",
        "architectures": ["WhisperModel"],
        "d_model": convolution[0],
        "num_mel_bins": convolution[1],
        "encoder_layers": layers,
        "encoder_attention_heads": heads.first().map_or(0, |&heads| heads.max(0)),
        "encoder_ffn_dim": inner,
        "max_source_positions": places,
    }))
}
