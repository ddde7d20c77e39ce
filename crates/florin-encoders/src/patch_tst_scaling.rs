//! How PatchTST brings the channels of a series to one scale, by what was observed of each.
//!
//! Paper: Kim et al. 2022 (RevIN), <https://openreview.net/forum?id=cGDAkQo1C0p>
//! Difference: no learned scale and shift, as in transformers.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, no_such};

/// What a configuration calls the scaling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ScalingName {
    /// `std` or `mean`.
    Named(String),
    /// True stands for `mean`, false for none.
    Switch(bool),
}

/// How a channel is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// By the mean and the standard deviation of its observed values.
    Deviation,
    /// By the mean of its observed absolute values. A channel of which a row observed nothing takes what the whole batch
    /// observed of it.
    Magnitude,
    /// Not at all.
    Nothing,
}

/// A scaled series: `values · scale + location` are the original ones.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// `[batch, steps, channels]`
    pub values: Tensor<3>,
    /// `[batch, 1, channels]`
    pub location: Tensor<3>,
    /// `[batch, 1, channels]`
    pub scale: Tensor<3>,
}

impl Scaling {
    /// The scaling of a configuration's name; none where it has none.
    pub fn of(name: Option<&ScalingName>) -> Result<Self, ConfigError> {
        match name {
            None | Some(ScalingName::Switch(false)) => Ok(Self::Nothing),
            Some(ScalingName::Switch(true)) => Ok(Self::Magnitude),
            Some(ScalingName::Named(name)) => match name.as_str() {
                "mean" => Ok(Self::Magnitude),
                "std" => Ok(Self::Deviation),
                _ => Err(no_such("patchtst", "scaling", "std, mean, true or nothing", name)),
            },
        }
    }

    /// Scales a series whose missing values are zero. Those count for nothing in the statistics; what they become is what zero
    /// becomes.
    ///
    /// # Shapes
    ///
    /// - values, observed: `[batch, steps, channels]`, observed one where there is a value and zero where there is none
    pub fn scale(self, values: Tensor<3>, observed: Tensor<3>) -> Scaled {
        let [batch, _, channels] = values.dims();
        match self {
            Self::Deviation => by_deviation(values, observed),
            Self::Magnitude => by_magnitude(values, observed),
            Self::Nothing => {
                let one = Tensor::ones([batch, 1, channels], (&values.device(), values.dtype()));
                Scaled { values, location: one.zeros_like(), scale: one }
            }
        }
    }
}

fn by_deviation(values: Tensor<3>, observed: Tensor<3>) -> Scaled {
    let count = observed.clone().sum_dim(1).clamp_min(1.0);
    let location = (values.clone() * observed.clone()).sum_dim(1) / count.clone();
    let centred = values - location.clone();
    let variance = (centred.clone() * observed).square().sum_dim(1) / count;
    let scale = (variance + 1e-5).sqrt();
    Scaled { values: centred / scale.clone(), location, scale }
}

fn by_magnitude(values: Tensor<3>, observed: Tensor<3>) -> Scaled {
    let sum = (values.clone() * observed.clone()).abs().sum_dim(1);
    let count = observed.sum_dim(1);
    let of_batch = sum.clone().sum_dim(0) / count.clone().sum_dim(0).clamp_min(1.0); // [1, 1, channels]
    let own = sum / count.clone().clamp_min(1.0);
    let unseen = count.equal_elem(0.0);
    let scale = own.clone().mask_where(unseen, of_batch.expand(own.dims())).clamp_min(1e-10);
    Scaled { values: values / scale.clone(), location: scale.zeros_like(), scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_observed_values_count_and_a_channel_without_any_takes_the_batch_s() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let values = Tensor::<3>::from_floats([[[2.0], [-4.0], [0.0]], [[0.0], [0.0], [0.0]]], &device);
        let observed = Tensor::<3>::from_floats([[[1.0], [1.0], [0.0]], [[0.0], [0.0], [0.0]]], &device);
        let floats = |tensor: Tensor<3>| tensor.into_data().try_to_vec::<f32>().expect("f32");
        let scaled = Scaling::Magnitude.scale(values.clone(), observed.clone());
        assert_eq!(floats(scaled.scale), [3.0, 3.0]);
        assert_eq!(floats(scaled.location), [0.0, 0.0]);
        let scaled = Scaling::Deviation.scale(values, observed);
        assert_eq!(floats(scaled.location), [-1.0, 0.0]);
        let scale = floats(scaled.scale);
        assert!((scale[0] - 3.0).abs() < 1e-5 && (scale[1] - 1e-5f32.sqrt()).abs() < 1e-8, "{scale:?}");
    }

    #[test]
    fn unknown_scalings_are_refused() {
        let name = |name: &str| ScalingName::Named(name.to_owned());
        assert_eq!(Scaling::of(Some(&name("std"))).unwrap(), Scaling::Deviation);
        assert_eq!(Scaling::of(Some(&ScalingName::Switch(true))).unwrap(), Scaling::Magnitude);
        assert_eq!(Scaling::of(None).unwrap(), Scaling::Nothing);
        let error = Scaling::of(Some(&name("max"))).unwrap_err().to_string();
        assert_eq!(error, "patchtst: scaling must be std, mean, true or nothing, found max");
    }
}
