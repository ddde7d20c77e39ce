//! Hand-written rules for the fields of a receipt: the baseline a trained model has to beat.
//!
//! No training, no weights: a company is the first printed line that is not something else, an address is what
//! follows it down to a postcode or a telephone number, a date is the first thing that parses as one, a total is the
//! amount beside the best "total" label. Rules look at the kind and the name of a field and stay silent on fields
//! they have no rule for. Reports show their score beside the model's.

mod amount;
mod date;
mod header;
mod words;

use florin_data::document::{BoundingBox, Document};
use florin_data::labelled::FieldSpec;
use florin_data::value::FieldKind;

use self::amount::labelled_amount;
use self::date::first_date;
use self::header::Header;

/// A value found by a rule and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleReading {
    /// The value as printed.
    pub text: String,
    /// The lines it was taken from.
    pub boxes: Vec<BoundingBox>,
}

/// Reads every field of `document` by rules; one entry per field, `None` where no rule applies or none fires.
pub fn read_by_rules(document: &Document, fields: &[FieldSpec]) -> Vec<Option<RuleReading>> {
    let header = Header::of(document);
    fields
        .iter()
        .map(|field| match field.kind {
            FieldKind::Date => first_date(document),
            FieldKind::Amount => labelled_amount(document),
            FieldKind::Text => header.read(document, &field.name),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use florin_data::document::TextLine;

    use super::*;

    /// A receipt of one printed row an entry; entries of a row are set side by side.
    fn receipt(rows: &[&[&str]]) -> Document {
        let mut lines = Vec::new();
        for (row, texts) in rows.iter().enumerate() {
            for (column, text) in texts.iter().enumerate() {
                let (left, top) = (20.0 + 200.0 * column as f32, 20.0 + 30.0 * row as f32);
                let bounds = BoundingBox { left, top, right: left + 180.0, bottom: top + 20.0 };
                lines.push(TextLine { text: (*text).to_owned(), bounds });
            }
        }
        Document { id: "made up".to_owned(), width: 500, height: 1000, lines }
    }

    fn read(rows: &[&[&str]], name: &str, kind: FieldKind) -> Option<String> {
        let fields = [FieldSpec { name: name.to_owned(), kind }];
        read_by_rules(&receipt(rows), &fields).into_iter().next().flatten().map(|reading| reading.text)
    }

    const SHOP: &[&[&str]] = &[
        &["MARIGOLD TEA ENTERPRISE"],
        &["12, JALAN CEMPAKA 3,"],
        &["TAMAN MELUR, 43000 KAJANG"],
        &["TEL: 03-5550 1234"],
        &["DATE: 25/12/2018 8:13 PM"],
        &["TEA", "4.00"],
        &["SUB TOTAL", "4.00"],
        &["TOTAL", "4.24"],
        &["ROUNDED TOTAL (RM)", "4.25"],
        &["CASH", "10.00"],
        &["CHANGE", "5.75"],
    ];

    #[test]
    fn a_plain_receipt_is_read_in_full() {
        assert_eq!(read(SHOP, "company", FieldKind::Text).as_deref(), Some("MARIGOLD TEA ENTERPRISE"));
        let address = read(SHOP, "address", FieldKind::Text);
        assert_eq!(address.as_deref(), Some("12, JALAN CEMPAKA 3, TAMAN MELUR, 43000 KAJANG"));
        assert_eq!(read(SHOP, "when", FieldKind::Date).as_deref(), Some("25/12/2018"));
        assert_eq!(
            read(SHOP, "total", FieldKind::Amount).as_deref(),
            Some("4.25"),
            "the rounded total is what is paid"
        );
    }

    #[test]
    fn the_lowest_of_two_equal_labels_wins() {
        let rows: &[&[&str]] = &[&["TOTAL", "31.00"], &["DISCOUNT", "1.00"], &["TOTAL", "30.00"]];
        assert_eq!(read(rows, "total", FieldKind::Amount).as_deref(), Some("30.00"));
    }

    #[test]
    fn a_field_without_a_rule_is_left_empty() {
        assert_eq!(read(SHOP, "cashier", FieldKind::Text), None);
    }

    #[test]
    fn times_and_telephone_numbers_are_no_dates() {
        for text in ["12:45:10", "03-5550 1234", "000306020352", "99/99/9999"] {
            assert_eq!(read(&[&[text]], "date", FieldKind::Date), None, "{text}");
        }
    }

    #[test]
    fn without_a_label_the_largest_amount_is_taken_and_money_handed_over_is_not() {
        let rows: &[&[&str]] = &[&["TEA 4.00"], &["RICE 12.50"], &["CASH 50.00"]];
        assert_eq!(read(rows, "total", FieldKind::Amount).as_deref(), Some("12.50"));
    }

    #[test]
    fn any_text_is_safe_and_an_empty_page_reads_nothing() {
        let odd: &[&[&str]] = &[&["", "\u{1f9fe}É"], &[",.,.%"], &["TOTAL"], &["..00 ,00 1.00%"], &["ß/ß/ß"]];
        for rows in [odd, &[]] {
            assert_eq!(read(rows, "date", FieldKind::Date), None);
            assert_eq!(read(rows, "total", FieldKind::Amount), None);
            read(rows, "company", FieldKind::Text);
            read(rows, "address", FieldKind::Text);
        }
    }

    #[test]
    fn evidence_boxes_are_those_of_the_lines_read() {
        let document = receipt(SHOP);
        let fields = [FieldSpec { name: "total".to_owned(), kind: FieldKind::Amount }];
        let reading = read_by_rules(&document, &fields).remove(0).expect("a total is printed");
        let line = document.lines.iter().find(|line| line.text == "4.25").expect("it is on the page");
        assert_eq!(reading.boxes, [line.bounds]);
    }
}
