//! What the systems of clips share: reading one.

use burn::prelude::*;

use crate::ModelError;
use crate::named_tensors::{Inputs, refused};

/// The input `pixel_values` with so many channels.
///
/// # Shapes
///
/// - output: `[batch, frames, channels, height, width]`
pub(crate) fn clips(inputs: &Inputs, channels: usize) -> Result<Tensor<5>, ModelError> {
    let pixels = inputs.tensor::<5>("pixel_values", "[batch, frames, channels, height, width]")?;
    let [_, _, found, _, _] = pixels.dims();
    if found == channels {
        Ok(pixels)
    } else {
        Err(refused("pixel_values", &format!("{channels} channels in the third dimension"), &found.to_string()))
    }
}
