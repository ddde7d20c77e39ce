//! Dates as receipts print them, in several languages.
//!
//! A date is read as a sequence of numbers and month names; times, weekdays, ordinal endings and small words such as
//! "de" are passed over. Anything else in the text means that it is not a date.

use jiff::civil::Date;

/// The ISO form of a printed date, such as "2018-12-25".
///
/// The day stands before the month unless that is impossible; a number of four digits is a year; two digits are a
/// year from 1970 to 2069. Eight digits in a row are read as year, month, day or day, month, year when the year lies
/// between 1990 and 2099.
pub fn normalise_date(raw: &str) -> Option<String> {
    if raw.len() > 80 {
        return None;
    }
    let parts = parts(raw)?;
    let date = match parts.as_slice() {
        [Part::Number(only)] => eight_digits(only)?,
        [Part::Number(a), Part::Number(b), Part::Number(c)] => numbers(a, b, c)?,
        [Part::Number(a), Part::Month(month), Part::Number(c)] => around_month(a, *month, c)?,
        [Part::Month(month), Part::Number(day), Part::Number(year)] => calendar(year_of(year)?, *month, small(day)?)?,
        _ => return None,
    };
    Some(date.to_string())
}

#[derive(Debug, PartialEq)]
enum Part {
    Number(String),
    Month(i8),
}

/// The numbers and months of a text; none when it holds anything that does not belong to a date.
fn parts(raw: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for token in without_time(raw).split(|c: char| c.is_whitespace() || "./-,()[]'’:_".contains(c)) {
        for piece in runs(token) {
            if piece.starts_with(|c: char| c.is_ascii_digit()) {
                parts.push(Part::Number(piece));
            } else if let Some(month) = month(&piece) {
                parts.push(Part::Month(month));
            } else if !is_passed_over(&piece) {
                return None;
            }
        }
    }
    Some(parts)
}

/// Maximal runs of digits and of other characters, upper-case and without accents.
fn runs(token: &str) -> Vec<String> {
    let mut runs: Vec<String> = Vec::new();
    let mut last_is_digit = None;
    for character in token.chars().flat_map(char::to_uppercase).flat_map(fold_accent) {
        let is_digit = character.is_ascii_digit();
        match runs.last_mut() {
            Some(run) if last_is_digit == Some(is_digit) => run.push(character),
            _ => runs.push(character.to_string()),
        }
        last_is_digit = Some(is_digit);
    }
    runs
}

fn fold_accent(character: char) -> Option<char> {
    match character {
        'À' | 'Á' | 'Â' | 'Ã' | 'Ä' => Some('A'),
        'È' | 'É' | 'Ê' | 'Ë' => Some('E'),
        'Ì' | 'Í' | 'Î' => Some('I'),
        'Ò' | 'Ó' | 'Ô' | 'Õ' | 'Ö' => Some('O'),
        'Ù' | 'Ú' | 'Û' | 'Ü' => Some('U'),
        'Ç' => Some('C'),
        '\u{300}'..='\u{36f}' => None,
        _ => Some(character),
    }
}

/// The text with times of day such as "8:13:39 PM" or "T14:35Z" taken out.
fn without_time(raw: &str) -> String {
    let characters: Vec<char> = raw.chars().collect();
    let mut kept = String::with_capacity(raw.len());
    let mut position = 0;
    while let Some(&character) = characters.get(position) {
        let inside_number = character.is_ascii_digit()
            && position > 0
            && characters.get(position - 1).is_some_and(char::is_ascii_digit);
        let length = if inside_number { 0 } else { time_length(&characters[position..]) };
        if length > 0 {
            kept.push(' ');
            position += length;
        } else {
            kept.push(character);
            position += 1;
        }
    }
    kept
}

/// How many characters of a time of day stand at the front; 0 for none.
fn time_length(characters: &[char]) -> usize {
    let digits =
        |from: usize| characters[from.min(characters.len())..].iter().take_while(|c| c.is_ascii_digit()).count();
    let at = |index: usize| characters.get(index).map(char::to_ascii_uppercase);
    let mut end = usize::from(at(0) == Some('T'));
    let hours = digits(end);
    if !(1..=2).contains(&hours) || at(end + hours) != Some(':') || digits(end + hours + 1) != 2 {
        return 0;
    }
    end += hours + 3;
    if at(end) == Some(':') && digits(end + 1) == 2 {
        end += 3;
    }
    if at(end) == Some('.') && digits(end + 1) == 3 {
        end += 4;
    }
    let meridiem = end + usize::from(at(end) == Some(' '));
    if matches!(at(meridiem), Some('A' | 'P')) && at(meridiem + 1) == Some('M') {
        end = meridiem + 2;
    } else if at(end) == Some('Z') {
        end += 1;
    }
    end
}

fn numbers(a: &str, b: &str, c: &str) -> Option<Date> {
    if a.len() == 4 {
        let (year, month, day) = (year_of(a)?, small(b)?, small(c)?);
        return calendar(year, month, day);
    }
    let (first, second, year) = (small(a)?, small(b)?, year_of(c)?);
    // A year of two digits in front is the last resort: "18-12-25" is the 18th day, but "99-12-25" can only be a year.
    let year_first = || if c.len() == 2 { calendar(year_of(a)?, second, small(c)?) } else { None };
    calendar(year, second, first).or_else(|| calendar(year, first, second)).or_else(year_first)
}

fn around_month(a: &str, month: i8, c: &str) -> Option<Date> {
    if a.len() == 4 {
        return calendar(year_of(a)?, month, small(c)?);
    }
    calendar(year_of(c)?, month, small(a)?)
}

fn eight_digits(digits: &str) -> Option<Date> {
    if digits.len() != 8 {
        return None;
    }
    let modern = |date: &Date| (1990..=2099).contains(&date.year());
    let read = |year: &str, month: &str, day: &str| calendar(year_of(year)?, small(month)?, small(day)?).filter(modern);
    read(&digits[..4], &digits[4..6], &digits[6..])
        .or_else(|| read(&digits[4..], &digits[2..4], &digits[..2]))
        .or_else(|| read(&digits[4..], &digits[..2], &digits[2..4]))
}

fn year_of(digits: &str) -> Option<i16> {
    let value: i16 = digits.parse().ok()?;
    match digits.len() {
        2 if value < 70 => Some(2000 + value),
        2 => Some(1900 + value),
        4 if (1900..=2199).contains(&value) => Some(value),
        _ => None,
    }
}

/// A day or a month: one or two digits.
fn small(digits: &str) -> Option<i8> {
    if digits.len() > 2 { None } else { digits.parse().ok() }
}

fn calendar(year: i16, month: i8, day: i8) -> Option<Date> {
    Date::new(year, month, day).ok()
}

/// Month names without accents: English, German, French, Spanish, Italian, Dutch, Portuguese, Malay, Indonesian.
const MONTHS: [&[&str]; 12] = [
    &["JANUARY", "JANUAR", "JANNER", "JANVIER", "ENERO", "GENNAIO", "JANUARI", "JANEIRO"],
    &["FEBRUARY", "FEBRUAR", "FEVRIER", "FEBRERO", "FEBBRAIO", "FEBRUARI", "FEVEREIRO"],
    &["MARCH", "MARZ", "MAERZ", "MARS", "MARZO", "MAART", "MRT", "MARCO", "MAC", "MARET"],
    &["APRIL", "AVRIL", "ABRIL", "APRILE"],
    &["MAY", "MAI", "MAYO", "MAGGIO", "MEI", "MAIO"],
    &["JUNE", "JUNI", "JUIN", "JUNIO", "GIUGNO", "JUNHO", "JUN"],
    &["JULY", "JULI", "JUILLET", "JULIO", "LUGLIO", "JULHO", "JULAI"],
    &["AUGUST", "AOUT", "AGOSTO", "AUGUSTUS", "OGOS", "AGUSTUS"],
    &["SEPTEMBER", "SEPTEMBRE", "SEPTIEMBRE", "SETTEMBRE", "SETEMBRO"],
    &["OCTOBER", "OKTOBER", "OCTOBRE", "OCTUBRE", "OTTOBRE", "OUTUBRO"],
    &["NOVEMBER", "NOVEMBRE", "NOVIEMBRE", "NOVEMBRO"],
    &["DECEMBER", "DEZEMBER", "DECEMBRE", "DICIEMBRE", "DICEMBRE", "DEZEMBRO", "DISEMBER", "DESEMBER"],
];

/// The month that a name, or an unambiguous beginning of at least three letters, stands for.
fn month(name: &str) -> Option<i8> {
    if name.len() < 3 {
        return None;
    }
    let mut found = (1..).zip(MONTHS).filter(|(_, names)| names.iter().any(|full| full.starts_with(name)));
    let (month, _) = found.next()?;
    found.next().is_none().then_some(month)
}

/// Weekdays, ordinal endings, joining words and the marks of Chinese and Japanese dates.
fn is_passed_over(piece: &str) -> bool {
    const WORDS: [&str; 25] = [
        "ST", "ND", "RD", "TH", "ER", "DE", "DEL", "DI", "OF", "THE", "DEN", "LE", "AM", "PM", "HRS", "UHR", "H",
        "DATE", "DATUM", "FECHA", "TARIKH", "年", "月", "日", "º",
    ];
    const WEEKDAYS: [&str; 31] = [
        "MONDAY",
        "TUESDAY",
        "WEDNESDAY",
        "THURSDAY",
        "FRIDAY",
        "SATURDAY",
        "SUNDAY",
        "MONTAG",
        "DIENSTAG",
        "MITTWOCH",
        "DONNERSTAG",
        "FREITAG",
        "SAMSTAG",
        "SONNTAG",
        "LUNDI",
        "MARDI",
        "MERCREDI",
        "JEUDI",
        "VENDREDI",
        "SAMEDI",
        "DIMANCHE",
        "LUNES",
        "MARTES",
        "MIERCOLES",
        "JUEVES",
        "VIERNES",
        "ISNIN",
        "SELASA",
        "RABU",
        "KHAMIS",
        "JUMAAT",
    ];
    WORDS.contains(&piece) || piece.len() >= 3 && WEEKDAYS.iter().any(|weekday| weekday.starts_with(piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_many_forms_and_languages() {
        for raw in [
            "25/12/2018",
            "25-12-18",
            "25.12.2018",
            "2018.12.25",
            "2018-12-25",
            "2018/12/25",
            "25 DEC 2018",
            "DEC 25, 2018",
            "25DEC2018",
            "25-Dec-18",
            "25/DEC/2018",
            "(25/12/2018)",
            "December 25th, 2018",
            "25. Dezember 2018",
            "25 décembre 2018",
            "25 de diciembre de 2018",
            "25 dicembre 2018",
            "25 Disember 2018",
            "25 december 2018",
            "25 dez 2018",
            "20181225",
            "25122018",
            "25/12/2018 8:13:39 PM",
            "12/25/2018",
            "Tue 25 Dec 2018 14:35",
            "2018-12-25T14:35:00Z",
            "2018年12月25日",
            "Date: 25/12/2018",
            "2018 DEC 25",
            "25 12 2018",
        ] {
            assert_eq!(normalise_date(raw).as_deref(), Some("2018-12-25"), "{raw}");
        }
    }

    #[test]
    fn the_day_stands_before_the_month_unless_that_is_impossible() {
        assert_eq!(normalise_date("03/04/2018").as_deref(), Some("2018-04-03"));
        assert_eq!(normalise_date("03/14/2018").as_deref(), Some("2018-03-14"));
        assert_eq!(normalise_date("18-12-25").as_deref(), Some("2025-12-18"));
        assert_eq!(normalise_date("99-12-25").as_deref(), Some("1999-12-25"));
    }

    #[test]
    fn every_month_is_known_in_every_language_listed() {
        for (number, names) in (1..).zip(MONTHS) {
            for name in names {
                assert_eq!(month(name), Some(number), "{name}");
            }
        }
        assert_eq!(month("JUI"), None, "juin or juillet");
        for (raw, expected) in
            [("1 März 2019", "2019-03-01"), ("1 Mac 2019", "2019-03-01"), ("3 août 2019", "2019-08-03")]
        {
            assert_eq!(normalise_date(raw).as_deref(), Some(expected), "{raw}");
        }
    }

    #[test]
    fn what_is_no_date_is_not_read_as_one() {
        for raw in [
            "",
            "30/02/2018",
            "32/01/2018",
            "00/00/0000",
            "8:13:39 PM",
            "9.00",
            "07-3544800",
            "1.2.3.4",
            "25 DEC",
            "12345678",
            "TOTAL 25/12/2018 9.00",
            "1/1/20189",
            "25 FOO 2018",
            "99999999999999999999/1/1",
        ] {
            assert_eq!(normalise_date(raw), None, "{raw}");
        }
    }

    #[test]
    fn every_day_printed_in_every_order_is_read_back() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        for _ in 0..2000 {
            let (year, month, day) =
                (random.random_range(1990..2060), random.random_range(1..13), random.random_range(1..29));
            let iso = format!("{year:04}-{month:02}-{day:02}");
            for raw in [
                format!("{day:02}/{month:02}/{year}"),
                format!("{day}.{month}.{year}"),
                format!("{day:02}-{month:02}-{:02} 10:00", year % 100),
                format!("{year}{month:02}{day:02}"),
                format!("{} {day}, {year}", &MONTHS[month as usize - 1][0][..3]),
            ] {
                assert_eq!(normalise_date(&raw).as_deref(), Some(iso.as_str()), "{raw}");
            }
        }
    }
}
