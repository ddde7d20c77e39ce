//! What drawn receipts promise: the same for the same seed, every template, values that are on the page.

use std::collections::HashSet;

use florin_data::{
    gold::find_spans,
    value::{comparison_key, normalise},
    words::words,
};

use super::*;

/// Receipts enough that every template is among them some times.
const MANY: usize = 500;

fn many() -> Vec<DrawnReceipt> {
    (0..MANY).map(|index| draw_one(11, index, Templates::All)).collect()
}

#[test]
fn a_set_is_the_same_on_any_number_of_threads_and_another_with_another_seed() {
    let one = draw_set_on(1, 7, 5, Templates::All);
    let three = draw_set_on(3, 7, 5, Templates::All);
    let other = draw_set_on(3, 7, 6, Templates::All);
    assert_eq!((one.documents.len(), three.documents.len()), (7, 7));
    for (a, b) in one.documents.iter().zip(&three.documents) {
        assert_eq!(a.document, b.document);
        assert_eq!(a.values, b.values);
        let (Picture::Pixels(left), Picture::Pixels(right)) = (&a.picture, &b.picture) else { panic!("no pixels") };
        assert!(left == right, "pictures of {} differ", a.document.id);
    }
    assert!(one.documents.iter().zip(&other.documents).all(|(a, b)| a.document.lines != b.document.lines));
}

#[test]
fn a_set_of_none_is_empty_but_has_its_fields() {
    let set = draw_set(0, 1, Templates::Training);
    assert_eq!((set.fields.len(), set.documents.len()), (4, 0));
}

#[test]
fn every_template_and_language_is_drawn_with_ink_in_its_values_boxes() {
    let receipts = many();
    let drawn: HashSet<_> = receipts.iter().map(|receipt| receipt.template.name).collect();
    assert_eq!(drawn.len(), templates().len());
    let languages: HashSet<_> = receipts.iter().map(|receipt| receipt.language).collect();
    assert_eq!(languages.len(), Language::ALL.len());
    for receipt in &receipts {
        assert_eq!(receipt.picture.dimensions(), (receipt.document.width, receipt.document.height));
        for (field, value) in receipt.values.iter().enumerate() {
            let boxes = receipt.true_boxes(field);
            assert_eq!(value.is_some(), !boxes.is_empty(), "{}", receipt.document.id);
            for bounds in boxes {
                let contrast = contrast(&receipt.picture, bounds);
                assert!(contrast > 40, "{} {}: {bounds:?}, {contrast}", receipt.document.id, receipt.template.name);
            }
        }
    }
}

/// Lightest less darkest pixel in a box.
fn contrast(picture: &GrayImage, bounds: &BoundingBox) -> u8 {
    let columns = bounds.left as u32..(bounds.right as u32).min(picture.width());
    let rows = bounds.top as u32..(bounds.bottom as u32).min(picture.height());
    let shades = rows.flat_map(|y| columns.clone().map(move |x| picture.get_pixel(x, y).0[0]));
    let (dark, light) = shades.fold((255, 0), |(dark, light): (u8, u8), shade| (dark.min(shade), light.max(shade)));
    light.saturating_sub(dark)
}

#[test]
fn nearly_every_value_stands_in_the_lines() {
    let mut found = [(0, 0); 4];
    for receipt in many() {
        let words = words(&receipt.document);
        for ((field, value), count) in fields().iter().zip(&receipt.values).zip(&mut found) {
            let Some(value) = value else { continue };
            count.1 += 1;
            count.0 += usize::from(find_spans(&receipt.document, &words, field.kind, value).is_exact());
        }
    }
    println!("found of printed: {found:?}");
    for (field, (right, all)) in fields().iter().zip(found) {
        assert!(right as f64 >= 0.985 * all as f64, "{}: {right} of {all}", field.name);
    }
}

#[test]
fn values_are_what_they_claim_and_seldom_missing() {
    let receipts = many();
    for receipt in &receipts {
        for (field, value) in fields().iter().zip(&receipt.values) {
            let Some(value) = value else { continue };
            assert!(normalise(field.kind, value).is_some(), "{}: {value}", field.name);
        }
        assert!(comparison_key(receipt.values[0].as_deref().unwrap_or_default()) == comparison_key(&receipt.company));
        assert!(receipt.values[3].is_some());
    }
    let missing = |field: usize| receipts.iter().filter(|receipt| receipt.values[field].is_none()).count();
    assert!((1..=MANY * 5 / 100).contains(&missing(1)), "{} dates are missing", missing(1));
    assert!((1..=MANY * 6 / 100).contains(&missing(2)), "{} addresses are missing", missing(2));
}

#[test]
fn boxes_lie_inside_the_picture_and_lines_have_text() {
    for receipt in many() {
        let (width, height) = (receipt.document.width as f32, receipt.document.height as f32);
        assert!(height <= paper::LONGEST_SIDE + 0.5 && (300.0..=700.0).contains(&width), "{width} x {height}");
        let values = (0..4).flat_map(|field| receipt.true_boxes(field));
        for bounds in receipt.document.lines.iter().map(|line| &line.bounds).chain(values) {
            let inside = bounds.left >= 0.0 && bounds.top >= 0.0 && bounds.right <= width && bounds.bottom <= height;
            assert!(inside && bounds.left <= bounds.right && bounds.top <= bounds.bottom, "{bounds:?}");
        }
        assert!(receipt.document.lines.iter().all(|line| !line.text.trim().is_empty()));
    }
}

#[test]
fn held_out_templates_and_companies_are_not_those_of_training() {
    let draw = |templates| -> Vec<DrawnReceipt> { (0..200).map(|index| draw_one(3, index, templates)).collect() };
    let (training, held_out) = (draw(Templates::Training), draw(Templates::HeldOut));
    assert!(training.iter().all(|receipt| !receipt.template.held_out));
    assert!(held_out.iter().all(|receipt| receipt.template.held_out));
    let companies = |held_out: bool| -> HashSet<String> {
        let all = TEMPLATES.iter().enumerate().filter(|(_, template)| template.held_out == held_out);
        all.flat_map(|(at, template)| {
            (0..COMPANIES_PER_TEMPLATE)
                .map(move |number| comparison_key(&Company::of_template(at, number, held_out, template.languages).name))
        })
        .collect()
    };
    let both: Vec<_> = companies(true).intersection(&companies(false)).cloned().collect();
    assert!(both.is_empty(), "{both:?}");
}

#[test]
fn texts_of_a_page_do_not_run_into_each_other() {
    for index in 0..200 {
        let mut random = ChaCha8Rng::seed_from_u64(21);
        random.set_stream(index);
        let at = index as usize % TEMPLATES.len();
        let template = &TEMPLATES[at];
        let company = Company::of_template(at, index, template.held_out, template.languages);
        let sale = Sale::random(company.language, template.look.most_items, &mut random);
        let page = empty_page(template, &company, &mut random);
        let mut draft = Draft::new(page, company, sale, template.held_out, &mut random);
        (template.write)(&mut draft);
        let pieces = &draft.page.pieces;
        for (at, piece) in pieces.iter().enumerate() {
            for other in &pieces[at + 1..] {
                let shared = piece.bounds().intersect(&other.bounds());
                let area = shared.map_or(0.0, |shared| shared.area());
                assert!(area < 1.0, "{}: '{}' and '{}'", template.name, piece.ink.text(), other.ink.text());
            }
        }
    }
}
