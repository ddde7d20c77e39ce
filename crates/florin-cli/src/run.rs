//! `florin run`.

use std::path::PathBuf;

use anyhow::Context;
use florin_finance::receipts::{Init, Metrics, RunConfig, Split, run as run_receipts};
use florin_nn::Modality;

use crate::arguments::{RunOptions, SplitName, StreamName, Task};
use crate::output;
use crate::progress::Progress;

/// Runs a task and prints how good it is.
pub(crate) fn run(options: &RunOptions) -> anyhow::Result<()> {
    let Task::Receipts = options.task;
    let config = config(options)?;
    let out = match &options.out {
        Some(out) => out.clone(),
        None => free_folder(),
    };
    let mut progress = Progress::new();
    let done = run_receipts(&config, &out, options.resume, &mut progress);
    progress.finish();
    let summary = done?;
    if options.json {
        return output::json(&summary);
    }
    output::text(&metrics_table(&summary.metrics))?;
    output::text(&format!(
        "\nwritten to {} in {:.0} s; open {}",
        out.display(),
        summary.seconds,
        out.join("report.html").display()
    ))
}

/// Scores as a table, and what belongs beside them.
pub(crate) fn metrics_table(metrics: &Metrics) -> String {
    let interval = |f1: &florin_finance::evaluation::Interval| format!("{:.3}–{:.3}", f1.low, f1.high);
    let mut rows: Vec<Vec<String>> = metrics
        .fields
        .iter()
        .map(|row| {
            let numbers = [row.f1.value, row.exact, row.rules_f1].map(|value| format!("{value:.3}"));
            let [f1, exact, rules] = numbers;
            vec![row.name.clone(), f1, interval(&row.f1), exact, rules]
        })
        .collect();
    let (mean, exact, rules) = (metrics.mean_f1.value, metrics.exact, metrics.rules_mean_f1);
    rows.push(vec![
        "mean".into(),
        format!("{mean:.3}"),
        interval(&metrics.mean_f1),
        format!("{exact:.3}"),
        format!("{rules:.3}"),
    ]);
    let table = output::table(&["FIELD", "F1", "95% INTERVAL", "EXACT", "RULES F1"], rows);
    let weights: Vec<String> =
        metrics.modality_weights.iter().map(|(name, weight)| format!("{} {weight:.2}", name.name())).collect();
    let leaned = if weights.is_empty() { String::new() } else { format!("; leaned on {}", weights.join(", ")) };
    format!(
        "{table}\n\n{} documents; every field right on {:.1}%; calibration error {:.3}{leaned}",
        metrics.documents,
        100.0 * metrics.whole_documents,
        metrics.calibration.ece
    )
}

/// The settings: those of a file, or the usual ones, changed by what the options say.
fn config(options: &RunOptions) -> anyhow::Result<RunConfig> {
    let init = options.init.clone().map(Init::Pretrained);
    let mut config = match (&options.config, &options.data) {
        (Some(file), _) => RunConfig::read(file)?,
        (None, _) if options.resume => {
            let out = options.out.clone().unwrap_or_default();
            RunConfig::read(&out.join("config.toml")).context("nothing to resume")?
        }
        (None, Some(data)) => RunConfig::for_data(data.clone(), init.clone().unwrap_or_default()),
        (None, None) => RunConfig::drawn(),
    };
    if let Some(data) = &options.data {
        config.data = Some(data.clone());
    }
    if let Some(init) = init {
        config.init = init;
    }
    if let Some(fields) = &options.fields {
        config.fields = Some(fields.clone());
    }
    if let Some(split) = options.split {
        config.split = match split {
            SplitName::Folds => Split::Folds,
            SplitName::Random => Split::Random,
            SplitName::HoldOut => Split::HoldOut,
            SplitName::All => Split::All,
        };
    }
    if let Some(folds) = &options.folds {
        config.only_folds = folds.clone();
    }
    if let Some(streams) = &options.streams {
        config.streams = streams.iter().map(modality).collect();
    }
    if let Some(fusion) = &options.fusion {
        config.fusion.clone_from(fusion);
    }
    config.epochs = options.epochs.unwrap_or(config.epochs);
    config.batch = options.batch.unwrap_or(config.batch);
    config.seed = options.seed.unwrap_or(config.seed);
    config.device = options.device.clone().unwrap_or(config.device);
    config.mixed_precision |= options.mixed_precision;
    Ok(config)
}

fn modality(name: &StreamName) -> Modality {
    match name {
        StreamName::Text => Modality::Text,
        StreamName::Layout => Modality::Layout,
        StreamName::Image => Modality::Image,
    }
}

/// The first free `runs/receipts-N`.
fn free_folder() -> PathBuf {
    let name = |number: usize| PathBuf::from("runs").join(format!("receipts-{number}"));
    (1..).map(name).find(|folder| !folder.exists()).unwrap_or_else(|| name(0))
}
