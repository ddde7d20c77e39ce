//! Finance tasks: data, model, training, evaluation, report and prediction.
//!
//! A task is a folder here and a line in [`tasks`]; what several tasks share (scores, calibration, reports) stands beside them.

pub mod evaluation;
pub mod overlay;
pub mod receipts;
pub mod report;

use std::path::PathBuf;

use serde::Serialize;

/// What can go wrong in a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinanceError {
    /// Data that cannot be read or used.
    #[error(transparent)]
    Data(#[from] florin_data::DataError),
    /// A model or its files.
    #[error(transparent)]
    Model(#[from] florin_models::ModelError),
    /// Training.
    #[error(transparent)]
    Train(#[from] florin_train::TrainError),
    /// The device.
    #[error(transparent)]
    Device(#[from] florin_backend::BackendError),
    /// An evaluation.
    #[error(transparent)]
    Evaluation(#[from] evaluation::EvaluationError),
    /// A file of a run.
    #[error("{path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Settings that do not fit together.
    #[error("{0}")]
    Settings(String),
}

/// What a task is, for listings.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TaskInfo {
    /// The name to write.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// What it reads.
    pub reads: &'static str,
    /// What it gives.
    pub gives: &'static str,
}

/// Every task.
pub fn tasks() -> Vec<TaskInfo> {
    vec![receipts::TASK]
}
