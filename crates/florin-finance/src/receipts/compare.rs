//! Two kinds of runs compared on the documents that both held out.
//!
//! A kind is one run, or several that differ only in their seed: their scores are averaged before the bootstrap, so that the
//! interval is that of the kind and not of one lucky start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use florin_data::labelled::FieldSpec;

use super::metrics::Judgement;
use crate::FinanceError;
use crate::evaluation::{Bootstrap, Difference, FieldScores, Interval};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2_000;
/// Fixes the bootstrap.
const SEED: u64 = 20_240_101;

/// Mean normalised F1 of two kinds of runs on the same documents.
#[derive(Clone, Debug)]
pub struct RunComparison {
    /// Documents that were judged.
    pub documents: usize,
    /// The first kind.
    pub first: Interval,
    /// The second kind.
    pub second: Interval,
    /// Second less first, on the same resampled documents.
    pub difference: Difference,
}

/// Compares run folders; all of them must have held out the same documents.
pub fn compare(first: &[PathBuf], second: &[PathBuf]) -> Result<RunComparison, FinanceError> {
    let open = |folders: &[PathBuf]| folders.iter().map(|folder| held_out(folder)).collect::<Result<Vec<_>, _>>();
    let (first_runs, second_runs) = (open(first)?, open(second)?);
    let all = || first_runs.iter().chain(&second_runs);
    let Some(expected) = first_runs.first().filter(|_| !second_runs.is_empty()) else {
        return Err(FinanceError::Settings("a comparison needs at least one run on each side".into()));
    };
    if let Some(at) = all().position(|run| !run.keys().eq(expected.keys())) {
        let path = if at < first.len() { &first[at] } else { &second[at - first.len()] };
        let reason = format!("it held out other documents than {}", first[0].display());
        return Err(FinanceError::File { path: path.clone(), reason });
    }
    let score = |runs: &[BTreeMap<String, Judgement>]| runs.iter().map(scores).collect::<Result<Vec<_>, _>>();
    let (of_first, of_second) = (score(&first_runs)?, score(&second_runs)?);
    let mean = |scores: &[FieldScores], sample: &[usize]| {
        scores.iter().map(|scores| scores.mean_f1_of(sample)).sum::<f64>() / scores.len() as f64
    };
    let bootstrap = Bootstrap::over_documents(expected.len(), SEED).with_resamples(RESAMPLES);
    Ok(RunComparison {
        documents: expected.len(),
        first: bootstrap.interval(|sample| mean(&of_first, sample)),
        second: bootstrap.interval(|sample| mean(&of_second, sample)),
        difference: bootstrap.difference(|sample| mean(&of_second, sample), |sample| mean(&of_first, sample)),
    })
}

/// What a run read from documents it was not trained on, by document: its own folder's, and its folds'.
fn held_out(run: &Path) -> Result<BTreeMap<String, Judgement>, FinanceError> {
    let failed = |path: &Path, reason: String| FinanceError::File { path: path.into(), reason };
    let entries = std::fs::read_dir(run).map_err(|error| failed(run, error.to_string()))?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path())).chain([run.to_owned()]);
    let mut found = BTreeMap::new();
    for file in folders.map(|folder| folder.join("predictions.json")).filter(|file| file.is_file()) {
        let bytes = std::fs::read(&file).map_err(|error| failed(&file, error.to_string()))?;
        let read: Vec<Judgement> = serde_json::from_slice(&bytes).map_err(|error| failed(&file, error.to_string()))?;
        found.extend(read.into_iter().map(|judgement| (judgement.id.clone(), judgement)));
    }
    if found.is_empty() {
        return Err(failed(run, "expected a finished run with predictions.json, found none".into()));
    }
    Ok(found)
}

fn scores(run: &BTreeMap<String, Judgement>) -> Result<FieldScores, FinanceError> {
    let fields: Vec<FieldSpec> = run.values().next().map_or_else(Vec::new, |judgement| {
        let spec = |field: &super::FieldPrediction| FieldSpec { name: field.field.clone(), kind: field.kind };
        judgement.fields.iter().map(spec).collect()
    });
    let gold: Vec<_> = run.values().map(|judgement| judgement.gold.clone()).collect();
    let read: Vec<Vec<Option<String>>> =
        run.values().map(|judgement| judgement.fields.iter().map(|field| field.text.clone()).collect()).collect();
    Ok(FieldScores::of(&fields, &gold, &read)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of these documents, each with a gold value and what was read.
    fn run(name: &str, documents: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::Builder::new().prefix(name).tempdir().expect("a folder");
        let judgement = |(id, gold, read): &(&str, &str, &str)| {
            serde_json::json!({"id": id, "gold": [gold], "weights": [], "fields": [{
                "field": "company", "kind": "text", "text": read, "normalised": read,
                "confidence": 0.5, "boxes": [], "review": false,
            }]})
        };
        let all: Vec<_> = documents.iter().map(judgement).collect();
        let fold = folder.path().join("fold-0");
        std::fs::create_dir(&fold).expect("a folder in it");
        std::fs::write(fold.join("predictions.json"), serde_json::to_vec(&all).expect("JSON")).expect("a file");
        folder
    }

    #[test]
    fn seeds_are_averaged_and_the_difference_is_second_less_first() {
        let worse = run("worse", &[("a", "X", "X"), ("b", "Y", "Z")]);
        let right = run("right", &[("b", "Y", "Y"), ("a", "X", "X")]);
        let paths = |runs: &[&tempfile::TempDir]| runs.iter().map(|run| run.path().to_owned()).collect::<Vec<_>>();
        let found = compare(&paths(&[&worse]), &paths(&[&right, &worse])).expect("the same documents");
        assert_eq!((found.documents, found.first.value, found.second.value), (2, 0.5, 0.75));
        assert_eq!(found.difference.interval.value, 0.25);
    }

    #[test]
    fn runs_on_other_documents_are_refused() {
        let one = run("one", &[("a", "X", "X")]);
        let other = run("other", &[("b", "X", "X")]);
        let error = compare(&[one.path().into()], &[other.path().into()]).unwrap_err().to_string();
        assert!(error.contains("held out other documents"), "{error}");
        assert!(compare(&[], &[other.path().into()]).is_err());
    }
}
