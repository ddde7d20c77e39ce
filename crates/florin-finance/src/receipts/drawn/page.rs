//! A page while it is laid out: pieces of text at places, rules between them, and which letters are a field's value.
//!
//! Values are marked where they are printed, so what a page is labelled with is what stands on it, letter by letter.

use florin_data::document::BoundingBox;

use super::font::Style;

/// The fields of a receipt, in the order of a document's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Company,
    Date,
    Address,
    Total,
}

impl Field {
    /// Every field, in order.
    pub(super) const ALL: [Self; 4] = [Self::Company, Self::Date, Self::Address, Self::Total];
}

/// A text, parts of which may be a field's value.
#[derive(Clone, Debug, Default)]
pub(super) struct Ink {
    pub(super) parts: Vec<(String, Option<Field>)>,
}

impl Ink {
    /// A text that is no value.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::default().and(text)
    }

    /// A value.
    pub(super) fn value(field: Field, text: impl Into<String>) -> Self {
        Self { parts: vec![(text.into(), Some(field))] }
    }

    /// With more text behind it.
    pub(super) fn and(mut self, text: impl Into<String>) -> Self {
        self.parts.push((text.into(), None));
        self
    }

    /// With another text behind it.
    pub(super) fn then(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// The whole text.
    pub(super) fn text(&self) -> String {
        self.parts.iter().map(|(text, _)| text.as_str()).collect()
    }

    pub(super) fn has_value(&self) -> bool {
        self.parts.iter().any(|(_, field)| field.is_some())
    }

    fn upper(mut self) -> Self {
        for (text, _) in &mut self.parts {
            *text = text.to_uppercase();
        }
        self
    }

    /// Cut at its end until it is no wider than `width`; a value is never cut.
    fn cut(mut self, style: Style, width: f32) -> Self {
        while !self.has_value() && style.width(&self.text()) > width {
            let Some((text, _)) = self.parts.last_mut() else { break };
            if text.pop().is_none() {
                self.parts.pop();
            }
        }
        self
    }
}

/// Where in its column a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Centre,
    Right,
}

/// A text in a column; the column's edges are shares of the page's width between its margins.
pub(super) struct Cell {
    pub(super) from: f32,
    pub(super) to: f32,
    pub(super) align: Align,
    pub(super) ink: Ink,
}

impl Cell {
    /// A cell from its column and text.
    pub(super) fn new(from: f32, to: f32, align: Align, ink: Ink) -> Self {
        Self { from, to, align, ink }
    }
}

/// Text at its place.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) ink: Ink,
    pub(super) style: Style,
    pub(super) left: f32,
    pub(super) baseline: f32,
    /// White on black.
    pub(super) reversed: bool,
}

impl Piece {
    /// The box around all of the text.
    pub(super) fn bounds(&self) -> BoundingBox {
        self.part_bounds(0, self.ink.parts.len())
    }

    /// The box around some of the parts.
    pub(super) fn part_bounds(&self, first: usize, end: usize) -> BoundingBox {
        let width =
            |parts: &[(String, Option<Field>)]| parts.iter().map(|(text, _)| self.style.width(text)).sum::<f32>();
        let left = self.left + width(&self.ink.parts[..first]);
        let (top, bottom) = (self.baseline - 0.70 * self.style.size, self.baseline + 0.18 * self.style.size);
        BoundingBox::new(left, top, left + width(&self.ink.parts[first..end]), bottom)
    }
}

/// A filled rectangle: a line, a dash, a bar.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bar {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
}

/// The page so far.
pub(super) struct Page {
    pub(super) width: f32,
    pub(super) margin: f32,
    /// How far down the page is used.
    pub(super) used: f32,
    pub(super) style: Style,
    /// Distance of baselines against the size of letters.
    pub(super) spacing: f32,
    /// Whether everything is printed in capitals.
    pub(super) capitals: bool,
    pub(super) pieces: Vec<Piece>,
    pub(super) bars: Vec<Bar>,
}

impl Page {
    /// An empty page.
    pub(super) fn new(width: f32, margin: f32, top: f32, style: Style, spacing: f32, capitals: bool) -> Self {
        Self { width, margin, used: top, style, spacing, capitals, pieces: Vec::new(), bars: Vec::new() }
    }

    /// Width between the margins.
    pub(super) fn inner(&self) -> f32 {
        self.width - 2.0 * self.margin
    }

    /// A line of its own.
    pub(super) fn line(&mut self, align: Align, style: Style, ink: Ink) {
        self.row(style, vec![Cell::new(0.0, 1.0, align, ink)]);
    }

    /// A line, white on a black band.
    pub(super) fn band(&mut self, style: Style, cells: Vec<Cell>) {
        let (first, top) = (self.pieces.len(), self.used);
        self.used += 0.15 * style.size;
        self.row(style, cells);
        self.used += 0.15 * style.size;
        for piece in &mut self.pieces[first..] {
            piece.reversed = true;
        }
        let (left, right) = (self.margin - 4.0, self.width - self.margin + 4.0);
        self.bars.push(Bar { left, top, right, bottom: self.used });
        self.used += 0.2 * style.size;
    }

    /// Texts beside each other on one baseline. What is too wide for its column gets narrower or, if it is no value, cut.
    pub(super) fn row(&mut self, style: Style, cells: Vec<Cell>) {
        let baseline = self.used + style.size * (0.80 + (self.spacing - 1.0) / 2.0);
        for cell in cells {
            let ink = if self.capitals { cell.ink.upper() } else { cell.ink };
            let (from, to) = (self.margin + cell.from * self.inner(), self.margin + cell.to * self.inner());
            let room = to - from;
            let wide = style.width(&ink.text());
            let least = if ink.has_value() { 0.3 } else { 0.8 };
            let fitted = style.stretched((room / wide.max(1.0)).clamp(least, 1.0));
            let ink = ink.cut(fitted, room + 0.5);
            let width = fitted.width(&ink.text());
            if ink.text().trim().is_empty() {
                continue;
            }
            let left = match cell.align {
                Align::Left => from,
                Align::Centre => from + (room - width) / 2.0,
                Align::Right => to - width,
            };
            self.pieces.push(Piece { ink, style: fitted, left, baseline, reversed: false });
        }
        self.used += style.size * self.spacing;
    }

    /// Empty space, in lines of the page's own letters.
    pub(super) fn gap(&mut self, lines: f32) {
        self.used += lines * self.style.size;
    }

    /// A line across the page: solid, or of dashes of a length.
    pub(super) fn rule(&mut self, dash: Option<f32>, thick: f32) {
        let top = self.used + 0.28 * self.style.size;
        let (mut left, end) = (self.margin, self.width - self.margin);
        let length = dash.unwrap_or(end - left);
        while left < end {
            self.bars.push(Bar { left, top, right: (left + length).min(end), bottom: top + thick });
            left += length * 1.6;
        }
        self.used += 0.6 * self.style.size;
    }

    /// A frame from a height down to where the page is now, with upright lines at shares of the width.
    pub(super) fn frame(&mut self, top: f32, uprights: &[f32]) {
        let bottom = self.used + 2.0;
        let (left, right) = (self.margin - 5.0, self.width - self.margin + 5.0);
        for height in [top, bottom] {
            self.bars.push(Bar { left, top: height, right, bottom: height + 1.4 });
        }
        let inner = uprights.iter().map(|share| self.margin + share * self.inner() - 4.0);
        for x in [left, right - 1.4].into_iter().chain(inner.collect::<Vec<_>>()) {
            self.bars.push(Bar { left: x, top, right: x + 1.4, bottom });
        }
        self.used = bottom + 0.3 * self.style.size;
    }

    /// A bar code of bars and blanks of the given widths, in pixels.
    pub(super) fn bar_code(&mut self, widths: &[f32]) {
        let all: f32 = widths.iter().sum();
        let mut left = (self.width - all) / 2.0;
        let (top, bottom) = (self.used + 4.0, self.used + 44.0);
        for pair in widths.chunks(2) {
            self.bars.push(Bar { left, top, right: left + pair[0], bottom });
            left += pair.iter().sum::<f32>();
        }
        self.used += 52.0;
    }

    /// The value of a field: its marked parts in order, joined by blanks.
    pub(super) fn value(&self, field: Field) -> Option<String> {
        let marked = self.pieces.iter().flat_map(|piece| &piece.ink.parts).filter(|(_, mark)| *mark == Some(field));
        let texts: Vec<&str> = marked.map(|(text, _)| text.trim()).collect();
        (!texts.is_empty()).then(|| texts.join(" "))
    }
}
