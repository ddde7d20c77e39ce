//! Kullback-Leibler divergence of a student's distribution from its teacher's.

use burn::prelude::*;
use florin_backend::log_softmax;

/// `KL(softmax(teacher) ‖ softmax(student))` of each row of logits `[rows, classes]`, `[rows]`; the teacher gets no gradient.
pub(crate) fn divergences(teacher: Tensor<2>, student: Tensor<2>) -> Tensor<1> {
    let [rows, _] = teacher.dims();
    let teacher = log_softmax(teacher.detach(), 1);
    // A class that the teacher excludes has a large finite logarithm, so that its product with a probability of zero is zero.
    (teacher.clone().exp() * (teacher - log_softmax(student, 1))).sum_dim(1).reshape([rows])
}
