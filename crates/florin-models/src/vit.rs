//! ViT: the encoder with its pooler, and a classifier of pictures.
//!
//! Paper: Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>
//! Difference: pictures of another size than the configuration's are taken always, as transformers does when asked to
//! (`interpolate_pos_encoding`); a table of positions that is not square is interpolated as the grid that it is.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::activation;
use florin_nn::Linear;
use serde::Deserialize;

use crate::ModelError;
use crate::classes::classes;
use crate::image_model::{ImageConfig, ImageHead, ImageModel, ImagePooler, Pictures, names_of};
use crate::names::{Rule, rule};
use crate::system::{Checkpoint, Opened};

const ARCHITECTURES: [&str; 2] = ["ViTModel", "ViTForImageClassification"];

/// What transformers calls the parts beyond the encoder.
pub(crate) const HEAD_NAMES: [Rule; 2] = [rule("pooler", "~pooler"), rule("head", "classifier")];

/// What a `config.json` says of the pooler.
#[derive(Deserialize)]
struct PoolerConfig {
    pooler_output_size: Option<usize>,
    pooler_act: Option<String>,
}

/// Opens a folder.
pub fn open(folder: &Path, device: &Device) -> Result<Opened<ImageModel>, ModelError> {
    of(&Checkpoint::open(folder)?, device)
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<ImageModel>, ModelError> {
    let config: ImageConfig = checkpoint.config()?;
    let sizes = config.sizes(checkpoint)?;
    let mut model = ImageModel::new(sizes.init_as(&config.variant("vit")?, device), Pictures::of(&sizes));
    match checkpoint.architecture()? {
        "ViTModel" => model.pooler = pooler(checkpoint, "vit.", sizes.dim, device)?,
        "ViTForImageClassification" => {
            model.head = Some(ImageHead::Classes(Linear::new(sizes.dim, classes(checkpoint)?, device)));
        }
        _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
    }
    let names = names_of(checkpoint, "vit.").and(HEAD_NAMES);
    let names = if model.head.is_some() { names.ignoring(is_pooler) } else { names.ignoring(is_head) };
    checkpoint.fill(model, names)
}

/// The pooler of a model without a head, if the file has one.
pub(crate) fn pooler(
    checkpoint: &Checkpoint,
    prefix: &str,
    dim: usize,
    device: &Device,
) -> Result<Option<ImagePooler>, ModelError> {
    let weights = checkpoint.weights();
    if !["", prefix].iter().any(|prefix| weights.has(&format!("{prefix}pooler.dense.weight"))) {
        return Ok(None);
    }
    let config: PoolerConfig = checkpoint.config()?;
    let size = config.pooler_output_size.filter(|&size| size > 0).unwrap_or(dim);
    let activation = activation("vit", config.pooler_act.as_deref().unwrap_or("tanh"))?;
    Ok(Some(ImagePooler { dense: Linear::new(dim, size, device), activation }))
}

/// A pooler under a head that does not read it.
pub(crate) fn is_pooler(name: &str) -> bool {
    name.contains("pooler.")
}

/// The head of a model that is asked for without one.
pub(crate) fn is_head(name: &str) -> bool {
    name.starts_with("classifier.")
}
