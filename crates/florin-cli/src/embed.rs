//! `florin embed`: texts or pictures as vectors, in a file or as lines on stdout.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use burn::prelude::Device;
use florin_data::vectors::{VectorFormat, Vectors};
use florin_models::embedding_run::EmbeddingRun;
use florin_models::{ImageEmbedder, ModelError, TextEmbedder, hub};
use serde_json::json;

use crate::arguments::EmbedOptions;
use crate::output;
use crate::progress::Counter;
use crate::things::Things;

/// Pictures of a batch.
const PICTURES_AT_ONCE: usize = 16;

/// Embeds what the options name.
pub(crate) fn embed(options: &EmbedOptions) -> anyhow::Result<()> {
    if let Some(out) = &options.out {
        VectorFormat::of(out)?;
    }
    let things = Things::read(&options.text, &options.inputs, options.column.as_deref())?;
    let folder = hub::folder_of(&options.model)?;
    let device = florin_backend::device(&options.device)?;
    let embedder = Embedder::open(&things, &folder, &device, options.batch_tokens)?;
    let began = Instant::now();
    let names = things.names();
    let mut counter = Counter::new(embedder.what(), names.len());
    let Some(out) = &options.out else {
        let found = embedder.embed(0..names.len(), &mut |done| counter.at(done))?;
        counter.finish();
        let dim = found.first().map_or(0, Vec::len);
        let vectors = Vectors { names, dim, values: found.concat() };
        return Ok(vectors.write_json_lines(&mut std::io::stdout().lock())?);
    };
    let run = EmbeddingRun { model: &folder, names, settings: embedder.settings(), window: embedder.window() };
    let mut embed = |range| embedder.embed(range, &mut |_| {});
    let vectors = run.into_file(out, &mut embed, &mut |done| counter.at(done))?;
    counter.finish();
    let (rows, dim, seconds) = (vectors.rows(), vectors.dim, began.elapsed().as_secs_f64());
    if options.json {
        return output::json(&json!({"file": out, "rows": rows, "dim": dim, "seconds": seconds}));
    }
    output::text(&format!("{rows} vectors of {dim} numbers written to {} in {seconds:.1} s", out.display()))
}

/// What makes vectors of things.
#[allow(clippy::large_enum_variant, reason = "one a call, never many of them")]
pub(crate) enum Embedder<'a> {
    Texts { model: TextEmbedder, texts: Vec<&'a str>, batch_tokens: usize },
    Pictures { model: ImageEmbedder, paths: Vec<&'a Path> },
}

impl<'a> Embedder<'a> {
    pub(crate) fn open(
        things: &'a Things,
        folder: &Path,
        device: &Device,
        batch_tokens: usize,
    ) -> Result<Self, ModelError> {
        Ok(match things {
            Things::Texts(texts) => {
                let texts = texts.iter().map(String::as_str).collect();
                Self::Texts { model: TextEmbedder::open(folder, device)?, texts, batch_tokens }
            }
            Things::Pictures(paths) => {
                let paths = paths.iter().map(|path| path.as_path()).collect();
                Self::Pictures { model: ImageEmbedder::open(folder, device)?, paths }
            }
        })
    }

    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Texts { .. } => "texts",
            Self::Pictures { .. } => "pictures",
        }
    }

    /// Things between two writes: texts enough to find others of their length, pictures for about as long.
    pub(crate) fn window(&self) -> usize {
        match self {
            Self::Texts { .. } => 2048,
            Self::Pictures { .. } => 4 * PICTURES_AT_ONCE,
        }
    }

    /// What decides the vectors beside the model and the things.
    fn settings(&self) -> String {
        match self {
            Self::Texts { model, .. } => format!("texts of at most {} tokens", model.longest()),
            Self::Pictures { .. } => "pictures".to_owned(),
        }
    }

    pub(crate) fn embed(&self, range: Range<usize>, told: &mut dyn FnMut(usize)) -> Result<Vec<Vec<f32>>, ModelError> {
        match self {
            Self::Texts { model, texts, batch_tokens } => model.embed(&texts[range], *batch_tokens, told),
            Self::Pictures { model, paths } => {
                let mut vectors = Vec::with_capacity(range.len());
                for batch in paths[range].chunks(PICTURES_AT_ONCE) {
                    vectors.extend(model.embed(batch)?);
                    told(vectors.len());
                }
                Ok(vectors)
            }
        }
    }
}
