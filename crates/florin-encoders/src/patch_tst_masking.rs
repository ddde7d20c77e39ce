//! Which patches PatchTST hides from itself in pre-training: some at random, or the last.
//!
//! Paper: Nie et al. 2022 (PatchTST), <https://arxiv.org/abs/2211.14730>
//! Difference: the noise that chooses is given, so that a mask can be drawn again.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, no_such};

/// How patches are hidden, under transformers' names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PatchTstMaskingConfig {
    /// `random` or `forecast`.
    pub mask_type: String,
    /// Share of the patches that are hidden at random, from 0 up to, not including, 1.
    pub random_mask_ratio: f64,
    /// How many of the last patches are hidden to be forecast.
    pub num_forecast_mask_patches: Option<ForecastPatches>,
    /// Whether the channels of a row hide the same patches.
    pub channel_consistent_masking: Option<bool>,
    /// Channels that hide nothing.
    pub unmasked_channel_indices: Option<Vec<usize>>,
    /// What stands in the place of a hidden value.
    pub mask_value: f64,
}

/// One number for all rows, or several that rows are dealt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ForecastPatches {
    /// One for all.
    One(usize),
    /// Dealt among the rows.
    Several(Vec<usize>),
}

impl Default for PatchTstMaskingConfig {
    fn default() -> Self {
        Self {
            mask_type: "random".to_owned(),
            random_mask_ratio: 0.5,
            num_forecast_mask_patches: Some(ForecastPatches::Several(vec![2])),
            channel_consistent_masking: Some(false),
            unmasked_channel_indices: None,
            mask_value: 0.0,
        }
    }
}

impl PatchTstMaskingConfig {
    /// Refuses what cannot be done with so many patches and channels.
    pub fn validate(&self, patches: usize, channels: usize) -> Result<(), ConfigError> {
        if !["random", "forecast"].contains(&self.mask_type.as_str()) {
            return Err(no_such("patchtst", "mask_type", "random or forecast", &self.mask_type));
        }
        if !(0.0..1.0).contains(&self.random_mask_ratio) {
            return Err(no_such("patchtst", "random_mask_ratio", "from 0 to below 1", self.random_mask_ratio));
        }
        if self.mask_type == "forecast" && !self.counts().iter().all(|count| (1..patches).contains(count)) {
            let found = format!("{:?} of {patches}", self.counts());
            return Err(no_such("patchtst", "num_forecast_mask_patches", "above 0 and below the patches", found));
        }
        match self.open_channels().iter().find(|&&channel| channel >= channels) {
            Some(channel) => Err(no_such("patchtst", "unmasked_channel_indices", "below num_input_channels", channel)),
            None => Ok(()),
        }
    }

    /// The one number of last patches that every row hides, if a row's mask does not depend on chance.
    pub fn forecast(&self) -> Option<usize> {
        match (self.mask_type.as_str(), self.counts()) {
            ("forecast", &[count]) => Some(count),
            _ => None,
        }
    }

    /// How many channels the noise has.
    pub fn noise_channels(&self, channels: usize) -> usize {
        if self.channel_consistent_masking == Some(true) { 1 } else { channels }
    }

    /// The patches with the least noise stay.
    ///
    /// # Shapes
    ///
    /// - noise: `[batch, noise_channels, patches]`
    /// - output: `[batch, channels, patches]`, true where hidden
    pub fn at_random(&self, noise: Tensor<3>, channels: usize) -> Tensor<3, Bool> {
        let [batch, _, patches] = noise.dims();
        let kept = (patches as f64 * (1.0 - self.random_mask_ratio)) as usize;
        let rank = noise.argsort(2).argsort(2);
        self.opened(rank.greater_equal_elem(kept as i64).expand([batch, channels, patches]))
    }

    /// The last patches are hidden.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, channels, patches]`, true where hidden
    pub fn at_the_end(&self, count: usize, shape: [usize; 3], device: &Device) -> Tensor<3, Bool> {
        let last: Vec<bool> = (0..shape[2]).map(|patch| patch + count >= shape[2]).collect();
        let last = Tensor::<3, Bool>::from_data(TensorData::new(last, [1, 1, shape[2]]), device);
        self.opened(last.expand(shape))
    }

    /// Without hidden patches in the channels that hide nothing.
    fn opened(&self, hidden: Tensor<3, Bool>) -> Tensor<3, Bool> {
        if self.open_channels().is_empty() {
            return hidden;
        }
        let [batch, channels, patches] = hidden.dims();
        let closed: Vec<bool> = (0..channels).map(|channel| !self.open_channels().contains(&channel)).collect();
        let closed = Tensor::<3, Bool>::from_data(TensorData::new(closed, [1, channels, 1]), &hidden.device());
        hidden.bool_and(closed.expand([batch, channels, patches]))
    }

    fn counts(&self) -> &[usize] {
        match &self.num_forecast_mask_patches {
            Some(ForecastPatches::One(count)) => std::slice::from_ref(count),
            Some(ForecastPatches::Several(counts)) => counts,
            None => &[],
        }
    }

    fn open_channels(&self) -> &[usize] {
        self.unmasked_channel_indices.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_noise_stays_and_open_channels_hide_nothing() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let marks = |tensor: Tensor<3, Bool>| tensor.into_data().try_to_vec::<bool>().expect("marks");
        let config = PatchTstMaskingConfig { unmasked_channel_indices: Some(vec![1]), ..Default::default() };
        let noise = Tensor::<3>::from_floats([[[0.9, 0.1, 0.5], [0.9, 0.1, 0.5]]], &device);
        assert_eq!(marks(config.at_random(noise, 2)), [true, false, true, false, false, false]);
        let config = PatchTstMaskingConfig::default();
        assert_eq!(marks(config.at_the_end(2, [1, 1, 3], &device)), [false, true, true]);
        assert_eq!((config.forecast(), config.noise_channels(3)), (None, 3));
    }

    #[test]
    fn what_cannot_be_hidden_is_refused() {
        let forecast = |counts| PatchTstMaskingConfig {
            mask_type: "forecast".to_owned(),
            num_forecast_mask_patches: Some(ForecastPatches::Several(counts)),
            ..Default::default()
        };
        assert_eq!(forecast(vec![2]).forecast(), Some(2));
        assert!(forecast(vec![2]).validate(3, 1).is_ok());
        assert!(forecast(vec![3]).validate(3, 1).is_err());
        let config = PatchTstMaskingConfig { unmasked_channel_indices: Some(vec![2]), ..Default::default() };
        assert!(config.validate(3, 2).is_err() && config.validate(3, 3).is_ok());
        let config = PatchTstMaskingConfig { random_mask_ratio: 1.0, ..Default::default() };
        let error = config.validate(3, 2).unwrap_err().to_string();
        assert_eq!(error, "patchtst: random_mask_ratio must be from 0 to below 1, found 1");
    }
}
