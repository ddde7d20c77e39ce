//! `florin predict` on a folder: one row a picture, appended as it is read, so that a call that was interrupted goes on.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use florin_finance::receipts::{Reader, Reading, RunObserver};

use crate::arguments::PredictOptions;
use crate::predict::read;
use crate::progress::Progress;

/// Endings of pictures that are read.
const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Endings of OCR lines beside a picture.
const LINES: [&str; 4] = ["json", "tsv", "hocr", "html"];

/// Reads every picture of a folder that the table does not hold yet, or could not be read before.
pub(crate) fn predict(options: &PredictOptions) -> anyhow::Result<()> {
    let Some(csv) = &options.csv else { bail!("a folder needs --csv OUT.csv for its rows") };
    if options.ocr.is_some() || options.draw.is_some() {
        bail!("--ocr and --draw are for a single picture; put photo.json (or .tsv, .hocr) beside photo.jpg");
    }
    let (device, format) = options.compute.open()?;
    let reader = Reader::open(&options.weights, &device, format.unwrap_or_default())?;
    let header = header(&reader);
    let done = open_table(csv, &header)?;
    let pictures: Vec<PathBuf> =
        pictures(&options.path)?.into_iter().filter(|path| !done.contains(&name(path))).collect();
    let mut table = csv::Writer::from_writer(append(csv)?);
    let mut progress = Progress::new();
    progress.stage(&format!("reading {} pictures ({} done before)", pictures.len(), done.len()));
    let mut failed = 0;
    for (index, path) in pictures.iter().enumerate() {
        let lines = LINES.iter().map(|ending| path.with_extension(ending)).find(|lines| lines.exists());
        let row = match read(&reader, path, lines.as_deref(), options.abstain) {
            Ok((_, _, reading)) => row(path, &reading),
            Err(error) => {
                failed += 1;
                progress.note(&format!("{}: {error:#}", path.display()));
                let mut row = vec![name(path)];
                row.resize(header.len() - 1, String::new());
                row.push(format!("{error:#}"));
                row
            }
        };
        // Every row is on disk before the next picture is looked at.
        table.write_record(&row).and_then(|()| Ok(table.flush()?)).with_context(|| csv.display().to_string())?;
        progress.progress(index + 1, pictures.len());
    }
    progress.finish();
    if failed > 0 {
        bail!("{failed} of {} pictures could not be read; their rows say why", pictures.len());
    }
    Ok(())
}

fn header(reader: &Reader) -> Vec<String> {
    let mut header = vec!["file".to_owned()];
    for field in reader.fields() {
        let name = &field.name;
        header.extend([
            name.clone(),
            format!("{name}_normalised"),
            format!("{name}_confidence"),
            format!("{name}_review"),
        ]);
    }
    header.push("error".into());
    header
}

fn row(path: &Path, reading: &Reading) -> Vec<String> {
    let mut row = vec![name(path)];
    for field in &reading.fields {
        let review = if field.review { "review" } else { "" };
        row.extend([
            field.text.clone().unwrap_or_default(),
            field.normalised.clone().unwrap_or_default(),
            format!("{:.4}", field.confidence),
            review.to_owned(),
        ]);
    }
    row.push(String::new());
    row
}

/// Files that the table holds already. A new table gets its header; a row that an interruption cut, or that says why its
/// picture could not be read, is taken out, so that the picture is read again.
fn open_table(path: &Path, header: &[String]) -> anyhow::Result<HashSet<String>> {
    let say = || path.display().to_string();
    let text = if path.exists() { std::fs::read_to_string(path).with_context(say)? } else { String::new() };
    let mut table = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let found: Vec<String> = table.headers().with_context(say)?.iter().map(str::to_owned).collect();
    if !text.is_empty() && found != header {
        bail!("{}: its columns are {}, expected {}; choose another --csv", say(), found.join(","), header.join(","));
    }
    let mut rows = table.records().collect::<Result<Vec<_>, _>>().with_context(say)?;
    let before = rows.len();
    // A value may hold line breaks, so that a row can be cut in the middle of one: then its quote is never closed.
    if !text.ends_with('\n') || text.matches('"').count() % 2 == 1 {
        rows.pop();
    }
    rows.retain(|row| row.len() == header.len() && row.get(header.len() - 1) == Some(""));
    if text.is_empty() || rows.len() < before {
        write_table(path, header, &rows).with_context(say)?;
    }
    Ok(rows.iter().map(|row| row[0].to_owned()).collect())
}

/// Puts a table of these rows in the place of what was there.
fn write_table(path: &Path, header: &[String], rows: &[csv::StringRecord]) -> anyhow::Result<()> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(header)?;
    for row in rows {
        table.write_record(row)?;
    }
    let bytes = table.into_inner()?;
    florin_data::files::write_atomically(path, |file| file.write_all(&bytes))?;
    Ok(())
}

fn append(path: &Path) -> anyhow::Result<File> {
    File::options().append(true).open(path).with_context(|| path.display().to_string())
}

/// Pictures of a folder by name.
fn pictures(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        if path.is_file() && ending.is_some_and(|ending| PICTURES.contains(&ending.as_str())) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopened(name: &str, text: &str) -> (HashSet<String>, String) {
        let path = std::env::temp_dir().join(format!("florin-folder-{name}-{}.csv", std::process::id()));
        std::fs::write(&path, text).expect("a small file");
        let done = open_table(&path, &["file", "total", "error"].map(str::to_owned)).expect("the table is readable");
        let left = std::fs::read_to_string(&path).expect("still there");
        let _ = std::fs::remove_file(&path);
        (done, left)
    }

    #[test]
    fn a_row_cut_by_an_interruption_is_read_again() {
        let whole = "file,total,error\na.png,1.00,\n";
        for cut in ["b.png,2.", "b.png,\"2.00\nand", "b.png,\"2.00\n"] {
            let (done, left) = reopened("cut", &format!("{whole}{cut}"));
            assert_eq!(done, HashSet::from(["a.png".to_owned()]), "{cut:?}");
            assert_eq!(left, whole, "{cut:?}");
        }
    }

    #[test]
    fn a_picture_that_could_not_be_read_is_tried_again() {
        let (done, left) = reopened("failed", "file,total,error\na.png,,no lines\nb.png,\"2\n0\",\n");
        assert_eq!(done, HashSet::from(["b.png".to_owned()]));
        assert_eq!(left, "file,total,error\nb.png,\"2\n0\",\n");
    }
}
