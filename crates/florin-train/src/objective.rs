//! What the loop knows of a task: how to make a batch, and how to get gradients from it.

use burn::module::Module;
use burn::prelude::*;

use crate::{Gradients, TrainError};

/// A loss with its parts.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What is minimised, `[1]`.
    pub total: Tensor<1>,
    /// What it is made of, for the log.
    pub parts: Vec<(String, f64)>,
}

/// What is trained on.
pub trait Objective {
    /// The model.
    type Model: Module;
    /// One batch.
    type Batch;

    /// The loss of a batch.
    fn loss(&mut self, model: &Self::Model, batch: &Self::Batch) -> Loss;

    /// Gradients and the loss they come from, with its parts. The general form, for objectives that need more than one
    /// backward pass; the default is one.
    fn gradients(&mut self, model: &Self::Model, batch: &Self::Batch) -> (Gradients, f64, Vec<(String, f64)>) {
        let loss = self.loss(model, batch);
        let value = f64::from(loss.total.clone().into_scalar::<f32>());
        (Gradients::of(model, loss.total.backward()), value, loss.parts)
    }
}

/// The batches of a run, by number: a pure function, so that a continued run sees what an uninterrupted one would have.
pub trait Batches {
    /// One batch.
    type Batch;

    /// The batch of a step.
    fn batch(&self, number: usize) -> Result<Self::Batch, TrainError>;

    /// How many samples it holds.
    fn samples(&self, number: usize) -> usize;
}
