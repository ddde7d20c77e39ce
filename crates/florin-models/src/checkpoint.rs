//! A module's parameters in and out of files.
//!
//! A model directory is untrusted input: every shape is compared with the model before a tensor is made, and a tensor that is
//! missing or unknown is an error, never a silent default. All of them are listed at once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::Module;
use florin_data::files::write_atomically;
use florin_nn::parameters::{Given, StoredTensor, assign_packed, collect};
use florin_nn::{PackedWeight, WeightFormat};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::ModelError;
use crate::mismatch::Mismatch;
use crate::names::{Located, Names, Part};
use crate::weights::Weights;
use crate::weights::packed::PackedTensor;

/// Reads every parameter of a module from a file.
pub fn load<M: Module>(module: M, path: &Path, names: &Names) -> Result<M, ModelError> {
    Ok(fill(module, &Weights::open_file(path)?, names, None)?.0)
}

/// Reads every parameter of a module; weights of linear layers are packed for inference where a format is given, or stay so if they are
/// packed in it already. What is packed is told by its parameter's name.
pub fn fill<M: Module>(
    module: M,
    weights: &Weights,
    names: &Names,
    packs: Option<WeightFormat>,
) -> Result<(M, BTreeMap<String, PackedWeight>), ModelError> {
    let mut unused: BTreeSet<&str> = weights.names().filter(|name| !names.ignores(name)).collect();
    let mut mismatch = Mismatch::default();
    let mut error = None;
    let mut not_finite = Vec::new();
    let mut taken_before: Option<String> = None;
    let filled = assign_packed(module, packs, &mut |own, expected| {
        let Located { name, part } = names.locate(own);
        // What was lent is copied by now, and a model need not be in memory twice.
        if let Some(name) = taken_before.take() {
            weights.pass(&name);
        }
        let Some(found) = weights.shape(&name) else {
            mismatch.missing.insert(name);
            return None;
        };
        unused.remove(name.as_str());
        if !fits(found, expected, part) {
            mismatch.shapes.push((name, found.to_vec(), whole_shape(expected, part)));
            return None;
        }
        let lies = if packs.is_some() && packs == weights.packed_format() { weights.packed(&name, part) } else { None };
        match lies {
            Some(Ok(weight)) if weight.dims().into_iter().rev().eq(expected.iter().copied()) => {
                return Some(Given::Packed(weight));
            }
            Some(Err(found)) => {
                error.get_or_insert(found);
                return None;
            }
            _ => {}
        }
        match weights.values(&name) {
            Ok(values) => {
                let wrong = florin_backend::count_not_finite(&values);
                if wrong > 0 {
                    not_finite.push(format!("{name} ({wrong} of {} numbers)", values.len()));
                }
                taken_before = Some(name);
                Some(Given::Numbers(taken(values, expected, part)))
            }
            Err(found) => {
                error.get_or_insert(found);
                None
            }
        }
    });
    if let Some(error) = error {
        return Err(error);
    }
    mismatch.unknown = unused.into_iter().map(str::to_owned).collect();
    if !mismatch.is_empty() {
        return Err(ModelError::Mismatch { path: weights.path().into(), mismatch });
    }
    if not_finite.is_empty() { Ok(filled) } else { Err(ModelError::not_finite(weights.path(), not_finite)) }
}

/// Writes every parameter of a module; an earlier file stays whole until the new one is.
pub fn save<M: Module>(module: &M, path: &Path, names: &Names) -> Result<(), ModelError> {
    save_tensors(&in_file(collect(module), names), path)
}

/// Packed weights as a file has them, and what is left of the tensors that it would have without packing.
pub(crate) fn in_packed_file(
    own: BTreeMap<String, PackedWeight>,
    names: &Names,
    mut dense: BTreeMap<String, StoredTensor>,
) -> (BTreeMap<String, PackedTensor>, BTreeMap<String, StoredTensor>) {
    let mut found: BTreeMap<String, Vec<(Part, PackedWeight)>> = BTreeMap::new();
    for (name, weight) in own {
        let Located { name, part } = names.locate(&name);
        found.entry(name).or_default().push((part, weight));
    }
    let mut packed = BTreeMap::new();
    for (name, mut parts) in found {
        parts.sort_by_key(|(part, _)| part.index());
        // Of a weight some of whose parts are not packed, none is.
        if parts.len() == parts[0].0.count()
            && let Some(StoredTensor { shape, .. }) = dense.remove(&name)
        {
            let turned = parts[0].0 == Part::Transposed;
            let parts = parts.into_iter().map(|(_, weight)| weight).collect();
            packed.insert(name, PackedTensor { shape, turned, parts });
        }
    }
    (packed, dense)
}

/// Parameters, or their gradients, as a file has them: renamed, turned round, and parts put together.
pub fn in_file(own: BTreeMap<String, StoredTensor>, names: &Names) -> BTreeMap<String, StoredTensor> {
    let mut parts: BTreeMap<String, Vec<(usize, StoredTensor)>> = BTreeMap::new();
    for (name, tensor) in own {
        let Located { name, part } = names.locate(&name);
        let (place, tensor) = match part {
            Part::Whole => (0, tensor),
            Part::Rows { index, .. } => (index, tensor),
            Part::Transposed => (0, transposed(&tensor)),
        };
        parts.entry(name).or_default().push((place, tensor));
    }
    let joined = parts.into_iter().map(|(name, mut parts)| {
        parts.sort_by_key(|(place, _)| *place);
        let mut shape = parts[0].1.shape.clone();
        if parts.len() > 1 {
            shape[0] = parts.iter().map(|(_, part)| part.shape[0]).sum();
        }
        let values = parts.into_iter().flat_map(|(_, part)| part.values).collect();
        (name, StoredTensor { shape, values })
    });
    joined.collect()
}

/// Writes named tensors in single precision; an earlier file stays whole until the new one is.
pub fn save_tensors(tensors: &BTreeMap<String, StoredTensor>, path: &Path) -> Result<(), ModelError> {
    save_tensors_as(tensors, path, &|_| Dtype::F32)
}

/// Writes named tensors, each in the number format of its name; what is neither double, half nor bfloat16 is single precision.
pub(crate) fn save_tensors_as(
    tensors: &BTreeMap<String, StoredTensor>,
    path: &Path,
    format: &dyn Fn(&str) -> Dtype,
) -> Result<(), ModelError> {
    let formats: Vec<Dtype> = tensors.keys().map(|name| written(format(name))).collect();
    let bytes: Vec<Vec<u8>> =
        tensors.values().zip(&formats).map(|(tensor, format)| in_format(&tensor.values, *format)).collect();
    let damaged =
        |error: safetensors::SafeTensorError| ModelError::Damaged { path: path.into(), reason: error.to_string() };
    let mut views = Vec::with_capacity(tensors.len());
    for (((name, tensor), format), data) in tensors.iter().zip(&formats).zip(&bytes) {
        views.push((name.as_str(), TensorView::new(*format, tensor.shape.clone(), data).map_err(damaged)?));
    }
    // transformers opens no file without it.
    let header = Some([("format".to_owned(), "pt".to_owned())].into());
    let file = serialize(views, header).map_err(damaged)?;
    write_atomically(path, |writer| std::io::Write::write_all(writer, &file))?;
    Ok(())
}

fn written(format: Dtype) -> Dtype {
    if matches!(format, Dtype::F64 | Dtype::F16 | Dtype::BF16) { format } else { Dtype::F32 }
}

/// Values as bytes, rounded to the nearest number of the format.
fn in_format(values: &[f32], format: Dtype) -> Vec<u8> {
    match format {
        Dtype::F64 => values.iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// Reads all tensors of a file as f32.
pub fn load_tensors(path: &Path) -> Result<BTreeMap<String, StoredTensor>, ModelError> {
    let weights = Weights::open_file(path)?;
    let stored = |name: &str| {
        let shape = weights.shape(name).unwrap_or_default().to_vec();
        Ok((name.to_owned(), StoredTensor { shape, values: weights.values(name)?.into_owned() }))
    };
    weights.names().map(stored).collect()
}

/// The shape that a file's tensor must have for a parameter.
fn whole_shape(expected: &[usize], part: Part) -> Vec<usize> {
    let mut shape = expected.to_vec();
    match part {
        Part::Whole => {}
        Part::Rows { of, .. } => shape[0] *= of,
        Part::Transposed => shape.reverse(),
    }
    shape
}

fn fits(found: &[usize], expected: &[usize], part: Part) -> bool {
    // A strided convolution over whole patches is stored with one dimension for each of theirs and used as a matrix.
    let is_convolution = matches!((found, expected, part), ([out, rest @ ..], [rows, columns], Part::Whole)
        if rest.len() >= 2 && out == rows && rest.iter().product::<usize>() == *columns);
    // A single number, such as a logit scale, is stored without a dimension, and one vector for all rows with any number of them.
    is_convolution || without_leading_ones(found) == without_leading_ones(&whole_shape(expected, part))
}

fn without_leading_ones(shape: &[usize]) -> &[usize] {
    let ones = shape.iter().take_while(|&&size| size == 1).count();
    &shape[ones..]
}

/// The part of a tensor's values that is a parameter of this shape.
fn taken<'a>(values: Cow<'a, [f32]>, expected: &[usize], part: Part) -> Cow<'a, [f32]> {
    match part {
        Part::Whole => values,
        Part::Rows { index, .. } => {
            let size = expected.iter().product::<usize>();
            let rows = index * size..(index + 1) * size;
            match values {
                Cow::Borrowed(values) => Cow::Borrowed(&values[rows]),
                Cow::Owned(mut values) => values.drain(rows).collect(),
            }
        }
        Part::Transposed => match whole_shape(expected, part)[..] {
            [rows, columns] => Cow::Owned(florin_backend::transpose(&values, rows, columns)),
            _ => values,
        },
    }
}

fn transposed(tensor: &StoredTensor) -> StoredTensor {
    let [rows, columns] = tensor.shape[..] else { return tensor.clone() };
    StoredTensor { shape: vec![columns, rows], values: florin_backend::transpose(&tensor.values, rows, columns) }
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;
    use florin_nn::Linear;

    use super::*;
    use crate::names::rule;

    #[derive(Module, Debug)]
    struct Three {
        query: Linear,
        key: Linear,
        value: Linear,
        projection: Linear,
    }

    fn three(device: &Device) -> Three {
        let linear = || Linear::new(2, 3, device);
        Three { query: linear(), key: linear(), value: linear(), projection: Linear::without_bias(3, 2, device) }
    }

    fn names() -> Names {
        Names::new([
            rule("query", "qkv").rows(0, 3),
            rule("key", "qkv").rows(1, 3),
            rule("value", "qkv").rows(2, 3),
            rule("projection.weight", "projection").transposed(),
        ])
    }

    #[test]
    fn fused_and_turned_weights_come_back_as_they_were_written() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let module = three(&device);
        save(&module, &path, &names()).unwrap();
        let stored = load_tensors(&path).unwrap();
        assert_eq!(stored.keys().collect::<Vec<_>>(), ["projection", "qkv.bias", "qkv.weight"]);
        assert_eq!(stored["qkv.weight"].shape, [9, 2]);
        assert_eq!(stored["projection"].shape, [3, 2], "the parameter is stored [2, 3] otherwise");
        assert_eq!(stored["qkv.weight"].values[6..12], collect(&module)["key.weight"].values);
        let read = load(three(&device), &path, &names()).unwrap();
        assert_eq!(collect(&read), collect(&module));
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused_by_name() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut stored = in_file(collect(&three(&device)), &names());
        stored.get_mut("qkv.weight").unwrap().values[3..5].fill(f32::NAN);
        stored.get_mut("projection").unwrap().values[0] = f32::INFINITY;
        save_tensors(&stored, &path).unwrap();
        let error = load(three(&device), &path, &names()).unwrap_err().to_string();
        for part in ["NaN or infinite", "qkv.weight (2 of 18 numbers)", "projection (1 of 6 numbers)"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn everything_that_does_not_fit_is_told_at_once_with_the_nearest_name() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut stored = in_file(collect(&three(&device)), &names());
        let bias = stored.remove("qkv.bias").unwrap();
        stored.insert("qvk.bias".to_owned(), bias);
        stored.get_mut("projection").unwrap().shape = vec![6, 1];
        save_tensors(&stored, &path).unwrap();
        let error = load(three(&device), &path, &names()).unwrap_err().to_string();
        for part in [
            "missing: qkv.bias (the file has qvk.bias)",
            "unknown: qvk.bias",
            "projection: found [6, 1], expected [3, 2]",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
