//! A run's report: one HTML file that needs nothing beside it, so that it can be mailed, archived and opened in
//! ten years.

mod charts;
mod plane;
mod sections;

use std::fmt::Write;

use crate::evaluation::{Calibration, Interval};

/// One field's scores, or their mean.
#[derive(Clone, Debug)]
pub struct ScoreRow {
    /// The field.
    pub name: String,
    /// F1 with its 95% interval.
    pub f1: Interval,
    /// F1 of the baseline.
    pub baseline: f64,
    /// Share read to the letter.
    pub exact: f64,
}

/// How one training went.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Which model.
    pub name: String,
    /// Loss by step.
    pub losses: Vec<(f64, f64)>,
    /// Score on held-out documents by step.
    pub scores: Vec<(f64, f64)>,
}

/// One document of the gallery.
#[derive(Clone, Debug)]
pub struct Example {
    /// Its name.
    pub id: String,
    /// A JPEG with boxes painted on it.
    pub picture: Option<Vec<u8>>,
    /// What was read and what is right.
    pub rows: Vec<ExampleRow>,
}

/// One field of a document.
#[derive(Clone, Debug)]
pub struct ExampleRow {
    /// The field.
    pub field: String,
    /// Colour of its boxes.
    pub colour: String,
    /// What was read.
    pub predicted: Option<String>,
    /// What is right.
    pub gold: Option<String>,
    /// How sure the model is.
    pub confidence: f64,
    /// Whether it is right.
    pub correct: bool,
}

/// Everything a report shows.
#[derive(Clone, Debug)]
pub struct Report {
    /// Heading.
    pub title: String,
    /// A sentence below it.
    pub lead: String,
    /// Names and values: data, split, settings, durations.
    pub facts: Vec<(String, String)>,
    /// Scores by field.
    pub scores: Vec<ScoreRow>,
    /// Their mean.
    pub mean: ScoreRow,
    /// What the baseline is.
    pub baseline: String,
    /// Trainings.
    pub curves: Vec<Curve>,
    /// Column names and, for each field, counts.
    pub outcomes: (Vec<String>, Vec<(String, Vec<usize>)>),
    /// How honest the confidences are.
    pub calibration: Calibration,
    /// How much each modality was leaned on.
    pub weights: Vec<(String, f64)>,
    /// Documents, in the order they should be seen.
    pub gallery: Vec<Example>,
}

impl Report {
    /// The whole file.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
        page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
        page.push_str("<meta name=\"color-scheme\" content=\"light dark\">");
        let _ = write!(page, "<title>{title}</title><style>{}</style></head><body><main>", include_str!("style.css"));
        let _ = write!(page, "<header><h1>{title}</h1><p class=\"lead\">{}</p></header>", escape(&self.lead));
        self.write_headline(&mut page);
        self.write_scores(&mut page);
        self.write_confidence(&mut page);
        self.write_outcomes(&mut page);
        self.write_training(&mut page);
        self.write_facts(&mut page);
        self.write_gallery(&mut page);
        page.push_str("</main></body></html>\n");
        page
    }
}

/// Text as it may stand in HTML, in attributes too.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

/// A score with three decimals; a dash where there is none.
fn fraction(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "–".to_owned() }
}

/// A share as a percentage with one decimal; a dash where there is none.
fn percentage(value: f64) -> String {
    if value.is_finite() { format!("{:.1}%", value * 100.0) } else { "–".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let row = ScoreRow {
            name: "total <b>".into(),
            f1: Interval { value: 0.9, low: 0.8, high: 0.95 },
            baseline: 0.5,
            exact: 0.8,
        };
        Report {
            title: "Receipts & more".into(),
            lead: String::new(),
            facts: vec![("seed".into(), "7".into())],
            scores: vec![row.clone()],
            mean: row,
            baseline: "rules".into(),
            curves: vec![Curve { name: "one".into(), losses: vec![(1.0, f64::NAN)], scores: vec![] }],
            outcomes: (vec!["correct".into()], vec![("total".into(), vec![3])]),
            calibration: Calibration::of(&[]),
            weights: vec![],
            gallery: vec![Example { id: "a".into(), picture: Some(vec![1, 2]), rows: vec![] }],
        }
    }

    #[test]
    fn a_report_is_one_file_with_text_escaped() {
        let html = report().html();
        assert!(html.contains("total &lt;b&gt;") && !html.contains("total <b>"));
        assert!(html.contains("Receipts &amp; more"));
        assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("<script"));
        assert!(html.matches("src=\"").count() == html.matches("src=\"data:").count());
        assert!(!html.contains("NaN"), "what is not a number must not reach a chart");
    }

    #[test]
    fn markup_in_readings_stays_text() {
        let mut report = report();
        let nasty = "\"><img src=x onerror='y'>";
        report.gallery[0].rows.push(ExampleRow {
            field: nasty.into(),
            colour: "red\" onclick=\"z".into(),
            predicted: Some(nasty.into()),
            gold: Some(nasty.into()),
            confidence: f64::NAN,
            correct: false,
        });
        report.facts.push((nasty.into(), nasty.into()));
        report.outcomes.0.push(nasty.into());
        report.weights.push((nasty.into(), 0.5));
        let html = report.html();
        assert!(!html.contains("<img src=x") && !html.contains("onerror='") && !html.contains("\" onclick=\""));
        assert_eq!(html.matches("<img").count(), 1, "the one picture is the gallery's");
    }

    #[test]
    fn an_empty_report_leaves_out_what_it_does_not_have() {
        let mut empty = report();
        (empty.curves, empty.weights, empty.gallery) = (vec![], vec![], vec![]);
        (empty.outcomes, empty.facts) = ((vec![], vec![]), vec![]);
        let html = empty.html();
        assert!(html.contains("Scores") && !html.contains("Training") && !html.contains("Gallery"));
        assert!(html.ends_with("</main></body></html>\n"));
    }
}
