//! The symmetric contrastive loss of paired embeddings: each picture picks its text among all texts, and each text its picture.
//!
//! `loss = ½ (mean_i CE(s·Îᵢ·T̂, i) + mean_i CE(s·T̂ᵢ·Î, i))`, s = exp(log scale).
//!
//! Paper: Radford et al. 2021 (CLIP), <https://arxiv.org/abs/2103.00020>
//! Difference: scores exist a chunk of rows at a time, see `contrast`; value and gradients are the same.

use std::ops::Range;

use burn::prelude::*;
use florin_backend::{KeyLists, RowTargets, unit_rows};

use crate::contrast::{Similarities, both_directions};

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct ClipLoss {
    /// Rows whose scores exist at a time; memory grows with batch times this, speed hardly from some hundred on.
    pub chunk: usize,
}

/// What the other ranks of a data-parallel batch hold too.
#[derive(Clone, Debug)]
pub struct GatheredPairs {
    /// Pictures of all ranks in rank order, `[all, dim]`; this rank's own part must carry gradients.
    pub image: Tensor<2>,
    /// Texts of all ranks, `[all, dim]`.
    pub text: Tensor<2>,
    /// Where this rank's rows begin among all: rank times local batch.
    pub first: usize,
}

/// The loss and its two directions.
#[derive(Clone, Debug)]
pub struct ClipLossParts {
    /// Mean of both directions, `[1]`.
    pub loss: Tensor<1>,
    /// Pictures picking texts, `[1]`.
    pub image_to_text: Tensor<1>,
    /// Texts picking pictures, `[1]`.
    pub text_to_image: Tensor<1>,
}

impl Default for ClipLoss {
    fn default() -> Self {
        Self { chunk: 512 }
    }
}

impl ClipLossParts {
    fn new([image_to_text, text_to_image]: [Tensor<1>; 2]) -> Self {
        let loss = (image_to_text.clone() + text_to_image.clone()) / 2.0;
        Self { loss, image_to_text, text_to_image }
    }
}

impl ClipLoss {
    /// Pairs of one rank.
    ///
    /// # Shapes
    ///
    /// - image, text: `[batch, dim]`, of any length: they are normalised here; row i of both is a pair
    /// - log_scale: `[1]`, see [`LogitScale`](crate::LogitScale)
    ///
    /// # Panics
    ///
    /// If pictures and texts are not pairs.
    pub fn forward(&self, image: Tensor<2>, text: Tensor<2>, log_scale: Tensor<1>) -> ClipLossParts {
        assert_eq!(text.dims(), image.dims(), "pictures and texts must be pairs");
        let [batch, _] = image.dims();
        let [image, text] = [image, text].map(unit_rows);
        if batch > self.chunk {
            let all = GatheredPairs { image: image.clone(), text: text.clone(), first: 0 };
            return self.directions(image, text, log_scale, all);
        }
        let sums = both_directions(image, text, log_scale.exp());
        ClipLossParts::new(sums.map(|sum| sum / batch as f64))
    }

    /// This rank's share of a batch that several ranks hold: the mean over ranks is the loss of the whole batch, and so are the
    /// gradients where every rank sees those of `all`.
    ///
    /// # Shapes
    ///
    /// - image, text: `[batch, dim]`, this rank's
    /// - log_scale: `[1]`
    /// - all: see [`GatheredPairs`]
    ///
    /// # Panics
    ///
    /// If this rank's rows do not lie inside those of all ranks.
    pub fn forward_gathered(
        &self,
        image: Tensor<2>,
        text: Tensor<2>,
        log_scale: Tensor<1>,
        all: GatheredPairs,
    ) -> ClipLossParts {
        let [batch, _] = image.dims();
        let [pairs, _] = all.image.dims();
        assert_eq!(text.dims(), image.dims(), "pictures and texts must be pairs");
        assert_eq!(all.text.dims(), all.image.dims(), "gathered pictures and texts must be pairs");
        assert!(all.first + batch <= pairs, "rows {}..{} of {pairs}", all.first, all.first + batch);
        let [image, text] = [image, text].map(unit_rows);
        let all = GatheredPairs { image: unit_rows(all.image), text: unit_rows(all.text), first: all.first };
        self.directions(image, text, log_scale, all)
    }

    /// Of vectors of length one.
    fn directions(&self, image: Tensor<2>, text: Tensor<2>, log_scale: Tensor<1>, all: GatheredPairs) -> ClipLossParts {
        let [batch, _] = image.dims();
        let scale = log_scale.exp();
        let direction = |from: Tensor<2>, to: Tensor<2>| {
            let own = |rows: Range<usize>| RowTargets::new(KeyLists::new(rows.map(|row| [all.first + row])));
            Similarities::new(from, to, scale.clone(), self.chunk).cross_entropy(&own) / batch as f64
        };
        let image_to_text = direction(image, all.text.clone());
        let text_to_image = direction(text, all.image.clone());
        ClipLossParts::new([image_to_text, text_to_image])
    }
}
