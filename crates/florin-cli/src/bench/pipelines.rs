//! Cases that begin where a user does: with texts in a table and pictures in files.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context;
use florin_data::table::Table;
use florin_models::{ImageEmbedder, TextEmbedder, hub};
use image::{Rgb, RgbImage};

use super::case::Case;
use super::timing::timed;
use super::{Bench, Found, Measured};

/// Tokens of a batch of texts, as `florin embed` has them.
const BATCH_TOKENS: usize = 4096;
/// Pictures of a batch, as `florin embed` has them.
const PICTURES_AT_ONCE: usize = 16;
/// Pictures that are drawn where none are given.
const PICTURES: u32 = 32;
/// The table of questions, below the folder of data sets.
const QUESTIONS: &str = "banking77/train.parquet";

/// All texts of a table as vectors.
pub(crate) fn queries(bench: &Bench<'_>, case: Case) -> anyhow::Result<Found> {
    let skipped = |reason: String| Ok(Found::Skipped { case: case.name(), skipped: reason });
    let Some(data) = std::env::var_os("FLORIN_DATA").filter(|folder| !folder.is_empty()) else {
        return skipped(format!("FLORIN_DATA names no folder of data sets; expected {QUESTIONS} in it"));
    };
    let table = Path::new(&data).join(QUESTIONS);
    if !table.is_file() {
        return skipped(format!("{}: no such file", table.display()));
    }
    // Weights that mean nothing would do for the time, but there would be no tokenizer.
    let own = bench.models.map(|models| models.join(case.name())).filter(|folder| folder.is_dir());
    let folder = match own.map_or_else(|| hub::folder_of("minilm"), Ok) {
        Ok(folder) => folder,
        Err(error) => return skipped(error.to_string()),
    };
    let texts = Table::read(&table)?.required_text("text")?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let embedder = TextEmbedder::of(Rc::from(bench.opened(&folder)?), &folder, &bench.device)?;
    let (laps, last) = timed(bench.seconds, &mut || Ok(embedder.embed(&texts, BATCH_TOKENS, &mut |_| {})?))?;
    Ok(Found::Measured(Measured::new(case, texts.len(), "texts", laps, &last.concat())))
}

/// Picture files as vectors.
pub(crate) fn pictures(bench: &Bench<'_>, case: Case) -> anyhow::Result<Measured> {
    let drawn = tempfile::tempdir().context("there is no temporary folder to draw pictures into")?;
    let given = bench.folder(case);
    let folder = given.as_deref().unwrap_or(drawn.path());
    let mut paths = given.as_ref().map_or_else(|| Ok(Vec::new()), |folder| files(&folder.join("pictures")))?;
    if paths.is_empty() {
        paths = (0..PICTURES).map(|number| draw(drawn.path(), number)).collect::<anyhow::Result<_>>()?;
    }
    if given.is_none() {
        // What is not said there is as CLIP has it.
        let file = drawn.path().join("preprocessor_config.json");
        std::fs::write(&file, r#"{"image_processor_type": "CLIPImageProcessor"}"#)
            .with_context(|| file.display().to_string())?;
    }
    let embedder = ImageEmbedder::of(Rc::from(bench.system(case)?), folder, &bench.device)?;
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let (laps, last) = timed(bench.seconds, &mut || {
        let batches = paths.chunks(PICTURES_AT_ONCE).map(|batch| embedder.embed(batch));
        Ok(batches.collect::<Result<Vec<_>, _>>()?.concat())
    })?;
    Ok(Measured::new(case, paths.len(), "pictures", laps, &last.concat()))
}

/// The files of a folder, by name; none where there is no folder.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A picture of soft colours with grain, which a JPEG decoder has about as much work with as with a photograph.
fn draw(folder: &Path, number: u32) -> anyhow::Result<PathBuf> {
    let picture = RgbImage::from_fn(640, 480, |x, y| {
        let grain = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(2_246_822_519)).wrapping_mul(number + 3) >> 28;
        let tone = |width: u32, height: u32| (((x / width + y / height + 40 * number) % 224) + grain) as u8;
        Rgb([tone(3, 5), tone(7, 2), tone(4, 9)])
    });
    let path = folder.join(format!("{number:02}.jpg"));
    picture.save(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}
