//! placeholder
use std::path::Path;
use florin_data::labelled::LabelledDocument;
use super::{RunConfig, Metrics};
use super::log::Logged;
use super::metrics::Judgement;
use crate::FinanceError;
pub(crate) fn write_report(_out: &Path, _config: &RunConfig, _metrics: &Metrics, _judgements: &[Judgement], _documents: &[&LabelledDocument], _logs: Vec<(String, Logged)>, _seconds: f64) -> Result<(), FinanceError> { Ok(()) }
