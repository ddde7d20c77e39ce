//! Tensors of a file that `torch.save` wrote: `pytorch_model.bin`.
//!
//! Since PyTorch 1.6 that is a ZIP archive with a pickle, which says names and shapes, beside one file a storage. Before, it was
//! several pickles in a row with the storages behind them. Both are read; of a pickle, only what holds tensors is known.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::tensor::Dtype;

use super::archive;
use super::pickle::{Handle, Meaning, Value, unpickle};
use super::stored::Entry;

/// How many bytes of the first pickle of an old file come before its first number, and that number.
const OLD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

const REBUILD: &str = "torch._utils._rebuild_tensor_v2";
const PARAMETER: &str = "torch._utils._rebuild_parameter";
const ORDERED: &str = "collections.OrderedDict";

/// PyTorch calls a storage by a number; every tensor of it repeats that.
const LONGEST_KEY: usize = 64;
/// Dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

/// Names of storages, with their number formats.
const STORAGES: [(&str, Dtype); 10] = [
    ("FloatStorage", Dtype::F32),
    ("DoubleStorage", Dtype::F64),
    ("HalfStorage", Dtype::F16),
    ("BFloat16Storage", Dtype::BF16),
    ("LongStorage", Dtype::I64),
    ("IntStorage", Dtype::I32),
    ("ShortStorage", Dtype::I16),
    ("CharStorage", Dtype::I8),
    ("ByteStorage", Dtype::U8),
    ("BoolStorage", Dtype::BOOL),
];

/// A storage as a pickle refers to it.
#[derive(Clone, Debug, PartialEq)]
struct Storage {
    key: String,
    format: Dtype,
    /// How many numbers it holds.
    numbers: usize,
}

/// What calls in a pickle make.
#[derive(Clone, Debug, PartialEq)]
enum Made {
    Storage(Storage),
    Tensor { storage: Storage, offset: usize, shape: Vec<usize>, strides: Vec<usize> },
}

/// Where in the file each tensor is.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    if bytes.starts_with(OLD) { read_old(bytes) } else { read_archive(bytes) }
}

fn read_archive(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    let files = archive::entries(bytes)?;
    let (name, pickle) =
        files.iter().find(|(name, _)| name.ends_with("/data.pkl")).ok_or("it holds no `data.pkl`, so no tensors")?;
    let stem = &name[..name.len() - "data.pkl".len()];
    if let Some(order) = files.get(&format!("{stem}byteorder"))
        && &bytes[order.clone()] != b"little"
    {
        return Err("its numbers are not in little-endian order".to_owned());
    }
    let named = tensors(&bytes[pickle.clone()])?.0;
    let place = |key: &str| files.get(&format!("{stem}data/{key}")).cloned();
    placed(named, &place)
}

/// An old file: a mark, a version, the machine, the tensors, the keys of the storages; then each storage behind its length.
fn read_old(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    let mut at = OLD.len();
    for _ in 0..2 {
        at += unpickle(&bytes[at..], &Tensors)?.length;
    }
    let (named, length) = tensors(&bytes[at..])?;
    at += length;
    let keys = unpickle(&bytes[at..], &Tensors)?;
    at += keys.length;
    let Value::Sequence(order) = &keys.values[keys.result] else {
        return Err("its list of storages is missing".to_owned());
    };
    let width = |(_, made): &(String, Made)| match made {
        Made::Tensor { storage, .. } => Some((storage.key.clone(), storage.format.bitsize() / 8)),
        Made::Storage(_) => None,
    };
    let widths: BTreeMap<String, usize> = named.iter().filter_map(width).collect();
    let mut places = BTreeMap::new();
    for &key in order {
        let Value::Text(key) = &keys.values[key] else { return Err("a storage has no name".to_owned()) };
        let width = widths.get(key).ok_or_else(|| format!("storage {key} belongs to no tensor"))?;
        let count = bytes.get(at..at + 8).ok_or_else(|| format!("storage {key} is missing"))?;
        let count = u64::from_le_bytes(count.try_into().unwrap_or_default());
        let size = usize::try_from(count).ok().and_then(|count| count.checked_mul(*width));
        let end = size.and_then(|size| size.checked_add(at + 8)).filter(|&end| end <= bytes.len());
        let end = end.ok_or_else(|| format!("storage {key} of {count} numbers lies beyond the file"))?;
        places.insert(key.clone(), at + 8..end);
        at = end;
    }
    placed(named, &|key: &str| places.get(key).cloned())
}

/// The tensors that a pickle names, and its length.
fn tensors(bytes: &[u8]) -> Result<(Vec<(String, Made)>, usize), String> {
    let read = unpickle(bytes, &Tensors)?;
    let Value::Pairs(pairs) = &read.values[read.result] else {
        return Err("it is no dictionary of tensors".to_owned());
    };
    let named = pairs.chunks_exact(2).map(|pair| match (&read.values[pair[0]], &read.values[pair[1]]) {
        (Value::Text(name), Value::Made(made @ Made::Tensor { .. })) => Ok((name.clone(), made.clone())),
        (Value::Text(name), _) => Err(format!("`{name}` is no tensor")),
        _ => Err("a tensor has no name".to_owned()),
    });
    Ok((named.collect::<Result<_, _>>()?, read.length))
}

/// Tensors with their places in the file, each checked to lie within its storage, and that within the file.
fn placed(
    named: Vec<(String, Made)>,
    place: &dyn Fn(&str) -> Option<Range<usize>>,
) -> Result<BTreeMap<String, Entry>, String> {
    let mut found = BTreeMap::new();
    for (name, made) in named {
        let Made::Tensor { storage, offset, shape, strides } = made else { continue };
        let at = place(&storage.key).ok_or_else(|| format!("storage {} of `{name}` is missing", storage.key))?;
        let width = storage.format.bitsize() / 8;
        if storage.numbers.checked_mul(width) != Some(at.len()) {
            let Storage { key, numbers, .. } = storage;
            return Err(format!("storage {key} of `{name}` has {} bytes, expected {numbers} numbers", at.len()));
        }
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        // A view may show a number many times; no checkpoint does, and a small file must not become a large model.
        if count.is_none_or(|count| count > storage.numbers) || last(offset, &shape, &strides) >= Some(storage.numbers)
        {
            return Err(format!("`{name}` of shape {shape:?} lies beyond its storage of {} numbers", storage.numbers));
        }
        let row_major = is_row_major(&shape, &strides);
        let begin = at.start + if count == Some(0) { 0 } else { offset * width };
        found.insert(name, Entry { format: storage.format, shape, begin, strides: (!row_major).then_some(strides) });
    }
    Ok(found)
}

/// The number of a storage that a tensor reaches last: none if it reaches nothing, the largest possible if it cannot be told.
fn last(offset: usize, shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return None;
    }
    let reach = shape.iter().zip(strides).try_fold(offset, |last, (&size, &stride)| {
        (size - 1).checked_mul(stride).and_then(|further| last.checked_add(further))
    });
    Some(reach.unwrap_or(usize::MAX))
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1usize;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size <= 1 || stride == expected;
        expected = expected.saturating_mul(size);
        fits
    })
}

/// The few names that tensors need.
struct Tensors;

impl Meaning<Made> for Tensors {
    fn global(&self, module: &str, name: &str) -> Option<&'static str> {
        match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => Some(REBUILD),
            ("torch._utils", "_rebuild_parameter") => Some(PARAMETER),
            ("collections", "OrderedDict") => Some(ORDERED),
            ("torch", name) => STORAGES.iter().find(|(known, _)| *known == name).map(|(known, _)| *known),
            _ => None,
        }
    }

    fn call(
        &self,
        function: &'static str,
        arguments: &[Handle],
        values: &[Value<Made>],
    ) -> Result<Value<Made>, String> {
        match (function, arguments) {
            (ORDERED, []) => Ok(Value::Pairs(Vec::new())),
            (REBUILD, [storage, offset, shape, strides, ..]) => {
                let Value::Made(Made::Storage(storage)) = &values[*storage] else {
                    return Err("a tensor has no storage".to_owned());
                };
                let (offset, storage) = (size(*offset, values)?, storage.clone());
                let (shape, strides) = (sizes(*shape, values)?, sizes(*strides, values)?);
                if shape.len() != strides.len() {
                    return Err(format!("a tensor of shape {shape:?} has strides {strides:?}"));
                }
                Ok(Value::Made(Made::Tensor { storage, offset, shape, strides }))
            }
            (PARAMETER, [tensor, ..]) => match &values[*tensor] {
                made @ Value::Made(Made::Tensor { .. }) => Ok(made.clone()),
                _ => Err("a parameter is no tensor".to_owned()),
            },
            _ => Err(format!("{function} is called with {} arguments", arguments.len())),
        }
    }

    /// `("storage", kind, key, device, numbers)`, and in old files what it is a view of.
    fn outside(&self, reference: Handle, values: &[Value<Made>]) -> Result<Value<Made>, String> {
        let broken = || "a reference to a storage is damaged".to_owned();
        let Value::Sequence(parts) = &values[reference] else { return Err(broken()) };
        let [tag, kind, key, _, numbers, rest @ ..] = &parts[..] else { return Err(broken()) };
        let (Value::Text(tag), Value::Known(kind), Value::Text(key)) = (&values[*tag], &values[*kind], &values[*key])
        else {
            return Err(broken());
        };
        let format = STORAGES.iter().find(|(known, _)| known == kind).map(|(_, format)| *format).ok_or_else(broken)?;
        if key.len() > LONGEST_KEY {
            return Err(format!("a storage is called by {} bytes, expected at most {LONGEST_KEY}", key.len()));
        }
        if tag != "storage" || rest.iter().any(|view| values[*view] != Value::Nothing) {
            return Err("a storage that is a part of another is not read".to_owned());
        }
        Ok(Value::Made(Made::Storage(Storage { key: key.clone(), format, numbers: size(*numbers, values)? })))
    }
}

fn size(handle: Handle, values: &[Value<Made>]) -> Result<usize, String> {
    match &values[handle] {
        Value::Whole(value) => usize::try_from(*value).map_err(|_| format!("a size is {value}")),
        _ => Err("a size is no whole number".to_owned()),
    }
}

/// A shape or strides.
fn sizes(handle: Handle, values: &[Value<Made>]) -> Result<Vec<usize>, String> {
    match &values[handle] {
        Value::Sequence(parts) if parts.len() <= MOST_DIMENSIONS => {
            parts.iter().map(|&part| size(part, values)).collect()
        }
        _ => Err(format!("a shape is no list of at most {MOST_DIMENSIONS} sizes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(
        offset: usize,
        shape: &[usize],
        strides: &[usize],
        numbers: usize,
        bytes: usize,
    ) -> Result<Entry, String> {
        let storage = Storage { key: "0".to_owned(), format: Dtype::F32, numbers };
        let made = Made::Tensor { storage, offset, shape: shape.to_vec(), strides: strides.to_vec() };
        let mut found = placed(vec![("a".to_owned(), made)], &|_| Some(100..100 + bytes))?;
        found.remove("a").ok_or_else(|| "not placed".to_owned())
    }

    #[test]
    fn a_tensor_is_where_its_offset_says_and_in_what_order() {
        let entry = place_of(2, &[2, 2], &[2, 1], 6, 24).unwrap();
        assert_eq!((entry.begin, entry.strides), (108, None));
        assert_eq!(place_of(0, &[3, 2], &[1, 3], 6, 24).unwrap().strides, Some(vec![1, 3]));
        assert_eq!(place_of(0, &[1, 6], &[77, 1], 6, 24).unwrap().strides, None, "one row has no stride");
        assert_eq!(place_of(9, &[0, 6], &[6, 1], 6, 24).unwrap().begin, 100, "nothing is nowhere");
    }

    #[test]
    fn what_lies_beyond_its_storage_is_refused() {
        let most = usize::MAX;
        let cases: [(usize, &[usize], &[usize]); 6] = [
            (3, &[2, 2], &[2, 1]),
            (0, &[7], &[1]),
            (0, &[1000, 1000], &[0, 0]),
            (0, &[2], &[most]),
            (most, &[1], &[1]),
            (0, &[most, most], &[0, 0]),
        ];
        for (offset, shape, strides) in cases {
            let error = place_of(offset, shape, strides, 6, 24).unwrap_err();
            assert!(error.contains("lies beyond its storage of 6 numbers"), "{error}");
        }
        assert!(place_of(0, &[1], &[1], 6, 23).unwrap_err().contains("has 23 bytes, expected 6 numbers"));
        assert!(place_of(0, &[1], &[1], most, 24).is_err(), "a size that cannot be");
    }
}
