//! What the model needs to know of a document, as plain numbers on the host.

use std::sync::Arc;

use florin_data::document::Document;
use florin_data::value::{contains_date, looks_like_amount, looks_like_date, normalise_amount};
use florin_data::word_pieces::WordPieces;
use florin_data::words::Word;

use super::DocumentConfig;

/// Numbers that describe the print of a word: see `print_features` below.
pub const PRINT_FEATURES: usize = 28;

/// Distinct amounts that are compared with each other, the largest first.
const MOST_DISTINCT: usize = 64;

/// A document's words as numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentFeatures {
    /// Vocabulary ids of each word's pieces.
    pub pieces: Vec<Arc<[u32]>>,
    /// Line of each word.
    pub line_of: Vec<usize>,
    /// Left, top, right, bottom, width and height of each word, in bins of the page's inked part.
    pub boxes: Vec<[u16; 6]>,
    /// Line from the top and from the bottom, word from the line's start and from its end.
    pub ordinals: Vec<[u16; 4]>,
    /// Features of the print.
    pub print: Vec<[f32; PRINT_FEATURES]>,
    /// Centre of each word, in heights of a usual line.
    pub centres: Vec<[f32; 2]>,
    /// Width of each word, in the same measure.
    pub widths: Vec<f32>,
    /// Height of each word, in the same measure.
    pub heights: Vec<f32>,
    /// The picture, where there is one and the model looks at it.
    pub picture: Option<PictureFeatures>,
}

/// A picture and where its words are.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureFeatures {
    /// Letterboxed pixels, row by row: 0 for white paper to 255 for black ink.
    pub ink: Arc<Vec<u8>>,
    /// Patches that each word's box overlaps, with their shares.
    pub pooling: Vec<Vec<(usize, f32)>>,
}

impl DocumentFeatures {
    /// The pieces of each line's words, line by line.
    pub fn lines(&self) -> impl Iterator<Item = &[Arc<[u32]>]> {
        let mut first = 0;
        self.line_of.chunk_by(|a, b| a == b).map(move |line| {
            first += line.len();
            &self.pieces[first - line.len()..first]
        })
    }

    /// The features of some of the words, from `first` up to but without `end`.
    pub fn window(&self, first: usize, end: usize) -> Self {
        let picture = self
            .picture
            .as_ref()
            .map(|picture| PictureFeatures { ink: picture.ink.clone(), pooling: picture.pooling[first..end].to_vec() });
        Self {
            pieces: self.pieces[first..end].to_vec(),
            line_of: self.line_of[first..end].to_vec(),
            boxes: self.boxes[first..end].to_vec(),
            ordinals: self.ordinals[first..end].to_vec(),
            print: self.print[first..end].to_vec(),
            centres: self.centres[first..end].to_vec(),
            widths: self.widths[first..end].to_vec(),
            heights: self.heights[first..end].to_vec(),
            picture,
        }
    }
}

/// Turns documents into features.
pub struct FeatureExtractor {
    pieces: WordPieces,
    bins: usize,
    lines: usize,
    words: usize,
}

impl FeatureExtractor {
    /// For a model of this configuration and its tokenizer.
    pub fn new(config: &DocumentConfig, pieces: WordPieces) -> Self {
        let layout = config.layout.as_ref();
        Self {
            pieces,
            bins: layout.map_or(1, |layout| layout.bins),
            lines: layout.map_or(1, |layout| layout.lines),
            words: layout.map_or(1, |layout| layout.words),
        }
    }

    /// The tokenizer's view of single words.
    pub fn pieces(&self) -> &WordPieces {
        &self.pieces
    }

    /// Features of a document's words; the picture is added by the caller, who knows whether it is needed.
    pub fn features(&self, document: &Document, words: &[Word]) -> DocumentFeatures {
        let page = inked_part(document);
        let line_height = usual_height(document);
        let places = Places::of(document, words);
        let mut features = DocumentFeatures {
            pieces: Vec::with_capacity(words.len()),
            line_of: words.iter().map(|word| word.line).collect(),
            boxes: Vec::with_capacity(words.len()),
            ordinals: Vec::with_capacity(words.len()),
            print: Vec::with_capacity(words.len()),
            centres: Vec::with_capacity(words.len()),
            widths: words.iter().map(|word| word.bounds.width() / line_height).collect(),
            heights: words.iter().map(|word| word.bounds.height() / line_height).collect(),
            picture: None,
        };
        for (index, word) in words.iter().enumerate() {
            features.pieces.push(self.pieces.pieces(word.text(document)));
            features.boxes.push(self.bins_of(word, page));
            features.ordinals.push(self.ordinals_of(word, places.from_start[index], places.from_end[index], document));
            features.print.push(print_features(document, words, index, line_height, &places));
            features.centres.push([word.bounds.centre_x() / line_height, word.bounds.centre_y() / line_height]);
        }
        features
    }

    fn bins_of(&self, word: &Word, page: [f32; 4]) -> [u16; 6] {
        let bin = |share: f32| ((share * self.bins as f32) as usize).min(self.bins - 1) as u16;
        let [left, top, width, height] = page;
        let bounds = &word.bounds;
        [
            bin((bounds.left - left) / width),
            bin((bounds.top - top) / height),
            bin((bounds.right - left) / width),
            bin((bounds.bottom - top) / height),
            bin(bounds.width() / width),
            bin(bounds.height() / height),
        ]
    }

    fn ordinals_of(&self, word: &Word, from_start: usize, from_end: usize, document: &Document) -> [u16; 4] {
        let cap = |count: usize, most: usize| count.min(most.saturating_sub(1)) as u16;
        let below = document.lines.len().saturating_sub(word.line + 1);
        [cap(word.line, self.lines), cap(below, self.lines), cap(from_start, self.words), cap(from_end, self.words)]
    }
}

/// Left, top, width and height of what all lines cover; width and height are never zero.
fn inked_part(document: &Document) -> [f32; 4] {
    let Some(all) = document.lines.iter().map(|line| line.bounds).reduce(|all, next| all.union(&next)) else {
        return [0.0, 0.0, 1.0, 1.0];
    };
    [all.left, all.top, all.width().max(1.0), all.height().max(1.0)]
}

/// The median height of the lines, at least one pixel.
fn usual_height(document: &Document) -> f32 {
    let mut heights: Vec<f32> = document.lines.iter().map(|line| line.bounds.height()).collect();
    heights.sort_by(f32::total_cmp);
    heights.get(heights.len() / 2).copied().unwrap_or(1.0).max(1.0)
}

/// Where words stand in their lines, and what their lines hold.
struct Places {
    from_start: Vec<usize>,
    from_end: Vec<usize>,
    line_has_date: Vec<bool>,
    line_has_amount: Vec<bool>,
    /// For every word that is an amount, its value.
    amounts: Vec<Option<f64>>,
    /// Whether a word touches the one before it, as the number of `RM9.00` touches its currency.
    attached: Vec<bool>,
    /// The largest amount of the document.
    largest: f64,
    /// Its amounts, each once; only so many that a long statement stays cheap.
    distinct: Vec<f64>,
}

impl Places {
    fn of(document: &Document, words: &[Word]) -> Self {
        let mut counts = vec![0usize; document.lines.len()];
        let mut from_start = Vec::with_capacity(words.len());
        for word in words {
            from_start.push(counts[word.line]);
            counts[word.line] += 1;
        }
        let from_end = words.iter().zip(&from_start).map(|(word, start)| counts[word.line] - 1 - start).collect();
        let line_has_date = document.lines.iter().map(|line| contains_date(&line.text)).collect();
        let mut line_has_amount = vec![false; document.lines.len()];
        let amounts: Vec<Option<f64>> = words.iter().map(|word| amount(word.text(document))).collect();
        for (word, _) in words.iter().zip(&amounts).filter(|(_, amount)| amount.is_some()) {
            line_has_amount[word.line] = true;
        }
        let attached = (0..words.len())
            .map(|index| {
                index > 0 && (words[index - 1].line, words[index - 1].end) == (words[index].line, words[index].start)
            })
            .collect();
        let mut distinct: Vec<f64> = amounts.iter().flatten().copied().collect();
        distinct.sort_by(|a, b| b.total_cmp(a));
        distinct.dedup();
        distinct.truncate(MOST_DISTINCT);
        let largest = amounts.iter().flatten().fold(0.0, |most: f64, amount| most.max(*amount));
        Self { from_start, from_end, line_has_date, line_has_amount, amounts, attached, largest, distinct }
    }
}

/// The value of a word that is clearly money.
fn amount(text: &str) -> Option<f64> {
    looks_like_amount(text).then(|| normalise_amount(text)?.parse().ok()).flatten()
}

/// What the print of a word tells before any word is understood.
fn print_features(
    document: &Document,
    words: &[Word],
    index: usize,
    line_height: f32,
    places: &Places,
) -> [f32; PRINT_FEATURES] {
    let word = &words[index];
    let text = word.text(document);
    let length = text.chars().count().max(1) as f32;
    let share = |test: fn(char) -> bool| text.chars().filter(|c| test(*c)).count() as f32 / length;
    let yes = |condition: bool| f32::from(u8::from(condition));
    let line = &document.lines[word.line];
    let neighbour = |offset: usize, forward: bool| {
        let place = if forward { index.checked_add(offset) } else { index.checked_sub(offset) };
        place.and_then(|place| words.get(place)).map_or("", |word| word.text(document))
    };
    let (next, previous) = (neighbour(1, true), neighbour(1, false));
    let page_width = (document.width as f32).max(1.0);
    let own = places.amounts[index];
    // A total is often printed again as what was paid, and nothing but what was handed over is larger.
    let larger = places.distinct.iter().filter(|other| own.is_some_and(|own| **other > own)).count();
    // What was paid less the change is the total; subtotal and tax add up to it.
    let near = |value: f64| places.distinct.iter().any(|other| (other - value).abs() < 0.005);
    let is_difference =
        own.is_some_and(|own| own > 0.0 && places.distinct.iter().any(|more| *more > own && near(more - own)));
    let is_sum =
        own.is_some_and(|own| places.distinct.iter().any(|less| *less > 0.0 && *less < own && near(own - less)));
    let alike = |other: usize| own.is_some() && places.amounts[other] == own;
    let same = (0..words.len()).filter(|other| alike(*other)).count();
    let bare_somewhere = (0..words.len()).any(|other| alike(other) && !places.attached[other]);
    let of_largest = own.filter(|_| places.largest > 0.0).map_or(0.0, |own| (own / places.largest) as f32);
    let later = places.amounts[index + 1..].iter().flatten().count();
    [
        share(|c| c.is_ascii_digit()),
        share(char::is_alphabetic),
        share(|c| c.is_uppercase()),
        (length / 10.0).min(2.0),
        yes(looks_like_date(text)),
        yes(places.amounts[index].is_some()),
        yes(text.contains('.') || text.contains(',')),
        yes(text.ends_with(':')),
        yes(places.line_has_date[word.line]),
        yes(places.line_has_amount[word.line]),
        (word.bounds.height() / line_height).min(4.0) - 1.0,
        (line.bounds.width() / page_width).min(1.0),
        (line.bounds.centre_x() / page_width - 0.5).clamp(-0.5, 0.5),
        yes(looks_like_amount(next)),
        yes(looks_like_amount(previous)),
        yes(previous.ends_with(':')),
        yes(places.from_start[index] == 0),
        yes(places.from_end[index] == 0),
        of_largest.clamp(0.0, 1.0),
        yes(own.is_some_and(|own| own == places.largest)),
        (same as f32 / 4.0).min(1.0),
        if own.is_some() { (later as f32 / 8.0).min(1.0) } else { 0.0 },
        yes(places.attached[index]),
        yes(bare_somewhere),
        if own.is_some() { 1.0 / (1.0 + larger as f32) } else { 0.0 },
        yes(is_difference),
        yes(is_sum),
        yes(own == Some(0.0)),
    ]
}
