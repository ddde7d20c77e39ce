//! The cases by name: which architecture each is of, and how many things one call of it takes.

use clap::ValueEnum;
use florin_models::{ModelError, presets};
use serde_json::{Value, json};

/// What can be timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// BERT-base, 8 texts of 128 tokens
    #[value(name = "bert-base-8x128")]
    BertBase8,
    /// BERT-base, one text of 128 tokens
    #[value(name = "bert-base-1x128")]
    BertBase1,
    /// ViT-B/16, 4 pictures of 224 x 224
    #[value(name = "vit-b16-4")]
    Vit,
    /// MiniLM-L6, 32 texts of 32 tokens
    #[value(name = "minilm-32x32")]
    MiniLm,
    /// Texts of $FLORIN_DATA/banking77 to vectors, with the tokenizer and the MiniLM of `florin pull minilm`
    #[value(name = "banking-queries")]
    BankingQueries,
    /// 32 JPEG files of 640 x 480 to vectors of CLIP B/32, decoding and resizing included
    #[value(name = "clip-b32-images")]
    ClipImages,
    /// A training step of BERT-base with 3 classes, 8 texts of 128 tokens
    #[value(name = "train-bert-base-8x128")]
    TrainBertBase,
    /// A training step of MiniLM-L6 with 77 classes, 32 texts of 32 tokens
    #[value(name = "train-minilm-32x32")]
    TrainMiniLm,
    /// A training step of CLIP B/32 with its contrastive loss, 8 pictures with a text each
    #[value(name = "train-clip-b32-8")]
    TrainClip,
}

impl Case {
    /// The name to write, which a folder of checkpoints has for it too.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it is.
    pub(crate) fn summary(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
            .replace('`', "")
    }

    /// The configuration of its architecture, as a folder would have it.
    pub(crate) fn config(self) -> Result<Value, ModelError> {
        let (preset, architecture, classes) = match self {
            Self::BertBase8 | Self::BertBase1 => ("bert-base-uncased", "BertModel", 0),
            Self::Vit => ("vit-base-patch16-224", "ViTModel", 0),
            Self::MiniLm | Self::BankingQueries => ("all-MiniLM-L6-v2", "BertModel", 0),
            Self::ClipImages | Self::TrainClip => ("clip-vit-base-patch32", "CLIPModel", 0),
            Self::TrainBertBase => ("bert-base-uncased", "BertForSequenceClassification", 3),
            Self::TrainMiniLm => ("all-MiniLM-L6-v2", "BertForSequenceClassification", 77),
        };
        let mut config = presets::config(preset)?;
        config["architectures"] = json!([architecture]);
        if classes > 0 {
            config["num_labels"] = classes.into();
        }
        Ok(config)
    }
}

/// Ids of word pieces that any vocabulary here has, no two neighbours alike; a peer makes the same ones.
pub(crate) fn ids(count: usize) -> Vec<i64> {
    (0..count as i64).map(|place| 1_000 + place * 7_919 % 28_000).collect()
}

/// Numbers between -1 and 1, as pixels are after their normalisation; a peer makes the same ones.
pub(crate) fn pixels(count: usize) -> Vec<f32> {
    (0..count).map(|place| ((place * 7_919 % 1_000) as f64 / 500.0 - 1.0) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_an_architecture_and_says_what_it_is() {
        for case in Case::value_variants() {
            assert!(case.config().is_ok() && !case.summary().is_empty(), "{case:?}");
        }
    }

    #[test]
    fn inputs_are_the_same_everywhere() {
        assert_eq!(ids(5), [1_000, 8_919, 16_838, 24_757, 4_676]);
        assert_eq!(pixels(3), [-1.0, 0.838, 0.676]);
    }
}
