//! The templates: which there are, in which languages, and which are kept from training.

use super::{
    composed,
    draft::Draft,
    font::{Face, Style},
    invoices,
    language::Language::{self, English, French, German, Malay, Spanish},
    slips, tills,
};

/// One way of laying out a receipt, with companies of its own.
#[derive(Clone, Copy)]
pub struct Template {
    /// Its name, unique.
    pub name: &'static str,
    /// Whether it and its companies are kept for judging.
    pub held_out: bool,
    /// The languages of its companies.
    pub languages: &'static [Language],
    pub(super) look: Look,
    pub(super) write: fn(&mut Draft<'_>),
}

impl std::fmt::Debug for Template {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Template").field("name", &self.name).field("held_out", &self.held_out).finish()
    }
}

/// What the page and its letters look like before the company changes them a little.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) face: Face,
    pub(super) size: f32,
    pub(super) width: f32,
    pub(super) capitals: bool,
    pub(super) most_items: usize,
}

impl Look {
    const fn new(face: Face, size: f32, width: f32, capitals: bool, most_items: usize) -> Self {
        Self { face, size, width, capitals, most_items }
    }

    /// The style of plain text.
    pub(super) fn style(self) -> Style {
        Style { face: self.face, bold: false, size: self.size, stretch: 1.0 }
    }
}

const EVERY: &[Language] = &Language::ALL;
const EURO: &[Language] = &[German, French, Spanish];

const fn template(
    name: &'static str,
    languages: &'static [Language],
    look: Look,
    write: fn(&mut Draft<'_>),
) -> Template {
    Template { name, held_out: false, languages, look, write }
}

const fn held_out(template: Template) -> Template {
    Template { held_out: true, ..template }
}

/// Every template; its place here numbers its companies.
pub(super) static TEMPLATES: [Template; 36] = [
    template("till", EVERY, Look::new(Face::Mono, 19.0, 520.0, true, 7), tills::till),
    template("welcome", EVERY, Look::new(Face::Mono, 19.0, 500.0, false, 7), tills::welcome),
    template("cash bill", &[Malay, English], Look::new(Face::Sans, 19.0, 560.0, true, 6), tills::cash_bill),
    template("grid", EVERY, Look::new(Face::Sans, 18.0, 600.0, false, 7), tills::grid),
    template("restaurant", EVERY, Look::new(Face::Serif, 21.0, 520.0, false, 7), tills::restaurant),
    template("footer", EVERY, Look::new(Face::Mono, 19.0, 520.0, false, 6), tills::footer),
    template("market", EURO, Look::new(Face::Mono, 19.0, 540.0, false, 7), tills::market),
    template("pharmacy", EVERY, Look::new(Face::Sans, 19.0, 520.0, false, 5), tills::pharmacy),
    template("invoice", EVERY, Look::new(Face::Sans, 17.5, 640.0, false, 6), invoices::invoice),
    template("hotel", EVERY, Look::new(Face::Serif, 19.0, 640.0, false, 4), invoices::hotel),
    template("order", EVERY, Look::new(Face::Sans, 18.0, 600.0, false, 5), invoices::order),
    template("order book", EVERY, Look::new(Face::Serif, 20.0, 580.0, false, 5), invoices::order_book),
    template("fuel", EVERY, Look::new(Face::Mono, 20.0, 500.0, true, 1), slips::fuel),
    template("card slip", EVERY, Look::new(Face::Mono, 20.0, 500.0, false, 1), slips::card_slip),
    template("parking", EVERY, Look::new(Face::Sans, 20.0, 500.0, false, 1), slips::parking),
    template("laundry", EVERY, Look::new(Face::Sans, 20.0, 520.0, false, 4), slips::laundry),
    template("mixed roll", EVERY, Look::new(Face::Mono, 19.0, 520.0, false, 7), composed::slip),
    template("mixed slip", EVERY, Look::new(Face::Sans, 19.0, 540.0, false, 5), composed::slip),
    template("mixed ticket", EVERY, Look::new(Face::Serif, 20.0, 520.0, false, 6), composed::slip),
    template("mixed capitals", EVERY, Look::new(Face::Mono, 18.0, 560.0, true, 6), composed::slip),
    template("mixed bill", EVERY, Look::new(Face::Sans, 18.0, 620.0, false, 6), composed::bill),
    template("mixed letter", EVERY, Look::new(Face::Serif, 19.0, 620.0, false, 5), composed::bill),
    template("mixed form", EVERY, Look::new(Face::Mono, 18.0, 600.0, false, 5), composed::bill),
    template("mixed order", EVERY, Look::new(Face::Sans, 18.0, 600.0, true, 5), composed::bill),
    template("mixed sheet", EVERY, Look::new(Face::Sans, 18.5, 620.0, false, 5), composed::bill),
    template("mixed account", EVERY, Look::new(Face::Serif, 20.0, 600.0, false, 4), composed::bill),
    template("mixed note", EVERY, Look::new(Face::Mono, 18.0, 620.0, true, 6), composed::bill),
    template("mixed page", EVERY, Look::new(Face::Sans, 17.5, 640.0, false, 7), composed::bill),
    template("mixed print", EVERY, Look::new(Face::Mono, 18.5, 600.0, false, 6), composed::bill),
    template("mixed copy", EVERY, Look::new(Face::Sans, 18.0, 600.0, true, 5), composed::bill),
    template("mixed strip", EVERY, Look::new(Face::Mono, 20.0, 500.0, true, 4), composed::slip),
    template("mixed stub", EVERY, Look::new(Face::Serif, 20.0, 520.0, false, 5), composed::slip),
    held_out(template("kiosk", EVERY, Look::new(Face::Mono, 19.0, 520.0, false, 6), tills::kiosk)),
    held_out(template("workshop", EVERY, Look::new(Face::Sans, 18.0, 620.0, false, 5), invoices::workshop)),
    held_out(template("coffee house", EVERY, Look::new(Face::Serif, 21.0, 500.0, false, 5), slips::coffee_house)),
    held_out(template("wholesale", EVERY, Look::new(Face::Mono, 18.0, 600.0, true, 6), invoices::wholesale)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn thirty_two_templates_are_for_training_and_four_are_held_out_under_names_of_their_own() {
        assert_eq!(TEMPLATES.iter().filter(|template| !template.held_out).count(), 32);
        assert_eq!(TEMPLATES.iter().filter(|template| template.held_out).count(), 4);
        let names: HashSet<_> = TEMPLATES.iter().map(|template| template.name).collect();
        assert_eq!(names.len(), TEMPLATES.len());
    }
}
