//! Systems: whole models that open from a checkpoint's folder and are called with named tensors, as transformers calls them.
//!
//! A system is a module with a [`Forward`]; [`open`] reads a folder's `config.json`, finds the system that answers to its
//! `model_type`, and fills it. What comes back hides which system it is: `florin verify`, `florin inspect` and the golden tests
//! treat all of them alike. A program that wants one system by its type opens that (`bert::open`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::prelude::Device;
use florin_nn::parameters::{self, StoredTensor};
use florin_nn::{PackedWeight, WeightFormat};
use safetensors::tensor::Dtype;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::checkpoint::{self, in_file, in_packed_file};
use crate::mismatch::nearest_of;
use crate::named_tensors::{Inputs, Outputs};
use crate::names::Names;
use crate::text_embedder::TextRules;
use crate::weights::{self, Weights};
use crate::{
    ModelError, beit, bert, beside, chinese_clip, clap, clip, deit, dinov2, distilbert, ft_transformer, layoutlm, lilt,
    modern_bert, open_clip, patch_tst, presets, roberta, siglip, spectrogram_transformer, table_mlp,
    temporal_convolution, time_sformer, timm_vit, video_mae, vit, vit_mae, whisper, whisper_ctranslate2,
};

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

    /// How it wants texts; none if it takes none.
    fn text_rules(&self) -> Option<TextRules> {
        None
    }

    /// Frames of the clips that it takes; none if it takes no clips.
    fn frames(&self) -> Option<usize> {
        None
    }
}

/// A system, whichever it is.
pub trait System {
    /// The inputs it takes.
    fn wants(&self) -> Vec<Wanted>;

    /// Computes everything that the inputs allow, under transformers' names.
    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError>;

    /// How it wants texts; none if it takes none.
    fn text_rules(&self) -> Option<TextRules>;

    /// Frames of the clips that it takes; none if it takes no clips.
    fn frames(&self) -> Option<usize>;

    /// How many numbers its parameters hold.
    fn parameter_count(&self) -> usize;

    /// Every parameter as a checkpoint has it.
    fn parameters(&self) -> BTreeMap<String, StoredTensor>;

    /// The gradient of every parameter that has one, as a checkpoint would have it.
    fn gradients(&self, graph: &burn::tensor::Gradients) -> BTreeMap<String, StoredTensor>;

    /// Writes the folder anew in single precision: the configuration, the weights under the names they had, and the files of tokenizer
    /// and preprocessor.
    fn save(&self, folder: &Path) -> Result<(), ModelError> {
        self.save_as(folder, Precision::Single)
    }

    /// The same in a precision of choice.
    fn save_as(&self, folder: &Path, precision: Precision) -> Result<(), ModelError>;
}

/// How saved weights are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Not at all: f32.
    Single,
    /// Every tensor to the format that it was read from.
    Stored,
    /// Weights of linear layers as they are packed, which only Florin reads; the rest in f32.
    Packed,
}

/// A folder whose configuration has been read.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Value,
    weights: Weights,
    /// Whether modules get the weights, or only their sizes are asked for.
    fills: bool,
    /// How the weights of linear layers are packed; as they are, for training, unless asked for.
    packs: Option<WeightFormat>,
}

/// A filled module with the names of its file.
#[derive(Debug)]
pub struct Opened<M> {
    /// The module.
    pub module: M,
    /// What hangs on its parameters.
    packed: BTreeMap<String, PackedWeight>,
    names: Names,
    config: Value,
    folder: PathBuf,
    /// Shapes in the file: a convolution there is a matrix here, and a single number a vector of one.
    shapes: BTreeMap<String, Vec<usize>>,
    formats: BTreeMap<String, Dtype>,
}

/// The configuration of a folder.
const CONFIG: &str = "config.json";
/// The same of open_clip.
const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";
/// The largest whole number of a configuration.
const MOST: i64 = 1 << 31;
/// The most layers of a model.
const MOST_LAYERS: i64 = 4096;

type Opener = fn(&Checkpoint, &Device) -> Result<Box<dyn System>, ModelError>;

/// What answers to a `model_type`.
const FAMILIES: &[(&str, Opener)] = &[
    ("audio-spectrogram-transformer", |checkpoint, device| {
        Ok(Box::new(spectrogram_transformer::SpectrogramTransformer::of(checkpoint, device)?))
    }),
    ("beit", |checkpoint, device| Ok(Box::new(beit::of(checkpoint, device)?))),
    ("bert", |checkpoint, device| Ok(Box::new(bert::of(checkpoint, device)?))),
    ("camembert", |checkpoint, device| Ok(Box::new(roberta::of(checkpoint, device)?))),
    ("chinese_clip", |checkpoint, device| Ok(Box::new(chinese_clip::ChineseClip::of(checkpoint, device)?))),
    ("clap", |checkpoint, device| Ok(Box::new(clap::Clap::of(checkpoint, device)?))),
    ("clap_audio_model", |checkpoint, device| Ok(Box::new(clap::Clap::of(checkpoint, device)?))),
    ("clap_text_model", |checkpoint, device| Ok(Box::new(clap::Clap::of(checkpoint, device)?))),
    ("clip", |checkpoint, device| Ok(Box::new(clip::Clip::of(checkpoint, device)?))),
    ("clip_text_model", |checkpoint, device| Ok(Box::new(clip::Clip::of(checkpoint, device)?))),
    ("clip_vision_model", |checkpoint, device| Ok(Box::new(clip::Clip::of(checkpoint, device)?))),
    ("deit", |checkpoint, device| Ok(Box::new(deit::of(checkpoint, device)?))),
    ("dinov2", |checkpoint, device| Ok(Box::new(dinov2::of(checkpoint, device)?))),
    ("dinov2_with_registers", |checkpoint, device| Ok(Box::new(dinov2::of(checkpoint, device)?))),
    ("distilbert", |checkpoint, device| Ok(Box::new(distilbert::of(checkpoint, device)?))),
    ("florin-ft-transformer", |checkpoint, device| {
        Ok(Box::new(ft_transformer::FtTransformer::of(checkpoint, device)?))
    }),
    ("florin-table-mlp", |checkpoint, device| Ok(Box::new(table_mlp::TableMlp::of(checkpoint, device)?))),
    ("florin-temporal-convolution", |checkpoint, device| {
        Ok(Box::new(temporal_convolution::TemporalConvolution::of(checkpoint, device)?))
    }),
    ("layoutlm", |checkpoint, device| Ok(Box::new(layoutlm::of(checkpoint, device)?))),
    ("lilt", |checkpoint, device| Ok(Box::new(lilt::of(checkpoint, device)?))),
    ("modernbert", |checkpoint, device| Ok(Box::new(modern_bert::of(checkpoint, device)?))),
    ("open_clip", |checkpoint, device| Ok(Box::new(open_clip::of(checkpoint, device)?))),
    ("patchtst", |checkpoint, device| Ok(Box::new(patch_tst::PatchTst::of(checkpoint, device)?))),
    ("roberta", |checkpoint, device| Ok(Box::new(roberta::of(checkpoint, device)?))),
    ("siglip", |checkpoint, device| Ok(Box::new(siglip::SigLip::of(checkpoint, device)?))),
    ("siglip_text_model", |checkpoint, device| Ok(Box::new(siglip::SigLip::of(checkpoint, device)?))),
    ("siglip_vision_model", |checkpoint, device| Ok(Box::new(siglip::SigLip::of(checkpoint, device)?))),
    ("siglip2", |checkpoint, device| Ok(Box::new(siglip::SigLip::of(checkpoint, device)?))),
    ("siglip2_text_model", |checkpoint, device| Ok(Box::new(siglip::SigLip::of(checkpoint, device)?))),
    ("siglip2_vision_model", |checkpoint, device| Ok(Box::new(siglip::SigLip::of(checkpoint, device)?))),
    ("timesformer", |checkpoint, device| Ok(Box::new(time_sformer::TimeSformer::of(checkpoint, device)?))),
    ("timm", |checkpoint, device| Ok(Box::new(timm_vit::of(checkpoint, device)?))),
    ("videomae", |checkpoint, device| Ok(Box::new(video_mae::VideoMae::of(checkpoint, device)?))),
    ("vit", |checkpoint, device| Ok(Box::new(vit::of(checkpoint, device)?))),
    ("vit_mae", |checkpoint, device| Ok(Box::new(vit_mae::VitMae::of(checkpoint, device)?))),
    ("whisper", |checkpoint, device| Ok(Box::new(whisper::Whisper::of(checkpoint, device)?))),
    ("xlm-roberta", |checkpoint, device| Ok(Box::new(roberta::of(checkpoint, device)?))),
];

/// Opens whatever system a folder holds.
pub fn open(folder: &Path, device: &Device) -> Result<Box<dyn System>, ModelError> {
    Checkpoint::open(folder)?.system(device)
}

impl Checkpoint {
    /// Reads the configuration and opens the weights of a folder.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let weights = Weights::open(folder);
        // A folder without a configuration is told so before one without weights.
        let config = read_config(folder, weights.as_ref().ok())?;
        let weights = weights?;
        Ok(Self {
            folder: folder.into(),
            config: known_config(config, &weights, folder)?,
            weights,
            fills: true,
            packs: None,
        })
    }

    /// Reads the configuration of a folder and, where there are weights, their names: a system of it has its sizes and nothing in it.
    pub fn describe(folder: &Path) -> Result<Self, ModelError> {
        let weights = if Weights::are_in(folder) { Weights::open(folder)? } else { Weights::none(folder) };
        let config = read_config(folder, Some(&weights))?;
        Ok(Self {
            folder: folder.into(),
            config: known_config(config, &weights, folder)?,
            weights,
            fills: false,
            packs: None,
        })
    }

    /// The configuration of a [preset](presets): a system of it has its sizes and nothing in it.
    pub fn of_preset(name: &str) -> Result<Self, ModelError> {
        Ok(Self::of_config(name, presets::config(name)?))
    }

    /// A configuration of one's own, such as a preset's with another head; errors call it by the name.
    pub fn of_config(name: &str, config: Value) -> Self {
        let folder = PathBuf::from(name);
        Self { config, weights: Weights::none(&folder), folder, fills: false, packs: None }
    }

    /// For inference only: the weights of linear layers in the order and the precision in which the `cpu` device multiplies fastest; without
    /// a precision in that in which the file has them packed, or else in f32. On other devices they stay as they are.
    pub fn packed(self, format: Option<WeightFormat>) -> Self {
        let format = format.or(self.weights.packed_format()).unwrap_or(WeightFormat::F32);
        Self { packs: Some(format), ..self }
    }

    /// A system of the configuration with new weights, whatever the folder holds: where training from nothing begins.
    pub fn initialised(self, device: &Device) -> Result<Box<dyn System>, ModelError> {
        Self { fills: false, ..self }.built(device)
    }

    /// The system that answers to the configuration's `model_type`, with the folder's weights.
    pub fn system(&self, device: &Device) -> Result<Box<dyn System>, ModelError> {
        // Sizes are the file's author's word until the weights are held to them: nothing is allocated for them before.
        florin_nn::unfilled(|| self.built(device))
    }

    fn built(&self, device: &Device) -> Result<Box<dyn System>, ModelError> {
        let kind = self.model_type()?;
        if let Some((_, open)) = FAMILIES.iter().find(|(name, _)| *name == kind) {
            return open(self, device);
        }
        let known: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
        Err(self.refused(format!("no system is called {}", unknown(kind, &known))))
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

    /// A part of the configuration, or all of it where it has no such part: a tower alone is saved either way.
    pub fn config_or_part<T: DeserializeOwned>(&self, name: &str) -> Result<T, ModelError> {
        if self.config.get(name).is_some_and(Value::is_object) { self.part_of_config(name) } else { self.config() }
    }

    /// A part of the configuration, or all of it where it has no such part, laid over the family's usual settings.
    pub fn part_over<T: Serialize + DeserializeOwned>(&self, name: &str, usual: &T) -> Result<T, ModelError> {
        let stated = self.config.get(name).filter(|part| part.is_object()).unwrap_or(&self.config);
        let mut whole = serde_json::to_value(usual).map_err(|error| self.refused(error.to_string()))?;
        if let (Some(whole), Some(stated)) = (whole.as_object_mut(), stated.as_object()) {
            whole.extend(stated.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        serde_json::from_value(whole).map_err(|error| self.refused(format!("{name}: {error}")))
    }

    /// The configuration's `model_type`; timm's has an `architecture` instead.
    pub fn model_type(&self) -> Result<&str, ModelError> {
        let timm = self.config["architecture"].as_str().map(|_| "timm");
        self.config["model_type"].as_str().or(timm).ok_or_else(|| self.refused("`model_type` is missing".to_owned()))
    }

    /// The first of the configuration's `architectures`, such as `BertForMaskedLM`, or timm's only `architecture`.
    pub fn architecture(&self) -> Result<&str, ModelError> {
        let timm = self.config["architecture"].as_str();
        self.config["architectures"][0]
            .as_str()
            .or(timm)
            .ok_or_else(|| self.refused("`architectures` is missing or empty".to_owned()))
    }

    /// The error of a configuration that cannot be built.
    pub fn refused(&self, reason: String) -> ModelError {
        ModelError::Configuration { path: self.folder.join("config.json"), reason }
    }

    /// The error of an architecture that a family does not have.
    pub fn unknown_architecture(&self, known: &[&str]) -> ModelError {
        let found = self.config["architectures"][0].as_str().unwrap_or_default();
        self.refused(format!("no architecture is called {}", unknown(found, known)))
    }

    /// Fills a module with the weights.
    pub fn fill<M: Module>(&self, module: M, names: Names) -> Result<Opened<M>, ModelError> {
        let (module, packed) = match self.packs {
            packs if self.fills => checkpoint::fill(module, &self.weights, &names, packs)?,
            // Drawn ones.
            Some(format) => florin_nn::pack_and_tell(module, format),
            None => (module, BTreeMap::new()),
        };
        let weights = &self.weights;
        let shapes =
            weights.names().filter_map(|name| Some((name.to_owned(), weights.shape(name)?.to_vec()))).collect();
        let formats = weights.names().filter_map(|name| Some((name.to_owned(), weights.dtype(name)?))).collect();
        let (config, folder) = (self.config.clone(), self.folder.clone());
        Ok(Opened { module, packed, names, config, folder, shapes, formats })
    }
}

/// The configuration of a folder: transformers' file, else open_clip's, else what OpenAI's tensors imply.
fn read_config(folder: &Path, weights: Option<&Weights>) -> Result<Value, ModelError> {
    let is_there = |name: &&str| folder.join(name).is_file();
    let name = [CONFIG, OPEN_CLIP_CONFIG].into_iter().find(is_there).unwrap_or(CONFIG);
    let path = folder.join(name);
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match weights.and_then(open_clip::config_of) {
            Some(config) => return Ok(config),
            None => return Err(ModelError::File { path, source: error }),
        },
        text => text.map_err(|source| ModelError::File { path: path.clone(), source })?,
    };
    let checked = serde_json::from_slice(&text).map_err(|error| error.to_string()).and_then(|mut config: Value| {
        check_sizes("", &config)?;
        if let Some(fields) = config.as_object_mut().filter(|_| name == OPEN_CLIP_CONFIG) {
            fields.entry("model_type").or_insert(Value::from("open_clip"));
        }
        Ok(config)
    });
    checked.map_err(|reason| ModelError::Configuration { path, reason })
}

/// The configuration, or where CTranslate2 wrote the folder, which keeps none, what its tensors say.
fn known_config(config: Value, weights: &Weights, folder: &Path) -> Result<Value, ModelError> {
    let made = match weights.specification() {
        Some(whisper_ctranslate2::SPECIFICATION) => whisper_ctranslate2::config(weights),
        Some(other) => {
            let known = whisper_ctranslate2::SPECIFICATION;
            Err(format!("of CTranslate2's models only {known} is known, found {other}"))
        }
        None => Ok(config),
    };
    made.map_err(|reason| ModelError::Configuration { path: folder.join("config.json"), reason })
}

/// Refuses sizes that no model has, before anybody multiplies them: whole numbers beyond 2^31, and thousands of layers.
fn check_sizes(name: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Object(parts) => parts.iter().try_for_each(|(name, part)| check_sizes(name, part)),
        Value::Array(parts) => parts.iter().try_for_each(|part| check_sizes(name, part)),
        Value::Number(number) if !number.is_f64() => {
            let most = if name.contains("layers") { MOST_LAYERS } else { MOST };
            let fits = number.as_i64().is_some_and(|number| (-most..=most).contains(&number));
            if fits { Ok(()) } else { Err(format!("`{name}` is {number}, expected at most {most}")) }
        }
        _ => Ok(()),
    }
}

/// A name that nothing answers to, with the nearest that something does and all of them.
fn unknown(found: &str, known: &[&str]) -> String {
    let near = nearest_of(found, known.iter().copied()).map_or_else(String::new, |near| format!(" (meant {near}?)"));
    format!("`{found}`{near}; known: {}", known.join(", "))
}

impl<M: Forward> System for Opened<M> {
    fn wants(&self) -> Vec<Wanted> {
        self.module.wants()
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        self.module.forward(inputs)
    }

    fn text_rules(&self) -> Option<TextRules> {
        self.module.text_rules()
    }

    fn frames(&self) -> Option<usize> {
        self.module.frames()
    }

    fn parameter_count(&self) -> usize {
        parameters::count(&self.module)
    }

    fn parameters(&self) -> BTreeMap<String, StoredTensor> {
        // Packed weights hold their numbers only in what they are materialized to.
        self.as_in_file(parameters::collect(&self.module.clone().materialize()))
    }

    fn gradients(&self, graph: &burn::tensor::Gradients) -> BTreeMap<String, StoredTensor> {
        self.as_in_file(parameters::collect_gradients(&self.module, graph))
    }

    fn save_as(&self, folder: &Path, precision: Precision) -> Result<(), ModelError> {
        std::fs::create_dir_all(folder).map_err(|source| ModelError::File { path: folder.into(), source })?;
        let text = format!("{:#}\n", saved_config(&self.config, precision));
        let is_open_clip = self.config["model_type"] == "open_clip";
        let (config, file) =
            if is_open_clip { (OPEN_CLIP_CONFIG, weights::OPEN_CLIP_FILE) } else { (CONFIG, weights::FILE) };
        florin_data::files::write_atomically(folder.join(config), |writer| {
            std::io::Write::write_all(writer, text.as_bytes())
        })?;
        beside::copy(&self.folder, folder)?;
        if precision == Precision::Packed {
            let (packed, dense) = in_packed_file(self.packed.clone(), &self.names, self.parameters());
            return weights::packed::save(&packed, &dense, &folder.join(weights::PACKED_FILE));
        }
        let format = |name: &str| match precision {
            Precision::Single | Precision::Packed => Dtype::F32,
            Precision::Stored => self.formats.get(name).copied().unwrap_or(Dtype::F32),
        };
        checkpoint::save_tensors_as(&self.parameters(), &folder.join(file), &format)
    }
}

/// The configuration as it was read, but for the precision in which transformers is to open what is saved.
fn saved_config(config: &Value, precision: Precision) -> Value {
    let mut config = config.clone();
    for name in ["dtype", "torch_dtype"] {
        if let Some(stored) = config.get_mut(name).filter(|_| precision == Precision::Single) {
            *stored = Value::from("float32");
        }
    }
    config
}

impl<M> Opened<M> {
    /// The same, to be written under other names than it was read: with shapes where they are not the parameters' own.
    pub(crate) fn written_as(self, names: Names, shapes: BTreeMap<String, Vec<usize>>) -> Self {
        Self { names, shapes, formats: BTreeMap::new(), ..self }
    }

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
