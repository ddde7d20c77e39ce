//! How good the readings are, how sure of that one can be, and whether the confidences can be trusted.
//!
//! [`fields`] compares predictions with gold values, [`bootstrap`] puts intervals on any figure, and
//! [`calibration`] measures and repairs confidences. Nothing here knows about receipts: a task is a list of
//! fields, and a document has at most one value per field.

pub mod bootstrap;
pub mod calibration;
pub mod calibrator;
pub mod fields;

pub use bootstrap::{Bootstrap, Difference, Interval};
pub use calibration::{Calibration, Judged, ReliabilityBin, RiskPoint};
pub use calibrator::{Calibrator, CalibratorSettings};
pub use fields::{FieldScore, FieldScores, Outcome, OutcomeCounts};

/// What keeps an evaluation from being computed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvaluationError {
    /// Gold values and predictions are not about the same documents.
    #[error("expected one prediction per document ({expected}), found {found}")]
    DocumentCount {
        /// How many documents have gold values.
        expected: usize,
        /// How many documents have predictions.
        found: usize,
    },
    /// A document's row does not hold one entry per field.
    #[error("expected {expected} {what} values (one per field) for document {document}, found {found}")]
    FieldCount {
        /// Which side: `gold` or `predicted`.
        what: &'static str,
        /// The document's place in the list.
        document: usize,
        /// How many fields the task has.
        expected: usize,
        /// How many values the row holds.
        found: usize,
    },
}
