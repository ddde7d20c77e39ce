//! One weights file, whatever its format: bytes, and where in them each tensor is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::mapped::Bytes;
use super::packed::{self, Panels};
use super::{ctranslate2, torch_file};
use crate::ModelError;

/// An opened file.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) path: PathBuf,
    pub(super) bytes: Bytes,
    pub(super) tensors: BTreeMap<String, Entry>,
    /// Those of them whose numbers are packed: their entries say nothing of where they are.
    pub(super) packed: BTreeMap<String, Panels>,
    /// What CTranslate2 calls the model, if the file is its.
    pub(super) specification: Option<String>,
}

/// Where a tensor is. Whoever makes one has checked that all of it lies within the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) format: Dtype,
    pub(super) shape: Vec<usize>,
    /// Where in the file its first number is.
    pub(super) begin: usize,
    /// Numbers between neighbours of each dimension, where it is not simply row-major.
    pub(super) strides: Option<Vec<usize>>,
}

impl Stored {
    /// Opens a file: safetensors, or what `torch.save` or CTranslate2 write where its name ends so.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let bytes = Bytes::open(path)?;
        let is_torch = path.extension().is_some_and(|ending| ["bin", "pt", "pth"].iter().any(|known| ending == *known));
        if is_torch && ctranslate2::is_ctranslate2(&bytes) {
            return Self::of_ctranslate2(bytes, path);
        }
        if is_torch { Self::of_torch(bytes, path) } else { Self::of_safetensors(bytes, path) }
    }

    pub(super) fn from_safetensors(bytes: Vec<u8>, path: &Path) -> Result<Self, ModelError> {
        Self::of_safetensors(Bytes::of(bytes), path)
    }

    pub(super) fn from_torch(bytes: Vec<u8>, path: &Path) -> Result<Self, ModelError> {
        Self::of_torch(Bytes::of(bytes), path)
    }

    pub(super) fn from_ctranslate2(bytes: Vec<u8>, path: &Path) -> Result<Self, ModelError> {
        Self::of_ctranslate2(Bytes::of(bytes), path)
    }

    fn of_safetensors(bytes: Bytes, path: &Path) -> Result<Self, ModelError> {
        let damaged = |error: safetensors::SafeTensorError| damaged(path, error.to_string());
        // Checks that the tensors follow each other without a gap and end with the file.
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let start = header + size_of::<u64>();
        let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            let (format, shape, begin) = (info.dtype, info.shape.clone(), start + info.data_offsets.0);
            (name, Entry { format, shape, begin, strides: None })
        };
        let mut tensors = metadata.tensors().into_iter().map(entry).collect();
        let packed =
            packed::found(metadata.metadata().as_ref(), &mut tensors).map_err(|reason| self::damaged(path, reason))?;
        Ok(Self { path: path.into(), bytes, tensors, packed, specification: None })
    }

    fn of_torch(bytes: Bytes, path: &Path) -> Result<Self, ModelError> {
        let tensors = torch_file::read(&bytes).map_err(|reason| damaged(path, reason))?;
        Ok(Self { path: path.into(), bytes, tensors, packed: BTreeMap::new(), specification: None })
    }

    fn of_ctranslate2(bytes: Bytes, path: &Path) -> Result<Self, ModelError> {
        let ctranslate2::Variables { specification, tensors } =
            ctranslate2::read(&bytes).map_err(|reason| damaged(path, reason))?;
        let packed = BTreeMap::new();
        Ok(Self { path: path.into(), bytes, tensors, packed, specification: Some(specification) })
    }

    /// The bytes of a tensor, row-major.
    pub(super) fn data(&self, entry: &Entry) -> Cow<'_, [u8]> {
        let width = entry.format.bitsize() / 8;
        let count: usize = entry.shape.iter().product();
        match &entry.strides {
            None => Cow::Borrowed(&self.bytes[entry.begin..entry.begin + count * width]),
            Some(strides) => Cow::Owned(self.gathered(entry, strides, count, width)),
        }
    }

    /// Says that the bytes of a tensor are not needed again soon.
    pub(super) fn pass(&self, entry: &Entry) {
        if entry.strides.is_none() {
            let size = entry.shape.iter().product::<usize>() * entry.format.bitsize() / 8;
            self.bytes.pass(entry.begin..entry.begin + size);
        }
    }

    /// The numbers of a tensor that lie in another order, one by one.
    fn gathered(&self, entry: &Entry, strides: &[usize], count: usize, width: usize) -> Vec<u8> {
        let mut found = Vec::with_capacity(count * width);
        let mut place = vec![0; entry.shape.len()];
        for _ in 0..count {
            let offset: usize = place.iter().zip(strides).map(|(index, stride)| index * stride).sum();
            let from = entry.begin + offset * width;
            found.extend_from_slice(&self.bytes[from..from + width]);
            for dimension in (0..place.len()).rev() {
                place[dimension] += 1;
                if place[dimension] < entry.shape[dimension] {
                    break;
                }
                place[dimension] = 0;
            }
        }
        found
    }

    pub(super) fn format_error(&self, name: &str, expected: &'static str, found: Dtype) -> ModelError {
        ModelError::Format { path: self.path.clone(), name: name.to_owned(), expected, found: format!("{found:?}") }
    }
}

pub(super) fn damaged(path: &Path, reason: String) -> ModelError {
    ModelError::Damaged { path: path.into(), reason }
}
