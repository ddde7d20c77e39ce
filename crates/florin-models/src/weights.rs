//! The tensors of a checkpoint: one safetensors file, or several with an index.
//!
//! Files are untrusted: the header is checked by `safetensors` against the size of the file, an index may name files of its own
//! folder only, and nothing is converted before somebody asks for it with a shape.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorInfo};
use serde::Deserialize;

use crate::ModelError;

/// The file of a checkpoint that is in one piece.
pub const FILE: &str = "model.safetensors";
/// The index of one that is in several.
const INDEX: &str = "model.safetensors.index.json";

/// The opened tensors of a checkpoint.
#[derive(Debug)]
pub struct Weights {
    /// The file, or the index of several.
    path: PathBuf,
    files: Vec<File>,
    /// Which file has a tensor.
    places: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Where in `bytes` the tensors begin.
    start: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens the weights of a folder.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let index = folder.join(INDEX);
        if !folder.join(FILE).exists() && index.exists() {
            Self::open_index(folder, &index)
        } else {
            Self::open_file(&folder.join(FILE))
        }
    }

    /// Opens one safetensors file.
    pub fn open_file(path: &Path) -> Result<Self, ModelError> {
        Ok(Self::of(path, vec![File::open(path)?]))
    }

    /// Reads the bytes of a safetensors file; `path` is for messages.
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, ModelError> {
        Ok(Self::of(path, vec![File::parse(bytes, path)?]))
    }

    fn of(path: &Path, files: Vec<File>) -> Self {
        let places = files
            .iter()
            .enumerate()
            .flat_map(|(place, file)| file.tensors.keys().map(move |name| (name.clone(), place)));
        let places = places.collect();
        Self { path: path.into(), files, places }
    }

    fn open_index(folder: &Path, path: &Path) -> Result<Self, ModelError> {
        let damaged = |reason: String| ModelError::Damaged { path: path.into(), reason };
        let text = std::fs::read_to_string(path).map_err(|source| ModelError::File { path: path.into(), source })?;
        let index: Index = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        let mut files = Vec::new();
        for name in names {
            if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
                return Err(damaged(format!("`{name}` is not the name of a file in the same folder")));
            }
            files.push(File::open(&folder.join(name))?);
        }
        let weights = Self::of(path, files);
        if let Some(name) = index.weight_map.keys().find(|name| !weights.places.contains_key(*name)) {
            return Err(damaged(format!("no file of it holds `{name}`")));
        }
        Ok(weights)
    }

    /// The file, or the index of several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every tensor's name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Whether there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Whether any name begins so.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.names().any(|name| name.starts_with(prefix))
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.info(name)?.1.shape)
    }

    /// The number format of a tensor, as safetensors names it.
    pub fn format(&self, name: &str) -> Option<String> {
        Some(format!("{:?}", self.info(name)?.1.dtype))
    }

    /// The values of a tensor as f32, row-major.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let (file, info) = self.info(name).ok_or_else(|| self.absent(name))?;
        let data = file.data(info);
        match info.dtype {
            Dtype::F32 => Ok(data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            Dtype::F64 => Ok(data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()),
            Dtype::BF16 => Ok(data.as_chunks::<2>().0.iter().map(|b| brain(u16::from_le_bytes(*b))).collect()),
            Dtype::F16 => Ok(data.as_chunks::<2>().0.iter().map(|b| half(u16::from_le_bytes(*b))).collect()),
            other => Err(file.format_error(name, "F32, F64, F16 or BF16", other)),
        }
    }

    /// The values of a tensor of whole numbers, or of yes (1) and no (0).
    pub fn whole_numbers(&self, name: &str) -> Result<Vec<i64>, ModelError> {
        let (file, info) = self.info(name).ok_or_else(|| self.absent(name))?;
        let data = file.data(info);
        match info.dtype {
            Dtype::I64 => Ok(data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            Dtype::I32 => Ok(data.as_chunks::<4>().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()),
            Dtype::U8 | Dtype::BOOL => Ok(data.iter().map(|&b| i64::from(b)).collect()),
            other => Err(file.format_error(name, "I64, I32, U8 or BOOL", other)),
        }
    }

    fn info(&self, name: &str) -> Option<(&File, &TensorInfo)> {
        let file = &self.files[*self.places.get(name)?];
        Some((file, file.tensors.get(name)?))
    }

    fn absent(&self, name: &str) -> ModelError {
        ModelError::Damaged { path: self.path.clone(), reason: format!("there is no tensor `{name}`") }
    }
}

impl File {
    /// A plain read, not a memory map: a file that changes underneath must not be undefined behaviour.
    fn open(path: &Path) -> Result<Self, ModelError> {
        Self::parse(std::fs::read(path).map_err(|source| ModelError::File { path: path.into(), source })?, path)
    }

    fn parse(bytes: Vec<u8>, path: &Path) -> Result<Self, ModelError> {
        let damaged =
            |error: safetensors::SafeTensorError| ModelError::Damaged { path: path.into(), reason: error.to_string() };
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        Ok(Self { path: path.into(), start: header + size_of::<u64>(), bytes, tensors })
    }

    fn data(&self, info: &TensorInfo) -> &[u8] {
        let (from, to) = info.data_offsets;
        &self.bytes[self.start + from..self.start + to]
    }

    fn format_error(&self, name: &str, expected: &'static str, found: Dtype) -> ModelError {
        ModelError::Format { path: self.path.clone(), name: name.to_owned(), expected, found: format!("{found:?}") }
    }
}

/// bfloat16 to single precision.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// IEEE half precision to single.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_read_exactly() {
        assert_eq!(half(0x3c00), 1.0);
        assert_eq!(half(0xc000), -2.0);
        assert_eq!(half(0x0001), 2f32.powi(-24));
        assert_eq!(half(0x7bff), 65504.0);
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f32::NEG_INFINITY);
        assert_eq!(brain(0x3f80), 1.0);
    }

    #[test]
    fn an_index_brings_several_files_together_and_names_none_outside_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, name: &str| {
            let data: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
            let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![2], &data).unwrap();
            std::fs::write(folder.path().join(file), safetensors::serialize([(name, view)], None).unwrap()).unwrap();
        };
        write("one.safetensors", "a");
        write("two.safetensors", "b");
        let index =
            |map: &str| std::fs::write(folder.path().join(INDEX), format!("{{\"weight_map\": {map}}}")).unwrap();
        index(r#"{"a": "one.safetensors", "b": "two.safetensors"}"#);
        let weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(weights.values("b").unwrap(), [1.0, 2.0]);
        index(r#"{"a": "../one.safetensors"}"#);
        let error = Weights::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("`../one.safetensors` is not the name of a file in the same folder"), "{error}");
        index(r#"{"a": "one.safetensors", "c": "two.safetensors"}"#);
        assert!(Weights::open(folder.path()).unwrap_err().to_string().contains("no file of it holds `c`"));
    }
}
