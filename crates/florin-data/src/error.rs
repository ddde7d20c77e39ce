//! The one error type of this crate: every variant names the file, document or column that is at fault.

use std::{io, path::PathBuf};

/// What went wrong while reading, checking or writing data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be opened, read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was being done, such as "read".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is not a picture that can be decoded.
    #[error("cannot read the picture {}: {reason}", path.display())]
    Picture {
        /// The picture's file.
        path: PathBuf,
        /// Why it was refused.
        reason: String,
    },
    /// A file is not a clip that can be decoded, or the program that would is not there.
    #[error("cannot read the clip {}: {reason}", path.display())]
    Clip {
        /// The clip's file or folder.
        path: PathBuf,
        /// Why it was refused.
        reason: String,
    },
    /// A file of settings cannot be used.
    #[error("cannot use the settings {}: {reason}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why it was refused.
        reason: String,
    },
    /// A picture is too large to decode safely.
    #[error(
        "the picture {} is {width} x {height} pixels, expected at most {limit} pixels in all: scale it down first",
        path.display()
    )]
    PictureTooLarge {
        /// The picture's file.
        path: PathBuf,
        /// Width by its header.
        width: u32,
        /// Height by its header.
        height: u32,
        /// Most pixels accepted.
        limit: u64,
    },
    /// A labelled document names a picture that is not there.
    #[error("document '{document}' names the picture {}, which does not exist", path.display())]
    MissingPicture {
        /// The document's id.
        document: String,
        /// Where the picture was looked for.
        path: PathBuf,
    },
    /// A document's size, boxes or text are impossible.
    #[error("document '{document}': {reason}")]
    Document {
        /// The document's id.
        document: String,
        /// What is impossible.
        reason: String,
    },
    /// A table could not be read.
    #[error("cannot read the table {}: {reason}", path.display())]
    Table {
        /// The table's file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A table lacks a column.
    #[error("{}: expected a column '{expected}', found {found}", path.display())]
    MissingColumn {
        /// The table's file.
        path: PathBuf,
        /// The column's name, or the names that would have done.
        expected: String,
        /// The columns that are there.
        found: String,
    },
    /// A table's cell has another type than its column must have.
    #[error("{}: row {row}, column '{column}': expected {expected}, found {found}", path.display())]
    Cell {
        /// The table's file.
        path: PathBuf,
        /// The row, counted from 1.
        row: usize,
        /// The column.
        column: String,
        /// What the column must hold.
        expected: &'static str,
        /// What it holds.
        found: String,
    },
    /// An index of vectors could not be read, written or asked.
    #[error("cannot use the index {}: {reason}", path.display())]
    Index {
        /// The index's folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A folder is not a pack of labelled documents.
    #[error("{} is not a folder of labelled documents: {reason}", path.display())]
    Pack {
        /// The folder.
        path: PathBuf,
        /// What is missing or contradictory.
        reason: String,
    },
    /// Lines from an OCR program could not be read.
    #[error("cannot read the OCR lines {}: {reason}", path.display())]
    Ocr {
        /// The file with the lines, or the picture that was to be read.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No OCR program is installed.
    #[error(
        "cannot read the text of {}: the program 'tesseract' is not on the PATH; \
         install it (Debian and Ubuntu: apt-get install tesseract-ocr) or pass its output with --ocr FILE",
        path.display()
    )]
    NoOcrProgram {
        /// The picture whose text was wanted.
        path: PathBuf,
    },
    /// A file is not a sound that can be decoded.
    #[error("cannot read the sound {}: {reason}", path.display())]
    SoundFile {
        /// The sound's file.
        path: PathBuf,
        /// Why it was refused.
        reason: String,
    },
    /// A sound that no model can be given, or a picture of sounds that cannot be made.
    #[error("cannot use this sound: {reason}")]
    Sound {
        /// Why.
        reason: String,
    },
    /// A tokenizer could not be read or lacks a special token.
    #[error("cannot use the tokenizer {}: {reason}", path.display())]
    Tokenizer {
        /// The tokenizer's file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Tokens cannot be masked as asked.
    #[error("cannot mask tokens this way: {reason}")]
    Masking {
        /// Why.
        reason: String,
    },
    /// Documents cannot be divided as asked, or a division leaks.
    #[error("cannot use this split: {reason}")]
    Split {
        /// Why.
        reason: String,
    },
}

impl DataError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { action, path: path.into(), source }
    }

    pub(crate) fn table(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Table { path: path.into(), reason: reason.to_string() }
    }

    #[cfg(feature = "audio")]
    pub(crate) fn sound_file(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::SoundFile { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn sound(reason: impl ToString) -> Self {
        Self::Sound { reason: reason.to_string() }
    }

    pub(crate) fn ocr(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Ocr { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn picture(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Picture { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn clip(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Clip { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn document(document: impl Into<String>, reason: impl ToString) -> Self {
        Self::Document { document: document.into(), reason: reason.to_string() }
    }
}
