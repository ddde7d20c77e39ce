//! Blocks that many receipts have: lists of items, sums, payment, tax summaries, closing words.
//!
//! Which blocks a receipt has, in what order and between what, is the template's business.

use rand::RngExt;

use super::{
    company::pick,
    draft::Draft,
    font::Style,
    page::{
        Align::{self, Centre, Left, Right},
        Cell, Ink,
    },
    sale::Item,
};

/// What wordings of a subtotal contain that leaves the tax out.
const WITHOUT_TAX: [&str; 7] = ["EXCL", "NET", " HT", "HORS", "IMPONIBLE", "SIN IVA", "WARENWERT"];

impl Draft<'_> {
    /// Items on one line each: what, and its sum.
    pub(super) fn items_plain(&mut self) {
        let style = self.style();
        let quantities = self.habit(0.5);
        for item in self.sale.items.clone() {
            let times = if item.quantity > 1 { format!("{} x ", item.quantity) } else { String::new() };
            let name = if quantities { format!("{times}{}", item.name) } else { item.name.clone() };
            let sum = self.amount(item.sum());
            self.ends(style, Ink::plain(name), Ink::plain(sum));
        }
    }

    /// Items on one line each, the quantity first.
    pub(super) fn items_quantity_first(&mut self) {
        let style = self.style();
        for item in self.sale.items.clone() {
            let cells = vec![
                Cell::new(0.0, 0.09, Left, Ink::plain(item.quantity.to_string())),
                Cell::new(0.1, 0.74, Left, Ink::plain(item.name.clone())),
                Cell::new(0.76, 1.0, Right, Ink::plain(self.amount(item.sum()))),
            ];
            self.page.row(style, cells);
        }
    }

    /// Items on two lines each: the name, then what it is multiplied from.
    pub(super) fn items_two_lines(&mut self, coded: bool) {
        let style = self.style();
        for item in self.sale.items.clone() {
            let name = if coded { format!("{} {}", item.code, item.name) } else { item.name.clone() };
            self.say(Left, name);
            let from = format!("  {} x {}", item.quantity, self.amount(item.price));
            let sum = self.amount(item.sum());
            self.ends(style, Ink::plain(from), Ink::plain(sum));
        }
    }

    /// Items in a table with headings, on one line each.
    pub(super) fn items_table(&mut self, numbered: bool) {
        const EDGES: [f32; 4] = [0.0, 0.50, 0.60, 0.80];
        let style = self.style();
        let head =
            [self.words.item, self.words.quantity, self.words.price, self.words.amount].map(|words| self.word(words));
        let cells = |texts: [String; 4]| {
            let [name, quantity, price, sum] = texts;
            vec![
                Cell::new(EDGES[0], EDGES[1], Left, Ink::plain(name)),
                Cell::new(EDGES[1], EDGES[2], Right, Ink::plain(quantity)),
                Cell::new(EDGES[2] + 0.01, EDGES[3], Right, Ink::plain(price)),
                Cell::new(EDGES[3] + 0.01, 1.0, Right, Ink::plain(sum)),
            ]
        };
        self.page.row(style.bold(), cells(head.map(String::from)));
        self.rule();
        for (at, Item { name, quantity, price, .. }) in self.sale.items.clone().into_iter().enumerate() {
            let name = if numbered { format!("{}. {name}", at + 1) } else { name };
            let texts = [name, quantity.to_string(), self.amount(price), self.amount(price * quantity)];
            self.page.row(style, cells(texts));
        }
    }

    /// A label and an amount, in a style.
    pub(super) fn sum(&mut self, style: Style, label: &str, cents: i64) {
        let amount = self.amount(cents);
        self.ends(style, Ink::plain(label), Ink::plain(amount));
    }

    /// Everything between the items and the total.
    pub(super) fn sums_before_total(&mut self) {
        let (style, words) = (self.style(), self.words);
        let changed = self.sale.total != self.sale.goods;
        let label = self.word(words.subtotal);
        let shown = changed || self.habit(0.5);
        let without_tax = WITHOUT_TAX.iter().any(|word| label.to_uppercase().contains(word));
        if shown && !without_tax {
            self.sum(style, label, self.sale.goods);
        }
        if self.sale.discount > 0 {
            self.sum(style, words.discount, -self.sale.discount);
        }
        if self.sale.service > 0 {
            self.sum(style, words.service, self.sale.service);
        }
        if shown && without_tax {
            self.sum(style, label, self.sale.net());
        }
        if self.sale.tax_added {
            let label = self.tax_label();
            self.sum(style, &label, self.sale.tax);
        }
        if self.sale.rounding != 0 {
            self.sum(style, words.rounding, self.sale.rounding);
        }
    }

    /// "VAT 20%".
    pub(super) fn tax_label(&mut self) -> String {
        let tax = self.word(self.words.tax);
        let rate = self.sale.tax_rate;
        match self.habits.random_range(0..3) {
            0 => format!("{tax} {rate}%"),
            1 => format!("{tax} ({rate} %)"),
            _ => format!("{rate}% {tax}"),
        }
    }

    /// The total in its own style, with the currency if the company likes.
    pub(super) fn total_line(&mut self, style: Style) {
        let (label, with_currency) = (self.total_label(), self.habit(0.4));
        let total = self.total(with_currency);
        self.ends(style, Ink::plain(label), total);
    }

    /// How it was paid: cash and change, or a card.
    pub(super) fn payment(&mut self) {
        let style = self.style();
        let (cash, card, change) =
            (self.word(self.words.cash), self.word(self.words.card), self.word(self.words.change));
        match self.sale.cash {
            Some(paid) => {
                self.sum(style, cash, paid);
                if paid > self.sale.total || self.habit(0.5) {
                    self.sum(style, change, paid - self.sale.total);
                }
            }
            None => self.sum(style, card, self.sale.total),
        }
    }

    /// The tax inside the total, on one line.
    pub(super) fn tax_included(&mut self) {
        if !self.sale.tax_added {
            let (style, label) = (self.style(), self.tax_label());
            self.sum(style, &label, self.sale.tax);
        }
    }

    /// A table of net, tax and gross.
    pub(super) fn tax_summary(&mut self) {
        let (style, words) = (self.style().sized(0.92), self.words);
        let tax = self.word(words.tax);
        let (net, all) = (self.sale.net(), self.sale.net() + self.sale.tax);
        if self.habit(0.6) {
            self.page.line(Left, style.bold(), Ink::plain(words.tax_summary));
        }
        let head = ["%", words.net, tax, words.gross].map(String::from);
        let rate = format!("{}%", self.sale.tax_rate);
        let row = [rate, self.amount(net), self.amount(self.sale.tax), self.amount(all)];
        for (texts, style) in [(head, style.bold()), (row, style)] {
            let cells = texts.into_iter().enumerate().map(|(at, text)| {
                let from = at as f32 / 4.0;
                Cell::new(from, from + 0.24, if at == 0 { Left } else { Right }, Ink::plain(text))
            });
            self.page.row(style, cells.collect());
        }
    }

    /// How many items there were.
    pub(super) fn count(&mut self, align: Align) {
        let many: i64 = self.sale.items.iter().map(|item| item.quantity).sum();
        let text = format!("{}: {many}", self.words.count);
        self.say(align, text);
    }

    /// Words after the business is done.
    pub(super) fn closing(&mut self, align: Align) {
        let (thanks, returns) = (self.word(self.words.thanks), self.word(self.words.returns));
        self.say(align, thanks);
        if self.habit(0.6) {
            self.say(align, returns);
        }
        if self.habit(0.3) {
            let website = self.company.website.clone();
            self.say(align, website);
        }
    }

    /// What a regular customer gained.
    pub(super) fn loyalty(&mut self) {
        let style = self.style();
        let card = self.digits(8);
        self.ends(style, Ink::plain(self.words.loyalty), Ink::plain(format!("****{}", &card[4..])));
        let points = self.sale.total / 100;
        self.ends(style, Ink::plain(self.words.points), Ink::plain(points.to_string()));
        if self.sale.discount > 0 {
            self.sum(style, self.words.saved, self.sale.discount);
        }
    }

    /// Telephone and the like.
    pub(super) fn contact(&mut self, align: Align) {
        let label = self.words.phone;
        let phone = self.company.phone.clone();
        let mut text = self.labelled(label, Ink::plain(phone.clone())).text();
        if self.habit(0.3) {
            text = format!("{text}  Fax: {}{}", &phone[..phone.len() - 1], self.habits.random_range(0..10));
        }
        self.say(align, text);
    }

    /// The company's number in its register.
    pub(super) fn registration(&mut self, align: Align) {
        let number = self.company.registration.clone();
        let text =
            if self.habit(0.5) { format!("({number})") } else { format!("{}: {number}", self.words.registration) };
        self.say(align, text);
    }

    /// The company's tax number.
    pub(super) fn tax_number(&mut self, align: Align) {
        let text = format!("{}: {}", self.words.tax_number, self.company.tax_number);
        self.say(align, text);
    }

    /// What the company says about itself.
    pub(super) fn slogan(&mut self, align: Align) {
        let slogan = self.word(self.words.slogans);
        self.say(align, slogan);
    }

    /// Labels and values with the values below each other.
    pub(super) fn listed(&mut self, rows: Vec<(&str, Ink)>, edge: f32) {
        let style = self.style();
        let colon = self.habit(0.7);
        for (label, value) in rows.into_iter().filter(|(_, value)| !value.parts.is_empty()) {
            let value = if colon { Ink::plain(": ").then(value) } else { value };
            let cells = vec![Cell::new(0.0, edge - 0.01, Left, Ink::plain(label)), Cell::new(edge, 1.0, Left, value)];
            self.page.row(style, cells);
        }
    }

    /// A customer's name and address below a label.
    pub(super) fn bill_to(&mut self, label: &str) {
        let style = self.style();
        self.page.line(Left, style.bold(), Ink::plain(format!("{label}:")));
        for line in self.customer() {
            self.say(Left, line);
        }
    }

    /// "Printed: date time", a date that is not the receipt's; left out where the receipt has none to tell it from.
    pub(super) fn printed(&mut self, align: Align) {
        let day = self.sale.date.plus(*pick(&[0, 0, 1, 2, 9], self.random));
        let (text, time) = (self.other_day(day, false), self.time());
        if self.shows_date {
            let style = self.style().sized(0.85);
            self.page.line(align, style, Ink::plain(format!("{}: {text} {time}", self.words.printed)));
        }
    }

    /// Something said at the centre with signs around it.
    pub(super) fn starred(&mut self, text: &str) {
        let sign = *pick(&["***", "*", "--", "=="], &mut self.habits);
        self.say(Centre, format!("{sign} {text} {sign}"));
    }
}
