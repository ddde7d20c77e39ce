//! `florin pack`: a model whose weights lie as they are multiplied, so that each start maps them and computes.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use florin_finance::receipts::RunObserver as _;
use florin_models::hub;
use florin_models::system::{Checkpoint, Precision};
use florin_models::weights::{PACKED_FILE, Weights};
use serde_json::json;

use crate::arguments::PackOptions;
use crate::output::{self, size};
use crate::progress::Progress;

/// Packs a model.
pub(crate) fn pack(options: &PackOptions) -> anyhow::Result<()> {
    let (from, into) = (hub::folder_of(&options.model)?, options.output.as_path());
    // Weights that are there already would be read in place of the packed ones.
    if let Some(other) = Weights::name_in(into).filter(|name| *name != PACKED_FILE) {
        bail!("{} holds weights already, {other}; expected a folder for the packed ones alone", into.display());
    }
    let began = Instant::now();
    let mut progress = Progress::new();
    progress.stage("packing");
    let checkpoint = Checkpoint::open(&from)?;
    let before = bytes_of(&from, &checkpoint.weights().file_names())?;
    let system = checkpoint.packed(Some(options.precision)).system(&florin_backend::device("cpu")?)?;
    system.save_as(into, Precision::Packed)?;
    progress.finish();
    let packed = Weights::open_file(&into.join(PACKED_FILE))?.packed_count();
    let after = bytes_of(into, &[PACKED_FILE.to_owned()])?;
    let (precision, seconds) = (options.precision.name(), began.elapsed().as_secs_f64());
    if options.json {
        return output::json(&json!({
            "folder": into, "precision": precision, "packed_weights": packed,
            "bytes_before": before, "bytes": after, "seconds": seconds,
        }));
    }
    output::text(&format!(
        "{packed} weights packed in {precision}: {}, {} before, written to {} in {seconds:.1} s",
        size(after),
        size(before),
        into.display()
    ))
}

fn bytes_of(folder: &Path, files: &[String]) -> anyhow::Result<usize> {
    let mut bytes = 0;
    for file in files {
        let path = folder.join(file);
        bytes += std::fs::metadata(&path).with_context(|| path.display().to_string())?.len() as usize;
    }
    Ok(bytes)
}
