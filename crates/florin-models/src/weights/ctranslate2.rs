//! The weights of CTranslate2, `model.bin`: one list of named variables, each with its numbers behind it.
//!
//! All numbers are little-endian: the version (u32), the specification's name, its revision (u32), the number of variables (u32); of
//! each its name, its rank (u8), its sizes (u32), its number format (u8), its bytes (u32) and its numbers; last the number of aliases
//! (u32) and for each its name and that of its variable. A text is its length (u16) and its bytes, the last of them zero.
//!
//! Where a matrix is stored in whole numbers, a second variable of its name and `_scale` holds what they were multiplied by, for each
//! row or for all.

use std::collections::BTreeMap;

use safetensors::tensor::Dtype;

use super::stored::Entry;

/// Versions of the format that have been the same in what is read here.
const VERSIONS: std::ops::RangeInclusive<u32> = 4..=6;
/// No version is beyond; no safetensors file, ZIP or pickle begins with so small a number.
const HIGHEST_VERSION: u32 = 64;
/// The most dimensions of a variable.
const MOST_DIMENSIONS: u8 = 8;

/// What a file holds.
#[derive(Debug)]
pub(super) struct Variables {
    /// The specification's name, such as `WhisperSpec`.
    pub(super) specification: String,
    pub(super) tensors: BTreeMap<String, Entry>,
}

/// Whether bytes are of this format.
pub(super) fn is_ctranslate2(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|first| (1..=HIGHEST_VERSION).contains(&u32::from_le_bytes(*first)))
}

/// Reads where every variable is.
pub(super) fn read(bytes: &[u8]) -> Result<Variables, String> {
    let mut reader = Reader { bytes, place: 0 };
    let version = reader.number::<4>()?;
    if !VERSIONS.contains(&(version as u32)) {
        let (least, most) = (VERSIONS.start(), VERSIONS.end());
        return Err(format!("version {version} of CTranslate2's format is not known, expected {least} to {most}"));
    }
    let specification = reader.text()?;
    let _revision = reader.number::<4>()?;
    let mut tensors = BTreeMap::new();
    for _ in 0..reader.number::<4>()? {
        let name = reader.text()?;
        let entry = reader.variable(&name)?;
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(format!("`{name}` is there twice"));
        }
    }
    for _ in 0..reader.number::<4>()? {
        let (alias, name) = (reader.text()?, reader.text()?);
        let entry = tensors.get(&name).ok_or_else(|| format!("`{alias}` stands for `{name}`, which is not there"))?;
        let entry = entry.clone();
        if tensors.insert(alias.clone(), entry).is_some() {
            return Err(format!("`{alias}` is there twice"));
        }
    }
    match bytes.len() - reader.place {
        0 => Ok(Variables { specification, tensors }),
        left => Err(format!("{left} bytes are left at the end")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let found = self.bytes[self.place..].get(..count);
        let found = found.ok_or_else(|| format!("it ends at byte {}, in the middle of something", self.bytes.len()))?;
        self.place += count;
        Ok(found)
    }

    /// A number of so many bytes, at most four.
    fn number<const N: usize>(&mut self) -> Result<usize, String> {
        Ok(self.take(N)?.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    fn text(&mut self) -> Result<String, String> {
        let (place, length) = (self.place, self.number::<2>()?);
        let text = self.take(length)?;
        let text = text.strip_suffix(&[0]).and_then(|text| std::str::from_utf8(text).ok());
        text.map(str::to_owned).ok_or_else(|| format!("there is no text at byte {place}"))
    }

    fn variable(&mut self, name: &str) -> Result<Entry, String> {
        let rank = self.number::<1>()?;
        if rank > usize::from(MOST_DIMENSIONS) {
            return Err(format!("`{name}` has {rank} dimensions, expected at most {MOST_DIMENSIONS}"));
        }
        let shape: Vec<usize> = (0..rank).map(|_| self.number::<4>()).collect::<Result<_, _>>()?;
        let format = match self.number::<1>()? {
            0 => Dtype::F32,
            1 => Dtype::I8,
            2 => Dtype::I16,
            3 => Dtype::I32,
            4 => Dtype::F16,
            5 => Dtype::BF16,
            other => return Err(format!("`{name}` has the number format {other}, expected 0 to 5")),
        };
        let stated = self.number::<4>()?;
        let begin = self.place;
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let wanted = count.and_then(|count| count.checked_mul(format.bitsize() / 8));
        if wanted != Some(stated) {
            return Err(format!("`{name}` has {stated} bytes, which are not {shape:?} of {format:?}"));
        }
        self.take(stated)?;
        Ok(Entry { format, shape, begin, strides: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u16 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat()
    }

    fn variable(name: &str, shape: &[u32], format: u8, numbers: &[u8]) -> Vec<u8> {
        let sizes: Vec<u8> = shape.iter().flat_map(|size| size.to_le_bytes()).collect();
        let bytes = (numbers.len() as u32).to_le_bytes();
        [&text(name)[..], &[shape.len() as u8], &sizes, &[format], &bytes, numbers].concat()
    }

    fn file(version: u32, variables: &[Vec<u8>], aliases: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = [&version.to_le_bytes()[..], &text("WhisperSpec"), &3u32.to_le_bytes()].concat();
        bytes.extend((variables.len() as u32).to_le_bytes());
        bytes.extend(variables.concat());
        bytes.extend((aliases.len() as u32).to_le_bytes());
        bytes.extend(aliases.iter().flat_map(|(alias, name)| [text(alias), text(name)].concat()));
        bytes
    }

    #[test]
    fn variables_and_aliases_are_found_and_whole_numbers_are_scaled_back() {
        let scales: Vec<u8> = [2.0f32, 4.0].iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let wide: Vec<u8> = [10i16, -5].iter().flat_map(|number| number.to_le_bytes()).collect();
        let variables = [
            variable("a/weight", &[2, 2], 1, &[1, 2, 3, 0xfc]),
            variable("a/weight_scale", &[2], 0, &scales),
            variable("b/weight", &[1, 2], 2, &wide),
            variable("b/weight_scale", &[], 0, &10f32.to_le_bytes()),
            variable("heads", &[], 2, &[6, 0]),
            variable("c/bias", &[1], 4, &[0, 0xc0]),
        ];
        let bytes = file(6, &variables, &[("d/bias", "c/bias")]);
        assert!(is_ctranslate2(&bytes));
        let weights =
            crate::weights::Weights::from_ctranslate2_bytes(bytes, std::path::Path::new("model.bin")).unwrap();
        assert_eq!(weights.specification(), Some("WhisperSpec"));
        assert_eq!(weights.values("a/weight").unwrap()[..], [0.5, 1.0, 0.75, -1.0]);
        assert_eq!(weights.values("b/weight").unwrap()[..], [1.0, -0.5]);
        assert_eq!(weights.values("d/bias").unwrap()[..], [-2.0]);
        assert_eq!(weights.whole_numbers("heads").unwrap(), [6]);
        let error = weights.values("heads").unwrap_err().to_string();
        assert!(error.contains("I16"), "without a scale a whole number is no measurement: {error}");
    }

    #[test]
    fn a_file_that_lies_is_refused() {
        let one = || variable("a", &[2], 0, &[0; 8]);
        let said = |bytes: &[u8]| read(bytes).map(|_| ()).unwrap_err();
        let whole = file(6, &[one()], &[]);
        assert!(read(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut after {cut} bytes");
        }
        assert_eq!(said(&[&whole[..], &[0]].concat()), "1 bytes are left at the end");
        assert!(said(&file(7, &[], &[])).contains("version 7 of CTranslate2's format is not known, expected 4 to 6"));
        assert_eq!(said(&file(6, &[one(), one()], &[])), "`a` is there twice");
        assert_eq!(said(&file(6, &[one()], &[("a", "a")])), "`a` is there twice");
        assert_eq!(said(&file(6, &[one()], &[("b", "c")])), "`b` stands for `c`, which is not there");
        let huge = variable("a", &[u32::MAX, u32::MAX, u32::MAX], 0, &[0; 8]);
        assert!(said(&file(6, &[huge], &[])).contains("`a` has 8 bytes, which are not [4294967295"));
        assert!(
            said(&file(6, &[variable("a", &[2], 9, &[0; 8])], &[])).contains("the number format 9, expected 0 to 5")
        );
        assert!(
            said(&file(6, &[variable("a", &[1; 9], 0, &[0; 4])], &[])).contains("9 dimensions, expected at most 8")
        );
    }
}
