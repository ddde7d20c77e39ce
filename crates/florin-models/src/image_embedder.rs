//! Pictures as vectors: the folder's image processor, batches of one size, the system, and the vector that it makes of a picture.

use std::path::Path;
use std::rc::Rc;

use burn::prelude::*;
use florin_data::image_processor::{ImageProcessor, PixelValues};
use florin_nn::WeightFormat;

use crate::ModelError;
use crate::named_tensors::{Inputs, Output, Outputs, refused};
use crate::system::{Checkpoint, System, Wanted};

/// What a picture's vector is called, the first that a system gives.
const OUTPUTS: [&str; 2] = ["image_embeds", "pooler_output"];

/// A system of pictures with its image processor.
pub struct ImageEmbedder {
    system: Rc<dyn System>,
    processor: ImageProcessor,
    device: Device,
}

impl ImageEmbedder {
    /// Opens a folder with its `preprocessor_config.json`.
    pub fn open(folder: &Path, device: &Device, format: Option<WeightFormat>) -> Result<Self, ModelError> {
        Self::of(Rc::from(Checkpoint::open(folder)?.packed(format).system(device)?), folder, device)
    }

    /// With the system of a folder that is open already.
    pub fn of(system: Rc<dyn System>, folder: &Path, device: &Device) -> Result<Self, ModelError> {
        let is_picture =
            |wanted: &Wanted| wanted.name == "pixel_values" && wanted.dims == "[batch, channels, height, width]";
        if !system.wants().iter().any(is_picture) {
            return Err(refused("model", "one that takes pictures of one size", &folder.display().to_string()));
        }
        Ok(Self { system, processor: ImageProcessor::of_folder(folder)?, device: device.clone() })
    }

    /// The vector of each picture, in one batch. A picture that cannot be read is an error that names it.
    pub fn embed(&self, pictures: &[&Path]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.embed_prepared(&self.processor.prepare_files(pictures)?)
    }

    /// The vectors of pictures that are prepared already.
    pub fn embed_prepared(&self, pictures: &[PixelValues]) -> Result<Vec<Vec<f32>>, ModelError> {
        let Some([height, width]) = check_one_size(pictures)? else { return Ok(Vec::new()) };
        let shape = [pictures.len(), 3, height, width];
        let values: Vec<f32> = pictures.iter().flat_map(|picture| picture.values.iter().copied()).collect();
        let outputs = self.system.forward(&Inputs::new(&self.device).floats("pixel_values", &shape, values))?;
        rows_of(&outputs, &OUTPUTS)
    }
}

/// Height and width of pictures that are all of one size; nothing without pictures.
pub(crate) fn check_one_size(pictures: &[PixelValues]) -> Result<Option<[usize; 2]>, ModelError> {
    let Some(first) = pictures.first() else { return Ok(None) };
    if let Some(other) = pictures.iter().find(|other| (other.height, other.width) != (first.height, first.width)) {
        let expected = format!("pictures of {} x {}", first.width, first.height);
        return Err(refused("pixel_values", &expected, &format!("one of {} x {}", other.width, other.height)));
    }
    Ok(Some([first.height, first.width]))
}

/// The first of some results that a system gave, as rows.
pub(crate) fn rows_of(outputs: &Outputs, names: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
    let found = names.iter().find_map(|name| outputs.get(name)).filter(|output| output.shape.len() == 2);
    found.map(rows).ok_or_else(|| {
        let given: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        refused("model", &format!("one that gives {}", names.join(", ")), &given.join(", "))
    })
}

/// A result `[rows, dim]` as rows.
fn rows(output: &Output) -> Vec<Vec<f32>> {
    let data = output.values.clone().into_data().convert::<f32>();
    let values = data.try_to_vec::<f32>().expect("it was just converted");
    values.chunks(output.shape[1]).map(<[f32]>::to_vec).collect()
}
