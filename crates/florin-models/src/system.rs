//! Systems: whole models that open from a checkpoint's folder and are called with named tensors, as transformers calls them.
//!
//! A system is a module with a [`Forward`]; [`open`] reads a folder's `config.json`, finds the system that answers to its
//! `model_type`, and fills it. What comes back hides which system it is: `florin verify`, `florin inspect` and the golden tests
//! treat all of them alike. A program that wants one system by its type opens that (`bert::Bert::open`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::prelude::Device;
use florin_nn::parameters::{self, StoredTensor};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::checkpoint::{self, in_file};
use crate::named_tensors::{Inputs, Outputs};
use crate::names::Names;
use crate::weights::Weights;
use crate::{ModelError, bert, ft_transformer, patch_tst, table_mlp, temporal_convolution, time_sformer, video_mae};

/// An input that a system takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Wanted {
    /// transformers' name of it.
    pub name: &'static str,
    /// Its dimensions.
    pub dims: &'static str,
    /// Whether the system can do without.
    pub optional: bool,
}

impl Wanted {
    /// An input that the system cannot do without.
    pub const fn needed(name: &'static str, dims: &'static str) -> Self {
        Self { name, dims, optional: false }
    }

    /// An input that the system can do without.
    pub const fn optional(name: &'static str, dims: &'static str) -> Self {
        Self { name, dims, optional: true }
    }
}

/// A module that computes what transformers' class of the same checkpoint computes.
pub trait Forward: Module {
    /// The inputs it takes.
    fn wants(&self) -> Vec<Wanted>;

    /// Computes everything that the inputs allow, under transformers' names.
    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError>;
}

/// A system, whichever it is.
pub trait System {
    /// The inputs it takes.
    fn wants(&self) -> Vec<Wanted>;

    /// Computes everything that the inputs allow, under transformers' names.
    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError>;

    /// How many numbers its parameters hold.
    fn parameter_count(&self) -> usize;

    /// Every parameter as a checkpoint has it.
    fn parameters(&self) -> BTreeMap<String, StoredTensor>;

    /// The gradient of every parameter that has one, as a checkpoint would have it.
    fn gradients(&self, graph: &burn::tensor::Gradients) -> BTreeMap<String, StoredTensor>;

    /// Writes the folder anew: the configuration as it was read and the weights, under the names they had.
    fn save(&self, folder: &Path) -> Result<(), ModelError>;
}

/// A folder whose configuration has been read.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Value,
    weights: Weights,
}

/// A filled module with the names of its file.
#[derive(Debug)]
pub struct Opened<M> {
    /// The module.
    pub module: M,
    names: Names,
    config: Value,
    /// Shapes in the file: a convolution there is a matrix here, and a single number a vector of one.
    shapes: BTreeMap<String, Vec<usize>>,
}

type Opener = fn(&Checkpoint, &Device) -> Result<Box<dyn System>, ModelError>;

/// What answers to a `model_type`.
const FAMILIES: &[(&str, Opener)] = &[
    ("bert", |checkpoint, device| Ok(Box::new(bert::Bert::of(checkpoint, device)?))),
    ("florin-ft-transformer", |checkpoint, device| {
        Ok(Box::new(ft_transformer::FtTransformer::of(checkpoint, device)?))
    }),
    ("florin-table-mlp", |checkpoint, device| Ok(Box::new(table_mlp::TableMlp::of(checkpoint, device)?))),
    ("florin-temporal-convolution", |checkpoint, device| {
        Ok(Box::new(temporal_convolution::TemporalConvolution::of(checkpoint, device)?))
    }),
    ("patchtst", |checkpoint, device| Ok(Box::new(patch_tst::PatchTst::of(checkpoint, device)?))),
    ("timesformer", |checkpoint, device| Ok(Box::new(time_sformer::TimeSformer::of(checkpoint, device)?))),
    ("videomae", |checkpoint, device| Ok(Box::new(video_mae::VideoMae::of(checkpoint, device)?))),
];

/// Opens whatever system a folder holds.
pub fn open(folder: &Path, device: &Device) -> Result<Box<dyn System>, ModelError> {
    let checkpoint = Checkpoint::open(folder)?;
    let kind = checkpoint.model_type()?;
    match FAMILIES.iter().find(|(name, _)| *name == kind) {
        Some((_, open)) => open(&checkpoint, device),
        None => {
            let known: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
            Err(checkpoint.refused(format!("no system is called `{kind}`; known: {}", known.join(", "))))
        }
    }
}

impl Checkpoint {
    /// Reads the configuration and opens the weights of a folder.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|source| ModelError::File { path: path.clone(), source })?;
        let config = serde_json::from_str(&text)
            .map_err(|error| ModelError::Configuration { path: path.clone(), reason: error.to_string() })?;
        Ok(Self { folder: folder.into(), config, weights: Weights::open(folder)? })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The tensors.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The configuration, as a type that knows its fields.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, ModelError> {
        serde_json::from_value(self.config.clone()).map_err(|error| self.refused(error.to_string()))
    }

    /// A part of the configuration, such as `text_config`.
    pub fn part_of_config<T: DeserializeOwned>(&self, name: &str) -> Result<T, ModelError> {
        let part = self.config.get(name).ok_or_else(|| self.refused(format!("`{name}` is missing")))?;
        serde_json::from_value(part.clone()).map_err(|error| self.refused(format!("{name}: {error}")))
    }

    /// The configuration's `model_type`.
    pub fn model_type(&self) -> Result<&str, ModelError> {
        self.config["model_type"].as_str().ok_or_else(|| self.refused("`model_type` is missing".to_owned()))
    }

    /// The first of the configuration's `architectures`, such as `BertForMaskedLM`.
    pub fn architecture(&self) -> Result<&str, ModelError> {
        self.config["architectures"][0]
            .as_str()
            .ok_or_else(|| self.refused("`architectures` is missing or empty".to_owned()))
    }

    /// The error of a configuration that cannot be built.
    pub fn refused(&self, reason: String) -> ModelError {
        ModelError::Configuration { path: self.folder.join("config.json"), reason }
    }

    /// The error of an architecture that a family does not have.
    pub fn unknown_architecture(&self, known: &[&str]) -> ModelError {
        let found = self.config["architectures"][0].as_str().unwrap_or_default();
        self.refused(format!("no architecture is called `{found}`; known: {}", known.join(", ")))
    }

    /// Fills a module with the weights.
    pub fn fill<M: Module>(&self, module: M, names: Names) -> Result<Opened<M>, ModelError> {
        let module = checkpoint::fill(module, &self.weights, &names)?;
        let shapes =
            self.weights.names().filter_map(|name| Some((name.to_owned(), self.weights.shape(name)?.to_vec())));
        Ok(Opened { module, names, config: self.config.clone(), shapes: shapes.collect() })
    }
}

impl<M: Forward> System for Opened<M> {
    fn wants(&self) -> Vec<Wanted> {
        self.module.wants()
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        self.module.forward(inputs)
    }

    fn parameter_count(&self) -> usize {
        parameters::count(&self.module)
    }

    fn parameters(&self) -> BTreeMap<String, StoredTensor> {
        self.as_in_file(parameters::collect(&self.module))
    }

    fn gradients(&self, graph: &burn::tensor::Gradients) -> BTreeMap<String, StoredTensor> {
        self.as_in_file(parameters::collect_gradients(&self.module, graph))
    }

    fn save(&self, folder: &Path) -> Result<(), ModelError> {
        std::fs::create_dir_all(folder).map_err(|source| ModelError::File { path: folder.into(), source })?;
        let text = format!("{:#}\n", self.config);
        florin_data::files::write_atomically(&folder.join("config.json"), |writer| {
            std::io::Write::write_all(writer, text.as_bytes())
        })?;
        checkpoint::save_tensors(&self.parameters(), &folder.join(crate::weights::FILE))
    }
}

impl<M> Opened<M> {
    fn as_in_file(&self, own: BTreeMap<String, StoredTensor>) -> BTreeMap<String, StoredTensor> {
        let mut tensors = in_file(own, &self.names);
        for (name, tensor) in &mut tensors {
            if let Some(shape) = self.shapes.get(name) {
                tensor.shape.clone_from(shape);
            }
        }
        tensors
    }
}
