//! `florin classify`: pictures by labels that nobody trained on, with a dual encoder.

use anyhow::bail;
use florin_models::{ZeroShot, hub};
use serde_json::json;

use crate::arguments::ClassifyOptions;
use crate::output;
use crate::progress::Counter;
use crate::things::{Kind, files};

/// Pictures of a batch.
const AT_ONCE: usize = 16;

/// Classifies what the options name.
pub(crate) fn classify(options: &ClassifyOptions) -> anyhow::Result<()> {
    let paths = files(Kind::Pictures, &options.pictures)?;
    if let Some(other) = options.pictures.iter().find(|path| !path.is_dir() && !paths.contains(path)) {
        bail!("{}: expected a picture, or a folder of pictures", other.display());
    }
    let folder = hub::folder_of(&options.model)?;
    let (device, format) = options.compute.open()?;
    let model = ZeroShot::open(&folder, &options.labels, &options.template, &device, format)?;
    let mut counter = Counter::new("pictures", paths.len());
    let mut found = Vec::with_capacity(paths.len());
    for batch in paths.chunks(AT_ONCE) {
        let given: Vec<_> = batch.iter().map(|path| path.as_path()).collect();
        found.extend(model.classify(&given)?);
        counter.at(found.len());
    }
    counter.finish();
    if options.json {
        let rows: Vec<_> = paths
            .iter()
            .zip(&found)
            .map(|(path, shares)| {
                let named = options.labels.iter().zip(shares).map(|(label, share)| (label.clone(), json!(share)));
                json!({"picture": path, "probabilities": named.collect::<serde_json::Map<_, _>>()})
            })
            .collect();
        return output::json(&rows);
    }
    let rows = paths.iter().zip(&found).map(|(path, shares)| {
        let best = (0..shares.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b])).unwrap_or(0);
        let mut row = vec![path.display().to_string(), options.labels[best].clone()];
        row.extend(shares.iter().map(|share| format!("{share:.3}")));
        row
    });
    let labels: Vec<&str> = options.labels.iter().map(String::as_str).collect();
    output::text(&output::table(&[&["PICTURE", "LABEL"], &labels[..]].concat(), rows.collect()))
}
