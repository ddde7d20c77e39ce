//! The lines that name the shop and say where it is.

use florin_data::document::{Document, TextLine};

use super::RuleReading;
use super::date::date_in;
use super::words::{digits, has_word, letters};

/// The lines that name the shop and say where it is.
#[derive(Debug, Default)]
pub(super) struct Header {
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
    pub(super) fn of(document: &Document) -> Self {
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

    pub(super) fn read(&self, document: &Document, name: &str) -> Option<RuleReading> {
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
