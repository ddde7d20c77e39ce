//! Whole systems against transformers, opened from a checkpoint's folder as users open one: outputs, every gradient, and the way
//! back to a file.

use std::collections::BTreeMap;
use std::panic::{RefUnwindSafe, catch_unwind};
use std::path::Path;

use burn::prelude::*;
use florin_models::{Inputs, Outputs, System, checkpoint};
use florin_nn::parameters::StoredTensor;

use crate::golden_fixture::{Comparison, Fixture, folder};
use crate::golden_tolerance::{GRADIENT, LOSS, OUTPUT};
use crate::golden_weights::{stored, uniform};

#[test]
fn golden_systems_audio() {
    check("audio");
}

#[test]
fn golden_systems_image() {
    check("image");
}

#[test]
fn golden_systems_pair() {
    check("pair");
}

#[test]
fn golden_systems_series() {
    check("series");
}

#[test]
fn golden_systems_table() {
    check("table");
}

#[test]
fn golden_systems_text() {
    check("text");
}

#[test]
fn golden_systems_video() {
    check("video");
}

/// Checks every case of a family and tells of all that fail.
fn check(family: &str) {
    for_each(&format!("system_{family}_"), &check_case);
}

/// Does something with every case whose name begins so, and tells of all that fail.
pub(crate) fn for_each(prefix: &str, check: &(dyn Fn(&str) + RefUnwindSafe)) {
    let mut cases: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the fixtures are there") {
        let name = entry.expect("a file").file_name().to_string_lossy().into_owned();
        cases.extend(name.strip_suffix(".safetensors").filter(|name| name.starts_with(prefix)).map(str::to_owned));
    }
    cases.sort();
    assert!(!cases.is_empty(), "no fixture is called {prefix}*");
    let failed: Vec<&String> = cases.iter().filter(|case| catch_unwind(|| check(case)).is_err()).collect();
    assert!(failed.is_empty(), "{} of {} systems fail: {failed:?}", failed.len(), cases.len());
}

/// A case's system, opened from a folder that is written for it.
pub(crate) fn opened(fixture: &Fixture, device: &Device) -> Box<dyn System> {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    write_checkpoint(fixture, scratch.path());
    florin_models::open(scratch.path(), device).unwrap_or_else(|error| panic!("{error}"))
}

fn check_case(case: &str) {
    let fixture = Fixture::open(case);
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let given = write_checkpoint(&fixture, scratch.path());
    let system = florin_models::open(scratch.path(), &device).unwrap_or_else(|error| panic!("{case}: {error}"));
    let outputs = system.forward(&inputs(&fixture, &device)).unwrap_or_else(|error| panic!("{case}: {error}"));
    let mut comparison = Comparison::new(&fixture);
    let gradients = system.gradients(&probed(&fixture, outputs, &mut comparison).backward());
    for name in fixture.expected_names("gradient.") {
        let gradient = gradients.get(&name).unwrap_or_else(|| panic!("{case}: {name} has no gradient"));
        comparison.values(&format!("gradient.{name}"), &gradient.values, GRADIENT);
    }
    comparison.finish();
    let back = tempfile::tempdir().expect("a temporary folder");
    system.save(back.path()).unwrap_or_else(|error| panic!("{case}: {error}"));
    let (config, weights) = file_names(&fixture.config("checkpoint"));
    assert!(back.path().join(config).is_file(), "{case}: a configuration is written");
    let read = checkpoint::load_tensors(&back.path().join(weights)).expect("what was written can be read");
    for name in fixture.expected_names("gradient.") {
        assert!(read.contains_key(&name), "{case}: {name} is written");
    }
    for (name, tensor) in &read {
        assert_eq!(Some(tensor), given.get(name), "{case}: {name} is written as it was read");
    }
}

/// Writes what `save_pretrained` would have written, and gives its tensors back.
fn write_checkpoint(fixture: &Fixture, folder: &Path) -> BTreeMap<String, StoredTensor> {
    let config: serde_json::Value = fixture.config("checkpoint");
    let (name, weights) = file_names(&config);
    // OpenAI's checkpoints have no configuration.
    if config.as_object().is_some_and(|fields| !fields.is_empty()) {
        std::fs::write(folder.join(name), config.to_string()).expect("the folder is writable");
    }
    let listed: Vec<(String, Vec<usize>)> = fixture.config("tensors");
    let filled = listed.into_iter().map(|(name, shape)| {
        let values = stored(&name, &shape);
        (name, StoredTensor { shape, values })
    });
    let tensors = filled.collect();
    checkpoint::save_tensors(&tensors, &folder.join(weights)).expect("the folder is writable");
    tensors
}

/// What configuration and weights are called: the names of transformers and timm, or open_clip's.
fn file_names(config: &serde_json::Value) -> (&'static str, &'static str) {
    match config.get("model_type").or(config.get("architecture")) {
        Some(_) => ("config.json", "model.safetensors"),
        None => ("open_clip_config.json", "open_clip_model.safetensors"),
    }
}

/// A case's inputs.
pub(crate) fn inputs(fixture: &Fixture, device: &Device) -> Inputs {
    fixture.input_names().into_iter().fold(Inputs::new(device), |inputs, name| {
        if fixture.is_whole(&name) {
            let (shape, values) = fixture.ints(&name);
            inputs.whole(&name, &shape, values)
        } else {
            let (shape, values) = fixture.floats(&name);
            inputs.floats(&name, &shape, values)
        }
    })
}

/// Compares the outputs that the fixture has and adds them up, each multiplied by noise of its name.
fn probed(fixture: &Fixture, outputs: Outputs, comparison: &mut Comparison<'_>) -> Tensor<1> {
    let expected = fixture.expected_names("");
    let mut sum: Option<Tensor<1>> = None;
    for output in outputs.into_iter().filter(|output| expected.contains(&output.name)) {
        let tolerance = if output.name.starts_with("loss") { LOSS } else { OUTPUT };
        comparison.tensor(&output.name, output.values.clone(), tolerance);
        let count = output.values.dims()[0];
        let noise: Vec<f32> = uniform(&format!("probe.{}", output.name), count).collect();
        let probe = Tensor::<1>::from_data(TensorData::new(noise, [count]), &output.values.device());
        let term = (output.values * probe).sum();
        sum = Some(sum.map_or(term.clone(), |sum| sum + term));
    }
    sum.expect("the fixture expects at least one output")
}
