//! How the tensors of a file differ from those of a model: everything at once, so that nobody mends one name at a time.

use std::collections::BTreeSet;
use std::fmt;

/// Lines of each kind that a message has at most.
const MOST: usize = 12;
/// Two names are near when at least so much of them is alike.
const NEAR: f64 = 0.7;

/// What does not fit between a file and a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Tensors that the model needs and the file lacks.
    pub missing: BTreeSet<String>,
    /// Tensors of the file that the model does not know.
    pub unknown: BTreeSet<String>,
    /// Name, shape found and shape expected.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Mismatch {
    /// Whether everything fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unknown.is_empty() && self.shapes.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, unknown, shapes) = (self.missing.len(), self.unknown.len(), self.shapes.len());
        write!(f, "{missing} tensors missing, {unknown} unknown, {shapes} of another shape")?;
        let missing = self.missing.iter().map(|name| match nearest(name, &self.unknown) {
            Some(near) => format!("missing: {name} (the file has {near})"),
            None => format!("missing: {name}"),
        });
        let unknown = self.unknown.iter().map(|name| match nearest(name, &self.missing) {
            Some(near) => format!("unknown: {name} (expected {near}?)"),
            None => format!("unknown: {name}"),
        });
        let shape = |(name, found, expected): &(String, Vec<usize>, Vec<usize>)| {
            format!("{name}: found {found:?}, expected {expected:?}")
        };
        lines(f, missing)?;
        lines(f, unknown)?;
        lines(f, self.shapes.iter().map(shape))
    }
}

fn lines(f: &mut fmt::Formatter<'_>, all: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    let more = all.len().saturating_sub(MOST);
    for line in all.take(MOST) {
        write!(f, "\n  {line}")?;
    }
    if more > 0 { write!(f, "\n  and {more} more") } else { Ok(()) }
}

fn nearest<'a>(name: &str, among: &'a BTreeSet<String>) -> Option<&'a str> {
    // The work grows with the square of the names: a file with thousands of unknown ones is another model anyway.
    nearest_of(name, among.iter().take(256).map(String::as_str))
}

/// The most similar of some names, if any is near.
pub(crate) fn nearest_of<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let all = among.map(|other| (other, strsim::normalized_damerau_levenshtein(name, other)));
    let best = all.max_by(|(_, one), (_, other)| one.total_cmp(other));
    best.filter(|(_, likeness)| *likeness >= NEAR).map(|(other, _)| other)
}
