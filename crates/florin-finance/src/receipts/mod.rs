//! Reading receipts: fields with confidence and evidence from a picture and its OCR lines.
//!
//! `drawn` makes receipts, `config` says what a run does, `prepare` turns documents into what a model learns from, `training` trains one model,
//! `decode` turns its scores into fields, `reader` opens a trained model, `run` puts everything together, `metrics` judges it and `compare`
//! compares runs.

mod augment;
mod compare;
mod config;
mod decode;
pub mod drawn;
mod figures;
mod log;
mod metrics;
mod prepare;
mod reader;
mod rules;
mod run;
mod training;
mod vocabulary;

use crate::TaskInfo;

pub use compare::{RunComparison, compare};
pub use config::{Init, RunConfig, Split};
pub use decode::FieldPrediction;
pub use metrics::{FieldRow, Metrics};
pub use reader::{Reader, Reading, evaluate};
pub use rules::{RuleReading, read_by_rules};
pub use run::{RunObserver, RunSummary, run};

/// The task's line in the listing.
pub const TASK: TaskInfo = TaskInfo {
    name: "receipts",
    summary: "reads fields such as company, date, address and total from scanned receipts and invoices",
    reads: "a picture and its OCR lines",
    gives: "each field with its printed and normalised value, a calibrated confidence and the boxes it stands in",
};
