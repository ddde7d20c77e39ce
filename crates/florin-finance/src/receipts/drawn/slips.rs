//! Small slips: fuel, cards, parking, laundry, coffee.

use rand::RngExt;

use super::{
    company::pick,
    draft::Draft,
    page::{
        Align::{Centre, Left, Right},
        Ink,
    },
};

/// Litres times price; the month written out.
pub(super) fn fuel(draft: &mut Draft<'_>) {
    let style = draft.style();
    if draft.habit(0.5) {
        draft.slogan(Centre);
    }
    draft.name_lines(Centre, style.sized(1.2).bold());
    draft.address(Centre, style, 3);
    draft.tax_number(Centre);
    draft.rule();
    let stamp = draft.date_and_time(true);
    draft.page.line(Left, style, stamp);
    let number = draft.number();
    draft.page.line(Left, style, number);
    let price = draft.random.random_range(120..220);
    let litres = draft.sale.total * 100 / price;
    let pump = Ink::plain(draft.random.random_range(1..13).to_string());
    let rows = vec![
        (draft.words.pump, pump),
        (draft.words.litres, Ink::plain(draft.amount(litres))),
        (draft.word(draft.words.price), Ink::plain(format!("{}/L", draft.amount(price)))),
    ];
    draft.page.gap(0.3);
    draft.listed(rows, 0.5);
    draft.page.gap(0.3);
    draft.total_line(style.sized(1.4).bold());
    draft.payment();
    draft.tax_included();
    draft.page.gap(0.5);
    if draft.habit(0.5) {
        draft.loyalty();
    }
    draft.closing(Centre);
}

/// A payment terminal: numbers and codes, the sum in large letters, the card's last month.
pub(super) fn card_slip(draft: &mut Draft<'_>) {
    let style = draft.style();
    let copy = draft.words.copy;
    draft.starred(copy);
    draft.page.gap(0.4);
    draft.name_lines(Left, style.bold());
    draft.address(Left, style, 2);
    draft.page.gap(0.5);
    let terminal = Ink::plain(draft.digits(8));
    let card = Ink::plain(format!("**** **** **** {}", draft.digits(4)));
    let last = draft.sale.date.plus(draft.random.random_range(100..1200));
    let last = Ink::plain(format!("{:02}/{:02}", last.month, last.year % 100));
    let labels = [draft.words.number, draft.words.card, draft.words.date].map(|words| draft.word(words));
    let number = Ink::plain(draft.sale.number.clone());
    let date = draft.date(false).unwrap_or_default();
    let time = Ink::plain(draft.time());
    let mut rows = vec![
        (draft.words.terminal, terminal),
        (labels[0], number),
        (labels[1], card),
        (draft.words.expiry, last),
        (labels[2], date),
        (draft.words.time, time),
    ];
    if draft.habit(0.5) {
        rows.rotate_left(4);
    }
    draft.listed(rows, 0.42);
    draft.page.gap(0.5);
    let label = draft.total_label();
    if draft.habit(0.5) {
        draft.page.line(Centre, style, Ink::plain(label));
        let total = draft.total(true);
        draft.page.line(Centre, style.sized(1.7).bold(), total);
    } else {
        let total = draft.total(true);
        draft.ends(style.sized(1.4).bold(), Ink::plain(label), total);
    }
    draft.page.gap(0.5);
    let approved = draft.words.approved;
    draft.page.line(Centre, style.bold(), Ink::plain(approved));
    let code = format!("AID: A{}  TVR: {}", draft.digits(9), draft.digits(5));
    draft.say(Left, code);
    draft.closing(Centre);
}

/// From when until when, in large letters, and who runs the car park in small ones.
pub(super) fn parking(draft: &mut Draft<'_>) {
    let style = draft.style();
    let title = draft.word(draft.words.title);
    draft.page.line(Centre, style.sized(1.5).bold(), Ink::plain(title));
    let number = draft.number();
    draft.page.line(Centre, style, number);
    draft.rule();
    let date = draft.dated(false);
    draft.page.line(Left, style.sized(1.2), date);
    let (from, to) = (draft.time(), format!("{:02}:{:02}", draft.random.random_range(0..24), draft.sale.minute));
    let day = draft.other_day(draft.sale.date.plus(1), false);
    let rows =
        vec![(draft.words.arrival, Ink::plain(from)), (draft.words.departure, Ink::plain(format!("{day} {to}")))];
    draft.listed(rows, 0.42);
    draft.page.gap(0.4);
    draft.total_line(style.sized(1.4).bold());
    draft.payment();
    draft.tax_included();
    draft.rule();
    let small = style.sized(0.85);
    draft.page.style = small;
    draft.name_lines(Left, small.bold());
    draft.registration(Left);
    draft.address(Left, small, 2);
    draft.contact(Left);
    draft.page.style = style;
    draft.bar_code();
}

/// A ticket for clothes: when they are ready, what was paid ahead, what is still open.
pub(super) fn laundry(draft: &mut Draft<'_>) {
    let style = draft.style();
    let (name, phone) = (draft.name(), Ink::plain(draft.company.phone.clone()));
    draft.page.line(Left, style.sized(1.25).bold(), name);
    let label = format!("{}: ", draft.words.phone);
    draft.page.line(Right, style, Ink::plain(label).then(phone));
    draft.address(Left, style, 2);
    draft.rule();
    let number = draft.number();
    draft.page.line(Centre, style.sized(1.4).bold(), number);
    let customer = format!("{} {}", pick(draft.words.first_names, draft.random), draft.digits(3));
    let label = draft.word(draft.words.bill_to);
    let customer = draft.labelled(label, Ink::plain(customer));
    draft.page.line(Left, style, customer);
    let ready = draft.sale.date.plus(draft.random.random_range(1..8));
    let ready = Ink::plain(format!("{}: {}", draft.words.ready, draft.other_day(ready, false)));
    let date = draft.dated(false);
    if draft.habit(0.5) {
        draft.page.line(Left, style.bold(), ready);
        draft.page.line(Left, style, date);
    } else {
        draft.page.line(Left, style, date);
        draft.page.line(Left, style.bold(), ready);
    }
    draft.rule();
    draft.items_quantity_first();
    draft.rule();
    draft.sums_before_total();
    draft.total_line(style.sized(1.15).bold());
    let deposit = draft.sale.total / 500 * 100;
    let (paid, open) = (draft.words.deposit, draft.words.balance);
    if deposit > 0 && draft.random.random_bool(0.7) {
        draft.sum(style, paid, deposit);
        draft.sum(style, open, draft.sale.total - deposit);
    }
    draft.page.gap(0.5);
    draft.closing(Left);
}

/// Held out: name and slogan, the date written out below the sums, the address only at the foot.
pub(super) fn coffee_house(draft: &mut Draft<'_>) {
    let style = draft.style();
    draft.slogan(Centre);
    draft.name_lines(Centre, style.sized(1.7).bold().stretched(1.1));
    draft.page.gap(0.6);
    let number = draft.number().text();
    draft.starred(&number);
    draft.items_plain();
    draft.rule();
    draft.sums_before_total();
    draft.total_line(style.sized(1.3).bold());
    draft.tax_included();
    draft.payment();
    draft.page.gap(0.6);
    let stamp = draft.date_and_time(true);
    draft.page.line(Centre, style, stamp);
    let staff = draft.cashier();
    draft.page.line(Centre, style, staff);
    let thanks = draft.word(draft.words.thanks);
    draft.say(Centre, thanks);
    draft.page.gap(0.4);
    draft.rule();
    let small = style.sized(0.85);
    let website = draft.company.website.clone();
    match draft.address_ink() {
        Some(address) if draft.habit(0.5) => draft.page.line(Centre, small, address),
        _ => draft.address(Centre, small, 2),
    }
    draft.page.line(Centre, small, Ink::plain(website));
}
