//! Where on a page a labelled value is printed.
//!
//! Labels say what a value is, not where it stands, and a total is often printed several times: every place counts as
//! right. Places are ranked by how sure they are: printed exactly (equal comparison keys), the same day or amount in
//! another form, and last, for text only, the most similar run of words, for labels or pages with a typing error.

use crate::{
    document::Document,
    value::{FieldKind, comparison_key, looks_like_amount, normalise},
    words::Word,
};

/// A run of words, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Index of the first word.
    pub first: usize,
    /// Index of the last word.
    pub last: usize,
}

/// Everywhere a value is printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GoldSpans {
    /// Spans whose comparison key equals the value's.
    pub exact: Vec<Span>,
    /// Spans that mean the same date or amount but have another comparison key.
    pub equivalent: Vec<Span>,
    /// The most similar span, only sought for text and only when nothing is exact.
    pub approximate: Option<Span>,
}

impl GoldSpans {
    /// The surest spans there are: the exact ones, else the equivalent ones, else the approximate one.
    pub fn best(&self) -> Vec<Span> {
        match (&self.exact, &self.equivalent) {
            (exact, _) if !exact.is_empty() => exact.clone(),
            (_, equivalent) if !equivalent.is_empty() => equivalent.clone(),
            _ => self.approximate.into_iter().collect(),
        }
    }

    /// Whether the value is printed exactly somewhere.
    pub fn is_exact(&self) -> bool {
        !self.exact.is_empty()
    }
}

/// Similarity from which a run of words is taken for a misprinted value.
pub const APPROXIMATE_SIMILARITY: f32 = 0.85;

/// Finds every place where `value` is printed, aligned to words.
pub fn find_spans(document: &Document, words: &[Word], kind: FieldKind, value: &str) -> GoldSpans {
    // A value without A-Z or 0-9 (a Chinese name) is sought by its own letters instead.
    let key = if comparison_key(value).is_empty() { wide_key } else { comparison_key };
    let wanted = key(value);
    let keys: Vec<String> = words.iter().map(|word| key(word.text(document))).collect();
    let mut found = GoldSpans { exact: exact_spans(&keys, &wanted), ..GoldSpans::default() };
    match kind {
        FieldKind::Text if found.exact.is_empty() => found.approximate = approximate_span(&keys, &wanted),
        FieldKind::Text => {}
        FieldKind::Date => found.equivalent = equivalent_spans(document, words, kind, value, 5),
        FieldKind::Amount => found.equivalent = equivalent_spans(document, words, kind, value, 2),
    }
    keep_same_meaning(&mut found.exact, document, words, kind, value);
    found
        .equivalent
        .retain(|span| !found.exact.iter().any(|exact| exact.first <= span.last && span.first <= exact.last));
    found
}

/// Letters and digits of any script, upper-case.
fn wide_key(raw: &str) -> String {
    raw.chars().flat_map(char::to_uppercase).filter(|character| character.is_alphanumeric()).collect()
}

/// Spans whose keys, joined, are `wanted`; words without a key never stand at an end.
fn exact_spans(keys: &[String], wanted: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    if wanted.is_empty() {
        return spans;
    }
    for (first, key) in keys.iter().enumerate().filter(|(_, key)| !key.is_empty()) {
        let Some(mut rest) = wanted.strip_prefix(key.as_str()) else { continue };
        let mut last = first;
        while !rest.is_empty() {
            let Some(shorter) = keys.get(last + 1).and_then(|key| rest.strip_prefix(key.as_str())) else { break };
            (rest, last) = (shorter, last + 1);
        }
        if rest.is_empty() {
            spans.push(Span { first, last });
        }
    }
    spans
}

/// Drops spans that mean another date or amount ("900" for "9.00"), unless there are no others.
fn keep_same_meaning(spans: &mut Vec<Span>, document: &Document, words: &[Word], kind: FieldKind, value: &str) {
    if kind == FieldKind::Text {
        return;
    }
    let wanted = normalise(kind, value);
    let meaning = |span: &Span| normalise(kind, &document.span_text(words, span.first, span.last));
    let same: Vec<Span> = spans.iter().copied().filter(|span| meaning(span) == wanted).collect();
    if !same.is_empty() {
        *spans = same;
    }
}

/// The smallest spans of at most `longest` words on one line that mean the same as `value`.
fn equivalent_spans(document: &Document, words: &[Word], kind: FieldKind, value: &str, longest: usize) -> Vec<Span> {
    let Some(wanted) = normalise(kind, value) else { return Vec::new() };
    let mut spans: Vec<Span> = Vec::new();
    for length in 1..=longest {
        for (first, run) in words.windows(length).enumerate() {
            let span = Span { first, last: first + length - 1 };
            let one_line = run.first().map(|word| word.line) == run.last().map(|word| word.line);
            let holds_smaller = || spans.iter().any(|known| span.first <= known.first && known.last <= span.last);
            if !one_line || holds_smaller() {
                continue;
            }
            let text = document.span_text(words, span.first, span.last);
            // A bare "9" may be a quantity: only what is clearly money counts as another form of an amount.
            let clear = kind != FieldKind::Amount || looks_like_amount(&text);
            if clear && normalise(kind, &text).as_ref() == Some(&wanted) {
                spans.push(span);
            }
        }
    }
    spans.sort_unstable();
    spans
}

/// The span most similar to `wanted`, if similar enough; the first and shortest of equals.
fn approximate_span(keys: &[String], wanted: &str) -> Option<Span> {
    let wanted: Vec<char> = wanted.chars().collect();
    if wanted.is_empty() {
        return None;
    }
    let longest = (wanted.len() as f32 / APPROXIMATE_SIMILARITY).ceil() as usize;
    let mut best: Option<(f32, Span)> = None;
    for first in (0..keys.len()).filter(|&first| !keys[first].is_empty()) {
        // One row of the edit-distance table, extended word by word.
        let mut row: Vec<usize> = (0..=wanted.len()).collect();
        let mut length = 0;
        for (last, key) in keys.iter().enumerate().skip(first) {
            for character in key.chars() {
                extend_row(&mut row, &wanted, character);
                length += 1;
            }
            if length > longest {
                break;
            }
            let distance = row.last().copied().unwrap_or(usize::MAX) as f32;
            let similarity = 1.0 - distance / wanted.len().max(length) as f32;
            let better = best.is_none_or(|(known, _)| similarity > known);
            if similarity >= APPROXIMATE_SIMILARITY && better && !key.is_empty() {
                best = Some((similarity, Span { first, last }));
            }
        }
    }
    best.map(|(_, span)| span)
}

/// Adds one character to the text that `row` compares with all beginnings of `wanted`.
fn extend_row(row: &mut [usize], wanted: &[char], character: char) {
    let mut diagonal = row[0];
    row[0] += 1;
    for (index, &other) in wanted.iter().enumerate() {
        let substitution = diagonal + usize::from(other != character);
        diagonal = row[index + 1];
        row[index + 1] = substitution.min(row[index] + 1).min(diagonal + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        document::{BoundingBox, TextLine},
        words::words,
    };

    fn page(lines: &[&str]) -> Document {
        let line = |(row, text): (usize, &&str)| TextLine {
            text: text.to_string(),
            bounds: BoundingBox::new(0.0, row as f32 * 10.0, 90.0, row as f32 * 10.0 + 9.0),
        };
        Document::new("a", 100, 1000, lines.iter().enumerate().map(line).collect()).unwrap()
    }

    fn texts(document: &Document, spans: &[Span]) -> Vec<String> {
        let words = words(document);
        spans.iter().map(|span| document.span_text(&words, span.first, span.last)).collect()
    }

    fn find(document: &Document, kind: FieldKind, value: &str) -> GoldSpans {
        find_spans(document, &words(document), kind, value)
    }

    #[test]
    fn every_place_of_a_value_is_found_across_lines_and_punctuation() {
        let document = page(&["NO.53 55,57 & 59,", "JALAN SAGU 18.", "TOTAL RM9.00", "CASH 9.00 X"]);
        let address = find(&document, FieldKind::Text, "No. 53 55,57 & 59 Jalan Sagu 18");
        assert_eq!(texts(&document, &address.exact), ["NO.53 55,57 & 59, JALAN SAGU 18."]);
        let total = find(&document, FieldKind::Amount, "9.00");
        assert_eq!(texts(&document, &total.exact), ["9.00", "9.00"]);
        assert!(total.equivalent.is_empty(), "{:?}", total.equivalent);
    }

    #[test]
    fn other_forms_of_a_date_or_amount_are_told_apart_from_the_printed_one() {
        let document = page(&["DATE 25 DEC 2018 10:00", "25/12/2018", "TOTAL RM 9.00", "9"]);
        let date = find(&document, FieldKind::Date, "25/12/2018");
        assert_eq!(texts(&document, &date.exact), ["25/12/2018"]);
        assert_eq!(texts(&document, &date.equivalent), ["25 DEC 2018"]);
        let total = find(&document, FieldKind::Amount, "RM9.00");
        assert_eq!(texts(&document, &total.exact), ["RM 9.00"]);
        assert!(total.equivalent.is_empty(), "a bare 9 may be a quantity: {:?}", total.equivalent);
        assert_eq!(texts(&document, &find(&document, FieldKind::Amount, "9").exact), ["9"]);
        assert_eq!(texts(&document, &find(&document, FieldKind::Amount, "$9").equivalent), ["9.00"]);
        let unprinted = find(&document, FieldKind::Amount, "9.0");
        assert_eq!(texts(&document, &unprinted.best()), ["9.00"]);
    }

    #[test]
    fn digits_that_mean_something_else_are_not_the_value() {
        let document = page(&["QTY 900", "TOTAL 9.00"]);
        assert_eq!(texts(&document, &find(&document, FieldKind::Amount, "9.00").exact), ["9.00"]);
        let only = page(&["TOTAL 900"]);
        assert_eq!(texts(&only, &find(&only, FieldKind::Amount, "9.00").exact), ["900"], "a lost point");
    }

    #[test]
    fn a_misprint_is_found_only_for_text_and_only_when_close() {
        let document = page(&["WELCOME", "BOOK TA K (TAMAN DAYA)", "SDN BND", "9.10"]);
        let found = find(&document, FieldKind::Text, "BOOK TA K TAMAN DAYA SDN BHD");
        assert!(!found.is_exact());
        assert_eq!(texts(&document, &found.best()), ["BOOK TA K (TAMAN DAYA) SDN BND"]);
        assert!(find(&document, FieldKind::Text, "ANOTHER SHOP ALTOGETHER").best().is_empty());
        assert!(find(&document, FieldKind::Amount, "9.11").best().is_empty());
        assert!(find(&document, FieldKind::Text, "").best().is_empty());
    }

    #[test]
    fn a_value_in_another_script_is_found_by_its_own_letters() {
        let document = page(&["欢迎", "大家 商店"]);
        assert_eq!(texts(&document, &find(&document, FieldKind::Text, "大家商店").exact), ["大家 商店"]);
    }

    #[test]
    fn any_run_of_words_is_found_where_it_was_taken() {
        use rand::{RngExt, SeedableRng};
        let document = page(&["ACME (M) SDN.BHD", "NO 12, JALAN 3/4", "RM9.00 25DEC2018 -- X", "ACME 12"]);
        let words = words(&document);
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        for _ in 0..500 {
            let first = random.random_range(0..words.len());
            let last = random.random_range(first..words.len());
            let filled = |index: usize| !comparison_key(words[index].text(&document)).is_empty();
            if filled(first) && filled(last) {
                let value = document.span_text(&words, first, last).to_lowercase();
                assert!(find(&document, FieldKind::Text, &value).exact.contains(&Span { first, last }), "{value}");
            }
        }
    }

    #[test]
    fn nearly_every_value_of_the_real_pack_is_found() {
        let Some(data) = std::env::var_os("FLORIN_DATA") else {
            eprintln!("skipped: FLORIN_DATA is not set");
            return;
        };
        let set = crate::labelled::load_pack(std::path::Path::new(&data).join("receipts"), None).unwrap();
        for (index, field) in set.fields.iter().enumerate() {
            let (mut labelled, mut exact, mut any) = (0.0, 0.0, 0.0);
            for document in &set.documents {
                let Some(value) = &document.values[index] else { continue };
                let found = find_spans(&document.document, &words(&document.document), field.kind, value);
                labelled += 1.0;
                exact += f32::from(u8::from(found.is_exact()));
                any += f32::from(u8::from(!found.best().is_empty()));
            }
            println!("{}: exact {:.4}, any {:.4}", field.name, exact / labelled, any / labelled);
            // The pack's own ceilings: company 0.979, date 0.995, address 0.944, total 1.000.
            assert!(exact / labelled > 0.94 && any / labelled > 0.99, "{}", field.name);
        }
    }
}
