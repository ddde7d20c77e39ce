//! Where a checkpoint's folder says how pictures and sounds are prepared.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::DataError;

/// The file in a checkpoint's folder.
pub(crate) const FILE: &str = "preprocessor_config.json";
/// Where newer versions keep it, each part under a name of its own.
const PROCESSOR_FILE: &str = "processor_config.json";

/// The file of a folder and what stands in it; `action` is for messages.
pub(crate) fn read(folder: &Path, action: &'static str) -> Result<(PathBuf, Vec<u8>), DataError> {
    let (path, newer) = (folder.join(FILE), folder.join(PROCESSOR_FILE));
    let path = if path.is_file() || !newer.is_file() { path } else { newer };
    let text = std::fs::read(&path).map_err(|source| DataError::file(action, &path, source))?;
    Ok((path, text))
}

/// The settings of a file that holds them alone, or as a part of this name.
pub(crate) fn settings<T: DeserializeOwned>(text: &[u8], part: &str) -> Result<T, String> {
    let mut value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if let Some(part) = value.get_mut(part) {
        value = part.take();
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}
