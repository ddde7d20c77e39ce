//! The causal temporal convolution as a system: Florin's own layout, with PyTorch's names and shapes of one-dimensional
//! convolutions (`blocks.0.first.weight` is `[output, input, kernel_size]`).
//!
//! Paper: Bai et al. 2018 (TCN), <https://arxiv.org/abs/1803.01271>
//! Difference: that of the encoder.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{TemporalConvolutionConfig, TemporalConvolutionEncoder, TemporalConvolutionInput, last_kept};

use crate::ModelError;
use crate::marks::maybe_marks;
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::names::{Names, rule};
use crate::system::{Checkpoint, Forward, Opened, Wanted};

/// The encoder.
#[derive(Module, Debug)]
pub struct TemporalConvolution {
    /// The encoder.
    pub encoder: TemporalConvolutionEncoder,
    channels: usize,
}

impl TemporalConvolution {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let config: TemporalConvolutionConfig = checkpoint.config()?;
        let module = Self { encoder: config.init(device)?, channels: config.input_channels };
        checkpoint.fill(module, Names::new([rule("encoder", "")]))
    }
}

impl Forward for TemporalConvolution {
    fn wants(&self) -> Vec<Wanted> {
        vec![
            Wanted::needed("past_values", "[batch, steps, channels]"),
            Wanted::optional("past_observed_mask", "[batch, steps, channels]"),
            Wanted::optional("attention_mask", "[batch, steps]"),
        ]
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let values = inputs.tensor::<3>("past_values", "[batch, steps, channels]")?;
        let [batch, steps, channels] = values.dims();
        if channels != self.channels {
            let expected = format!("{} channels a step", self.channels);
            return Err(refused("past_values", &expected, &channels.to_string()));
        }
        let observed = maybe_marks(inputs, "past_observed_mask", [batch, steps, channels])?;
        let mask = inputs.mask("attention_mask", [batch, steps])?;
        let states = self.encoder.forward(&TemporalConvolutionInput { values, observed, mask: mask.clone() });
        let last = states[states.len() - 1].clone();
        let pooled = last_kept(last.clone(), &mask);
        Ok(Outputs::new().with("last_hidden_state", last).with("pooler_output", pooled).with_hidden_states(states))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_channels_are_refused_and_any_length_is_taken() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let config = TemporalConvolutionConfig { input_channels: 2, channels: vec![4], kernel_size: 2 };
        let model = TemporalConvolution { encoder: config.init(&device).unwrap(), channels: 2 };
        let series = |steps: usize, channels: usize| {
            Inputs::new(&device).floats("past_values", &[1, steps, channels], vec![0.5; steps * channels])
        };
        let error = model.forward(&series(3, 1)).unwrap_err().to_string();
        assert_eq!(error, "input past_values: expected 2 channels a step, found 1");
        for steps in [1, 9] {
            let outputs = model.forward(&series(steps, 2)).unwrap();
            assert_eq!(outputs.get("last_hidden_state").unwrap().shape, [1, steps, 4]);
        }
    }
}
