//! A run's `report.html`: what the metrics, the logs and the readings look like.

use std::io::Cursor;
use std::path::Path;

use florin_data::document::BoundingBox;
use florin_data::files::write_atomically;
use florin_data::gold::find_spans;
use florin_data::labelled::LabelledDocument;
use florin_data::words::words;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage};

use super::log::Logged;
use super::metrics::Judgement;
use super::{Init, Metrics, RunConfig};
use crate::FinanceError;
use crate::evaluation::{Interval, Outcome};
use crate::overlay::{Mark, Style, colour_hex, paint};
use crate::report::{Curve, Example, ExampleRow, Report, ScoreRow};

/// Documents in the gallery: mistakes first, then a few that are right.
const GALLERY: usize = 18;
/// Of these, documents without a mistake.
const GALLERY_RIGHT: usize = 6;
/// Height of the gallery's pictures in pixels.
const PICTURE_HEIGHT: u32 = 640;

/// Writes `report.html`.
pub(crate) fn write_report(
    out: &Path,
    config: &RunConfig,
    metrics: &Metrics,
    judgements: &[Judgement],
    documents: &[&LabelledDocument],
    logs: Vec<(String, Logged)>,
    seconds: f64,
) -> Result<(), FinanceError> {
    let rate = logs.first().map_or(0.0, |(_, log)| log.samples_per_second);
    let report = Report {
        title: "Reading receipts".into(),
        lead: format!(
            "{} documents that the models had not seen; mean F1 {:.3} ({:.3}–{:.3}).",
            metrics.documents, metrics.mean_f1.value, metrics.mean_f1.low, metrics.mean_f1.high
        ),
        facts: facts(config, seconds, rate),
        scores: metrics.fields.iter().map(|row| score(&row.name, row.f1, row.rules_f1, row.exact)).collect(),
        mean: score("mean", metrics.mean_f1, metrics.rules_mean_f1, metrics.exact),
        baseline: "hand-written rules on the same documents".into(),
        curves: logs.into_iter().map(|(name, log)| Curve { name, losses: log.losses, scores: log.scores }).collect(),
        outcomes: outcomes(metrics),
        calibration: metrics.calibration.clone(),
        weights: metrics.modality_weights.iter().map(|(m, weight)| (m.name().to_owned(), *weight)).collect(),
        gallery: gallery(judgements, documents)?,
    };
    let html = report.html();
    write_atomically(out.join("report.html"), |writer| std::io::Write::write_all(writer, html.as_bytes()))?;
    Ok(())
}

fn score(name: &str, f1: Interval, baseline: f64, exact: f64) -> ScoreRow {
    ScoreRow { name: name.to_owned(), f1, baseline, exact }
}

fn facts(config: &RunConfig, seconds: f64, rate: f64) -> Vec<(String, String)> {
    let data = config.data.as_ref().map_or_else(
        || format!("{} drawn receipts, {} of held-out templates", config.drawn_training, config.drawn_held_out),
        |data| data.display().to_string(),
    );
    let init = match &config.init {
        Init::None => "nothing (learnt here)".to_owned(),
        Init::Pretrained(name) => name.clone(),
    };
    let split = toml::Value::try_from(config.split).ok().and_then(|v| v.as_str().map(str::to_owned));
    let streams: Vec<&str> = config.streams.iter().map(|modality| modality.name()).collect();
    [
        ("Data", data),
        ("Held out", split.unwrap_or_default()),
        ("Streams", streams.join(", ")),
        ("Fusion", config.fusion.clone()),
        ("Text starts from", init),
        ("Epochs, batch", format!("{}, {}", config.epochs, config.batch)),
        ("Seed", config.seed.to_string()),
        ("Device", config.device.clone()),
        ("Training speed", format!("{rate:.1} receipts/s")),
        ("Time", format!("{:.0} min {:02.0} s", (seconds / 60.0).floor(), seconds % 60.0)),
        ("Florin", env!("CARGO_PKG_VERSION").to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn outcomes(metrics: &Metrics) -> (Vec<String>, Vec<(String, Vec<usize>)>) {
    let labels: Vec<String> = Outcome::ALL.iter().map(|outcome| outcome.label().to_owned()).collect();
    let counts =
        |row: &super::FieldRow| labels.iter().map(|label| row.outcomes.get(label).copied().unwrap_or(0)).collect();
    let rows = metrics.fields.iter().map(|row| (row.name.clone(), counts(row))).collect();
    (labels, rows)
}

fn gallery(judgements: &[Judgement], documents: &[&LabelledDocument]) -> Result<Vec<Example>, FinanceError> {
    let all: Vec<(&Judgement, &&LabelledDocument)> = judgements.iter().zip(documents).collect();
    let (right, wrong): (Vec<_>, Vec<_>) = all.into_iter().partition(|(judgement, _)| is_right(judgement));
    // Evenly through the folds rather than the first ones.
    let spread = |list: Vec<(_, _)>, most: usize| {
        let stride = list.len().div_ceil(most.max(1)).max(1);
        list.into_iter().step_by(stride).take(most).collect::<Vec<_>>()
    };
    let mut chosen = spread(wrong, GALLERY - GALLERY_RIGHT);
    let room = GALLERY - chosen.len();
    chosen.extend(spread(right, room));
    chosen.into_iter().map(|(judgement, document)| example(judgement, document)).collect()
}

fn is_right(judgement: &Judgement) -> bool {
    judgement.judged().all(|(_, judged)| judged.correct)
}

fn example(judgement: &Judgement, document: &LabelledDocument) -> Result<Example, FinanceError> {
    let correct: Vec<bool> = judgement.judged().map(|(_, judged)| judged.correct).collect();
    let rows = judgement.fields.iter().zip(&judgement.gold).zip(correct).enumerate().map(
        |(index, ((field, gold), correct))| ExampleRow {
            field: field.field.clone(),
            colour: colour_hex(index),
            predicted: field.text.clone(),
            gold: gold.clone(),
            confidence: field.confidence,
            correct,
        },
    );
    let rows = rows.collect();
    let picture = match document.picture.load()? {
        Some(pixels) => Some(painted(judgement, document, &pixels)?),
        None => None,
    };
    Ok(Example { id: judgement.id.clone(), picture, rows })
}

fn painted(judgement: &Judgement, document: &LabelledDocument, pixels: &GrayImage) -> Result<Vec<u8>, FinanceError> {
    let all = words(&document.document);
    let gold: Vec<Vec<BoundingBox>> = judgement
        .fields
        .iter()
        .zip(&judgement.gold)
        .map(|(field, value)| {
            let Some(value) = value else { return vec![] };
            let spans = find_spans(&document.document, &all, field.kind, value).best();
            spans.first().map_or_else(Vec::new, |span| document.document.span_boxes(&all, span.first, span.last))
        })
        .collect();
    let dashed = gold.iter().enumerate().map(|(colour, boxes)| Mark { label: "", boxes, colour, style: Style::Dashed });
    let solid = judgement.fields.iter().enumerate().map(|(colour, field)| Mark {
        label: &field.field,
        boxes: &field.boxes,
        colour,
        style: Style::Solid,
    });
    let marks: Vec<Mark<'_>> = dashed.chain(solid).collect();
    let painted = DynamicImage::from(paint(pixels, &marks, &[]));
    let smaller = painted.resize(u32::MAX / 2, PICTURE_HEIGHT.min(painted.height()), FilterType::Triangle);
    let mut bytes = Cursor::new(Vec::new());
    let encoded = JpegEncoder::new_with_quality(&mut bytes, 72).encode_image(&smaller);
    encoded.map_err(|error| FinanceError::Settings(format!("{}: {error}", judgement.id)))?;
    Ok(bytes.into_inner())
}
