//! `florin search`: an index over texts, pictures, sounds or clips, built, kept up to date and asked.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use florin_data::vector_index::{IndexAbout, IndexedThing, Neighbour, Search, VectorIndex};
use florin_models::{fingerprint, hub};
use serde_json::json;

use crate::arguments::{BuildOptions, QueryOptions};
use crate::embed::{Embedder, Limits};
use crate::output;
use crate::progress::Counter;
use crate::things::Things;

/// Characters of a name that a table shows.
const SHOWN: usize = 100;
/// Tokens of a batch of questions.
const BATCH_TOKENS: usize = 4096;

/// Brings an index to what the options name.
pub(crate) fn build(options: &BuildOptions) -> anyhow::Result<()> {
    let began = Instant::now();
    let things = Things::read(&options.things)?.without_repeats();
    let folder = hub::folder_of(&options.model)?;
    let folder = folder.canonicalize().with_context(|| format!("cannot read {}", folder.display()))?;
    let (names, versions) = (things.names().into_iter(), things.versions()?);
    let wanted: Vec<IndexedThing> = names.zip(versions).map(|(name, version)| IndexedThing { name, version }).collect();
    let index = VectorIndex::find(&options.index)?;
    let held = index.as_ref().map(VectorIndex::things).transpose()?.unwrap_or_default();
    let new: Vec<usize> = (0..wanted.len()).filter(|&thing| !held.contains_key(&wanted[thing])).collect();
    let fresh = things.only(&new);
    let mut embedder = Embedder::open(&fresh, &folder, &options.compute, options.things.limits())?;
    let model = fingerprint(&folder, "")?;
    // Not before there is a model that reads these things: what fails leaves no empty index.
    let index = match index {
        Some(index) => index,
        None => VectorIndex::create(&options.index)?,
    };
    if let Some(about) =
        index.about()?.filter(|about| about.fingerprint != model || about.kind != embedder.settings(&options.compute))
    {
        let (index, kind) = (options.index.display(), &about.kind);
        bail!(
            "the index {index} holds {kind} as {} made them: another model's and other things go into another folder",
            about.model
        );
    }
    let still: HashSet<&IndexedThing> = wanted.iter().collect();
    let gone: Vec<u32> = held.iter().filter(|(thing, _)| !still.contains(thing)).map(|(_, &id)| id).collect();
    index.remove(&gone)?;
    let mut counter = Counter::new(embedder.what(), new.len());
    let mut done = 0;
    for window in new.chunks(embedder.window()) {
        let vectors = embedder.embed(done..done + window.len(), &mut |_| {})?;
        let about = IndexAbout {
            model: folder.display().to_string(),
            fingerprint: model.clone(),
            kind: embedder.settings(&options.compute),
            dim: vectors.first().map_or(0, Vec::len),
        };
        let added: Vec<IndexedThing> = window.iter().map(|&thing| wanted[thing].clone()).collect();
        index.add(&about, &added, &vectors)?;
        done += window.len();
        counter.at(done);
    }
    counter.finish();
    embedder.tell();
    index.link()?;
    let (total, added, removed) = (wanted.len(), new.len(), gone.len());
    let seconds = began.elapsed().as_secs_f64();
    if options.json {
        let about = json!({"index": options.index, "kind": embedder.what(), "total": total, "added": added, "removed": removed, "seconds": seconds});
        return output::json(&about);
    }
    let (kind, index) = (embedder.what(), options.index.display());
    output::text(&format!("{total} {kind} in {index}: {added} added, {removed} taken out, in {seconds:.1} s"))
}

/// Asks an index.
pub(crate) fn query(options: &QueryOptions) -> anyhow::Result<()> {
    let index = VectorIndex::open(&options.index)?;
    let Some(about) = index.about()? else { bail!("the index {} is empty", options.index.display()) };
    let folder = match &options.model {
        Some(model) => hub::folder_of(model)?,
        None => PathBuf::from(&about.model),
    };
    if !folder.is_dir() {
        bail!("the index was built with {}, which is not there; say where it is with --model", folder.display());
    }
    let asked = match options.like.is_empty() {
        true => Things::Texts(options.texts.clone()),
        false => Things::of_files(&options.like)?,
    };
    let limits = Limits { batch_tokens: BATCH_TOKENS, frames: options.frames };
    let mut embedder = Embedder::open(&asked, &folder, &options.compute, limits)?;
    if fingerprint(&folder, "")? != about.fingerprint {
        let model = folder.display();
        bail!("{model} is not the model that the index was built with, {}; its vectors mean other things", about.model);
    }
    let names = asked.names();
    let vectors = embedder.embed(0..names.len(), &mut |_| {})?;
    let search = if options.exact { Search::Exact } else { Search::Approximate { candidates: options.candidates } };
    let mut found = Vec::with_capacity(names.len());
    for vector in &vectors {
        found.push(index.nearest(vector, options.count, search)?);
    }
    if options.json {
        let rows: Vec<_> =
            names.iter().zip(&found).map(|(name, found)| json!({"query": name, "found": found})).collect();
        return output::json(&rows);
    }
    let several = names.len() > 1;
    let rows = names.iter().zip(&found).flat_map(|(name, found)| {
        found.iter().enumerate().map(move |(rank, neighbour)| row(several.then_some(name), rank, neighbour))
    });
    let header: &[&str] =
        if several { &["QUERY", "RANK", "SIMILARITY", "FOUND"] } else { &["RANK", "SIMILARITY", "FOUND"] };
    output::text(&output::table(header, rows.collect()))
}

fn row(query: Option<&String>, rank: usize, found: &Neighbour) -> Vec<String> {
    let mut row: Vec<String> = query.map(|query| shown(query)).into_iter().collect();
    row.extend([(rank + 1).to_string(), format!("{:.4}", found.similarity), shown(&found.name)]);
    row
}

/// A name on one line of a table.
fn shown(name: &str) -> String {
    let line = name.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
