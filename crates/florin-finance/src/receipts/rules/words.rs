//! What rules ask of a line of text.

/// Whether `word` stands in `text` on its own, not inside a longer word.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start + found.len()..].chars().next();
        let ends_open = !word.ends_with(|last: char| last.is_ascii_alphanumeric());
        let letter = |symbol: Option<char>| symbol.is_some_and(char::is_alphabetic);
        !letter(before) && (ends_open || !letter(after))
    })
}

pub(super) fn word_ranges(text: &str) -> Vec<(usize, usize)> {
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

pub(super) fn letters(text: &str) -> usize {
    text.chars().filter(|symbol| symbol.is_alphabetic()).count()
}

pub(super) fn digits(text: &str) -> usize {
    text.chars().filter(char::is_ascii_digit).count()
}
