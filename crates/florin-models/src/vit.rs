//! ViT: the encoder with its pooler, and a classifier of pictures.
//!
//! Paper: Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>
//! Difference: pictures of another size than the configuration's are taken always, as transformers does when asked to
//! (`interpolate_pos_encoding`); a table of positions that is not square is interpolated as the grid that it is.

use std::path::Path;

use burn::prelude::*;
use florin_nn::Linear;

use crate::ModelError;
use crate::classes::classes;
use crate::image_heads::{HEAD_NAMES, ImageHead, is_head, is_pooler, pooler};
use crate::image_model::{ImageConfig, ImageModel, Pictures, names_of};
use crate::system::{Checkpoint, Opened};

const ARCHITECTURES: [&str; 2] = ["ViTModel", "ViTForImageClassification"];

/// Opens a folder.
pub fn open(folder: &Path, device: &Device) -> Result<Opened<ImageModel>, ModelError> {
    of(&Checkpoint::open(folder)?, device)
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<ImageModel>, ModelError> {
    let config: ImageConfig = checkpoint.config()?;
    let sizes = config.sizes(checkpoint)?;
    let mut model = ImageModel::new(sizes.init_as(&config.variant("vit")?, device), Pictures::of(&sizes));
    match checkpoint.architecture()? {
        "ViTModel" => model.pooler = pooler(checkpoint, "vit", sizes.dim, device)?,
        "ViTForImageClassification" => {
            model.head = Some(ImageHead::Classes(Linear::new(sizes.dim, classes(checkpoint)?, device)));
        }
        _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
    }
    let names = names_of(checkpoint, "vit.").and(HEAD_NAMES);
    let names = if model.head.is_some() { names.ignoring(is_pooler) } else { names.ignoring(is_head) };
    checkpoint.fill(model, names)
}
