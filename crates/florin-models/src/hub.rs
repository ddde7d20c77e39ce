//! Pretrained weights (being written).
use std::path::PathBuf;
use crate::ModelError;
/// A folder as given.
pub fn folder_of(name_or_folder: &str) -> Result<PathBuf, ModelError> {
    Ok(PathBuf::from(name_or_folder))
}
