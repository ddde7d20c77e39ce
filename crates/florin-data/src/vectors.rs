//! Vectors with what they belong to, in the formats that others read: safetensors, NumPy's npy, Parquet and JSON lines.
//!
//! The first two hold numbers alone, in the order of what was embedded; the others name each row.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde::Serialize;

use crate::DataError;
use crate::files::write_atomically;

/// The tensor in a safetensors file.
pub const TENSOR: &str = "embeddings";
/// Rows of a group in a Parquet file.
const ROWS_IN_A_GROUP: usize = 65_536;

/// Rows of equal width.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// What each row belongs to: the text, or the file.
    pub names: Vec<String>,
    /// Width of a row.
    pub dim: usize,
    /// Row after row.
    pub values: Vec<f32>,
}

/// A format that vectors are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorFormat {
    /// One tensor, `embeddings`, `[rows, dim]`.
    Safetensors,
    /// One array, `[rows, dim]`.
    Npy,
    /// Columns `name` and `embedding`.
    Parquet,
    /// An object a row with `name` and `embedding`.
    JsonLines,
}

/// A row of a file of lines, its numbers no longer than they are.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    embedding: &'a [f32],
}

impl VectorFormat {
    /// The endings that are known.
    pub const ENDINGS: [&str; 4] = ["safetensors", "npy", "parquet", "jsonl"];

    /// The format by a file's ending.
    pub fn of(path: &Path) -> Result<Self, DataError> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "safetensors" => Ok(Self::Safetensors),
            "npy" => Ok(Self::Npy),
            "parquet" => Ok(Self::Parquet),
            "jsonl" => Ok(Self::JsonLines),
            _ => {
                let known = Self::ENDINGS.join(", .");
                Err(DataError::table(path, format!("expected a file ending in .{known}, found '.{ending}'")))
            }
        }
    }
}

impl Vectors {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.names.len()
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// Writes a file in the format of its ending; an earlier one stays whole until the new one is.
    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        match VectorFormat::of(path)? {
            VectorFormat::Safetensors => write_atomically(path, |writer| self.write_safetensors(writer)),
            VectorFormat::Npy => write_atomically(path, |writer| self.write_npy(writer)),
            VectorFormat::JsonLines => write_atomically(path, |writer| self.write_json_lines(writer)),
            VectorFormat::Parquet => {
                write_atomically(path, |writer| self.write_parquet(writer).map_err(io::Error::other))
            }
        }
    }

    fn write_safetensors(&self, writer: &mut dyn Write) -> io::Result<()> {
        let bytes: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![self.rows(), self.dim], &bytes).map_err(io::Error::other)?;
        writer.write_all(&serialize([(TENSOR, view)], None).map_err(io::Error::other)?)
    }

    fn write_npy(&self, writer: &mut dyn Write) -> io::Result<()> {
        let shape = format!("({}, {})", self.rows(), self.dim);
        let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        // Magic, version and length are 10 bytes; all of it ends at a multiple of 64 with a new line.
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        writer.write_all(b"\x93NUMPY\x01\x00")?;
        writer.write_all(&(header.len() as u16).to_le_bytes())?;
        writer.write_all(header.as_bytes())?;
        self.values.iter().try_for_each(|value| writer.write_all(&value.to_le_bytes()))
    }

    /// Writes an object a row with `name` and `embedding`.
    pub fn write_json_lines(&self, writer: &mut dyn Write) -> io::Result<()> {
        for (row, name) in self.names.iter().enumerate() {
            serde_json::to_writer(&mut *writer, &Line { name, embedding: self.row(row) })?;
            writeln!(writer)?;
        }
        Ok(())
    }

    fn write_parquet(&self, writer: &mut dyn Write) -> Result<(), parquet::errors::ParquetError> {
        let message = "message embeddings { required binary name (UTF8);
            required group embedding (LIST) { repeated group list { required float element; } } }";
        let compression = Compression::ZSTD(ZstdLevel::default());
        let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
        let mut bytes = Vec::new();
        let mut file = SerializedFileWriter::new(&mut bytes, Arc::new(parse_message_type(message)?), properties)?;
        let places: Vec<usize> = (0..self.rows()).collect();
        for rows in places.chunks(ROWS_IN_A_GROUP) {
            let mut group = file.next_row_group()?;
            let names: Vec<ByteArray> = rows.iter().map(|&row| ByteArray::from(self.names[row].as_str())).collect();
            if let Some(mut column) = group.next_column()? {
                column.typed::<ByteArrayType>().write_batch(&names, None, None)?;
                column.close()?;
            }
            let values: Vec<f32> = rows.iter().flat_map(|&row| self.row(row).iter().copied()).collect();
            let given = vec![1i16; values.len()];
            let repeated: Vec<i16> =
                (0..values.len()).map(|place| i16::from(!place.is_multiple_of(self.dim))).collect();
            if let Some(mut column) = group.next_column()? {
                column.typed::<FloatType>().write_batch(&values, Some(&given), Some(&repeated))?;
                column.close()?;
            }
            group.close()?;
        }
        file.close()?;
        Ok(writer.write_all(&bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> Vectors {
        Vectors {
            names: vec!["one".to_owned(), "zwei".to_owned()],
            dim: 3,
            values: vec![1.0, 2.5, 0.5, 4.0, 5.0, 6.25],
        }
    }

    #[test]
    fn an_npy_file_has_the_header_that_numpy_writes() {
        let mut bytes = Vec::new();
        vectors().write_npy(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 128 + 24);
        assert!(
            bytes.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }")
        );
        assert_eq!(bytes[127], b'\n');
        assert_eq!(bytes[128..132], 1.0f32.to_le_bytes());
    }

    #[test]
    fn a_parquet_file_and_lines_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        vectors().write(&path).unwrap();
        let file = parquet::file::reader::SerializedFileReader::try_from(path.as_path()).unwrap();
        let rows: Vec<String> = file.into_iter().map(|row| row.unwrap().to_string()).collect();
        let expected =
            [r#"{name: "one", embedding: [1.0, 2.5, 0.5]}"#, r#"{name: "zwei", embedding: [4.0, 5.0, 6.25]}"#];
        assert_eq!(rows, expected);
        let expected = [r#"{"name":"one","embedding":[1.0,2.5,0.5]}"#, r#"{"name":"zwei","embedding":[4.0,5.0,6.25]}"#];
        let mut lines = Vec::new();
        vectors().write_json_lines(&mut lines).unwrap();
        assert_eq!(String::from_utf8(lines).unwrap(), expected.join("\n") + "\n");
        let tensors = folder.path().join("a.safetensors");
        vectors().write(&tensors).unwrap();
        let bytes = std::fs::read(tensors).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.tensor(TENSOR).unwrap().shape(), [2, 3]);
    }

    #[test]
    fn a_format_that_is_not_known_is_refused() {
        let error = vectors().write(Path::new("a.txt")).unwrap_err().to_string();
        assert!(error.contains(".safetensors, .npy, .parquet, .jsonl, found '.txt'"), "{error}");
    }
}
