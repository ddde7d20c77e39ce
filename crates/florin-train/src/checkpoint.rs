//! The state of a run in one file, so that writing it is one rename and a run that is killed in the middle keeps the last.
//!
//! Only what training moves is stored: a frozen parameter is where the run's settings put it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;

use burn::module::Module;
use burn::prelude::*;
use florin_data::files::write_atomically;
use florin_nn::parameters::{StoredTensor, assign, collect};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde::{Deserialize, Serialize};

use crate::{AdamWOptimiser, TrainConfig, TrainError, WeightAverage};

/// Where a run stands, beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Steps done.
    pub(crate) steps: usize,
    /// Best score so far and the step it was reached at.
    pub(crate) best: Option<(f64, usize)>,
    /// Evaluations since the best.
    pub(crate) since_best: usize,
    /// Whether patience ran out.
    pub(crate) stopped: bool,
    /// The run's settings, to refuse a checkpoint of another run.
    pub(crate) config: TrainConfig,
    /// How many steps each parameter's moments have seen.
    times: BTreeMap<String, usize>,
}

impl Progress {
    /// Nothing done yet.
    pub(crate) fn start(config: &TrainConfig) -> Self {
        let config = config.clone();
        Self { steps: 0, best: None, since_best: 0, stopped: false, config, times: BTreeMap::new() }
    }
}

/// Everything a run needs to go on.
pub(crate) struct State<M> {
    pub(crate) progress: Progress,
    pub(crate) model: M,
    pub(crate) optimiser: AdamWOptimiser,
    pub(crate) average: Option<WeightAverage>,
    /// Trained parameters at the best evaluation.
    pub(crate) best: BTreeMap<String, StoredTensor>,
}

/// The parameters that training moves.
pub(crate) fn trained<M: Module>(model: &M, optimiser: &AdamWOptimiser) -> BTreeMap<String, StoredTensor> {
    let mut all = collect(model);
    let moved: std::collections::BTreeSet<&str> = optimiser.state().map(|(name, ..)| name).collect();
    all.retain(|name, _| moved.contains(name.as_str()));
    all
}

/// Writes a checkpoint; the one before stays whole until this one is.
pub(crate) fn write<M: Module>(state: &State<M>, path: &Path) -> Result<(), TrainError> {
    let failed = |reason: String| TrainError::Checkpoint { path: path.into(), reason };
    let mut progress = state.progress.clone();
    let mut tensors: BTreeMap<String, StoredTensor> = BTreeMap::new();
    for (name, tensor) in trained(&state.model, &state.optimiser) {
        tensors.insert(format!("weight.{name}"), tensor);
    }
    for (name, tensor) in &state.best {
        tensors.insert(format!("best.{name}"), tensor.clone());
    }
    for (name, moment_1, moment_2, time) in state.optimiser.state() {
        tensors.insert(format!("moment_1.{name}"), flat(moment_1));
        tensors.insert(format!("moment_2.{name}"), flat(moment_2));
        progress.times.insert(name.to_owned(), time);
    }
    for (name, value) in state.average.iter().flat_map(WeightAverage::values) {
        tensors.insert(format!("average.{name}"), flat(value));
    }
    let json = serde_json::to_string(&progress).map_err(|error| failed(error.to_string()))?;
    let bytes: Vec<Vec<u8>> =
        tensors.values().map(|tensor| tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let mut views = Vec::with_capacity(bytes.len());
    for ((name, tensor), data) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), data);
        views.push((name.as_str(), view.map_err(|error| failed(error.to_string()))?));
    }
    let file = serialize(views, Some(HashMap::from([("progress".to_owned(), json)])))
        .map_err(|error| failed(error.to_string()))?;
    write_atomically(path, |writer| std::io::Write::write_all(writer, &file))?;
    Ok(())
}

/// Reads a checkpoint into a model and optimiser made by the same settings.
pub(crate) fn read<M: Module>(state: State<M>, path: &Path, device: &Device) -> Result<State<M>, TrainError> {
    let failed = |reason: String| TrainError::Checkpoint { path: path.into(), reason };
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let damaged = |error: safetensors::SafeTensorError| failed(format!("not a readable checkpoint: {error}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    let json = header.metadata().as_ref().and_then(|metadata| metadata.get("progress"));
    let json = json.ok_or_else(|| failed("not a checkpoint of a run: it holds no progress".into()))?;
    let progress: Progress = serde_json::from_str(json).map_err(|error| failed(error.to_string()))?;
    if progress.config != state.progress.config {
        let what = differing(&progress.config, &state.progress.config);
        return Err(TrainError::OtherRun { path: path.into(), what });
    }
    let tensors = stored(&SafeTensors::deserialize(&bytes).map_err(damaged)?).map_err(failed)?;
    restore(state, progress, tensors, device).map_err(failed)
}

fn restore<M: Module>(
    mut state: State<M>,
    progress: Progress,
    tensors: BTreeMap<String, StoredTensor>,
    device: &Device,
) -> Result<State<M>, String> {
    let mut mismatch = None;
    let model = assign(state.model, &mut |name, shape| {
        let tensor = tensors.get(&format!("weight.{name}"))?;
        if tensor.shape != shape {
            mismatch.get_or_insert(format!("{name} has shape {:?}, the model expects {shape:?}", tensor.shape));
            return None;
        }
        Some(Cow::Borrowed(&tensor.values[..]))
    });
    if let Some(mismatch) = mismatch {
        return Err(mismatch);
    }
    let get = |key: String| {
        let tensor = tensors.get(&key).ok_or_else(|| format!("{key} is missing"))?;
        let count = tensor.values.len();
        Ok::<_, String>(Tensor::<1>::from_data(TensorData::new(tensor.values.clone(), [count]), device))
    };
    for (name, time) in &progress.times {
        let (moment_1, moment_2) = (get(format!("moment_1.{name}"))?, get(format!("moment_2.{name}"))?);
        state.optimiser.restore(name.clone(), moment_1, moment_2, *time);
    }
    for (key, _) in tensors.range("average.".to_owned()..).take_while(|(key, _)| key.starts_with("average.")) {
        if let Some(average) = &mut state.average {
            average.restore(key["average.".len()..].to_owned(), get(key.clone())?);
        }
    }
    let best = tensors.iter().filter_map(|(key, tensor)| Some((key.strip_prefix("best.")?.to_owned(), tensor.clone())));
    Ok(State { best: best.collect(), progress, model, ..state })
}

fn flat(tensor: &Tensor<1>) -> StoredTensor {
    let values = tensor.to_data().try_to_vec::<f32>().expect("moments and averages are f32");
    StoredTensor { shape: vec![values.len()], values }
}

fn stored(file: &SafeTensors<'_>) -> Result<BTreeMap<String, StoredTensor>, String> {
    let mut all = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor {name} holds {:?}, expected F32", view.dtype()));
        }
        let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        all.insert(name, StoredTensor { shape: view.shape().to_vec(), values });
    }
    Ok(all)
}

/// Names of the settings in which two runs differ.
fn differing(found: &TrainConfig, expected: &TrainConfig) -> String {
    let (Ok(found), Ok(expected)) = (serde_json::to_value(found), serde_json::to_value(expected)) else {
        return "settings".into();
    };
    let (Some(found), Some(expected)) = (found.as_object(), expected.as_object()) else { return "settings".into() };
    let differ = found.iter().filter(|(key, value)| expected.get(key.as_str()) != Some(value));
    let names: Vec<String> = differ
        .map(|(key, value)| {
            format!("{key}: {value} there, {} here", expected.get(key.as_str()).unwrap_or(&serde_json::Value::Null))
        })
        .collect();
    names.join("; ")
}
