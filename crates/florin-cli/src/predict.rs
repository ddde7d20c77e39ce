//! `florin predict` on one picture.

use std::path::Path;

use anyhow::bail;
use florin_data::document::Document;
use florin_data::{files, ocr, picture};
use florin_finance::overlay;
use florin_finance::receipts::{FieldPrediction, Reader, Reading};
use image::GrayImage;
use serde_json::json;

use crate::arguments::{PredictOptions, Task};
use crate::{folder, output};

/// Reads a picture or a folder.
pub(crate) fn predict(options: &PredictOptions) -> anyhow::Result<()> {
    let Task::Receipts = options.task;
    if !options.path.exists() {
        bail!("{}: there is no such file or folder", options.path.display());
    }
    if options.path.is_dir() {
        return folder::predict(options);
    }
    if options.csv.is_some() {
        bail!("--csv is for a folder; {} is a file", options.path.display());
    }
    let (device, format) = options.compute.open()?;
    let reader = Reader::open(&options.weights, &device, format.unwrap_or_default())?;
    let (document, pixels, reading) = read(&reader, &options.path, options.ocr.as_deref(), options.abstain)?;
    if let Some(out) = &options.draw {
        draw(&pixels, &reading, out)?;
    }
    if options.json {
        return output::json(&json!({
            "file": options.path,
            "width": document.width,
            "height": document.height,
            "fields": reading.fields,
            "modality_weights": reading.modality_weights.iter().map(|(m, w)| (m.name(), w)).collect::<Vec<_>>(),
            "seconds": reading.seconds,
        }));
    }
    output::text(&table(&reading.fields))
}

/// Reads one picture with its OCR lines.
pub(crate) fn read(
    reader: &Reader,
    path: &Path,
    lines: Option<&Path>,
    abstain: Option<f64>,
) -> anyhow::Result<(Document, GrayImage, Reading)> {
    let pixels = picture::decode(path)?;
    let document = match lines {
        Some(lines) => {
            let (width, height) = pixels.dimensions();
            let lines = ocr::read_ocr(lines, (width, height))?;
            Document::new(path.display().to_string(), width, height, lines)?
        }
        None => ocr::recognise(path)?,
    };
    let reading = reader.read(&document, reader.needs_picture().then_some(&pixels), abstain)?;
    Ok((document, pixels, reading))
}

fn draw(pixels: &GrayImage, reading: &Reading, out: &Path) -> anyhow::Result<()> {
    let marks: Vec<overlay::Mark<'_>> = reading
        .fields
        .iter()
        .enumerate()
        .map(|(colour, field)| overlay::Mark {
            label: &field.field,
            boxes: &field.boxes,
            colour,
            style: overlay::Style::Solid,
        })
        .collect();
    let legend: Vec<String> = reading.fields.iter().map(legend).collect();
    let painted = overlay::paint(pixels, &marks, &legend);
    let mut bytes = std::io::Cursor::new(Vec::new());
    painted.write_to(&mut bytes, image::ImageFormat::Png)?;
    files::write_atomically(out, |writer| std::io::Write::write_all(writer, bytes.get_ref()))?;
    Ok(())
}

fn legend(field: &FieldPrediction) -> String {
    let value = field.text.as_deref().unwrap_or("—");
    format!("{}: {value} ({:.0}%)", field.field, 100.0 * field.confidence)
}

fn table(fields: &[FieldPrediction]) -> String {
    let any_review = fields.iter().any(|field| field.review);
    let rows = fields.iter().map(|field| {
        let boxes: Vec<String> =
            field.boxes.iter().map(|b| format!("{:.0},{:.0},{:.0},{:.0}", b.left, b.top, b.right, b.bottom)).collect();
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "—".into());
        let mut row = vec![
            field.field.clone(),
            value(&field.text),
            value(&field.normalised),
            format!("{:.3}", field.confidence),
            boxes.join("  "),
        ];
        if any_review {
            row.push(if field.review { "review".into() } else { String::new() });
        }
        row
    });
    let mut header = vec!["FIELD", "AS PRINTED", "NORMALISED", "CONFIDENCE", "BOXES"];
    if any_review {
        header.push("");
    }
    output::table(&header, rows.collect())
}
