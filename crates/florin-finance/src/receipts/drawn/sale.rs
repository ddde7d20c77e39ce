//! What was sold: items, sums, payment and dates, before anybody prints them.
//!
//! The sums add up, as on a real receipt: a subtotal is near the total, a tax is a share of it, and cash is a round
//! sum above it. All amounts are in cents.

use rand::{Rng, RngExt};

use super::{
    company::{digits, pick},
    language::{Day, Language},
    wordings::Words,
};

/// One thing sold.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) code: String,
    pub(super) quantity: i64,
    pub(super) price: i64,
}

impl Item {
    /// Price times quantity.
    pub(super) fn sum(&self) -> i64 {
        self.quantity * self.price
    }
}

/// Everything that one receipt is about, beside its company.
#[derive(Clone, Debug)]
pub(super) struct Sale {
    pub(super) items: Vec<Item>,
    pub(super) goods: i64,
    pub(super) discount: i64,
    pub(super) service: i64,
    pub(super) tax_rate: i64,
    pub(super) tax: i64,
    /// Whether the tax comes on top of the goods' prices.
    pub(super) tax_added: bool,
    pub(super) rounding: i64,
    pub(super) total: i64,
    /// What was handed over, when it was cash.
    pub(super) cash: Option<i64>,
    pub(super) date: Day,
    pub(super) hour: u32,
    pub(super) minute: u32,
    pub(super) number: String,
}

impl Sale {
    /// A sale of up to `most_items` things.
    pub(super) fn random(language: Language, most_items: usize, random: &mut impl Rng) -> Self {
        let words = language.words();
        let dear = random.random_bool(0.2);
        let count = if random.random_bool(0.3) { 1 } else { random.random_range(1..=most_items.max(1)) };
        let items: Vec<Item> = (0..count).map(|_| item(words, dear, random)).collect();
        let goods: i64 = items.iter().map(Item::sum).sum();
        let discount = if random.random_bool(0.2) { goods * random.random_range(1..4) / 20 } else { 0 };
        let service = if random.random_bool(0.15) { goods / 10 } else { 0 };
        let (tax_rate, tax_added) = (*pick(words.tax_rates, random), random.random_bool(0.35));
        let before = goods - discount + service;
        let tax = if tax_added { before * tax_rate / 100 } else { before * tax_rate / (100 + tax_rate) };
        let exact = if tax_added { before + tax } else { before };
        let rounded = if language == Language::Malay { (exact + 2) / 5 * 5 } else { exact };
        Self {
            items,
            goods,
            discount,
            service,
            tax_rate,
            tax,
            tax_added,
            rounding: rounded - exact,
            total: rounded,
            cash: random.random_bool(0.55).then(|| handed_over(rounded, random)),
            date: Day::random(random),
            hour: random.random_range(7..23),
            minute: random.random_range(0..60),
            number: receipt_number(random),
        }
    }

    /// The total without its tax.
    pub(super) fn net(&self) -> i64 {
        self.total - self.rounding - self.tax
    }
}

fn item(words: &Words, dear: bool, random: &mut impl Rng) -> Item {
    let mut name = (*pick(words.goods, random)).to_string();
    if random.random_bool(0.6) {
        name = format!("{name} {}", pick(words.kinds, random));
    }
    let highest = if dear { 60_000 } else { 2_500 };
    let price = random.random_range(40..highest);
    let price = if random.random_bool(0.6) { (price / 10 * 10).max(10) } else { price };
    let quantity = if random.random_bool(0.65) { 1 } else { random.random_range(2..7) };
    let length = *pick(&[4, 6, 8, 13], random);
    Item { name, code: digits(length, random), quantity, price }
}

/// Cash for a total: sometimes exact, else the next round sum.
fn handed_over(total: i64, random: &mut impl Rng) -> i64 {
    if random.random_bool(0.25) {
        return total;
    }
    let note = *pick(&[500, 1000, 5000, 10_000], random);
    (total / note + 1) * note
}

fn receipt_number(random: &mut impl Rng) -> String {
    match random.random_range(0..4) {
        0 => format!("{:06}", random.random_range(1..999_999)),
        1 => format!("{}{}", pick(&["A", "CS", "INV-", "R", "T-"], random), digits(6, random)),
        2 => format!("{}/{}", digits(4, random), digits(3, random)),
        _ => digits(9, random),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn sums_add_up() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        for language in Language::ALL {
            for _ in 0..200 {
                let sale = Sale::random(language, 6, &mut random);
                let added = if sale.tax_added { sale.tax } else { 0 };
                assert_eq!(sale.goods - sale.discount + sale.service + added + sale.rounding, sale.total);
                assert!(sale.total > 0 && sale.cash.is_none_or(|cash| cash >= sale.total));
                assert!(language != Language::Malay || sale.total % 5 == 0);
            }
        }
    }
}
