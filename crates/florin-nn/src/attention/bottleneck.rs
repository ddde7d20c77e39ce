//! Modalities that exchange only through a few shared tokens.
//!
//! Each modality m runs its own transformer block over its tokens and the shared bottlenecks, `[x_m; b_m] = block_m([x_m; b])`,
//! and the next layer's bottlenecks are the mean of what the modalities made of them, `b = mean_m b_m`.
//!
//! Paper: Nagrani et al. 2021 (MBT), <https://arxiv.org/abs/2107.00135>
//! Difference: the mean is over the modalities that a row has; in a row that has none the bottlenecks stay as they were.

use burn::prelude::*;

use crate::config_error::{ConfigError, none_is_zero};
use crate::{AttentionConfig, Mask, NormOrder, TransformerBlock, TransformerBlockConfig};

/// Sizes of a bottleneck layer; MBT has four bottlenecks, and uses such layers only from the middle of the network on.
#[derive(Clone, Debug)]
pub struct BottleneckLayerConfig {
    /// Width of all tokens.
    pub dim: usize,
    /// Attention heads; divides `dim`.
    pub heads: usize,
    /// Width inside the perceptrons.
    pub hidden: usize,
    /// How many modalities.
    pub modalities: usize,
    /// Epsilon of the norms; 1e-6 in ViT, which MBT is made of.
    pub epsilon: f64,
}

/// One exchange through bottlenecks.
#[derive(Module, Debug)]
pub struct BottleneckLayer {
    /// A pre-norm block a modality.
    pub blocks: Vec<TransformerBlock>,
}

impl BottleneckLayerConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        AttentionConfig::new(self.dim, self.heads).validate()?;
        none_is_zero(&[("bottleneck: hidden", self.hidden), ("bottleneck: modalities", self.modalities)])
    }

    /// New weights.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses.
    pub fn init(&self, device: &Device) -> BottleneckLayer {
        self.validate().unwrap_or_else(|error| panic!("{error}"));
        let block = TransformerBlockConfig::new(self.dim, self.heads, self.hidden, self.epsilon, NormOrder::Pre);
        BottleneckLayer { blocks: (0..self.modalities).map(|_| block.init(device)).collect() }
    }
}

impl BottleneckLayer {
    /// The modalities' tokens and the bottlenecks after the exchange. A row whose mask keeps nothing lacks that modality: its
    /// tokens are not read, its copy of the bottlenecks does not count, and what comes back in its tokens means nothing. A
    /// modality that no row has is not computed.
    ///
    /// # Shapes
    ///
    /// - streams: of each modality `[batch, its own seq, dim]`; so is the first of the result
    /// - masks: of each modality `[batch, its own seq]`
    /// - bottleneck: `[batch, bottlenecks, dim]`; so is the second of the result
    ///
    /// # Panics
    ///
    /// If there is not one stream and one mask a modality, or sizes disagree.
    pub fn forward(
        &self,
        streams: Vec<Tensor<3>>,
        masks: &[Mask],
        bottleneck: Tensor<3>,
    ) -> (Vec<Tensor<3>>, Tensor<3>) {
        let modalities = self.blocks.len();
        assert_eq!((streams.len(), masks.len()), (modalities, modalities), "one stream and one mask a modality");
        let shares = shares(masks);
        let [batch, count, _] = bottleneck.dims();
        let device = bottleneck.device();
        let weight =
            |values: &[f32]| Tensor::<1>::from_floats(values, &device).reshape([batch, 1, 1]).cast(bottleneck.dtype());
        let mut mean = bottleneck.clone() * weight(&shares.of_none);
        let mut results = Vec::with_capacity(modalities);
        for (((block, stream), mask), share) in self.blocks.iter().zip(streams).zip(masks).zip(&shares.of_each) {
            if share.iter().all(|share| *share == 0.0) {
                results.push(stream);
                continue;
            }
            let [_, seq, _] = stream.dims();
            let joined = Tensor::cat(vec![mask.zeroed(stream), bottleneck.clone()], 1);
            let hidden = mask.hides_any().then(|| mask.followed_by_kept(count).unsqueeze_dims::<4>(&[1, 2]));
            let joined = block.forward(joined, hidden, None);
            results.push(joined.clone().narrow(1, 0, seq));
            mean = mean + joined.narrow(1, seq, count) * weight(share);
        }
        (results, mean)
    }
}

/// How much each modality's bottlenecks count in each row of the batch.
struct Shares {
    of_each: Vec<Vec<f32>>,
    /// What the old bottlenecks count: one where a row has no modality.
    of_none: Vec<f32>,
}

fn shares(masks: &[Mask]) -> Shares {
    let has = |mask: &Mask, row: usize| mask.lengths()[row] > 0;
    let batch = masks.first().map_or(0, |mask| mask.lengths().len());
    let present: Vec<usize> = (0..batch).map(|row| masks.iter().filter(|mask| has(mask, row)).count()).collect();
    let share = |mask: &Mask, row: usize| if has(mask, row) { 1.0 / present[row] as f32 } else { 0.0 };
    Shares {
        of_each: masks.iter().map(|mask| (0..batch).map(|row| share(mask, row)).collect()).collect(),
        of_none: present.iter().map(|&count| if count == 0 { 1.0 } else { 0.0 }).collect(),
    }
}
