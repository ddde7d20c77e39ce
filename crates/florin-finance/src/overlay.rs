//! Boxes painted on a picture: where each field was read.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use florin_data::document::BoundingBox;
use image::{GrayImage, Rgb, RgbImage};

/// Colours that stay apart for colour-blind readers (after Okabe and Ito), dark enough on white paper.
const PALETTE: [[u8; 3]; 8] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 130, 96],
    [170, 60, 130],
    [150, 105, 0],
    [30, 140, 190],
    [90, 90, 90],
    [190, 40, 40],
];

/// The font of tags and legend; see `fonts/README.md`.
const FONT: &[u8] = include_bytes!("../fonts/Arimo-Regular.ttf");

/// How a box is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// What was read.
    Solid,
    /// What is right.
    Dashed,
}

/// Boxes of one field.
#[derive(Clone, Copy, Debug)]
pub struct Mark<'a> {
    /// Written above the first box; nothing where empty.
    pub label: &'a str,
    /// Boxes in pixels of the picture.
    pub boxes: &'a [BoundingBox],
    /// Place in the palette, which repeats.
    pub colour: usize,
    /// How the boxes are drawn.
    pub style: Style,
}

/// The colour of a place in the palette, as in a style sheet.
pub fn colour_hex(index: usize) -> String {
    let [red, green, blue] = PALETTE[index % PALETTE.len()];
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Paints boxes, and below the picture one line for every entry of the legend, in the palette's order.
pub fn paint(picture: &GrayImage, marks: &[Mark<'_>], legend: &[String]) -> RgbImage {
    let (width, height) = picture.dimensions();
    let size = (width as f32 / 36.0).clamp(12.0, 28.0);
    let line = (size * 1.5).ceil() as u32;
    let strip = if legend.is_empty() { 0 } else { line * legend.len() as u32 + line / 2 };
    let mut canvas = RgbImage::from_pixel(width, height + strip, Rgb([255, 255, 255]));
    for (x, y, pixel) in picture.enumerate_pixels() {
        canvas.put_pixel(x, y, Rgb([pixel.0[0]; 3]));
    }
    // A font that is part of the program is readable; without it boxes are still worth painting.
    let font = FontRef::try_from_slice(FONT).ok();
    for mark in marks {
        let colour = Rgb(PALETTE[mark.colour % PALETTE.len()]);
        for bounds in mark.boxes {
            frame(&mut canvas, bounds, colour, mark.style, (width / 320).clamp(2, 4) as i64);
        }
        if let (Some(font), Some(first)) = (&font, mark.boxes.first().filter(|_| !mark.label.is_empty())) {
            tag(&mut canvas, font, mark.label, first, colour, size * 0.8);
        }
    }
    for (index, entry) in legend.iter().enumerate() {
        let top = height + line / 4 + line * index as u32;
        let colour = Rgb(PALETTE[index % PALETTE.len()]);
        let side = i64::from(line / 2);
        fill(&mut canvas, i64::from(line / 2), i64::from(top) + side / 2, side, side, colour);
        if let Some(font) = &font {
            let room = width as f32 - line as f32 * 2.0;
            let text = shortened(font, entry, size, room);
            write(&mut canvas, font, &text, (line as f32 * 1.4, top as f32 + size * 0.2), size, Rgb([20, 20, 20]));
        }
    }
    canvas
}

fn put(canvas: &mut RgbImage, x: i64, y: i64, colour: Rgb<u8>) {
    if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
        && x < canvas.width()
        && y < canvas.height()
    {
        canvas.put_pixel(x, y, colour);
    }
}

fn fill(canvas: &mut RgbImage, left: i64, top: i64, width: i64, height: i64, colour: Rgb<u8>) {
    for y in top..top + height {
        for x in left..left + width {
            put(canvas, x, y, colour);
        }
    }
}

fn frame(canvas: &mut RgbImage, bounds: &BoundingBox, colour: Rgb<u8>, style: Style, thick: i64) {
    // A little room around the letters; dashes lie further out, so that both can be seen.
    let room = if style == Style::Solid { 2.0 } else { 5.0 };
    let (width, height) = (canvas.width() as f32, canvas.height() as f32);
    let left = (bounds.left - room).clamp(0.0, width) as i64;
    let right = (bounds.right + room).clamp(0.0, width) as i64;
    let top = (bounds.top - room).clamp(0.0, height) as i64;
    let bottom = (bounds.bottom + room).clamp(0.0, height) as i64;
    let drawn = |along: i64| style == Style::Solid || along % 12 < 7;
    for x in (left..=right).filter(|x| drawn(x - left)) {
        fill(canvas, x, top, 1, thick, colour);
        fill(canvas, x, bottom - thick + 1, 1, thick, colour);
    }
    for y in (top..=bottom).filter(|y| drawn(y - top)) {
        fill(canvas, left, y, thick, 1, colour);
        fill(canvas, right - thick + 1, y, thick, 1, colour);
    }
}

/// The field's name on its colour, above the box or, at the top of the picture, below it.
fn tag(canvas: &mut RgbImage, font: &FontRef<'_>, label: &str, bounds: &BoundingBox, colour: Rgb<u8>, size: f32) {
    let (wide, high) = (length(font, label, size) + size * 0.6, size * 1.25);
    let above = bounds.top - 2.0 - high;
    let top = if above >= 0.0 { above } else { bounds.bottom + 2.0 };
    let left = (bounds.left - 2.0).min(canvas.width() as f32 - wide).max(0.0);
    fill(canvas, left as i64, top as i64, wide as i64, high as i64, colour);
    write(canvas, font, label, (left + size * 0.3, top + size * 0.1), size, Rgb([255, 255, 255]));
}

fn length(font: &FontRef<'_>, text: &str, size: f32) -> f32 {
    let scaled = font.as_scaled(PxScale::from(size));
    text.chars().map(|letter| scaled.h_advance(scaled.glyph_id(letter))).sum()
}

fn shortened(font: &FontRef<'_>, text: &str, size: f32, room: f32) -> String {
    if length(font, text, size) <= room {
        return text.to_owned();
    }
    let mut short: Vec<char> = text.chars().collect();
    while !short.is_empty() && length(font, &format!("{}…", short.iter().collect::<String>()), size) > room {
        short.pop();
    }
    format!("{}…", short.iter().collect::<String>())
}

fn write(canvas: &mut RgbImage, font: &FontRef<'_>, text: &str, at: (f32, f32), size: f32, colour: Rgb<u8>) {
    let scaled = font.as_scaled(PxScale::from(size));
    let mut x = at.0;
    for letter in text.chars() {
        let glyph = scaled.glyph_id(letter).with_scale_and_position(size, point(x, at.1 + scaled.ascent()));
        x += scaled.h_advance(glyph.id);
        let Some(outline) = font.outline_glyph(glyph) else { continue };
        let corner = outline.px_bounds().min;
        outline.draw(|dx, dy, cover| {
            let (px, py) = (corner.x as i64 + i64::from(dx), corner.y as i64 + i64::from(dy));
            let (Ok(ux), Ok(uy)) = (u32::try_from(px), u32::try_from(py)) else { return };
            if ux < canvas.width() && uy < canvas.height() {
                let under = canvas.get_pixel(ux, uy).0;
                let mix = |i: usize| (f32::from(under[i]) * (1.0 - cover) + f32::from(colour.0[i]) * cover) as u8;
                put(canvas, px, py, Rgb([mix(0), mix(1), mix(2)]));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_painted_in_their_colour_and_never_outside() {
        let picture = GrayImage::from_pixel(200, 100, image::Luma([255]));
        let boxes = [BoundingBox::new(50.0, 40.0, 120.0, 60.0), BoundingBox::new(-50.0, -9.0, 900.0, 700.0)];
        let mark = Mark { label: "total", boxes: &boxes, colour: 1, style: Style::Solid };
        let painted = paint(&picture, &[mark], &["total: 9.00".into()]);
        assert_eq!(painted.width(), 200);
        assert!(painted.height() > 100, "the legend stands below");
        assert_eq!(painted.get_pixel(48, 50).0, PALETTE[1]);
        assert_eq!(painted.get_pixel(85, 50).0, [255; 3]);
    }
}
