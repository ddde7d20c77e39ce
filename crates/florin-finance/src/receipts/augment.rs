//! Changes to a training document that leave its meaning: what the next company's receipt will look like.
//!
//! A model that has seen two hundred companies learns their names by heart unless names change. So the lines that hold a
//! text value are now and then replaced by those of another document, and lines between the values disappear. Lines stay
//! whole, so that a frozen encoder's vectors are computed once.

use std::collections::BTreeSet;

use florin_data::document::{BoundingBox, Document, TextLine};
use florin_data::gold::{Span, find_spans};
use florin_data::labelled::{FieldSpec, LabelledDocument};
use florin_data::value::FieldKind;
use florin_data::words::{Word, words};
use rand::{Rng, RngExt};

/// Chance that a line that holds no value disappears.
const DROP_LINE: f64 = 0.1;

/// Lines that documents can lend each other, for every text field.
#[derive(Debug)]
pub(crate) struct Donors {
    /// For every field, distinct printings with their values: a chain's weighs as much as a corner shop's.
    printings: Vec<Vec<(Vec<String>, String)>>,
}

impl Donors {
    /// Collects the values that stand in lines of their own.
    pub(crate) fn of(documents: &[&LabelledDocument], fields: &[FieldSpec]) -> Self {
        let of_field = |(index, field): (usize, &FieldSpec)| {
            let mut distinct = BTreeSet::new();
            for document in documents.iter().filter(|_| field.kind == FieldKind::Text) {
                let Some(value) = &document.values[index] else { continue };
                let all = words(&document.document);
                if let Some((first, last)) = own_lines(&document.document, &all, field, value) {
                    let lines = &document.document.lines[first..=last];
                    distinct.insert((lines.iter().map(|line| line.text.clone()).collect(), value.clone()));
                }
            }
            distinct.into_iter().collect()
        };
        Self { printings: fields.iter().enumerate().map(of_field).collect() }
    }
}

/// A changed copy of a document and its values; each text value is replaced with probability `replace`, and with the same
/// probability another document's value appears further down, as a customer's or a landlord's does.
pub(crate) fn augment(
    original: &LabelledDocument,
    fields: &[FieldSpec],
    donors: &Donors,
    replace: f64,
    random: &mut impl Rng,
) -> (Document, Vec<Option<String>>) {
    let mut document = original.document.clone();
    let mut values = original.values.clone();
    for (index, field) in fields.iter().enumerate() {
        let printings = &donors.printings[index];
        let Some(own) = values[index].clone().filter(|_| !printings.is_empty()) else { continue };
        if !random.random_bool(replace) {
            continue;
        }
        let (lines, value) = &printings[random.random_range(0..printings.len())];
        let all = words(&document);
        if let Some((first, last)) = own_lines(&document, &all, field, &own) {
            put(&mut document, first, last, lines);
            values[index] = Some(value.clone());
        }
    }
    if random.random_bool(replace) {
        distract(&mut document, fields, donors, &values, random);
    }
    let kept = lines_with_values(&document, fields, &values);
    let mut place = 0;
    document.lines.retain(|_| {
        place += 1;
        kept[place - 1] || !random.random_bool(DROP_LINE)
    });
    (document, values)
}

/// Writes text values of other documents somewhere below this document's own.
fn distract(
    document: &mut Document,
    fields: &[FieldSpec],
    donors: &Donors,
    values: &[Option<String>],
    random: &mut impl Rng,
) {
    let all = words(document);
    let mut below = 1;
    for (field, value) in fields.iter().zip(values).filter(|(field, _)| field.kind == FieldKind::Text) {
        let spans = value.as_ref().map_or_else(Vec::new, |value| find_spans(document, &all, field.kind, value).best());
        below = spans.iter().map(|span| all[span.last].line + 1).fold(below, usize::max);
    }
    if below >= document.lines.len() {
        return;
    }
    let place = random.random_range(below..document.lines.len());
    let mut texts = Vec::new();
    for ((field, printings), value) in fields.iter().zip(&donors.printings).zip(values) {
        if field.kind != FieldKind::Text || printings.is_empty() || (!texts.is_empty() && random.random_bool(0.5)) {
            continue;
        }
        let (lines, other) = &printings[random.random_range(0..printings.len())];
        if Some(other) != value.as_ref() {
            texts.extend(lines.iter().cloned());
        }
    }
    if !texts.is_empty() {
        let model = document.lines[place].clone();
        let height = model.bounds.height() * 1.2;
        document.lines.insert(place, model);
        put(document, place, place, &texts);
        // `put` took one line's room; what follows moves by that line too.
        for line in &mut document.lines[place + texts.len()..] {
            line.bounds.top += height;
            line.bounds.bottom += height;
        }
    }
}

/// The lines that a value fills from their first word to their last, where it stands in one place only.
fn own_lines(document: &Document, all: &[Word], field: &FieldSpec, value: &str) -> Option<(usize, usize)> {
    let spans = find_spans(document, all, field.kind, value).exact;
    let [Span { first, last }] = spans.as_slice() else { return None };
    let starts_line = *first == 0 || all[first - 1].line != all[*first].line;
    let ends_line = all.get(last + 1).is_none_or(|next| next.line != all[*last].line);
    (starts_line && ends_line).then(|| (all[*first].line, all[*last].line))
}

/// Puts other lines where `first..=last` stood, in the same print, and moves what follows.
fn put(document: &mut Document, first: usize, last: usize, texts: &[String]) {
    let old: Vec<TextLine> = document.lines.splice(first..=last, []).collect();
    let count = old.len() as f32;
    let centre = old.iter().map(|line| line.bounds.centre_x()).sum::<f32>() / count;
    let height = old.iter().map(|line| line.bounds.height()).sum::<f32>() / count;
    let letters: usize = old.iter().map(|line| line.text.chars().count()).sum();
    let letter = old.iter().map(|line| line.bounds.width()).sum::<f32>() / letters.max(1) as f32;
    let top = old[0].bounds.top;
    let pitch = if old.len() > 1 { (old[old.len() - 1].bounds.top - top) / (count - 1.0) } else { height * 1.2 };
    let new = texts.iter().enumerate().map(|(row, text)| {
        let width = letter * text.chars().count() as f32;
        let top = top + row as f32 * pitch;
        let bounds = BoundingBox::new(centre - width / 2.0, top, centre + width / 2.0, top + height);
        TextLine { text: text.clone(), bounds }
    });
    document.lines.splice(first..first, new.collect::<Vec<_>>());
    let moved = (texts.len() as f32 - count) * pitch;
    for line in &mut document.lines[first + texts.len()..] {
        line.bounds.top += moved;
        line.bounds.bottom += moved;
    }
}

fn lines_with_values(document: &Document, fields: &[FieldSpec], values: &[Option<String>]) -> Vec<bool> {
    let all = words(document);
    let mut kept = vec![false; document.lines.len()];
    for (field, value) in fields.iter().zip(values) {
        let Some(value) = value else { continue };
        for span in find_spans(document, &all, field.kind, value).best() {
            kept[all[span.first].line..=all[span.last].line].fill(true);
        }
    }
    kept
}
