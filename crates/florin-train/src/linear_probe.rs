//! A linear classifier on frozen features: multinomial logistic regression over all rows at once.
//!
//! Minimises `C · Σ cross-entropy + ½‖W‖²`, biases not penalised: what scikit-learn's `LogisticRegression(C=…)` minimises, whose optimum is
//! the only one.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use florin_backend::product;

use crate::lbfgs::LbfgsConfig;

/// How a classifier is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearProbeConfig {
    /// Weight of the data against the penalty, C.
    pub data_weight: f64,
    /// The optimiser.
    pub optimiser: LbfgsConfig,
}

/// A fitted classifier.
#[derive(Clone, Debug)]
pub struct LinearProbe {
    /// `[dim, classes]`
    pub weight: Tensor<2>,
    /// `[classes]`
    pub bias: Tensor<1>,
    /// Steps that it took.
    pub steps: usize,
    /// Whether it reached the optimum.
    pub converged: bool,
}

impl Default for LinearProbeConfig {
    fn default() -> Self {
        Self { data_weight: 1.0, optimiser: LbfgsConfig::default() }
    }
}

impl LinearProbeConfig {
    /// # Shapes
    ///
    /// - features: `[rows, dim]`
    /// - labels: one a row, each below `classes`
    ///
    /// # Panics
    ///
    /// If there are not as many labels as rows, none at all, or one beyond the classes.
    pub fn fit(&self, features: Tensor<2>, labels: &[usize], classes: usize) -> LinearProbe {
        let [rows, dim] = features.dims();
        assert!(rows > 0 && labels.len() == rows, "{rows} rows of features and {} labels", labels.len());
        let device = features.device();
        let mut hot = vec![0.0f32; rows * classes];
        for (row, &label) in labels.iter().enumerate() {
            assert!(label < classes, "label {label} of {classes} classes");
            hot[row * classes + label] = 1.0;
        }
        let hot = Tensor::<2>::from_data(TensorData::new(hot, [rows, classes]), &device);
        let turned = features.clone().transpose();
        let split = |point: &Tensor<1>| {
            let weight = point.clone().narrow(0, 0, dim * classes).reshape([dim, classes]);
            (weight, point.clone().narrow(0, dim * classes, classes))
        };
        // Divided by C and the rows, so that the gradient's size does not depend on either.
        let penalty = 1.0 / (self.data_weight * rows as f64);
        let mut objective = |point: &Tensor<1>| {
            let (weight, bias) = split(point);
            let logits = product(features.clone(), weight.clone()) + bias.unsqueeze();
            let logs = log_softmax(logits, 1);
            let fit = -(logs.clone() * hot.clone()).sum().into_scalar::<f32>();
            let length = (weight.clone() * weight.clone()).sum().into_scalar::<f32>();
            let value = f64::from(fit) / rows as f64 + penalty * f64::from(length) / 2.0;
            let error = (logs.exp() - hot.clone()) / rows as f64;
            let of_weight = product(turned.clone(), error.clone()) + weight * penalty;
            let of_bias = error.sum_dim(0).reshape([classes]);
            (value, Tensor::cat(vec![of_weight.reshape([dim * classes]), of_bias], 0))
        };
        let start = Tensor::zeros([dim * classes + classes], &device);
        let found = self.optimiser.minimise(start, &mut objective);
        let (weight, bias) = split(&found.point);
        LinearProbe { weight, bias, steps: found.steps, converged: found.converged }
    }
}

impl LinearProbe {
    /// # Shapes
    ///
    /// - features: `[rows, dim]`
    /// - output: `[rows, classes]`
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        product(features, self.weight.clone()) + self.bias.clone().unsqueeze()
    }

    /// The most likely class of each row.
    pub fn classes(&self, features: Tensor<2>) -> Vec<usize> {
        let [rows, _] = features.dims();
        let chosen = self.logits(features).argmax(1).reshape([rows]).into_data().convert::<i64>();
        let chosen = chosen.try_to_vec::<i64>().expect("it was just converted");
        chosen.into_iter().map(|class| class as usize).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_optimum_is_that_of_scikit_learn() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let features = Tensor::<2>::from_floats(
            [[0.0, 1.0], [1.0, 0.5], [2.0, -1.0], [0.5, 0.5], [3.0, 2.0], [-1.0, 0.25], [1.5, 1.5]],
            &device,
        );
        let labels = [0, 1, 1, 0, 2, 0, 2];
        let config = LinearProbeConfig { data_weight: 2.0, ..Default::default() };
        let probe = config.fit(features.clone(), &labels, 3);
        assert!(probe.converged);
        assert_eq!(probe.classes(features), labels);
        // LogisticRegression(C=2, tol=1e-10).fit(x, y): coef_ and intercept_ of scikit-learn 1.9.1.
        let expected: [[f32; 3]; 2] = [[-1.249574, 0.423394, 0.826181], [-0.061153, -0.887250, 0.948403]];
        let found = probe.weight.into_data().try_to_vec::<f32>().expect("f32");
        for (found, expected) in found.iter().zip(expected.as_flattened()) {
            assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
        }
    }
}
