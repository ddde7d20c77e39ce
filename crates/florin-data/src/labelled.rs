//! Folders of labelled documents: tables, lines and pictures.
//!
//! A pack is a folder with a table of documents (`receipts` or `documents`), a table `ocr_lines`, each as Parquet, CSV
//! or JSON lines, and the pictures. Which fields a pack labels is read from the pack: no field name is known here.

mod fields;
mod save;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use image::GrayImage;
use serde::{Deserialize, Serialize};

pub use self::save::save_pack;
use crate::{
    DataError,
    document::{BoundingBox, Document, TextLine},
    picture,
    table::{TABLE_EXTENSIONS, Table},
    value::FieldKind,
    words::reading_order,
};

/// A field that documents are labelled with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldSpec {
    /// Its column.
    pub name: String,
    /// What its values are.
    pub kind: FieldKind,
}

/// A document with the values that a person read from it.
#[derive(Debug, Clone)]
pub struct LabelledDocument {
    /// Its page and lines.
    pub document: Document,
    /// Where its pixels are.
    pub picture: Picture,
    /// The gold values as annotated, one for every field of the set; none where the page has no such value.
    pub values: Vec<Option<String>>,
    /// What it shares with other documents that must not be divided, such as its company.
    pub group: Option<String>,
    /// Shared by scans of the same page.
    pub duplicate_group: Option<String>,
    /// The fold that the data assigns to it.
    pub fold: Option<u32>,
}

/// Where the pixels of a document are.
#[derive(Debug, Clone, Default)]
pub enum Picture {
    /// In a file.
    File(PathBuf),
    /// In memory.
    Pixels(Arc<GrayImage>),
    /// Nowhere: only the lines are known.
    #[default]
    Missing,
}

impl Picture {
    /// The pixels, decoded if need be; none for a missing picture.
    pub fn load(&self) -> Result<Option<Arc<GrayImage>>, DataError> {
        match self {
            Self::File(path) => picture::decode(path).map(|pixels| Some(Arc::new(pixels))),
            Self::Pixels(pixels) => Ok(Some(pixels.clone())),
            Self::Missing => Ok(None),
        }
    }
}

/// Labelled documents and the fields they are labelled with.
#[derive(Debug, Clone, Default)]
pub struct LabelledSet {
    /// The fields, in the order of every document's `values`.
    pub fields: Vec<FieldSpec>,
    /// The documents.
    pub documents: Vec<LabelledDocument>,
}

/// The names that a pack's table of documents may have.
const DOCUMENT_TABLES: [&str; 2] = ["receipts", "documents"];

/// The names that the column with a document's id may have.
const ID_COLUMNS: [&str; 3] = ["receipt_id", "document_id", "id"];

/// Reads a pack. With `fields` given only those columns are read, else the pack's own fields.
///
/// Optional columns: `image_file`, `image_width`, `image_height`, `fold`, a column ending in `_group` (or `group`),
/// and `near_duplicate_group` (or `duplicate_group`). Without `image_file` a picture `images/ID.jpg` (or png, webp) is
/// used if there is one; without sizes the picture's header is read. A document without lines is an empty page.
///
/// Lines are put into row order ([`reading_order`]), whatever their order in the table: that is also what is done to
/// the lines of an OCR program, so that a model is used as it was trained. On the receipts pack row order finds as many
/// values in one piece as the annotators' own order, and one more company.
pub fn load_pack(folder: impl AsRef<Path>, fields: Option<&[String]>) -> Result<LabelledSet, DataError> {
    let folder = folder.as_ref();
    let table = Table::read(find_table(folder, &DOCUMENT_TABLES)?)?;
    let mut lines = read_lines(&Table::read(find_table(folder, &["ocr_lines"])?)?)?;
    let fields = fields::of_pack(folder, &table, fields)?;
    let columns = Columns::read(&table, &fields)?;
    let mut documents = Vec::with_capacity(table.rows());
    for row in 0..table.rows() {
        let id = columns.ids.get(row).cloned().unwrap_or_default();
        let picture = columns.picture(folder, row, &id)?;
        let (width, height) = columns.size(row, &id, &picture)?;
        let mut document = Document::new(id, width, height, lines.remove(columns.id(row)).unwrap_or_default())?;
        reading_order(&mut document.lines);
        let cell = |column: &[Option<String>]| column.get(row).cloned().flatten();
        documents.push(LabelledDocument {
            document,
            picture,
            values: columns.values.iter().map(|column| cell(column)).collect(),
            group: cell(&columns.groups),
            duplicate_group: cell(&columns.duplicate_groups),
            fold: columns.folds.get(row).copied().flatten(),
        });
    }
    Ok(LabelledSet { fields, documents })
}

/// The columns of the table of documents; an optional column that is absent is empty.
struct Columns {
    ids: Vec<String>,
    picture_files: Vec<Option<String>>,
    widths: Vec<Option<u32>>,
    heights: Vec<Option<u32>>,
    groups: Vec<Option<String>>,
    duplicate_groups: Vec<Option<String>>,
    folds: Vec<Option<u32>>,
    values: Vec<Vec<Option<String>>>,
}

impl Columns {
    fn read(table: &Table, fields: &[FieldSpec]) -> Result<Self, DataError> {
        let ids = table.required_text(id_column(table)?)?;
        let mut seen = HashMap::new();
        for (row, id) in ids.iter().enumerate() {
            if let Some(earlier) = seen.insert(id, row) {
                let reason = format!("expected every id once, found '{id}' in rows {} and {}", earlier + 1, row + 1);
                return Err(DataError::table(table.path(), reason));
            }
        }
        let duplicates = ["near_duplicate_group", "duplicate_group"];
        let mut groups =
            table.names().into_iter().filter(|name| name.ends_with("_group") && !duplicates.contains(name));
        let group = if table.has("group") { Some("group") } else { groups.next() };
        Ok(Self {
            ids,
            picture_files: optional_text(table, Some("image_file"))?,
            widths: whole_numbers(table, first_of(table, &["image_width", "width"]))?,
            heights: whole_numbers(table, first_of(table, &["image_height", "height"]))?,
            groups: optional_text(table, group)?,
            duplicate_groups: optional_text(table, first_of(table, &duplicates))?,
            folds: whole_numbers(table, first_of(table, &["fold"]))?,
            values: fields.iter().map(|field| filled_text(table, &field.name)).collect::<Result<_, _>>()?,
        })
    }

    fn id(&self, row: usize) -> &str {
        self.ids.get(row).map(String::as_str).unwrap_or_default()
    }

    fn picture(&self, folder: &Path, row: usize, id: &str) -> Result<Picture, DataError> {
        if let Some(file) = self.picture_files.get(row).cloned().flatten() {
            let path = folder.join(file);
            if !path.is_file() {
                return Err(DataError::MissingPicture { document: id.into(), path });
            }
            return Ok(Picture::File(path));
        }
        let candidates =
            ["jpg", "jpeg", "png", "webp"].map(|ending| folder.join("images").join(format!("{id}.{ending}")));
        Ok(candidates.into_iter().find(|path| path.is_file()).map_or(Picture::Missing, Picture::File))
    }

    fn size(&self, row: usize, id: &str, picture: &Picture) -> Result<(u32, u32), DataError> {
        let side = |sides: &[Option<u32>]| sides.get(row).copied().flatten();
        match (side(&self.widths), side(&self.heights), picture) {
            (Some(width), Some(height), _) => Ok((width, height)),
            (_, _, Picture::File(path)) => picture::dimensions(path),
            _ => Err(DataError::document(id, "expected 'image_width' and 'image_height' or a picture, found neither")),
        }
    }
}

/// The lines of every document by its id, in the order of `line_index` or of the table.
fn read_lines(table: &Table) -> Result<HashMap<String, Vec<TextLine>>, DataError> {
    let ids = table.required_text(id_column(table)?)?;
    let texts = table.text("text")?;
    let edges = ["left", "top", "right", "bottom"].map(|edge| table.required_numbers(edge));
    let [left, top, right, bottom] = edges;
    let (left, top, right, bottom) = (left?, top?, right?, bottom?);
    let order = match table.has("line_index") {
        true => table.required_numbers("line_index")?,
        false => (0..table.rows()).map(|row| row as f64).collect(),
    };
    let mut rows: Vec<usize> = (0..table.rows()).collect();
    rows.sort_by(|&a, &b| order[a].total_cmp(&order[b]));
    let mut lines: HashMap<String, Vec<TextLine>> = HashMap::new();
    for row in rows {
        let bounds = BoundingBox::new(left[row] as f32, top[row] as f32, right[row] as f32, bottom[row] as f32);
        let text = texts[row].clone().unwrap_or_default();
        lines.entry(ids[row].clone()).or_default().push(TextLine { text, bounds });
    }
    Ok(lines)
}

fn find_table(folder: &Path, stems: &[&str]) -> Result<PathBuf, DataError> {
    let mut candidates =
        stems.iter().flat_map(|stem| TABLE_EXTENSIONS.map(|ending| folder.join(format!("{stem}.{ending}"))));
    candidates.find(|path| path.is_file()).ok_or_else(|| DataError::Pack {
        path: folder.to_path_buf(),
        reason: format!("expected a table {} (.{})", stems.join(" or "), TABLE_EXTENSIONS.join(", .")),
    })
}

fn id_column(table: &Table) -> Result<&'static str, DataError> {
    first_of(table, &ID_COLUMNS).ok_or_else(|| table.missing(&ID_COLUMNS.join("' or '")))
}

fn first_of(table: &Table, names: &[&'static str]) -> Option<&'static str> {
    names.iter().copied().find(|name| table.has(name))
}

fn optional_text(table: &Table, name: Option<&str>) -> Result<Vec<Option<String>>, DataError> {
    match name.filter(|name| table.has(name)) {
        Some(name) => filled_text(table, name),
        None => Ok(Vec::new()),
    }
}

/// Text in which blank cells count as empty.
fn filled_text(table: &Table, name: &str) -> Result<Vec<Option<String>>, DataError> {
    let text = table.text(name)?.into_iter();
    Ok(text.map(|cell| cell.filter(|text| !text.trim().is_empty())).collect())
}

fn whole_numbers(table: &Table, name: Option<&str>) -> Result<Vec<Option<u32>>, DataError> {
    let Some(name) = name else { return Ok(Vec::new()) };
    let whole = |(row, number): (usize, Option<f64>)| match number {
        Some(number) if number < 0.0 || number > f64::from(u32::MAX) || number.fract() != 0.0 => {
            let found = crate::table::Cell::Number(number);
            Err(table.cell_error(row, name, "a whole number from 0", &found))
        }
        number => Ok(number.map(|number| number as u32)),
    };
    table.numbers(name)?.into_iter().enumerate().map(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn pack(documents: &str, lines: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("documents.csv"), documents).unwrap();
        fs::write(folder.path().join("ocr_lines.csv"), lines).unwrap();
        folder
    }

    const LINES: &str =
        "document_id,line_index,text,left,top,right,bottom\nb,1,second,0,20,50,30\nb,0,first,0,0,500,10\n";

    fn load_error(documents: &str, lines: &str) -> String {
        load_pack(pack(documents, lines).path(), None).unwrap_err().to_string()
    }

    #[test]
    fn a_small_pack_is_read_with_its_own_fields_and_kinds() {
        let documents = "document_id,image_width,image_height,shop,day,sum,day_iso,shop_group,fold\n\
                         a,100,200,ACME,25/12/2018,RM9.00,2018-12-25,g1,0\nb,100,200,\"B, C\",1 MAY 2018,,x,,1\n";
        let set = load_pack(pack(documents, LINES).path(), None).unwrap();
        let fields: Vec<_> = set.fields.iter().map(|field| (field.name.as_str(), field.kind)).collect();
        assert_eq!(fields, [("shop", FieldKind::Text), ("day", FieldKind::Date), ("sum", FieldKind::Amount)]);
        let [a, b] = &set.documents[..] else { panic!("two documents") };
        assert!(a.document.lines.is_empty() && matches!(a.picture, Picture::Missing));
        assert_eq!((a.group.as_deref(), a.fold), (Some("g1"), Some(0)));
        assert_eq!(b.values, [Some("B, C".into()), Some("1 MAY 2018".into()), None]);
        assert_eq!(b.document.lines[0].text, "first");
        assert_eq!(b.document.lines[0].bounds.right, 100.0, "cut to the page");
        assert_eq!(b.group, None);
    }

    #[test]
    fn faults_name_the_document_row_or_column() {
        let head = "document_id,image_file,image_width,image_height,shop\n";
        assert!(load_error(&format!("{head}a,images/a.jpg,1,1,x\n"), LINES).contains("'a' names the picture"));
        assert!(load_error(&format!("{head}a,,,,x\n"), LINES).contains("'a': expected 'image_width'"));
        assert!(load_error(&format!("{head}a,,1,1,x\na,,1,1,y\n"), LINES).contains("'a' in rows 1 and 2"));
        assert!(load_error(&format!("{head}a,,1.5,1,x\n"), LINES).contains("row 1, column 'image_width'"));
        assert!(load_error("name,shop\n", LINES).contains("'receipt_id' or 'document_id' or 'id'"));
        let good = format!("{head}b,,9,9,x\n");
        assert!(load_error(&good, "document_id,text,left,top,right\n").contains("'bottom'"));
        assert!(load_error(&good, "document_id,text,left,top,right,bottom\nb,x,9,0,1,1\n").contains("'b': line 0"));
        assert!(load_error(&good, "document_id,text,left,top,right,bottom\nb,x,NaN,0,1,1\n").contains("column 'left'"));
        let empty = tempfile::tempdir().unwrap();
        assert!(load_pack(empty.path(), None).unwrap_err().to_string().contains("receipts or documents"));
    }

    #[test]
    fn sizes_come_from_the_picture_when_the_table_has_none() {
        let folder = pack("document_id,shop\nb,x\n", LINES);
        fs::create_dir(folder.path().join("images")).unwrap();
        GrayImage::new(60, 40).save(folder.path().join("images/b.png")).unwrap();
        let set = load_pack(folder.path(), None).unwrap();
        assert_eq!((set.documents[0].document.width, set.documents[0].document.height), (60, 40));
        assert_eq!(set.documents[0].picture.load().unwrap().unwrap().dimensions(), (60, 40));
    }

    #[test]
    fn the_real_pack_is_read_whole() {
        let Some(data) = std::env::var_os("FLORIN_DATA") else {
            eprintln!("skipped: FLORIN_DATA is not set");
            return;
        };
        let set = load_pack(Path::new(&data).join("receipts"), None).unwrap();
        let fields: Vec<_> = set.fields.iter().map(|field| (field.name.as_str(), field.kind)).collect();
        let (text, date, amount) = (FieldKind::Text, FieldKind::Date, FieldKind::Amount);
        assert_eq!(fields, [("company", text), ("date", date), ("address", text), ("total", amount)]);
        assert_eq!(set.documents.len(), 621);
        assert!(set.documents.iter().all(|document| document.group.is_some() && document.fold.is_some()));
        assert_eq!(set.documents.iter().filter(|document| document.duplicate_group.is_some()).count(), 6);
    }
}
