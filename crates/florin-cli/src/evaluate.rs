//! `florin evaluate`.

use florin_finance::receipts::{Reader, evaluate as evaluate_receipts};

use crate::arguments::{EvaluateOptions, Task};
use crate::output;
use crate::progress::Progress;
use crate::run::metrics_table;

/// Scores a model on labelled documents.
pub(crate) fn evaluate(options: &EvaluateOptions) -> anyhow::Result<()> {
    let Task::Receipts = options.task;
    let (device, format) = options.compute.open()?;
    let reader = Reader::open(&options.weights, &device, format.unwrap_or_default())?;
    let mut progress = Progress::new();
    let done = evaluate_receipts(&reader, &options.data, &mut progress);
    progress.finish();
    let metrics = done?;
    if options.json { output::json(&metrics) } else { output::text(&metrics_table(&metrics)) }
}
