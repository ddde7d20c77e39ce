//! The bytes of a file, mapped into memory: nothing is copied before a tensor is asked for.
//!
//! This is the one place of the crate that is `unsafe`. A map promises that nobody changes the file while it is read. Whoever writes
//! a new file and renames it, as Florin, transformers and the hub's clients do, keeps the promise: the map stays with the old file.
//! Whoever writes *into* a weights file while it is being opened may make us read a mixture of old and new numbers, and whoever
//! truncates it ends the process with a bus error. That is accepted: weights are read once, right after opening, no decision is
//! taken twice on the same bytes of a header (it is parsed into our own memory first), and the alternative, a private copy, doubles
//! the memory of every model.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::ModelError;

/// Bytes of a file, or of memory that never was one.
#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps a file.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let failed = |source| ModelError::File { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(failed(std::io::Error::other("not a regular file")));
        }
        if about.len() == 0 {
            return Ok(Self::Owned(Vec::new()));
        }
        #[allow(unsafe_code, reason = "what it takes to map a file; see the head of this file")]
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Self::Mapped(map))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}
