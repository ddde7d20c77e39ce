//! The operations as Burn has them, one after another: for every device and precision that the fused ones do not serve.

use burn::backend::DispatchDevice;
use burn::prelude::*;

use crate::{AttentionOptions, softmax};

/// Sizes that a graphics card's matrix product is given: multiples of this.
const WHOLE: usize = 8;

/// See [`crate::product`].
pub(crate) fn product<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    if is_processor(&left) {
        return left.matmul(right);
    }
    // Burn 0.22.1 on Vulkan gives zeros where the inner size is odd, and either other size is the inner one of a gradient.
    let (rows, columns) = (left.dims()[D - 2], right.dims()[D - 1]);
    let padded = |x: Tensor<D>| lengthened(lengthened(x, D - 2), D - 1);
    padded(left).matmul(padded(right)).narrow(D - 2, 0, rows).narrow(D - 1, 0, columns)
}

/// With zeros after it, up to the next multiple of [`WHOLE`].
fn lengthened<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    let mut shape = x.dims();
    let missing = shape[dim].next_multiple_of(WHOLE) - shape[dim];
    if missing == 0 {
        return x;
    }
    shape[dim] = missing;
    let zeros = Tensor::<D>::zeros(shape, &x.device()).cast(x.dtype());
    Tensor::cat(vec![x, zeros], dim)
}

fn is_processor<const D: usize>(x: &Tensor<D>) -> bool {
    match x.device().without_autodiff().as_dispatch() {
        DispatchDevice::Flex(_) => true,
        #[cfg(feature = "ndarray")]
        DispatchDevice::NdArray(_) => true,
        #[allow(unreachable_patterns, reason = "without other devices there is nothing else")]
        _ => false,
    }
}

/// See [`crate::attention`].
pub(crate) fn attention(
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
    let mut scores = product(query * scale, key.swap_dims(2, 3)); // [batch, heads, queries, keys]
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
    let Some(hidden) = hidden else { return product(softmax(scores, 3), value) };
    // A large finite number instead of infinity keeps a fully hidden row free of NaN; its weights are then zeroed.
    let weights = softmax(scores.mask_fill(hidden.clone(), -1e30), 3).mask_fill(hidden, 0.0);
    product(weights, value)
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

/// See [`crate::linear`]; x is `[rows, input]`.
pub(crate) fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let y = product(x, weight);
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// See [`crate::layer_norm`].
pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<1>,
    shift: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<D> {
    let centred = x.clone() - x.mean_dim(D - 1);
    let variance = centred.clone().square().mean_dim(D - 1);
    let y = centred / (variance + epsilon).sqrt() * scale.unsqueeze();
    match shift {
        Some(shift) => y + shift.unsqueeze(),
        None => y,
    }
}
