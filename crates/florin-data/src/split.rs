//! Dividing labelled documents so that the test part is truly unseen.
//!
//! Receipts of one shop share a layout and an address, and some receipts were scanned twice. A random division puts
//! such twins on both sides and flatters a model. Documents joined by a shared group or duplicate group, directly or
//! through others, therefore stay together.

use std::collections::HashMap;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    DataError,
    labelled::{LabelledDocument, LabelledSet},
};

/// What may not be divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// Documents of one group (a company), and duplicates: measures a model on companies it has not seen.
    Groups,
    /// Only duplicates: measures a model on new documents of mostly known companies.
    Duplicates,
}

/// A fold for every document, from 0 to `folds` - 1, of nearly equal sizes.
///
/// The same arguments give the same folds.
pub fn assign_folds(set: &LabelledSet, together: Together, folds: u32, seed: u64) -> Result<Vec<u32>, DataError> {
    let mut parts = parts(&set.documents, together);
    if folds < 2 || parts.len() < folds as usize {
        return Err(split_error(format!(
            "expected from 2 folds to one for each of {} separable parts of {} documents, found {folds} folds",
            parts.len(),
            set.documents.len()
        )));
    }
    parts.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    // Largest first into the emptiest fold; the sort is stable, so equal parts stay shuffled.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    let mut sizes = vec![0; folds as usize];
    let mut assigned = vec![0; set.documents.len()];
    for part in parts {
        let Some((emptiest, size)) = sizes.iter_mut().enumerate().min_by_key(|(_, size)| **size) else { break };
        *size += part.len();
        for index in part {
            assigned[index] = emptiest as u32;
        }
    }
    Ok(assigned)
}

/// The folds that came with the data, when every document has one.
pub fn given_folds(set: &LabelledSet) -> Option<Vec<u32>> {
    set.documents.iter().map(|document| document.fold).collect()
}

/// Checks that nothing which belongs together lies in two folds.
pub fn check_no_leak(set: &LabelledSet, folds: &[u32], together: Together) -> Result<(), DataError> {
    if folds.len() != set.documents.len() {
        let reason = format!("expected a fold for each of {} documents, found {}", set.documents.len(), folds.len());
        return Err(split_error(reason));
    }
    let mut first_seen: HashMap<Key<'_>, (&str, u32)> = HashMap::new();
    for (document, &fold) in set.documents.iter().zip(folds) {
        for key in keys(document, together) {
            let (other, other_fold) = *first_seen.entry(key).or_insert((&document.document.id, fold));
            if other_fold != fold {
                let id = &document.document.id;
                let reason = format!(
                    "'{other}' in fold {other_fold} and '{id}' in fold {fold} share the {} '{}'",
                    key.kind(),
                    key.name()
                );
                return Err(split_error(reason));
            }
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Group(&'a str),
    Duplicate(&'a str),
}

impl<'a> Key<'a> {
    fn kind(self) -> &'static str {
        match self {
            Self::Group(_) => "group",
            Self::Duplicate(_) => "duplicate group",
        }
    }

    fn name(self) -> &'a str {
        match self {
            Self::Group(name) | Self::Duplicate(name) => name,
        }
    }
}

fn keys(document: &LabelledDocument, together: Together) -> impl Iterator<Item = Key<'_>> {
    let group = document.group.as_deref().filter(|_| together == Together::Groups).map(Key::Group);
    group.into_iter().chain(document.duplicate_group.as_deref().map(Key::Duplicate))
}

/// Documents in parts that share no key: the connected components.
fn parts(documents: &[LabelledDocument], together: Together) -> Vec<Vec<usize>> {
    let mut parent: Vec<usize> = (0..documents.len()).collect();
    let mut owner: HashMap<Key<'_>, usize> = HashMap::new();
    for (index, document) in documents.iter().enumerate() {
        for key in keys(document, together) {
            let other = *owner.entry(key).or_insert(index);
            let (a, b) = (root(&mut parent, index), root(&mut parent, other));
            parent[a.max(b)] = a.min(b);
        }
    }
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); documents.len()];
    for index in 0..documents.len() {
        members[root(&mut parent, index)].push(index);
    }
    members.retain(|part| !part.is_empty());
    members
}

fn root(parent: &mut [usize], mut index: usize) -> usize {
    while parent[index] != index {
        parent[index] = parent[parent[index]];
        index = parent[index];
    }
    index
}

fn split_error(reason: String) -> DataError {
    DataError::Split { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document::Document, labelled::Picture};
    use rand::RngExt;

    fn set(keys: &[(Option<u32>, Option<u32>)]) -> LabelledSet {
        let documents = keys.iter().enumerate().map(|(index, (group, duplicate))| LabelledDocument {
            document: Document::new(format!("d{index}"), 10, 10, vec![]).unwrap(),
            picture: Picture::Missing,
            values: vec![],
            group: group.map(|group| group.to_string()),
            duplicate_group: duplicate.map(|duplicate| duplicate.to_string()),
            fold: None,
        });
        LabelledSet { fields: vec![], documents: documents.collect() }
    }

    #[test]
    fn random_sets_are_divided_evenly_and_never_leak() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for round in 0..200 {
            let keys: Vec<_> = (0..100)
                .map(|_| {
                    (
                        Some(random.random_range(0..40)),
                        (random.random_range(0..9) == 0).then(|| random.random_range(0..50)),
                    )
                })
                .collect();
            let set = set(&keys);
            for together in [Together::Groups, Together::Duplicates] {
                let folds = assign_folds(&set, together, 5, round).unwrap();
                check_no_leak(&set, &folds, together).unwrap();
                let sizes: Vec<usize> = (0..5).map(|fold| folds.iter().filter(|&&own| own == fold).count()).collect();
                let largest = parts(&set.documents, together).iter().map(Vec::len).max().unwrap();
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= largest.max(1), "{sizes:?}");
                assert_eq!(folds, assign_folds(&set, together, 5, round).unwrap());
            }
        }
    }

    #[test]
    fn a_duplicate_joins_the_groups_of_both_its_copies() {
        let set = set(&[(Some(1), Some(7)), (Some(2), Some(7)), (Some(2), None), (Some(3), None)]);
        let folds = assign_folds(&set, Together::Groups, 2, 0).unwrap();
        assert_eq!(folds[0], folds[1]);
        assert_eq!(folds[1], folds[2]);
        assert_ne!(folds[0], folds[3]);
    }

    #[test]
    fn a_leak_is_reported_with_both_documents() {
        let set = set(&[(Some(1), Some(7)), (Some(1), None), (Some(2), Some(7))]);
        let error = check_no_leak(&set, &[0, 1, 0], Together::Groups).unwrap_err().to_string();
        assert!(error.contains("'d0' in fold 0 and 'd1' in fold 1 share the group '1'"), "{error}");
        check_no_leak(&set, &[0, 1, 0], Together::Duplicates).unwrap();
        assert!(check_no_leak(&set, &[0, 0, 1], Together::Duplicates).is_err());
        assert!(check_no_leak(&set, &[0], Together::Groups).unwrap_err().to_string().contains("found 1"));
    }

    #[test]
    fn too_few_parts_for_the_folds_is_an_error() {
        let set = set(&[(Some(1), None), (Some(1), None)]);
        let error = assign_folds(&set, Together::Groups, 2, 0).unwrap_err().to_string();
        assert!(error.contains("1 separable parts of 2 documents"), "{error}");
        assert!(assign_folds(&set, Together::Duplicates, 2, 0).is_ok());
        assert!(assign_folds(&set, Together::Duplicates, 1, 0).is_err());
        assert_eq!(given_folds(&set), None);
    }
}
