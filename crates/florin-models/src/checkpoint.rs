//! Weights in and out of safetensors files.
//!
//! A model directory is untrusted input: the header is checked by `safetensors`, every shape against the model before a
//! tensor is made, and a tensor that is missing or unknown is an error, never a silent default.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::Module;
use florin_data::files::write_atomically;
use florin_nn::parameters::{StoredTensor, assign, collect};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::ModelError;

/// What a file calls a model's parameters, and which of its tensors are of no use to the model.
pub struct Names<'a> {
    /// The file's name of a module's parameter.
    pub in_file: &'a dyn Fn(&str) -> String,
    /// Tensors of the file that the model does without, such as the pooler of an encoder that has none.
    pub ignored: &'a dyn Fn(&str) -> bool,
}

impl Names<'_> {
    /// The module's own names, all of them needed and none ignored.
    pub const OWN: Names<'static> = Names { in_file: &|name| name.to_owned(), ignored: &|_| false };
}

/// Reads every parameter of a module from a file.
pub fn load<M: Module>(module: M, path: &Path, names: &Names<'_>) -> Result<M, ModelError> {
    load_bytes(module, &read(path)?, path, names)
}

/// Reads every parameter of a module from the bytes of a file; `path` is for messages.
pub fn load_bytes<M: Module>(module: M, bytes: &[u8], path: &Path, names: &Names<'_>) -> Result<M, ModelError> {
    let file = parse(bytes, path)?;
    let mut unused: BTreeSet<String> =
        file.names().into_iter().filter(|name| !(names.ignored)(name)).map(str::to_owned).collect();
    let mut missing = Vec::new();
    let mut error = None;
    let module = assign(module, &mut |own, expected| {
        let name = (names.in_file)(own);
        let Ok(view) = file.tensor(&name) else {
            missing.push(name);
            return None;
        };
        unused.remove(&name);
        match values_of_shape(&view, &name, expected, path) {
            Ok(values) => Some(values),
            Err(found) => {
                error.get_or_insert(found);
                None
            }
        }
    });
    if let Some(error) = error {
        return Err(error);
    }
    if let Some(first) = missing.first() {
        return Err(ModelError::Missing { path: path.into(), count: missing.len(), first: first.clone() });
    }
    if let Some(first) = unused.first() {
        return Err(ModelError::Unknown { path: path.into(), count: unused.len(), first: first.clone() });
    }
    Ok(module)
}

/// Writes every parameter of a module; an earlier file stays whole until the new one is.
pub fn save<M: Module>(module: &M, path: &Path, in_file: &dyn Fn(&str) -> String) -> Result<(), ModelError> {
    let tensors = collect(module).into_iter().map(|(name, tensor)| (in_file(&name), tensor)).collect();
    save_tensors(&tensors, path)
}

/// Writes named tensors; an earlier file stays whole until the new one is.
pub fn save_tensors(tensors: &BTreeMap<String, StoredTensor>, path: &Path) -> Result<(), ModelError> {
    let bytes: Vec<Vec<u8>> =
        tensors.values().map(|tensor| tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let damaged =
        |error: safetensors::SafeTensorError| ModelError::Damaged { path: path.into(), reason: error.to_string() };
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, tensor), data) in tensors.iter().zip(&bytes) {
        views.push((name.as_str(), TensorView::new(Dtype::F32, tensor.shape.clone(), data).map_err(damaged)?));
    }
    let file = serialize(views, None).map_err(damaged)?;
    write_atomically(path, |writer| std::io::Write::write_all(writer, &file))?;
    Ok(())
}

/// Reads all tensors of a file as f32.
pub fn load_tensors(path: &Path) -> Result<BTreeMap<String, StoredTensor>, ModelError> {
    let bytes = read(path)?;
    let file = parse(&bytes, path)?;
    let mut all = BTreeMap::new();
    for (name, view) in file.tensors() {
        let shape = view.shape().to_vec();
        let values = values_of_shape(&view, &name, &shape, path)?;
        all.insert(name, StoredTensor { shape, values });
    }
    Ok(all)
}

/// A plain read, not a memory map: a file that changes underneath must not be undefined behaviour.
fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|source| ModelError::File { path: path.into(), source })
}

fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<SafeTensors<'a>, ModelError> {
    SafeTensors::deserialize(bytes)
        .map_err(|error| ModelError::Damaged { path: path.into(), reason: error.to_string() })
}

fn values_of_shape(view: &TensorView<'_>, name: &str, expected: &[usize], path: &Path) -> Result<Vec<f32>, ModelError> {
    let found = view.shape();
    // A strided convolution over whole patches is stored with four dimensions and used as a matrix.
    let is_convolution = matches!((found, expected), ([out, rest @ ..], [rows, columns])
        if rest.len() == 3 && out == rows && rest.iter().product::<usize>() == *columns);
    if found != expected && !is_convolution {
        let (found, expected) = (found.to_vec(), expected.to_vec());
        return Err(ModelError::Shape { path: path.into(), name: name.to_owned(), found, expected });
    }
    let data = view.data();
    match view.dtype() {
        Dtype::F32 => Ok(data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::BF16 => Ok(data.as_chunks::<2>().0.iter().map(|b| brain(u16::from_le_bytes(*b))).collect()),
        Dtype::F16 => Ok(data.as_chunks::<2>().0.iter().map(|b| half(u16::from_le_bytes(*b))).collect()),
        other => Err(ModelError::Format { path: path.into(), name: name.to_owned(), found: format!("{other:?}") }),
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
}
