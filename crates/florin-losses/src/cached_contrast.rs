//! A contrastive loss of a batch whose encoders' activations do not fit: chunk by chunk, with the loss and gradients of the whole.
//!
//! Splitting a batch and adding up gradients would also split the negatives, which is another loss. Instead: (1) encode chunk by chunk
//! and keep the vectors alone, (2) the loss of all vectors and its gradients of them, (3) encode each chunk again and propagate its
//! vectors' gradients through `Σ vector · gradient`, whose gradient of the parameters is the chain rule's. It costs a second
//! encoding and saves all activations but one chunk's.
//!
//! Paper: Gao et al. 2021 (GradCache), <https://arxiv.org/abs/2101.06983>
//! Difference: none. Both encodings must give the same vectors: with dropout, seed the device by the chunk inside the encoder.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::Gradients;

use crate::contrast::chunks;

/// Encodes some rows of a batch: `[rows, dim]`.
pub type EncodeRows<'a> = &'a dyn Fn(Range<usize>) -> Tensor<2>;

/// The loss of a whole batch, and what its encoders have still to be told.
pub struct CachedContrast {
    /// The loss, `[1]`, without gradient.
    pub loss: Tensor<1>,
    /// Gradients of the loss's own parameters: a scale, a bias.
    pub of_loss: Gradients,
    of_vectors: Vec<Tensor<2>>,
    chunk: usize,
}

impl CachedContrast {
    /// Encodes every tower's rows without keeping more than a chunk's activations, and computes the loss of all vectors.
    ///
    /// # Shapes
    ///
    /// - towers: one encoder a modality, of `batch` rows in chunks of `chunk`
    /// - loss: from `[batch, dim]` a tower to `[1]`
    pub fn forward(
        towers: &[EncodeRows<'_>],
        batch: usize,
        chunk: usize,
        loss: impl FnOnce(&[Tensor<2>]) -> Tensor<1>,
    ) -> Self {
        let encoded = |tower: &EncodeRows<'_>| {
            let parts = chunks(batch, chunk).map(|rows| tower(rows).inner()).collect();
            Tensor::cat(parts, 0).autodiff().require_grad()
        };
        let vectors: Vec<Tensor<2>> = towers.iter().map(encoded).collect();
        let loss = loss(&vectors);
        let mut of_loss = loss.backward();
        let gradient = |vectors: &Tensor<2>| {
            vectors.grad_remove(&mut of_loss).unwrap_or_else(|| vectors.clone().inner().zeros_like())
        };
        let of_vectors = vectors.iter().map(gradient).collect();
        Self { loss: loss.inner(), of_loss, of_vectors, chunk }
    }

    /// One number for each tower and chunk, `[1]`, to be propagated backwards one after another, their gradients added up: their values
    /// mean nothing, their gradients of the parameters are the whole loss's. Each is encoded when it is asked for.
    ///
    /// # Panics
    ///
    /// While iterating, if the towers are not those of [`forward`](Self::forward).
    pub fn surrogates<'a>(&'a self, towers: &'a [EncodeRows<'a>]) -> impl Iterator<Item = Tensor<1>> + 'a {
        assert_eq!(towers.len(), self.of_vectors.len(), "the same towers are needed again");
        towers.iter().zip(&self.of_vectors).flat_map(move |(tower, gradient)| {
            let [batch, _] = gradient.dims();
            chunks(batch, self.chunk).map(move |rows| {
                let some = gradient.clone().narrow(0, rows.start, rows.len());
                (tower(rows) * some.autodiff()).sum()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, activation::relu};
    use florin_nn::Linear;

    use super::*;
    use crate::ClipLoss;

    fn distance<const D: usize>(one: &Tensor<D>, other: &Tensor<D>) -> f32 {
        (one.clone() - other.clone()).abs().max().into_scalar::<f32>()
    }

    #[test]
    fn chunks_give_the_loss_and_every_gradient_of_one_big_batch() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        florin_backend::seed(&device, 71);
        let random = |shape| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (pictures, texts) = (random([7, 6]), random([7, 4]));
        let weights = [[6, 5], [4, 5]].map(|shape| random(shape).require_grad());
        let scale = Tensor::<1>::from_floats([1.5], &device).require_grad();
        let encode = |x: &Tensor<2>, weight: &Tensor<2>, rows: Range<usize>| {
            relu(florin_backend::linear(x.clone().narrow(0, rows.start, rows.len()), weight.clone(), None))
        };
        let of_picture = |rows| encode(&pictures, &weights[0], rows);
        let of_text = |rows| encode(&texts, &weights[1], rows);
        let loss = |v: &[Tensor<2>]| ClipLoss::default().forward(v[0].clone(), v[1].clone(), scale.clone()).loss;
        let whole = loss(&[of_picture(0..7), of_text(0..7)]);
        let graph = whole.backward();
        let expected = weights.clone().map(|weight| weight.grad(&graph).expect("tracked"));
        let of_scale = scale.grad(&graph).expect("tracked");
        for chunk in [1, 3, 7, 20] {
            let towers: [EncodeRows<'_>; 2] = [&of_picture, &of_text];
            let cached = CachedContrast::forward(&towers, 7, chunk, loss);
            assert!(distance(&cached.loss, &whole.clone().inner()) < 1e-6);
            assert!(distance(&scale.grad(&cached.of_loss).expect("tracked"), &of_scale) < 1e-6);
            let mut found = expected.clone().map(|gradient| gradient.zeros_like());
            for surrogate in cached.surrogates(&towers) {
                let graph = surrogate.backward();
                for (sum, weight) in found.iter_mut().zip(&weights) {
                    if let Some(gradient) = weight.grad(&graph) {
                        *sum = sum.clone() + gradient;
                    }
                }
            }
            for (found, expected) in found.iter().zip(&expected) {
                assert!(distance(expected, &expected.zeros_like()) > 1e-2);
                assert!(distance(found, expected) < 1e-6, "chunk {chunk}");
            }
        }
    }

    #[test]
    fn one_encoder_may_serve_both_towers() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        florin_backend::seed(&device, 72);
        let random = |shape| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (one, other) = (random([5, 4]), random([5, 4]));
        let shared = Linear::new(4, 3, &device);
        let scale = Tensor::<1>::from_floats([1.5], &device);
        let first = |rows: Range<usize>| shared.forward(one.clone().narrow(0, rows.start, rows.len()));
        let second = |rows: Range<usize>| shared.forward(other.clone().narrow(0, rows.start, rows.len()));
        let loss = |v: &[Tensor<2>]| ClipLoss::default().forward(v[0].clone(), v[1].clone(), scale.clone()).loss;
        let weight = shared.weight.val();
        let expected = weight.grad(&loss(&[first(0..5), second(0..5)]).backward()).expect("tracked");
        let towers: [EncodeRows<'_>; 2] = [&first, &second];
        let cached = CachedContrast::forward(&towers, 5, 2, loss);
        let gradients = cached.surrogates(&towers).map(|part| weight.grad(&part.backward()).expect("tracked"));
        let sum = gradients.reduce(|sum, gradient| sum + gradient).expect("there are chunks");
        // Small weights make small vectors, whose normalisation has large gradients.
        let largest = distance(&expected, &expected.zeros_like());
        assert!(distance(&sum, &expected) < 1e-6 * largest, "{} of {largest}", distance(&sum, &expected));
    }
}
