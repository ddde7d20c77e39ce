//! Writing a pack that [`load_pack`](super::load_pack) reads back: made-up documents as files.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use serde_json::{Map, Value, json};

use super::{
    LabelledDocument, LabelledSet, Picture,
    fields::{FIELDS_FILE, FOUND_ENDING, is_structural},
};
use crate::{DataError, files::write_atomically, value::comparison_key};

/// Writes `documents.jsonl`, `ocr_lines.jsonl`, `fields.json` and `images/` into a folder, made if need be.
///
/// Pictures in memory become PNG files, pictures in files are copied. Picture files are numbered, so that any id is
/// safe. The tables come last: a pack that was cut short has none and is not mistaken for a whole one.
pub fn save_pack(folder: impl AsRef<Path>, set: &LabelledSet) -> Result<(), DataError> {
    let folder = folder.as_ref();
    check(folder, set)?;
    let images = folder.join("images");
    fs::create_dir_all(&images).map_err(|source| DataError::file("make the folder", &images, source))?;
    let mut files = Vec::with_capacity(set.documents.len());
    for (index, labelled) in set.documents.iter().enumerate() {
        files.push(save_picture(folder, index, &labelled.picture)?);
    }
    write_atomically(folder.join(FIELDS_FILE), |writer| Ok(serde_json::to_writer_pretty(writer, &set.fields)?))?;
    write_atomically(folder.join("ocr_lines.jsonl"), |writer| {
        set.documents.iter().try_for_each(|labelled| write_lines(writer, labelled))
    })?;
    write_atomically(folder.join("documents.jsonl"), |writer| {
        let rows = set.documents.iter().zip(&files);
        rows.into_iter().try_for_each(|(labelled, file)| write_row(writer, &row(set, labelled, file.as_deref())))
    })
}

/// What could be written but not be read back the same.
fn check(folder: &Path, set: &LabelledSet) -> Result<(), DataError> {
    if let Some(field) = set.fields.iter().find(|field| is_structural(&field.name)) {
        let reason = format!("expected field names that are not reserved, found '{}'", field.name);
        return Err(DataError::Pack { path: folder.to_path_buf(), reason });
    }
    let uneven = set.documents.iter().find(|labelled| labelled.values.len() != set.fields.len());
    uneven.map_or(Ok(()), |labelled| {
        let reason = format!("expected {} values, one a field, found {}", set.fields.len(), labelled.values.len());
        Err(DataError::document(&labelled.document.id, reason))
    })
}

/// Saves one picture; its path inside the pack.
fn save_picture(folder: &Path, index: usize, picture: &Picture) -> Result<Option<String>, DataError> {
    match picture {
        Picture::Missing => Ok(None),
        Picture::Pixels(pixels) => {
            let name = format!("images/{index:06}.png");
            write_atomically(folder.join(&name), |writer| {
                let encoder = PngEncoder::new(writer);
                encoder
                    .write_image(pixels.as_raw(), pixels.width(), pixels.height(), ExtendedColorType::L8)
                    .map_err(io::Error::other)
            })?;
            Ok(Some(name))
        }
        Picture::File(path) => {
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("jpg");
            let name = format!("images/{index:06}.{ending}");
            copy(path, folder.join(&name))?;
            Ok(Some(name))
        }
    }
}

fn copy(from: &Path, to: PathBuf) -> Result<(), DataError> {
    let bytes = fs::read(from).map_err(|source| DataError::file("read the picture", from, source))?;
    write_atomically(to, |writer| writer.write_all(&bytes))
}

fn row(set: &LabelledSet, labelled: &LabelledDocument, file: Option<&str>) -> Value {
    let document = &labelled.document;
    let page: String = document.lines.iter().map(|line| comparison_key(&line.text)).collect();
    let mut row = Map::new();
    let mut put = |name: &str, value: Value| row.insert(name.into(), value);
    put("document_id", json!(document.id));
    put("image_file", json!(file));
    put("image_width", json!(document.width));
    put("image_height", json!(document.height));
    put("group", json!(labelled.group));
    put("near_duplicate_group", json!(labelled.duplicate_group));
    put("fold", json!(labelled.fold));
    for (field, value) in set.fields.iter().zip(&labelled.values) {
        put(&field.name, json!(value));
        let found = value.as_ref().map(|value| page.contains(&comparison_key(value)));
        put(&format!("{}{FOUND_ENDING}", field.name), json!(found));
    }
    Value::Object(row)
}

fn write_lines(writer: &mut dyn Write, labelled: &LabelledDocument) -> io::Result<()> {
    for (index, line) in labelled.document.lines.iter().enumerate() {
        let bounds = &line.bounds;
        let row = json!({
            "document_id": labelled.document.id, "line_index": index, "text": line.text,
            "left": bounds.left, "top": bounds.top, "right": bounds.right, "bottom": bounds.bottom,
        });
        write_row(writer, &row)?;
    }
    Ok(())
}

fn write_row(writer: &mut dyn Write, row: &Value) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, row)?;
    writer.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        document::{BoundingBox, Document, TextLine},
        labelled::{FieldSpec, load_pack},
        value::FieldKind,
    };
    use image::GrayImage;

    fn set() -> LabelledSet {
        let line = |text: &str| TextLine { text: text.into(), bounds: BoundingBox::new(1.25, 2.5, 30.1, 9.0) };
        let document = |id: &str, lines| Document::new(id, 40, 20, lines).unwrap();
        let fields = vec![
            FieldSpec { name: "shop".into(), kind: FieldKind::Text },
            FieldSpec { name: "sum".into(), kind: FieldKind::Amount },
        ];
        let first = LabelledDocument {
            document: document("../a b", vec![line("ACME \"x\"\t,\n"), line("9.00")]),
            picture: Picture::Pixels(Arc::new(GrayImage::from_fn(40, 20, |x, y| image::Luma([(x * y) as u8])))),
            values: vec![Some("ACME".into()), None],
            group: Some("g".into()),
            duplicate_group: None,
            fold: Some(3),
        };
        let second = LabelledDocument {
            document: document("empty", vec![]),
            picture: Picture::Missing,
            values: vec![None, None],
            group: None,
            duplicate_group: Some("d".into()),
            fold: None,
        };
        LabelledSet { fields, documents: vec![first, second] }
    }

    #[test]
    fn a_saved_pack_is_read_back_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (set, target) = (set(), folder.path().join("new").join("pack"));
        save_pack(&target, &set).unwrap();
        let read = load_pack(&target, None).unwrap();
        assert_eq!(read.fields, set.fields, "also a kind that no value shows");
        for (read, written) in read.documents.iter().zip(&set.documents) {
            assert_eq!(read.document, written.document);
            assert_eq!(read.values, written.values);
            assert_eq!(
                (&read.group, &read.duplicate_group, read.fold),
                (&written.group, &written.duplicate_group, written.fold)
            );
            assert_eq!(read.picture.load().unwrap(), written.picture.load().unwrap());
        }
        let again = folder.path().join("again");
        save_pack(&again, &read).unwrap();
        assert_eq!(load_pack(&again, None).unwrap().documents.len(), 2);
    }

    #[test]
    fn a_set_that_could_not_be_read_back_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut reserved = set();
        reserved.fields[0].name = "fold".into();
        assert!(save_pack(folder.path(), &reserved).unwrap_err().to_string().contains("'fold'"));
        let mut uneven = set();
        uneven.documents[0].values.pop();
        assert!(save_pack(folder.path(), &uneven).unwrap_err().to_string().contains("expected 2 values"));
    }
}
