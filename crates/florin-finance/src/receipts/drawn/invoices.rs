//! Invoices and bills on larger paper: two columns, customers' names and addresses, dates of other things.

use rand::RngExt;

use super::{
    company::pick,
    draft::Draft,
    page::{
        Align::{Centre, Left, Right},
        Cell, Ink,
    },
};

/// Title on the left and number, date and due date on the right, then the seller, then the customer.
pub(super) fn invoice(draft: &mut Draft<'_>) {
    let style = draft.style();
    let title = draft.word(draft.words.invoice);
    let (number, date) = (draft.number(), draft.dated(false));
    let due = draft.other_day(draft.sale.date.plus(30), false);
    let due = draft.labelled(draft.words.due, Ink::plain(due));
    draft.ends(style.sized(1.5).bold(), Ink::plain(title), Ink::default());
    for ink in [number, date, due] {
        draft.page.line(Right, style, ink);
    }
    draft.name_lines(Left, style.sized(1.25).bold());
    draft.address(Left, style, 3);
    draft.contact(Left);
    draft.tax_number(Left);
    draft.page.gap(0.7);
    let label = draft.word(draft.words.bill_to);
    draft.bill_to(label);
    draft.page.gap(0.7);
    draft.items_table(false);
    draft.rule();
    sums_at_right(draft);
    draft.page.gap(0.8);
    let bank = format!("{}: {} {}", draft.words.bank, draft.digits(4), draft.digits(8));
    draft.say(Left, bank);
    draft.closing(Left);
}

/// Sums in the right half of the page, as on most invoices.
fn sums_at_right(draft: &mut Draft<'_>) {
    let style = draft.style();
    let (subtotal, tax) = (draft.word(draft.words.subtotal), draft.tax_label());
    let (label, total) = (draft.total_label(), draft.total(true));
    let rows = [
        (subtotal.to_string(), Ink::plain(draft.amount(draft.sale.net())), style),
        (tax, Ink::plain(draft.amount(draft.sale.tax)), style),
        (label, total, style.sized(1.15).bold()),
    ];
    for (label, amount, style) in rows {
        let cells = vec![Cell::new(0.40, 0.72, Right, Ink::plain(label)), Cell::new(0.74, 1.0, Right, amount)];
        draft.page.row(style, cells);
    }
}

/// A guest's stay: every night has its date, and so have arrival and departure; the address stands in the last lines.
pub(super) fn hotel(draft: &mut Draft<'_>) {
    let style = draft.style();
    draft.name_lines(Centre, style.sized(1.6).bold());
    draft.slogan(Centre);
    draft.page.gap(0.8);
    let guest = draft.customer();
    for line in guest {
        draft.say(Left, line);
    }
    draft.page.gap(0.5);
    let nights = draft.sale.items.len() as u32;
    let end = draft.sale.date;
    // Some days back, by way of the year before: a year here has twelve months of 28 days.
    let start = super::language::Day { year: end.year - 1, ..end }.plus(12 * 28 - nights.min(20));
    let (arrival, departure) = (draft.other_day(start, false), draft.other_day(end.plus(1), false));
    let (from, to) = (draft.words.arrival, draft.words.departure);
    draft.ends(style, Ink::plain(format!("{from}: {arrival}")), Ink::plain(format!("{to}: {departure}")));
    let (number, date) = (draft.number(), draft.dated(true));
    draft.ends(style.bold(), number, date);
    draft.rule();
    for (night, item) in draft.sale.items.clone().into_iter().enumerate() {
        let (day, sum) = (draft.other_day(start.plus(night as u32), false), draft.amount(item.sum()));
        let what = if night == 0 { draft.words.nights.to_string() } else { item.name };
        let cells = vec![
            Cell::new(0.0, 0.27, Left, Ink::plain(day)),
            Cell::new(0.29, 0.75, Left, Ink::plain(what)),
            Cell::new(0.76, 1.0, Right, Ink::plain(sum)),
        ];
        draft.page.row(style, cells);
    }
    draft.rule();
    draft.sums_before_total();
    draft.total_line(style.sized(1.2).bold());
    draft.payment();
    draft.page.gap(0.4);
    draft.tax_summary();
    draft.page.gap(1.0);
    draft.rule();
    let small = style.sized(0.9);
    draft.address(Centre, small, 1);
    draft.contact(Centre);
    draft.tax_number(Centre);
}

/// A shop on the net: the customer's address first, the seller near the end.
pub(super) fn order(draft: &mut Draft<'_>) {
    let style = draft.style();
    let number = draft.number();
    draft.page.line(Left, style.sized(1.3).bold(), number);
    let date = draft.dated(true);
    draft.page.line(Left, style, date);
    draft.page.gap(0.6);
    let label = draft.words.deliver_to;
    draft.bill_to(label);
    let ready = draft.sale.date.plus(draft.random.random_range(1..6));
    let ready = format!("{}: {}", draft.words.ready, draft.other_day(ready, true));
    draft.say(Left, ready);
    draft.rule();
    draft.items_table(false);
    draft.rule();
    draft.sums_before_total();
    draft.total_line(style.sized(1.2).bold());
    let card = format!("{} **** {}", draft.word(draft.words.card), draft.digits(4));
    draft.say(Right, card);
    draft.page.gap(0.8);
    let sold_by = draft.words.sold_by;
    let name = draft.name();
    let ink = Ink::plain(format!("{sold_by}: ")).then(name);
    draft.page.line(Left, style, ink);
    draft.address(Left, style, 2);
    draft.tax_number(Left);
    let website = draft.company.website.clone();
    draft.say(Left, website);
}

/// A page of an order book: number at the left and date at the right of the first line, a frame around the goods.
pub(super) fn order_book(draft: &mut Draft<'_>) {
    let style = draft.style();
    let (number, date) = (Ink::plain(format!("No. {}", draft.sale.number)), draft.dated(false));
    draft.ends(style, number, date);
    draft.page.gap(0.4);
    draft.name_lines(Centre, style.sized(1.4).bold());
    if draft.habit(0.5) {
        draft.registration(Centre);
    }
    draft.address(Centre, style, 2);
    draft.contact(Centre);
    draft.page.gap(0.4);
    let label = draft.word(draft.words.bill_to);
    let customer = draft.customer().swap_remove(0);
    let customer = draft.labelled(label, Ink::plain(customer));
    draft.page.line(Left, style, customer);
    let title = draft.word(draft.words.title);
    draft.page.line(Centre, style.bold(), Ink::plain(title));
    let top = draft.page.used;
    draft.items_table(false);
    draft.page.gap(draft.habits.random_range(1..4) as f32);
    draft.page.frame(top, &[0.618, 0.818]);
    draft.sums_before_total();
    draft.total_line(style.sized(1.1).bold());
    draft.page.gap(1.2);
    let (thanks, staff) = (draft.word(draft.words.thanks), *pick(draft.words.first_names, draft.random));
    draft.ends(style, Ink::plain(thanks), Ink::plain(format!("_____{staff}_____")));
}

/// Held out: the customer first, the seller at the right, work and parts with sums of their own.
pub(super) fn workshop(draft: &mut Draft<'_>) {
    let style = draft.style();
    let label = draft.word(draft.words.bill_to);
    draft.bill_to(label);
    draft.page.gap(0.5);
    draft.name_lines(Right, style.sized(1.3).bold());
    draft.address(Right, style, 3);
    draft.contact(Right);
    draft.page.gap(0.5);
    let title = draft.word(draft.words.invoice);
    draft.page.line(Left, style.sized(1.4).bold(), Ink::plain(title));
    let (number, date) = (draft.number(), draft.dated(true));
    draft.ends(style, number, date);
    draft.rule();
    let items = draft.sale.items.clone();
    let (work, parts) = items.split_at(items.len().min(1));
    for (label, group) in [(draft.words.labour, work), (draft.words.parts, parts)] {
        if group.is_empty() {
            continue;
        }
        draft.page.line(Left, style.bold(), Ink::plain(label));
        for item in group {
            let (from, sum) = (format!("{} x {}", item.quantity, draft.amount(item.price)), draft.amount(item.sum()));
            let cells = vec![
                Cell::new(0.03, 0.5, Left, Ink::plain(item.name.clone())),
                Cell::new(0.5, 0.78, Right, Ink::plain(from)),
                Cell::new(0.8, 1.0, Right, Ink::plain(sum)),
            ];
            draft.page.row(style, cells);
        }
        let sum = draft.amount(group.iter().map(|item| item.sum()).sum());
        draft.page.line(Right, style, Ink::plain(format!("{label} {sum}")));
    }
    draft.rule();
    sums_at_right(draft);
    draft.page.gap(0.6);
    let due = format!("{}: {}", draft.words.due, draft.other_day(draft.sale.date.plus(14), true));
    draft.say(Left, due);
    draft.tax_number(Left);
}

/// Held out: a table with the date in a cell, the number of copies, the sum said twice.
pub(super) fn wholesale(draft: &mut Draft<'_>) {
    let style = draft.style();
    let title = draft.word(draft.words.invoice);
    draft.starred(title);
    draft.name_lines(Left, style.sized(1.2).bold());
    draft.registration(Left);
    draft.address(Left, style, 4);
    draft.tax_number(Left);
    draft.page.gap(0.4);
    let label = draft.word(draft.words.bill_to);
    let customer = draft.customer();
    for (at, line) in customer.into_iter().enumerate() {
        let label = if at == 0 { label } else { "" };
        let cells = vec![Cell::new(0.0, 0.28, Left, Ink::plain(label)), Cell::new(0.3, 1.0, Left, Ink::plain(line))];
        draft.page.row(style, cells);
    }
    draft.page.gap(0.4);
    let top = draft.page.used;
    let labels = [draft.words.date, draft.words.number].map(|words| draft.word(words));
    let due = Ink::plain(draft.other_day(draft.sale.date.plus(60), false));
    let values = [draft.date(false).unwrap_or_default(), Ink::plain(draft.sale.number.clone()), due];
    for inks in [[labels[0], labels[1], draft.words.due].map(Ink::plain), values] {
        let cells = inks.into_iter().enumerate().map(|(at, ink)| {
            let from = at as f32 / 3.0;
            Cell::new(from, from + 0.31, Left, ink)
        });
        draft.page.row(style, cells.collect());
    }
    draft.page.frame(top, &[0.333, 0.667]);
    draft.items_two_lines(true);
    draft.rule();
    draft.count(Left);
    draft.sums_before_total();
    draft.tax_included();
    draft.total_line(style.bold());
    draft.rule();
    draft.tax_summary();
    draft.closing(Centre);
}
