//! What rows of scores cost of which one answers yes and all others no: what sigmoid contrastive losses are made of.
//!
//! As in `contrast`, no graph is recorded: the gradient has a closed form and is given to whoever wants it.

use burn::prelude::*;
use burn::tensor::activation::sigmoid;

use crate::fused::{self, serves};

/// What rows cost, without gradients of its own.
#[derive(Clone, Debug)]
pub struct PairCharges {
    /// Of the pairs, `[1]`.
    pub positive: Tensor<1>,
    /// Of everything that is no pair, `[1]`.
    pub negative: Tensor<1>,
    /// The gradient of both together, if it was wanted.
    pub gradient: Option<AnswerGradient>,
}

/// The gradient of a sum of costs.
#[derive(Clone, Debug)]
pub struct AnswerGradient {
    /// Of the products, `[rows, keys]`.
    pub products: Tensor<2>,
    /// Of the scale, `[1]`.
    pub scale: Tensor<1>,
    /// Of the bias, `[1]`.
    pub bias: Tensor<1>,
}

/// `−Σ log σ(z · score)` where `score = scale · product + bias`, z one at a row's own key and minus one elsewhere.
///
/// # Shapes
///
/// - products: `[rows, keys]`; the first row's own key is `first`, the next row's the next
/// - scale, bias: `[1]`
///
/// # Panics
///
/// If a row's own key does not exist.
pub fn charge_pairs(
    products: Tensor<2>,
    first: usize,
    scale: Tensor<1>,
    bias: Tensor<1>,
    gradient: bool,
) -> PairCharges {
    let [rows, keys] = products.dims();
    assert!(first + rows <= keys, "keys {first}..{} of {keys}", first + rows);
    let [scale, bias] = [scale, bias].map(Tensor::without_autodiff);
    let products = products.without_autodiff();
    if serves(&products) {
        return fused::charge_pairs(products, first, scale, bias, gradient);
    }
    let marks: Vec<f32> = (0..rows * keys).map(|place| f32::from(place % keys == first + place / keys)).collect();
    let pairs = Tensor::<2>::from_data(TensorData::new(marks, [rows, keys]), &products.device()).cast(products.dtype());
    composed(products, pairs, scale.reshape([1, 1]), bias.reshape([1, 1]), gradient)
}

fn composed(products: Tensor<2>, pairs: Tensor<2>, scale: Tensor<2>, bias: Tensor<2>, gradient: bool) -> PairCharges {
    let signs = pairs.clone() * 2.0 - 1.0;
    let signed = signs.clone() * (products.clone() * scale.clone() + bias);
    // −log σ(x) without overflow on either side.
    let cost = signed.clone().neg().clamp_min(0.0) + signed.clone().abs().neg().exp().log1p();
    let gradient = gradient.then(|| {
        let of_scores = sigmoid(signed.neg()) * signs.neg();
        AnswerGradient {
            scale: (of_scores.clone() * products).sum(),
            bias: of_scores.clone().sum(),
            products: of_scores * scale,
        }
    });
    PairCharges {
        positive: (cost.clone() * pairs.clone()).sum(),
        negative: (cost * (pairs.neg() + 1.0)).sum(),
        gradient,
    }
}
