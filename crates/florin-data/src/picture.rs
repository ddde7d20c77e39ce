//! Pictures as grey pixels, decoded so that a hostile file can only be refused.
//!
//! The size is read from the header and checked before any pixel is allocated, and a file that ends early is an
//! error, not a half grey picture. Pixels are taken as stored: a rotation noted in EXIF is not applied, because OCR
//! boxes refer to the stored pixels.

use std::path::Path;

use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits,
    imageops::{self, FilterType},
};

use crate::DataError;
use crate::document::BoundingBox;
use crate::guarded::guarded;

/// Most pixels of a picture that is decoded: 100 megapixels, about twice the largest flatbed scan of a page.
pub const MOST_PIXELS: u64 = 100_000_000;

/// Most bytes that a decoder may allocate: a picture of [`MOST_PIXELS`] with four 8-bit channels, and as much again.
const MOST_BYTES: u64 = 8 * MOST_PIXELS;

/// Largest picture file that is read, in bytes.
const LARGEST_FILE: u64 = 256 << 20;

/// Width and height by the header, without decoding the pixels.
pub fn dimensions(path: impl AsRef<Path>) -> Result<(u32, u32), DataError> {
    let path = path.as_ref();
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let reader = reader.map_err(|source| DataError::file("read the picture", path, source))?;
    check_format(path, reader.format())?;
    let (width, height) = reader.into_dimensions().map_err(|error| DataError::picture(path, error))?;
    check_size(path, width, height)?;
    Ok((width, height))
}

/// Decodes a JPEG, PNG or WebP file to grey; transparent parts become white.
pub fn decode(path: impl AsRef<Path>) -> Result<GrayImage, DataError> {
    decode_file(path.as_ref()).map(to_grey)
}

/// Decodes a file to the colours that it has.
pub(crate) fn decode_file(path: &Path) -> Result<DynamicImage, DataError> {
    let failed = |source| DataError::file("read the picture", path, source);
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > LARGEST_FILE {
        return Err(DataError::picture(path, format!("expected at most {LARGEST_FILE} bytes, found {size}")));
    }
    decode_colours(path, &std::fs::read(path).map_err(failed)?)
}

/// Decodes the bytes of a picture that is called `name` in errors.
pub fn decode_bytes(name: impl AsRef<Path>, bytes: &[u8]) -> Result<GrayImage, DataError> {
    decode_colours(name.as_ref(), bytes).map(to_grey)
}

fn decode_colours(name: &Path, bytes: &[u8]) -> Result<DynamicImage, DataError> {
    // Some damaged JPEG files end the decoder at a check of its own.
    let failed = || Err(DataError::picture(name, "the picture is damaged: its decoder gave up"));
    guarded(|| decode_unguarded(name, bytes)).unwrap_or_else(failed)
}

fn decode_unguarded(name: &Path, bytes: &[u8]) -> Result<DynamicImage, DataError> {
    let reader = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|source| DataError::file("read the picture", name, source))?;
    check_format(name, reader.format())?;
    if reader.format() == Some(ImageFormat::Jpeg) && !jpeg_is_whole(bytes) {
        return Err(DataError::picture(name, "the file ends before the picture does: it was cut off"));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| DataError::picture(name, error))?;
    let (width, height) = decoder.dimensions();
    check_size(name, width, height)?;
    DynamicImage::from_decoder(decoder).map_err(|error| DataError::picture(name, error))
}

/// A picture scaled to fit a canvas of fixed size, the rest white.
#[derive(Debug, Clone, PartialEq)]
pub struct Letterboxed {
    /// Brightness from 0 (black) to 1 (white), row by row.
    pub pixels: Vec<f32>,
    /// Canvas height in pixels.
    pub height: usize,
    /// Canvas width in pixels.
    pub width: usize,
    /// Canvas pixels per picture pixel, across.
    pub scale_x: f32,
    /// Canvas pixels per picture pixel, down; differs from `scale_x` only by rounding to whole pixels.
    pub scale_y: f32,
    /// Where the picture's left edge lies on the canvas.
    pub offset_x: f32,
    /// Where its top edge lies.
    pub offset_y: f32,
}

/// Scales a picture, keeping its shape, into the middle of a canvas of `height` x `width`.
///
/// Smaller pictures are enlarged. Shrinking averages over all pixels covered, so thin strokes fade rather than
/// vanish.
pub fn letterbox(picture: &GrayImage, height: usize, width: usize) -> Letterboxed {
    let mut pixels = vec![1.0; height * width];
    let (own_width, own_height) = (picture.width().max(1), picture.height().max(1));
    let scale = (width as f32 / own_width as f32).min(height as f32 / own_height as f32);
    let fit = |own: u32, most: usize| ((own as f32 * scale).round() as usize).clamp(1, most.max(1)).min(most);
    let (new_width, new_height) = (fit(own_width, width), fit(own_height, height));
    let (left, top) = ((width - new_width) / 2, (height - new_height) / 2);
    if picture.width() > 0 && picture.height() > 0 && new_width > 0 && new_height > 0 {
        let resized = imageops::resize(picture, new_width as u32, new_height as u32, FilterType::Triangle);
        for (x, y, pixel) in resized.enumerate_pixels() {
            pixels[(top + y as usize) * width + left + x as usize] = f32::from(pixel.0[0]) / 255.0;
        }
    }
    Letterboxed {
        pixels,
        height,
        width,
        scale_x: new_width as f32 / own_width as f32,
        scale_y: new_height as f32 / own_height as f32,
        offset_x: left as f32,
        offset_y: top as f32,
    }
}

impl Letterboxed {
    /// A box of the picture in pixels of the canvas.
    pub fn place(&self, bounds: &BoundingBox) -> BoundingBox {
        BoundingBox {
            left: bounds.left * self.scale_x + self.offset_x,
            top: bounds.top * self.scale_y + self.offset_y,
            right: bounds.right * self.scale_x + self.offset_x,
            bottom: bounds.bottom * self.scale_y + self.offset_y,
        }
    }
}

/// Square patches that cover a canvas, numbered row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchGrid {
    /// Patches from top to bottom, at least 1.
    pub rows: usize,
    /// Patches from left to right, at least 1.
    pub columns: usize,
    /// Side of a patch in canvas pixels, at least 1.
    pub patch: usize,
}

impl PatchGrid {
    /// Each patch that a box on the canvas overlaps, with its share of the overlap; the shares sum to 1.
    ///
    /// A box without area, or outside the canvas, belongs wholly to the patch nearest its middle.
    pub fn overlap(&self, bounds: &BoundingBox) -> Vec<(usize, f32)> {
        let across = self.shares(bounds.left, bounds.right, self.columns);
        let down = self.shares(bounds.top, bounds.bottom, self.rows);
        let mut weights = Vec::with_capacity(across.len() * down.len());
        for &(row, down) in &down {
            for &(column, across) in &across {
                weights.push((row * self.columns + column, down * across));
            }
        }
        weights
    }

    /// The share of the stretch from `low` to `high` that lies in each of `count` patches along one side.
    fn shares(&self, low: f32, high: f32, count: usize) -> Vec<(usize, f32)> {
        let patch = self.patch as f32;
        let most = patch * count as f32;
        let (from, to) = (low.clamp(0.0, most), high.clamp(0.0, most));
        let length = to - from;
        // NaN counts as 0 below: `as usize` maps it there.
        if length.is_nan() || length <= 1e-3 {
            let middle = ((low + high) / 2.0 / patch).max(0.0) as usize;
            return vec![(middle.min(count.saturating_sub(1)), 1.0)];
        }
        let first = (from / patch) as usize;
        let last = ((to / patch).ceil() as usize).min(count);
        let shared = |index: usize| (to.min((index + 1) as f32 * patch) - from.max(index as f32 * patch)) / length;
        (first..last).map(|index| (index, shared(index))).filter(|&(_, share)| share > 0.0).collect()
    }
}

fn check_format(path: &Path, format: Option<ImageFormat>) -> Result<(), DataError> {
    match format {
        Some(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP) => Ok(()),
        Some(other) => Err(DataError::picture(path, format!("expected JPEG, PNG or WebP, found {other:?}"))),
        None => Err(DataError::picture(path, "expected JPEG, PNG or WebP, found a file that is no picture")),
    }
}

pub(crate) fn check_size(path: &Path, width: u32, height: u32) -> Result<(), DataError> {
    if width == 0 || height == 0 {
        return Err(DataError::picture(path, format!("expected at least 1 x 1 pixels, found {width} x {height}")));
    }
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(DataError::PictureTooLarge { path: path.to_path_buf(), width, height, limit: MOST_PIXELS });
    }
    Ok(())
}

/// Whether an end-of-image marker follows the last start-of-scan marker.
///
/// The decoder fills a missing rest with grey and reports no error; inside a scan FF is never followed by D9.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    match (last([0xff, 0xda]), last([0xff, 0xd9])) {
        (Some(scan), Some(end)) => end > scan,
        _ => false,
    }
}

fn to_grey(picture: DynamicImage) -> GrayImage {
    if !picture.color().has_alpha() {
        return picture.into_luma8();
    }
    let with_alpha = picture.into_luma_alpha8();
    GrayImage::from_fn(with_alpha.width(), with_alpha.height(), |x, y| {
        let [grey, alpha] = with_alpha.get_pixel(x, y).0.map(u32::from);
        image::Luma([((grey * alpha + 255 * (255 - alpha)) / 255) as u8])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageEncoder, Luma};

    fn encoded(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let picture = GrayImage::from_fn(width, height, |x, y| Luma([(x * 7 + y * 3) as u8]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        DynamicImage::from(picture).into_rgb8().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn pictures_are_decoded_and_their_headers_agree() {
        let folder = tempfile::tempdir().unwrap();
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let path = folder.path().join("no-ending");
            std::fs::write(&path, encoded(format, 31, 17)).unwrap();
            assert_eq!(dimensions(&path).unwrap(), (31, 17));
            assert_eq!(decode(&path).unwrap().dimensions(), (31, 17));
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_by_name() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let bytes = encoded(format, 40, 30);
            // The last bytes of a PNG are an empty end mark: without them the pixels are still whole.
            for cut in (0..bytes.len() - 13).step_by(7) {
                let error = decode_bytes("scan.any", &bytes[..cut]).unwrap_err().to_string();
                assert!(error.contains("scan.any"), "{format:?} {cut}: {error}");
            }
        }
        assert!(decode_bytes("a.txt", b"hello").unwrap_err().to_string().contains("no picture"));
        assert!(decode_bytes("a.gif", b"GIF89a\x01\0\x01\0\0\0\0").unwrap_err().to_string().contains("found Gif"));
        assert!(decode("/nowhere/a.png").unwrap_err().to_string().contains("/nowhere/a.png"));
    }

    #[test]
    fn a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded() {
        // A valid PNG header of 30,000 x 30,000; its checksum is that of the changed header.
        let mut bytes = Vec::new();
        image::codecs::png::PngEncoder::new(&mut bytes).write_image(&[0], 1, 1, image::ExtendedColorType::L8).unwrap();
        bytes[16..20].copy_from_slice(&30_000u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&30_000u32.to_be_bytes());
        let checksum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = decode_bytes("bomb.png", &bytes).unwrap_err();
        assert!(matches!(error, DataError::PictureTooLarge { width: 30_000, .. }), "{error}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bomb.png"), &bytes).unwrap();
        assert!(dimensions(folder.path().join("bomb.png")).unwrap_err().to_string().contains("30000 x 30000"));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
    }

    #[test]
    fn changed_bytes_never_panic() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(8);
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let bytes = encoded(format, 24, 16);
            for _ in 0..300 {
                let mut changed = bytes.clone();
                for _ in 0..random.random_range(1..5) {
                    let position = random.random_range(0..changed.len());
                    changed[position] = random.random();
                }
                let _ = decode_bytes("x", &changed);
            }
        }
    }

    #[test]
    fn transparent_parts_become_white() {
        let picture = image::RgbaImage::from_pixel(2, 1, image::Rgba([0, 0, 0, 0]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        assert_eq!(decode_bytes("a.png", bytes.get_ref()).unwrap().get_pixel(0, 0), &Luma([255]));
    }

    #[test]
    fn a_letterboxed_picture_keeps_its_shape_and_its_boxes() {
        let picture = GrayImage::from_pixel(50, 100, Luma([0]));
        let canvas = letterbox(&picture, 64, 64);
        assert_eq!((canvas.offset_x, canvas.offset_y), (16.0, 0.0));
        assert_eq!(canvas.pixels.iter().filter(|&&pixel| pixel == 0.0).count(), 32 * 64);
        assert_eq!(canvas.pixels[0], 1.0);
        let placed = canvas.place(&BoundingBox::new(0.0, 0.0, 50.0, 100.0));
        assert_eq!(placed, BoundingBox::new(16.0, 0.0, 48.0, 64.0));
    }

    #[test]
    fn shrinking_averages_instead_of_skipping() {
        let stripes = GrayImage::from_fn(256, 256, |x, _| Luma([if x % 2 == 0 { 0 } else { 255 }]));
        let canvas = letterbox(&stripes, 32, 32);
        assert!(canvas.pixels.iter().all(|pixel| (0.4..0.6).contains(pixel)));
    }

    #[test]
    fn extreme_shapes_fit_their_canvas() {
        for (width, height) in [(1, 3000), (3000, 1), (1, 1), (0, 0)] {
            let canvas = letterbox(&GrayImage::new(width, height), 48, 32);
            assert_eq!(canvas.pixels.len(), 48 * 32);
            assert!(canvas.scale_x.is_finite() && canvas.scale_y.is_finite());
        }
    }

    #[test]
    fn overlap_weights_are_shares_of_area() {
        let grid = PatchGrid { rows: 2, columns: 3, patch: 10 };
        let weights = grid.overlap(&BoundingBox::new(5.0, 0.0, 15.0, 20.0));
        assert_eq!(weights, [(0, 0.25), (1, 0.25), (3, 0.25), (4, 0.25)]);
        assert_eq!(grid.overlap(&BoundingBox::new(12.0, 12.0, 12.0, 12.0)), [(4, 1.0)]);
        assert_eq!(grid.overlap(&BoundingBox::new(90.0, 90.0, 99.0, 99.0)), [(5, 1.0)]);
        assert_eq!(grid.overlap(&BoundingBox::new(f32::NAN, 0.0, f32::NAN, 5.0)), [(0, 1.0)]);
    }

    #[test]
    fn overlap_weights_of_any_box_sum_to_one() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(9);
        let grid = PatchGrid { rows: 32, columns: 16, patch: 16 };
        for _ in 0..5000 {
            let (left, top) = (random.random_range(-50.0..300.0), random.random_range(-50.0..600.0));
            let bounds = BoundingBox::new(
                left,
                top,
                left + random.random_range(0.0..200.0),
                top + random.random_range(0.0..30.0),
            );
            let weights = grid.overlap(&bounds);
            let sum: f32 = weights.iter().map(|&(_, weight)| weight).sum();
            assert!((sum - 1.0).abs() < 1e-4, "{bounds:?} {sum}");
            assert!(weights.iter().all(|&(patch, weight)| patch < 512 && weight > 0.0));
        }
    }
}
