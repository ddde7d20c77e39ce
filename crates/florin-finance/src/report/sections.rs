//! The parts of a report's page, in the order they are read: the answer first, how it came about last.

use std::fmt::Write;

use base64::Engine;

use super::{Example, Report, ScoreRow, charts, escape, fraction, percentage};

/// The share of wrong readings a reviewer is assumed to put up with among those accepted unseen.
const TOLERATED: f64 = 0.02;

impl Report {
    pub(super) fn write_headline(&self, page: &mut String) {
        let mean = &self.mean;
        let interval = format!("95% interval {} to {}", fraction(mean.f1.low), fraction(mean.f1.high));
        let gain = mean.f1.value - mean.baseline;
        let lead = if gain.is_finite() { format!("{gain:+.3} against the baseline") } else { String::new() };
        let unseen = percentage(self.calibration.coverage_at_risk(TOLERATED));
        let wrong = format!("surest readings with at most {:.0}% wrong", TOLERATED * 100.0);
        page.push_str("<div class=\"tiles\">");
        tile(page, "Mean F1", &fraction(mean.f1.value), &interval);
        tile(page, "Baseline F1", &fraction(mean.baseline), &lead);
        tile(page, "Read to the letter", &percentage(mean.exact), "of the values");
        if self.calibration.count > 0 {
            let error = percentage(self.calibration.ece);
            tile(page, "Calibration error", &error, "mean gap of confidence and truth");
            tile(page, "Need no review", &unseen, &wrong);
        }
        page.push_str("</div>");
    }

    pub(super) fn write_scores(&self, page: &mut String) {
        let _ = write!(
            page,
            "<section><h2>Scores</h2><p>F1 by field on documents the models had not seen, with 95% intervals from a \
             bootstrap over documents, beside {}.</p><div class=\"pair\">",
            escape(&self.baseline)
        );
        let rows: Vec<&ScoreRow> = self.scores.iter().chain([&self.mean]).collect();
        let keys = [("bar", "model, with 95% interval"), ("base", "baseline")];
        figure(page, "F1 by field", &charts::scores(&rows), &keys.map(|(class, name)| (class.into(), name.into())), "");
        page.push_str("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Field</th>");
        for name in ["F1", "95% interval", "To the letter", "Baseline"] {
            let _ = write!(page, "<th scope=\"col\" class=\"n\">{name}</th>");
        }
        page.push_str("</tr></thead><tbody>");
        for (index, row) in rows.iter().enumerate() {
            let class = if index == self.scores.len() { " class=\"mean\"" } else { "" };
            let _ = write!(page, "<tr{class}><th scope=\"row\">{}</th>", escape(&row.name));
            let interval = format!("{}–{}", fraction(row.f1.low), fraction(row.f1.high));
            for value in [fraction(row.f1.value), interval, fraction(row.exact), fraction(row.baseline)] {
                let _ = write!(page, "<td class=\"n\">{value}</td>");
            }
            page.push_str("</tr>");
        }
        page.push_str("</tbody></table></div></div></section>");
    }

    pub(super) fn write_confidence(&self, page: &mut String) {
        let calibration = &self.calibration;
        page.push_str("<section><h2>Confidence</h2><p>Every reading states how sure it is, so that only the doubtful ");
        page.push_str("ones need a person. That works as far as the statements are true.</p><div class=\"charts\">");
        let caption = format!(
            "Perfectly honest confidences lie on the dashed line. Larger dots stand for more of the {} readings; \
             whiskers are 95% intervals. Expected calibration error {}, Brier score {}.",
            calibration.count,
            fraction(calibration.ece),
            fraction(calibration.brier)
        );
        figure(page, "Are confidences honest?", &charts::reliability(calibration), &[], &caption);
        let caption = format!(
            "Share of wrong readings when only the surest are accepted. {} can be accepted with at most {:.0}% wrong; \
             area under the curve {}.",
            percentage(calibration.coverage_at_risk(TOLERATED)),
            TOLERATED * 100.0,
            fraction(calibration.aurc)
        );
        figure(page, "What is gained by passing doubts on?", &charts::risk(calibration), &[], &caption);
        page.push_str("</div></section>");
    }

    pub(super) fn write_outcomes(&self, page: &mut String) {
        if self.outcomes.1.is_empty() {
            return;
        }
        page.push_str("<section><h2>What became of every field</h2><p>Number of documents.</p>");
        page.push_str("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Field</th>");
        for column in &self.outcomes.0 {
            let _ = write!(page, "<th scope=\"col\" class=\"n\">{}</th>", escape(column));
        }
        page.push_str("</tr></thead><tbody>");
        for (field, counts) in &self.outcomes.1 {
            let _ = write!(page, "<tr><th scope=\"row\">{}</th>", escape(field));
            for count in counts {
                let class = if *count == 0 { "n none" } else { "n" };
                let _ = write!(page, "<td class=\"{class}\">{count}</td>");
            }
            page.push_str("</tr>");
        }
        page.push_str("</tbody></table></div></section>");
    }

    pub(super) fn write_training(&self, page: &mut String) {
        if self.curves.is_empty() && self.weights.is_empty() {
            return;
        }
        page.push_str("<section><h2>Training</h2><div class=\"charts\">");
        if !self.curves.is_empty() {
            let name = |(index, curve): (usize, &super::Curve)| (charts::series(index), curve.name.clone());
            let keys: Vec<(String, String)> = self.curves.iter().enumerate().map(name).collect();
            figure(page, "Training loss", &charts::losses(&self.curves), &keys, "");
            if self.curves.iter().any(|curve| !curve.scores.is_empty()) {
                figure(page, "F1 on held-out documents", &charts::validation(&self.curves), &keys, "");
            }
        }
        if !self.weights.is_empty() {
            let caption = "How much the fused words leaned on each modality, on average.";
            figure(page, "What the model looks at", &charts::weights(&self.weights), &[], caption);
        }
        page.push_str("</div></section>");
    }

    pub(super) fn write_facts(&self, page: &mut String) {
        if self.facts.is_empty() {
            return;
        }
        page.push_str("<section><h2>The run</h2><dl class=\"facts\">");
        for (name, value) in &self.facts {
            let _ = write!(page, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value));
        }
        page.push_str("</dl></section>");
    }

    pub(super) fn write_gallery(&self, page: &mut String) {
        if self.gallery.is_empty() {
            return;
        }
        page.push_str("<section><h2>Gallery</h2><p>Solid boxes are what was read, dashed ones where the right value ");
        page.push_str("stands. Documents with mistakes come first.</p><div class=\"gallery\">");
        for example in &self.gallery {
            write_example(page, example);
        }
        page.push_str("</div></section>");
    }
}

fn write_example(page: &mut String, example: &Example) {
    let name = escape(&example.id);
    let right = example.rows.iter().filter(|row| row.correct).count();
    let class = if right == example.rows.len() { "right" } else { "wrong" };
    let _ = write!(page, "<article class=\"card\"><h3>{name}<span class=\"badge {class}\">");
    let _ = write!(page, "{right} of {} right</span></h3>", example.rows.len());
    if let Some(picture) = &example.picture {
        let data = base64::engine::general_purpose::STANDARD.encode(picture);
        let _ = write!(page, "<img alt=\"{name} with its fields boxed\" src=\"data:image/jpeg;base64,{data}\">");
    }
    page.push_str("<table><thead><tr><th scope=\"col\">Field</th><th scope=\"col\">Read</th>");
    page.push_str("<th scope=\"col\">Correct value</th><th scope=\"col\" class=\"n\">Sure</th></tr></thead><tbody>");
    for row in &example.rows {
        let value = |value: &Option<String>| value.as_deref().map_or_else(|| "—".to_owned(), escape);
        let (class, mark, said) = if row.correct { ("right", "✓", "right") } else { ("wrong", "✗", "wrong") };
        let sure =
            if row.confidence.is_finite() { format!("{:.0}%", row.confidence * 100.0) } else { "–".to_owned() };
        let _ = write!(
            page,
            "<tr><th scope=\"row\"><span class=\"swatch\" style=\"background:{}\"></span>{}</th><td class=\"{class}\">\
             <span role=\"img\" aria-label=\"{said}\">{mark}</span> {}</td><td>{}</td><td class=\"n\">{sure}</td></tr>",
            escape(&row.colour),
            escape(&row.field),
            value(&row.predicted),
            value(&row.gold)
        );
    }
    page.push_str("</tbody></table></article>");
}

fn tile(page: &mut String, name: &str, value: &str, remark: &str) {
    let remark = escape(remark);
    let _ = write!(page, "<div><span>{name}</span><strong>{value}</strong><small>{remark}</small></div>");
}

/// A chart under its heading; `keys` are style classes with the names of what is drawn in them.
fn figure(page: &mut String, title: &str, svg: &str, keys: &[(String, String)], caption: &str) {
    let _ = write!(page, "<figure><h3>{}</h3>{svg}", escape(title));
    if !keys.is_empty() {
        page.push_str("<ul class=\"keys\">");
        for (class, name) in keys {
            let _ = write!(page, "<li><i class=\"{class}\"></i>{}</li>", escape(name));
        }
        page.push_str("</ul>");
    }
    if !caption.is_empty() {
        let _ = write!(page, "<figcaption>{}</figcaption>", escape(caption));
    }
    page.push_str("</figure>");
}
