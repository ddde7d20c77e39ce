//! An explicit training loop: a newcomer reads `run.rs` in one sitting and knows everything that happens in a step.
//!
//! A model and a batch come in through an [`Objective`]; nothing here knows an architecture. A step is a pure function of
//! the state before it and of its number, so that a run continued from a checkpoint is the run that was not interrupted.

mod average;
mod checkpoint;
mod gradients;
mod lbfgs;
mod linear_probe;
mod objective;
mod optimiser;
mod pc_grad;
mod run;
mod schedule;

use std::path::PathBuf;

pub use average::WeightAverage;
pub use gradients::Gradients;
pub use lbfgs::{LbfgsConfig, Minimum};
pub use linear_probe::{LinearProbe, LinearProbeConfig};
pub use objective::{Batches, Loss, Objective};
pub use optimiser::{AdamWOptimiser, AdamWSettings, ParameterGroup};
pub use pc_grad::{PcGrad, PcGradParts, combine_in_order};
pub use run::{Evaluate, Evaluation, Observer, Session, StepReport, TrainConfig, Trained, train};
pub use schedule::WarmupCosine;

/// What can stop a training run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The loss or a gradient is not a number any more.
    #[error(
        "step {step}: the {what} is {value}; the last checkpoint before it is intact, a lower learning rate may help"
    )]
    NotFinite {
        /// Which step.
        step: usize,
        /// Loss or gradient norm.
        what: &'static str,
        /// What it became.
        value: f64,
    },
    /// A checkpoint cannot be written or read.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The checkpoint belongs to another run.
    #[error("{path}: written by a run with other settings ({what}); start anew or use the same settings")]
    OtherRun {
        /// Which file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// A batch could not be made or an evaluation failed.
    #[error("{0}")]
    Data(Box<dyn std::error::Error + Send + Sync>),
    /// A file of the data layer.
    #[error(transparent)]
    File(#[from] florin_data::DataError),
    /// Settings that cannot be meant.
    #[error("training: {0}")]
    Settings(String),
}
