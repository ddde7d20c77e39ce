//! Picture files as CLIP takes them, with the crate `image`, as candle's own examples read them.
//!
//! The examples resize linearly and crop as they resize; here it is done as CLIP's image processor has it, cubically and cropped
//! afterwards, because answers are compared.

use std::path::Path;

use anyhow::Context;
use image::RgbImage;
use image::imageops::{self, FilterType};

/// The mean and the deviation of each colour.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// The pixels of a file: a square of so many, colour by colour.
pub(crate) fn pixels(file: &Path, side: usize) -> anyhow::Result<Vec<f32>> {
    let picture = image::open(file).with_context(|| file.display().to_string())?;
    Ok(square(&picture.into_rgb8(), side as u32))
}

/// The middle of a picture whose shorter edge becomes as long as the square's.
fn square(picture: &RgbImage, side: u32) -> Vec<f32> {
    let (width, height) = picture.dimensions();
    let scaled = |edge: u32| side * edge / width.min(height);
    let (width, height) = (scaled(width), scaled(height));
    // With the same coefficients as Pillow's bicubic filter.
    let resized = imageops::resize(picture, width, height, FilterType::CatmullRom);
    let middle = imageops::crop_imm(&resized, (width - side) / 2, (height - side) / 2, side, side).to_image();
    let colour = |of: usize| {
        let normalised = move |value: u8| (f32::from(value) / 255.0 - MEAN[of]) / DEVIATION[of];
        middle.pixels().map(move |pixel| normalised(pixel.0[of]))
    };
    (0..3).flat_map(colour).collect()
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn the_middle_is_kept_colour_by_colour() {
        // Black but for a band of red across the middle.
        let picture = RgbImage::from_fn(16, 8, |x, _| Rgb([if (4..12).contains(&x) { 255 } else { 0 }, 0, 0]));
        let values = square(&picture, 8);
        let expected = |of: usize, value: f32| (value - MEAN[of]) / DEVIATION[of];
        assert_eq!(values.len(), 3 * 8 * 8);
        assert!(values[..64].iter().all(|value| *value == expected(0, 1.0)), "{values:?}");
        assert!(values[64..128].iter().all(|value| *value == expected(1, 0.0)), "{values:?}");
    }
}
