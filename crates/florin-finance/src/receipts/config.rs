//! What a run does: everything that is needed to repeat it.

use std::path::{Path, PathBuf};

use florin_fusion::FusionConfig;
use florin_nn::Modality;
use serde::{Deserialize, Serialize};

use crate::FinanceError;

/// Where the text stream starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// From nothing: a small encoder with a vocabulary learnt from the training documents.
    #[default]
    None,
    /// From a pretrained encoder: the name of a preset or a folder.
    Pretrained(String),
}

/// What is trained on and what is held out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Five folds that no group (company) crosses; those of the data where it has them.
    Folds,
    /// Five random folds that only repeats of a document do not cross.
    Random,
    /// One model; its groups held out once, or the held-out templates of drawn receipts.
    #[default]
    HoldOut,
    /// One model on every document, after one on part of them that says how good it is.
    All,
}

/// Settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Folder of labelled documents; none for receipts that Florin draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Fields to read; none for those that the data has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
    /// Where the text stream starts.
    pub init: Init,
    /// What is held out.
    pub split: Split,
    /// Folds to run; empty for all.
    pub only_folds: Vec<u32>,
    /// Streams of the model; text is always one.
    pub streams: Vec<Modality>,
    /// How they are fused: a name of [`FusionConfig::KINDS`].
    pub fusion: String,
    /// Device by name.
    pub device: String,
    /// Whether products in training are of bfloat16 factors; weights stay in f32. On the device `cpu` alone.
    pub mixed_precision: bool,
    /// Fixes everything random.
    pub seed: u64,
    /// Passes over the training documents.
    pub epochs: usize,
    /// Documents a step.
    pub batch: usize,
    /// Learning rate of everything but the text encoder.
    pub learning_rate: f64,
    /// Learning rate of the text encoder.
    pub text_learning_rate: f64,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f64,
    /// Share of the steps in which the learning rate rises.
    pub warmup: f64,
    /// Longest common norm of the gradients.
    pub clip: f64,
    /// Decay of the weight average that is evaluated and kept.
    pub average: f64,
    /// Dropout on streams and fused words.
    pub dropout: f64,
    /// Upper layers of a pretrained text encoder that learn; with none, it reads each line once and training is fast.
    pub tuned_layers: usize,
    /// Chance that each text value of a training document is replaced by another document's.
    pub augment: f64,
    /// Evaluations during training, for the learning curve.
    pub evaluations: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Drawn receipts to train on.
    pub drawn_training: usize,
    /// Drawn receipts of held-out templates to evaluate on.
    pub drawn_held_out: usize,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            data: None,
            fields: None,
            init: Init::None,
            split: Split::HoldOut,
            only_folds: vec![],
            streams: vec![Modality::Text, Modality::Layout, Modality::Image],
            fusion: "token_attention".into(),
            device: "cpu".into(),
            mixed_precision: false,
            seed: 20_240_101,
            epochs: 1,
            batch: 8,
            learning_rate: 1e-3,
            text_learning_rate: 1e-3,
            weight_decay: 0.05,
            warmup: 0.08,
            clip: 1.0,
            average: 0.99,
            dropout: 0.15,
            tuned_layers: 0,
            // Drawn receipts are all different already, and more of them cost less than changing a few.
            augment: 0.0,
            evaluations: 3,
            checkpoint_every: 100,
            drawn_training: 18_000,
            drawn_held_out: 200,
        }
    }
}

impl RunConfig {
    /// The run that needs neither data nor download.
    pub fn drawn() -> Self {
        Self::default()
    }

    /// The usual run on a folder of labelled documents, with pretrained text.
    pub fn for_data(data: PathBuf, init: Init) -> Self {
        let pretrained = init != Init::None;
        Self {
            data: Some(data),
            split: Split::Folds,
            epochs: if init == Init::None { 12 } else { 4 },
            augment: 0.5,
            text_learning_rate: if pretrained { 1e-4 } else { 1e-3 },
            init,
            ..Self::default()
        }
    }

    /// Reads a `config.toml`. What it leaves out is as usual for what it asks: with `data`, as in [`RunConfig::for_data`].
    pub fn read(path: &Path) -> Result<Self, FinanceError> {
        let failed = |reason: String| FinanceError::File { path: path.into(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        // Twice: for what is asked and for where a mistake stands, then over the usual settings.
        let asked: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let Some(data) = asked.data else { return Ok(asked) };
        let usual = toml::Table::try_from(Self::for_data(data, asked.init)).map_err(|error| error.to_string())?;
        let given: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut all = usual;
        all.extend(given);
        all.try_into().map_err(|error| error.to_string())
    }

    /// Refuses what cannot be meant.
    pub fn validate(&self) -> Result<(), FinanceError> {
        let wrong = |message: String| Err(FinanceError::Settings(message));
        if !self.streams.contains(&Modality::Text) {
            return wrong("streams must contain text".into());
        }
        if !FusionConfig::KINDS.contains(&self.fusion.as_str()) {
            let known = FusionConfig::KINDS.join(", ");
            return wrong(format!("no fusion is called `{}`; there are {known}", self.fusion));
        }
        if self.mixed_precision && self.device != "cpu" {
            return wrong(format!("mixed precision is for the device cpu, found {}", self.device));
        }
        if self.epochs == 0 || self.batch == 0 {
            return wrong(format!("epochs ({}) and batch ({}) must be at least 1", self.epochs, self.batch));
        }
        for (name, share) in [("warmup", self.warmup), ("augment", self.augment), ("dropout", self.dropout)] {
            if !(0.0..=1.0).contains(&share) {
                return wrong(format!("{name} must lie between 0 and 1, found {share}"));
            }
        }
        if self.data.is_none() && self.split != Split::HoldOut {
            return wrong("drawn receipts hold out templates: folds need --data".into());
        }
        if self.data.is_none() && (self.drawn_training == 0 || self.drawn_held_out == 0) {
            return wrong("drawn_training and drawn_held_out must be at least 1".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_leaves_out_what_is_usual_for_its_data() {
        let drawn = RunConfig::parse("seed = 3").expect("one setting");
        assert_eq!(drawn, RunConfig { seed: 3, ..RunConfig::drawn() });
        let text = "data = \"DIR\"\nepochs = 7\n[init]\npretrained = \"minilm\"";
        let usual = RunConfig::for_data("DIR".into(), Init::Pretrained("minilm".into()));
        let found = RunConfig::parse(text).expect("three settings");
        assert_eq!(found, RunConfig { epochs: 7, ..usual });
        assert!(RunConfig::parse("data = \"DIR\"\nepoch = 7").unwrap_err().contains("epoch"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = RunConfig {
            fields: Some(vec!["a".into()]),
            only_folds: vec![1],
            ..RunConfig::for_data("DIR".into(), Init::None)
        };
        let text = toml::to_string(&config).expect("a configuration can be written");
        assert_eq!(RunConfig::parse(&text).expect("and read"), config);
    }
}
