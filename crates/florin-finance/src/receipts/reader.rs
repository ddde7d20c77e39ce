//! A trained model, opened to read documents.

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::prelude::*;
use florin_data::document::Document;
use florin_data::labelled::{FieldSpec, LabelledDocument, load_pack};
use florin_data::word_pieces::WordPieces;
use florin_data::words::{Word, words};
use florin_models::checkpoint;
use florin_models::document::{
    DocumentBatch, DocumentConfig, DocumentFeatures, DocumentModel, FeatureExtractor, TextCache, TextContext,
    WordScores,
};
use florin_models::names::Names;
use florin_nn::{Modality, WeightFormat};
use image::GrayImage;
use serde::{Deserialize, Serialize};

use super::FieldPrediction;
use super::decode::decode;
use super::metrics::{Judgement, Metrics};
use super::prepare::Canvas;
use super::run::RunObserver;
use super::training::{Built, special_ids};
use crate::FinanceError;
use crate::evaluation::Calibrator;

/// Documents read at once in evaluations: enough to fill two cores, few enough to stay small.
const READ_AT_ONCE: usize = 8;

/// What stands in `task.json`: what the weights alone do not say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TaskFile {
    /// Always `receipts`.
    pub(crate) task: String,
    /// Fields and what their values are, in the order of the model's head.
    pub(crate) fields: Vec<FieldSpec>,
    /// For each field, whether the training documents keep a currency that touches an amount.
    pub(crate) keeps_currency: Vec<bool>,
    /// From the model's probabilities to calibrated confidences.
    pub(crate) calibrator: Calibrator,
}

/// An opened run folder.
pub struct Reader {
    config: DocumentConfig,
    model: DocumentModel,
    extractor: FeatureExtractor,
    task: TaskFile,
    device: Device,
}

/// What was read from a document.
#[derive(Clone, Debug, Serialize)]
pub struct Reading {
    /// One entry a field.
    pub fields: Vec<FieldPrediction>,
    /// How much each modality was leaned on, summing to one.
    pub modality_weights: Vec<(Modality, f64)>,
    /// Seconds it took, decoding of the picture not included.
    pub seconds: f64,
}

impl Reader {
    /// Opens `RUN` or `RUN/fold-K`, its weights packed.
    pub fn open(weights: &Path, device: &Device, format: WeightFormat) -> Result<Self, FinanceError> {
        if !weights.join("model.safetensors").exists() {
            return Err(no_model(weights));
        }
        let task = read_task(&weights.join("task.json"))?;
        let config = DocumentConfig::read(&weights.join("config.json"))?;
        let names: Vec<&str> = task.fields.iter().map(|field| field.name.as_str()).collect();
        if config.fields != names {
            let reason = format!("its fields are {:?}, those of config.json {:?}", names, config.fields);
            return Err(FinanceError::File { path: weights.join("task.json"), reason });
        }
        if task.keeps_currency.len() != task.fields.len() {
            let (found, expected) = (task.keeps_currency.len(), task.fields.len());
            let reason = format!("keeps_currency has {found} entries for {expected} fields");
            return Err(FinanceError::File { path: weights.join("task.json"), reason });
        }
        let pieces = WordPieces::from_file(weights.join("tokenizer.json"), config.pieces_per_word)?;
        if pieces.vocabulary_size() > config.text.vocab_size {
            let (found, most) = (pieces.vocabulary_size(), config.text.vocab_size);
            let reason = format!("its vocabulary has {found} entries, the model of config.json knows {most}");
            return Err(FinanceError::File { path: weights.join("tokenizer.json"), reason });
        }
        let model = checkpoint::load(config.init(device), &weights.join("model.safetensors"), &Names::own())?;
        let extractor = FeatureExtractor::new(&config, pieces);
        let model = florin_nn::pack(model.valid(), format);
        Ok(Self { config, model, extractor, task, device: device.clone() })
    }

    /// A model that has just been trained.
    pub(crate) fn of(built: &Built, task: TaskFile, device: &Device) -> Result<Self, FinanceError> {
        let pieces = WordPieces::from_json("tokenizer.json", &built.tokenizer, built.config.pieces_per_word)?;
        let extractor = FeatureExtractor::new(&built.config, pieces);
        let (config, model) = (built.config.clone(), built.model.valid());
        Ok(Self { config, model, extractor, task, device: device.clone().without_autodiff() })
    }

    /// The fields it reads.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.task.fields
    }

    /// Whether it looks at pictures; without one the image stream is absent and the rest decides.
    pub fn needs_picture(&self) -> bool {
        self.config.image.is_some()
    }

    /// Reads one document; fields below the confidence `abstain` are marked for review.
    pub fn read(
        &self,
        document: &Document,
        picture: Option<&GrayImage>,
        abstain: Option<f64>,
    ) -> Result<Reading, FinanceError> {
        let began = Instant::now();
        let canvas = match (&self.config.image, picture) {
            (Some(image), Some(picture)) => Some(Canvas::new(picture, image)),
            _ => None,
        };
        let mut readings = self.read_all(&[(document, canvas.as_ref())], &mut TextCache::new())?;
        let (mut fields, modality_weights) = readings.swap_remove(0);
        for field in &mut fields {
            field.confidence = self.task.calibrator.calibrate(&field.field, field.confidence);
            field.review = abstain.is_some_and(|least| field.confidence < least);
        }
        Ok(Reading { fields, modality_weights, seconds: began.elapsed().as_secs_f64() })
    }

    /// Reads labelled documents, confidences as the model gives them.
    pub(crate) fn read_labelled(
        &self,
        documents: &[&LabelledDocument],
        cache: &mut TextCache,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Judgement>, FinanceError> {
        let mut all = Vec::with_capacity(documents.len());
        for chunk in documents.chunks(READ_AT_ONCE) {
            let canvases = chunk
                .iter()
                .map(|document| super::prepare::canvas(document, &self.config))
                .collect::<Result<Vec<_>, _>>()?;
            let inputs: Vec<_> =
                chunk.iter().zip(&canvases).map(|(document, canvas)| (&document.document, canvas.as_ref())).collect();
            for (document, (fields, weights)) in chunk.iter().zip(self.read_all(&inputs, cache)?) {
                let gold = document.values.clone();
                all.push(Judgement { id: document.document.id.clone(), gold, fields, weights });
            }
            progress(all.len());
        }
        Ok(all)
    }

    /// Encodes the documents' lines, for a model that reads its text line by line.
    pub(crate) fn encode(&self, documents: &[&LabelledDocument], cache: &mut TextCache) {
        if self.config.text_context == TextContext::Line {
            let features: Vec<DocumentFeatures> = documents
                .iter()
                .map(|document| self.features(&document.document, &words(&document.document), None))
                .collect();
            let features: Vec<&DocumentFeatures> = features.iter().collect();
            cache.encode(&features, &self.model.text, &self.config, special_ids(&self.extractor), &self.device);
        }
    }

    /// The calibrator in use.
    pub(crate) fn calibrator(&self) -> &Calibrator {
        &self.task.calibrator
    }

    fn read_all(
        &self,
        inputs: &[(&Document, Option<&Canvas>)],
        cache: &mut TextCache,
    ) -> Result<Vec<Fields>, FinanceError> {
        let special = special_ids(&self.extractor);
        let all_words: Vec<Vec<Word>> = inputs.iter().map(|(document, _)| words(document)).collect();
        let mut windows = Vec::new();
        for (index, ((document, canvas), words)) in inputs.iter().zip(&all_words).enumerate() {
            let features = self.features(document, words, *canvas);
            windows.extend(cut(features, self.config.window).into_iter().map(|(first, part)| (index, first, part)));
        }
        let mut merged: Vec<Merged> = all_words.iter().map(|words| Merged::new(words.len(), &self.config)).collect();
        for chunk in windows.chunks(READ_AT_ONCE) {
            let features: Vec<&DocumentFeatures> = chunk.iter().map(|(_, _, features)| features).collect();
            if self.config.text_context == TextContext::Line {
                cache.encode(&features, &self.model.text, &self.config, special, &self.device);
            }
            let batch = DocumentBatch::new(&features, &self.config, special, cache, &self.device);
            let scores = Scores::of(self.model.forward(&batch), &self.device)?;
            for (row, (index, first, features)) in chunk.iter().enumerate() {
                merged[*index].add(&scores, row, *first, features.pieces.len());
            }
        }
        let longest = self.config.longest_span;
        let fields = inputs.iter().zip(&all_words).zip(merged).map(|(((document, _), words), merged)| {
            let weights = merged.weights.map(|weights| self.modalities().into_iter().zip(weights).collect());
            let read = self.task.fields.iter().zip(&self.task.keeps_currency).zip(&merged.fields);
            let fields = read.map(|((field, keeps), scores)| decode(field, *keeps, scores, longest, document, words));
            (fields.collect(), weights.unwrap_or_default())
        });
        Ok(fields.collect())
    }

    fn features(&self, document: &Document, words: &[Word], canvas: Option<&Canvas>) -> DocumentFeatures {
        let mut features = self.extractor.features(document, words);
        features.picture = match (canvas, &self.config.image) {
            (Some(canvas), Some(image)) => Some(canvas.features(words, image)),
            _ => None,
        };
        features
    }

    fn modalities(&self) -> Vec<Modality> {
        self.config.streams().into_iter().map(|(modality, _)| modality).collect()
    }
}

/// Fields of a document, confidences as the model gives them, and what it leaned on.
type Fields = (Vec<FieldPrediction>, Vec<(Modality, f64)>);

/// Scores any folder in the pack's form.
pub fn evaluate(reader: &Reader, data: &Path, observer: &mut dyn RunObserver) -> Result<Metrics, FinanceError> {
    let names: Vec<String> = reader.fields().iter().map(|field| field.name.clone()).collect();
    observer.stage(&format!("reading {}", data.display()));
    let set = load_pack(data, Some(&names))?;
    let documents: Vec<&LabelledDocument> = set.documents.iter().collect();
    let total = documents.len();
    let mut judged =
        reader.read_labelled(&documents, &mut TextCache::new(), &mut |done| observer.progress(done, total))?;
    for judgement in &mut judged {
        judgement.calibrate(reader.calibrator());
    }
    Metrics::of(reader.fields(), &judged, &documents)
}

/// Reads a `task.json`.
fn read_task(path: &Path) -> Result<TaskFile, FinanceError> {
    let failed = |reason: String| FinanceError::File { path: path.into(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let task: TaskFile = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    if task.task == "receipts" { Ok(task) } else { Err(failed(format!("expected task receipts, found {}", task.task))) }
}

fn no_model(weights: &Path) -> FinanceError {
    let folds: Vec<PathBuf> = std::fs::read_dir(weights)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .filter(|path| path.join("model.safetensors").exists())
        .collect();
    let reason = match folds.iter().min() {
        Some(fold) => format!("holds no model.safetensors itself; did you mean {}?", fold.display()),
        None => "holds no model.safetensors: expected the folder of a finished run".to_owned(),
    };
    FinanceError::File { path: weights.into(), reason }
}

/// Cuts a long document into windows that overlap by half; a short one stays whole.
fn cut(features: DocumentFeatures, window: usize) -> Vec<(usize, DocumentFeatures)> {
    let words = features.pieces.len();
    if words <= window {
        return vec![(0, features)];
    }
    let stride = (window / 2).max(1);
    let count = (words - window).div_ceil(stride) + 1;
    let starts = (0..count).map(|index| (index * stride).min(words - window));
    starts.map(|first| (first, features.window(first, first + window))).collect()
}

/// The model's scores of a batch, on the host.
struct Scores {
    start: Vec<f32>,
    inside: Vec<f32>,
    end: Vec<f32>,
    none: Vec<f32>,
    /// Of each row one a modality, where the model's fusion says.
    weights: Option<Vec<Vec<f32>>>,
    words: usize,
    fields: usize,
}

impl Scores {
    fn of(output: florin_models::document::DocumentOutput, device: &Device) -> Result<Self, FinanceError> {
        let [_, fields, words] = output.start.dims();
        let host = |data: TensorData| {
            data.convert::<f32>()
                .try_to_vec::<f32>()
                .map_err(|error| FinanceError::Settings(format!("scores cannot be read from {device:?}: {error:?}")))
        };
        let weights = output.weights.map(|weights| {
            let [_, modalities] = weights.dims();
            Ok::<_, FinanceError>(host(weights.into_data())?.chunks(modalities).map(<[f32]>::to_vec).collect())
        });
        Ok(Self {
            start: host(output.start.into_data())?,
            inside: host(output.inside.into_data())?,
            end: host(output.end.into_data())?,
            none: host(output.none.into_data())?,
            weights: weights.transpose()?,
            words,
            fields,
        })
    }
}

/// Scores of a whole document, put together from its windows.
///
/// A window's scores are relative to its own score of absence, so that windows can be compared; each word is taken from
/// the window in which it has most context.
struct Merged {
    fields: Vec<WordScores>,
    /// Mean over the windows, where the model's fusion says.
    weights: Option<Vec<f64>>,
    context: Vec<usize>,
    windows: usize,
}

impl Merged {
    fn new(words: usize, config: &DocumentConfig) -> Self {
        let empty = WordScores { start: vec![0.0; words], inside: vec![0.0; words], end: vec![0.0; words], none: 0.0 };
        Self { fields: vec![empty; config.fields.len()], weights: None, context: vec![0; words], windows: 0 }
    }

    fn add(&mut self, scores: &Scores, row: usize, first: usize, words: usize) {
        self.windows += 1;
        let share = 1.0 / self.windows as f64;
        if let Some(next) = &scores.weights {
            let next = &next[row];
            let mean = self.weights.get_or_insert_with(|| vec![0.0; next.len()]);
            mean.iter_mut().zip(next).for_each(|(mean, next)| *mean += (f64::from(*next) - *mean) * share);
        }
        let all = self.context.len();
        for word in 0..words {
            let left = if first == 0 { usize::MAX } else { word + 1 };
            let right = if first + words == all { usize::MAX } else { words - word };
            let context = left.min(right);
            if context <= self.context[first + word] {
                continue;
            }
            self.context[first + word] = context;
            for (field, merged) in self.fields.iter_mut().enumerate() {
                let place = (row * scores.fields + field) * scores.words + word;
                merged.start[first + word] = scores.start[place] - scores.none[row * scores.fields + field];
                merged.inside[first + word] = scores.inside[place];
                merged.end[first + word] = scores.end[place];
            }
        }
    }
}
