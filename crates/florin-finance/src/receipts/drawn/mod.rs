//! Receipts that Florin draws itself: pictures, OCR lines and labels without a download and without anybody's data.
//!
//! A receipt is made in five steps, each a file here. `company` and `sale` decide what is true: a shop that does not
//! exist, and sums that add up. A `template` writes that as a `draft` on a `page` (its functions are in `tills`,
//! `invoices` and `slips`, put together from `blocks`), in one `language` of five (`wordings`). `paper` turns the page into a
//! scanned picture with the embedded `font`s, and `misread` into the lines of an OCR program with its mistakes. Labels
//! are what was printed. Some templates, with their companies, are held out: a model that only learned the layouts of
//! its training fails on them.

mod blocks;
mod company;
mod composed;
mod draft;
mod font;
mod invoices;
mod language;
mod misread;
mod page;
mod paper;
mod sale;
mod slips;
mod template;
mod tills;
mod wordings;

use std::sync::Arc;

use florin_data::{
    document::{BoundingBox, Document},
    labelled::{FieldSpec, LabelledDocument, LabelledSet, Picture},
    value::FieldKind,
};
use image::GrayImage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::{
    company::{COMPANIES_PER_TEMPLATE, Company, pick},
    draft::Draft,
    page::{Field, Page},
    paper::Scan,
    sale::Sale,
    template::TEMPLATES,
};
pub use self::{language::Language, template::Template};

/// Which templates to draw with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Templates {
    /// Those for training.
    Training,
    /// Those kept for judging; no company is in both.
    HeldOut,
    /// All of them.
    All,
}

impl Templates {
    fn includes(self, template: &Template) -> bool {
        match self {
            Self::Training => !template.held_out,
            Self::HeldOut => template.held_out,
            Self::All => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::HeldOut => "held-out",
            Self::All => "all",
        }
    }
}

/// A receipt, and all that is known about it.
#[derive(Clone, Debug)]
pub struct DrawnReceipt {
    /// The template it was drawn with.
    pub template: &'static Template,
    /// Its company's language.
    pub language: Language,
    /// Its company's name, unlike the printed one never in capitals only.
    pub company: String,
    /// Its lines, as an OCR program read them.
    pub document: Document,
    /// Its picture.
    pub picture: Arc<GrayImage>,
    /// The values as printed, one for every field of [`fields`].
    pub values: Vec<Option<String>>,
    /// Where the values are printed, for every field one box a line.
    true_boxes: Vec<Vec<BoundingBox>>,
}

impl DrawnReceipt {
    /// Where a field's value is printed: one box a line, none where the receipt does not have the field.
    pub fn true_boxes(&self, field: usize) -> &[BoundingBox] {
        self.true_boxes.get(field).map_or(&[], Vec::as_slice)
    }

    /// The receipt as a member of a set.
    pub fn into_labelled(self) -> LabelledDocument {
        LabelledDocument {
            document: self.document,
            picture: Picture::Pixels(self.picture),
            values: self.values,
            group: Some(self.company),
            duplicate_group: None,
            fold: None,
        }
    }
}

/// The fields of drawn receipts, in the order of every receipt's values.
pub fn fields() -> Vec<FieldSpec> {
    let kinds = [
        ("company", FieldKind::Text),
        ("date", FieldKind::Date),
        ("address", FieldKind::Text),
        ("total", FieldKind::Amount),
    ];
    kinds.map(|(name, kind)| FieldSpec { name: name.to_string(), kind }).to_vec()
}

/// Every template, held out or not.
pub fn templates() -> &'static [Template] {
    &TEMPLATES
}

/// Draws a set of receipts. The same count, seed and templates give the same set on any number of threads.
pub fn draw_set(count: usize, seed: u64, templates: Templates) -> LabelledSet {
    let threads = std::thread::available_parallelism().map_or(1, |number| number.get());
    draw_set_on(threads, count, seed, templates)
}

/// Draws the receipt with an index in a set: it depends on nothing but what is given here.
pub fn draw_one(seed: u64, index: usize, templates: Templates) -> DrawnReceipt {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index as u64);
    let chosen: Vec<usize> = (0..TEMPLATES.len()).filter(|&at| templates.includes(&TEMPLATES[at])).collect();
    let at = *pick(&chosen, &mut random);
    draw(at, format!("{}-{seed}-{index:06}", templates.name()), random)
}

fn draw_set_on(threads: usize, count: usize, seed: u64, templates: Templates) -> LabelledSet {
    let threads = threads.clamp(1, count.max(1));
    let share = count.div_ceil(threads);
    let draw_range = |first: usize| -> Vec<LabelledDocument> {
        let end = (first + share).min(count);
        (first..end).map(|index| draw_one(seed, index, templates).into_labelled()).collect()
    };
    let documents = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || draw_range(thread * share))).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    LabelledSet { fields: fields(), documents }
}

/// A receipt of a random company of a template.
fn draw(at: usize, id: String, mut random: ChaCha8Rng) -> DrawnReceipt {
    let template = &TEMPLATES[at];
    let number = random.random_range(0..COMPANIES_PER_TEMPLATE);
    let company = Company::of_template(at, number, template.held_out, template.languages);
    let (language, name) = (company.language, company.name.clone());
    let sale = Sale::random(language, template.look.most_items, &mut random);
    let page = empty_page(template, &company, &mut random);
    let mut draft = Draft::new(page, company, sale, template.held_out, &mut random);
    (template.write)(&mut draft);
    let page = draft.page;
    let scan = Scan::random(&page, &mut random);
    let (width, height) = scan.size();
    DrawnReceipt {
        template,
        language,
        company: name,
        document: Document { id, width, height, lines: misread::read_lines(&page, &scan, &mut random) },
        picture: Arc::new(scan.picture(&page, &mut random)),
        values: Field::ALL.map(|field| page.value(field)).to_vec(),
        true_boxes: Field::ALL.map(|field| misread::value_boxes(&page, &scan, field)).to_vec(),
    }
}

/// The paper and letters of a company, and how this receipt lies on it.
fn empty_page(template: &Template, company: &Company, random: &mut ChaCha8Rng) -> Page {
    let mut habits = company.habits.clone();
    // Not the stream of the draft's habits: letters and wordings shall not go together.
    habits.set_word_pos(1 << 20);
    let look = template.look;
    let mut style = look.style().sized(habits.random_range(0.94..1.08));
    style = style.stretched(habits.random_range(0.88..1.04));
    style.bold = habits.random_bool(0.08);
    let width = look.width * habits.random_range(0.96..1.06);
    let margin = habits.random_range(24.0..48.0);
    let spacing = habits.random_range(1.08..1.4);
    let top = random.random_range(18.0..70.0);
    Page::new(width, margin, top, style, spacing, look.capitals)
}

#[cfg(test)]
mod tests;
