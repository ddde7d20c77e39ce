//! The embedded fonts: how wide a text is, and its pixels.
//!
//! Letters are drawn once for a size and a place within a pixel and then stamped: a receipt repeats few letters often.

use std::{collections::HashMap, sync::LazyLock};

use ab_glyph::{Font, FontRef, Glyph, GlyphId, PxScale, ScaleFont, point};

/// A family of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Face {
    Sans,
    Mono,
    Serif,
}

/// How letters look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Style {
    pub(super) face: Face,
    pub(super) bold: bool,
    /// Pixels from the highest to the lowest letter.
    pub(super) size: f32,
    /// Width of letters against the font's own.
    pub(super) stretch: f32,
}

impl Style {
    /// The same letters in another size.
    pub(super) fn sized(self, factor: f32) -> Self {
        Self { size: self.size * factor, ..self }
    }

    /// The same letters, bold.
    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    /// The same letters, wider or narrower.
    pub(super) fn stretched(self, factor: f32) -> Self {
        Self { stretch: self.stretch * factor, ..self }
    }

    fn scale(self) -> PxScale {
        PxScale { x: self.size * self.stretch, y: self.size }
    }

    /// Width of a text in pixels.
    pub(super) fn width(self, text: &str) -> f32 {
        let font = font(self.face, self.bold).as_scaled(self.scale());
        text.chars().map(|character| font.h_advance(font.glyph_id(character))).sum()
    }
}

/// The fonts in the order of [`font`]; none that fails to parse, which the tests exclude.
static FONTS: LazyLock<Vec<FontRef<'static>>> = LazyLock::new(|| {
    let files: [&'static [u8]; 6] = [
        include_bytes!("../../../fonts/Arimo-Regular.ttf"),
        include_bytes!("../../../fonts/Arimo-Bold.ttf"),
        include_bytes!("../../../fonts/Cousine-Regular.ttf"),
        include_bytes!("../../../fonts/Cousine-Bold.ttf"),
        include_bytes!("../../../fonts/Tinos-Regular.ttf"),
        include_bytes!("../../../fonts/Tinos-Bold.ttf"),
    ];
    files.into_iter().filter_map(|file| FontRef::try_from_slice(file).ok()).collect()
});

fn font(face: Face, bold: bool) -> &'static FontRef<'static> {
    &FONTS[face as usize * 2 + usize::from(bold)]
}

/// One letter's pixels, relative to where the letter stands.
struct Stamp {
    left: i32,
    top: i32,
    width: usize,
    coverage: Vec<u8>,
}

/// Places within a pixel that letters are drawn at.
const PLACES: f32 = 3.0;

/// A letter, its font, its width and height, and its place within a pixel.
type StampKey = (Face, bool, u32, u32, GlyphId, i32);

/// Letters drawn so far, for one picture.
#[derive(Default)]
pub(super) struct Stamps {
    known: HashMap<StampKey, Option<Stamp>>,
}

impl Stamps {
    /// Calls `paint` with column, row and coverage for every pixel of a text whose baseline begins at a point.
    pub(super) fn draw(
        &mut self,
        text: &str,
        style: Style,
        left: f32,
        baseline: f32,
        mut paint: impl FnMut(i32, i32, u8),
    ) {
        let scale = style.scale();
        let font = font(style.face, style.bold);
        let scaled = font.as_scaled(scale);
        let baseline = baseline.round() as i32;
        let mut x = left;
        for character in text.chars() {
            let id = font.glyph_id(character);
            let place = ((x - x.floor()) * PLACES) as i32;
            let key = (style.face, style.bold, scale.x.to_bits(), scale.y.to_bits(), id, place);
            let stamp = self.known.entry(key).or_insert_with(|| stamp(font, id, scale, place as f32 / PLACES));
            if let Some(stamp) = stamp {
                for (row, line) in stamp.coverage.chunks(stamp.width).enumerate() {
                    for (column, &coverage) in line.iter().enumerate() {
                        paint(
                            x.floor() as i32 + stamp.left + column as i32,
                            baseline + stamp.top + row as i32,
                            coverage,
                        );
                    }
                }
            }
            x += scaled.h_advance(id);
        }
    }
}

fn stamp(font: &FontRef<'static>, id: GlyphId, scale: PxScale, place: f32) -> Option<Stamp> {
    let outlined = font.outline_glyph(Glyph { id, scale, position: point(place, 0.0) })?;
    let bounds = outlined.px_bounds();
    let (width, height) = (bounds.width() as usize, bounds.height() as usize);
    if width == 0 || height == 0 {
        return None;
    }
    let mut coverage = vec![0; width * height];
    outlined.draw(|x, y, share| {
        if let Some(pixel) = coverage.get_mut(y as usize * width + x as usize) {
            *pixel = (share.clamp(0.0, 1.0) * 255.0) as u8;
        }
    });
    Some(Stamp { left: bounds.min.x as i32, top: bounds.min.y as i32, width, coverage })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_font_is_there_and_knows_the_letters_of_all_languages() {
        assert_eq!(FONTS.len(), 6);
        for font in FONTS.iter() {
            for character in "AZaz09ÄÖÜßäöüÀÂÇÉÈÊËÎÏÔŒœùÑñ¿¡€£$.,:;-/()&'".chars() {
                assert_ne!(font.glyph_id(character).0, 0, "{character}");
            }
        }
    }

    #[test]
    fn a_monospaced_text_is_as_wide_as_its_letters_are_many() {
        let style = Style { face: Face::Mono, bold: false, size: 20.0, stretch: 1.0 };
        assert!((style.width("iiiiWWWW") - 8.0 * style.width("m")).abs() < 1e-3);
        assert!((style.stretched(2.0).width("W") - 2.0 * style.width("W")).abs() < 1e-3);
    }
}
