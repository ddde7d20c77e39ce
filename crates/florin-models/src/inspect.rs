//! What a checkpoint's folder holds, without reading a weight: architecture, sizes, the inputs it wants, the files there are.
//!
//! A configuration is enough. Weights that are there are opened for their names, shapes and formats only.

use std::collections::BTreeMap;
use std::path::Path;

use burn::prelude::Device;
use serde::Serialize;

use crate::ModelError;
use crate::beside::{self, PREPROCESSOR, TOKENIZER};
use crate::system::{Checkpoint, Wanted};

/// How many of the largest tensors are listed.
const LARGEST: usize = 5;

/// A folder at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The configuration's `model_type`.
    pub model_type: String,
    /// The first of the configuration's `architectures`.
    pub architecture: String,
    /// How many numbers the model's parameters hold.
    pub parameters: usize,
    /// Bytes of the parameters in each precision.
    pub memory: Memory,
    /// The inputs it takes.
    pub wants: Vec<Wanted>,
    /// The weights, if there are any.
    pub weights: Option<Stored>,
    /// The tokenizer's files.
    pub tokenizer: Vec<&'static str>,
    /// Files that say how pictures and sounds are prepared.
    pub preprocessor: Vec<&'static str>,
}

/// Bytes that parameters take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// In single precision, four bytes a number.
    pub f32: usize,
    /// In half precision or bfloat16, two bytes a number.
    pub f16: usize,
    /// In whole numbers of one byte, scales left out.
    pub int8: usize,
}

/// Weights as they are stored.
#[derive(Clone, Debug, Serialize)]
pub struct Stored {
    /// The files.
    pub files: Vec<String>,
    /// How many tensors.
    pub tensors: usize,
    /// How many numbers all of them hold.
    pub numbers: usize,
    /// How many tensors of each number format.
    pub formats: BTreeMap<String, usize>,
    /// The largest of them.
    pub largest: Vec<StoredShape>,
}

/// One stored tensor.
#[derive(Clone, Debug, Serialize)]
pub struct StoredShape {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its number format.
    pub format: String,
    /// How many numbers it holds.
    pub numbers: usize,
}

/// Looks at a folder.
pub fn inspect(folder: &Path, device: &Device) -> Result<Summary, ModelError> {
    summary(&Checkpoint::describe(folder)?, device)
}

/// Looks at a [preset](crate::presets).
pub fn inspect_preset(name: &str, device: &Device) -> Result<Summary, ModelError> {
    summary(&Checkpoint::of_preset(name)?, device)
}

fn summary(checkpoint: &Checkpoint, device: &Device) -> Result<Summary, ModelError> {
    let system = checkpoint.system(device)?;
    let parameters = system.parameter_count();
    Ok(Summary {
        model_type: checkpoint.model_type()?.to_owned(),
        architecture: checkpoint.architecture()?.to_owned(),
        parameters,
        memory: Memory { f32: parameters.saturating_mul(4), f16: parameters.saturating_mul(2), int8: parameters },
        wants: system.wants(),
        weights: stored(checkpoint),
        tokenizer: beside::present(checkpoint.folder(), &TOKENIZER),
        preprocessor: beside::present(checkpoint.folder(), &PREPROCESSOR),
    })
}

fn stored(checkpoint: &Checkpoint) -> Option<Stored> {
    let weights = checkpoint.weights();
    let mut all: Vec<StoredShape> = weights
        .names()
        .filter_map(|name| {
            let shape = weights.shape(name)?.to_vec();
            let numbers = shape.iter().product();
            Some(StoredShape { name: name.to_owned(), shape, format: weights.format(name)?, numbers })
        })
        .collect();
    if all.is_empty() {
        return None;
    }
    let mut formats = BTreeMap::new();
    for tensor in &all {
        *formats.entry(tensor.format.clone()).or_insert(0) += 1;
    }
    let (tensors, numbers) = (all.len(), all.iter().map(|tensor| tensor.numbers).sum());
    all.sort_by_key(|tensor| std::cmp::Reverse(tensor.numbers));
    all.truncate(LARGEST);
    Some(Stored { files: weights.file_names(), tensors, numbers, formats, largest: all })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"model_type": "bert", "architectures": ["BertForTokenClassification"], "vocab_size": 40,
        "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
        "max_position_embeddings": 12, "num_labels": 4}"#;

    #[test]
    fn a_configuration_alone_says_sizes_and_inputs() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), CONFIG).unwrap();
        std::fs::write(folder.path().join("vocab.txt"), "[PAD]\n").unwrap();
        let summary = inspect(folder.path(), &device).unwrap();
        // Embeddings and their norm, two layers of attention, its norm, the two halves of the MLP and its norm, and the head.
        let layer = 4 * (24 * 24 + 24) + 48 + (24 * 40 + 40) + (40 * 24 + 24) + 48;
        assert_eq!(summary.parameters, (40 + 12 + 2) * 24 + 48 + 2 * layer + 24 * 4 + 4);
        assert_eq!(summary.memory.f16, 2 * summary.parameters);
        assert!(summary.weights.is_none() && summary.preprocessor.is_empty());
        assert_eq!(summary.tokenizer, ["vocab.txt"]);
        assert_eq!(summary.wants.last().map(|wanted| wanted.name), Some("labels"));
    }

    #[test]
    fn an_unknown_system_is_refused_with_the_nearest_and_all_that_are_known() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), CONFIG.replacen("bert", "berts", 1)).unwrap();
        let error = inspect(folder.path(), &device).unwrap_err().to_string();
        assert!(error.contains("no system is called `berts` (meant bert?); known: "), "{error}");
    }
}
