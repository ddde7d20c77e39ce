//! The operations as Burn has them, one after another: for every device and precision that the fused ones do not serve.

use std::sync::OnceLock;

use burn::backend::DispatchDevice;
use burn::prelude::*;

use crate::{AttentionOptions, log_softmax, softmax};

/// See [`crate::product`].
pub(crate) fn product<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    if !is_processor(&left) && card_is_software() { sum_of_products(left, right) } else { left.matmul(right) }
}

/// The product without a matrix kernel. Burn 0.22.1's `SimpleUnit`, its only one for devices without matrix units, gives zeros on
/// Vulkan in software, and autotuning picks it by chance.
fn sum_of_products<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    let mut shape = left.dims();
    let (rows, inner, columns) = (shape[D - 2], shape[D - 1], right.dims()[D - 1]);
    let batch = shape[..D - 2].iter().product();
    shape[D - 1] = columns;
    let left: Tensor<4> = left.reshape([batch, rows, inner, 1]);
    let right: Tensor<4> = right.reshape([batch, 1, inner, columns]);
    (left * right).sum_dim(2).reshape(shape)
}

/// Whether graphics devices are drivers in software, as everywhere without a graphics card.
fn card_is_software() -> bool {
    static SOFTWARE: OnceLock<bool> = OnceLock::new();
    *SOFTWARE.get_or_init(|| std::env::var("CUBECL_WGPU_DEFAULT_DEVICE").is_ok_and(|kind| kind == "Cpu"))
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

/// See [`crate::attention_of_sequences`].
pub(crate) fn attention_of_sequences(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    lengths: &[usize],
    options: AttentionOptions,
) -> Tensor<4> {
    let mut first = 0;
    let mut each = Vec::with_capacity(lengths.len());
    for &length in lengths.iter().filter(|length| **length > 0) {
        let [query, key, value] = [&query, &key, &value].map(|x| x.clone().narrow(2, first, length));
        each.push(attention(query, key, value, None, None, options));
        first += length;
    }
    if each.is_empty() { query } else { Tensor::cat(each, 2) }
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
    let sight = options.sight();
    let far =
        (sight != [usize::MAX; 2]).then(|| keys_out_of_sight(queries, keys, sight, &scores.device()).expand(shape));
    let hidden = hidden.map(|hidden| hidden.expand(shape));
    let hidden = match (hidden, far) {
        (Some(hidden), Some(far)) => Some(hidden.bool_or(far)),
        (hidden, far) => hidden.or(far),
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

/// True where a key stands further before its query, or after it, than that sees; both are aligned at the end.
fn keys_out_of_sight(queries: usize, keys: usize, [before, after]: [usize; 2], device: &Device) -> Tensor<4, Bool> {
    let far = |at: usize| {
        let (query, key) = (at / keys + keys, at % keys + queries);
        query.saturating_sub(key) > before || key.saturating_sub(query) > after
    };
    let marks: Vec<bool> = (0..queries * keys).map(far).collect();
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

/// See [`crate::Activation::Gelu`]. Not Burn 0.22.1's own, whose gradient is that of the hyperbolic tangent's form on all backends but flex.
pub(crate) fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let share = ((x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    x * share
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

/// See [`crate::smoothed_log_likelihood`].
pub(crate) fn log_likelihood(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    keep: Option<Tensor<1, Bool>>,
    smoothing: f64,
) -> Tensor<1> {
    let [rows, classes] = logits.dims();
    let (logits, targets) = match &keep {
        Some(keep) => {
            let ignored = keep.clone().bool_not();
            let of_rows = ignored.clone().unsqueeze_dim::<2>(1).expand([rows, classes]);
            (logits.mask_fill(of_rows, 0.0), targets.mask_fill(ignored, 0))
        }
        None => (logits, targets),
    };
    let logarithms = log_softmax(logits, 1);
    let picked = logarithms.clone().gather(1, targets.reshape([rows, 1]));
    let picked = if smoothing > 0.0 { picked * (1.0 - smoothing) + logarithms.mean_dim(1) * smoothing } else { picked };
    let picked = picked.reshape([rows]);
    match keep {
        Some(keep) => picked.mask_fill(keep.bool_not(), 0.0),
        None => picked,
    }
}
