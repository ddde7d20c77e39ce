//! Which patches an encoder sees, by noise, and the way back to their places.
//!
//! Of every picture those patches are seen that drew the least noise, in the order of their noise; `restored` undoes the order.
//!
//! Paper: He et al. 2021 (MAE), <https://arxiv.org/abs/2111.06377>
//! Difference: none.

use burn::prelude::*;

use crate::tubelets::chosen;

/// The order of a batch.
#[derive(Clone, Debug)]
pub struct NoiseOrder {
    /// The patches by their noise, picture by picture.
    order: Vec<usize>,
    /// How many patches of the same picture drew less noise, patch by patch.
    ranks: Vec<usize>,
    patches: usize,
    visible: usize,
}

impl NoiseOrder {
    /// From noise row by row; of equal noise the earlier patch comes first.
    ///
    /// # Panics
    ///
    /// If there are no patches, if the noise is not of whole rows of them, or if more are to be seen than there are.
    pub fn new(noise: &[f32], patches: usize, visible: usize) -> Self {
        let whole = patches > 0 && noise.len().is_multiple_of(patches);
        assert!(
            whole && visible <= patches,
            "{visible} of {patches} patches cannot be seen by {} numbers",
            noise.len()
        );
        let mut order = Vec::with_capacity(noise.len());
        let mut ranks = vec![0; noise.len()];
        for (row, noise) in noise.chunks(patches).enumerate() {
            let mut by_noise: Vec<usize> = (0..patches).collect();
            by_noise.sort_by(|&one, &other| noise[one].total_cmp(&noise[other]));
            for (rank, &patch) in by_noise.iter().enumerate() {
                ranks[row * patches + patch] = rank;
            }
            order.extend(by_noise);
        }
        Self { order, ranks, patches, visible }
    }

    /// Patches of a picture.
    pub fn patches(&self) -> usize {
        self.patches
    }

    /// How many patches of the same picture drew less noise, patch by patch.
    pub fn ranks(&self) -> &[usize] {
        &self.ranks
    }

    /// Which patches are not seen, picture by picture.
    pub fn hidden(&self) -> Vec<bool> {
        self.ranks.iter().map(|&rank| rank >= self.visible).collect()
    }

    /// The class token and the patches that are seen, in the order of their noise.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, 1 + patches, dim]`, output: `[batch, 1 + visible, dim]`
    pub fn visible(&self, x: Tensor<3>) -> Tensor<3> {
        self.behind_class_token(x, &self.order, self.visible)
    }

    /// The class token and all patches, from the order of their noise back to their places.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, 1 + patches, dim]`
    pub fn restored(&self, x: Tensor<3>) -> Tensor<3> {
        self.behind_class_token(x, &self.ranks, self.patches)
    }

    /// The class token and the first so many of these patches, row by row.
    fn behind_class_token(&self, x: Tensor<3>, patches: &[usize], count: usize) -> Tensor<3> {
        let tokens = 1 + self.patches;
        let row = |(row, patches): (usize, &[usize])| -> Vec<i32> {
            let first = row * tokens;
            let behind = patches[..count].iter().map(|patch| first + 1 + patch);
            std::iter::once(first).chain(behind).map(|place| place as i32).collect()
        };
        let places: Vec<i32> = patches.chunks(self.patches).enumerate().flat_map(row).collect();
        chosen(x, &places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_noise_is_seen_and_everything_finds_its_place_again() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let order = NoiseOrder::new(&[0.5, 0.1, 0.9, 0.2, 0.2, 0.0], 3, 2);
        assert_eq!(order.hidden(), [false, false, true, false, true, false]);
        assert_eq!(order.ranks(), [1, 0, 2, 1, 2, 0]);
        let numbers: Vec<f32> = (0..8).map(|number| number as f32).collect();
        let x = Tensor::<3>::from_data(TensorData::new(numbers.clone(), [2, 4, 1]), &device);
        let floats = |tensor: Tensor<3>| tensor.into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(floats(order.visible(x.clone())), [0.0, 2.0, 1.0, 4.0, 7.0, 5.0]);
        let all = NoiseOrder::new(&[0.5, 0.1, 0.9, 0.2, 0.2, 0.0], 3, 3);
        assert_eq!(floats(all.restored(all.visible(x.clone()))), numbers);
        let none = NoiseOrder::new(&[0.0; 6], 3, 0);
        assert_eq!(floats(none.visible(x)), [0.0, 4.0], "the class token is always seen");
    }
}
