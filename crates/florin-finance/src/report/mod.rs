//! A run's report: one HTML file that needs nothing beside it, so that it can be mailed, archived and opened in ten years.

mod charts;

use std::fmt::Write;

use base64::Engine;

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
        let mut page = String::new();
        let title = escape(&self.title);
        page.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
        page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
        let _ = write!(page, "<title>{title}</title><style>{}</style></head><body><main>", include_str!("style.css"));
        let _ = write!(page, "<h1>{title}</h1><p class=\"lead\">{}</p>", escape(&self.lead));
        page.push_str("<dl class=\"facts\">");
        for (name, value) in &self.facts {
            let _ = write!(page, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value));
        }
        page.push_str("</dl>");
        self.write_scores(&mut page);
        self.write_charts(&mut page);
        self.write_outcomes(&mut page);
        self.write_gallery(&mut page);
        page.push_str("</main></body></html>\n");
        page
    }

    fn write_scores(&self, page: &mut String) {
        let _ = write!(
            page,
            "<h2>Scores</h2><p>Normalised F1 by field with 95% intervals from a bootstrap over documents, beside {}.</p>",
            escape(&self.baseline)
        );
        page.push_str("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Field</th><th scope=\"col\" class=\"n\">F1</th><th scope=\"col\" class=\"n\">95% interval</th><th scope=\"col\" class=\"n\">To the letter</th><th scope=\"col\" class=\"n\">Baseline F1</th></tr></thead><tbody>");
        let rows = self.scores.iter().map(|row| ("", row)).chain([(" class=\"mean\"", &self.mean)]);
        for (class, row) in rows {
            let _ = write!(
                page,
                "<tr{class}><th scope=\"row\">{}</th><td class=\"n\">{:.3}</td><td class=\"n\">{:.3}–{:.3}</td><td class=\"n\">{:.3}</td><td class=\"n\">{:.3}</td></tr>",
                escape(&row.name),
                row.f1.value,
                row.f1.low,
                row.f1.high,
                row.exact,
                row.baseline
            );
        }
        page.push_str("</tbody></table></div>");
    }

    fn write_charts(&self, page: &mut String) {
        page.push_str("<h2>Pictures of the run</h2><div class=\"charts\">");
        let all: Vec<ScoreRow> = self.scores.iter().chain([&self.mean]).cloned().collect();
        figure(page, &charts::scores(&all), "F1 with its interval; the grey bar is the baseline.");
        for curve in &self.curves {
            let caption = format!("{}: training loss (line) and F1 on held-out documents (dots) by step.", curve.name);
            figure(page, &charts::learning(curve), &caption);
        }
        let caption = format!(
            "Of the readings with a given confidence, how many are right. Expected calibration error {:.3} over {} readings.",
            self.calibration.ece, self.calibration.count
        );
        figure(page, &charts::reliability(&self.calibration), &caption);
        figure(page, &charts::risk(&self.calibration), "Share of wrong readings among the most confident ones.");
        figure(page, &charts::weights(&self.weights), "How much the fused words leaned on each modality.");
        page.push_str("</div>");
    }

    fn write_outcomes(&self, page: &mut String) {
        page.push_str(
            "<h2>What became of every field</h2><div class=\"scroll\"><table><thead><tr><th scope=\"col\">Field</th>",
        );
        for column in &self.outcomes.0 {
            let _ = write!(page, "<th scope=\"col\" class=\"n\">{}</th>", escape(column));
        }
        page.push_str("</tr></thead><tbody>");
        for (field, counts) in &self.outcomes.1 {
            let _ = write!(page, "<tr><th scope=\"row\">{}</th>", escape(field));
            for count in counts {
                let _ = write!(page, "<td class=\"n\">{count}</td>");
            }
            page.push_str("</tr>");
        }
        page.push_str("</tbody></table></div>");
    }

    fn write_gallery(&self, page: &mut String) {
        page.push_str("<h2>Gallery</h2><p>Solid boxes are what was read, dashed ones where the right value stands. Mistakes come first.</p><div class=\"gallery\">");
        for example in &self.gallery {
            page.push_str("<figure>");
            if let Some(picture) = &example.picture {
                let data = base64::engine::general_purpose::STANDARD.encode(picture);
                let name = escape(&example.id);
                let _ =
                    write!(page, "<img alt=\"{name} with its fields boxed\" src=\"data:image/jpeg;base64,{data}\">");
            }
            let _ = write!(page, "<figcaption>{}</figcaption>", escape(&example.id));
            page.push_str("<table><thead><tr><th scope=\"col\">Field</th><th scope=\"col\">Read</th><th scope=\"col\">Right</th><th scope=\"col\" class=\"n\">Sure</th></tr></thead><tbody>");
            for row in &example.rows {
                let value = |value: &Option<String>| value.as_deref().map_or_else(|| "—".to_owned(), escape);
                let _ = write!(
                    page,
                    "<tr><th scope=\"row\"><span class=\"swatch\" style=\"background:{}\"></span>{}</th><td class=\"{}\">{}</td><td>{}</td><td class=\"n\">{:.2}</td></tr>",
                    escape(&row.colour),
                    escape(&row.field),
                    if row.correct { "right" } else { "wrong" },
                    value(&row.predicted),
                    value(&row.gold),
                    row.confidence
                );
            }
            page.push_str("</tbody></table></figure>");
        }
        page.push_str("</div>");
    }
}

fn figure(page: &mut String, svg: &str, caption: &str) {
    let _ = write!(page, "<figure>{svg}<figcaption>{}</figcaption></figure>", escape(caption));
}

/// Text as it may stand in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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
}
