//! Weights of linear layers as Florin packs them, in a file: the next start maps what the `cpu` device reads, and prepares nothing.
//!
//! The file is one of safetensors. What it holds of a weight `NAME` is not the weight's numbers in the weight's shape but its panels,
//! one tensor of one dimension for each part that a module multiplies by: `NAME`, or `NAME/0`, `NAME/1` … where the weight is several
//! parameters one above the other; in eight bits each with a tensor of scales (`NAME/scales`, `NAME/0/scales`). The header's metadata
//! says so under `florin.packed`: of each weight its precision, its shape, its parts, and whether its rows and columns are
//! exchanged. Everything else is an ordinary tensor.
//!
//! Whoever reads sees the weight under its own name and shape ([`Weights::values`](super::Weights::values) unpacks it), or takes the
//! panels as they are ([`Weights::packed`](super::Weights::packed)).

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

use florin_nn::parameters::StoredTensor;
use florin_nn::{PackedWeight, WeightFormat};
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

use super::mapped::Bytes;
use super::stored::Entry;
use crate::ModelError;

/// Where the header's metadata tells of packed weights.
const KEY: &str = "florin.packed";
/// What is read; a file of another one is refused.
const VERSION: u32 = 2;
/// Where the numbers of a file begin: a multiple of what processors read at a time.
const ALIGNMENT: usize = 64;

/// What the metadata says.
#[derive(Debug, Serialize, Deserialize)]
struct Table {
    version: u32,
    weights: BTreeMap<String, Described>,
}

/// What it says of a weight.
#[derive(Debug, Serialize, Deserialize)]
struct Described {
    precision: String,
    shape: Vec<usize>,
    parts: usize,
    turned: bool,
}

/// A weight whose panels are in a file, and all there, whatever they hold.
#[derive(Debug)]
pub(super) struct Panels {
    pub(super) format: WeightFormat,
    /// `[input, output]` of each part.
    dims: [usize; 2],
    /// Whether the file's weight is `[input, output]` itself.
    pub(super) turned: bool,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    values: Range<usize>,
    /// Empty but in eight bits.
    scales: Range<usize>,
}

/// A weight to be written.
#[derive(Clone, Debug)]
pub(crate) struct PackedTensor {
    /// The shape that the weight has in a file.
    pub(crate) shape: Vec<usize>,
    /// Whether that is `[input, output]`.
    pub(crate) turned: bool,
    /// One above the other.
    pub(crate) parts: Vec<PackedWeight>,
}

impl Panels {
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// A part of the weight, lent by the file.
    pub(super) fn part(&self, bytes: &Bytes, part: usize) -> Result<PackedWeight, String> {
        let Part { values, scales } = &self.parts[part];
        let scales = bytes[scales.clone()].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        PackedWeight::from_bytes(self.format, self.dims, bytes.shared(values.clone()), scales)
            .map_err(|error| error.to_string())
    }
}

/// Takes what the metadata calls packed out of a file's tensors, and puts the weights there instead.
pub(super) fn found(
    metadata: Option<&HashMap<String, String>>,
    tensors: &mut BTreeMap<String, Entry>,
) -> Result<BTreeMap<String, Panels>, String> {
    let Some(text) = metadata.and_then(|metadata| metadata.get(KEY)) else { return Ok(BTreeMap::new()) };
    let table: Table = serde_json::from_str(text).map_err(|error| format!("`{KEY}`: {error}"))?;
    if table.version != VERSION {
        return Err(format!("weights are packed in version {}, expected {VERSION}", table.version));
    }
    let mut found = BTreeMap::new();
    let mut weights = BTreeMap::new();
    for (name, described) in table.weights {
        let panels = described.panels(&name, tensors).map_err(|reason| format!("packed `{name}`: {reason}"))?;
        let format = if panels.format == WeightFormat::Bf16 { Dtype::BF16 } else { Dtype::F32 };
        weights.insert(name.clone(), Entry { format, shape: described.shape, begin: 0, strides: None });
        found.insert(name, panels);
    }
    match weights.keys().find(|name| tensors.contains_key(*name)) {
        Some(name) => Err(format!("`{name}` is there twice, packed and not")),
        None => {
            tensors.extend(weights);
            Ok(found)
        }
    }
}

impl Described {
    /// Where the panels are; their tensors are taken out.
    fn panels(&self, name: &str, tensors: &mut BTreeMap<String, Entry>) -> Result<Panels, String> {
        let format = WeightFormat::ALL.into_iter().find(|format| format.name() == self.precision);
        let format = format.ok_or_else(|| format!("no precision is called `{}`", self.precision))?;
        let dims = self.dims().ok_or_else(|| {
            format!("shape {:?} in {} parts{}", self.shape, self.parts, if self.turned { ", turned" } else { "" })
        })?;
        let mut take = |name: String, expected: Dtype| {
            let entry = tensors.remove(&name).ok_or_else(|| format!("there is no tensor `{name}`"))?;
            if entry.format != expected {
                return Err(format!("`{name}` is stored as {:?}, expected {expected:?}", entry.format));
            }
            // The reader of the header has held it to the size of the file.
            let size = entry.shape.iter().product::<usize>() * entry.format.bitsize() / 8;
            Ok(entry.begin..entry.begin + size)
        };
        let mut parts = Vec::new();
        for index in 0..self.parts {
            let name = part_name(name, index, self.parts);
            let scales =
                if format == WeightFormat::Int8 { take(scales_name(&name), Dtype::F32)? } else { Range::default() };
            parts.push(Part { values: take(name, dtype(format))?, scales });
        }
        Ok(Panels { format, dims, turned: self.turned, parts })
    }

    /// `[input, output]` of each part, if the shape can be so.
    fn dims(&self) -> Option<[usize; 2]> {
        let [first, rest @ ..] = &self.shape[..] else { return None };
        if rest.is_empty() || self.shape.contains(&0) || self.parts == 0 {
            return None;
        }
        // Whoever counts the numbers must not count beyond what can be counted.
        let count = self.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
        let rest = count / first;
        if self.turned {
            return (self.parts == 1 && self.shape.len() == 2).then_some([*first, rest]);
        }
        first.is_multiple_of(self.parts).then_some([rest, first / self.parts])
    }
}

fn part_name(name: &str, index: usize, parts: usize) -> String {
    if parts == 1 { name.to_owned() } else { format!("{name}/{index}") }
}

fn scales_name(part: &str) -> String {
    format!("{part}/scales")
}

fn dtype(format: WeightFormat) -> Dtype {
    match format {
        WeightFormat::F32 => Dtype::F32,
        WeightFormat::Bf16 => Dtype::BF16,
        WeightFormat::Int8 => Dtype::I8,
    }
}

/// Writes packed weights and ordinary tensors; an earlier file stays whole until the new one is.
pub(crate) fn save(
    packed: &BTreeMap<String, PackedTensor>,
    dense: &BTreeMap<String, StoredTensor>,
    path: &Path,
) -> Result<(), ModelError> {
    if cfg!(target_endian = "big") {
        let source = std::io::Error::other("packed weights are written on processors with the lower half first");
        return Err(ModelError::File { path: path.into(), source });
    }
    let mut tensors: Vec<(String, Dtype, Vec<usize>, &[u8])> = Vec::new();
    let mut weights = BTreeMap::new();
    for (name, tensor) in packed {
        let (parts, format) = (tensor.parts.len(), tensor.parts[0].format());
        for (index, part) in tensor.parts.iter().enumerate() {
            let name = part_name(name, index, parts);
            let (values, format) = (part.bytes(), dtype(part.format()));
            // Scales fill whole multiples of the alignment as panels do.
            if !part.scales().is_empty() {
                let bytes = bytemuck::cast_slice(part.scales());
                tensors.push((scales_name(&name), Dtype::F32, vec![part.scales().len()], bytes));
            }
            tensors.push((name, format, vec![values.len() * 8 / format.bitsize()], values));
        }
        let (precision, shape) = (format.name().to_owned(), tensor.shape.clone());
        weights.insert(name.clone(), Described { precision, shape, parts, turned: tensor.turned });
    }
    for (name, tensor) in dense {
        tensors.push((name.clone(), Dtype::F32, tensor.shape.clone(), bytemuck::cast_slice(&tensor.values)));
    }
    let mut header = serde_json::Map::new();
    let table = serde_json::to_string(&Table { version: VERSION, weights }).expect("names and sizes");
    header.insert("__metadata__".to_owned(), serde_json::json!({ KEY: table }));
    let mut begin = 0;
    for (name, format, shape, bytes) in &tensors {
        let end = begin + bytes.len();
        let about = serde_json::json!({ "dtype": format, "shape": shape, "data_offsets": [begin, end] });
        header.insert(name.clone(), about);
        begin = end;
    }
    let mut header = serde_json::to_string(&header).expect("names and sizes").into_bytes();
    let length = (header.len() + size_of::<u64>()).next_multiple_of(ALIGNMENT) - size_of::<u64>();
    header.resize(length, b' ');
    florin_data::files::write_atomically(path, |writer| {
        writer.write_all(&(length as u64).to_le_bytes())?;
        writer.write_all(&header)?;
        tensors.iter().try_for_each(|(.., bytes)| writer.write_all(bytes))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::prelude::*;
    use florin_nn::{LayerNorm, Linear};

    use super::*;
    use crate::checkpoint::{fill, in_file, in_packed_file, load};
    use crate::names::{Names, rule};
    use crate::weights::Weights;

    #[derive(Module, Debug)]
    struct Four {
        query: Linear,
        key: Linear,
        projection: Linear,
        norm: LayerNorm,
    }

    fn four(device: &Device) -> Four {
        let linear = || Linear::new(21, 35, device);
        let projection = Linear::without_bias(35, 8, device);
        Four { query: linear(), key: linear(), projection, norm: LayerNorm::new(35, 1e-5, device) }
    }

    fn names() -> Names {
        Names::new([
            rule("query", "both").rows(0, 2),
            rule("key", "both").rows(1, 2),
            rule("projection.weight", "projection").transposed(),
        ])
    }

    fn device() -> Device {
        florin_backend::device("cpu").expect("the cpu device is always there")
    }

    fn computed(module: &Four, device: &Device) -> Vec<f32> {
        let x = Tensor::<1, Int>::arange(0..105, device).float().sin().reshape([5, 21]);
        let x = module.query.forward(x.clone()) + module.key.forward(x);
        module.projection.forward(module.norm.forward(x)).into_data().try_to_vec::<f32>().expect("f32")
    }

    fn written(format: WeightFormat, device: &Device, path: &Path) -> Four {
        let (module, packed) = florin_nn::pack_and_tell(four(device), format);
        let dense = in_file(florin_nn::parameters::collect(&module.clone().materialize()), &names());
        let (packed, dense) = in_packed_file(packed, &names(), dense);
        assert_eq!(packed.keys().collect::<Vec<_>>(), ["both.weight", "projection"]);
        assert_eq!(dense.keys().collect::<Vec<_>>(), ["both.bias", "norm.bias", "norm.weight"]);
        save(&packed, &dense, path).unwrap();
        module
    }

    #[test]
    fn a_packed_module_comes_back_as_it_was_and_unpacked_for_whoever_trains() {
        let device = device();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.packed.safetensors");
        for format in WeightFormat::ALL {
            let module = written(format, &device, &path);
            let weights = Weights::open_file(&path).unwrap();
            assert_eq!((weights.packed_format(), weights.packed_count()), (Some(format), 2));
            assert_eq!(weights.shape("both.weight"), Some(&[70, 21][..]), "the shape of both together");
            assert_eq!(weights.shape("projection"), Some(&[35, 8][..]), "turned");
            assert_eq!(weights.names().count(), 5, "panels and scales are nobody else's");
            let begin = std::fs::read(&path).unwrap()[..8].try_into().map(u64::from_le_bytes).unwrap() + 8;
            assert!(begin.is_multiple_of(64), "numbers begin at {begin}");
            let (read, packed) = fill(four(&device), &weights, &names(), Some(format)).unwrap();
            assert_eq!(packed.len(), 3);
            assert_eq!(computed(&read, &device), computed(&module, &device), "{format:?}");
            // Without a format the numbers are those that the packed ones stand for.
            let dense = load(four(&device), &path, &names()).unwrap();
            let unpacked = module.clone().materialize();
            assert_eq!(florin_nn::parameters::collect(&dense), florin_nn::parameters::collect(&unpacked));
            // In another format they are packed anew.
            let other = if format == WeightFormat::F32 { WeightFormat::Int8 } else { WeightFormat::F32 };
            let (_, other) = fill(four(&device), &weights, &names(), Some(other)).unwrap();
            assert!(other.values().all(|weight| weight.format() != format), "{format:?}");
        }
    }

    #[test]
    fn what_the_metadata_says_is_held_to_the_tensors() {
        let device = device();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.packed.safetensors");
        written(WeightFormat::Int8, &device, &path);
        let bytes = std::fs::read(&path).unwrap();
        // Of the same length, so that the file stays one.
        let with = |from: &str, to: &str| {
            assert_eq!(from.len(), to.len());
            let at =
                bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("it is in the header");
            let mut bytes = bytes.clone();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            match Weights::from_bytes(bytes, &path) {
                Ok(weights) => {
                    fill(four(&device), &weights, &names(), Some(WeightFormat::Int8)).unwrap_err().to_string()
                }
                Err(error) => error.to_string(),
            }
        };
        for (from, to, said) in [
            (r#"\"version\":2"#, r#"\"version\":3"#, "packed in version 3, expected 2"),
            (r#"\"precision\":\"int8\""#, r#"\"precision\":\"int7\""#, "no precision is called `int7`"),
            (
                r#"\"precision\":\"int8\""#,
                r#"\"precision\":\"bf16\""#,
                "`both.weight/0` is stored as I8, expected BF16",
            ),
            (r#"\"shape\":[70,21]"#, r#"\"shape\":[71,21]"#, "shape [71, 21] in 2 parts"),
            (r#"\"shape\":[70,21]"#, r#"\"shape\":[00,21]"#, "`florin.packed`"),
            (r#"\"shape\":[70,21]"#, r#"\"shape\":[70,91]"#, "found [70, 91], expected [70, 21]"),
            (r#"\"shape\":[35,8]"#, r#"\"shape\":[35,9]"#, "found [35, 9], expected [35, 8]"),
            (r#""both.weight/0":"#, r#""both.weight/2":"#, "there is no tensor `both.weight/0`"),
            (r#"\"turned\":false"#, r#"\"turned\":true "#, "shape [70, 21] in 2 parts, turned"),
        ] {
            let error = with(from, to);
            assert!(error.contains(said), "{to}: {error}");
        }
        // Fewer panels than the shape needs: in the header's own words two tensors change places.
        let table = |tensors: &str| {
            format!(
                r#"{{"__metadata__":{{"florin.packed":"{{\"version\":2,\"weights\":{{\"a\":{{\"precision\":\"f32\",\"shape\":[4,3],\"parts\":1,\"turned\":false}}}}}}"}},{tensors}}}"#
            )
        };
        let header = table(r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#);
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend([0; 8]);
        let weights = Weights::from_bytes(file, &path).unwrap();
        let error = weights.values("a").unwrap_err().to_string();
        assert!(
            error
                .contains("`a`: not a packed weight of 3 inputs and 4 outputs in f32: 8 bytes of panels, expected 384"),
            "{error}"
        );
        assert!(weights.whole_numbers("a").is_err());
    }
}
