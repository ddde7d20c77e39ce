//! From probabilities of spans to one value a field.
//!
//! A value printed at several places shares its probability among them, so candidates are first gathered by what they say:
//! the same normalised date or amount, or the same letters and digits. The likeliest value wins against the others and
//! against there being none, and its summed probability is the confidence.

use std::collections::HashMap;

use florin_data::document::{BoundingBox, Document};
use florin_data::gold::find_spans;
use florin_data::labelled::{FieldSpec, LabelledDocument};
use florin_data::value::{FieldKind, comparison_key, normalise};
use florin_data::words::{Word, words};
use florin_models::document::{Span, WordScores, spans};
use serde::{Deserialize, Serialize};

/// Spans less likely than this are not looked at; their sum is far below any confidence that matters.
const LEAST: f64 = 1e-5;

/// What was read for a field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FieldPrediction {
    /// The field.
    pub field: String,
    /// What its values are.
    pub kind: FieldKind,
    /// The value as printed; none where the model says that there is none.
    pub text: Option<String>,
    /// An ISO date, a decimal amount, or tidied text; none where the printed value is no such thing.
    pub normalised: Option<String>,
    /// How sure that is, between 0 and 1.
    pub confidence: f64,
    /// Where it was read, a box a line, in pixels of the picture.
    pub boxes: Vec<BoundingBox>,
    /// Whether a person should look at it.
    pub review: bool,
}

/// Reads one field from the scores of a document's words.
pub(crate) fn decode(
    field: &FieldSpec,
    keeps: bool,
    scores: &WordScores,
    longest: usize,
    document: &Document,
    words: &[Word],
) -> FieldPrediction {
    let (none, found) = spans(scores, longest, LEAST);
    let best = candidates(field.kind, &found, document, words);
    match best.into_iter().filter(|candidate| candidate.probability > none).reduce(likelier) {
        None => FieldPrediction {
            field: field.name.clone(),
            kind: field.kind,
            text: None,
            normalised: None,
            confidence: none,
            boxes: vec![],
            review: false,
        },
        Some(candidate) => {
            let (first, last) = with_currency(keeps, field.kind, candidate.span, document, words);
            let text = printed(field.kind, &document.span_text(words, first, last));
            FieldPrediction {
                field: field.name.clone(),
                kind: field.kind,
                normalised: normalise(field.kind, &text),
                text: Some(text),
                confidence: candidate.probability.min(1.0),
                boxes: document.span_boxes(words, first, last),
                review: false,
            }
        }
    }
}

/// An amount with the currency it is printed with, where it touches it (`RM9.00`) at every place where the amount stands;
/// otherwise the bare number. Those who label keep such a currency or leave it away, so `keeps` comes from the training
/// documents ([`keeps_currency`]): of the 620 totals of the SROIE receipts, 598 follow this rule.
fn with_currency(keeps: bool, kind: FieldKind, span: Span, document: &Document, words: &[Word]) -> (usize, usize) {
    let attached =
        kind == FieldKind::Amount && span.first == span.last && touches_currency(document, words, span.first);
    if keeps && attached { (span.first - 1, span.last) } else { (span.first, span.last) }
}

/// Whether a number touches its currency at every place where the same amount stands.
fn touches_currency(document: &Document, words: &[Word], number: usize) -> bool {
    let attached = |index: usize| {
        index > 0
            && words[index - 1].line == words[index].line
            && words[index - 1].end == words[index].start
            && is_currency(words[index - 1].text(document))
    };
    let amount = |index: usize| normalise(FieldKind::Amount, words[index].text(document));
    let value = amount(number);
    attached(number) && (0..words.len()).filter(|index| amount(*index) == value).all(attached)
}

/// Whether those who labelled an amount kept a currency that touches it: what most of such documents say.
pub(crate) fn keeps_currency(field: usize, kind: FieldKind, documents: &[&LabelledDocument]) -> bool {
    let mut votes = 0i64;
    for labelled in documents.iter().filter(|_| kind == FieldKind::Amount) {
        let Some(value) = &labelled.values[field] else { continue };
        let all = words(&labelled.document);
        let found = find_spans(&labelled.document, &all, kind, value).best();
        let Some(span) = found.first().filter(|span| touches_currency(&labelled.document, &all, span.last)) else {
            continue;
        };
        let bare = comparison_key(all[span.last].text(&labelled.document));
        votes += if comparison_key(value) == bare { -1 } else { 1 };
    }
    votes > 0
}

fn is_currency(text: &str) -> bool {
    normalise(FieldKind::Amount, &format!("{text}1.00")).is_some()
        && !text.chars().any(|letter| letter.is_ascii_digit())
}

/// Spans that say the same.
struct Candidate {
    /// The likeliest span of the likeliest printing.
    span: Span,
    /// All of them together.
    probability: f64,
}

fn likelier(a: Candidate, b: Candidate) -> Candidate {
    // On a tie the earlier stays, so that the answer does not depend on the order of a hash map.
    let rank = |candidate: &Candidate| (candidate.probability, std::cmp::Reverse(candidate.span.first));
    if rank(&b) > rank(&a) { b } else { a }
}

/// Gathers spans by value, and within a value by how it is printed: `RM9.00` and `9.00` are one amount, and which of the
/// two printings is meant is decided among them.
fn candidates(kind: FieldKind, found: &[Span], document: &Document, words: &[Word]) -> Vec<Candidate> {
    let mut by_value: HashMap<String, HashMap<String, Candidate>> = HashMap::new();
    for span in found {
        let text = document.span_text(words, span.first, span.last);
        let letters = comparison_key(&text);
        if letters.is_empty() && kind != FieldKind::Text {
            continue;
        }
        let printing = if letters.is_empty() { text.clone() } else { letters };
        let value = match kind {
            FieldKind::Text => printing.clone(),
            FieldKind::Date | FieldKind::Amount => normalise(kind, &text).unwrap_or_else(|| printing.clone()),
        };
        // Spans come likeliest first, so the first of a printing stands for it.
        by_value
            .entry(value)
            .or_default()
            .entry(printing)
            .and_modify(|candidate| candidate.probability += span.probability)
            .or_insert(Candidate { span: *span, probability: span.probability });
    }
    let merge = |printings: HashMap<String, Candidate>| {
        let probability = printings.values().map(|candidate| candidate.probability).sum();
        let best = printings.into_values().reduce(likelier)?;
        Some(Candidate { span: best.span, probability })
    };
    by_value.into_values().filter_map(merge).collect()
}

/// The value as printed, without the marks that separate it from its neighbours.
fn printed(kind: FieldKind, text: &str) -> String {
    let text = text.trim();
    let trimmed = match kind {
        FieldKind::Text => text.trim_matches([',', ';', ':', '-', '*', '|']),
        FieldKind::Date | FieldKind::Amount => text.trim_matches([',', ';', ':', '*', '|', '.', '(', ')', '[', ']']),
    };
    let trimmed = trimmed.trim();
    if trimmed.is_empty() { text.to_owned() } else { trimmed.to_owned() }
}
