//! Receipts that no one template describes: every company puts the usual blocks in an order of its own.
//!
//! A reader that knows sixteen fixed pages takes their order for a law. Here the seller may stand after the customer or at
//! the foot, the date in a table, below the sums or beside a date that means something else.

use rand::RngExt;
use rand::seq::SliceRandom;

use super::{
    draft::Draft,
    page::{
        Align::{self, Centre, Left, Right},
        Cell, Ink,
    },
};

/// A block above or below the goods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// The seller's name, and the address unless that stands elsewhere.
    Seller {
        with_address: bool,
    },
    Address,
    Contact,
    Website,
    TaxNumber,
    Registration,
    Slogan,
    Title,
    Customer,
    Date,
    DateTable,
    OtherDate,
    Number,
}

/// A slip from a till: narrow, customers are rare.
pub(super) fn slip(draft: &mut Draft<'_>) {
    write(draft, 0.25);
}

/// A bill on larger paper: customers and other dates are the rule.
pub(super) fn bill(draft: &mut Draft<'_>) {
    write(draft, 0.85);
}

fn write(draft: &mut Draft<'_>, customers: f64) {
    let (head, foot) = order(draft, customers);
    let align = [Left, Centre, Centre, Right][draft.habits.random_range(0..4)];
    for block in head {
        put(draft, block, align);
    }
    draft.rule();
    goods(draft);
    sums(draft);
    draft.page.gap(0.5);
    if draft.habit(0.5) {
        draft.closing(Centre);
    }
    let align = if draft.habit(0.5) { Centre } else { Left };
    for block in foot {
        put(draft, block, align);
    }
}

/// Which blocks stand above the goods and which below, in the company's order.
fn order(draft: &mut Draft<'_>, customers: f64) -> (Vec<Block>, Vec<Block>) {
    let apart = draft.habit(0.4);
    let mut head = vec![Block::Number];
    let mut foot = Vec::new();
    let seller_below = draft.habit(0.12);
    let date = if draft.habit(0.15 + 0.3 * customers) { Block::DateTable } else { Block::Date };
    let date_below = draft.habit(0.3);
    for (block, chance, below) in [
        (Block::Contact, 0.5, 0.3),
        (Block::Website, 0.3, 0.5),
        (Block::TaxNumber, 0.5, 0.3),
        (Block::Registration, 0.3, 0.1),
        (Block::Slogan, 0.3, 0.2),
        (Block::Title, 0.5, 0.0),
        (Block::Customer, customers, 0.15),
        (Block::OtherDate, 0.2 + 0.4 * customers, 0.4),
    ] {
        if draft.habit(chance) {
            if draft.habit(below) { foot.push(block) } else { head.push(block) }
        }
    }
    if date_below {
        foot.push(date)
    } else {
        head.push(date)
    }
    head.shuffle(&mut draft.habits);
    foot.shuffle(&mut draft.habits);
    // Most sellers begin with their name; some let the customer, a title or the number go first.
    let seller = Block::Seller { with_address: !apart };
    if seller_below {
        foot.push(seller);
    } else {
        let first = if draft.habit(0.6) { 0 } else { draft.habits.random_range(0..=head.len().min(4)) };
        head.insert(first, seller);
    }
    if apart {
        // Below the name with something between, after the customer's address or before it, or at the foot.
        let name = head.iter().position(|block| matches!(block, Block::Seller { .. })).map_or(0, |name| name + 1);
        if draft.habit(0.4) {
            foot.insert(draft.habits.random_range(0..=foot.len()), Block::Address);
        } else {
            head.insert(draft.habits.random_range(name..=head.len()), Block::Address);
        }
    }
    (head, foot)
}

fn put(draft: &mut Draft<'_>, block: Block, align: Align) {
    let style = draft.style();
    match block {
        Block::Seller { with_address } => {
            let size = 1.0 + 0.1 * draft.habits.random_range(0..8) as f32;
            let name = if draft.habit(0.7) { style.sized(size).bold() } else { style.sized(size) };
            draft.name_lines(align, name);
            if with_address {
                let lines = draft.habits.random_range(1..5);
                draft.address(align, style, lines);
            }
            draft.page.gap(0.3);
        }
        Block::Address => {
            let lines = draft.habits.random_range(1..5);
            let style = if draft.habit(0.5) { style.sized(0.9) } else { style };
            draft.address(align, style, lines);
        }
        Block::Contact => draft.contact(align),
        Block::Website => {
            let website = draft.company.website.clone();
            draft.say(align, website);
        }
        Block::TaxNumber => draft.tax_number(align),
        Block::Registration => draft.registration(align),
        Block::Slogan => draft.slogan(align),
        Block::Title => {
            let words = if draft.habit(0.5) { draft.words.invoice } else { draft.words.title };
            let title = draft.word(words);
            draft.page.line(align, style.sized(1.2).bold(), Ink::plain(title));
        }
        Block::Customer => customer(draft),
        Block::Date => date(draft, align),
        Block::DateTable => date_table(draft),
        Block::OtherDate => other_date(draft, align),
        Block::Number => {
            let number = draft.number();
            draft.page.line(align, style, number);
        }
    }
}

/// Somebody else's name and address: below a label, beside it, or with none.
fn customer(draft: &mut Draft<'_>) {
    let style = draft.style();
    let label = match draft.habits.random_range(0..3) {
        0 => draft.words.deliver_to,
        _ => draft.word(draft.words.bill_to),
    };
    match draft.habits.random_range(0..4) {
        0 | 1 => draft.bill_to(label),
        2 => {
            let lines = draft.customer();
            for (at, line) in lines.into_iter().enumerate() {
                let label = if at == 0 { label } else { "" };
                let cells =
                    vec![Cell::new(0.0, 0.3, Left, Ink::plain(label)), Cell::new(0.32, 1.0, Left, Ink::plain(line))];
                draft.page.row(style, cells);
            }
        }
        _ => {
            for line in draft.customer() {
                draft.say(Left, line);
            }
        }
    }
    draft.page.gap(0.3);
}

fn date(draft: &mut Draft<'_>, align: Align) {
    let style = draft.style();
    let named = draft.habit(0.3);
    let ink = match draft.habits.random_range(0..4) {
        0 => draft.date_and_time(named),
        1 => draft.date(named).unwrap_or_default(),
        _ => draft.dated(named),
    };
    if draft.habit(0.3) {
        let staff = draft.cashier();
        draft.ends(style, ink, staff);
    } else {
        draft.page.line(align, style, ink);
    }
}

/// Headings over the date, the number and a day when something is due, in any order.
fn date_table(draft: &mut Draft<'_>) {
    let style = draft.style();
    let labels = [draft.words.date, draft.words.number].map(|words| draft.word(words));
    let day = 7 * draft.habits.random_range(1..9);
    let due = Ink::plain(draft.other_day(draft.sale.date.plus(day), false));
    let mut columns = vec![
        (Ink::plain(labels[0]), draft.date(false).unwrap_or_default()),
        (Ink::plain(labels[1]), Ink::plain(draft.sale.number.clone())),
        (Ink::plain(draft.words.due), due),
    ];
    columns.shuffle(&mut draft.habits);
    let (head, values): (Vec<Ink>, Vec<Ink>) = columns.into_iter().unzip();
    for inks in [head, values] {
        let cells = inks.into_iter().enumerate().map(|(at, ink)| {
            let from = at as f32 / 3.0;
            Cell::new(from, from + 0.31, Left, ink)
        });
        draft.page.row(style, cells.collect());
    }
}

/// A day that is not the receipt's.
fn other_date(draft: &mut Draft<'_>, align: Align) {
    let (words, days) = (draft.words, draft.habits.random_range(1..60));
    let label = [words.due, words.ready, words.departure][draft.habits.random_range(0..3)];
    let named = draft.habit(0.3);
    let day = draft.other_day(draft.sale.date.plus(days), named);
    let ink = draft.labelled(label, Ink::plain(day));
    if draft.shows_date {
        let style = draft.style();
        draft.page.line(align, style, ink);
    }
}

fn goods(draft: &mut Draft<'_>) {
    match draft.habits.random_range(0..5) {
        0 => draft.items_plain(),
        1 => draft.items_quantity_first(),
        2 => draft.items_two_lines(false),
        3 => draft.items_two_lines(true),
        _ => draft.items_table(false),
    }
    if draft.habit(0.7) {
        draft.rule();
    }
}

fn sums(draft: &mut Draft<'_>) {
    if draft.habit(0.2) {
        draft.count(Left);
    }
    draft.sums_before_total();
    let size = 1.0 + 0.1 * draft.habits.random_range(0..5) as f32;
    let style = draft.style().sized(size);
    let style = if draft.habit(0.6) { style.bold() } else { style };
    if draft.habit(0.2) {
        let (label, total) = (draft.total_label(), draft.total(true));
        let cells = vec![Cell::new(0.0, 0.55, Left, Ink::plain(label)), Cell::new(0.56, 1.0, Right, total)];
        draft.page.band(style, cells);
    } else {
        draft.total_line(style);
    }
    if draft.habit(0.6) {
        draft.payment();
    }
    if draft.habit(0.3) {
        draft.tax_included();
    }
    if draft.habit(0.3) {
        draft.tax_summary();
    }
    if draft.habit(0.15) {
        draft.loyalty();
    }
    if draft.habit(0.1) {
        draft.bar_code();
    }
}
