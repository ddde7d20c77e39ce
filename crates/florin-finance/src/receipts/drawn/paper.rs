//! A laid-out page becomes a picture, as a scanner would see it: ink on tinted paper, faded, specked, a little askew.

use florin_data::document::BoundingBox;
use image::GrayImage;
use rand::{Rng, RngExt};

use super::{
    font::{Stamps, Style},
    page::{Page, Piece},
};

/// The longest side of a picture, as in the receipts pack.
pub(super) const LONGEST_SIDE: f32 = 1000.0;

/// What the scanner does to a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    width: u32,
    height: u32,
    /// Pixels of the picture for one of the page.
    scale: f32,
    /// Tangent of the angle by which the page lies askew.
    slope: f32,
    /// How dark the ink is at the left and at the right.
    ink: [f32; 2],
    /// How light the paper is at its corners: top left, further right, further down.
    paper: [f32; 3],
    grain: f32,
    specks: u32,
    blurred: bool,
    /// Width of a dark border that the lid of the scanner left.
    border: u32,
}

impl Scan {
    /// A scan of a page that is used down to a height.
    pub(super) fn random(page: &Page, random: &mut impl Rng) -> Self {
        let height = page.used + random.random_range(15.0..60.0);
        let scale = (LONGEST_SIDE / height).min(1.0);
        // Mostly nearly straight; now and then up to two degrees.
        let lean: f32 = random.random_range(-1.0..1.0);
        let dark =
            if random.random_bool(0.2) { random.random_range(110.0..170.0) } else { random.random_range(180.0..245.0) };
        Self {
            width: (page.width * scale).round().max(1.0) as u32,
            height: (height * scale).round().max(1.0) as u32,
            scale,
            slope: (2.0 * lean * lean * lean).to_radians().tan(),
            ink: [dark, (dark + random.random_range(-40.0..40.0)).clamp(95.0, 250.0)],
            paper: [
                random.random_range(222.0..252.0),
                random.random_range(-18.0..10.0),
                random.random_range(-22.0..10.0),
            ],
            grain: random.random_range(1.0..7.0),
            specks: random.random_range(0..60),
            blurred: random.random_bool(0.5),
            border: if random.random_bool(0.12) { random.random_range(3..14) } else { 0 },
        }
    }

    /// Size of the picture.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Where a box of the page lies in the picture, cut to it.
    pub(super) fn place(&self, bounds: &BoundingBox) -> BoundingBox {
        let corners = [
            (bounds.left, bounds.top),
            (bounds.right, bounds.top),
            (bounds.left, bounds.bottom),
            (bounds.right, bounds.bottom),
        ];
        let points = corners.map(|(x, y)| self.lean(x * self.scale, y * self.scale));
        let edge = |of: fn((f32, f32)) -> f32, choose: fn(f32, f32) -> f32| {
            points.map(of).into_iter().reduce(choose).unwrap_or_default()
        };
        let (width, height) = (self.width as f32, self.height as f32);
        BoundingBox::new(
            edge(|point| point.0, f32::min).clamp(0.0, width),
            edge(|point| point.1, f32::min).clamp(0.0, height),
            edge(|point| point.0, f32::max).clamp(0.0, width),
            edge(|point| point.1, f32::max).clamp(0.0, height),
        )
    }

    fn lean(&self, x: f32, y: f32) -> (f32, f32) {
        let (centre_x, centre_y) = (self.width as f32 / 2.0, self.height as f32 / 2.0);
        (x - (y - centre_y) * self.slope, y + (x - centre_x) * self.slope)
    }

    /// The picture of a page.
    pub(super) fn picture(&self, page: &Page, random: &mut impl Rng) -> GrayImage {
        let mut ink = self.straight_ink(page);
        if self.blurred {
            blur(&mut ink, self.width as usize);
        }
        let pixels = self.on_paper(&ink, random);
        let mut picture = GrayImage::from_raw(self.width, self.height, pixels).unwrap_or_default();
        self.add_specks(&mut picture, random);
        picture
    }

    /// The page's ink, 0 to 255, before the page is laid askew.
    fn straight_ink(&self, page: &Page) -> Vec<u8> {
        let (width, height) = (self.width as i32, self.height as i32);
        let mut ink = vec![0_u8; (width * height) as usize];
        for bar in &page.bars {
            let (left, right) = ((bar.left * self.scale).round(), (bar.right * self.scale).round());
            let (top, bottom) = ((bar.top * self.scale).round(), (bar.bottom * self.scale).round());
            let right = right.max(left + 1.0).min(width as f32);
            for y in top.max(0.0) as i32..(bottom.max(top + 1.0).min(height as f32) as i32) {
                for x in left.max(0.0) as i32..right as i32 {
                    ink[(y * width + x) as usize] = 255;
                }
            }
        }
        let mut stamps = Stamps::default();
        for Piece { ink: text, style, left, baseline, reversed } in &page.pieces {
            let style = Style { size: style.size * self.scale, ..*style };
            stamps.draw(&text.text(), style, left * self.scale, baseline * self.scale, |x, y, coverage| {
                if (0..width).contains(&x) && (0..height).contains(&y) {
                    let pixel = &mut ink[(y * width + x) as usize];
                    *pixel = if *reversed { pixel.saturating_sub(coverage) } else { pixel.saturating_add(coverage) };
                }
            });
        }
        ink
    }

    /// Ink laid askew on paper.
    fn on_paper(&self, ink: &[u8], random: &mut impl Rng) -> Vec<u8> {
        let (width, height) = (self.width as usize, self.height as usize);
        let grain: Vec<i32> =
            (0..4096).map(|_| (random.random_range(-1.0..1.0_f32) * self.grain * 256.0) as i32).collect();
        let mut state = random.random_range(1..u32::MAX);
        let (across, down) = (1.0 / width.max(1) as f32, 1.0 / height.max(1) as f32);
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let mut grains = grain.iter().cycle().skip(state as usize % 4096);
            // Where this row of the picture comes from, in 1/256 pixels, and how that changes from column to column.
            let rise = (y as f32 - height as f32 / 2.0) * self.slope;
            let from_x = (rise * 256.0) as i64;
            let paper = (self.paper[0] + self.paper[2] * y as f32 * down) * 256.0;
            let (mut light, light_step) = (paper as i32, (self.paper[1] * across * 256.0) as i32);
            let dark_step = ((self.ink[1] - self.ink[0]) * across * 256.0) as i32;
            let mut dark = (self.ink[0] * 256.0) as i32;
            for x in 0..width {
                let source_y = (y as f32 - (x as f32 - width as f32 / 2.0) * self.slope) * 256.0;
                let covered = blend(ink, width, height, x as i64 * 256 + from_x, source_y as i64);
                let noise = grains.next().copied().unwrap_or_default();
                let value = light + noise - ((dark * covered) >> 8);
                pixels.push((value >> 8).clamp(0, 255) as u8);
                light += light_step;
                dark += dark_step;
            }
        }
        pixels
    }

    fn add_specks(&self, picture: &mut GrayImage, random: &mut impl Rng) {
        let (width, height) = picture.dimensions();
        for _ in 0..self.specks {
            let (x, y) = (random.random_range(0..width), random.random_range(0..height));
            let shade = if random.random_bool(0.7) { random.random_range(60..170) } else { 250 };
            for (dx, dy) in [(0, 0), (1, 0), (0, 1)].into_iter().take(random.random_range(1..4)) {
                if x + dx < width && y + dy < height {
                    picture.get_pixel_mut(x + dx, y + dy).0[0] = shade;
                }
            }
        }
        let edge = self.border.min(width / 40);
        for y in 0..height {
            for x in (0..edge).chain(width - edge..width) {
                picture.get_pixel_mut(x, y).0[0] /= 6;
            }
        }
    }
}

/// The ink at a place given in 1/256 pixels, 0 to 255, between the four pixels around it.
fn blend(ink: &[u8], width: usize, height: usize, x: i64, y: i64) -> i32 {
    let (column, row) = (x >> 8, y >> 8);
    if column < 0 || row < 0 || column + 1 >= width as i64 || row + 1 >= height as i64 {
        return 0;
    }
    let (right, low) = ((x & 255) as i32, (y & 255) as i32);
    let at = row as usize * width + column as usize;
    let [a, b] = [ink[at], ink[at + 1]].map(i32::from);
    let [c, d] = [ink[at + width], ink[at + width + 1]].map(i32::from);
    if a | b | c | d == 0 {
        return 0;
    }
    let (above, below) = (a * (256 - right) + b * right, c * (256 - right) + d * right);
    (above * (256 - low) + below * low) >> 16
}

/// Spreads ink a little to its neighbours.
fn blur(ink: &mut [u8], width: usize) {
    for step in [1, width] {
        let mut before = 0_u16;
        if step == 1 {
            for at in 0..ink.len().saturating_sub(1) {
                let here = u16::from(ink[at]);
                ink[at] = ((before + 4 * here + u16::from(ink[at + 1])) / 6) as u8;
                before = here;
            }
            continue;
        }
        let mut above = vec![0_u8; width];
        for start in (0..ink.len().saturating_sub(width)).step_by(width.max(1)) {
            let (row, below) = ink[start..].split_at_mut(width);
            for ((pixel, above), &below) in row.iter_mut().zip(&mut above).zip(below.iter()) {
                let here = *pixel;
                *pixel = ((u16::from(*above) + 4 * u16::from(here) + u16::from(below)) / 6) as u8;
                *above = here;
            }
        }
    }
}
