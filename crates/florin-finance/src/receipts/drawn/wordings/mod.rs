//! What receipts say in each language.
//!
//! Labels come in several wordings because shops do not agree on them: a reader that knows only "TOTAL" fails. Where a
//! wording of a subtotal looks like a total ("TOTAL HT"), that is on purpose.

mod english;
mod french;
mod german;
mod malay;
mod spanish;

pub(super) use self::{english::ENGLISH, french::FRENCH, german::GERMAN, malay::MALAY, spanish::SPANISH};

/// Labels of one language, each in its usual wordings.
pub(super) struct Words {
    pub(super) total: &'static [&'static str],
    pub(super) subtotal: &'static [&'static str],
    pub(super) tax: &'static [&'static str],
    pub(super) tax_rates: &'static [i64],
    pub(super) net: &'static str,
    pub(super) gross: &'static str,
    pub(super) tax_summary: &'static str,
    pub(super) cash: &'static [&'static str],
    pub(super) card: &'static [&'static str],
    pub(super) change: &'static [&'static str],
    pub(super) rounding: &'static str,
    pub(super) discount: &'static str,
    pub(super) service: &'static str,
    pub(super) deposit: &'static str,
    pub(super) balance: &'static str,
    pub(super) date: &'static [&'static str],
    pub(super) time: &'static str,
    pub(super) number: &'static [&'static str],
    pub(super) cashier: &'static [&'static str],
    pub(super) till: &'static str,
    pub(super) table: &'static str,
    pub(super) guests: &'static str,
    pub(super) item: &'static [&'static str],
    pub(super) quantity: &'static [&'static str],
    pub(super) price: &'static [&'static str],
    pub(super) amount: &'static [&'static str],
    pub(super) count: &'static str,
    pub(super) title: &'static [&'static str],
    pub(super) invoice: &'static [&'static str],
    pub(super) thanks: &'static [&'static str],
    pub(super) welcome: &'static str,
    pub(super) returns: &'static [&'static str],
    pub(super) loyalty: &'static str,
    pub(super) points: &'static str,
    pub(super) bill_to: &'static [&'static str],
    pub(super) deliver_to: &'static str,
    pub(super) sold_by: &'static str,
    pub(super) due: &'static str,
    pub(super) printed: &'static str,
    pub(super) expiry: &'static str,
    pub(super) arrival: &'static str,
    pub(super) departure: &'static str,
    pub(super) ready: &'static str,
    pub(super) phone: &'static str,
    pub(super) registration: &'static str,
    pub(super) tax_number: &'static str,
    pub(super) terminal: &'static str,
    pub(super) approved: &'static str,
    pub(super) copy: &'static str,
    pub(super) litres: &'static str,
    pub(super) pump: &'static str,
    pub(super) nights: &'static str,
    pub(super) parts: &'static str,
    pub(super) labour: &'static str,
    pub(super) saved: &'static str,
    pub(super) bank: &'static str,
    pub(super) slogans: &'static [&'static str],
    pub(super) first_names: &'static [&'static str],
    pub(super) goods: &'static [&'static str],
    pub(super) kinds: &'static [&'static str],
    pub(super) months: [&'static str; 12],
    pub(super) months_short: [&'static str; 12],
}
