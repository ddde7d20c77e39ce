//! What a printed value means: dates, amounts, and the key by which two values count as equal.
//!
//! Nothing here guesses. A string either is a date or an amount as a whole, in one of many printed forms, or it is
//! not. Where a form is ambiguous the rule is fixed and stated: the day stands before the month unless that is
//! impossible ([`normalise_date`]), a comma before three digits groups thousands and a point does not
//! ([`normalise_amount`]).

use serde::{Deserialize, Serialize};

pub use crate::dates::normalise_date;
use crate::words::{CURRENCY_CODES, is_currency_symbol};

/// What kind of value a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// Free text such as a name or an address.
    #[default]
    Text,
    /// A calendar day.
    Date,
    /// A sum of money.
    Amount,
}

/// The canonical form of a printed value: an ISO date, a decimal amount, or text with single blanks.
///
/// None when `raw` is not a value of this kind.
pub fn normalise(kind: FieldKind, raw: &str) -> Option<String> {
    match kind {
        FieldKind::Text => {
            let tidy = tidy(raw);
            (!tidy.is_empty()).then_some(tidy)
        }
        FieldKind::Date => normalise_date(raw),
        FieldKind::Amount => normalise_amount(raw),
    }
}

/// The text without blanks at its ends and with single blanks inside.
pub fn tidy(raw: &str) -> String {
    raw.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Upper case, and only A to Z and 0 to 9: two values are equal when their keys are.
///
/// This is the measure of the receipts pack. A value without any such character, such as a Chinese name, has an
/// empty key.
pub fn comparison_key(raw: &str) -> String {
    raw.chars().flat_map(char::to_uppercase).filter(char::is_ascii_alphanumeric).collect()
}

/// The amount as a plain decimal with at least two decimals: "RM 1,234.5" is "1234.50".
///
/// Understood: currency symbols and codes at either end, a sign before or after, brackets for a negative amount, and
/// thousands grouped by comma, point, blank or apostrophe. The decimals printed are kept; fewer than two are filled
/// up, so that equal amounts are equal strings. A single comma before exactly three digits groups thousands
/// ("1,234" is "1234.00"), a single point does not ("1.234" stays), as "0,500" does not either.
pub fn normalise_amount(raw: &str) -> Option<String> {
    let (negative, number, _) = strip_currency(raw)?;
    let (whole, decimals) = split_decimals(&number)?;
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let zero = whole == "0" && decimals.chars().all(|digit| digit == '0');
    let sign = if negative && !zero { "-" } else { "" };
    Some(format!("{sign}{whole}.{decimals:0<2}"))
}

/// Whether the whole text is a date.
pub fn looks_like_date(text: &str) -> bool {
    normalise_date(text).is_some()
}

/// Whether the whole text is clearly money: an amount with two decimals or with a currency.
pub fn looks_like_amount(text: &str) -> bool {
    let Some((_, number, currency)) = strip_currency(text) else { return false };
    let Some((_, decimals)) = split_decimals(&number) else { return false };
    currency || decimals.len() == 2
}

/// Whether a date stands somewhere in a line.
pub fn contains_date(line: &str) -> bool {
    any_window(line, 4, looks_like_date)
}

/// Whether an amount stands somewhere in a line.
pub fn contains_amount(line: &str) -> bool {
    any_window(line, 2, looks_like_amount)
}

/// Whether any run of up to `longest` tokens, also cut after a colon, passes.
fn any_window(line: &str, longest: usize, passes: impl Fn(&str) -> bool) -> bool {
    let tokens: Vec<&str> = line.split_whitespace().collect();
    (0..tokens.len()).any(|first| {
        (1..=longest).filter_map(|length| tokens.get(first..first + length)).any(|window| {
            let joined = window.join(" ");
            joined.chars().any(|character| character.is_ascii_digit())
                && (passes(&joined) || joined.split_once(':').is_some_and(|(_, after)| passes(after)))
        })
    })
}

/// Sign, bare number, and whether a currency was there.
fn strip_currency(raw: &str) -> Option<(bool, String, bool)> {
    let mut text = tidy(raw).to_uppercase();
    let (mut negative, mut currency) = (false, false);
    // Each mark may stand outside or inside the others: "-RM5", "RM-5", "(RM 5)".
    loop {
        let before = text.len();
        text = text.trim().to_string();
        if let Some(inner) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            (negative, text) = (true, inner.to_string());
        } else if let Some(rest) = strip_code(&text) {
            (currency, text) = (true, rest.to_string());
        } else if let Some(rest) = text.strip_suffix(",-").or_else(|| text.strip_suffix(".-")) {
            text = rest.to_string();
        } else if let Some(rest) = text.strip_suffix("/-").or_else(|| text.strip_suffix(",--")) {
            text = rest.to_string();
        } else if let Some(rest) = text.strip_prefix(['-', '−']).or_else(|| text.strip_suffix(['-', '−'])) {
            (negative, text) = (true, rest.to_string());
        } else if let Some(rest) = text.strip_prefix(['+', ':', '=', '*']) {
            text = rest.to_string();
        }
        if text.len() == before {
            break;
        }
    }
    text.starts_with(|first: char| first.is_ascii_digit() || first == '.').then_some((negative, text, currency))
}

/// The text without one currency at either end.
fn strip_code(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix(is_currency_symbol).or_else(|| text.strip_suffix(is_currency_symbol)) {
        return Some(rest);
    }
    let inner = |rest: &str| rest.is_empty() || rest.chars().any(|character| character.is_ascii_digit());
    CURRENCY_CODES.iter().find_map(|code| {
        let front = text.strip_prefix(code).map(|rest| rest.trim_start_matches('.'));
        let front = front.filter(|rest| !rest.starts_with(char::is_alphabetic) && inner(rest));
        let back = || text.strip_suffix(code).filter(|rest| !rest.ends_with(char::is_alphabetic) && inner(rest));
        front.or_else(back)
    })
}

/// Whole digits and decimals of a bare number; none when its separators make no sense.
fn split_decimals(number: &str) -> Option<(String, String)> {
    let is_blank = |character: char| matches!(character, ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’');
    let known = |character: char| character.is_ascii_digit() || matches!(character, '.' | ',') || is_blank(character);
    if number.len() > 40 || !number.chars().all(known) {
        return None;
    }
    let (whole, decimals) = match decimal_mark(number) {
        Some(position) => (&number[..position], &number[position + 1..]),
        None => (number, ""),
    };
    if !decimals.chars().all(|character| character.is_ascii_digit()) || decimals.len() > 6 {
        return None;
    }
    if whole.is_empty() && decimals.is_empty() {
        return None;
    }
    let groups: Vec<&str> = whole.split(|character: char| !character.is_ascii_digit()).collect();
    let marks: Vec<char> = whole.chars().filter(|character| !character.is_ascii_digit()).collect();
    let same_mark = marks.windows(2).all(|pair| pair[0] == pair[1]);
    let grouped = groups.len() == 1
        || same_mark
            && groups.first().is_some_and(|first| (1..=3).contains(&first.len()))
            && groups.iter().skip(1).all(|group| group.len() == 3);
    grouped.then(|| (groups.concat(), decimals.to_string()))
}

/// Byte position of the mark before the decimals, if the number has decimals.
fn decimal_mark(number: &str) -> Option<usize> {
    let last = number.rfind(['.', ','])?;
    let mark = number.as_bytes().get(last).copied()? as char;
    let (before, after) = (number.get(..last)?, number.get(last + 1..)?);
    let other = if mark == '.' { ',' } else { '.' };
    if before.contains(mark) {
        return None; // "1,234,567": repeated marks group thousands.
    }
    if mark == ',' && after.len() == 3 && !before.contains(other) && before.trim_start_matches('0') == before {
        return None;
    }
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_in_many_printed_forms() {
        for (raw, expected) in [
            ("RM 1,234.50", "1234.50"),
            ("1.234,50 EUR", "1234.50"),
            ("1 234,50", "1234.50"),
            ("1'234.50 CHF", "1234.50"),
            ("$9", "9.00"),
            ("US$ 9.9", "9.90"),
            ("-5.00", "-5.00"),
            ("RM-5.00", "-5.00"),
            ("-RM5.00", "-5.00"),
            ("(RM 5.00)", "-5.00"),
            ("5.00-", "-5.00"),
            ("12,-", "12.00"),
            ("Rs. 500/-", "500.00"),
            ("1,234", "1234.00"),
            ("1,234,567", "1234567.00"),
            ("1.234.567", "1234567.00"),
            ("1.234", "1.234"),
            ("0,500", "0.500"),
            ("007.50", "7.50"),
            ("-0.00", "0.00"),
            (".50", "0.50"),
            ("4,90€", "4.90"),
            ("RM9.00", "9.00"),
        ] {
            assert_eq!(normalise_amount(raw).as_deref(), Some(expected), "{raw}");
        }
    }

    #[test]
    fn what_is_no_amount_is_not_read_as_one() {
        for raw in ["", "RM", "$", "TOTAL", "1,23,4", "12/03/2018", "1.2.3", "9.00SR", "--", "()", ".", "5,5,5", "A5"] {
            assert_eq!(normalise_amount(raw), None, "{raw}");
        }
    }

    #[test]
    fn an_amount_read_twice_is_the_same_amount() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let alphabet: Vec<char> = "0123456789.,-() RM€$'".chars().collect();
        for _ in 0..20_000 {
            let raw: String =
                (0..random.random_range(0..9)).map(|_| alphabet[random.random_range(0..alphabet.len())]).collect();
            if let Some(once) = normalise_amount(&raw) {
                assert_eq!(normalise_amount(&once).as_ref(), Some(&once), "{raw}");
            }
        }
        for _ in 0..2000 {
            let cents: i64 = random.random_range(-99_999_999..99_999_999);
            let sign = if cents < 0 { "-" } else { "" };
            let plain = format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100);
            assert_eq!(normalise_amount(&format!("RM {plain}")).unwrap(), plain);
        }
    }

    #[test]
    fn a_bare_count_is_no_money_but_a_price_is() {
        for text in ["9.00", "$9", "RM 12", "1.234,50"] {
            assert!(looks_like_amount(text), "{text}");
        }
        for text in ["9", "81100", "12/03/2018", "1.234", "QTY", ""] {
            assert!(!looks_like_amount(text), "{text}");
        }
        assert!(contains_amount("TOTAL: RM 9.00 CASH") && contains_amount("TOTAL:9.00"));
        assert!(!contains_amount("NO.53 JALAN 18"));
    }

    #[test]
    fn dates_are_found_inside_lines() {
        for line in ["DATE:25/12/2018 8:13:39 PM", "Printed 25 DEC 2018 14:00", "Date : 01-02-18", "25/12/2018"] {
            assert!(contains_date(line), "{line}");
        }
        for line in ["TEL 07-3544800", "INV 123456", "14:35:10", ""] {
            assert!(!contains_date(line), "{line}");
        }
    }

    #[test]
    fn keys_keep_only_letters_and_digits_of_ascii() {
        assert_eq!(comparison_key("Book Ta .K (Taman)"), "BOOKTAKTAMAN");
        assert_eq!(comparison_key("straße é"), "STRASSE");
        assert_eq!(comparison_key("中文"), "");
        assert_eq!(normalise(FieldKind::Text, "  a \n b "), Some("a b".into()));
        assert_eq!(normalise(FieldKind::Text, " \t"), None);
    }
}
