//! The operations, composed from Burn's.

use burn::prelude::*;
use burn::tensor::activation as burn_activation;

/// What follows a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x·Φ(x)` by the error function: BERT, ViT.
    Gelu,
    /// The same by a hyperbolic tangent: GPT-2, SigLIP.
    GeluTanh,
    /// `x·σ(1.702x)`: OpenAI's CLIP.
    QuickGelu,
    /// `max(x, 0)`
    Relu,
    /// `x·σ(x)`
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// Nothing.
    Identity,
}

/// How attention scores are scaled and which keys a query may see.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttentionOptions {
    /// Factor of the scores; `1/√head_dim` unless given.
    pub scale: Option<f64>,
    /// Whether a query sees only keys up to its own place, aligned at the end.
    pub causal: bool,
}

/// Scaled dot-product attention. A query that may see no key gives zero.
///
/// # Shapes
///
/// - query: `[batch, heads, queries, head_dim]`
/// - key, value: `[batch, key heads, keys, head_dim]`, key heads dividing heads
/// - hidden (true: must not be seen), bias (added to the scaled scores): broadcastable to `[batch, heads, queries, keys]`
/// - output: `[batch, heads, queries, head_dim]`
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
    bias: Option<Tensor<4>>,
    options: AttentionOptions,
) -> Tensor<4> {
    let [batch, heads, queries, head_dim] = query.dims();
    let [_, key_heads, keys, _] = key.dims();
    let scale = options.scale.unwrap_or_else(|| 1.0 / (head_dim as f64).sqrt());
    let group = |x: Tensor<4>| if key_heads == heads { x } else { repeat_heads(x, heads / key_heads) };
    let (key, value) = (group(key), group(value));
    let mut scores = (query * scale).matmul(key.swap_dims(2, 3)); // [batch, heads, queries, keys]
    if let Some(bias) = bias {
        scores = scores + bias;
    }
    let shape = [batch, heads, queries, keys];
    let causal = options.causal.then(|| later_keys(queries, keys, &scores.device()).expand(shape));
    let hidden = hidden.map(|hidden| hidden.expand(shape));
    let hidden = match (hidden, causal) {
        (Some(hidden), Some(causal)) => Some(hidden.bool_or(causal)),
        (hidden, causal) => hidden.or(causal),
    };
    let Some(hidden) = hidden else { return softmax(scores, 3).matmul(value) };
    // A large finite number instead of infinity keeps a fully hidden row free of NaN; its weights are then zeroed.
    let weights = softmax(scores.mask_fill(hidden.clone(), -1e30), 3).mask_fill(hidden, 0.0);
    weights.matmul(value)
}

fn repeat_heads(x: Tensor<4>, times: usize) -> Tensor<4> {
    let [batch, heads, seq, dim] = x.dims();
    x.unsqueeze_dim::<5>(2).expand([batch, heads, times, seq, dim]).reshape([batch, heads * times, seq, dim])
}

/// True where a key stands after its query, both aligned at the end.
fn later_keys(queries: usize, keys: usize, device: &Device) -> Tensor<4, Bool> {
    let marks: Vec<bool> = (0..queries * keys).map(|i| i % keys + queries > i / keys + keys).collect();
    Tensor::from_data(TensorData::new(marks, [1, 1, queries, keys]), device)
}

/// `x · weight + bias`.
///
/// # Shapes
///
/// - x: `[.., input]`, weight: `[input, output]`, bias: `[output]`, output: `[.., output]`
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let mut shape = x.dims();
    let [input, output] = weight.dims();
    let rows = shape[..D - 1].iter().product();
    shape[D - 1] = output;
    let y = x.reshape([rows, input]).matmul(weight);
    let y = match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    };
    y.reshape(shape)
}

/// A linear layer and its activation.
pub fn linear_activation<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    kind: Activation,
) -> Tensor<D> {
    activation(linear(x, weight, bias), kind)
}

/// An activation.
pub fn activation<const D: usize>(x: Tensor<D>, kind: Activation) -> Tensor<D> {
    match kind {
        Activation::Gelu => burn_activation::gelu(x),
        Activation::GeluTanh => burn_activation::gelu_approximate(x),
        Activation::QuickGelu => x.clone() * burn_activation::sigmoid(x * 1.702),
        Activation::Relu => burn_activation::relu(x),
        Activation::Silu => burn_activation::silu(x),
        Activation::Tanh => x.tanh(),
        Activation::Identity => x,
    }
}

/// Layer normalisation over the last dimension.
pub fn layer_norm<const D: usize>(x: Tensor<D>, scale: Tensor<1>, shift: Option<Tensor<1>>, epsilon: f64) -> Tensor<D> {
    let centred = x.clone() - x.mean_dim(D - 1);
    let variance = centred.clone().square().mean_dim(D - 1);
    let y = centred / (variance + epsilon).sqrt() * scale.unsqueeze();
    match shift {
        Some(shift) => y + shift.unsqueeze(),
        None => y,
    }
}

/// Layer normalisation of `x + residual`.
pub fn add_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    scale: Tensor<1>,
    shift: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<D> {
    layer_norm(x + residual, scale, shift, epsilon)
}

/// Softmax along a dimension.
pub fn softmax<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    burn_activation::softmax(x, dim)
}

/// Logarithm of the softmax along a dimension.
pub fn log_softmax<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    burn_activation::log_softmax(x, dim)
}

/// Rows of a table.
///
/// # Shapes
///
/// - table: `[entries, dim]`, ids: `[batch, seq]`, output: `[batch, seq, dim]`
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    let [batch, seq] = ids.dims();
    let [_, dim] = table.dims();
    table.select(0, ids.reshape([batch * seq])).reshape([batch, seq, dim])
}

/// Cross-entropy of class indices, averaged over the kept rows; zero where none is kept.
///
/// # Shapes
///
/// - logits: `[rows, classes]`, targets: `[rows]`, keep: `[rows]`, output: `[1]`
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, keep: Option<Tensor<1, Bool>>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let picked = log_softmax(logits, 1).gather(1, targets.reshape([rows, 1])).reshape([rows]);
    match keep {
        Some(keep) => {
            let kept = keep.float();
            (picked * kept.clone()).sum().neg() / kept.sum().clamp_min(1.0)
        }
        None => picked.mean().neg(),
    }
}
