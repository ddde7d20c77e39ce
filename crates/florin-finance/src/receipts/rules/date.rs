//! The first date that is printed.

use florin_data::document::Document;
use florin_data::value::{FieldKind, normalise};

use super::RuleReading;
use super::words::{digits, letters, word_ranges};

pub(super) fn first_date(document: &Document) -> Option<RuleReading> {
    document.lines.iter().find_map(|line| {
        let text = date_in(&line.text)?;
        Some(RuleReading { text: text.to_owned(), boxes: vec![line.bounds] })
    })
}

/// The first run of one to three words that parses as a date and has digits on both ends of its day or year.
pub(super) fn date_in(text: &str) -> Option<&str> {
    let words = word_ranges(text);
    (0..words.len()).find_map(|first| {
        (1..=3).find_map(|count| {
            let last = words.get(first + count - 1)?;
            let start = words[first].0;
            let run = text.get(start..last.1)?.trim_matches(|symbol: char| !symbol.is_ascii_alphanumeric());
            let plausible = (6..=14).contains(&run.len()) && digits(run) >= 3 && has_date_shape(run);
            (plausible && normalise(FieldKind::Date, run).is_some()).then_some(run)
        })
    })
}

/// Three parts: `25/12/2018`, `25-DEC-18`, `DEC 25, 2018`; a bare number is no date to a rule.
fn has_date_shape(run: &str) -> bool {
    let parts: Vec<&str> =
        run.split(|symbol: char| !symbol.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let months = parts.iter().filter(|part| letters(part) > 0).count();
    parts.len() == 3 && months <= 1 && !run.contains(':')
}
