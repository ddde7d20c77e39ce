//! What an OCR program makes of a page: its lines with mistakes, in boxes that are not quite right.
//!
//! Most documents are read almost without mistakes, some badly. Inside a value, letters are misread seldom: a value
//! that no line holds can be found by nobody and would only punish a model. Lost points and blanks change no value.

use florin_data::document::{BoundingBox, TextLine};
use florin_data::words::reading_order;
use rand::{Rng, RngExt};

use super::{
    page::{Field, Ink, Page, Piece},
    paper::Scan,
};

/// Chance that a marked part of a value has a letter misread.
const VALUE_MISREAD: f64 = 0.005;

/// How badly one document is read.
struct Reader {
    /// Chance of a letter to be misread.
    letter: f64,
    /// Chance of a blank or point to be lost.
    lost: f64,
    /// Chance of a line to be cut in two, and of neighbours in a row to be joined.
    cut: f64,
    joined: f64,
    /// How far edges of boxes are off, in pixels.
    off: f32,
}

impl Reader {
    fn random(random: &mut impl Rng) -> Self {
        let (letter, lost) = match random.random_range(0..10) {
            0 => (0.04, 0.06),
            1 | 2 => (0.012, 0.02),
            _ => (0.0005, 0.002),
        };
        let joined = if random.random_bool(0.35) { 0.8 } else { 0.1 };
        Self { letter, lost, cut: random.random_range(0.0..0.05), joined, off: random.random_range(0.3..2.0) }
    }
}

/// The lines of a scanned page, in reading order.
pub(super) fn read_lines(page: &Page, scan: &Scan, random: &mut impl Rng) -> Vec<TextLine> {
    let reader = Reader::random(random);
    let mut lines: Vec<TextLine> = Vec::new();
    let mut last_baseline = f32::NAN;
    for piece in &page.pieces {
        let text = misread(&piece.ink, &reader, random);
        let bounds = shaken(scan.place(&piece.bounds()), scan, reader.off, random);
        let same_row = piece.baseline == last_baseline;
        last_baseline = piece.baseline;
        match lines.last_mut() {
            Some(line) if same_row && random.random_bool(reader.joined) => {
                line.text = format!("{} {}", line.text, text.trim());
                line.bounds = line.bounds.union(&bounds);
            }
            _ => lines.push(TextLine { text: text.trim().to_string(), bounds }),
        }
    }
    let mut lines: Vec<TextLine> = lines.into_iter().flat_map(|line| cut(line, &reader, random)).collect();
    lines.retain(|line| !line.text.is_empty());
    reading_order(&mut lines);
    lines
}

/// A line as one box, or cut in two at a blank.
fn cut(line: TextLine, reader: &Reader, random: &mut impl Rng) -> Vec<TextLine> {
    let blanks: Vec<usize> = line.text.match_indices(' ').map(|(at, _)| at).collect();
    if blanks.is_empty() || !random.random_bool(reader.cut) {
        return vec![line];
    }
    let at = *super::company::pick(&blanks, random);
    let share = line.text[..at].chars().count() as f32 / line.text.chars().count() as f32;
    let edge = line.bounds.left + share * line.bounds.width();
    let (left, right) = (line.text[..at].trim().to_string(), line.text[at..].trim().to_string());
    vec![
        TextLine { text: left, bounds: BoundingBox { right: edge, ..line.bounds } },
        TextLine { text: right, bounds: BoundingBox { left: edge, ..line.bounds } },
    ]
}

/// A box with its edges a little off, inside the picture.
fn shaken(bounds: BoundingBox, scan: &Scan, off: f32, random: &mut impl Rng) -> BoundingBox {
    let (width, height) = scan.size();
    let mut move_edge = |edge: f32, most: u32| (edge + random.random_range(-off..off)).clamp(0.0, most as f32);
    let (left, right) = (move_edge(bounds.left, width), move_edge(bounds.right, width));
    let (top, bottom) = (move_edge(bounds.top, height), move_edge(bounds.bottom, height));
    BoundingBox::new(left.min(right), top.min(bottom), left.max(right), top.max(bottom))
}

fn misread(ink: &Ink, reader: &Reader, random: &mut impl Rng) -> String {
    let mut read = String::new();
    for (text, field) in &ink.parts {
        let value_at = field.is_some() && random.random_bool(VALUE_MISREAD);
        let victim = value_at.then(|| random.random_range(0..text.chars().count().max(1)));
        for (at, character) in text.chars().enumerate() {
            let wrong = if field.is_some() { victim == Some(at) } else { random.random_bool(reader.letter) };
            // A number keeps its points ("900" is not "9.00"), and a value its distance from what stands behind it.
            let losable = matches!(field, None | Some(Field::Company | Field::Address)) && at > 0;
            let lost = losable && matches!(character, ' ' | '.' | ',') && random.random_bool(reader.lost);
            if wrong {
                read.push_str(&confused(character));
            } else if !lost {
                read.push(character);
            }
        }
    }
    read
}

/// What a letter is taken for.
fn confused(character: char) -> String {
    const PAIRS: [(char, &str); 24] = [
        ('O', "0"),
        ('0', "O"),
        ('I', "1"),
        ('1', "I"),
        ('l', "1"),
        ('S', "5"),
        ('5', "S"),
        ('B', "8"),
        ('8', "B"),
        ('m', "rn"),
        ('Z', "2"),
        ('2', "Z"),
        ('G', "6"),
        ('6', "G"),
        ('c', "e"),
        ('e', "c"),
        ('u', "v"),
        ('h', "b"),
        ('é', "e"),
        ('ü', "u"),
        ('ä', "a"),
        ('ñ', "n"),
        ('.', ","),
        (',', "."),
    ];
    PAIRS.iter().find(|(from, _)| *from == character).map_or_else(|| character.to_string(), |(_, to)| (*to).to_string())
}

/// Where the letters of a field are in the picture, one box a piece.
pub(super) fn value_boxes(page: &Page, scan: &Scan, field: Field) -> Vec<BoundingBox> {
    let boxes_of = |piece: &Piece| {
        let marked = piece.ink.parts.iter().enumerate().filter(|(_, (_, mark))| *mark == Some(field));
        marked.map(|(at, _)| scan.place(&piece.part_bounds(at, at + 1))).collect::<Vec<_>>()
    };
    page.pieces.iter().flat_map(boxes_of).collect()
}
