//! Embedding many things into a file, window by window, so that a run that was stopped goes on where it was.
//!
//! What is done stands in `FILE.part` beside the file to be: one line that says of which model and of which things, then the vectors in
//! their order. It is read again only if both are the same, and goes when the file is whole.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use florin_data::vectors::{VectorFormat, Vectors};
use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::fingerprint::{digest, fingerprint};

/// The first line of a part.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    model: String,
    things: String,
    dim: usize,
}

/// What is embedded into a file, and by what.
pub struct EmbeddingRun<'a> {
    /// The model's folder, whose files identify it.
    pub model: &'a Path,
    /// What the rows belong to.
    pub names: Vec<String>,
    /// What each of them is now, such as a file's size and time: what was made of another version is made anew.
    pub versions: Vec<String>,
    /// What else decides the vectors, such as how many tokens of a text are read.
    pub settings: String,
    /// Things embedded between two writes, which is what a stop may lose: batches of texts are made by length within one.
    pub window: usize,
}

impl EmbeddingRun<'_> {
    /// Embeds what is not done yet and writes the file. `embed` gives the vectors of a range of things; `told` hears how many are done.
    pub fn into_file(
        self,
        out: &Path,
        embed: &mut dyn FnMut(std::ops::Range<usize>) -> Result<Vec<Vec<f32>>, ModelError>,
        told: &mut dyn FnMut(usize),
    ) -> Result<Vectors, ModelError> {
        // A format that is not known is refused before anything is computed.
        VectorFormat::of(out)?;
        let part = part_of(out);
        let (model, things) =
            (fingerprint(self.model, &self.settings)?, digest(self.names.iter().chain(&self.versions)));
        let (mut header, mut values) = match read_part(&part)? {
            Some((header, mut values)) if header.model == model && header.things == things => {
                values.truncate(self.names.len().saturating_mul(header.dim));
                (Some(header), values)
            }
            _ => (None, Vec::new()),
        };
        let mut done = header.as_ref().map_or(0, |header| values.len() / header.dim);
        told(done);
        let mut file: Option<File> = None;
        while done < self.names.len() {
            let window = done..(done + self.window.max(1)).min(self.names.len());
            let found = embed(window.clone())?;
            let dim = found.first().map_or(0, Vec::len);
            let header = header.get_or_insert_with(|| Header { model: model.clone(), things: things.clone(), dim });
            let file = match &mut file {
                Some(file) => file,
                None => file.insert(begin_part(&part, header, done)?),
            };
            let rows: Vec<f32> = found.concat();
            let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
            file.write_all(&bytes).map_err(|source| ModelError::File { path: part.clone(), source })?;
            values.extend(rows);
            done = window.end;
            told(done);
        }
        let dim = header.map_or(0, |header| header.dim);
        let vectors = Vectors { names: self.names, dim, values };
        vectors.write(out)?;
        // Nothing is lost if it stays.
        let _ = std::fs::remove_file(&part);
        Ok(vectors)
    }
}

/// Where the part of a file is.
fn part_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Header and whole rows of a part; nothing if there is none or it cannot be understood.
fn read_part(path: &Path) -> Result<Option<(Header, Vec<f32>)>, ModelError> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    let failed = |source| ModelError::File { path: path.into(), source };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    reader.by_ref().take(4096).read_until(b'\n', &mut line).map_err(failed)?;
    let Ok(header) = serde_json::from_slice::<Header>(&line) else { return Ok(None) };
    if header.dim == 0 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(failed)?;
    let mut values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    values.truncate(values.len() / header.dim * header.dim);
    Ok(Some((header, values)))
}

/// Opens a part for what follows `done` rows; begins it where there are none.
fn begin_part(path: &Path, header: &Header, done: usize) -> Result<File, ModelError> {
    let failed = |source| ModelError::File { path: path.into(), source };
    let first = serde_json::to_string(header).expect("a header is plain") + "\n";
    let mut file = OpenOptions::new().write(true).create(true).truncate(done == 0).open(path).map_err(failed)?;
    if done == 0 {
        file.write_all(first.as_bytes()).map_err(failed)?;
    } else {
        // A row that was cut off is written again.
        let end = (first.len() + done * header.dim * 4) as u64;
        file.set_len(end).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: usize = 16;

    fn run(model: &Path, count: usize) -> EmbeddingRun<'_> {
        EmbeddingRun {
            model,
            names: (0..count).map(|name| name.to_string()).collect(),
            versions: vec!["1".to_owned(); count],
            settings: String::new(),
            window: WINDOW,
        }
    }

    #[test]
    fn a_run_that_was_stopped_goes_on_where_it_was_and_another_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("config.json"), "{}").unwrap();
        let out = folder.path().join("a.npy");
        let count = WINDOW + 10;
        let vectors = |range: std::ops::Range<usize>| Ok(range.map(|place| vec![place as f32, 0.5]).collect());
        let mut stops_after_one = |range: std::ops::Range<usize>| match range.start {
            0 => vectors(range),
            _ => Err(ModelError::Document("stopped".to_owned())),
        };
        assert!(run(&model, count).into_file(&out, &mut stops_after_one, &mut |_| {}).is_err());
        assert!(!out.exists());
        // Half a row, as a power cut leaves it.
        let mut part = OpenOptions::new().append(true).open(part_of(&out)).unwrap();
        part.write_all(&[1, 2, 3]).unwrap();
        let mut asked = Vec::new();
        let mut rest = |range: std::ops::Range<usize>| {
            asked.push(range.clone());
            vectors(range)
        };
        let found = run(&model, count).into_file(&out, &mut rest, &mut |_| {}).unwrap();
        assert_eq!((asked.len(), asked[0].clone()), (1, WINDOW..count));
        assert_eq!((found.rows(), found.row(count - 1)), (count, &[(count - 1) as f32, 0.5][..]));
        assert!(found.values.chunks(2).enumerate().all(|(place, row)| row == [place as f32, 0.5]));
        assert!(out.exists() && !part_of(&out).exists());
        // The part of other things is not taken for one's own.
        assert!(run(&model, count).into_file(&out, &mut stops_after_one, &mut |_| {}).is_err());
        let mut begun = None;
        let mut first = |range: std::ops::Range<usize>| {
            begun.get_or_insert(range.start);
            vectors(range)
        };
        run(&model, count + 1).into_file(&out, &mut first, &mut |_| {}).unwrap();
        assert_eq!(begun, Some(0));
        // Nor that of things that are no longer what they were.
        assert!(run(&model, count).into_file(&out, &mut stops_after_one, &mut |_| {}).is_err());
        let mut changed = run(&model, count);
        changed.versions[3] = "2".to_owned();
        let mut begun = None;
        let mut first = |range: std::ops::Range<usize>| {
            begun.get_or_insert(range.start);
            vectors(range)
        };
        changed.into_file(&out, &mut first, &mut |_| {}).unwrap();
        assert_eq!(begun, Some(0));
    }
}
