//! A memory of every sample's vectors: negatives without computing them again.
//!
//! A bank is no parameter: nothing is learned by gradient. It is part of a run's state all the same, so that it can be stored and read
//! back by name.
//!
//! Paper: Wu et al. 2018 (instance discrimination), <https://arxiv.org/abs/1805.01978>
//! Difference: one bank a view, as contrastive multiview coding uses it.

use std::collections::BTreeMap;

use burn::prelude::*;
use burn::tensor::{DType, Distribution, IndexingUpdateOp};
use florin_nn::parameters::StoredTensor;

use crate::error::LossError;
use florin_backend::unit_rows;

/// One vector of length one for each sample and view.
#[derive(Clone, Debug)]
pub struct MemoryBank {
    /// `[samples, dim]` a view, without gradient.
    pub views: Vec<Tensor<2>>,
    /// How much of the old vector stays at an update: 0.5.
    pub momentum: f64,
    /// Logarithm of Z for each ordered pair of views that was scored, `[1]`; see [`CmcLoss`](crate::CmcLoss).
    pub log_normalisers: BTreeMap<(usize, usize), Tensor<1>>,
}

impl MemoryBank {
    /// The released code's momentum.
    pub const MOMENTUM: f64 = 0.5;

    /// Random vectors of length one.
    pub fn new(views: usize, samples: usize, dim: usize, device: &Device) -> Self {
        let random = |_| unit_rows(Tensor::random([samples, dim], Distribution::Normal(0.0, 1.0), device)).detach();
        Self { views: (0..views).map(random).collect(), momentum: Self::MOMENTUM, log_normalisers: BTreeMap::new() }
    }

    /// How many samples there are.
    pub fn samples(&self) -> usize {
        self.views.first().map_or(0, |view| view.dims()[0])
    }

    /// Places of samples, each as likely as any other and the anchor's own too, from the device's random numbers
    /// (`florin_backend::seed`), `[batch, count]`.
    pub fn draw_negatives(&self, batch: usize, count: usize) -> Tensor<2, Int> {
        let device = self.views[0].device();
        Tensor::random([batch, count], Distribution::Uniform(0.0, self.samples() as f64), &device)
    }

    /// Moves the samples' vectors towards new ones: `m·old + (1 − m)·new`, of length one again. Of a sample that is named twice
    /// the last counts.
    ///
    /// # Shapes
    ///
    /// - vectors: `[batch, dim]`, of any length; no gradient comes back
    /// - places: which sample each row is
    ///
    /// # Panics
    ///
    /// If there is no such view or sample, or another number of vectors than of places.
    pub fn update(&mut self, view: usize, vectors: Tensor<2>, places: &[usize]) {
        let bank = self.views[view].clone();
        let [samples, _] = bank.dims();
        assert_eq!(vectors.dims()[0], places.len(), "a place for each vector is needed");
        assert!(places.iter().all(|&place| place < samples), "a place is beyond the {samples} samples");
        let last: BTreeMap<usize, usize> = places.iter().enumerate().map(|(row, &place)| (place, row)).collect();
        let device = bank.device();
        let places = integers(last.keys().copied(), &device);
        let fresh = unit_rows(vectors.detach().inner()).select(0, integers(last.values().copied(), &device));
        let old = bank.clone().select(0, places.clone());
        let new = unit_rows(old.clone() * self.momentum + fresh * (1.0 - self.momentum));
        // Two sums, the first of which gives exact zeros: not every device can assign.
        let emptied = bank.select_assign(0, places.clone(), old.neg(), IndexingUpdateOp::Add);
        self.views[view] = emptied.select_assign(0, places, new, IndexingUpdateOp::Add);
    }

    /// Everything but the momentum, by name: `view.0`, `log_normaliser.0.1`.
    pub fn stored(&self) -> BTreeMap<String, StoredTensor> {
        let views = self.views.iter().enumerate().map(|(view, tensor)| (format!("view.{view}"), stored(tensor)));
        let normalisers = self.log_normalisers.iter();
        let normalisers = normalisers.map(|((from, to), log)| (format!("log_normaliser.{from}.{to}"), stored(log)));
        views.chain(normalisers).collect()
    }

    /// Reads back what [`stored`](Self::stored) gave.
    pub fn from_stored(tensors: &BTreeMap<String, StoredTensor>, device: &Device) -> Result<Self, LossError> {
        let mut bank = Self { views: Vec::new(), momentum: Self::MOMENTUM, log_normalisers: BTreeMap::new() };
        while let Some(tensor) = tensors.get(&format!("view.{}", bank.views.len())) {
            bank.views.push(read(&format!("view.{}", bank.views.len()), tensor, "[samples, dim]", device)?);
        }
        let shape = bank.views.first().map(|view| view.dims());
        if bank.views.len() < 2 || bank.views.iter().any(|view| Some(view.dims()) != shape) {
            let name = format!("view.{}", bank.views.len().saturating_sub(1));
            let found = tensors.get(&name).map(|tensor| tensor.shape.clone()).unwrap_or_default();
            return Err(LossError::Stored { name, found, expected: "two or more views of one shape" });
        }
        for (from, to) in (0..bank.views.len()).flat_map(|from| (0..bank.views.len()).map(move |to| (from, to))) {
            let name = format!("log_normaliser.{from}.{to}");
            if let Some(tensor) = tensors.get(&name) {
                bank.log_normalisers.insert((from, to), read(&name, tensor, "[1]", device)?);
            }
        }
        Ok(bank)
    }
}

fn integers(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.map(|value| value as i32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

fn stored<const D: usize>(tensor: &Tensor<D>) -> StoredTensor {
    let data = tensor.clone().into_data().convert_dtype(DType::F32);
    StoredTensor {
        shape: tensor.dims().to_vec(),
        values: data.try_to_vec::<f32>().expect("the data was just converted to f32"),
    }
}

fn read<const D: usize>(
    name: &str,
    tensor: &StoredTensor,
    expected: &'static str,
    device: &Device,
) -> Result<Tensor<D>, LossError> {
    let StoredTensor { shape, values } = tensor;
    if shape.len() != D || shape.iter().product::<usize>() != values.len() || values.is_empty() {
        return Err(LossError::Stored { name: name.to_owned(), found: shape.clone(), expected });
    }
    Ok(Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        florin_backend::device("cpu").expect("the cpu device is always there")
    }

    fn values<const D: usize>(x: &Tensor<D>) -> Vec<f32> {
        x.clone().into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn an_update_moves_the_named_samples_halfway_and_keeps_length_one() {
        let device = device();
        let view = Tensor::<2>::from_floats([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], &device);
        let mut bank = MemoryBank { views: vec![view.clone(), view], momentum: 0.5, log_normalisers: BTreeMap::new() };
        // The first sample twice: the last of both counts. Lengths do not.
        let fresh = Tensor::<2>::from_floats([[-9.0, 1.0], [3.0, 0.0], [0.0, 7.0]], &device);
        bank.update(1, fresh, &[0, 1, 0]);
        let half = 0.5f32.sqrt();
        let expected = [half, half, half, half, 0.6, 0.8];
        assert!(values(&bank.views[1]).iter().zip(expected).all(|(found, wanted)| (found - wanted).abs() < 1e-6));
        assert_eq!(values(&bank.views[0])[..2], [1.0, 0.0], "the other view stays");
    }

    #[test]
    fn negatives_are_uniform_over_all_samples() {
        let device = device();
        florin_backend::seed(&device, 41);
        let bank = MemoryBank::new(2, 5, 3, &device);
        let drawn =
            bank.draw_negatives(100, 50).into_data().convert_dtype(DType::I64).try_to_vec::<i64>().expect("i64");
        let mut counts = [0usize; 5];
        drawn.iter().for_each(|&place| counts[place as usize] += 1);
        // 5,000 draws: 1,000 each, with a standard deviation of 28.
        assert!(counts.iter().all(|count| count.abs_diff(1000) < 150), "{counts:?}");
    }

    #[test]
    fn a_stored_bank_is_read_back_and_a_broken_one_refused() {
        let device = device();
        florin_backend::seed(&device, 42);
        let mut bank = MemoryBank::new(2, 4, 3, &device);
        bank.log_normalisers.insert((0, 1), Tensor::from_floats([3.5], &device));
        let stored = bank.stored();
        let read = MemoryBank::from_stored(&stored, &device).expect("what was stored is sound");
        assert_eq!(read.stored(), stored);
        assert_eq!(read.stored().keys().collect::<Vec<_>>(), ["log_normaliser.0.1", "view.0", "view.1"]);
        for (name, shape) in [("view.1", vec![4, 2]), ("view.0", vec![12]), ("log_normaliser.0.1", vec![2])] {
            let mut broken = stored.clone();
            broken.get_mut(name).expect("stored").shape = shape;
            assert!(matches!(MemoryBank::from_stored(&broken, &device), Err(LossError::Stored { .. })), "{name}");
        }
        assert!(MemoryBank::from_stored(&BTreeMap::new(), &device).is_err());
    }
}
