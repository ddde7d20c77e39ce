//! The bytes of a file, mapped into memory: nothing is copied before a tensor is asked for.
//!
//! This is the one place of the crate that is `unsafe`. A map promises that nobody changes the file while it is read. Whoever writes
//! a new file and renames it, as Florin, transformers and the hub's clients do, keeps the promise: the map stays with the old file.
//! Whoever writes *into* a weights file while it is being opened may make us read a mixture of old and new numbers, and whoever
//! truncates it ends the process with a bus error. That is accepted: weights are read once, right after opening, no decision is
//! taken twice on the same bytes of a header (it is parsed into our own memory first), and the alternative, a private copy, doubles
//! the memory of every model. Packed weights stay mapped as long as a model computes with them: the same holds for them until then.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::ModelError;

/// Bytes of a file, or of memory that never was one; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Bytes(Arc<Kind>);

#[derive(Debug)]
enum Kind {
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
            return Ok(Self::of(Vec::new()));
        }
        #[allow(unsafe_code, reason = "what it takes to map a file; see the head of this file")]
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Self(Arc::new(Kind::Mapped(map))))
    }

    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Kind::Owned(bytes)))
    }

    /// A part of them that keeps the whole.
    pub(super) fn shared(&self, range: Range<usize>) -> bytes::Bytes {
        bytes::Bytes::from_owner(self.clone()).slice(range)
    }

    /// Says that a part is not needed again soon: the system may take its memory back. It is read anew from the file by whoever does.
    pub(super) fn pass(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Kind::Mapped(map) = &*self.0 {
            #[allow(unsafe_code, reason = "pages of a file that nobody writes to come back as they were")]
            // SAFETY: the map is shared and read-only, so that no page of it holds anything that the file does not.
            let advised =
                unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
            // Advice that is not taken costs memory and nothing else.
            drop(advised);
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Kind::Mapped(map) => map,
            Kind::Owned(bytes) => bytes,
        }
    }
}
