//! The sigmoid loss of paired embeddings: every pair of a picture and a text is a question of its own, answered yes or no.
//!
//! `loss = −1/N Σᵢⱼ log σ(zᵢⱼ (s·Îᵢ·T̂ⱼ + b))`, z = 1 on the diagonal and −1 elsewhere; N is the batch, not its square.
//!
//! Paper: Zhai et al. 2023 (SigLIP), <https://arxiv.org/abs/2303.15343>
//! Difference: scores exist a chunk of rows at a time, see `contrast`; value and gradients are the same.

use burn::prelude::*;
use florin_backend::{charge_pairs, product, unit_rows, with_gradient};

use crate::contrast::{chunks, joined};

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct SigLipLoss {
    /// Rows whose scores exist at a time.
    pub chunk: usize,
}

/// The loss and what it is made of.
#[derive(Clone, Debug)]
pub struct SigLipLossParts {
    /// The sum of both parts, `[1]`.
    pub loss: Tensor<1>,
    /// Of the pairs, `[1]`, without gradient.
    pub positive: Tensor<1>,
    /// Of everything that is no pair, `[1]`, without gradient.
    pub negative: Tensor<1>,
}

impl Default for SigLipLoss {
    fn default() -> Self {
        Self { chunk: 512 }
    }
}

impl SigLipLoss {
    /// The bias at the start, which offsets that all but one text of a batch are wrong.
    pub const BIAS: f64 = -10.0;

    /// # Shapes
    ///
    /// - image, text: `[batch, dim]`, of any length: they are normalised here; row i of both is a pair
    /// - log_scale: `[1]`, at the start ln 10; see [`LogitScale`](crate::LogitScale)
    /// - bias: `[1]`, at the start −10
    ///
    /// # Panics
    ///
    /// If pictures and texts are not pairs.
    pub fn forward(&self, image: Tensor<2>, text: Tensor<2>, log_scale: Tensor<1>, bias: Tensor<1>) -> SigLipLossParts {
        assert_eq!(text.dims(), image.dims(), "pictures and texts must be pairs");
        let [batch, _] = image.dims();
        let (image, text, scale) = (unit_rows(image), unit_rows(text), log_scale.exp());
        let wanted = image.is_tracked() || text.is_tracked() || scale.is_tracked() || bias.is_tracked();
        let (images, texts) = (image.clone().without_autodiff(), text.clone().without_autodiff());
        let (factor, offset) = (scale.clone().without_autodiff(), bias.clone().without_autodiff());
        let zero = factor.zeros_like();
        let (mut positive, mut negative, mut of_scale, mut of_bias) = (zero.clone(), zero.clone(), zero.clone(), zero);
        let (mut of_image, mut of_text) = (Vec::new(), texts.zeros_like());
        for rows in chunks(batch, self.chunk) {
            let some = images.clone().narrow(0, rows.start, rows.len());
            let products = product(some.clone(), texts.clone().transpose()); // [chunk, batch]
            let charges = charge_pairs(products, rows.start, factor.clone(), offset.clone(), wanted);
            positive = positive + charges.positive;
            negative = negative + charges.negative;
            let Some(gradient) = charges.gradient else { continue };
            of_scale = of_scale + gradient.scale;
            of_bias = of_bias + gradient.bias;
            of_image.push(product(gradient.products.clone(), texts.clone()));
            of_text = of_text + product(gradient.products.transpose(), some);
        }
        let back = |value: Tensor<1>| if image.is_autodiff() { value.autodiff() } else { value };
        let mut loss = back(positive.clone() + negative.clone());
        if wanted {
            loss = with_gradient(loss, image.clone(), joined(of_image, 0));
            loss = with_gradient(with_gradient(loss, text, of_text), scale, of_scale);
            loss = with_gradient(loss, bias, of_bias);
        }
        let of_pair = |sum: Tensor<1>| sum / batch as f64;
        SigLipLossParts { loss: of_pair(loss), positive: of_pair(back(positive)), negative: of_pair(back(negative)) }
    }
}
