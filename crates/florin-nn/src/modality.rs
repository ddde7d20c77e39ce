//! The kinds of input that Florin's models read.

use serde::{Deserialize, Serialize};

/// One kind of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Words.
    Text,
    /// Where things stand on a page, and how they are printed.
    Layout,
    /// Pixels.
    Image,
    /// Sound.
    Audio,
    /// Frames.
    Video,
    /// Numbers over time.
    Series,
    /// Columns of a row.
    Table,
}

impl Modality {
    /// The lower-case name used in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Layout => "layout",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Series => "series",
            Self::Table => "table",
        }
    }
}
