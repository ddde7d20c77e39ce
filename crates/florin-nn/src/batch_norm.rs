//! Batch normalisation by the statistics that a checkpoint stores, and the choice between it and layer normalisation.
//!
//! Paper: Ioffe and Szegedy 2015, <https://arxiv.org/abs/1502.03167>
//! Difference: the stored statistics are used in training too, as in fine-tuning with frozen ones, so that a row never depends on
//! the others of its batch. They do not learn: what is trained from nothing takes layer normalisation.

use burn::module::Param;
use burn::prelude::*;

use crate::LayerNorm;
use crate::initialise::{ones, zeros};

/// `(x − mean) / √(variance + epsilon) · weight + bias`, number by number, with stored mean and variance.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale, `[dim]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[dim]`.
    pub bias: Param<Tensor<1>>,
    /// Mean over the data that the checkpoint was trained on, `[dim]`; never trained.
    pub running_mean: Param<Tensor<1>>,
    /// Variance over the same, `[dim]`; never trained.
    pub running_var: Param<Tensor<1>>,
    /// Added to the variance.
    pub epsilon: f64,
}

/// The norm of a block whose configuration chooses its kind.
#[derive(Module, Debug)]
pub enum Norm {
    /// Over the batch, by stored statistics.
    Batch(BatchNorm),
    /// Over each vector.
    Layer(LayerNorm),
}

impl BatchNorm {
    /// Changes nothing but by epsilon until statistics are loaded.
    pub fn new(dim: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: ones([dim], device),
            bias: zeros([dim], device),
            running_mean: zeros([dim], device).set_require_grad(false),
            running_var: ones([dim], device).set_require_grad(false),
            epsilon,
        }
    }

    /// # Shapes
    ///
    /// - x, output: `[.., dim]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let deviation = (self.running_var.val() + self.epsilon).sqrt();
        let centred = x - self.running_mean.val().unsqueeze();
        centred * (self.weight.val() / deviation).unsqueeze() + self.bias.val().unsqueeze()
    }
}

impl Norm {
    /// # Shapes
    ///
    /// - x, output: `[.., dim]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Batch(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_statistics_count_and_not_those_of_the_batch() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let param = |values: [f32; 2]| Param::from_tensor(Tensor::<1>::from_floats(values, &device));
        let mut norm = BatchNorm::new(2, 0.0, &device);
        norm.running_mean = param([1.0, -1.0]);
        norm.running_var = param([4.0, 0.25]);
        norm.weight = param([3.0, 1.0]);
        norm.bias = param([0.0, 10.0]);
        let x = Tensor::<2>::from_floats([[5.0, -1.0], [1.0, 0.0]], &device);
        assert_eq!(norm.forward(x).into_data().try_to_vec::<f32>().expect("f32"), [6.0, 10.0, 0.0, 12.0]);
    }

    #[test]
    fn stored_statistics_have_no_gradient() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        let norm = BatchNorm::new(2, 1e-5, &device);
        let graph = norm.forward(Tensor::<2>::ones([3, 2], &device)).sum().backward();
        let names: Vec<String> = crate::parameters::collect_gradients(&norm, &graph).into_keys().collect();
        assert_eq!(names, ["bias", "weight"]);
    }
}
