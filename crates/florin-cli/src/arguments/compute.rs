//! On which device, and in which precision.

use burn::prelude::Device;
use clap::Args;
use florin_models::WeightFormat;

/// Where a model computes, and how.
#[derive(Debug, Args)]
pub(crate) struct ComputeOptions {
    /// Device by name; see `florin devices`
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub(crate) device: String,
    /// Precision of the weights: bf16 takes half the memory of f32, int8 a quarter, and is the fastest [default: that of a
    /// packed model, f32 otherwise]
    #[arg(long, value_name = "PRECISION", value_parser = precision)]
    pub(crate) precision: Option<WeightFormat>,
}

impl ComputeOptions {
    /// The device, and the format of weights on it where one is asked for.
    pub(crate) fn open(&self) -> anyhow::Result<(Device, Option<WeightFormat>)> {
        let device = florin_backend::device(&self.device)?;
        if let Some(format) = self.precision.filter(|&format| format != WeightFormat::F32 && self.device != "cpu") {
            anyhow::bail!("--precision {} is for the device cpu, found {}", format.name(), self.device);
        }
        Ok((device, self.precision))
    }
}

/// A precision of weights by its name.
pub(super) fn precision(text: &str) -> Result<WeightFormat, String> {
    let names = WeightFormat::ALL.map(WeightFormat::name);
    let known = WeightFormat::ALL.into_iter().find(|format| format.name() == text);
    known.ok_or_else(|| format!("expected one of {}", names.join(", ")))
}
