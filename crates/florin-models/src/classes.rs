//! How many classes a head has.

use serde::Deserialize;

use crate::ModelError;
use crate::system::Checkpoint;

/// What a `config.json` says of classes.
#[derive(Deserialize)]
struct ClassesConfig {
    id2label: Option<serde_json::Map<String, serde_json::Value>>,
    num_labels: Option<usize>,
}

/// How many classes there are; two unless the configuration says, as in transformers.
pub(crate) fn classes(checkpoint: &Checkpoint) -> Result<usize, ModelError> {
    let config: ClassesConfig = checkpoint.config()?;
    let named = config.id2label.map_or(0, |labels| labels.len());
    let classes = config.num_labels.unwrap_or(if named == 0 { 2 } else { named });
    match classes {
        1..=1_048_576 => Ok(classes),
        _ => Err(checkpoint.refused(format!("num_labels must lie between 1 and 1048576, found {classes}"))),
    }
}
