//! An index of vectors on disk: what is nearest to a vector, exactly or by walking a graph.
//!
//! A folder holds an embedded database (LMDB, by `heed`) with the vectors, their names and a graph of neighbours (`hannoy`). The
//! database is mapped into memory and read as far as a question needs it, so that an index may be larger than memory; it grows and
//! shrinks by what is added and removed, and a process that is stopped leaves what was committed before.
//!
//! Paper: Malkov and Yashunin 2016 (HNSW), <https://arxiv.org/abs/1603.09320>
//! Difference: links are kept as in DiskANN (Subramanya et al. 2019), a fifth more of them; the graph is `hannoy`'s.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use hannoy::distances::Cosine;
use hannoy::{Reader, Writer};
use heed::byteorder::BigEndian;
use heed::types::{Str, U32};
use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithTls};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::DataError;

/// The file that LMDB keeps.
const FILE: &str = "data.mdb";
/// Addresses reserved for the file, which itself is as large as what it holds: an index beyond this is refused.
const MOST_BYTES: usize = 1 << 40;
/// Where `hannoy` keeps the vectors among its own.
const INDEX: u16 = 0;
/// Links of a vector in the upper layers of the graph, and twice as many in the lowest, as its paper advises.
const LINKS: usize = 16;
const LINKS_BELOW: usize = 32;
/// Neighbours that are looked at for each new vector.
const CONSTRUCTION: usize = 200;
/// How much longer a way round may be before a link is made: with 1, as in the paper, the graph missed twice as many neighbours of
/// sentences (docs/src/search.md).
const TOLERANCE: f32 = 1.2;
/// The layers of the graph are drawn by chance, always the same.
const SEED: u64 = 0;

/// An index of vectors on disk.
pub struct VectorIndex {
    environment: Env<WithTls>,
    path: PathBuf,
}

/// What all vectors of an index have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexAbout {
    /// What made them, such as a model's folder: where it was when something was added last.
    pub model: String,
    /// What tells that model from another that stands in its place.
    pub fingerprint: String,
    /// What they are made of, such as `texts`.
    pub kind: String,
    /// Width of a vector.
    pub dim: usize,
}

/// A thing that has a vector.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IndexedThing {
    /// The text, or the file.
    pub name: String,
    /// What changes when the thing does, such as a file's size and time; empty for a text, which is its own name.
    pub version: String,
}

/// A thing near to a vector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Neighbour {
    /// The thing's name.
    pub name: String,
    /// Cosine of the angle between both vectors.
    pub similarity: f32,
}

/// How neighbours are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Every vector is compared.
    Exact,
    /// The graph is walked; the more candidates are kept on the way, the fewer neighbours are missed.
    Approximate {
        /// Vectors kept on the way; as many as are asked for at least.
        candidates: usize,
    },
}

/// The databases inside the file.
struct Databases<'e> {
    about: heed::Database<'e, Str, Str>,
    things: heed::Database<'e, U32<BigEndian>, Str>,
    vectors: hannoy::Database<'e, Cosine>,
}

/// A vector's place in the index, ordered so that the least similar is the largest: what a heap gives away first.
#[derive(PartialEq)]
struct Candidate {
    similarity: f32,
    id: u32,
}

impl VectorIndex {
    /// Opens an index to change it; makes an empty one where there is none.
    ///
    /// # Errors
    ///
    /// If the folder holds other things: an index has one of its own.
    pub fn create(path: &Path) -> Result<Self, DataError> {
        if let Some(found) = Self::find(path)? {
            return Ok(found);
        }
        std::fs::create_dir_all(path).map_err(|source| DataError::File {
            action: "create",
            path: path.into(),
            source,
        })?;
        Self::with(path, EnvFlags::empty())
    }

    /// Opens an index to change it; nothing if there is none and a new one may be made.
    ///
    /// # Errors
    ///
    /// If the folder holds other things.
    pub fn find(path: &Path) -> Result<Option<Self>, DataError> {
        if path.join(FILE).is_file() {
            return Self::with(path, EnvFlags::empty()).map(Some);
        }
        if std::fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_some()) {
            return Err(refused(path, format!("expected a new folder, or one with {FILE}; found other files in it")));
        }
        Ok(None)
    }

    /// Opens an index to ask it.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        if !path.join(FILE).is_file() {
            let reason = format!("expected a folder with {FILE}, as `florin search build` writes it");
            return Err(DataError::Index { path: path.into(), reason });
        }
        Self::with(path, EnvFlags::READ_ONLY)
    }

    /// An index is trusted like a program: LMDB takes the offsets in its file at their word, and a map promises that nobody but LMDB
    /// changes the file. Florin writes it through LMDB alone, whose lock keeps writers apart.
    #[allow(unsafe_code, reason = "what it takes to map a database; see above")]
    fn with(path: &Path, flags: EnvFlags) -> Result<Self, DataError> {
        let mut options = EnvOpenOptions::new();
        options.max_dbs(3).map_size(MOST_BYTES);
        let opened = unsafe { options.flags(flags).open(path) };
        Ok(Self { environment: opened.map_err(|error| refused(path, error))?, path: path.into() })
    }

    /// What the vectors have in common; nothing before the first is added.
    pub fn about(&self) -> Result<Option<IndexAbout>, DataError> {
        let Some(databases) = self.databases()? else { return Ok(None) };
        let transaction = self.read()?;
        let text = databases.about.get(&transaction, "about").map_err(|error| self.refused(error))?.map(str::to_owned);
        text.map(|text| serde_json::from_str(&text).map_err(|error| self.refused(error))).transpose()
    }

    /// Everything that has a vector, with its number.
    pub fn things(&self) -> Result<HashMap<IndexedThing, u32>, DataError> {
        let Some(databases) = self.databases()? else { return Ok(HashMap::new()) };
        let transaction = self.read()?;
        let mut things = HashMap::new();
        for entry in databases.things.iter(&transaction).map_err(|error| self.refused(error))? {
            let (id, text) = entry.map_err(|error| self.refused(error))?;
            things.insert(serde_json::from_str(text).map_err(|error| self.refused(error))?, id);
        }
        Ok(things)
    }

    /// Adds things with their vectors, all or none; the graph knows them after [`VectorIndex::link`].
    ///
    /// # Errors
    ///
    /// If what the vectors have in common is not what the index says, or a vector has no direction.
    pub fn add(&self, about: &IndexAbout, things: &[IndexedThing], vectors: &[Vec<f32>]) -> Result<(), DataError> {
        let differs = |other: &IndexAbout| {
            (&other.fingerprint, &other.kind, other.dim) != (&about.fingerprint, &about.kind, about.dim)
        };
        if let Some(other) = self.about()?.filter(differs) {
            return Err(self.refused(format!("it holds vectors of another kind: {other:?}, found {about:?}")));
        }
        let databases = self.create_databases()?;
        let mut transaction = self.write()?;
        let failed = |error: heed::Error| self.refused(error);
        let text = serde_json::to_string(about).map_err(|error| self.refused(error))?;
        databases.about.put(&mut transaction, "about", &text).map_err(failed)?;
        let last = databases.things.last(&transaction).map_err(failed)?.map(|(id, _)| id);
        let writer = Writer::new(databases.vectors, INDEX, about.dim);
        for (number, (thing, vector)) in things.iter().zip(vectors).enumerate() {
            let next = last.map_or(0, |last| u64::from(last) + 1) + number as u64;
            let id = u32::try_from(next).map_err(|_| self.refused("it is full"))?;
            let vector = unit(vector).ok_or_else(|| {
                self.refused(format!("the vector of {} has no direction: zero or not finite", thing.name))
            })?;
            let text = serde_json::to_string(thing).map_err(|error| self.refused(error))?;
            databases.things.put(&mut transaction, &id, &text).map_err(failed)?;
            writer.add_item(&mut transaction, id, &vector).map_err(|error| self.refused(error))?;
        }
        transaction.commit().map_err(failed)
    }

    /// Removes things by their numbers, all or none; the graph knows after [`VectorIndex::link`].
    pub fn remove(&self, ids: &[u32]) -> Result<(), DataError> {
        let Some(about) = self.about()?.filter(|_| !ids.is_empty()) else { return Ok(()) };
        let databases = self.create_databases()?;
        let mut transaction = self.write()?;
        let writer = Writer::new(databases.vectors, INDEX, about.dim);
        for id in ids {
            databases.things.delete(&mut transaction, id).map_err(|error| self.refused(error))?;
            writer.del_item(&mut transaction, *id).map_err(|error| self.refused(error))?;
        }
        transaction.commit().map_err(|error| self.refused(error))
    }

    /// Links what was added since the last time into the graph.
    pub fn link(&self) -> Result<(), DataError> {
        let Some(about) = self.about()? else { return Ok(()) };
        let databases = self.create_databases()?;
        let mut transaction = self.write()?;
        let writer = Writer::new(databases.vectors, INDEX, about.dim);
        if writer.need_build(&transaction).map_err(|error| self.refused(error))? {
            let mut random = ChaCha8Rng::seed_from_u64(SEED);
            let mut builder = writer.builder(&mut random);
            builder.ef_construction(CONSTRUCTION).alpha(TOLERANCE);
            builder.build::<LINKS, LINKS_BELOW>(&mut transaction).map_err(|error| self.refused(error))?;
        }
        transaction.commit().map_err(|error| self.refused(error))
    }

    /// The things nearest to a vector, nearest first.
    ///
    /// # Errors
    ///
    /// If the vector's width is not the index's, or it has no direction, or the index was left unfinished.
    pub fn nearest(&self, vector: &[f32], count: usize, search: Search) -> Result<Vec<Neighbour>, DataError> {
        let (Some(about), Some(databases)) = (self.about()?, self.databases()?) else { return Ok(Vec::new()) };
        if vector.len() != about.dim {
            let (expected, found) = (about.dim, vector.len());
            return Err(self.refused(format!("it holds vectors of {expected} numbers, this one has {found}")));
        }
        let query = unit(vector).ok_or_else(|| self.refused("the vector has no direction: zero or not finite"))?;
        let transaction = self.read()?;
        let reader = match Reader::<Cosine>::open(&transaction, INDEX, databases.vectors) {
            Err(hannoy::Error::NeedBuild(_) | hannoy::Error::MissingMetadata(_)) => {
                return Err(self.refused("it was left unfinished: the same `florin search build` again goes on"));
            }
            reader => reader.map_err(|error| self.refused(error))?,
        };
        let all = reader.n_items() as usize;
        let count = count.min(all);
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut best = BinaryHeap::with_capacity(count + 1);
        let mut see = |id: u32, vector: &[f32]| {
            best.push(Candidate { similarity: dot(&query, vector), id });
            if best.len() > count {
                best.pop();
            }
        };
        match search {
            Search::Exact => {
                for item in reader.iter(&transaction).map_err(|error| self.refused(error))? {
                    let (id, vector) = item.map_err(|error| self.refused(error))?;
                    see(id, &vector);
                }
            }
            Search::Approximate { candidates } => {
                let mut asked = reader.nns(count);
                let found = asked.ef_search(candidates.clamp(count, all)).by_vector(&transaction, &query);
                for (id, _) in found.map_err(|error| self.refused(error))?.into_nns() {
                    let vector = reader.item_vector(&transaction, id).map_err(|error| self.refused(error))?;
                    see(id, &vector.unwrap_or_default());
                }
            }
        }
        let name = |Candidate { similarity, id }: Candidate| {
            let text = databases.things.get(&transaction, &id).map_err(|error| self.refused(error))?;
            let text = text.ok_or_else(|| self.refused(format!("vector {id} has no name")))?;
            let thing: IndexedThing = serde_json::from_str(text).map_err(|error| self.refused(error))?;
            Ok(Neighbour { name: thing.name, similarity })
        };
        best.into_sorted_vec().into_iter().map(name).collect()
    }

    /// The databases; nothing where none was made yet.
    fn databases(&self) -> Result<Option<Databases<'_>>, DataError> {
        let found = self.environment.open_databases_and_commit(self.read()?, |opener, transaction| {
            let about = opener.open_database(transaction, Some("about"))?;
            let things = opener.open_database(transaction, Some("things"))?;
            let vectors = opener.open_database(transaction, Some("vectors"))?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((about, things, vectors)))
        });
        let Some((Some(about), Some(things), Some(vectors))) = found.map_err(|error| self.refused(error))?.commit()
        else {
            return Ok(None);
        };
        Ok(Some(Databases { about, things, vectors }))
    }

    fn create_databases(&self) -> Result<Databases<'_>, DataError> {
        let made = self.environment.create_databases_and_commit(self.write()?, |opener, transaction| {
            let about = opener.create_database(transaction, Some("about"))?;
            let things = opener.create_database(transaction, Some("things"))?;
            let vectors = opener.create_database(transaction, Some("vectors"))?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((about, things, vectors)))
        });
        let made = made.map_err(|error| self.refused(error))?.commit();
        let (about, things, vectors) = made.ok_or_else(|| self.refused("its databases could not be made"))?;
        Ok(Databases { about, things, vectors })
    }

    fn read(&self) -> Result<RoTxn<'_, WithTls>, DataError> {
        self.environment.read_txn().map_err(|error| self.refused(error))
    }

    fn write(&self) -> Result<RwTxn<'_>, DataError> {
        self.environment.write_txn().map_err(|error| self.refused(error))
    }

    fn refused(&self, reason: impl Display) -> DataError {
        refused(&self.path, reason)
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        other.similarity.total_cmp(&self.similarity).then(self.id.cmp(&other.id))
    }
}

fn refused(path: &Path, reason: impl Display) -> DataError {
    DataError::Index { path: path.into(), reason: reason.to_string() }
}

/// A vector of length one in its direction; nothing where it has none.
fn unit(vector: &[f32]) -> Option<Vec<f32>> {
    let length = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    let fits = length.is_finite() && length > 0.0;
    fits.then(|| vector.iter().map(|&value| (f64::from(value) / length) as f32).collect())
}

/// The sum of products, in eight sums that a processor adds at once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, rest_of_a), (b, rest_of_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f32 = rest_of_a.iter().zip(rest_of_b).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    const DIM: usize = 12;

    fn about() -> IndexAbout {
        IndexAbout { model: "m".into(), fingerprint: "f".into(), kind: "texts".into(), dim: DIM }
    }

    fn thing(name: &str) -> IndexedThing {
        IndexedThing { name: name.into(), version: String::new() }
    }

    fn random(count: usize) -> (Vec<IndexedThing>, Vec<Vec<f32>>) {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let vector = |_| (0..DIM).map(|_| random.random_range(-1.0..1.0)).collect();
        ((0..count).map(|number| thing(&number.to_string())).collect(), (0..count).map(vector).collect())
    }

    fn names(found: &[Neighbour]) -> Vec<&str> {
        found.iter().map(|neighbour| neighbour.name.as_str()).collect()
    }

    #[test]
    fn exact_neighbours_are_those_of_a_plain_sort_and_the_graph_finds_nearly_all() {
        let folder = tempfile::tempdir().unwrap();
        let (things, vectors) = random(600);
        let index = VectorIndex::create(folder.path()).unwrap();
        index.add(&about(), &things[..200], &vectors[..200]).unwrap();
        index.add(&about(), &things[200..], &vectors[200..]).unwrap();
        index.link().unwrap();
        drop(index);
        let index = VectorIndex::open(folder.path()).unwrap();
        let mut kept = 0;
        for query in vectors.iter().step_by(20) {
            let cosine = |other: &Vec<f32>| {
                let sum =
                    |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
                sum(query, other) / (sum(query, query) * sum(other, other)).sqrt()
            };
            let mut order: Vec<usize> = (0..vectors.len()).collect();
            order.sort_by(|&a, &b| cosine(&vectors[b]).total_cmp(&cosine(&vectors[a])));
            let exact = index.nearest(query, 10, Search::Exact).unwrap();
            assert_eq!(names(&exact), order[..10].iter().map(|&row| things[row].name.as_str()).collect::<Vec<_>>());
            for (found, &row) in exact.iter().zip(&order) {
                assert!((f64::from(found.similarity) - cosine(&vectors[row])).abs() < 1e-6);
            }
            let walked = index.nearest(query, 10, Search::Approximate { candidates: 100 }).unwrap();
            kept += walked.iter().filter(|found| exact.contains(found)).count();
        }
        assert!(kept >= 297, "{kept} of 300 neighbours found by the graph");
    }

    #[test]
    fn what_is_removed_is_found_no_more_and_numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let (things, vectors) = random(30);
        let index = VectorIndex::create(folder.path()).unwrap();
        assert_eq!(index.nearest(&vectors[0], 3, Search::Exact).unwrap(), []);
        index.add(&about(), &things[..20], &vectors[..20]).unwrap();
        index.link().unwrap();
        let ids = index.things().unwrap();
        index.remove(&[ids[&things[4]], ids[&things[7]]]).unwrap();
        index.add(&about(), &things[20..], &vectors[20..]).unwrap();
        let unfinished = index.nearest(&vectors[4], 3, Search::Exact).unwrap_err().to_string();
        assert!(unfinished.contains("left unfinished"), "{unfinished}");
        index.link().unwrap();
        for search in [Search::Exact, Search::Approximate { candidates: 100 }] {
            let found = index.nearest(&vectors[4], 30, search).unwrap();
            assert_eq!(found.len(), 28);
            assert!(!names(&found).contains(&"4") && !names(&found).contains(&"7"));
            assert_eq!(names(&index.nearest(&vectors[25], 1, search).unwrap()), ["25"]);
        }
        let all: Vec<u32> = index.things().unwrap().into_values().collect();
        index.remove(&all).unwrap();
        index.link().unwrap();
        for search in [Search::Exact, Search::Approximate { candidates: 100 }] {
            assert_eq!(index.nearest(&vectors[4], 3, search).unwrap(), []);
        }
        index.add(&IndexAbout { model: "moved".into(), ..about() }, &things[..2], &vectors[..2]).unwrap();
        index.link().unwrap();
        assert_eq!(index.about().unwrap().unwrap().model, "moved");
        assert_eq!(names(&index.nearest(&vectors[1], 1, Search::Approximate { candidates: 10 }).unwrap()), ["1"]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let missing = VectorIndex::open(folder.path()).err().unwrap().to_string();
        assert!(missing.contains("expected a folder with data.mdb"), "{missing}");
        let used = tempfile::tempdir().unwrap();
        std::fs::write(used.path().join("letter.txt"), "dear").unwrap();
        let refused = VectorIndex::create(used.path()).err().unwrap().to_string();
        assert!(refused.contains("found other files in it"), "{refused}");
        let index = VectorIndex::create(folder.path()).unwrap();
        let zero = index.add(&about(), &[thing("nothing")], &[vec![0.0; DIM]]).unwrap_err().to_string();
        assert!(zero.contains("the vector of nothing has no direction"), "{zero}");
        assert_eq!(index.things().unwrap().len(), 0, "all or none");
        let (things, vectors) = random(1);
        index.add(&about(), &things, &vectors).unwrap();
        index.link().unwrap();
        let other = IndexAbout { kind: "pictures".into(), ..about() };
        assert!(index.add(&other, &things, &vectors).unwrap_err().to_string().contains("another kind"));
        let short = index.nearest(&[1.0], 1, Search::Exact).unwrap_err().to_string();
        assert!(short.contains("vectors of 12 numbers, this one has 1"), "{short}");
    }
}
