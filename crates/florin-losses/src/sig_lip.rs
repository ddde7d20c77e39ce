//! The sigmoid loss of paired embeddings: every pair of a picture and a text is a question of its own, answered yes or no.
//!
//! `loss = −1/N Σᵢⱼ log σ(zᵢⱼ (s·Îᵢ·T̂ⱼ + b))`, z = 1 on the diagonal and −1 elsewhere; N is the batch, not its square.
//!
//! Paper: Zhai et al. 2023 (SigLIP), <https://arxiv.org/abs/2303.15343>
//! Difference: scores exist a chunk of rows at a time, see `contrast`; value and gradients are the same.

use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use florin_backend::product;

use crate::contrast::{chunks, normalised, one_key, with_gradient};

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
        let (image, text, scale) = (normalised(image), normalised(text), log_scale.exp());
        let (images, texts) = (image.clone().detach(), text.clone().detach());
        let factor: Tensor<2> = scale.clone().detach().reshape([1, 1]);
        let offset: Tensor<2> = bias.clone().detach().reshape([1, 1]);
        let zero = scale.clone().detach().zeros_like();
        let (mut positive, mut negative, mut of_scale, mut of_bias) = (zero.clone(), zero.clone(), zero.clone(), zero);
        let (mut of_image, mut of_text) = (Vec::new(), texts.zeros_like());
        for rows in chunks(batch, self.chunk) {
            let some = images.clone().narrow(0, rows.start, rows.len());
            let products = product(some.clone(), texts.clone().transpose()); // [chunk, batch]
            let pairs = one_key(rows, batch, |row| row, &images);
            let signed = (pairs.clone() * 2.0 - 1.0) * (products.clone() * factor.clone() + offset.clone());
            // −log σ(x) without overflow on either side.
            let cost = signed.clone().neg().clamp_min(0.0) + signed.clone().abs().neg().exp().log1p();
            positive = positive + (cost.clone() * pairs.clone()).sum() / batch as f64;
            negative = negative + (cost * (pairs.clone().neg() + 1.0)).sum() / batch as f64;
            let gradient = sigmoid(signed.neg()) * (pairs * -2.0 + 1.0) / batch as f64;
            of_bias = of_bias + gradient.clone().sum();
            of_scale = of_scale + (gradient.clone() * products).sum();
            of_image.push(product(gradient.clone(), texts.clone()) * factor.clone());
            of_text = of_text + product(gradient.transpose(), some) * factor.clone();
        }
        let loss = with_gradient(positive.clone() + negative.clone(), image, Tensor::cat(of_image, 0));
        let loss = with_gradient(with_gradient(loss, text, of_text), scale, of_scale);
        SigLipLossParts { loss: with_gradient(loss, bias, of_bias), positive, negative }
    }
}
