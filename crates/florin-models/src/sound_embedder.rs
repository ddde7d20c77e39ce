//! Sounds as vectors: the folder's feature extractor, batches, the system, and the vector that it makes of a sound.

use std::path::Path;
use std::rc::Rc;

use burn::prelude::*;
use florin_data::sound_processor::{PreparedSound, SoundInput, SoundProcessor};
use florin_nn::WeightFormat;

use crate::ModelError;
use crate::image_embedder::rows_of;
use crate::named_tensors::{Inputs, refused};
use crate::system::{Checkpoint, System, Wanted};

/// What a sound's vector is called, the first that a system gives.
const OUTPUTS: [&str; 3] = ["audio_embeds", "sound_embedding", "pooler_output"];

/// A system of sounds with its feature extractor.
pub struct SoundEmbedder {
    system: Rc<dyn System>,
    processor: SoundProcessor,
    device: Device,
}

impl SoundEmbedder {
    /// Opens a folder with its `preprocessor_config.json`.
    pub fn open(folder: &Path, device: &Device, format: Option<WeightFormat>) -> Result<Self, ModelError> {
        Self::of(Rc::from(Checkpoint::open(folder)?.packed(format).system(device)?), folder, device)
    }

    /// With the system of a folder that is open already.
    pub fn of(system: Rc<dyn System>, folder: &Path, device: &Device) -> Result<Self, ModelError> {
        let wants = system.wants();
        let is_sound = |wanted: &&Wanted| ["input_features", "input_values"].contains(&wanted.name);
        let Some(wanted) = wants.iter().find(is_sound) else {
            return Err(refused("model", "one that takes sounds", &folder.display().to_string()));
        };
        let processor = SoundProcessor::of_folder(folder)?;
        let SoundInput { name, dims } = processor.input();
        if (wanted.name, wanted.dims) != (name, dims) {
            let expected = format!("{} {}", wanted.name, wanted.dims);
            return Err(refused("feature extractor", &expected, &format!("one that gives {name} {dims}")));
        }
        Ok(Self { system, processor, device: device.clone() })
    }

    /// A sound's file as the model's numbers. One that cannot be read is an error that names it.
    pub fn prepare_file(&mut self, path: &Path) -> Result<PreparedSound, ModelError> {
        Ok(self.processor.prepare_file(path)?)
    }

    /// Seconds of a sound that are read.
    pub fn seconds(&self) -> f64 {
        self.processor.most_samples() as f64 / self.processor.rate() as f64
    }

    /// The vectors of sounds that are prepared, in one batch.
    pub fn embed_prepared(&self, sounds: &[PreparedSound]) -> Result<Vec<Vec<f32>>, ModelError> {
        let Some(first) = sounds.first() else { return Ok(Vec::new()) };
        let SoundInput { name, .. } = self.processor.input();
        if let Some(other) = sounds.iter().find(|other| other.log_mel.shape != first.log_mel.shape) {
            let expected = format!("log-mels of {:?}", first.log_mel.shape);
            return Err(refused(name, &expected, &format!("one of {:?}", other.log_mel.shape)));
        }
        let shape = [&[sounds.len()], first.log_mel.shape.as_slice()].concat();
        let values = sounds.iter().flat_map(|sound| sound.log_mel.values.iter().copied()).collect();
        let mut inputs = Inputs::new(&self.device).floats(name, &shape, values);
        let wants = |name: &str| self.system.wants().iter().any(|wanted| wanted.name == name);
        if wants("is_longer") {
            // No parts are made of a sound, whatever its length.
            inputs = inputs.whole("is_longer", &[sounds.len(), 1], vec![0; sounds.len()]);
        }
        let frames: Option<Vec<&Vec<i64>>> = sounds.iter().map(|sound| sound.frames.as_ref()).collect();
        if let Some(frames) = frames.filter(|_| wants("attention_mask")) {
            let shape = [sounds.len(), frames[0].len()];
            inputs = inputs.whole("attention_mask", &shape, frames.into_iter().flatten().copied().collect());
        }
        rows_of(&self.system.forward(&inputs)?, &OUTPUTS)
    }
}
