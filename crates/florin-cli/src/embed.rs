//! `florin embed`: texts, pictures or sounds as vectors, in a file or as lines on stdout.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use florin_data::vectors::{VectorFormat, Vectors};
use florin_models::embedding_run::EmbeddingRun;
use florin_models::{ClipEmbedder, ImageEmbedder, ModelError, SoundEmbedder, TextEmbedder, hub};
use serde_json::json;

use crate::arguments::{ComputeOptions, EmbedOptions};
use crate::output;
use crate::progress::Counter;
use crate::things::{Kind, Things};

/// Pictures of a batch.
const PICTURES_AT_ONCE: usize = 16;
/// Sounds of a batch: each is ten or thirty seconds, a thousand vectors and more.
const SOUNDS_AT_ONCE: usize = 4;
/// Clips of a batch: each is eight pictures or more.
const CLIPS_AT_ONCE: usize = 2;

/// How much is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Tokens of a batch of texts, padding included.
    pub(crate) batch_tokens: usize,
    /// Frames of a clip, where the model leaves that open.
    pub(crate) frames: Option<usize>,
}

/// Embeds what the options name.
pub(crate) fn embed(options: &EmbedOptions) -> anyhow::Result<()> {
    if let Some(out) = &options.out {
        VectorFormat::of(out)?;
    }
    let things = Things::read(&options.things)?;
    let folder = hub::folder_of(&options.model)?;
    let mut embedder = Embedder::open(&things, &folder, &options.compute, options.things.limits())?;
    let began = Instant::now();
    let names = things.names();
    let mut counter = Counter::new(embedder.what(), names.len());
    let Some(out) = &options.out else {
        let found = embedder.embed(0..names.len(), &mut |done| counter.at(done))?;
        counter.finish();
        embedder.tell();
        let dim = found.first().map_or(0, Vec::len);
        let vectors = Vectors { names, dim, values: found.concat() };
        return Ok(vectors.write_json_lines(&mut std::io::stdout().lock())?);
    };
    let (versions, settings, window) = (things.versions()?, embedder.settings(&options.compute), embedder.window());
    let run = EmbeddingRun { model: &folder, names, versions, settings, window };
    let mut embed = |range| embedder.embed(range, &mut |_| {});
    let vectors = run.into_file(out, &mut embed, &mut |done| counter.at(done))?;
    counter.finish();
    embedder.tell();
    let (rows, dim, seconds) = (vectors.rows(), vectors.dim, began.elapsed().as_secs_f64());
    if options.json {
        return output::json(&json!({"file": out, "rows": rows, "dim": dim, "seconds": seconds}));
    }
    output::text(&format!("{rows} vectors of {dim} numbers written to {} in {seconds:.1} s", out.display()))
}

/// Vectors in the order of their things.
type Embedded = Result<Vec<Vec<f32>>, ModelError>;

/// What makes vectors of things.
#[allow(clippy::large_enum_variant, reason = "one a call, never many of them")]
pub(crate) enum Embedder<'a> {
    Texts {
        model: TextEmbedder,
        texts: Vec<&'a str>,
        batch_tokens: usize,
    },
    Pictures {
        model: ImageEmbedder,
        paths: Vec<&'a Path>,
    },
    /// And how many of them were longer than what is read.
    Sounds {
        model: SoundEmbedder,
        paths: Vec<&'a Path>,
        cut: usize,
    },
    Clips {
        model: ClipEmbedder,
        paths: Vec<&'a Path>,
    },
}

impl<'a> Embedder<'a> {
    pub(crate) fn open(
        things: &'a Things,
        folder: &Path,
        compute: &ComputeOptions,
        Limits { batch_tokens, frames }: Limits,
    ) -> anyhow::Result<Self> {
        let (device, format) = compute.open()?;
        Ok(match things {
            Things::Texts(texts) => {
                let texts = texts.iter().map(String::as_str).collect();
                Self::Texts { model: TextEmbedder::open(folder, &device, format)?, texts, batch_tokens }
            }
            Things::Files(kind, paths) => {
                let paths = paths.iter().map(|path| path.as_path()).collect();
                match kind {
                    Kind::Pictures => Self::Pictures { model: ImageEmbedder::open(folder, &device, format)?, paths },
                    Kind::Sounds => {
                        Self::Sounds { model: SoundEmbedder::open(folder, &device, format)?, paths, cut: 0 }
                    }
                    Kind::Clips => Self::Clips { model: ClipEmbedder::open(folder, frames, &device, format)?, paths },
                }
            }
        })
    }

    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Texts { .. } => "texts",
            Self::Pictures { .. } => Kind::Pictures.name(),
            Self::Sounds { .. } => Kind::Sounds.name(),
            Self::Clips { .. } => Kind::Clips.name(),
        }
    }

    /// Says on stderr what a user may not expect of the vectors.
    pub(crate) fn tell(&self) {
        if let Self::Sounds { model, cut: cut @ 1.., .. } = self {
            eprintln!("sounds of which only the first {:.1} s were read: {cut}", model.seconds());
        }
    }

    /// Things between two writes: texts enough to find others of their length, the others for about as long.
    pub(crate) fn window(&self) -> usize {
        match self {
            Self::Texts { .. } => 2048,
            Self::Pictures { .. } => 4 * PICTURES_AT_ONCE,
            Self::Sounds { .. } => 4 * SOUNDS_AT_ONCE,
            Self::Clips { .. } => 4 * CLIPS_AT_ONCE,
        }
    }

    /// What decides the vectors beside the model and the things.
    pub(crate) fn settings(&self, compute: &ComputeOptions) -> String {
        let things = match self {
            Self::Texts { model, .. } => format!("texts of at most {} tokens", model.longest()),
            Self::Clips { model, .. } => format!("clips of {} frames", model.frames()),
            Self::Pictures { .. } | Self::Sounds { .. } => self.what().to_owned(),
        };
        match compute.precision {
            // That of the model, which is told apart by its files.
            None => things,
            Some(format) => format!("{things} in {}", format.name()),
        }
    }

    pub(crate) fn embed(&mut self, range: Range<usize>, told: &mut dyn FnMut(usize)) -> Embedded {
        match self {
            Self::Texts { model, texts, batch_tokens } => model.embed(&texts[range], *batch_tokens, told),
            Self::Pictures { model, paths } => {
                in_batches(&paths[range], PICTURES_AT_ONCE, told, &mut |batch| model.embed(batch))
            }
            Self::Sounds { model, paths, cut } => in_batches(&paths[range], SOUNDS_AT_ONCE, told, &mut |batch| {
                let sounds: Result<Vec<_>, _> = batch.iter().map(|path| model.prepare_file(path)).collect();
                let sounds = sounds?;
                *cut += sounds.iter().filter(|sound| !sound.is_whole).count();
                model.embed_prepared(&sounds)
            }),
            Self::Clips { model, paths } => {
                in_batches(&paths[range], CLIPS_AT_ONCE, told, &mut |batch| model.embed(batch))
            }
        }
    }
}

/// The vectors of files, so many at once.
fn in_batches(
    paths: &[&Path],
    at_once: usize,
    told: &mut dyn FnMut(usize),
    embed: &mut dyn FnMut(&[&Path]) -> Embedded,
) -> Embedded {
    let mut vectors = Vec::with_capacity(paths.len());
    for batch in paths.chunks(at_once) {
        vectors.extend(embed(batch)?);
        told(vectors.len());
    }
    Ok(vectors)
}
