//! Lines cut into words, and lines put into reading order.
//!
//! A word is the unit a model labels, so its edges must fall where values begin and end. White space alone does not
//! do that: receipts print "RM9.00" and "25DEC2018". A token is therefore cut again wherever letters meet digits,
//! around currency symbols, and after punctuation that separates ("84600,PAGOH" is two words), but a number keeps its own
//! punctuation ("1,234.50", "12/03/2018", "14:35") and a name keeps its ("MCDONALD'S", "K.L", "S&P").

use crate::document::{BoundingBox, Document, TextLine};

/// A piece of one line.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// Index of the line in the document.
    pub line: usize,
    /// Where the word starts, in bytes of the line's text.
    pub start: usize,
    /// Where it ends, in bytes of the line's text.
    pub end: usize,
    /// The line's box, cut in proportion to characters.
    pub bounds: BoundingBox,
}

impl Word {
    /// The word as printed.
    pub fn text<'a>(&self, document: &'a Document) -> &'a str {
        document.lines.get(self.line).and_then(|line| line.text.get(self.start..self.end)).unwrap_or_default()
    }
}

/// The words of a document, line by line, in order.
pub fn words(document: &Document) -> Vec<Word> {
    let mut words = Vec::new();
    for (index, line) in document.lines.iter().enumerate() {
        let characters: Vec<(usize, char)> = line.text.char_indices().collect();
        let per_character = line.bounds.width() / characters.len().max(1) as f32;
        let edge = |position: usize| line.bounds.left + per_character * position as f32;
        for (first, end) in word_ranges(&characters) {
            let byte = |position: usize| characters.get(position).map_or(line.text.len(), |&(byte, _)| byte);
            let bounds = BoundingBox { left: edge(first), right: edge(end).min(line.bounds.right), ..line.bounds };
            words.push(Word { line: index, start: byte(first), end: byte(end), bounds });
        }
    }
    words
}

/// Sorts lines into rows from the top, and each row from the left.
///
/// A line belongs to a row when it shares at least half of the smaller height with the row's average band and is not
/// of quite another height: a frame around a table is no neighbour of every line in it. Stable for lines that share a
/// place.
pub fn reading_order(lines: &mut Vec<TextLine>) {
    let mut pending = std::mem::take(lines);
    pending.sort_by(|a, b| a.bounds.centre_y().total_cmp(&b.bounds.centre_y()));
    let mut rows: Vec<Row> = Vec::new();
    for line in pending {
        match rows.last_mut() {
            Some(row) if row.holds(&line.bounds) => row.push(line),
            _ => {
                let mut row = Row::default();
                row.push(line);
                rows.push(row);
            }
        }
    }
    for mut row in rows {
        row.lines.sort_by(|a, b| a.bounds.left.total_cmp(&b.bounds.left));
        lines.append(&mut row.lines);
    }
}

/// Letters that are written as currency before or after a number.
pub(crate) const CURRENCY_CODES: [&str; 24] = [
    "RM", "MYR", "USD", "EUR", "GBP", "SGD", "AUD", "CAD", "CHF", "JPY", "CNY", "HKD", "IDR", "INR", "THB", "NZD",
    "SEK", "NOK", "DKK", "PLN", "RP", "RS", "EURO", "US",
];

pub(crate) fn is_currency_symbol(character: char) -> bool {
    matches!(character, '$' | '€' | '£' | '¥' | '₹' | '₩' | '₽' | '₫' | '฿' | '₱' | '¢' | '₺' | '₴')
}

/// Most by which the heights of neighbours in a row differ: a total in double height stands beside its plain label.
const MOST_HEIGHT_RATIO: f32 = 3.0;

/// Lines beside each other, with the sums of their edges.
#[derive(Default)]
struct Row {
    lines: Vec<TextLine>,
    tops: f32,
    bottoms: f32,
}

impl Row {
    fn push(&mut self, line: TextLine) {
        self.tops += line.bounds.top;
        self.bottoms += line.bounds.bottom;
        self.lines.push(line);
    }

    /// Whether a line lies in the row's average band.
    fn holds(&self, line: &BoundingBox) -> bool {
        let count = self.lines.len().max(1) as f32;
        let (top, bottom) = (self.tops / count, self.bottoms / count);
        let (smaller, larger) = ((bottom - top).min(line.height()), (bottom - top).max(line.height()));
        let shared = bottom.min(line.bottom) - top.max(line.top);
        shared > 0.0 && shared >= 0.5 * smaller && larger <= MOST_HEIGHT_RATIO * smaller
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Letter,
    Digit,
    Currency,
    Opening,
    Other,
    Blank,
}

fn kind(character: char) -> Kind {
    match character {
        // Combining marks belong to the letter before them.
        '\u{300}'..='\u{36f}' => Kind::Letter,
        '(' | '[' | '{' | '<' | '“' | '‘' | '«' | '¿' | '¡' => Kind::Opening,
        _ if character.is_whitespace() => Kind::Blank,
        _ if is_currency_symbol(character) => Kind::Currency,
        _ if character.is_numeric() => Kind::Digit,
        _ if character.is_alphabetic() => Kind::Letter,
        _ => Kind::Other,
    }
}

/// Character ranges of the words of one line: every character that is not blank is in exactly one.
fn word_ranges(characters: &[(usize, char)]) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut position = 0;
    while let Some(&(_, character)) = characters.get(position) {
        if kind(character) == Kind::Blank {
            position += 1;
            continue;
        }
        let end = word_end(characters, position);
        ranges.push((position, end));
        position = end;
    }
    ranges
}

/// Where the word that starts at `position` ends.
fn word_end(characters: &[(usize, char)], position: usize) -> usize {
    let kind_at = |index: usize| characters.get(index).map_or(Kind::Blank, |&(_, character)| kind(character));
    // Opening brackets, and punctuation with no word before it, go with the word after.
    let mut end = position;
    while matches!(kind_at(end), Kind::Opening | Kind::Other) {
        end += 1;
    }
    match kind_at(end) {
        Kind::Blank => return end,
        Kind::Currency => end += 1,
        Kind::Digit => end = digits_end(characters, end),
        _ => end = letters_end(characters, end),
    }
    // Punctuation goes with the word before it, unless it is the sign of the number after it.
    while kind_at(end) == Kind::Other && !is_sign(characters, end, position) {
        end += 1;
    }
    end
}

/// Digits with single separators between them.
fn digits_end(characters: &[(usize, char)], start: usize) -> usize {
    let mut end = start;
    let digit = |index: usize| characters.get(index).is_some_and(|&(_, character)| kind(character) == Kind::Digit);
    loop {
        while digit(end) {
            end += 1;
        }
        let separated = matches!(characters.get(end), Some((_, '.' | ',' | '/' | ':' | '-'))) && digit(end + 1);
        if !separated {
            return end;
        }
        end += 1;
    }
}

/// Letters with single joining marks between them.
fn letters_end(characters: &[(usize, char)], start: usize) -> usize {
    let mut end = start;
    let letter = |index: usize| characters.get(index).is_some_and(|&(_, character)| kind(character) == Kind::Letter);
    loop {
        while letter(end) {
            end += 1;
        }
        let joined = matches!(characters.get(end), Some((_, '\'' | '’' | '&' | '.' | '-' | '/'))) && letter(end + 1);
        if !joined {
            return end;
        }
        end += 1;
    }
}

/// Whether the mark at `index` is the sign of a number, after the word that started at `word_start`.
///
/// Between letters and digits a hyphen is a hyphen ("A-5"), except behind a currency ("RM-5.00").
fn is_sign(characters: &[(usize, char)], index: usize, word_start: usize) -> bool {
    let at = |index: usize| characters.get(index).map(|&(_, character)| character);
    if !matches!(at(index), Some('-' | '+')) || !at(index + 1).is_some_and(|next| kind(next) == Kind::Digit) {
        return false;
    }
    let before: String = characters.get(word_start..index).unwrap_or_default().iter().map(|&(_, c)| c).collect();
    before.ends_with([':', '='])
        || is_currency(before.trim_matches(|c: char| !c.is_alphabetic() && !is_currency_symbol(c)))
}

fn is_currency(text: &str) -> bool {
    text.chars().all(is_currency_symbol) && !text.is_empty() || CURRENCY_CODES.contains(&text.to_uppercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<String> {
        let lines = vec![TextLine { text: text.into(), bounds: BoundingBox::new(0.0, 0.0, 100.0, 10.0) }];
        let document = Document::new("a", 100, 10, lines).unwrap();
        words(&document).iter().map(|word| word.text(&document).to_string()).collect()
    }

    #[test]
    fn values_begin_and_end_at_word_edges() {
        for (text, expected) in [
            ("RM9.00", vec!["RM", "9.00"]),
            ("TOTAL:RM-5.00", vec!["TOTAL:", "RM", "-5.00"]),
            ("$1,234.50", vec!["$", "1,234.50"]),
            ("25DEC2018", vec!["25", "DEC", "2018"]),
            ("12/03/2018 14:35", vec!["12/03/2018", "14:35"]),
            ("DATE:12-03-18", vec!["DATE:", "12-03-18"]),
            ("(12/03/2018)", vec!["(12/03/2018)"]),
            ("84600,PAGOH,JOHOR", vec!["84600,", "PAGOH,", "JOHOR"]),
            ("ABC(M)SDN", vec!["ABC", "(M)", "SDN"]),
            ("McDonald's K.L S&P", vec!["McDonald's", "K.L", "S&P"]),
            ("NO.53 55,57 & 59,", vec!["NO.", "53", "55,57", "&", "59,"]),
            ("-5.00 A-5 12,-", vec!["-5.00", "A-", "5", "12,-"]),
            ("*** 5% €9", vec!["***", "5%", "€", "9"]),
            ("9.00€ 1..2", vec!["9.00", "€", "1..", "2"]),
        ] {
            assert_eq!(cut(text), expected, "{text}");
        }
    }

    #[test]
    fn a_word_takes_its_characters_share_of_the_line() {
        let lines = vec![TextLine { text: "ÀB 12".into(), bounds: BoundingBox::new(10.0, 2.0, 60.0, 10.0) }];
        let document = Document::new("a", 100, 10, lines).unwrap();
        let words = words(&document);
        assert_eq!(words[0].bounds, BoundingBox::new(10.0, 2.0, 30.0, 10.0));
        assert_eq!(words[1].bounds, BoundingBox::new(40.0, 2.0, 60.0, 10.0));
        assert_eq!((words[1].start, words[1].end), (4, 6));
    }

    #[test]
    fn any_text_is_cut_without_losing_or_doubling_a_character() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let alphabet: Vec<char> = "aZé9 0.,/:-+()$€ \t\u{301}中#%\u{a0}RM".chars().collect();
        for _ in 0..2000 {
            let length = random.random_range(0..24);
            let text: String = (0..length).map(|_| alphabet[random.random_range(0..alphabet.len())]).collect();
            let expected: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            assert_eq!(cut(&text).concat(), expected, "{text:?}");
        }
    }

    #[test]
    fn rows_are_read_from_the_top_and_each_from_the_left() {
        let line = |text: &str, left: f32, top: f32| TextLine {
            text: text.into(),
            bounds: BoundingBox::new(left, top, left + 10.0, top + 10.0),
        };
        let mut lines =
            vec![line("9.00", 80.0, 22.0), line("b", 5.0, 40.0), line("TOTAL", 3.0, 20.0), line("a", 0.0, 0.0)];
        reading_order(&mut lines);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["a", "TOTAL", "9.00", "b"]);
    }

    #[test]
    fn a_frame_around_lines_does_not_draw_them_into_one_row() {
        let line = |text: &str, top: f32, bottom: f32| TextLine {
            text: text.into(),
            bounds: BoundingBox::new(0.0, top, 10.0, bottom),
        };
        let mut lines =
            vec![line("frame", 0.0, 100.0), line("b", 46.0, 55.0), line("a", 0.0, 10.0), line("c", 60.0, 70.0)];
        reading_order(&mut lines);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["a", "frame", "b", "c"]);
    }

    #[test]
    fn ordering_ordered_lines_changes_nothing() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(10);
        for _ in 0..300 {
            let mut lines: Vec<TextLine> = (0..random.random_range(0..30))
                .map(|index| {
                    let (left, top) = (random.random_range(0.0..90.0), random.random_range(0.0..90.0));
                    let height = random.random_range(1.0..12.0);
                    TextLine { text: index.to_string(), bounds: BoundingBox::new(left, top, left + 9.0, top + height) }
                })
                .collect();
            reading_order(&mut lines);
            let once = lines.clone();
            reading_order(&mut lines);
            assert_eq!(lines, once);
        }
    }
}
