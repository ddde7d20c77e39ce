//! A receipt being written: what one line or block of a receipt says, for templates to put in their own order.
//!
//! Decisions that belong to a company (wordings, forms of dates) come from its habits and are the same on all its
//! receipts; decisions of the day come from the receipt's own stream.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{
    company::{Company, address, company_name, digits, pick},
    font::Style,
    language::Day,
    page::{
        Align::{Centre, Left, Right},
        Cell, Field, Ink, Page,
    },
    sale::Sale,
    wordings::Words,
};

/// A page, what it is about, and the chances that decide how.
pub(super) struct Draft<'a> {
    pub(super) page: Page,
    pub(super) company: Company,
    pub(super) sale: Sale,
    pub(super) words: &'static Words,
    pub(super) habits: ChaCha8Rng,
    pub(super) random: &'a mut ChaCha8Rng,
    pub(super) shows_address: bool,
    pub(super) shows_date: bool,
    pub(super) held_out: bool,
    pub(super) date_form: u32,
    pub(super) currency: u32,
    dash: Option<f32>,
}

impl<'a> Draft<'a> {
    /// An empty page in the company's style, about a random sale.
    pub(super) fn new(
        mut page: Page,
        company: Company,
        sale: Sale,
        held_out: bool,
        random: &'a mut ChaCha8Rng,
    ) -> Self {
        let mut habits = company.habits.clone();
        let dash = *pick(&[Some(6.0), Some(3.0), None, Some(10.0)], &mut habits);
        page.capitals |= habits.random_bool(0.15);
        Self {
            page,
            words: company.language.words(),
            date_form: habits.random_range(0..12),
            currency: habits.random_range(0..12),
            shows_address: !random.random_bool(0.03),
            shows_date: !random.random_bool(0.02),
            company,
            sale,
            habits,
            random,
            held_out,
            dash,
        }
    }

    /// One of several wordings, the same for all receipts of the company.
    pub(super) fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.habits.random_range(0..words.len())]
    }

    /// Something the company does with a chance.
    pub(super) fn habit(&mut self, chance: f64) -> bool {
        self.habits.random_bool(chance)
    }

    /// The style of the page's text.
    pub(super) fn style(&self) -> Style {
        self.page.style
    }

    /// A rule in the company's way.
    pub(super) fn rule(&mut self) {
        self.page.rule(self.dash, 1.5);
    }

    /// A plain line in the page's own letters.
    pub(super) fn say(&mut self, align: super::page::Align, text: impl Into<String>) {
        let style = self.style();
        self.page.line(align, style, Ink::plain(text));
    }

    /// A line with a text at each end.
    pub(super) fn ends(&mut self, style: Style, left: Ink, right: Ink) {
        let share = style.width(&right.text()) / self.page.inner() + 0.02;
        let middle = (1.0 - share).clamp(0.3, 0.98);
        self.page.row(style, vec![Cell::new(0.0, middle, Left, left), Cell::new(middle, 1.0, Right, right)]);
    }

    /// The company's name as a value.
    pub(super) fn name(&self) -> Ink {
        Ink::value(Field::Company, self.company.name.clone())
    }

    /// The company's name in large letters, on two lines if it is long and the company likes that.
    pub(super) fn name_lines(&mut self, align: super::page::Align, style: Style) {
        let wraps = self.habit(0.4);
        let name = self.company.name.clone();
        let blank = name
            .char_indices()
            .filter(|(_, c)| *c == ' ')
            .map(|(at, _)| at)
            .min_by_key(|at| at.abs_diff(name.len() / 2));
        let broad = style.width(&name) > 0.85 * self.page.inner();
        match blank {
            Some(at) if broad && wraps => {
                self.page.line(align, style, Ink::value(Field::Company, &name[..at]));
                self.page.line(align, style, Ink::value(Field::Company, &name[at + 1..]));
            }
            _ => self.page.line(align, style, Ink::value(Field::Company, name)),
        }
    }

    /// The address on at most `lines` lines; nothing when this receipt has none.
    pub(super) fn address(&mut self, align: super::page::Align, style: Style, lines: usize) {
        let comma = self.habit(0.6);
        if !self.shows_address {
            return;
        }
        for line in wrap_address(&self.company.address, lines, comma) {
            self.page.line(align, style, Ink::value(Field::Address, line));
        }
    }

    /// The address on one line as a value, if this receipt has one.
    pub(super) fn address_ink(&self) -> Option<Ink> {
        self.shows_address.then(|| Ink::value(Field::Address, self.company.address.join(", ")))
    }

    /// A customer: a name and an address that are not the company's.
    pub(super) fn customer(&mut self) -> Vec<String> {
        let language = self.company.language;
        let name = if self.random.random_bool(0.6) {
            company_name(language, self.held_out, self.random)
        } else {
            let family = super::company::proper_name(language, self.held_out, self.random);
            format!("{} {family}", pick(self.words.first_names, self.random))
        };
        let mut lines = vec![name];
        let rows = self.random.random_range(1..=4);
        lines.extend(wrap_address(&address(language, self.random), rows, true));
        lines
    }

    /// "Label: value" with the company's punctuation.
    pub(super) fn labelled(&mut self, label: &str, value: Ink) -> Ink {
        let between = *pick(&[": ", " : ", " ", ":"], &mut self.habits);
        Ink::plain(format!("{label}{between}")).then(value)
    }

    /// The date as a value, if this receipt has one.
    pub(super) fn date(&self, named: bool) -> Option<Ink> {
        self.shows_date.then(|| Ink::value(Field::Date, self.other_day(self.sale.date, named)))
    }

    /// The date behind its label, if this receipt has one.
    pub(super) fn dated(&mut self, named: bool) -> Ink {
        let label = self.word(self.words.date);
        match self.date(named) {
            Some(date) => self.labelled(label, date),
            None => Ink::default(),
        }
    }

    /// A day that is not the receipt's date, written in the same way.
    pub(super) fn other_day(&self, day: Day, named: bool) -> String {
        self.company.language.date(day, self.date_form, named)
    }

    /// The time of day.
    pub(super) fn time(&mut self) -> String {
        let (hour, minute) = (self.sale.hour, self.sale.minute);
        match self.date_form % 3 {
            0 => format!("{hour:02}:{minute:02}"),
            1 => format!("{hour:02}:{minute:02}:{:02}", self.random.random_range(0..60)),
            _ if hour >= 12 => format!("{:02}:{minute:02} PM", (hour + 11) % 12 + 1),
            _ => format!("{hour:02}:{minute:02} AM"),
        }
    }

    /// The date with the time of day behind it.
    pub(super) fn date_and_time(&mut self, named: bool) -> Ink {
        let time = self.time();
        match self.date(named) {
            Some(date) => date.and(format!(" {time}")),
            None => Ink::plain(time),
        }
    }

    /// "Receipt No: 123".
    pub(super) fn number(&mut self) -> Ink {
        let label = self.word(self.words.number);
        let number = Ink::plain(self.sale.number.clone());
        self.labelled(label, number)
    }

    /// "Cashier: Ellen".
    pub(super) fn cashier(&mut self) -> Ink {
        let label = self.word(self.words.cashier);
        let name = Ink::plain(*pick(self.words.first_names, self.random));
        self.labelled(label, name)
    }

    /// An amount without its currency.
    pub(super) fn amount(&self, cents: i64) -> String {
        self.company.language.amount(cents)
    }

    /// The total as a value, with the currency around it if wanted.
    pub(super) fn total(&self, with_currency: bool) -> Ink {
        let value = Ink::value(Field::Total, self.amount(self.sale.total));
        let (before, after) = if with_currency { self.company.language.currency(self.currency) } else { ("", "") };
        if before.is_empty() { value.and(after) } else { Ink::plain(before).then(value).and(after) }
    }

    /// The currency alone.
    pub(super) fn unit(&self) -> &'static str {
        self.company.language.unit(self.currency)
    }

    /// The company's wording for the total, sometimes with the currency behind it.
    pub(super) fn total_label(&mut self) -> String {
        let label = self.word(self.words.total);
        match self.habits.random_range(0..4) {
            0 => format!("{label} ({})", self.unit()),
            1 => format!("{label}:"),
            _ => label.to_string(),
        }
    }

    /// Digits from the receipt's own stream.
    pub(super) fn digits(&mut self, count: u32) -> String {
        digits(count, self.random)
    }

    /// A bar code and its number.
    pub(super) fn bar_code(&mut self) {
        let widths: Vec<f32> = (0..70).map(|_| self.random.random_range(1..4) as f32).collect();
        self.page.bar_code(&widths);
        let number = self.digits(13);
        let style = self.style().sized(0.85);
        self.page.line(Centre, style, Ink::plain(number));
    }
}

/// The parts of an address put together on at most `lines` lines.
pub(super) fn wrap_address(parts: &[String], lines: usize, comma: bool) -> Vec<String> {
    let per_line = parts.len().div_ceil(lines.max(1));
    let wrapped: Vec<String> = parts.chunks(per_line.max(1)).map(|chunk| chunk.join(", ")).collect();
    let last = wrapped.len().saturating_sub(1);
    wrapped.into_iter().enumerate().map(|(at, line)| if comma && at < last { line + "," } else { line }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_takes_no_more_lines_than_it_may_and_loses_nothing() {
        let parts: Vec<String> = ["1", "2", "3", "4"].map(String::from).to_vec();
        assert_eq!(wrap_address(&parts, 1, true), ["1, 2, 3, 4"]);
        assert_eq!(wrap_address(&parts, 2, true), ["1, 2,", "3, 4"]);
        assert_eq!(wrap_address(&parts, 3, false), ["1, 2", "3, 4"]);
        assert_eq!(wrap_address(&parts, 9, false), ["1", "2", "3", "4"]);
    }
}
