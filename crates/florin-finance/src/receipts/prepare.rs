//! From labelled documents to what a model learns from and is asked about.

use std::sync::Arc;

use florin_data::document::Document;
use florin_data::gold::{GoldSpans, Span, find_spans};
use florin_data::labelled::{FieldSpec, LabelledDocument};
use florin_data::picture::{Letterboxed, PatchGrid, letterbox};
use florin_data::value::FieldKind;
use florin_data::words::{Word, words};
use florin_encoders::VitConfig;
use florin_models::document::{DocumentConfig, DocumentFeatures, FeatureExtractor, PictureFeatures};
use image::GrayImage;

use crate::FinanceError;

/// A document ready for the model, cut to one window of words.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    /// Its words as numbers.
    pub(crate) features: DocumentFeatures,
    /// For every field, where its value stands; none where the page has no such value.
    pub(crate) gold: Vec<Gold>,
}

/// What is right for one field of one document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Gold {
    /// The value stands in any of these spans.
    Spans(Vec<Span>),
    /// The page has no such value.
    Absent,
    /// The page has a value that its lines do not show: nothing can be learnt from it.
    Unreadable,
}

/// A picture as the model sees it, kept between epochs.
#[derive(Clone, Debug)]
pub(crate) struct Canvas {
    ink: Arc<Vec<u8>>,
    boxed: Letterboxed,
}

impl Canvas {
    /// Letterboxes a picture to the size of the model's.
    pub(crate) fn new(picture: &GrayImage, config: &VitConfig) -> Self {
        let mut boxed = letterbox(picture, config.height, config.width);
        let ink = boxed.pixels.iter().map(|white| ((1.0 - white) * 255.0).round() as u8).collect();
        boxed.pixels = Vec::new();
        Self { ink: Arc::new(ink), boxed }
    }

    /// The canvas and each word's share of its patches.
    pub(crate) fn features(&self, words: &[Word], config: &VitConfig) -> PictureFeatures {
        let grid =
            PatchGrid { rows: config.height / config.patch, columns: config.width / config.patch, patch: config.patch };
        let pooling = words.iter().map(|word| grid.overlap(&self.boxed.place(&word.bounds))).collect();
        PictureFeatures { ink: self.ink.clone(), pooling }
    }
}

/// Loads and letterboxes a document's picture where the model looks at pictures.
pub(crate) fn canvas(document: &LabelledDocument, config: &DocumentConfig) -> Result<Option<Canvas>, FinanceError> {
    let Some(image) = &config.image else { return Ok(None) };
    Ok(document.picture.load()?.map(|picture| Canvas::new(&picture, image)))
}

/// Prepares a document for training.
pub(crate) fn example(
    document: &Document,
    values: &[Option<String>],
    fields: &[FieldSpec],
    canvas: Option<&Canvas>,
    extractor: &FeatureExtractor,
    config: &DocumentConfig,
) -> Example {
    let mut words = words(document);
    // A longer document is learnt from its first window; reading takes all of them.
    words.truncate(config.window);
    let mut features = extractor.features(document, &words);
    features.picture = match (canvas, &config.image) {
        (Some(canvas), Some(image)) => Some(canvas.features(&words, image)),
        _ => None,
    };
    let gold = fields.iter().zip(values).map(|(field, value)| gold(document, &words, field, value.as_deref(), config));
    Example { gold: gold.collect(), features }
}

fn gold(document: &Document, words: &[Word], field: &FieldSpec, value: Option<&str>, config: &DocumentConfig) -> Gold {
    let Some(value) = value else { return Gold::Absent };
    let found = find_spans(document, words, field.kind, value);
    let mut spans = match field.kind {
        FieldKind::Amount => bare_numbers(&found, document, words),
        FieldKind::Text | FieldKind::Date => found.best(),
    };
    spans.retain(|span| span.last - span.first < config.longest_span);
    if spans.is_empty() { Gold::Unreadable } else { Gold::Spans(spans) }
}

/// Every place where the number of an amount stands: whether its currency belongs to the value is a question of print,
/// which `decode` answers.
fn bare_numbers(found: &GoldSpans, document: &Document, words: &[Word]) -> Vec<Span> {
    let has_digit = |index: &usize| words[*index].text(document).chars().any(|letter| letter.is_ascii_digit());
    let all = if found.exact.is_empty() && found.equivalent.is_empty() {
        found.best()
    } else {
        [found.exact.clone(), found.equivalent.clone()].concat()
    };
    let mut bare: Vec<Span> = all
        .into_iter()
        .filter_map(|span| {
            let mut numbers = (span.first..=span.last).filter(has_digit);
            let first = numbers.next()?;
            Some(Span { first, last: numbers.next_back().unwrap_or(first) })
        })
        .collect();
    bare.sort_unstable_by_key(|span| (span.first, span.last));
    bare.dedup();
    bare
}
