//! Rows from Parquet, CSV or JSON lines, as columns of text, numbers and truth values.
//!
//! The three formats are read into one shape so that the readers above need not know which it was. CSV has no types:
//! its cells stay text, because a total of "9.00" must not lose its zeros, and are read as numbers when asked for.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
};
use serde_json::Value;

use crate::DataError;
use crate::guarded::guarded;

/// The endings of the formats that [`Table::read`] knows, best first.
pub const TABLE_EXTENSIONS: [&str; 3] = ["parquet", "csv", "jsonl"];

/// A table of named columns of equal length.
#[derive(Debug, Clone)]
pub struct Table {
    path: PathBuf,
    rows: usize,
    columns: Vec<Column>,
}

/// One value of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing: a null, an absent key, or an empty CSV cell.
    Null,
    /// Text.
    Text(String),
    /// A number.
    Number(f64),
    /// A truth value.
    Boolean(bool),
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    cells: Vec<Cell>,
}

impl Table {
    /// Reads a table, choosing the format by the file's ending.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "parquet" => read_parquet(path),
            "csv" => read_csv(path),
            "jsonl" => read_json_lines(path),
            _ => Err(DataError::table(
                path,
                format!("expected a file ending in .{}, found '.{extension}'", TABLE_EXTENSIONS.join(", .")),
            )),
        }
    }

    /// The file the table came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns' names in order.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// Whether there is such a column.
    pub fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    /// Whether a column holds text and nothing else but nulls; false when there is no such column.
    pub fn is_text(&self, name: &str) -> bool {
        let Ok(cells) = self.cells(name) else { return false };
        cells.iter().all(|cell| matches!(cell, Cell::Text(_) | Cell::Null))
    }

    /// The cells of a column.
    pub fn cells(&self, name: &str) -> Result<&[Cell], DataError> {
        match self.columns.iter().find(|column| column.name == name) {
            Some(column) => Ok(&column.cells),
            None => Err(self.missing(name)),
        }
    }

    /// A column as text; numbers and truth values as they are usually written.
    pub fn text(&self, name: &str) -> Result<Vec<Option<String>>, DataError> {
        let text = |cell: &Cell| match cell {
            Cell::Null => None,
            Cell::Text(text) => Some(text.clone()),
            Cell::Number(number) => Some(number.to_string()),
            Cell::Boolean(boolean) => Some(boolean.to_string()),
        };
        Ok(self.cells(name)?.iter().map(text).collect())
    }

    /// A column as finite numbers; text is read as a number if it is one.
    pub fn numbers(&self, name: &str) -> Result<Vec<Option<f64>>, DataError> {
        let number = |(row, cell): (usize, &Cell)| {
            let number = match cell {
                Cell::Null => return Ok(None),
                Cell::Number(number) => Some(*number),
                Cell::Text(text) => text.trim().parse().ok(),
                Cell::Boolean(_) => None,
            };
            match number.filter(|number: &f64| number.is_finite()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.cell_error(row, name, "a finite number", cell)),
            }
        };
        self.cells(name)?.iter().enumerate().map(number).collect()
    }

    /// A column of numbers without gaps.
    pub fn required_numbers(&self, name: &str) -> Result<Vec<f64>, DataError> {
        self.require(name, self.numbers(name)?, "a number")
    }

    /// A column of text without gaps.
    pub fn required_text(&self, name: &str) -> Result<Vec<String>, DataError> {
        self.require(name, self.text(name)?, "text")
    }

    /// The error that a column, or one of several names for it, is missing.
    pub fn missing(&self, expected: &str) -> DataError {
        let found =
            if self.columns.is_empty() { "no columns".into() } else { format!("'{}'", self.names().join("', '")) };
        DataError::MissingColumn { path: self.path.clone(), expected: expected.into(), found }
    }

    /// The error that a cell does not hold what it must.
    pub(crate) fn cell_error(&self, row: usize, column: &str, expected: &'static str, found: &Cell) -> DataError {
        let found = match found {
            Cell::Null => "nothing".into(),
            Cell::Text(text) => format!("'{}'", text.chars().take(60).collect::<String>()),
            Cell::Number(number) => number.to_string(),
            Cell::Boolean(boolean) => boolean.to_string(),
        };
        DataError::Cell { path: self.path.clone(), row: row + 1, column: column.into(), expected, found }
    }

    fn require<T>(&self, name: &str, cells: Vec<Option<T>>, expected: &'static str) -> Result<Vec<T>, DataError> {
        let filled = cells.into_iter().enumerate();
        filled.map(|(row, cell)| cell.ok_or_else(|| self.cell_error(row, name, expected, &Cell::Null))).collect()
    }

    fn new(path: &Path, names: Vec<String>) -> Self {
        let columns = names.into_iter().map(|name| Column { name, cells: Vec::new() }).collect();
        Self { path: path.to_path_buf(), rows: 0, columns }
    }

    /// Adds a cell to the row being filled; a column not seen before is empty in the rows above.
    fn put(&mut self, name: &str, cell: Cell) {
        let rows = self.rows;
        let position = self.columns.iter().position(|column| column.name == name).unwrap_or_else(|| {
            self.columns.push(Column { name: name.into(), cells: Vec::new() });
            self.columns.len() - 1
        });
        if let Some(column) = self.columns.get_mut(position) {
            column.cells.resize(rows, Cell::Null);
            column.cells.push(cell);
        }
    }

    /// Ends the row being filled: what was not put is empty.
    fn end_row(&mut self) {
        self.rows += 1;
        for column in &mut self.columns {
            column.cells.resize(self.rows, Cell::Null);
        }
    }
}

fn open(path: &Path) -> Result<File, DataError> {
    File::open(path).map_err(|source| DataError::file("read the table", path, source))
}

fn read_parquet(path: &Path) -> Result<Table, DataError> {
    let file = open(path)?;
    // The decoder is not ours and a damaged file can make it panic; to the caller both are an unreadable table.
    guarded(|| parquet_rows(path, file)).unwrap_or_else(|| Err(DataError::table(path, "the Parquet file is damaged")))
}

fn parquet_rows(path: &Path, file: File) -> Result<Table, DataError> {
    let reader = SerializedFileReader::new(file).map_err(|error| DataError::table(path, error))?;
    let schema = reader.metadata().file_metadata().schema();
    let mut table = Table::new(path, schema.get_fields().iter().map(|field| field.name().to_string()).collect());
    for row in reader.get_row_iter(None).map_err(|error| DataError::table(path, error))? {
        let row = row.map_err(|error| DataError::table(path, error))?;
        for (name, field) in row.get_column_iter() {
            table.put(name, parquet_cell(field));
        }
        table.end_row();
    }
    Ok(table)
}

fn parquet_cell(field: &Field) -> Cell {
    match field {
        Field::Null => Cell::Null,
        Field::Bool(value) => Cell::Boolean(*value),
        Field::Byte(value) => Cell::Number((*value).into()),
        Field::Short(value) => Cell::Number((*value).into()),
        Field::Int(value) => Cell::Number((*value).into()),
        Field::Long(value) => Cell::Number(*value as f64),
        Field::UByte(value) => Cell::Number((*value).into()),
        Field::UShort(value) => Cell::Number((*value).into()),
        Field::UInt(value) => Cell::Number((*value).into()),
        Field::ULong(value) => Cell::Number(*value as f64),
        Field::Float(value) => Cell::Number((*value).into()),
        Field::Double(value) => Cell::Number(*value),
        Field::Str(value) => Cell::Text(value.clone()),
        other => Cell::Text(other.to_string()),
    }
}

fn read_csv(path: &Path) -> Result<Table, DataError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(BufReader::new(open(path)?));
    let header = reader.headers().map_err(|error| DataError::table(path, error))?;
    // Spreadsheets write a byte-order mark before the first name.
    let names: Vec<String> = header.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_string()).collect();
    let mut table = Table::new(path, names.clone());
    for record in reader.records() {
        let record = record.map_err(|error| DataError::table(path, error))?;
        for (name, text) in names.iter().zip(&record) {
            table.put(name, if text.is_empty() { Cell::Null } else { Cell::Text(text.to_string()) });
        }
        table.end_row();
    }
    Ok(table)
}

fn read_json_lines(path: &Path) -> Result<Table, DataError> {
    let mut table = Table::new(path, Vec::new());
    for (index, line) in BufReader::new(open(path)?).lines().enumerate() {
        let line = line.map_err(|source| DataError::file("read the table", path, source))?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |reason: String| DataError::table(path, format!("line {}: {reason}", index + 1));
        let value: Value = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        let Value::Object(row) = value else { return Err(wrong("expected a JSON object".into())) };
        for (name, value) in row {
            let cell = match value {
                Value::Null => Cell::Null,
                Value::String(text) => Cell::Text(text),
                Value::Bool(value) => Cell::Boolean(value),
                Value::Number(number) => Cell::Number(number.as_f64().unwrap_or(f64::NAN)),
                nested @ (Value::Array(_) | Value::Object(_)) => Cell::Text(nested.to_string()),
            };
            table.put(&name, cell);
        }
        table.end_row();
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        (folder, path)
    }

    /// A small table in the columnar format, written by the same library.
    fn parquet_bytes() -> Vec<u8> {
        use parquet::{
            data_type::{ByteArray, ByteArrayType, DoubleType},
            file::writer::SerializedFileWriter,
            schema::parser::parse_message_type,
        };
        let schema = "message m { REQUIRED BYTE_ARRAY id (UTF8); OPTIONAL DOUBLE size; }";
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(
            &mut bytes,
            std::sync::Arc::new(parse_message_type(schema).unwrap()),
            Default::default(),
        )
        .unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[ByteArray::from("a"), ByteArray::from("b")], None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<DoubleType>().write_batch(&[1.5], Some(&[1, 0]), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        bytes
    }

    #[test]
    fn the_three_formats_hold_the_same_table() {
        for (name, content) in [
            ("t.csv", b"\xef\xbb\xbfid,size\na,1.5\nb,\n".to_vec()),
            ("t.jsonl", b"{\"id\":\"a\",\"size\":1.5}\n\n{\"id\":\"b\"}\n".to_vec()),
            ("t.parquet", parquet_bytes()),
        ] {
            let (_folder, path) = written(name, content);
            let table = Table::read(&path).unwrap();
            assert_eq!(table.names(), ["id", "size"], "{name}");
            assert_eq!(table.required_text("id").unwrap(), ["a", "b"], "{name}");
            assert_eq!(table.numbers("size").unwrap(), [Some(1.5), None], "{name}");
            let error = table.required_numbers("size").unwrap_err().to_string();
            assert!(error.contains("row 2, column 'size': expected a number, found nothing"), "{error}");
            let error = table.numbers("id").unwrap_err().to_string();
            assert!(error.contains("row 1") && error.contains("'a'"), "{error}");
            let error = table.cells("total").unwrap_err().to_string();
            assert!(error.contains("'total'") && error.contains("'id', 'size'"), "{error}");
        }
    }

    #[test]
    fn text_keeps_the_digits_that_were_printed() {
        let (_folder, path) = written("t.csv", "total\n9.00\n");
        assert_eq!(Table::read(&path).unwrap().text("total").unwrap(), [Some("9.00".into())]);
    }

    #[test]
    fn damaged_tables_are_errors_that_name_the_file() {
        for (name, content) in [
            ("t.jsonl", "{\"a\":1}\n[1]\n".as_bytes()),
            ("t.jsonl", b"{\"a\":\n"),
            ("t.jsonl", b"\xff\xfe\n"),
            ("t.csv", b"a,b\n1\n"),
            ("t.csv", b"a\n\xff\n"),
            ("t.parquet", b"PAR1"),
            ("t.parquet", b""),
            ("t.xlsx", b"a"),
        ] {
            let (_folder, path) = written(name, content);
            let error = Table::read(&path).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(Table::read("/nowhere/t.csv").unwrap_err().to_string().contains("/nowhere/t.csv"));
    }

    #[test]
    fn a_parquet_file_cut_or_changed_anywhere_never_panics() {
        use rand::{RngExt, SeedableRng};
        let bytes = parquet_bytes();
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(6);
        for cut in 0..bytes.len() {
            let (_folder, path) = written("t.parquet", &bytes[..cut]);
            assert!(Table::read(&path).is_err());
        }
        for _ in 0..300 {
            let mut changed = bytes.clone();
            let position = random.random_range(0..changed.len());
            changed[position] = random.random();
            let (_folder, path) = written("t.parquet", changed);
            let _ = Table::read(&path);
        }
    }
}
