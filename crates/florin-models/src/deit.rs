//! DeiT: the encoder of ViT with a second token that learns from a teacher, its pooler, and classifiers of pictures.
//!
//! Paper: Touvron et al. 2020 (DeiT), <https://arxiv.org/abs/2012.12877>
//! Difference: pictures of another size than the configuration's are taken always, as in ViT; the head that draws masked patches
//! (`DeiTForMaskedImageModeling`), which is not the paper's, is not opened.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::VitVariant;
use florin_nn::Linear;

use crate::ModelError;
use crate::classes::classes;
use crate::image_heads::{DistilledHead, HEAD_NAMES, ImageHead, is_head, is_pooler, pooler};
use crate::image_model::{ImageConfig, ImageModel, Pictures, names_of};
use crate::system::{Checkpoint, Opened};

const ARCHITECTURES: [&str; 3] = ["DeiTModel", "DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"];

/// Opens a folder.
pub fn open(folder: &Path, device: &Device) -> Result<Opened<ImageModel>, ModelError> {
    of(&Checkpoint::open(folder)?, device)
}

pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<ImageModel>, ModelError> {
    let config: ImageConfig = checkpoint.config()?;
    let sizes = config.sizes(checkpoint)?;
    let variant = VitVariant { distillation_token: true, ..config.variant("deit")? };
    let mut model = ImageModel::new(sizes.init_as(&variant, device), Pictures::of(&sizes));
    let scores = || Ok::<_, ModelError>(Linear::new(sizes.dim, classes(checkpoint)?, device));
    match checkpoint.architecture()? {
        "DeiTModel" => model.pooler = pooler(checkpoint, "deit", sizes.dim, device)?,
        "DeiTForImageClassification" => model.head = Some(ImageHead::Classes(scores()?)),
        "DeiTForImageClassificationWithTeacher" => {
            model.head = Some(ImageHead::Distilled(DistilledHead { class: scores()?, distillation: scores()? }));
        }
        _ => return Err(checkpoint.unknown_architecture(&ARCHITECTURES)),
    }
    let names = names_of(checkpoint, "deit.").and(HEAD_NAMES);
    let names = names.ignoring(if model.head.is_some() { is_pooler } else { is_head });
    checkpoint.fill(model, names)
}
