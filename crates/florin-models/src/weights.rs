//! The tensors of a checkpoint: safetensors, what `torch.save` wrote, one file or several with an index, CTranslate2's `model.bin`, or
//! what Florin packed.
//!
//! Files are untrusted: where a tensor is said to be is checked against the size of the file, an index may name files of its own
//! folder only, no tensor may be in two of them, and nothing is converted before somebody asks for it with a shape. Nothing in a
//! `.bin` is executed. Burn's reader of those (`pytorch-reader` 0.22.1) is careful too and knows more; it passes over classes that it
//! does not know, lets a view in a kilobyte become ten gigabytes, and brings ZIP, TAR and compression. Ours refuses all that by name.

mod archive;
mod ctranslate2;
mod mapped;
pub(crate) mod packed;
mod pickle;
mod stored;
mod torch_file;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use florin_nn::{PackedWeight, WeightFormat};
use half::{bf16, f16};
use safetensors::tensor::Dtype;
use serde::Deserialize;

use crate::ModelError;
use crate::names::Part;
use stored::{Entry, Stored, damaged};

/// The file of a checkpoint that is in one piece.
pub const FILE: &str = "model.safetensors";
/// The same of open_clip.
pub const OPEN_CLIP_FILE: &str = "open_clip_model.safetensors";
/// The file of a checkpoint whose weights are packed.
pub const PACKED_FILE: &str = "model.packed.safetensors";
/// Files and indices of several files, the first that is there is read.
const NAMES: [&str; 8] = [
    FILE,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    OPEN_CLIP_FILE,
    "open_clip_pytorch_model.bin",
    // CTranslate2's.
    "model.bin",
    PACKED_FILE,
];
/// Bytes of the longest index that is read.
const LONGEST_INDEX: u64 = 64 << 20;

/// The opened tensors of a checkpoint.
#[derive(Debug)]
pub struct Weights {
    /// The file, or the index of several.
    path: PathBuf,
    files: Vec<Stored>,
    /// Which file has a tensor.
    places: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens the weights of a folder.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let found = Self::name_in(folder).unwrap_or(FILE);
        if found.ends_with(".json") { Self::open_index(folder, found) } else { Self::open_file(&folder.join(found)) }
    }

    /// Whether a folder has weights.
    pub fn are_in(folder: &Path) -> bool {
        Self::name_in(folder).is_some()
    }

    /// The file, or the index of several, that is read in a folder.
    pub fn name_in(folder: &Path) -> Option<&'static str> {
        NAMES.into_iter().find(|name| folder.join(name).is_file())
    }

    /// No weights at all, of a folder.
    pub fn none(folder: &Path) -> Self {
        Self { path: folder.into(), files: Vec::new(), places: BTreeMap::new() }
    }

    /// Opens one file: safetensors, or what `torch.save` or CTranslate2 wrote if its name ends with `.bin`, `.pt` or `.pth`.
    pub fn open_file(path: &Path) -> Result<Self, ModelError> {
        Self::of(path, vec![Stored::open(path)?])
    }

    /// Reads the bytes of a safetensors file; `path` is for messages.
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, ModelError> {
        Self::of(path, vec![Stored::from_safetensors(bytes, path)?])
    }

    /// Reads the bytes of a file that `torch.save` wrote; `path` is for messages.
    pub fn from_torch_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, ModelError> {
        Self::of(path, vec![Stored::from_torch(bytes, path)?])
    }

    /// Reads the bytes of a file of CTranslate2; `path` is for messages.
    pub fn from_ctranslate2_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, ModelError> {
        Self::of(path, vec![Stored::from_ctranslate2(bytes, path)?])
    }

    fn of(path: &Path, files: Vec<Stored>) -> Result<Self, ModelError> {
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for (place, file) in files.iter().enumerate() {
            for name in file.tensors.keys() {
                if let Some(other) = places.insert(name.clone(), place) {
                    let (one, two) = (files[other].path.display(), file.path.display());
                    return Err(damaged(path, format!("`{name}` is both in {one} and in {two}")));
                }
            }
        }
        Ok(Self { path: path.into(), files, places })
    }

    fn open_index(folder: &Path, name: &str) -> Result<Self, ModelError> {
        let path = &folder.join(name);
        let failed = |source| ModelError::File { path: path.into(), source };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > LONGEST_INDEX {
            return Err(damaged(path, format!("{size} bytes are too many for an index")));
        }
        let text = std::fs::read(path).map_err(failed)?;
        let index: Index = serde_json::from_slice(&text).map_err(|error| damaged(path, error.to_string()))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        // All that is missing at once, before the first is opened.
        for name in &names {
            if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
                return Err(damaged(path, format!("`{name}` is not the name of a file in the same folder")));
            }
        }
        let missing: Vec<&str> =
            names.iter().map(|name| name.as_str()).filter(|name| !folder.join(name).is_file()).collect();
        if !missing.is_empty() {
            return Err(damaged(path, format!("of {} files, these are missing: {}", names.len(), missing.join(", "))));
        }
        let files: Vec<Stored> = names.iter().map(|name| Stored::open(&folder.join(name))).collect::<Result<_, _>>()?;
        let weights = Self::of(path, files)?;
        match index.weight_map.keys().find(|name| !weights.places.contains_key(*name)) {
            Some(name) => Err(damaged(path, format!("no file of it holds `{name}`"))),
            None => Ok(weights),
        }
    }

    /// The file, or the index of several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What CTranslate2 calls the model in its own files, such as `WhisperSpec`.
    pub fn specification(&self) -> Option<&str> {
        self.files.iter().find_map(|file| file.specification.as_deref())
    }

    /// The names of the files that hold tensors.
    pub fn file_names(&self) -> Vec<String> {
        let name = |file: &Stored| file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.files.iter().map(name).collect()
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
        Some(&self.entry(name)?.1.shape)
    }

    /// The number format of a tensor, as safetensors names it, or how it is packed.
    pub fn format(&self, name: &str) -> Option<String> {
        let (file, entry) = self.entry(name)?;
        let packed = file.packed.get(name).map(|panels| format!("packed {}", panels.format.name()));
        packed.or_else(|| Some(format!("{:?}", entry.format)))
    }

    pub(crate) fn dtype(&self, name: &str) -> Option<Dtype> {
        Some(self.entry(name)?.1.format)
    }

    /// Whether a tensor holds whole numbers, or yes and no.
    pub fn is_whole(&self, name: &str) -> bool {
        use Dtype::{BOOL, I8, I16, I32, I64, U8};
        self.entry(name).is_some_and(|(_, entry)| matches!(entry.format, I64 | I32 | I16 | I8 | U8 | BOOL))
    }

    /// The values of a tensor as f32, row-major: lent where the file has them so.
    pub fn values(&self, name: &str) -> Result<Cow<'_, [f32]>, ModelError> {
        let (file, entry) = self.entry(name).ok_or_else(|| self.absent(name))?;
        if let Some(panels) = file.packed.get(name) {
            return self.unpacked(name, panels).map(Cow::Owned);
        }
        let data = file.data(entry);
        match entry.format {
            Dtype::F32 => Ok(single(data)),
            Dtype::F64 => Ok(data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()),
            Dtype::BF16 => Ok(data.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
            Dtype::F16 => Ok(data.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()),
            Dtype::I8 | Dtype::I16 if self.has(&scale_of(name)) => self.scaled_back(name, &entry.shape).map(Cow::Owned),
            other => Err(file.format_error(name, "F32, F64, F16 or BF16", other)),
        }
    }

    /// The precision in which weights are packed, if any are.
    pub fn packed_format(&self) -> Option<WeightFormat> {
        self.files.iter().find_map(|file| file.packed.values().next()).map(|panels| panels.format)
    }

    /// How many weights are packed.
    pub fn packed_count(&self) -> usize {
        self.files.iter().map(|file| file.packed.len()).sum()
    }

    /// A packed weight as it lies in the file, one of so many parts: none if the tensor is not packed in such parts.
    pub(crate) fn packed(&self, name: &str, part: Part) -> Option<Result<PackedWeight, ModelError>> {
        let (file, _) = self.entry(name)?;
        let panels = file.packed.get(name)?;
        let index = match part {
            Part::Whole => (!panels.turned && panels.parts() == 1).then_some(0),
            Part::Transposed => panels.turned.then_some(0),
            Part::Rows { index, of } => (!panels.turned && panels.parts() == of).then_some(index),
        };
        Some(panels.part(&file.bytes, index?).map_err(|reason| damaged(&file.path, format!("`{name}`: {reason}"))))
    }

    /// The values of a packed weight in its own shape, rounded as they are.
    fn unpacked(&self, name: &str, panels: &packed::Panels) -> Result<Vec<f32>, ModelError> {
        let mut values = Vec::new();
        for index in 0..panels.parts() {
            let part = match panels.turned {
                true => Part::Transposed,
                false => Part::Rows { index, of: panels.parts() },
            };
            let weight = self.packed(name, part).ok_or_else(|| self.absent(name))??;
            let [input, output] = weight.dims();
            let numbers = weight.values();
            values.extend(if panels.turned { numbers } else { florin_backend::transpose(&numbers, input, output) });
        }
        Ok(values)
    }

    /// Says that the numbers of a tensor are not needed again soon: a mapped file's memory may go.
    pub(crate) fn pass(&self, name: &str) {
        if let Some((file, entry)) = self.entry(name).filter(|(file, _)| !file.packed.contains_key(name)) {
            file.pass(entry);
        }
    }

    /// The values of a matrix that is stored in whole numbers, each divided by the scale of its row or of all rows.
    fn scaled_back(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let (numbers, scales) = (self.whole_numbers(name)?, self.values(&scale_of(name))?);
        let rows = shape.first().copied().unwrap_or(1);
        if numbers.is_empty() || ![1, rows].contains(&scales.len()) {
            let reason = format!("`{name}` of shape {shape:?} has {} scales, expected one or one a row", scales.len());
            return Err(damaged(&self.path, reason));
        }
        let row = numbers.len().div_ceil(scales.len());
        Ok(numbers
            .chunks(row)
            .zip(&*scales)
            .flat_map(|(row, &scale)| row.iter().map(move |&n| n as f32 / scale))
            .collect())
    }

    /// The values of any tensor as f64, row-major.
    pub fn wide_values(&self, name: &str) -> Result<Vec<f64>, ModelError> {
        if self.is_whole(name) {
            return Ok(self.whole_numbers(name)?.into_iter().map(|value| value as f64).collect());
        }
        match self.entry(name) {
            Some((file, entry)) if entry.format == Dtype::F64 => {
                Ok(file.data(entry).as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect())
            }
            _ => Ok(self.values(name)?.iter().copied().map(f64::from).collect()),
        }
    }

    /// The values of a tensor of whole numbers, or of yes (1) and no (0).
    pub fn whole_numbers(&self, name: &str) -> Result<Vec<i64>, ModelError> {
        let (file, entry) = self.entry(name).ok_or_else(|| self.absent(name))?;
        if file.packed.contains_key(name) {
            return Err(file.format_error(name, "I64, I32, I16, I8, U8 or BOOL", entry.format));
        }
        let data = file.data(entry);
        match entry.format {
            Dtype::I64 => Ok(data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            Dtype::I32 => Ok(data.as_chunks::<4>().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()),
            Dtype::I16 => Ok(data.as_chunks::<2>().0.iter().map(|b| i64::from(i16::from_le_bytes(*b))).collect()),
            Dtype::I8 => Ok(data.iter().map(|&b| i64::from(b as i8)).collect()),
            Dtype::U8 | Dtype::BOOL => Ok(data.iter().map(|&b| i64::from(b)).collect()),
            other => Err(file.format_error(name, "I64, I32, I16, I8, U8 or BOOL", other)),
        }
    }

    fn entry(&self, name: &str) -> Option<(&Stored, &Entry)> {
        let file = &self.files[*self.places.get(name)?];
        Some((file, file.tensors.get(name)?))
    }

    fn absent(&self, name: &str) -> ModelError {
        damaged(&self.path, format!("there is no tensor `{name}`"))
    }
}

/// Bytes as the numbers that they are: copied only where a file's numbers do not begin where a processor wants them, or where the
/// machine has its bytes the other way round.
fn single(data: Cow<'_, [u8]>) -> Cow<'_, [f32]> {
    if let Cow::Borrowed(bytes) = data
        && cfg!(target_endian = "little")
        && let Ok(values) = bytemuck::try_cast_slice(bytes)
    {
        return Cow::Borrowed(values);
    }
    data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Where CTranslate2 keeps what a matrix of whole numbers was multiplied by.
fn scale_of(name: &str) -> String {
    format!("{name}_scale")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precision_is_read_exactly() {
        let read = |format, data: &[u8]| {
            let view = safetensors::tensor::TensorView::new(format, vec![2], data).unwrap();
            let bytes = safetensors::serialize([("a", view)], None).unwrap();
            Weights::from_bytes(bytes, Path::new("model.safetensors")).unwrap().values("a").unwrap().into_owned()
        };
        assert_eq!(read(Dtype::F16, &[0x00, 0xc0, 0x01, 0x00]), [-2.0, 2f32.powi(-24)]);
        assert_eq!(read(Dtype::BF16, &[0x80, 0x3f, 0x00, 0xc0]), [1.0, -2.0]);
        let wide: Vec<u8> = [0.1f64, -1e300].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(read(Dtype::F64, &wide), [0.1, f32::NEG_INFINITY]);
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
            |map: &str| std::fs::write(folder.path().join(NAMES[1]), format!("{{\"weight_map\": {map}}}")).unwrap();
        index(r#"{"a": "one.safetensors", "b": "two.safetensors"}"#);
        let weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(weights.values("b").unwrap()[..], [1.0, 2.0]);
        index(r#"{"a": "../one.safetensors"}"#);
        let error = Weights::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("`../one.safetensors` is not the name of a file in the same folder"), "{error}");
        index(r#"{"a": "one.safetensors", "c": "two.safetensors"}"#);
        assert!(Weights::open(folder.path()).unwrap_err().to_string().contains("no file of it holds `c`"));
    }

    #[test]
    fn a_tensor_in_two_files_and_a_file_that_is_missing_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = [0; 8];
        let view = || safetensors::tensor::TensorView::new(Dtype::F32, vec![2], &data).unwrap();
        for file in ["one.safetensors", "two.safetensors"] {
            std::fs::write(folder.path().join(file), safetensors::serialize([("a", view())], None).unwrap()).unwrap();
        }
        let said = |map: &str| {
            std::fs::write(folder.path().join(NAMES[1]), format!("{{\"weight_map\": {map}}}")).unwrap();
            Weights::open(folder.path()).unwrap_err().to_string()
        };
        let twice = said(r#"{"a": "one.safetensors", "b": "two.safetensors"}"#);
        assert!(twice.contains("`a` is both in ") && twice.contains("two.safetensors"), "{twice}");
        let missing = said(r#"{"a": "one.safetensors", "b": "three.safetensors", "c": "four.safetensors"}"#);
        assert!(missing.contains("of 3 files, these are missing: four.safetensors, three.safetensors"), "{missing}");
    }

    #[test]
    fn a_header_that_lies_is_refused() {
        let header = |text: &str, data: usize| {
            let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
            bytes.extend(text.as_bytes());
            bytes.resize(bytes.len() + data, 0);
            Weights::from_bytes(bytes, Path::new("model.safetensors"))
        };
        let one = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        assert_eq!(header(one, 8).unwrap().values("a").unwrap()[..], [0.0; 2]);
        let lies = [
            (one, 4),
            (one, 12),
            (r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
            (r#"{"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,8]}}"#, 8),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
            (
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
                12,
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
                8,
            ),
        ];
        for (text, data) in lies {
            let error = header(text, data).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("not a readable weights file"), "{text}: {error}");
        }
        for bytes in [vec![], vec![0xff; 8], vec![0xff; 64]] {
            assert!(Weights::from_bytes(bytes, Path::new("model.safetensors")).is_err());
        }
    }
}
