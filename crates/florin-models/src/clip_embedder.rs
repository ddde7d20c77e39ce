//! Clips as vectors: frames spread over the clip, the folder's image processor, and either a system of clips or one of pictures.
//!
//! A system of clips (VideoMAE, TimeSformer) sees as many frames as it was made for; with a system of pictures a clip's vector is the
//! mean of its frames' vectors.

use std::path::Path;
use std::rc::Rc;

use burn::prelude::*;
use florin_data::clip::read_frames;
use florin_data::image_processor::{ImageProcessor, PixelValues};
use florin_nn::WeightFormat;

use crate::ModelError;
use crate::image_embedder::{ImageEmbedder, check_one_size, rows_of};
use crate::named_tensors::{Inputs, refused};
use crate::system::{Checkpoint, System};

/// What a clip's vector is called.
pub(crate) const OUTPUT: &str = "clip_embedding";
/// Frames of a clip that a system of pictures sees, unless said.
const USUAL_FRAMES: usize = 8;

/// A system with its image processor, for clips.
pub struct ClipEmbedder {
    seer: Seer,
    processor: ImageProcessor,
    frames: usize,
}

/// What looks at a clip.
enum Seer {
    /// A system of clips.
    Whole { system: Rc<dyn System>, device: Device },
    /// A system of pictures, frame by frame.
    Frames(ImageEmbedder),
}

impl ClipEmbedder {
    /// Opens a folder with its `preprocessor_config.json`, for so many frames of a clip; a system of clips has its own number.
    pub fn open(
        folder: &Path,
        frames: Option<usize>,
        device: &Device,
        format: Option<WeightFormat>,
    ) -> Result<Self, ModelError> {
        let system: Rc<dyn System> = Rc::from(Checkpoint::open(folder)?.packed(format).system(device)?);
        let processor = ImageProcessor::of_folder(folder)?;
        let Some(own) = system.frames() else {
            let seer = Seer::Frames(ImageEmbedder::of(system, folder, device)?);
            return Ok(Self { seer, processor, frames: frames.unwrap_or(USUAL_FRAMES) });
        };
        if let Some(other) = frames.filter(|&other| other != own) {
            return Err(refused("frames", &format!("{own}, for which the model was made"), &other.to_string()));
        }
        let seer = Seer::Whole { system, device: device.clone() };
        Ok(Self { seer, processor, frames: own })
    }

    /// Frames that are read of a clip.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The vector of each clip. A clip that cannot be read is an error that names it.
    pub fn embed(&self, clips: &[&Path]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut prepared: Vec<PixelValues> = Vec::with_capacity(clips.len() * self.frames);
        for clip in clips {
            prepared.extend(self.processor.prepare_all(&read_frames(clip, self.frames)?));
        }
        match &self.seer {
            Seer::Frames(pictures) => {
                let vectors = pictures.embed_prepared(&prepared)?;
                Ok(vectors.chunks(self.frames).map(mean).collect())
            }
            Seer::Whole { system, device } => {
                let Some([height, width]) = check_one_size(&prepared)? else { return Ok(Vec::new()) };
                let shape = [clips.len(), self.frames, 3, height, width];
                let values: Vec<f32> = prepared.iter().flat_map(|picture| picture.values.iter().copied()).collect();
                let outputs = system.forward(&Inputs::new(device).floats("pixel_values", &shape, values))?;
                rows_of(&outputs, &[OUTPUT])
            }
        }
    }
}

/// The mean of vectors of one width.
fn mean(vectors: &[Vec<f32>]) -> Vec<f32> {
    let dim = vectors.first().map_or(0, Vec::len);
    let sum = |number: usize| vectors.iter().map(|vector| f64::from(vector[number])).sum::<f64>();
    (0..dim).map(|number| (sum(number) / vectors.len() as f64) as f32).collect()
}
