//! What tells one model from another without reading all of it: names and sizes of its files, and blocks spread over each.
//!
//! A folder that was copied or moved keeps its fingerprint; one whose weights were trained further does not.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::ModelError;

/// Blocks that are read of a file, and how long each is.
const BLOCKS: u64 = 64;
const BLOCK: u64 = 4096;

/// The fingerprint of a folder's files, and of what else decides what the model gives.
pub fn fingerprint(folder: &Path, settings: &str) -> Result<String, ModelError> {
    let failed = |source| ModelError::File { path: folder.into(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            names.push(path);
        }
    }
    names.sort();
    let mut parts = vec![settings.as_bytes().to_vec()];
    for path in names {
        parts.push(path.file_name().unwrap_or_default().as_encoded_bytes().to_vec());
        parts.push(blocks(&path).map_err(|source| ModelError::File { path, source })?);
    }
    Ok(digest(parts))
}

/// A file's size and the blocks that stand for it; all of a small file.
fn blocks(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut found = size.to_le_bytes().to_vec();
    if size <= BLOCKS * BLOCK {
        file.read_to_end(&mut found)?;
        return Ok(found);
    }
    for block in 0..BLOCKS {
        file.seek(SeekFrom::Start((size - BLOCK) / (BLOCKS - 1) * block))?;
        file.by_ref().take(BLOCK).read_to_end(&mut found)?;
    }
    Ok(found)
}

/// A digest of parts, in which no part can pass for two.
pub(crate) fn digest(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.as_ref().len() as u64).to_le_bytes());
        hash.update(part.as_ref());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_and_another_number_anywhere_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        let weights = vec![7_u8; 1_000_000];
        std::fs::write(&file, &weights).unwrap();
        let first = fingerprint(folder.path(), "").unwrap();
        std::fs::write(&file, &weights).unwrap();
        assert_eq!(fingerprint(folder.path(), "").unwrap(), first);
        assert_ne!(fingerprint(folder.path(), "other").unwrap(), first);
        for range in [0..10, 990_000..1_000_000, 480_000..520_000] {
            let mut changed = weights.clone();
            changed[range.clone()].fill(8);
            std::fs::write(&file, &changed).unwrap();
            assert_ne!(fingerprint(folder.path(), "").unwrap(), first, "{range:?}");
        }
    }
}
