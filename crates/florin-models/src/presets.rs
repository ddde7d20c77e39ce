//! Architectures by their usual names: the sizes of published checkpoints, without their weights.
//!
//! A preset tells what a model weighs before it is fetched, and is where training from nothing begins.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::ModelError;
use crate::mismatch::nearest_of;

/// Names with their `config.json`, in families.
static PRESETS: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("presets.json")).expect("the file is ours and a test reads it"));

/// Every name, family by family.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.keys().map(String::as_str)
}

/// The `config.json` behind a name.
pub fn config(name: &str) -> Result<Value, ModelError> {
    PRESETS.get(name).cloned().ok_or_else(|| {
        let near = nearest_of(name, names()).map_or_else(String::new, |near| format!("; meant {near}?"));
        ModelError::UnknownPreset { found: name.to_owned(), known: names().collect::<Vec<_>>().join(", ") + &near }
    })
}

#[cfg(test)]
mod tests {
    use burn::prelude::Device;

    use super::*;
    use crate::system::Checkpoint;

    fn device() -> Device {
        florin_backend::device("cpu").expect("the cpu device is always there")
    }

    /// Numbers that transformers counts in the same configurations (`tests/golden/presets.py`).
    #[test]
    fn presets_have_as_many_parameters_as_the_originals() {
        let expected: Map<String, Value> = serde_json::from_str(include_str!("presets_parameters.json")).unwrap();
        assert_eq!(names().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, expected) in &expected {
            let system = Checkpoint::of_preset(name).unwrap().system(&device()).unwrap();
            assert_eq!(Some(system.parameter_count() as u64), expected.as_u64(), "{name}");
        }
    }

    #[test]
    fn a_new_system_has_weights_that_compute() {
        florin_backend::seed(&device(), 1);
        let system = Checkpoint::of_preset("all-MiniLM-L6-v2").unwrap().initialised(&device()).unwrap();
        let inputs = crate::Inputs::new(&device()).whole("input_ids", &[1, 3], vec![101, 7, 102]);
        let outputs = system.forward(&inputs).unwrap();
        let vector = outputs.get("sentence_embedding").unwrap().values.clone().into_data().convert::<f32>();
        let vector = vector.try_to_vec::<f32>().unwrap();
        assert!(vector.iter().all(|value| value.is_finite()) && vector.iter().any(|&value| value != 0.0));
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        let error = config("clip-vit-base-patch23").unwrap_err().to_string();
        assert!(error.contains("meant clip-vit-base-patch32?"), "{error}");
    }
}
