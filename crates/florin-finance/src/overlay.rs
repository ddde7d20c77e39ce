//! Boxes painted on a picture: where each field was read.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use florin_data::document::BoundingBox;
use image::{GrayImage, Rgb, RgbImage};

/// Colours that stay apart for colour-blind readers (after Okabe and Ito), dark enough on white paper.
const PALETTE: [[u8; 3]; 10] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 130, 96],
    [170, 60, 130],
    [150, 105, 0],
    [30, 140, 190],
    [90, 90, 90],
    [190, 40, 40],
    [68, 60, 160],
    [110, 120, 20],
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
    // Tall pictures are shown smaller on a page, so their letters have to be larger.
    let size = (width as f32 / 36.0).max(height as f32 / 48.0).clamp(12.0, 44.0);
    let thick = (size / 9.0).round().clamp(2.0, 4.0) as i64;
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
        for bounds in mark.boxes.iter().filter(|bounds| bounds.is_finite()) {
            frame(&mut canvas, height, bounds, colour, mark.style, thick);
        }
    }
    // Tags last: no box may cross out a name.
    for mark in marks.iter().filter(|mark| !mark.label.is_empty()) {
        let first = mark.boxes.iter().find(|bounds| bounds.is_finite());
        if let (Some(font), Some(first)) = (&font, first) {
            let colour = Rgb(PALETTE[mark.colour % PALETTE.len()]);
            tag(&mut canvas, height, font, mark.label, first, colour, size * 0.8);
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

fn frame(canvas: &mut RgbImage, floor: u32, bounds: &BoundingBox, colour: Rgb<u8>, style: Style, thick: i64) {
    // A little room around the letters; dashes lie further out, so that both can be seen.
    let room = if style == Style::Solid { 2.0 } else { 5.0 };
    // The last pixels of the picture: boxes must not reach into the legend.
    let (width, height) = (canvas.width() as f32 - 1.0, floor as f32 - 1.0);
    let left = (bounds.left - room).clamp(0.0, width.max(0.0)) as i64;
    let right = (bounds.right + room).clamp(0.0, width.max(0.0)) as i64;
    let top = (bounds.top - room).clamp(0.0, height.max(0.0)) as i64;
    let bottom = (bounds.bottom + room).clamp(0.0, height.max(0.0)) as i64;
    let drawn = |along: i64| style == Style::Solid || along % (thick * 5) < thick * 3;
    for x in (left..=right).filter(|x| drawn(x - left)) {
        fill(canvas, x, top, 1, thick, colour);
        fill(canvas, x, bottom - thick + 1, 1, thick, colour);
    }
    for y in (top..=bottom).filter(|y| drawn(y - top)) {
        fill(canvas, left, y, thick, 1, colour);
        fill(canvas, right - thick + 1, y, thick, 1, colour);
    }
}

/// The field's name on its colour: above, right, left of or below the box, wherever it hides the least print.
fn tag(
    canvas: &mut RgbImage,
    floor: u32,
    font: &FontRef<'_>,
    label: &str,
    bounds: &BoundingBox,
    colour: Rgb<u8>,
    size: f32,
) {
    let (wide, high) = ((length(font, label, size) + size * 0.6).ceil(), (size * 1.25).ceil());
    let (most_left, most_top) = (canvas.width() as f32 - wide, floor as f32 - high);
    let (left, middle) = (bounds.left - 2.0, (bounds.top + bounds.bottom - high) / 2.0);
    let places = [
        (left, bounds.top - 2.0 - high),
        (bounds.right + 4.0, middle),
        (left - 2.0 - wide, middle),
        (left, bounds.bottom + 2.0),
    ];
    let inside = places.into_iter().filter(|(x, y)| (0.0..=most_left).contains(x) && (0.0..=most_top).contains(y));
    let hidden = |(x, y): &(f32, f32)| ink(canvas, *x as u32, *y as u32, wide as u32, high as u32);
    let corner = (left.min(most_left).max(0.0), bounds.top.min(most_top).max(0.0));
    let (x, y) = inside.min_by_key(hidden).unwrap_or(corner);
    fill(canvas, x as i64, y as i64, wide as i64, high as i64, colour);
    write(canvas, font, label, (x + size * 0.3, y + size * 0.1), size, Rgb([255, 255, 255]));
}

/// How much is printed or painted in a rectangle: how far its pixels fall short of the brightest one.
fn ink(canvas: &RgbImage, left: u32, top: u32, width: u32, height: u32) -> u64 {
    let inside = image::imageops::crop_imm(canvas, left, top, width, height).to_image();
    let light = |pixel: &Rgb<u8>| pixel.0.iter().map(|part| u64::from(*part)).sum::<u64>();
    let brightest = inside.pixels().map(light).max().unwrap_or(0);
    inside.pixels().map(|pixel| brightest - light(pixel)).sum()
}

fn length(font: &FontRef<'_>, text: &str, size: f32) -> f32 {
    let scaled = font.as_scaled(PxScale::from(size));
    text.chars().map(|letter| scaled.h_advance(scaled.glyph_id(letter))).sum()
}

/// Text cut to fit, with three full stops: the embedded font has no ellipsis.
fn shortened(font: &FontRef<'_>, text: &str, size: f32, room: f32) -> String {
    if length(font, text, size) <= room {
        return text.to_owned();
    }
    let dots = length(font, "...", size);
    let mut short = text.to_owned();
    while !short.is_empty() && length(font, &short, size) + dots > room {
        short.pop();
    }
    format!("{}...", short.trim_end())
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

    #[test]
    fn boxes_without_numbers_and_pictures_without_pixels_are_passed_over() {
        let nan = [BoundingBox::new(f32::NAN, 0.0, 10.0, 10.0), BoundingBox::new(0.0, 0.0, f32::INFINITY, 9.0)];
        let far = [BoundingBox::new(1e30, 1e30, 2e30, 2e30), BoundingBox::new(50.0, 50.0, 3.0, 3.0)];
        let white = GrayImage::from_pixel(60, 60, image::Luma([255]));
        let marks = [&nan, &far].map(|boxes| Mark { label: "date", boxes, colour: 17, style: Style::Dashed });
        assert_eq!(paint(&white, &marks[..1], &[]), paint(&white, &[], &[]));
        for (width, height) in [(0, 0), (1, 1), (60, 60)] {
            let painted = paint(&GrayImage::new(width, height), &marks, &["a very long entry".repeat(9)]);
            assert_eq!(painted.width(), width);
        }
    }

    #[test]
    fn a_tag_carries_its_label_in_the_colour_of_its_box_and_the_legend_stays_clear() {
        let picture = GrayImage::from_pixel(300, 120, image::Luma([255]));
        let boxes = [BoundingBox::new(40.0, 60.0, 140.0, 400.0)];
        let mark = |label| Mark { label, boxes: &boxes, colour: 2, style: Style::Solid };
        let legend = ["date: 2024-01-31".to_owned()];
        let named = paint(&picture, &[mark("date")], &legend);
        let bare = paint(&picture, &[mark("")], &legend);
        assert_ne!(named, bare);
        let below = |image: &RgbImage| image.rows().skip(120).flatten().copied().collect::<Vec<_>>();
        assert_eq!(below(&bare), below(&paint(&picture, &[], &legend)), "no box reaches into the legend");
        assert_eq!(colour_hex(2), colour_hex(12));
        assert_eq!(colour_hex(0), "#0072b2");
    }

    #[test]
    fn every_colour_is_its_own_and_carries_white_letters() {
        let light = |[red, green, blue]: [u8; 3]| {
            let linear = |part: u8| ((f64::from(part) / 255.0 + 0.055) / 1.055).powf(2.4);
            0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
        };
        for (index, colour) in PALETTE.iter().enumerate() {
            assert!(!PALETTE[..index].contains(colour));
            assert!(1.05 / (light(*colour) + 0.05) > 3.4, "{colour:?} is too light for white letters");
        }
    }

    #[test]
    fn a_tag_moves_beside_its_box_where_the_line_above_is_printed() {
        let mut picture = GrayImage::from_pixel(400, 100, image::Luma([255]));
        for (x, y) in (0..400).flat_map(|x| (20..38).map(move |y| (x, y))) {
            picture.put_pixel(x, y, image::Luma([if x % 3 == 0 { 255 } else { 40 }]));
        }
        let boxes = [BoundingBox::new(20.0, 42.0, 120.0, 60.0)];
        let painted = paint(&picture, &[Mark { label: "total", boxes: &boxes, colour: 3, style: Style::Solid }], &[]);
        let above = (0..400).flat_map(|x| (20..38).map(move |y| (x, y)));
        assert!(above.into_iter().all(|(x, y)| painted.get_pixel(x, y).0 == [picture.get_pixel(x, y).0[0]; 3]));
        assert_eq!(painted.get_pixel(126, 50).0, PALETTE[3], "right of the box");
    }
}
