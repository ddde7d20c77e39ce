//! Costs of rows of scores with their gradients at once, on the `cpu` device; no graph is recorded.

use burn::backend::Flex;
use burn::prelude::*;
use burn_flex::FlexTensor;

use super::flex::{columns, dense, first_number, numbers, tensor};
use crate::answers::{AnswerGradient, PairCharges};
use crate::contrast::{RowCharges, RowTargets, ScoreGradient};
use crate::kernels::contrast::{self, RowCost};
use crate::kernels::sigmoid::{self, Questions, RowAnswers};

/// See [`crate::charge_rows`].
pub(crate) fn charge_rows(products: Tensor<2>, scale: Tensor<1>, targets: &RowTargets, gradient: bool) -> RowCharges {
    let (products, scale) = (unwrap(products), first_number(unwrap(scale)));
    let scores = contrast::Scores { keys: columns(&products), scale, targets };
    let mut slopes = gradient.then(|| vec![0f32; numbers(&products).len()]);
    let costs = contrast::charge(numbers(&products), &scores, slopes.as_deref_mut());
    let of_rows = |what: fn(&RowCost) -> f32| {
        Tensor::from_primitive::<Flex>(tensor(costs.iter().map(what).collect(), [costs.len()]))
    };
    RowCharges {
        costs: of_rows(|row| row.cost),
        hits: of_rows(|row| row.hit),
        gradient: slopes.map(|slopes| ScoreGradient {
            products: Tensor::from_primitive::<Flex>(tensor(slopes, products.layout().shape().clone())),
            scale: one(costs.iter().map(|row| row.of_scale)),
        }),
    }
}

/// See [`crate::charge_pairs`].
pub(crate) fn charge_pairs(
    products: Tensor<2>,
    first: usize,
    scale: Tensor<1>,
    bias: Tensor<1>,
    gradient: bool,
) -> PairCharges {
    let [scale, bias] = [scale, bias].map(|number| first_number(unwrap(number)));
    let products = unwrap(products);
    let questions = Questions { keys: columns(&products), first, scale, bias };
    let mut slopes = gradient.then(|| vec![0f32; numbers(&products).len()]);
    let answers = sigmoid::ask(numbers(&products), questions, slopes.as_deref_mut());
    let sum = |what: fn(&RowAnswers) -> f32| one(answers.iter().map(what));
    PairCharges {
        positive: sum(|row| row.positive),
        negative: sum(|row| row.negative),
        gradient: slopes.map(|slopes| AnswerGradient {
            products: Tensor::from_primitive::<Flex>(tensor(slopes, products.layout().shape().clone())),
            scale: sum(|row| row.of_scale),
            bias: sum(|row| row.of_bias),
        }),
    }
}

fn unwrap<const D: usize>(x: Tensor<D>) -> FlexTensor {
    dense(x.try_into_primitive::<Flex>().expect("a tensor of the cpu device without gradients"))
}

/// A sum in f64, as a tensor of one.
fn one(numbers: impl Iterator<Item = f32>) -> Tensor<1> {
    let sum: f64 = numbers.map(f64::from).sum();
    Tensor::from_primitive::<Flex>(tensor(vec![sum as f32], [1]))
}
