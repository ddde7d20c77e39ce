//! Receipts of tills: shops, markets, restaurants.

use rand::RngExt;

use super::{
    company::pick,
    draft::Draft,
    page::{
        Align::{Centre, Left, Right},
        Cell, Ink,
    },
};

/// Everything centred, name on top, date and time below the title.
pub(super) fn till(draft: &mut Draft<'_>) {
    let style = draft.style();
    draft.name_lines(Centre, style.sized(1.3).bold());
    if draft.habit(0.6) {
        draft.registration(Centre);
    }
    draft.address(Centre, style, 3);
    draft.contact(Centre);
    draft.page.gap(0.7);
    let title = draft.word(draft.words.title);
    draft.say(Centre, title);
    let (number, cashier) = (draft.number(), draft.cashier());
    draft.ends(style, number, cashier);
    let (date, time) = (draft.dated(false), Ink::plain(draft.time()));
    draft.ends(style, date, time);
    draft.rule();
    draft.items_plain();
    draft.rule();
    draft.sums_before_total();
    draft.total_line(style.sized(1.2).bold());
    draft.payment();
    draft.tax_included();
    draft.rule();
    draft.closing(Centre);
}

/// A greeting and a slogan before the name; the date at the bottom beside the till.
pub(super) fn welcome(draft: &mut Draft<'_>) {
    let style = draft.style();
    let welcome = draft.words.welcome;
    draft.say(Centre, welcome);
    if draft.habit(0.5) {
        draft.slogan(Centre);
    }
    draft.name_lines(Centre, style.sized(1.25).stretched(1.1));
    draft.address(Centre, style, 1);
    draft.tax_number(Centre);
    draft.page.gap(0.5);
    draft.items_quantity_first();
    draft.rule();
    draft.sums_before_total();
    draft.total_line(style.sized(1.3).bold().stretched(1.15));
    draft.payment();
    draft.page.gap(0.5);
    draft.loyalty();
    draft.page.gap(0.5);
    let till = format!("{} {}", draft.words.till, draft.random.random_range(1..9));
    let stamp = draft.date_and_time(false).and(format!("  {till}"));
    draft.page.line(Left, style, stamp);
    let number = draft.number();
    draft.page.line(Left, style, number);
    draft.closing(Centre);
    if draft.habit(0.4) {
        draft.bar_code();
    }
}

/// Company number directly below the name, title underlined, labels with aligned colons.
pub(super) fn cash_bill(draft: &mut Draft<'_>) {
    let style = draft.style();
    draft.name_lines(Centre, style.sized(1.15).bold());
    draft.registration(Centre);
    draft.address(Centre, style, 4);
    draft.contact(Centre);
    draft.tax_number(Centre);
    draft.page.gap(0.4);
    let title = draft.word(draft.words.invoice);
    draft.page.line(Centre, style.sized(1.1).bold(), Ink::plain(title));
    draft.rule();
    let labels = [draft.words.number, draft.words.date, draft.words.cashier].map(|words| draft.word(words));
    let (number, date) = (Ink::plain(draft.sale.number.clone()), draft.date(false).unwrap_or_default());
    let staff = Ink::plain(*pick(draft.words.first_names, draft.random));
    let time = Ink::plain(draft.time());
    let mut rows = vec![(labels[0], number), (labels[1], date), (draft.words.time, time), (labels[2], staff)];
    if draft.habit(0.5) {
        rows.swap(0, 2);
    }
    draft.listed(rows, 0.32);
    draft.rule();
    draft.items_two_lines(true);
    draft.rule();
    draft.count(Left);
    draft.sums_before_total();
    draft.tax_included();
    draft.total_line(style.sized(1.1).bold());
    draft.payment();
    draft.page.gap(0.4);
    draft.tax_summary();
    draft.rule();
    draft.closing(Centre);
}

/// Number, date and staff in a framed table; items in another.
pub(super) fn grid(draft: &mut Draft<'_>) {
    let style = draft.style();
    draft.name_lines(Left, style.sized(1.4).bold());
    draft.address(Left, style, 2);
    draft.contact(Left);
    draft.page.gap(0.6);
    let top = draft.page.used;
    let head = [draft.words.number, draft.words.date, draft.words.cashier].map(|words| draft.word(words));
    let names = draft.words.first_names;
    let named = draft.habit(0.3);
    let values = [
        Ink::plain(draft.sale.number.clone()),
        draft.date(named).unwrap_or_default(),
        Ink::plain(*pick(names, draft.random)),
    ];
    let cells = |inks: [Ink; 3]| {
        let edges = [0.0, 0.34, 0.72, 1.0];
        inks.into_iter().enumerate().map(|(at, ink)| Cell::new(edges[at], edges[at + 1] - 0.02, Left, ink)).collect()
    };
    draft.page.row(style.sized(0.9).bold(), cells(head.map(Ink::plain)));
    draft.page.row(style, cells(values));
    draft.page.frame(top, &[0.34, 0.72]);
    draft.page.gap(0.4);
    let top = draft.page.used;
    draft.items_table(true);
    draft.page.frame(top, &[]);
    draft.sums_before_total();
    draft.tax_included();
    draft.total_line(style.sized(1.15).bold());
    draft.payment();
    draft.page.gap(0.6);
    draft.printed(Left);
    draft.closing(Left);
}

/// A guest's bill: table and covers, a service charge, what tips would come to.
pub(super) fn restaurant(draft: &mut Draft<'_>) {
    let style = draft.style();
    draft.name_lines(Centre, style.sized(1.5).bold());
    if draft.habit(0.4) {
        draft.slogan(Centre);
    }
    draft.address(Centre, style, 2);
    draft.contact(Centre);
    draft.page.gap(0.6);
    let table = format!("{}: {}", draft.words.table, draft.random.random_range(1..40));
    let guests = format!("{}: {}", draft.words.guests, draft.random.random_range(1..9));
    draft.ends(style, Ink::plain(table), Ink::plain(guests));
    let (staff, number) = (draft.cashier(), draft.number());
    draft.ends(style, staff, number);
    let stamp = draft.date_and_time(true);
    draft.page.line(Left, style, stamp);
    draft.rule();
    draft.items_quantity_first();
    draft.rule();
    draft.sums_before_total();
    draft.total_line(style.sized(1.25).bold());
    draft.tax_included();
    if draft.habit(0.5) {
        draft.page.gap(0.5);
        for share in [10, 15] {
            let tip = format!("+ {share} % = ");
            let sum = draft.amount(draft.sale.total * (100 + share) / 100);
            draft.say(Centre, tip + &sum);
        }
    } else {
        draft.payment();
    }
    draft.page.gap(0.5);
    draft.printed(Centre);
    draft.closing(Centre);
}

/// The title and the sale first; who sold it stands at the very end.
pub(super) fn footer(draft: &mut Draft<'_>) {
    let style = draft.style();
    let title = draft.word(draft.words.title);
    draft.starred(title);
    let (number, date) = (draft.number(), draft.date_and_time(false));
    draft.page.line(Left, style, date);
    draft.page.line(Left, style, number);
    draft.rule();
    draft.items_two_lines(false);
    draft.rule();
    draft.total_line(style.sized(1.2).bold());
    draft.tax_included();
    draft.payment();
    draft.count(Left);
    draft.rule();
    let thanks = draft.word(draft.words.thanks);
    draft.say(Centre, thanks);
    draft.page.gap(0.5);
    draft.name_lines(Centre, style.bold());
    draft.address(Centre, style, 2);
    draft.contact(Centre);
    draft.tax_number(Centre);
}

/// A supermarket: prices marked with their tax class, the date in the last line among other numbers.
pub(super) fn market(draft: &mut Draft<'_>) {
    let style = draft.style();
    draft.name_lines(Centre, style.sized(1.6).bold().stretched(0.9));
    draft.address(Centre, style, 2);
    draft.contact(Centre);
    draft.tax_number(Centre);
    let unit = draft.unit();
    draft.say(Right, unit);
    for item in draft.sale.items.clone() {
        let sum = Ink::plain(format!("{} {}", draft.amount(item.sum()), ["A", "B"][item.code.len() % 2]));
        draft.ends(style, Ink::plain(item.name), sum);
        if item.quantity > 1 {
            let times = format!("    {} x  {}", item.quantity, draft.amount(item.price));
            draft.say(Left, times);
        }
    }
    draft.rule();
    draft.total_line(style.sized(1.35).bold());
    draft.rule();
    draft.payment();
    draft.page.gap(0.5);
    draft.tax_summary();
    draft.page.gap(0.5);
    draft.closing(Centre);
    if draft.habit(0.6) {
        draft.loyalty();
    }
    draft.bar_code();
    let till = format!("  {} {}", draft.random.random_range(100..999), draft.random.random_range(1000..9999));
    let stamp = draft.date_and_time(false).and(till);
    draft.page.line(Centre, style, stamp);
}

/// A sign in white on black with a slogan, the name below; expiry dates among the items.
pub(super) fn pharmacy(draft: &mut Draft<'_>) {
    let style = draft.style();
    let slogan = draft.word(draft.words.slogans);
    draft.page.band(style.sized(1.2).bold(), vec![Cell::new(0.0, 1.0, Centre, Ink::plain(slogan))]);
    draft.name_lines(Left, style.sized(1.2).bold());
    draft.address(Left, style, 3);
    let phone = Ink::plain(format!("{} {}", draft.words.phone, draft.company.phone));
    let date = draft.dated(false);
    draft.ends(style, phone, date);
    let (number, staff) = (draft.number(), draft.cashier());
    draft.ends(style, number, staff);
    draft.rule();
    for item in draft.sale.items.clone() {
        let sum = draft.amount(item.sum());
        draft.ends(style, Ink::plain(format!("{} {}", item.quantity, item.name)), Ink::plain(sum));
        if draft.random.random_bool(0.6) {
            let day = draft.sale.date.plus(draft.random.random_range(90..900));
            let text = format!("   {} {}", draft.words.expiry, draft.other_day(day, false));
            draft.say(Left, text);
        }
    }
    draft.rule();
    draft.sums_before_total();
    draft.total_line(style.sized(1.2).bold());
    draft.tax_included();
    draft.payment();
    draft.page.gap(0.5);
    draft.loyalty();
    draft.closing(Left);
}

/// Held out: the date is the first line, the name stands between number and address, the total is white on black.
pub(super) fn kiosk(draft: &mut Draft<'_>) {
    let style = draft.style();
    let time = Ink::plain(draft.time());
    let date = draft.date(false).unwrap_or_default();
    draft.ends(style, date, time);
    let (number, staff) = (draft.number(), draft.cashier());
    draft.ends(style, number, staff);
    draft.rule();
    draft.name_lines(Centre, style.sized(1.3).bold());
    draft.slogan(Centre);
    draft.address(Centre, style, 2);
    draft.rule();
    draft.items_two_lines(false);
    draft.sums_before_total();
    draft.page.gap(0.3);
    let (label, total) = (draft.total_label(), draft.total(true));
    let cells = vec![Cell::new(0.0, 0.55, Left, Ink::plain(label)), Cell::new(0.56, 1.0, Right, total)];
    draft.page.band(style.sized(1.3).bold(), cells);
    draft.payment();
    draft.tax_included();
    draft.closing(Centre);
    draft.bar_code();
}
