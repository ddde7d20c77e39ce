//! Pictures as the numbers a checkpoint wants: what its `preprocessor_config.json` says, in Hugging Face's arithmetic.
//!
//! Resized in bytes as Pillow does it, cropped at the centre, divided in f64 and normalised in f32, so that the numbers are those of
//! transformers' PIL-backed processors bit for bit. A rotation noted in EXIF is not applied, as Pillow does not either.

use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::resample::{Filter, Pixels};
use crate::{DataError, picture, preprocessor};

/// The longest side that a configuration may ask for: a square of it takes 200 MB.
const LONGEST_SIDE: usize = 4096;

/// OpenAI's, for CLIP.
const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const CLIP_DEVIATION: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

/// What a picture becomes before its numbers are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// The shorter side, the proportions kept.
    Shortest(usize),
    /// Height and width.
    Exactly(usize, usize),
}

/// Prepares pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    resize: Option<(Size, Filter)>,
    /// Height and width.
    crop: Option<(usize, usize)>,
    rescale: Option<f64>,
    /// Mean and deviation of each channel.
    normalise: Option<([f32; 3], [f32; 3])>,
}

/// A prepared picture.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelValues {
    /// Height.
    pub height: usize,
    /// Width.
    pub width: usize,
    /// `[3, height, width]`, row by row.
    pub values: Vec<f32>,
}

/// The configuration's fields; what is absent is the kind's own.
#[derive(Deserialize)]
struct Config {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<Value>,
    resample: Option<u64>,
    do_center_crop: Option<bool>,
    crop_size: Option<Value>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<Vec<f64>>,
    image_std: Option<Vec<f64>>,
    do_pad: Option<bool>,
}

/// What transformers' class of a name does where the file says nothing.
struct Kind {
    name: &'static str,
    size: Size,
    filter: Filter,
    crop: Option<usize>,
    mean: [f64; 3],
    deviation: [f64; 3],
}

const HALF: [f64; 3] = [0.5; 3];

const fn clip_like(name: &'static str) -> Kind {
    let (size, crop) = (Size::Shortest(224), Some(224));
    Kind { name, size, filter: Filter::Bicubic, crop, mean: CLIP_MEAN, deviation: CLIP_DEVIATION }
}

const fn square(name: &'static str, side: usize, filter: Filter, crop: Option<usize>) -> Kind {
    Kind { name, size: Size::Exactly(side, side), filter, crop, mean: HALF, deviation: HALF }
}

/// The classes that are known; older files say `…FeatureExtractor`, some say `…Fast`.
const KINDS: [Kind; 8] = [
    clip_like("CLIP"),
    clip_like("ChineseCLIP"),
    clip_like("Bit"),
    square("ViT", 224, Filter::Bilinear, None),
    square("DeiT", 256, Filter::Bicubic, Some(224)),
    square("Beit", 224, Filter::Bicubic, None),
    square("Siglip", 224, Filter::Bicubic, None),
    Kind { size: Size::Shortest(224), ..square("VideoMAE", 224, Filter::Bilinear, Some(224)) },
];

impl ImageProcessor {
    /// Reads a checkpoint's folder.
    pub fn of_folder(folder: &Path) -> Result<Self, DataError> {
        let (path, text) = preprocessor::read(folder, "read the image processor")?;
        Self::from_json(&path, &text)
    }

    /// Reads a configuration; `path` is for messages.
    pub fn from_json(path: &Path, text: &[u8]) -> Result<Self, DataError> {
        Self::read(text).map_err(|reason| DataError::Settings { path: path.into(), reason })
    }

    fn read(text: &[u8]) -> Result<Self, String> {
        let config: Config = preprocessor::settings(text, "image_processor")?;
        let kind = kind(&config)?;
        if config.do_pad == Some(true) {
            return Err("`do_pad` is not read; expected pictures of one size without padding".to_owned());
        }
        let resize = match (config.do_resize.unwrap_or(true), &config.size, config.resample) {
            (false, ..) => None,
            (true, size, number) => {
                let size = match size {
                    Some(size) => size_of(size, matches!(kind.size, Size::Shortest(_)))?,
                    None => kind.size,
                };
                let filter = match number {
                    Some(number) => Filter::of_number(number).ok_or(format!("no filter has number {number}"))?,
                    None => kind.filter,
                };
                Some((size, filter))
            }
        };
        let crop = match (config.do_center_crop.unwrap_or(kind.crop.is_some()), &config.crop_size) {
            (false, _) => None,
            (true, None) => kind.crop.map(|side| (side, side)),
            (true, Some(size)) => match size_of(size, false)? {
                Size::Exactly(height, width) => Some((height, width)),
                Size::Shortest(side) => Some((side, side)),
            },
        };
        let three = |name: &str, given: Option<Vec<f64>>, usual: [f64; 3]| match given.as_deref() {
            None => Ok(usual.map(|value| value as f32)),
            Some(&[r, g, b]) => Ok([r, g, b].map(|value| value as f32)),
            Some(other) => Err(format!("`{name}` must hold 3 numbers, found {}", other.len())),
        };
        let mean = three("image_mean", config.image_mean, kind.mean)?;
        let deviation = three("image_std", config.image_std, kind.deviation)?;
        if deviation.contains(&0.0) {
            return Err("`image_std` must not be zero".to_owned());
        }
        Ok(Self {
            resize,
            crop,
            rescale: config.do_rescale.unwrap_or(true).then(|| config.rescale_factor.unwrap_or(1.0 / 255.0)),
            normalise: config.do_normalize.unwrap_or(true).then_some((mean, deviation)),
        })
    }

    /// Picture files as the model's numbers, each by the next thread that is free. The error is that of the first in order that has one.
    pub fn prepare_files<P: AsRef<Path> + Sync>(&self, paths: &[P]) -> Result<Vec<PixelValues>, DataError> {
        let prepared: Vec<_> = paths.par_iter().with_max_len(1).map(|path| self.prepare_file(path.as_ref())).collect();
        prepared.into_iter().collect()
    }

    /// A picture's file as the model's numbers.
    pub fn prepare_file(&self, path: &Path) -> Result<PixelValues, DataError> {
        let pixels = decode_rgb(path)?;
        let (width, height) = self.resized_size(&pixels);
        if width > LONGEST_SIDE * 4 || height > LONGEST_SIDE * 4 {
            return Err(DataError::picture(path, format!("it would become {width} x {height} pixels: too narrow")));
        }
        Ok(self.prepare(&pixels))
    }

    /// [`Self::prepare`] of each of some pictures, by all threads.
    pub fn prepare_all(&self, pictures: &[Pixels]) -> Vec<PixelValues> {
        pictures.par_iter().with_max_len(1).map(|picture| self.prepare(picture)).collect()
    }

    /// Decoded pixels of three channels as the model's numbers.
    ///
    /// # Panics
    ///
    /// If there are not three channels, or no pixels.
    pub fn prepare(&self, pixels: &Pixels) -> PixelValues {
        assert_eq!(pixels.channels, 3, "a picture has red, green and blue");
        let (width, height) = self.resized_size(pixels);
        let filter = self.resize.map_or(Filter::Nearest, |(_, filter)| filter);
        let resized = pixels.resized(width, height, filter);
        let cropped = match self.crop {
            Some((height, width)) => centre(&resized, height, width),
            None => resized,
        };
        self.numbers(&cropped)
    }

    fn resized_size(&self, pixels: &Pixels) -> (usize, usize) {
        match self.resize {
            None => (pixels.width, pixels.height),
            Some((Size::Exactly(height, width), _)) => (width, height),
            Some((Size::Shortest(short), _)) => {
                let longer = |long: usize, short_side: usize| (short * long / short_side).max(1);
                match pixels.width <= pixels.height {
                    true => (short, longer(pixels.height, pixels.width)),
                    false => (longer(pixels.width, pixels.height), short),
                }
            }
        }
    }

    /// Every byte's number is looked up: there are 256 a channel.
    fn numbers(&self, pixels: &Pixels) -> PixelValues {
        let number = |byte: usize, channel: usize| {
            let value = match self.rescale {
                Some(factor) => (byte as f64 * factor) as f32,
                None => byte as f32,
            };
            match &self.normalise {
                Some((mean, deviation)) => (value - mean[channel]) / deviation[channel],
                None => value,
            }
        };
        let mut values = Vec::with_capacity(pixels.bytes.len());
        for channel in 0..3 {
            let known: Vec<f32> = (0..256).map(|byte| number(byte, channel)).collect();
            values.extend(pixels.bytes.iter().skip(channel).step_by(3).map(|&byte| known[usize::from(byte)]));
        }
        PixelValues { height: pixels.height, width: pixels.width, values }
    }
}

/// Decodes a JPEG, PNG or WebP file to red, green and blue; transparency is dropped, as Pillow's `convert("RGB")` does.
pub fn decode_rgb(path: &Path) -> Result<Pixels, DataError> {
    let rgb = picture::decode_file(path)?.to_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Ok(Pixels { width, height, channels: 3, bytes: rgb.into_raw() })
}

/// The kind that a configuration names.
fn kind(config: &Config) -> Result<&'static Kind, String> {
    let name = config.image_processor_type.as_deref().or(config.feature_extractor_type.as_deref());
    let name = name.ok_or("`image_processor_type` is missing")?;
    let short = name.trim_end_matches("Fast").trim_end_matches("Pil");
    let short = short.strip_suffix("ImageProcessor").or_else(|| short.strip_suffix("FeatureExtractor"));
    let found = KINDS.iter().find(|kind| Some(kind.name) == short);
    found.ok_or_else(|| {
        let known: Vec<String> = KINDS.iter().map(|kind| format!("{}ImageProcessor", kind.name)).collect();
        format!("no image processor is called `{name}`; known: {}", known.join(", "))
    })
}

/// A size as files have it: a number, or an object of sides.
fn size_of(value: &Value, is_shortest: bool) -> Result<Size, String> {
    let side = |value: &Value| {
        let side = value.as_u64().and_then(|side| usize::try_from(side).ok());
        side.filter(|side| (1..=LONGEST_SIDE).contains(side))
            .ok_or_else(|| format!("a side must be a whole number from 1 to {LONGEST_SIDE}, found {value}"))
    };
    match value {
        Value::Object(sides) => match (sides.get("shortest_edge"), sides.get("height"), sides.get("width")) {
            (None, Some(height), Some(width)) => Ok(Size::Exactly(side(height)?, side(width)?)),
            (Some(short), None, None) if sides.get("longest_edge").is_none_or(Value::is_null) => {
                Ok(Size::Shortest(side(short)?))
            }
            _ => Err(format!("a size must have height and width, or shortest_edge; found {value}")),
        },
        _ if is_shortest => Ok(Size::Shortest(side(value)?)),
        _ => side(value).map(|side| Size::Exactly(side, side)),
    }
}

/// The middle of a picture; what lies outside it is black.
fn centre(pixels: &Pixels, height: usize, width: usize) -> Pixels {
    let mut bytes = vec![0u8; height * width * pixels.channels];
    // Where the first row and column of the crop lie, rounded down, or up where the picture is smaller, as transformers does.
    let first = |has: usize, wants: usize| match has >= wants {
        true => ((has - wants) / 2) as i64,
        false => -((wants - has).div_ceil(2) as i64),
    };
    let (top, left) = (first(pixels.height, height), first(pixels.width, width));
    for row in 0..height {
        let Some(old) = inside(top + row as i64, pixels.height) else { continue };
        for column in 0..width {
            let Some(from) = inside(left + column as i64, pixels.width) else { continue };
            let (from, to) = ((old * pixels.width + from) * 3, (row * width + column) * 3);
            bytes[to..to + 3].copy_from_slice(&pixels.bytes[from..from + 3]);
        }
    }
    Pixels { height, width, channels: pixels.channels, bytes }
}

fn inside(place: i64, size: usize) -> Option<usize> {
    usize::try_from(place).ok().filter(|&place| place < size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(width: usize, height: usize) -> Pixels {
        let mut state = 12_345u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        Pixels { width, height, channels: 3, bytes: (0..width * height * 3).map(|_| next()).collect() }
    }

    /// A sum over the bits of all numbers that tells any two apart.
    fn digest(values: &[f32]) -> u32 {
        let bytes = values.iter().flat_map(|value| value.to_bits().to_le_bytes());
        bytes.fold(2_166_136_261, |sum: u32, byte| (sum ^ u32::from(byte)).wrapping_mul(16_777_619))
    }

    #[test]
    fn numbers_are_those_of_transformers_bit_for_bit() {
        // Configuration, width, height, height and width after, digest: tests/golden/image_processor.py.
        const CASES: &[(&str, usize, usize, usize, usize, u32)] = &include!("image_processor_cases.in");
        for &(config, width, height, new_height, new_width, expected) in CASES {
            let processor = ImageProcessor::from_json(Path::new("p.json"), config.as_bytes()).unwrap();
            let found = processor.prepare(&drawn(width, height));
            assert_eq!((found.height, found.width), (new_height, new_width), "{width} x {height} by {config}");
            assert_eq!(digest(&found.values), expected, "{width} x {height} by {config}");
        }
    }

    #[test]
    fn pictures_of_a_batch_are_those_of_one_by_one_and_the_first_bad_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let processor =
            ImageProcessor::from_json(Path::new("p.json"), br#"{"image_processor_type": "CLIPImageProcessor"}"#)
                .unwrap();
        let mut paths: Vec<_> = (0..5u32).map(|number| folder.path().join(format!("{number}.png"))).collect();
        for (number, path) in (30..).zip(&paths) {
            image::RgbImage::from_fn(number, 2 * number, |x, y| image::Rgb([x as u8, y as u8, number as u8]))
                .save(path)
                .unwrap();
        }
        let expected: Vec<_> = paths.iter().map(|path| processor.prepare_file(path).unwrap().values).collect();
        let found = processor.prepare_files(&paths).unwrap();
        assert!(found.iter().map(|picture| &picture.values).eq(&expected));
        let pixels: Vec<_> = paths.iter().map(|path| decode_rgb(path).unwrap()).collect();
        assert!(processor.prepare_all(&pixels).iter().map(|picture| &picture.values).eq(&expected));
        paths.insert(2, folder.path().join("absent.png"));
        paths.push(folder.path().join("absent too.png"));
        assert!(processor.prepare_files(&paths).err().unwrap().to_string().contains("absent.png"));
    }

    #[test]
    fn settings_that_are_not_known_are_refused() {
        let error =
            |text: &str| ImageProcessor::from_json(Path::new("p.json"), text.as_bytes()).unwrap_err().to_string();
        assert!(error("{}").contains("`image_processor_type` is missing"));
        assert!(
            error(r#"{"image_processor_type": "Other"}"#).contains("no image processor is called `Other`; known: CLIP")
        );
        let clip = |more: &str| error(&format!(r#"{{"image_processor_type": "CLIPImageProcessor", {more}}}"#));
        assert!(clip(r#""size": {"longest_edge": 3}"#).contains("height and width, or shortest_edge"));
        assert!(clip(r#""size": 0"#).contains("from 1 to 4096, found 0"));
        assert!(clip(r#""image_mean": [1.0]"#).contains("`image_mean` must hold 3 numbers, found 1"));
        assert!(clip(r#""image_std": [1, 0, 1]"#).contains("must not be zero"));
        assert!(clip(r#""resample": 7"#).contains("no filter has number 7"));
        assert!(clip(r#""do_pad": true"#).contains("`do_pad` is not read"));
    }
}
