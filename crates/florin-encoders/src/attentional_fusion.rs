//! Two maps of vectors mixed by a gate that sees both, each vector by itself and the mean of all: CLAP's for a long sound, of which one
//! map shows the whole and the other three parts, side by side.
//!
//! Paper: Dai et al. 2020 (attentional feature fusion), <https://arxiv.org/abs/2009.14082>
//! Difference: the mixture is doubled, as in transformers: `2 · whole · gate + 2 · parts · (1 − gate)`.

use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use florin_nn::{Activation, BatchNorm, Linear};

use crate::overlapping_patches::Cut;
use crate::zeros::with_zeros;

/// Epsilon of the norms, PyTorch's own.
const EPSILON: f64 = 1e-5;

/// The patches of a long sound's parts, thrice as wide as those of the whole, and their fusion with these.
#[derive(Module, Debug)]
pub struct PartFusion {
    /// Patch to vector.
    pub patch_embedding: Linear,
    /// The gate.
    pub gate: AttentionalFusion,
    #[module(skip)]
    cut: Cut,
}

/// The gate.
#[derive(Module, Debug)]
pub struct AttentionalFusion {
    /// From each vector of the sum of both maps.
    pub local: FusionGate,
    /// From the mean of the sum's vectors.
    pub global: FusionGate,
}

/// `norm(up(relu(norm(down(x)))))`
#[derive(Module, Debug)]
pub struct FusionGate {
    /// `[dim, inner dim]`
    pub down: Linear,
    /// Norm of what comes down.
    pub down_norm: BatchNorm,
    /// `[inner dim, dim]`
    pub up: Linear,
    /// Norm of what goes up.
    pub up_norm: BatchNorm,
}

impl PartFusion {
    /// New weights, for patches that the whole is cut into so.
    pub(crate) fn new(cut: Cut, dim: usize, inner: usize, device: &Device) -> Self {
        let cut = thrice_as_wide(cut);
        let patch_embedding = Linear::new(cut.size.iter().product(), dim, device);
        Self { patch_embedding, gate: AttentionalFusion::new(dim, inner, device), cut }
    }

    /// The whole, and in rows that are longer the parts with it.
    ///
    /// # Shapes
    ///
    /// - whole, output: `[batch, rows · columns, dim]`
    /// - parts: `[batch, 3, side, side]`
    pub(crate) fn forward(
        &self,
        whole: Tensor<3>,
        parts: Tensor<4>,
        longer: &[bool],
        [rows, columns]: [usize; 2],
    ) -> Tensor<3> {
        let ([batch, places, dim], device) = (whole.dims(), whole.device());
        assert_eq!(longer.len(), batch, "every row is longer or is not");
        let chosen: Vec<i32> = (0..batch).filter(|&row| longer[row]).map(|row| row as i32).collect();
        let count = chosen.len();
        if count == 0 {
            return whole;
        }
        let rows_of = |rows: Vec<i32>| {
            let count = rows.len();
            Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device)
        };
        let chosen = rows_of(chosen);
        let [_, pictures, side, _] = parts.dims();
        let parts = parts.select(0, chosen.clone()).reshape([count * pictures, 1, side, side]);
        let parts = self.patch_embedding.forward(self.cut.patches(parts));
        let [_, columns_of_part] = self.cut.grid([side; 2]);
        let parts = parts
            .reshape([count, pictures, rows, columns_of_part, dim])
            .swap_dims(1, 2) // [count, rows, pictures, columns of a part, dim]
            .reshape([count, rows, pictures * columns_of_part, dim]);
        let parts = with_zeros(parts, 2, 0, columns - pictures * columns_of_part).reshape([count, places, dim]);
        let fused = self.gate.forward(whole.clone().select(0, chosen), parts);
        let mut next = batch as i32 - 1;
        let mut of_row = |row: usize| {
            next += i32::from(longer[row]);
            if longer[row] { next } else { row as i32 }
        };
        let order = (0..batch).map(&mut of_row).collect();
        Tensor::cat(vec![whole, fused], 0).select(0, rows_of(order))
    }
}

impl AttentionalFusion {
    /// New weights.
    pub(crate) fn new(dim: usize, inner: usize, device: &Device) -> Self {
        let gate = || FusionGate {
            down: Linear::new(dim, inner, device),
            down_norm: BatchNorm::new(inner, EPSILON, device),
            up: Linear::new(inner, dim, device),
            up_norm: BatchNorm::new(dim, EPSILON, device),
        };
        Self { local: gate(), global: gate() }
    }

    /// # Shapes
    ///
    /// - whole, parts, output: `[batch, places, dim]`
    pub fn forward(&self, whole: Tensor<3>, parts: Tensor<3>) -> Tensor<3> {
        let both = whole.clone() + parts.clone();
        let gate = sigmoid(self.global.forward(both.clone().mean_dim(1)) + self.local.forward(both));
        (parts.clone() + (whole - parts) * gate) * 2.0
    }
}

impl FusionGate {
    /// # Shapes
    ///
    /// - x, output: `[batch, places, dim]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let down = florin_backend::activation(self.down_norm.forward(self.down.forward(x)), Activation::Relu);
        self.up_norm.forward(self.up.forward(down))
    }
}

/// How the parts of a long sound are cut, so that three of them have the patches of one picture.
pub(crate) fn thrice_as_wide(cut: Cut) -> Cut {
    let wide = |[down, across]: [usize; 2]| [down, 3 * across];
    Cut { size: wide(cut.size), strides: wide(cut.strides), padding: cut.padding }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_gate_shows_both_maps_alike() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let mut fusion = AttentionalFusion::new(2, 1, &device);
        for gate in [&mut fusion.local, &mut fusion.global] {
            gate.up = Linear::new(1, 2, &device);
            gate.up.weight = burn::module::Param::from_tensor(Tensor::zeros([1, 2], &device));
        }
        let map = |values: [f32; 2]| Tensor::<3>::from_floats([[values]], &device);
        let found = fusion.forward(map([1.0, -2.0]), map([3.0, 5.0])).into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(found, [4.0, 3.0], "half of each, doubled");
    }
}
