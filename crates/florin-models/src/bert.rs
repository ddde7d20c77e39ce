//! BERT-family checkpoints in the Hugging Face layout.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{BertConfig, BertEncoder};

use crate::ModelError;
use crate::checkpoint::{self, Names};

/// Opens a folder with `config.json` and `model.safetensors`.
pub fn open(folder: &Path, device: &Device) -> Result<(BertConfig, BertEncoder), ModelError> {
    let config = read_config(&folder.join("config.json"))?;
    let weights = folder.join("model.safetensors");
    let names = Names { in_file: &hugging_face_name, ignored: &is_beside_the_encoder };
    let encoder = checkpoint::load(config.init(device), &weights, &names)?;
    Ok((config, encoder))
}

/// Reads and validates a `config.json`.
pub fn read_config(path: &Path) -> Result<BertConfig, ModelError> {
    let text = std::fs::read_to_string(path).map_err(|source| ModelError::File { path: path.into(), source })?;
    let config: BertConfig = serde_json::from_str(&text)
        .map_err(|error| ModelError::Configuration { path: path.into(), reason: error.to_string() })?;
    config.validate()?;
    Ok(config)
}

/// The name that Hugging Face's `BertModel` gives to one of the encoder's parameters.
pub fn hugging_face_name(own: &str) -> String {
    let renamed = own
        .replace("embedding_norm.", "embeddings.LayerNorm.")
        .replace(".attention.output.", ".attention.output.dense.")
        .replace(".attention_norm.", ".attention.output.LayerNorm.")
        .replace(".mlp.up.", ".intermediate.dense.")
        .replace(".mlp.down.", ".output.dense.")
        .replace(".mlp_norm.", ".output.LayerNorm.");
    let renamed = ["query", "key", "value"]
        .iter()
        .fold(renamed, |name, part| name.replace(&format!(".attention.{part}."), &format!(".attention.self.{part}.")));
    match renamed.strip_prefix("layers.") {
        Some(rest) => format!("encoder.layer.{rest}"),
        None if renamed.starts_with("embeddings.") => renamed,
        None => format!("embeddings.{renamed}"),
    }
}

/// The pooler and the stored positions are no part of the encoder.
fn is_beside_the_encoder(name: &str) -> bool {
    name.starts_with("pooler.") || name.ends_with("position_ids")
}

#[cfg(test)]
mod tests {
    use super::hugging_face_name;

    #[test]
    fn names_are_those_of_bert_model() {
        let cases = [
            ("word_embeddings.weight", "embeddings.word_embeddings.weight"),
            ("embedding_norm.bias", "embeddings.LayerNorm.bias"),
            ("layers.3.attention.query.weight", "encoder.layer.3.attention.self.query.weight"),
            ("layers.3.attention.output.bias", "encoder.layer.3.attention.output.dense.bias"),
            ("layers.3.attention_norm.weight", "encoder.layer.3.attention.output.LayerNorm.weight"),
            ("layers.3.mlp.up.weight", "encoder.layer.3.intermediate.dense.weight"),
            ("layers.3.mlp.down.weight", "encoder.layer.3.output.dense.weight"),
            ("layers.3.mlp_norm.bias", "encoder.layer.3.output.LayerNorm.bias"),
        ];
        for (own, expected) in cases {
            assert_eq!(hugging_face_name(own), expected);
        }
    }
}
