//! What the systems of clips share: reading one, and the number of classes.

use burn::prelude::*;
use serde::Deserialize;

use crate::ModelError;
use crate::named_tensors::{Inputs, refused};
use crate::system::Checkpoint;

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

/// What a `config.json` says of classes.
#[derive(Deserialize)]
struct ClassesConfig {
    id2label: Option<serde_json::Map<String, serde_json::Value>>,
    num_labels: Option<usize>,
}

/// How many classes there are; two unless the configuration says, as in transformers.
pub(crate) fn classes(checkpoint: &Checkpoint) -> Result<usize, ModelError> {
    let config: ClassesConfig = checkpoint.config()?;
    let named = config.id2label.map_or(0, |labels| labels.len());
    let classes = config.num_labels.unwrap_or(if named == 0 { 2 } else { named });
    match classes {
        1..=1_048_576 => Ok(classes),
        _ => Err(checkpoint.refused(format!("num_labels must lie between 1 and 1048576, found {classes}"))),
    }
}
