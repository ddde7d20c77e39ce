//! `florin bench`: how fast this machine does what the other commands do, case by case.
//!
//! Weights are drawn, as their values do not change the time; with `--models` they are those of checkpoints, so that another program
//! can be timed with the same ones. `cargo xtask bench peers models` does that.

mod case;
mod forward;
mod pipelines;
mod timing;
mod training;

use std::path::{Path, PathBuf};

use anyhow::bail;
use burn::prelude::Device;
use clap::ValueEnum;
use florin_finance::receipts::RunObserver;
use florin_models::WeightFormat;
use florin_models::system::{Checkpoint, System};
use serde::Serialize;
use serde_json::json;

use crate::arguments::BenchOptions;
use crate::output;
use crate::progress::Progress;
use timing::Times;

pub(crate) use case::Case;

/// Numbers of an answer that are told, so that it can be compared.
const TOLD: usize = 16;
/// Fixes drawn weights.
const SEED: u64 = 7;

/// What all cases share.
pub(crate) struct Bench<'a> {
    /// Folder of checkpoints that are called like their cases.
    models: Option<&'a Path>,
    device: Device,
    /// Of weights that nothing learns.
    format: WeightFormat,
    /// For each case.
    seconds: f64,
}

/// A case that was timed.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    case: String,
    /// Things of one call.
    items: usize,
    /// What they are.
    unit: &'static str,
    #[serde(flatten)]
    times: Times,
    items_per_second: f64,
    /// Of the process up to the end of this case.
    peak_resident_bytes: Option<u64>,
    /// Numbers of the answer, evenly spread over it; of training the losses of the first steps.
    result: Vec<f32>,
}

/// What came of a case.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Found {
    Measured(Measured),
    /// With the reason.
    Skipped {
        case: String,
        skipped: String,
    },
}

/// Times cases.
pub(crate) fn bench(options: &BenchOptions) -> anyhow::Result<()> {
    if options.list {
        return list(options.json);
    }
    if let Some(models) = options.models.as_ref().filter(|models| !models.is_dir()) {
        bail!("{}: no such folder; expected one with a checkpoint's folder for each case", models.display());
    }
    let (device, format) = options.compute.open()?;
    let format = format.unwrap_or_default();
    let bench = Bench { models: options.models.as_deref(), device, format, seconds: options.seconds };
    let cases = if options.cases.is_empty() { Case::value_variants() } else { &options.cases };
    let (mut progress, mut found) = (Progress::new(), Vec::new());
    for &case in cases {
        progress.stage(&case.name());
        let outcome = bench.measure(case)?;
        if let Found::Skipped { case, skipped } = &outcome {
            progress.note(&format!("{case} skipped: {skipped}"));
        }
        found.push(outcome);
    }
    progress.finish();
    if options.json {
        let (device, precision) = (&options.compute.device, format.name());
        return output::json(&json!({"device": device, "precision": precision, "cases": found}));
    }
    output::text(&report(&found))
}

impl Bench<'_> {
    fn measure(&self, case: Case) -> anyhow::Result<Found> {
        if let Some(models) =
            self.models.filter(|models| case != Case::BankingQueries && !models.join(case.name()).is_dir())
        {
            let skipped = format!("{} holds no folder of that name", models.display());
            return Ok(Found::Skipped { case: case.name(), skipped });
        }
        let trains = matches!(case, Case::TrainBertBase | Case::TrainMiniLm | Case::TrainClip);
        if trains && self.format == WeightFormat::Int8 {
            let skipped = "models are trained in f32 or in mixed precision (bf16), not in int8".to_owned();
            return Ok(Found::Skipped { case: case.name(), skipped });
        }
        florin_backend::seed(&self.device, SEED);
        Ok(match case {
            Case::BankingQueries => return pipelines::queries(self, case),
            Case::ClipImages => Found::Measured(pipelines::pictures(self, case)?),
            Case::TrainBertBase | Case::TrainMiniLm | Case::TrainClip => {
                Found::Measured(training::measure(self, case)?)
            }
            Case::BertBase8 | Case::BertBase1 | Case::Vit | Case::MiniLm => {
                Found::Measured(forward::measure(self, case)?)
            }
        })
    }

    /// The folder of a case, where checkpoints are given.
    fn folder(&self, case: Case) -> Option<PathBuf> {
        self.models.map(|models| models.join(case.name()))
    }

    /// The checkpoint of a case, or the sizes of its architecture.
    fn checkpoint(&self, case: Case) -> anyhow::Result<Checkpoint> {
        Ok(match self.folder(case) {
            Some(folder) => Checkpoint::open(&folder)?,
            None => Checkpoint::of_config(&case.name(), case.config()?),
        })
    }

    /// The system of a case, with the weights that are given or with drawn ones.
    fn system(&self, case: Case) -> anyhow::Result<Box<dyn System>> {
        match self.folder(case) {
            Some(folder) => self.opened(&folder),
            None => Ok(self.checkpoint(case)?.packed(Some(self.format)).initialised(&self.device)?),
        }
    }

    /// The system of a folder.
    fn opened(&self, folder: &Path) -> anyhow::Result<Box<dyn System>> {
        Ok(Checkpoint::open(folder)?.packed(Some(self.format)).system(&self.device)?)
    }
}

impl Measured {
    fn new(case: Case, items: usize, unit: &'static str, laps: Vec<f64>, answer: &[f32]) -> Self {
        let times = Times::of(laps);
        let items_per_second = items as f64 / times.median_seconds.max(1e-12);
        let (case, result) = (case.name(), told(answer));
        Self { case, items, unit, times, items_per_second, peak_resident_bytes: timing::peak_resident(), result }
    }
}

/// Numbers evenly spread over an answer, its first and its last among them; all of a short one.
fn told(answer: &[f32]) -> Vec<f32> {
    if answer.len() <= TOLD {
        return answer.to_vec();
    }
    (0..TOLD).map(|place| answer[place * (answer.len() - 1) / (TOLD - 1)]).collect()
}

fn list(as_json: bool) -> anyhow::Result<()> {
    let cases = Case::value_variants().iter();
    if as_json {
        let cases: Vec<_> = cases.map(|case| json!({"case": case.name(), "summary": case.summary()})).collect();
        return output::json(&cases);
    }
    output::text(&output::table(
        &["CASE", "WHAT IS TIMED"],
        cases.map(|case| vec![case.name(), case.summary()]).collect(),
    ))
}

/// A table of what was timed, and what was not.
fn report(found: &[Found]) -> String {
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    for outcome in found {
        match outcome {
            Found::Measured(measured) => rows.push(row(measured)),
            Found::Skipped { case, skipped: reason } => skipped.push(format!("{case} skipped: {reason}")),
        }
    }
    let header = ["CASE", "RUNS", "MEDIAN", "QUARTILES", "PER SECOND", "PEAK MEMORY"];
    let mut parts = Vec::new();
    if !rows.is_empty() {
        parts.push(output::table(&header, rows));
        parts.push("Peak memory is that of the process so far: a case alone has its own.".to_owned());
    }
    parts.extend(skipped);
    parts.join("\n\n")
}

fn row(measured: &Measured) -> Vec<String> {
    let Times { runs, median_seconds, quartile_1_seconds, quartile_3_seconds } = measured.times;
    let peak =
        measured.peak_resident_bytes.map_or("unknown".to_owned(), |bytes| format!("{:.0} MB", bytes as f64 / 1e6));
    vec![
        measured.case.clone(),
        runs.to_string(),
        format!("{:.1} ms", 1e3 * median_seconds),
        format!("{:.1} to {:.1} ms", 1e3 * quartile_1_seconds, 1e3 * quartile_3_seconds),
        format!("{:.2} {}", measured.items_per_second, measured.unit),
        peak,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_its_first_number_to_its_last() {
        let answer: Vec<f32> = (0..31).map(|number| number as f32).collect();
        assert_eq!(told(&answer), (0..16).map(|number| 2.0 * number as f32).collect::<Vec<_>>());
        assert_eq!(told(&answer[..3]), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn what_was_skipped_stands_below_the_table() {
        let measured = Measured::new(Case::MiniLm, 32, "texts", vec![0.016, 0.016], &[1.0]);
        let skipped = Found::Skipped { case: "banking-queries".to_owned(), skipped: "no data".to_owned() };
        let text = report(&[skipped, Found::Measured(measured)]);
        assert!(text.contains("16.0 to 16.0 ms") && text.contains("2000.00 texts"), "{text}");
        assert!(text.ends_with("banking-queries skipped: no data"), "{text}");
    }
}
