//! Hand-written rules for the fields of a receipt: the baseline a trained model has to beat.
//!
//! No training, no weights: a company is the first printed line that is not something else, an address is what
//! follows it down to a postcode or a telephone number, a date is the first thing that parses as one, a total is the
//! amount beside the best "total" label. Rules look at the kind and the name of a field and stay silent on fields
//! they have no rule for. Reports show their score beside the model's.

use florin_data::document::{BoundingBox, Document, TextLine};
use florin_data::labelled::FieldSpec;
use florin_data::value::{FieldKind, normalise};

/// A value found by a rule and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleReading {
    /// The value as printed.
    pub text: String,
    /// The lines it was taken from.
    pub boxes: Vec<BoundingBox>,
}

/// Reads every field of `document` by rules; one entry per field, `None` where no rule applies or none fires.
pub fn read_by_rules(document: &Document, fields: &[FieldSpec]) -> Vec<Option<RuleReading>> {
    let header = Header::of(document);
    fields
        .iter()
        .map(|field| match field.kind {
            FieldKind::Date => first_date(document),
            FieldKind::Amount => labelled_amount(document),
            FieldKind::Text => header.read(document, &field.name),
        })
        .collect()
}

/// The lines that name the shop and say where it is.
#[derive(Debug, Default)]
struct Header {
    company: Vec<usize>,
    address: Vec<usize>,
}

/// Words that end an address or can never be the name of a shop.
const NOT_HEADER: [&str; 24] = [
    "TEL",
    "FAX",
    "GST",
    "INVOICE",
    "RECEIPT",
    "CASH",
    "DATE",
    "ROC",
    "REG",
    "PHONE",
    "EMAIL",
    "E-MAIL",
    "WWW",
    "HTTP",
    "CASHIER",
    "TABLE",
    "BILL",
    "CUSTOMER",
    "HOTLINE",
    "H/P",
    "WHATSAPP",
    "SST",
    "CO.NO",
    "COMPANY NO",
];

/// Endings of company names; a line with one of them closes the name.
const COMPANY_ENDINGS: [&str; 22] = [
    "SDN BHD",
    "SDN. BHD",
    "SDN.BHD",
    "S/B",
    "SDN BND",
    "BHD",
    "ENTERPRISE",
    "TRADING",
    "RESTAURANT",
    "RESTORAN",
    "SHOP",
    "STATION",
    "SUPPLIES",
    "LTD",
    "INC",
    "LLC",
    "GMBH",
    "STORE",
    "HARDWARE",
    "COMPANY",
    "BAKERY",
    "CAFE",
];

/// How addresses begin or what they are made of.
const ADDRESS_WORDS: [&str; 22] = [
    "JALAN",
    "JLN",
    "LOT",
    "NO.",
    "NO:",
    "NO ",
    "TAMAN",
    "TMN",
    "LORONG",
    "KAMPUNG",
    "PERSIARAN",
    "STREET",
    "ROAD",
    "LANE",
    "AVENUE",
    "BATU",
    "FLOOR",
    "LEVEL",
    "BLOCK",
    "UNIT",
    "PLOT",
    "BANDAR",
];

/// An address seldom takes more printed lines than this.
const LONGEST_ADDRESS: usize = 6;

/// How far down the shop's name is looked for: further down, it would be something that was sold.
const HEADER_LINES: usize = 12;

impl Header {
    fn of(document: &Document) -> Self {
        let texts: Vec<String> = document.lines.iter().map(|line| line.text.trim().to_uppercase()).collect();
        let top = &texts[..texts.len().min(HEADER_LINES)];
        let Some(company) = company_line(top) else { return Self::default() };
        let begins = (company + 1..top.len()).find(|&line| begins_address(&texts[line]));
        let Some(begins) = begins else { return Self { company: vec![company], address: Vec::new() } };
        let mut address = Vec::new();
        for (line, text) in texts.iter().enumerate().skip(begins).take(LONGEST_ADDRESS) {
            if line > begins && ends_address(text) {
                break;
            }
            address.push(line);
            if has_postcode(text) && !text.ends_with(',') && !continues(texts.get(line + 1)) {
                break;
            }
        }
        Self { company: vec![company], address }
    }

    fn read(&self, document: &Document, name: &str) -> Option<RuleReading> {
        let lines = match name.to_lowercase().as_str() {
            "company" | "merchant" | "seller" | "vendor" | "store" | "supplier" => &self.company,
            "address" => &self.address,
            _ => return None,
        };
        let lines: Vec<&TextLine> = lines.iter().filter_map(|&line| document.lines.get(line)).collect();
        let text = lines.iter().map(|line| line.text.trim()).collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then(|| RuleReading { text, boxes: lines.iter().map(|line| line.bounds).collect() })
    }
}

/// A line that ends like a company's name, else the first line that could be a name at all.
fn company_line(top: &[String]) -> Option<usize> {
    let candidate = |text: &String| letters(text) >= 4 && !is_label(text) && !begins_address(text);
    let ending = |text: &String| COMPANY_ENDINGS.iter().any(|ending| has_word(text, ending));
    let until_address = top.iter().position(|text| begins_address(text)).unwrap_or(top.len());
    let head = &top[..until_address];
    head.iter()
        .position(|text| candidate(text) && ending(text))
        .or_else(|| head.iter().position(candidate))
        .or_else(|| top.iter().position(candidate))
}

fn is_label(text: &str) -> bool {
    NOT_HEADER.iter().any(|word| has_word(text, word))
}

fn begins_address(text: &str) -> bool {
    let listed = ADDRESS_WORDS.iter().any(|word| text.starts_with(word) || (word.len() > 3 && has_word(text, word)));
    let house_number =
        text.starts_with(|first: char| first.is_ascii_digit()) && letters(text) >= 6 && text.contains(',');
    (listed || house_number) && !is_label(text)
}

fn ends_address(text: &str) -> bool {
    let registration = text.starts_with('(') && digits(text) >= 4;
    is_label(text) || registration || letters(text) < 3 || date_in(text).is_some()
}

fn continues(next: Option<&String>) -> bool {
    next.is_some_and(|text| !ends_address(text) && (digits(text) == 0 && text.len() < 28) && text.ends_with(['.', ',']))
}

fn has_postcode(text: &str) -> bool {
    text.split(|symbol: char| !symbol.is_ascii_alphanumeric())
        .any(|word| word.len() == 5 && word.bytes().all(|byte| byte.is_ascii_digit()))
}

fn first_date(document: &Document) -> Option<RuleReading> {
    document.lines.iter().find_map(|line| {
        let text = date_in(&line.text)?;
        Some(RuleReading { text: text.to_owned(), boxes: vec![line.bounds] })
    })
}

/// The first run of one to three words that parses as a date and has digits on both ends of its day or year.
fn date_in(text: &str) -> Option<&str> {
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
fn labelled_amount(document: &Document) -> Option<RuleReading> {
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

/// Whether `word` stands in `text` on its own, not inside a longer word.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start + found.len()..].chars().next();
        let ends_open = !word.ends_with(|last: char| last.is_ascii_alphanumeric());
        let letter = |symbol: Option<char>| symbol.is_some_and(char::is_alphabetic);
        !letter(before) && (ends_open || !letter(after))
    })
}

fn word_ranges(text: &str) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut start = None;
    for (place, symbol) in text.char_indices() {
        match (symbol.is_whitespace(), start) {
            (false, None) => start = Some(place),
            (true, Some(begin)) => {
                ranges.push((begin, place));
                start = None;
            }
            _ => {}
        }
    }
    ranges.extend(start.map(|begin| (begin, text.len())));
    ranges
}

fn letters(text: &str) -> usize {
    text.chars().filter(|symbol| symbol.is_alphabetic()).count()
}

fn digits(text: &str) -> usize {
    text.chars().filter(char::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A receipt of one printed row an entry; entries of a row are set side by side.
    fn receipt(rows: &[&[&str]]) -> Document {
        let mut lines = Vec::new();
        for (row, texts) in rows.iter().enumerate() {
            for (column, text) in texts.iter().enumerate() {
                let (left, top) = (20.0 + 200.0 * column as f32, 20.0 + 30.0 * row as f32);
                let bounds = BoundingBox { left, top, right: left + 180.0, bottom: top + 20.0 };
                lines.push(TextLine { text: (*text).to_owned(), bounds });
            }
        }
        Document { id: "made up".to_owned(), width: 500, height: 1000, lines }
    }

    fn read(rows: &[&[&str]], name: &str, kind: FieldKind) -> Option<String> {
        let fields = [FieldSpec { name: name.to_owned(), kind }];
        read_by_rules(&receipt(rows), &fields).into_iter().next().flatten().map(|reading| reading.text)
    }

    const SHOP: &[&[&str]] = &[
        &["MARIGOLD TEA ENTERPRISE"],
        &["12, JALAN CEMPAKA 3,"],
        &["TAMAN MELUR, 43000 KAJANG"],
        &["TEL: 03-5550 1234"],
        &["DATE: 25/12/2018 8:13 PM"],
        &["TEA", "4.00"],
        &["SUB TOTAL", "4.00"],
        &["TOTAL", "4.24"],
        &["ROUNDED TOTAL (RM)", "4.25"],
        &["CASH", "10.00"],
        &["CHANGE", "5.75"],
    ];

    #[test]
    fn a_plain_receipt_is_read_in_full() {
        assert_eq!(read(SHOP, "company", FieldKind::Text).as_deref(), Some("MARIGOLD TEA ENTERPRISE"));
        let address = read(SHOP, "address", FieldKind::Text);
        assert_eq!(address.as_deref(), Some("12, JALAN CEMPAKA 3, TAMAN MELUR, 43000 KAJANG"));
        assert_eq!(read(SHOP, "when", FieldKind::Date).as_deref(), Some("25/12/2018"));
        assert_eq!(
            read(SHOP, "total", FieldKind::Amount).as_deref(),
            Some("4.25"),
            "the rounded total is what is paid"
        );
    }

    #[test]
    fn the_lowest_of_two_equal_labels_wins() {
        let rows: &[&[&str]] = &[&["TOTAL", "31.00"], &["DISCOUNT", "1.00"], &["TOTAL", "30.00"]];
        assert_eq!(read(rows, "total", FieldKind::Amount).as_deref(), Some("30.00"));
    }

    #[test]
    fn a_field_without_a_rule_is_left_empty() {
        assert_eq!(read(SHOP, "cashier", FieldKind::Text), None);
    }

    #[test]
    fn times_and_telephone_numbers_are_no_dates() {
        for text in ["12:45:10", "03-5550 1234", "000306020352", "99/99/9999"] {
            assert_eq!(read(&[&[text]], "date", FieldKind::Date), None, "{text}");
        }
    }

    #[test]
    fn without_a_label_the_largest_amount_is_taken_and_money_handed_over_is_not() {
        let rows: &[&[&str]] = &[&["TEA 4.00"], &["RICE 12.50"], &["CASH 50.00"]];
        assert_eq!(read(rows, "total", FieldKind::Amount).as_deref(), Some("12.50"));
    }

    #[test]
    fn any_text_is_safe_and_an_empty_page_reads_nothing() {
        let odd: &[&[&str]] = &[&["", "\u{1f9fe}É"], &[",.,.%"], &["TOTAL"], &["..00 ,00 1.00%"], &["ß/ß/ß"]];
        for rows in [odd, &[]] {
            assert_eq!(read(rows, "date", FieldKind::Date), None);
            assert_eq!(read(rows, "total", FieldKind::Amount), None);
            read(rows, "company", FieldKind::Text);
            read(rows, "address", FieldKind::Text);
        }
    }

    #[test]
    fn evidence_boxes_are_those_of_the_lines_read() {
        let document = receipt(SHOP);
        let fields = [FieldSpec { name: "total".to_owned(), kind: FieldKind::Amount }];
        let reading = read_by_rules(&document, &fields).remove(0).expect("a total is printed");
        let line = document.lines.iter().find(|line| line.text == "4.25").expect("it is on the page");
        assert_eq!(reading.boxes, [line.bounds]);
    }
}
