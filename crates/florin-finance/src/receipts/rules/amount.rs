//! The amount that was to be paid: beside the best label, else the largest.

use florin_data::document::{Document, TextLine};
use florin_data::value::{FieldKind, normalise};

use super::RuleReading;

/// How good a label is for the amount that was to be paid; larger is better.
fn label_rank(text: &str) -> Option<u32> {
    const NEVER: [&str; 14] = [
        "SUB", "TAX", "GST AMT", "ITEM", "QTY", "DISC", "SAVING", "CHANGE", "EXCL", "QUANTITY", "TENDER", "POINT",
        "COUNT", "VAT",
    ];
    let rounded = text.contains("ROUND");
    let inclusive = text.contains("INCL") || text.contains("GRAND") || text.contains("NET");
    if !text.contains("TOTAL") && !text.contains("AMOUNT DUE") && !text.contains("BALANCE DUE") {
        return None;
    }
    if text.contains("ROUNDING ADJ") && !text.contains("AFTER") {
        return None;
    }
    if NEVER.iter().any(|word| text.contains(word)) && !text.contains("INCL") {
        return None;
    }
    Some(if rounded {
        3
    } else if inclusive {
        2
    } else {
        1
    })
}

/// The amount in the line of the best label, or on the same height to its right; the lowest of equals wins, because
/// totals are printed after what they add up.
pub(super) fn labelled_amount(document: &Document) -> Option<RuleReading> {
    let mut best: Option<(u32, RuleReading)> = None;
    for line in &document.lines {
        let Some(rank) = label_rank(&line.text.to_uppercase()) else { continue };
        let Some(reading) = amount_beside(document, line) else { continue };
        if best.as_ref().is_none_or(|(best_rank, _)| rank >= *best_rank) {
            best = Some((rank, reading));
        }
    }
    best.map(|(_, reading)| reading).or_else(|| largest_amount(document))
}

fn amount_beside(document: &Document, label: &TextLine) -> Option<RuleReading> {
    if let Some(amount) = amounts_in(&label.text).last() {
        return Some(RuleReading { text: (*amount).to_owned(), boxes: vec![label.bounds] });
    }
    let middle = (label.bounds.top + label.bounds.bottom) / 2.0;
    let height = (label.bounds.bottom - label.bounds.top).max(1.0);
    document
        .lines
        .iter()
        .filter(|line| line.bounds.left >= label.bounds.left && !std::ptr::eq(*line, label))
        .filter_map(|line| {
            let away = ((line.bounds.top + line.bounds.bottom) / 2.0 - middle).abs();
            let amount = *amounts_in(&line.text).last()?;
            (away < 0.7 * height).then_some((away, line, amount))
        })
        .min_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, line, amount)| RuleReading { text: amount.to_owned(), boxes: vec![line.bounds] })
}

fn largest_amount(document: &Document) -> Option<RuleReading> {
    let value = |text: &str| normalise(FieldKind::Amount, text).and_then(|value| value.parse::<f64>().ok());
    document
        .lines
        .iter()
        .filter(|line| {
            let text = line.text.to_uppercase();
            !["CASH", "CHANGE", "TENDER"].iter().any(|word| text.contains(word))
        })
        .flat_map(|line| amounts_in(&line.text).into_iter().map(move |amount| (line, amount)))
        .filter_map(|(line, amount)| Some((value(amount)?, line, amount)))
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, line, amount)| RuleReading { text: amount.to_owned(), boxes: vec![line.bounds] })
}

/// Numbers with exactly two decimals, percentages left out.
fn amounts_in(text: &str) -> Vec<&str> {
    text.split(|symbol: char| !(symbol.is_ascii_digit() || ".,%".contains(symbol)))
        .map(|run| run.trim_matches(['.', ',']))
        .filter(|run| !run.contains('%'))
        .filter(|run| {
            let mut parts = run.rsplit(['.', ',']);
            let decimals = parts.next().unwrap_or_default();
            decimals.len() == 2 && parts.next().is_some_and(|whole| !whole.is_empty())
        })
        .collect()
}
