//! The loss that transformers adds to logits when labels are given.

use burn::prelude::*;
use florin_backend::cross_entropy;

use crate::ModelError;
use crate::named_tensors::{Inputs, refused};

/// The label of what does not count.
const IGNORED: i64 = -100;

/// Cross-entropy of the input `labels`, averaged over those that are not -100; none without labels.
///
/// # Shapes
///
/// - logits: `[rows, classes]`, in the order of the labels
/// - output: `[1]`
pub(crate) fn label_loss<const D: usize>(inputs: &Inputs, logits: Tensor<2>) -> Result<Option<Tensor<1>>, ModelError> {
    class_loss::<D>(inputs, "labels", logits)
}

/// The same of an input with a name of its own.
///
/// # Shapes
///
/// - logits: `[rows, classes]`, in the order of the labels
/// - output: `[1]`
pub(crate) fn class_loss<const D: usize>(
    inputs: &Inputs,
    name: &str,
    logits: Tensor<2>,
) -> Result<Option<Tensor<1>>, ModelError> {
    let [rows, classes] = logits.dims();
    let Some((shape, labels)) = inputs.maybe_whole::<D>(name, "one a row of logits")? else { return Ok(None) };
    if labels.len() != rows {
        return Err(refused(name, &format!("{rows} numbers"), &format!("shape {shape:?}")));
    }
    if let Some(beyond) = labels.iter().find(|&&label| label != IGNORED && !(0..classes as i64).contains(&label)) {
        return Err(refused(name, &format!("-100 or numbers from 0 to {}", classes - 1), &beyond.to_string()));
    }
    let keep: Vec<bool> = labels.iter().map(|&label| label != IGNORED).collect();
    let targets: Vec<i32> = labels.iter().map(|&label| label.max(0) as i32).collect();
    let (targets, keep) = (TensorData::new(targets, [rows]), TensorData::new(keep, [rows]));
    let (targets, keep) = (Tensor::from_data(targets, inputs.device()), Tensor::from_data(keep, inputs.device()));
    Ok(Some(cross_entropy(logits, targets, Some(keep))))
}

/// The mean squared distance from an input of the same shape; none without it.
///
/// # Shapes
///
/// - found: any
/// - output: `[1]`
pub(crate) fn square_loss<const D: usize>(
    inputs: &Inputs,
    name: &str,
    found: Tensor<D>,
) -> Result<Option<Tensor<1>>, ModelError> {
    let shape = found.dims();
    let Some(expected) = inputs.maybe_tensor::<D>(name, &format!("shape {shape:?}"))? else { return Ok(None) };
    if expected.dims() != shape {
        return Err(refused(name, &format!("shape {shape:?}"), &format!("shape {:?}", expected.dims())));
    }
    Ok(Some((found - expected).square().mean()))
}
