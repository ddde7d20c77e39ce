//! A page of text: lines with boxes, in pixels of its picture.
//!
//! [`Document::new`] is the gate: what passes it has a page of at least one pixel, finite boxes inside the page and
//! no empty lines, so that everything behind it can do arithmetic without asking again.

use serde::{Deserialize, Serialize};

use crate::{DataError, words::Word};

/// A rectangle in pixels, the origin at the picture's top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoundingBox {
    /// Left edge.
    pub left: f32,
    /// Top edge.
    pub top: f32,
    /// Right edge, not less than `left` in a checked document.
    pub right: f32,
    /// Bottom edge, not less than `top` in a checked document.
    pub bottom: f32,
}

impl BoundingBox {
    /// A box from its four edges, unchecked.
    pub const fn new(left: f32, top: f32, right: f32, bottom: f32) -> Self {
        Self { left, top, right, bottom }
    }

    /// Width in pixels; negative when the box is inverted.
    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    /// Height in pixels; negative when the box is inverted.
    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    /// Area in square pixels, 0 for an inverted box.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Horizontal middle.
    pub fn centre_x(&self) -> f32 {
        (self.left + self.right) / 2.0
    }

    /// Vertical middle.
    pub fn centre_y(&self) -> f32 {
        (self.top + self.bottom) / 2.0
    }

    /// Whether no edge is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        [self.left, self.top, self.right, self.bottom].iter().all(|edge| edge.is_finite())
    }

    /// The smallest box that holds both.
    pub fn union(&self, other: &Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// What both boxes share; none when they do not touch.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let shared = Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        };
        (shared.left <= shared.right && shared.top <= shared.bottom).then_some(shared)
    }

    /// The part of the box inside a page of `width` x `height`; none when it lies wholly outside.
    ///
    /// A box that only touches the page's edge from outside counts as outside.
    pub fn clip(&self, width: u32, height: u32) -> Option<Self> {
        let (width, height) = (width as f32, height as f32);
        if self.left >= width || self.top >= height || self.right <= 0.0 && self.left < 0.0 {
            return None;
        }
        if self.bottom <= 0.0 && self.top < 0.0 {
            return None;
        }
        self.intersect(&Self::new(0.0, 0.0, width, height))
    }
}

/// One printed line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextLine {
    /// The text as printed.
    pub text: String,
    /// Where it is printed.
    pub bounds: BoundingBox,
}

/// One page: its size and its lines in reading order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// A name, unique within its set.
    pub id: String,
    /// Page width in pixels, at least 1.
    pub width: u32,
    /// Page height in pixels, at least 1.
    pub height: u32,
    /// The lines in reading order; none at all for an empty page.
    pub lines: Vec<TextLine>,
}

/// What [`Document::cleaned`] had to change, in numbers of lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// Lines whose box reached over the page's edge and was cut to it.
    pub clipped: usize,
    /// Lines dropped because they lie wholly outside the page.
    pub outside: usize,
    /// Lines dropped because they hold nothing but white space.
    pub empty: usize,
}

impl Document {
    /// A checked document; see [`Document::cleaned`] for what is checked.
    pub fn new(id: impl Into<String>, width: u32, height: u32, lines: Vec<TextLine>) -> Result<Self, DataError> {
        Self::cleaned(id, width, height, lines).map(|(document, _)| document)
    }

    /// A checked document, and what had to be changed to get it.
    ///
    /// A page without pixels, and boxes that are not finite or have a negative size, are errors: they mean that the
    /// producer and this crate disagree about the format. Boxes over the page's edge are cut to the page, and lines
    /// without text or wholly outside are dropped: OCR programs do write those.
    pub fn cleaned(
        id: impl Into<String>,
        width: u32,
        height: u32,
        lines: Vec<TextLine>,
    ) -> Result<(Self, Cleaning), DataError> {
        let id = id.into();
        if width == 0 || height == 0 {
            let reason = format!("expected a page of at least 1 x 1 pixels, found {width} x {height}");
            return Err(DataError::document(id, reason));
        }
        let mut cleaning = Cleaning::default();
        let mut kept = Vec::with_capacity(lines.len());
        for (index, line) in lines.into_iter().enumerate() {
            check_box(&line.bounds).map_err(|reason| DataError::document(&id, format!("line {index}: {reason}")))?;
            if line.text.trim().is_empty() {
                cleaning.empty += 1;
                continue;
            }
            match line.bounds.clip(width, height) {
                None => cleaning.outside += 1,
                Some(bounds) => {
                    cleaning.clipped += usize::from(bounds != line.bounds);
                    kept.push(TextLine { text: line.text, bounds });
                }
            }
        }
        Ok((Self { id, width, height, lines: kept }, cleaning))
    }

    /// The printed text from the first word's start to the last word's end, lines joined by one space.
    ///
    /// The text is what stands on the page, blanks between words included. An empty string for a span that is
    /// inverted or reaches past the words.
    pub fn span_text(&self, words: &[Word], first: usize, last: usize) -> String {
        let (Some(from), Some(to)) = (words.get(first), words.get(last)) else { return String::new() };
        let mut pieces = Vec::new();
        for index in from.line..=to.line {
            let Some(line) = self.lines.get(index) else { continue };
            let start = if index == from.line { from.start } else { 0 };
            let end = if index == to.line { to.end } else { line.text.len() };
            let piece = line.text.get(start..end).unwrap_or_default();
            pieces.push(if index == from.line || index == to.line { piece } else { piece.trim() });
        }
        if let [first, .., last] = pieces.as_mut_slice() {
            *first = first.trim_end();
            *last = last.trim_start();
        }
        pieces.join(" ")
    }

    /// The boxes of a span of words, one a line, in order; none for a span past the words.
    pub fn span_boxes(&self, words: &[Word], first: usize, last: usize) -> Vec<BoundingBox> {
        let mut boxes: Vec<(usize, BoundingBox)> = Vec::new();
        for word in words.get(first..=last.max(first)).unwrap_or_default() {
            match boxes.last_mut() {
                Some((line, bounds)) if *line == word.line => *bounds = bounds.union(&word.bounds),
                _ => boxes.push((word.line, word.bounds)),
            }
        }
        boxes.into_iter().map(|(_, bounds)| bounds).collect()
    }
}

/// Why a box cannot be one, or nothing.
pub(crate) fn check_box(bounds: &BoundingBox) -> Result<(), String> {
    let BoundingBox { left, top, right, bottom } = *bounds;
    if !bounds.is_finite() {
        return Err(format!("expected finite edges, found [{left}, {top}, {right}, {bottom}]"));
    }
    if right < left || bottom < top {
        return Err(format!(
            "expected [left, top, right, bottom] with left <= right and top <= bottom, \
             found [{left}, {top}, {right}, {bottom}]"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::words;

    fn line(text: &str, left: f32, top: f32, right: f32, bottom: f32) -> TextLine {
        TextLine { text: text.into(), bounds: BoundingBox::new(left, top, right, bottom) }
    }

    #[test]
    fn impossible_pages_and_boxes_are_refused_with_the_numbers() {
        let error = Document::new("a", 0, 5, vec![]).unwrap_err().to_string();
        assert!(error.contains("'a'") && error.contains("0 x 5"), "{error}");
        for bad in [
            line("x", f32::NAN, 0.0, 1.0, 1.0),
            line("x", 0.0, 0.0, f32::INFINITY, 1.0),
            line("x", 5.0, 0.0, 1.0, 1.0),
            line("x", 0.0, 5.0, 1.0, 1.0),
        ] {
            let error = Document::new("a", 10, 10, vec![line("ok", 0.0, 0.0, 1.0, 1.0), bad]).unwrap_err();
            assert!(error.to_string().contains("line 1: expected"), "{error}");
        }
    }

    #[test]
    fn lines_over_the_edge_are_cut_and_lines_outside_or_empty_are_dropped_and_counted() {
        let lines = vec![
            line("in", 1.0, 1.0, 9.0, 2.0),
            line("over", -4.0, 3.0, 50.0, 4.0),
            line("out", 20.0, 3.0, 30.0, 4.0),
            line("above", 2.0, -9.0, 5.0, -2.0),
            line("  ", 1.0, 1.0, 2.0, 2.0),
        ];
        let (document, cleaning) = Document::cleaned("a", 10, 10, lines).unwrap();
        assert_eq!(cleaning, Cleaning { clipped: 1, outside: 2, empty: 1 });
        assert_eq!(document.lines.len(), 2);
        assert_eq!(document.lines[1].bounds, BoundingBox::new(0.0, 3.0, 10.0, 4.0));
    }

    #[test]
    fn a_span_is_printed_exactly_and_boxed_once_a_line() {
        let lines = vec![
            line("NO.53  55,57 & 59,", 0.0, 0.0, 90.0, 10.0),
            line(" JALAN SAGU 18 ", 0.0, 10.0, 90.0, 20.0),
            line("81100 JOHOR", 0.0, 20.0, 90.0, 30.0),
        ];
        let document = Document::new("a", 100, 100, lines).unwrap();
        let words = words(&document);
        let last = words.len() - 2;
        assert_eq!(document.span_text(&words, 1, last), "53  55,57 & 59, JALAN SAGU 18 81100");
        let boxes = document.span_boxes(&words, 1, last);
        assert_eq!(boxes.len(), 3);
        assert!(boxes[0].left > 0.0 && boxes[2].right < 90.0);
        assert_eq!(document.span_text(&words, 3, 1), "");
        assert_eq!(document.span_text(&words, 0, 99), "");
        assert!(document.span_boxes(&words, 90, 99).is_empty());
    }

    #[test]
    fn box_arithmetic_agrees_with_a_sketch_on_paper() {
        let a = BoundingBox::new(0.0, 0.0, 4.0, 2.0);
        let b = BoundingBox::new(3.0, 1.0, 6.0, 5.0);
        assert_eq!(a.union(&b), BoundingBox::new(0.0, 0.0, 6.0, 5.0));
        assert_eq!(a.intersect(&b), Some(BoundingBox::new(3.0, 1.0, 4.0, 2.0)));
        assert_eq!(a.intersect(&BoundingBox::new(9.0, 9.0, 10.0, 10.0)), None);
        assert_eq!((a.area(), b.centre_x(), b.centre_y()), (8.0, 4.5, 3.0));
        assert_eq!(BoundingBox::new(3.0, 0.0, 1.0, 9.0).area(), 0.0);
    }
}
