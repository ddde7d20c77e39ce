//! The languages of receipts, and how each writes dates and amounts.
//!
//! A reader has to cope with "1.234,50", "1 234,50" and "1,234.50", and with months that are numbers, names and
//! abbreviations; what is said around them is in `wordings`.

use rand::{Rng, RngExt};

use super::wordings::{ENGLISH, FRENCH, GERMAN, MALAY, SPANISH, Words};

/// A language and the money of its shops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// English, in pounds or dollars.
    English,
    /// German, in euro.
    German,
    /// French, in euro.
    French,
    /// Spanish, in euro.
    Spanish,
    /// Malay mixed with English as in Malaysian shops, in ringgit.
    Malay,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 5] = [Self::English, Self::German, Self::French, Self::Spanish, Self::Malay];

    /// The language's labels.
    pub(super) fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::German => &GERMAN,
            Self::French => &FRENCH,
            Self::Spanish => &SPANISH,
            Self::Malay => &MALAY,
        }
    }

    /// An amount as the language groups and points it, without currency.
    pub(super) fn amount(self, cents: i64) -> String {
        let (group, point) = match self {
            Self::English | Self::Malay => (",", '.'),
            Self::German | Self::Spanish => (".", ','),
            Self::French => (" ", ','),
        };
        let sign = if cents < 0 { "-" } else { "" };
        let (whole, rest) = (cents.abs() / 100, cents.abs() % 100);
        let whole =
            if whole < 1000 { whole.to_string() } else { format!("{}{group}{:03}", whole / 1000, whole % 1000) };
        format!("{sign}{whole}{point}{rest:02}")
    }

    /// What stands before and after an amount that carries its currency; `choice` picks where a country has several.
    pub(super) fn currency(self, choice: u32) -> (&'static str, &'static str) {
        const ENGLISH: [(&str, &str); 4] = [("£", ""), ("$", ""), ("£", ""), ("GBP ", "")];
        const EURO: [(&str, &str); 3] = [("", " €"), ("", " EUR"), ("EUR ", "")];
        const MALAY: [(&str, &str); 3] = [("RM", ""), ("RM ", ""), ("MYR ", "")];
        match self {
            Self::English => ENGLISH[choice as usize % 4],
            Self::German | Self::French | Self::Spanish => EURO[choice as usize % 3],
            Self::Malay => MALAY[choice as usize % 3],
        }
    }

    /// The currency alone, for a heading such as "TOTAL (RM)".
    pub(super) fn unit(self, choice: u32) -> &'static str {
        let (before, after) = self.currency(choice);
        if before.is_empty() { after.trim() } else { before.trim() }
    }

    /// How many ways of writing dates with digits only the language has.
    const DIGIT_FORMS: u32 = 4;

    /// A date; `form` picks the way, and with `named` the month is written as a word.
    pub(super) fn date(self, date: Day, form: u32, named: bool) -> String {
        if named { self.named_date(date, form) } else { self.digit_date(date, form) }
    }

    fn digit_date(self, Day { year, month, day }: Day, form: u32) -> String {
        let short = year % 100;
        let form = form % Self::DIGIT_FORMS;
        match (self, form) {
            (Self::German, 0 | 1) => format!("{day:02}.{month:02}.{year}"),
            (Self::German, 2) => format!("{day:02}.{month:02}.{short:02}"),
            (_, 0) => format!("{day:02}/{month:02}/{year}"),
            (_, 1) => format!("{day:02}-{month:02}-{year}"),
            (Self::English | Self::German | Self::Malay, 3) => format!("{year}-{month:02}-{day:02}"),
            (Self::French, 3) => format!("{day:02}.{month:02}.{year}"),
            _ => format!("{day:02}/{month:02}/{short:02}"),
        }
    }

    fn named_date(self, Day { year, month, day }: Day, form: u32) -> String {
        let words = self.words();
        let index = (month as usize - 1) % 12;
        let (long, brief) = (words.months[index], words.months_short[index]);
        match (self, form % 3) {
            (Self::English, 0) => format!("{brief} {day}, {year}"),
            (Self::English | Self::Malay, 1) => format!("{day:02}-{brief}-{year}"),
            (Self::English | Self::Malay | Self::French, 2) => format!("{day} {long} {year}"),
            (Self::German, 0 | 1) => format!("{day}. {long} {year}"),
            (Self::German, _) => format!("{day:02}. {brief} {year}"),
            (Self::French, _) => format!("{day} {brief} {year}"),
            (Self::Spanish, 0 | 1) => format!("{day} de {long} de {year}"),
            (Self::Spanish, _) => format!("{day:02}-{brief}-{year}"),
            (Self::English | Self::Malay, _) => format!("{day} {brief} {year}"),
        }
    }
}

/// A calendar day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) year: u32,
    pub(super) month: u32,
    pub(super) day: u32,
}

impl Day {
    /// A day between 2012 and 2026.
    pub(super) fn random(random: &mut impl Rng) -> Self {
        Self {
            year: random.random_range(2012..=2026),
            month: random.random_range(1..=12),
            day: random.random_range(1..=28),
        }
    }

    /// The day some days later, on a calendar where a month is cut at its 28th: near enough for a due date.
    pub(super) fn plus(self, days: u32) -> Self {
        let all = self.day - 1 + days;
        let months = self.month - 1 + all / 28;
        Self { year: self.year + months / 12, month: months % 12 + 1, day: all % 28 + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use florin_data::value::{normalise_amount, normalise_date};

    #[test]
    fn every_written_date_is_read_back_as_the_same_day() {
        for language in Language::ALL {
            for (month, form) in (1..=12).flat_map(|month| (0..12).map(move |form| (month, form))) {
                let day = Day { year: 2023, month, day: 27 };
                for named in [false, true] {
                    let text = language.date(day, form, named);
                    assert_eq!(normalise_date(&text), Some(format!("2023-{month:02}-27")), "{language:?}: {text}");
                    assert_eq!(normalise_date(&text.to_uppercase()), normalise_date(&text), "{language:?}: {text}");
                }
            }
        }
    }

    #[test]
    fn every_written_amount_is_read_back_as_the_same_sum() {
        for (cents, expected) in [(5, "0.05"), (99_950, "999.50"), (123_450, "1234.50"), (1_200_099, "12000.99")] {
            for language in Language::ALL {
                for choice in 0..4 {
                    let (before, after) = language.currency(choice);
                    let text = format!("{before}{}{after}", language.amount(cents));
                    assert_eq!(normalise_amount(&text).as_deref(), Some(expected), "{language:?}: {text}");
                }
            }
        }
    }

    #[test]
    fn later_days_are_later_and_stay_on_the_calendar() {
        let day = Day { year: 2023, month: 12, day: 20 };
        assert_eq!(day.plus(0), day);
        assert_eq!(day.plus(14), Day { year: 2024, month: 1, day: 6 });
    }
}
