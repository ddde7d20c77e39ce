//! A whole run: prepare, train, evaluate, write.

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::prelude::*;
use florin_data::files::write_atomically;
use florin_data::labelled::{FieldSpec, LabelledDocument, LabelledSet, load_pack};
use florin_data::split::{Together, assign_folds, check_no_leak, given_folds};
use serde::Serialize;

use super::decode::keeps_currency;
use super::drawn::{Templates, draw_set};
use super::figures;
use super::log::{Logged, RunLog};
use super::metrics::{Judgement, Metrics, calibrator, mean_f1};
use super::reader::{Reader, TaskFile};
use super::training::{Built, Lesson, build, fit, save};
use super::{RunConfig, Split};
use crate::FinanceError;
use crate::evaluation::Calibrator;
use florin_models::document::TextCache;

/// Held-out documents that draw the learning curve: enough to see its shape, few enough to cost little.
const CURVE_DOCUMENTS: usize = 48;
/// Folds of a cross-validation.
const FOLDS: u32 = 5;

/// Who watches a run.
pub trait RunObserver {
    /// Something new begins.
    fn stage(&mut self, _name: &str) {}
    /// How far the current stage is, where that can be counted.
    fn progress(&mut self, _done: usize, _total: usize) {}
    /// A training step is done.
    fn stepped(&mut self, _report: &florin_train::StepReport) {}
    /// A model in training was evaluated.
    fn evaluated(&mut self, _evaluation: &florin_train::Evaluation) {}
    /// Something worth saying.
    fn note(&mut self, _message: &str) {}
}

/// A finished run.
#[derive(Clone, Debug, Serialize)]
pub struct RunSummary {
    /// Where everything was written.
    pub out: PathBuf,
    /// How good it is.
    pub metrics: Metrics,
    /// How long it took, continued parts not included.
    pub seconds: f64,
}

/// One model of a run: what it learns from, and what it is judged by.
struct Part {
    /// Folder inside the run's; none for the run's own.
    folder: Option<String>,
    title: String,
    training: Vec<usize>,
    held_out: Vec<usize>,
}

/// Runs the task into the folder `out`; with `resume`, a run that stands there is continued.
pub fn run(
    config: &RunConfig,
    out: &Path,
    resume: bool,
    observer: &mut dyn RunObserver,
) -> Result<RunSummary, FinanceError> {
    let began = Instant::now();
    config.validate()?;
    let device = florin_backend::device(&config.device)?.autodiff();
    open_folder(config, out, resume)?;
    let (set, folds) = load(config, observer)?;
    let parts = plan(config, &set, &folds)?;
    let mut finished = Vec::new();
    // A frozen encoder gives every part the same vectors.
    let mut cache = TextCache::new();
    for part in parts.iter().filter(|part| !part.held_out.is_empty()) {
        finished.push(train_part(config, out, part, &set, &mut cache, &device, observer)?);
    }
    let calibrators = calibrators(&finished);
    for (part, calibrator) in parts.iter().filter(|part| !part.held_out.is_empty()).zip(&calibrators.of_models) {
        write_task(out, part, &set, calibrator)?;
    }
    if let Some(part) = parts.iter().find(|part| part.held_out.is_empty()) {
        train_part(config, out, part, &set, &mut cache, &device, observer)?;
        write_task(out, part, &set, &calibrators.of_all)?;
    }
    let mut judgements = Vec::new();
    for (judged, calibrator) in finished.iter_mut().zip(&calibrators.of_judgements) {
        for (index, judgement) in judged.iter_mut().enumerate() {
            judgement.calibrate(&calibrator[index % calibrator.len()]);
        }
        judgements.append(judged);
    }
    let documents: Vec<&LabelledDocument> =
        parts.iter().flat_map(|part| part.held_out.iter().map(|index| &set.documents[*index])).collect();
    observer.stage("judging");
    let metrics = Metrics::of(&set.fields, &judgements, &documents)?;
    write_json(&out.join("metrics.json"), &metrics)?;
    observer.stage("writing the report");
    let seconds = began.elapsed().as_secs_f64();
    let logs = parts.iter().map(|part| (part.title.clone(), Logged::read(&folder_of(out, part)))).collect();
    figures::write_report(out, config, &metrics, &judgements, &documents, logs, seconds)?;
    Ok(RunSummary { out: out.to_owned(), metrics, seconds })
}

/// Makes the run's folder, or checks that the run that stands there is this one.
fn open_folder(config: &RunConfig, out: &Path, resume: bool) -> Result<(), FinanceError> {
    let file = out.join("config.toml");
    if file.exists() {
        if !resume {
            let reason = "a run stands here already; continue it with --resume or choose another --out".to_owned();
            return Err(FinanceError::File { path: out.into(), reason });
        }
        if RunConfig::read(&file)? != *config {
            let reason = "the run that stands here has other settings; continue it with its own config.toml".to_owned();
            return Err(FinanceError::File { path: file, reason });
        }
        return Ok(());
    }
    let failed =
        |path: &Path, error: std::io::Error| FinanceError::File { path: path.into(), reason: error.to_string() };
    std::fs::create_dir_all(out).map_err(|error| failed(out, error))?;
    let text = toml::to_string_pretty(config)
        .map_err(|error| FinanceError::File { path: file.clone(), reason: error.to_string() })?;
    write_atomically(&file, |writer| std::io::Write::write_all(writer, text.as_bytes()))?;
    Ok(())
}

/// The documents, and the fold of each; with drawn receipts fold 0 is what is held out.
fn load(config: &RunConfig, observer: &mut dyn RunObserver) -> Result<(LabelledSet, Vec<u32>), FinanceError> {
    let Some(data) = &config.data else {
        observer.stage("drawing receipts");
        let mut set = draw_set(config.drawn_training, config.seed, Templates::Training);
        let held_out = draw_set(config.drawn_held_out, config.seed.wrapping_add(1), Templates::HeldOut);
        let mut folds = vec![1; set.documents.len()];
        folds.resize(folds.len() + held_out.documents.len(), 0);
        set.documents.extend(held_out.documents);
        return Ok((set, folds));
    };
    observer.stage(&format!("reading {}", data.display()));
    let set = load_pack(data, config.fields.as_deref())?;
    if set.fields.is_empty() {
        let reason = "no field was found: expected text columns beside the structural ones, or --fields".to_owned();
        return Err(FinanceError::File { path: data.clone(), reason });
    }
    let together = if config.split == Split::Random { Together::Duplicates } else { Together::Groups };
    let folds = match given_folds(&set).filter(|_| together == Together::Groups) {
        Some(folds) => folds,
        None => assign_folds(&set, together, FOLDS, config.seed)?,
    };
    check_no_leak(&set, &folds, together)?;
    Ok((set, folds))
}

fn plan(config: &RunConfig, set: &LabelledSet, folds: &[u32]) -> Result<Vec<Part>, FinanceError> {
    let indices = |keep: &dyn Fn(u32) -> bool| -> Vec<usize> {
        (0..set.documents.len()).filter(|index| keep(folds[*index])).collect()
    };
    let holding_out = |fold: u32, folder: Option<String>, title: String| Part {
        folder,
        title,
        training: indices(&|other| other != fold),
        held_out: indices(&|other| other == fold),
    };
    let mut names: Vec<u32> = folds.to_vec();
    names.sort_unstable();
    names.dedup();
    if names.len() < 2 {
        return Err(FinanceError::Settings(format!(
            "{} documents fall into one group: nothing can be held out",
            set.documents.len()
        )));
    }
    Ok(match config.split {
        Split::HoldOut => vec![holding_out(names[0], None, "held-out documents".into())],
        Split::All => {
            let all = Part {
                folder: None,
                title: "all documents".into(),
                training: (0..set.documents.len()).collect(),
                held_out: vec![],
            };
            vec![holding_out(names[0], Some("estimate".into()), "estimate on held-out documents".into()), all]
        }
        Split::Folds | Split::Random => {
            let wanted = |fold: &&u32| config.only_folds.is_empty() || config.only_folds.contains(fold);
            if let Some(unknown) = config.only_folds.iter().find(|fold| !names.contains(fold)) {
                return Err(FinanceError::Settings(format!("there is no fold {unknown}; the folds are {names:?}")));
            }
            let of = |fold: &u32| holding_out(*fold, Some(format!("fold-{fold}")), format!("fold {fold}"));
            names.iter().filter(wanted).map(of).collect()
        }
    })
}

fn folder_of(out: &Path, part: &Part) -> PathBuf {
    part.folder.as_ref().map_or_else(|| out.to_owned(), |folder| out.join(folder))
}

/// Trains one model and reads what was held out, unless both stand there from before.
fn train_part(
    config: &RunConfig,
    out: &Path,
    part: &Part,
    set: &LabelledSet,
    cache: &mut TextCache,
    device: &Device,
    observer: &mut dyn RunObserver,
) -> Result<Vec<Judgement>, FinanceError> {
    let folder = folder_of(out, part);
    std::fs::create_dir_all(&folder)
        .map_err(|error| FinanceError::File { path: folder.clone(), reason: error.to_string() })?;
    let predictions = folder.join("predictions.json");
    if let Some(done) = read_predictions(&predictions).filter(|_| folder.join("model.safetensors").exists()) {
        observer.note(&format!("{}: done before", part.title));
        return Ok(done);
    }
    observer.stage(&format!("{}: training on {} documents", part.title, part.training.len()));
    let training: Vec<&LabelledDocument> = part.training.iter().map(|index| &set.documents[*index]).collect();
    let held_out: Vec<&LabelledDocument> = part.held_out.iter().map(|index| &set.documents[*index]).collect();
    let built = build(config, &set.fields, &training, device)?;
    let tokenizer = built.tokenizer.clone();
    let task = task_file(set, &part.training);
    Reader::of(&built, task.clone(), device)?.encode(&held_out, cache);
    let mut curve_cache = cache.clone();
    // Evenly spread, because data is often sorted by company.
    let stride = held_out.len().div_ceil(CURVE_DOCUMENTS).max(1);
    let curve: Vec<&LabelledDocument> = held_out.iter().step_by(stride).copied().collect();
    let mut judge = |model: &_, config: &_| {
        let built = Built { config: Clone::clone(config), model: Clone::clone(model), tokenizer: tokenizer.clone() };
        curve_score(&built, &task, &curve, &mut curve_cache, device)
    };
    let mut logged = RunLog::open(&folder, observer)?;
    let checkpoint = folder.join("checkpoint.safetensors");
    let evaluations = if curve.is_empty() { 0 } else { config.evaluations };
    let lesson = Lesson { run: config, fields: &set.fields, documents: &training, evaluations, checkpoint, device };
    let built = fit(&lesson, built, cache, &mut judge, &mut logged)?;
    save(&built, &folder)?;
    observer.stage(&format!("{}: reading {} documents", part.title, held_out.len()));
    let reader = Reader::of(&built, task.clone(), device)?;
    let total = held_out.len();
    let judged = reader.read_labelled(&held_out, cache, &mut |done| observer.progress(done, total))?;
    write_json(&predictions, &judged)?;
    Ok(judged)
}

fn curve_score(
    built: &Built,
    task: &TaskFile,
    documents: &[&LabelledDocument],
    cache: &mut TextCache,
    device: &Device,
) -> Result<f64, FinanceError> {
    let reader = Reader::of(built, task.clone(), device)?;
    mean_f1(&task.fields, &reader.read_labelled(documents, cache, &mut |_| {})?)
}

/// Calibrators that have never seen the judgements they are applied to.
struct Calibrators {
    /// What each held-out part's model carries.
    of_models: Vec<Calibrator>,
    /// For each part, the calibrators that its judgements take in turn.
    of_judgements: Vec<Vec<Calibrator>>,
    /// From everything held out, for a model trained on all documents.
    of_all: Calibrator,
}

/// With several parts, a part's confidences are calibrated on the others' held-out documents; with one, each half of it on
/// the other half.
fn calibrators(parts: &[Vec<Judgement>]) -> Calibrators {
    let of_all = calibrator(parts.iter().flatten());
    if let [only] = parts {
        let half = |odd: usize| calibrator(only.iter().skip(1 - odd).step_by(2));
        return Calibrators { of_models: vec![of_all.clone()], of_judgements: vec![vec![half(0), half(1)]], of_all };
    }
    let without = |left_out: usize| {
        let others = parts.iter().enumerate().filter(|(index, _)| *index != left_out);
        calibrator(others.flat_map(|(_, judgements)| judgements))
    };
    let of_models: Vec<Calibrator> = (0..parts.len()).map(without).collect();
    Calibrators { of_judgements: of_models.iter().map(|one| vec![one.clone()]).collect(), of_models, of_all }
}

/// What the weights do not say, as far as the training documents tell it.
fn task_file(set: &LabelledSet, training: &[usize]) -> TaskFile {
    let documents: Vec<&LabelledDocument> = training.iter().map(|index| &set.documents[*index]).collect();
    let keeps = |(index, field): (usize, &FieldSpec)| keeps_currency(index, field.kind, &documents);
    TaskFile {
        task: "receipts".into(),
        fields: set.fields.clone(),
        keeps_currency: set.fields.iter().enumerate().map(keeps).collect(),
        calibrator: Calibrator::default(),
    }
}

fn write_task(out: &Path, part: &Part, set: &LabelledSet, calibrator: &Calibrator) -> Result<(), FinanceError> {
    let task = TaskFile { calibrator: calibrator.clone(), ..task_file(set, &part.training) };
    write_json(&folder_of(out, part).join("task.json"), &task)
}

fn read_predictions(path: &Path) -> Option<Vec<Judgement>> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FinanceError> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| FinanceError::File { path: path.into(), reason: error.to_string() })?;
    write_atomically(path, |writer| std::io::Write::write_all(writer, &bytes))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use florin_data::value::FieldKind;

    use super::super::decode::FieldPrediction;
    use super::*;

    /// A document whose one field was read with a confidence of one half.
    fn judgement(right: bool) -> Judgement {
        let text = Some(if right { "right" } else { "wrong" }.to_owned());
        let field = FieldPrediction {
            field: "company".into(),
            kind: FieldKind::Text,
            text,
            normalised: None,
            confidence: 0.5,
            boxes: vec![],
            review: false,
        };
        Judgement { id: String::new(), gold: vec![Some("right".into())], fields: vec![field], weights: vec![] }
    }

    fn answers(calibrators: &[Calibrator]) -> Vec<bool> {
        calibrators.iter().map(|calibrator| calibrator.calibrate("company", 0.5) > 0.5).collect()
    }

    #[test]
    fn a_part_is_calibrated_on_the_others_and_never_on_itself() {
        // The first part is always right, the others always wrong: only its own answers could make it sure.
        let parts: Vec<Vec<Judgement>> = (0..3).map(|part| (0..40).map(|_| judgement(part == 0)).collect()).collect();
        let found = calibrators(&parts);
        assert_eq!(answers(&found.of_models), [false, false, false]);
        let two: Vec<Vec<Judgement>> = parts.into_iter().take(2).collect();
        let found = calibrators(&two);
        assert_eq!(answers(&found.of_models), [false, true]);
        assert_eq!(answers(&found.of_judgements.concat()), [false, true]);
    }

    #[test]
    fn halves_of_one_part_are_calibrated_on_each_other() {
        let only: Vec<Judgement> = (0..80).map(|index| judgement(index % 2 == 0)).collect();
        // Documents 0, 2, .. are right, and are calibrated on 1, 3, .., which are wrong.
        assert_eq!(answers(&calibrators(&[only]).of_judgements[0]), [false, true]);
    }

    #[test]
    fn what_is_held_out_is_never_trained_on() {
        let set = draw_set(12, 3, Templates::Training);
        let folds: Vec<u32> = (0..12).map(|index| index % 3).collect();
        for (split, expected) in [(Split::HoldOut, 1), (Split::Folds, 3)] {
            let parts = plan(&RunConfig { split, ..RunConfig::default() }, &set, &folds).unwrap();
            assert_eq!(parts.len(), expected);
            for part in parts {
                assert!(!part.held_out.is_empty());
                assert!(part.held_out.iter().all(|index| !part.training.contains(index)), "{}", part.title);
                assert_eq!(part.held_out.len() + part.training.len(), 12);
            }
        }
    }
}
