//! Training one model on some documents.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::prelude::*;
use florin_data::labelled::{FieldSpec, LabelledDocument};
use florin_data::sampler::{BatchSize, epoch_batches};
use florin_data::word_pieces::WordPieces;
use florin_encoders::{BertConfig, VitConfig};
use florin_losses::{SpanLoss, SpanScores};
use florin_models::document::{DocumentBatch, DocumentConfig, DocumentModel, FeatureExtractor, TextCache, TextContext};
use florin_models::names::Names;
use florin_models::{bert, checkpoint, hub};
use florin_nn::Modality;
use florin_nn::parameters::freeze;
use florin_train::{
    AdamWSettings, Batches, Evaluation, Loss, Objective, ParameterGroup, Session, StepReport, TrainConfig, TrainError,
    train,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::augment::{Donors, augment};
use super::prepare::{Canvas, Example, Gold, canvas, example};
use super::run::RunObserver;
use super::{Init, RunConfig, vocabulary};
use crate::FinanceError;

/// A model with what it needs to read a document.
pub(crate) struct Built {
    pub(crate) config: DocumentConfig,
    pub(crate) model: DocumentModel,
    /// The tokenizer as it will stand in the run folder.
    pub(crate) tokenizer: Vec<u8>,
}

/// Makes the untrained model of a run.
pub(crate) fn build(
    run: &RunConfig,
    fields: &[FieldSpec],
    documents: &[&LabelledDocument],
    device: &Device,
) -> Result<Built, FinanceError> {
    let names = fields.iter().map(|field| field.name.clone()).collect();
    florin_backend::seed(device, run.seed);
    let (mut config, tokenizer, pretrained) = match &run.init {
        Init::None => {
            let tokenizer = vocabulary::learn(documents);
            let pieces = WordPieces::from_json("the learnt vocabulary", &tokenizer, 6)?;
            (small(names, pieces.vocabulary_size()), tokenizer, None)
        }
        Init::Pretrained(name) => {
            let folder = hub::folder_of(name)?;
            let (text, encoder) = bert::open_encoder(&folder, device)?;
            let path = folder.join("tokenizer.json");
            let tokenizer = std::fs::read(&path)
                .map_err(|error| FinanceError::File { path: path.clone(), reason: error.to_string() })?;
            (DocumentConfig::new(names, text), tokenizer, Some(encoder))
        }
    };
    let layers = config.text.num_hidden_layers;
    let frozen = layers.saturating_sub(run.tuned_layers);
    if pretrained.is_some() && frozen == layers {
        config.text_context = TextContext::Line;
        // From the word itself to its meaning in the line: no one layer is best for both names and numbers.
        config.text_states = [0, layers / 3, 2 * layers / 3, layers].to_vec();
        config.text_states.dedup();
    }
    config.dropout = run.dropout;
    config.fusion_kind.clone_from(&run.fusion);
    config.layout = config.layout.filter(|_| run.streams.contains(&Modality::Layout));
    config.image = config.image.filter(|_| run.streams.contains(&Modality::Image));
    config.validate()?;
    let mut model = config.init(device);
    if let Some(encoder) = pretrained {
        model.text = encoder;
        model = freeze(model, &|name| is_frozen(name, frozen));
    }
    Ok(Built { config, model, tokenizer })
}

/// Word embeddings are eleven million of MiniLM's numbers, and a few hundred documents touch few of them: they stay.
fn is_frozen(name: &str, layers: usize) -> bool {
    let Some(text) = name.strip_prefix("text.") else { return false };
    match text.strip_prefix("layers.") {
        Some(rest) => rest.split('.').next().and_then(|n| n.parse::<usize>().ok()).is_some_and(|n| n < layers),
        None => text.starts_with("word_embeddings") || layers > 0,
    }
}

/// The model of a run without pretrained text: trained from nothing within minutes.
fn small(fields: Vec<String>, vocabulary: usize) -> DocumentConfig {
    let text = BertConfig {
        vocab_size: vocabulary,
        hidden_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 512,
        max_position_embeddings: 512,
        type_vocab_size: 1,
        layer_norm_eps: 1e-12,
        hidden_act: "gelu".to_owned(),
    };
    let mut config = DocumentConfig::new(fields, text);
    config.dim = 128;
    config.heads = 4;
    config.layout = config.layout.map(|layout| florin_encoders::LayoutConfig { dim: 128, ..layout });
    config.image = Some(VitConfig {
        height: 256,
        width: 128,
        patch: 16,
        channels: 1,
        dim: 64,
        layers: 1,
        heads: 4,
        hidden: 128,
        class_token: false,
        epsilon: 1e-6,
    });
    config
}

/// What a model is trained on, and how.
pub(crate) struct Lesson<'a> {
    pub(crate) run: &'a RunConfig,
    pub(crate) fields: &'a [FieldSpec],
    pub(crate) documents: &'a [&'a LabelledDocument],
    /// Evaluations during training.
    pub(crate) evaluations: usize,
    /// Where the training is saved and continued from.
    pub(crate) checkpoint: PathBuf,
    pub(crate) device: &'a Device,
}

/// Scores a model for the learning curve.
pub(crate) type Judge<'a> = &'a mut dyn FnMut(&DocumentModel, &DocumentConfig) -> Result<f64, FinanceError>;

/// Trains a model.
pub(crate) fn fit(
    lesson: &Lesson<'_>,
    built: Built,
    cache: &mut TextCache,
    judge: Judge<'_>,
    observer: &mut dyn RunObserver,
) -> Result<Built, FinanceError> {
    let Built { config, model, tokenizer } = built;
    let pieces = WordPieces::from_json("tokenizer.json", &tokenizer, config.pieces_per_word)?;
    let source = Source::new(lesson, &config, FeatureExtractor::new(&config, pieces), cache, &model)?;
    let settings = settings(lesson, source.steps_per_epoch);
    let mut objective = SpanObjective { config: config.clone(), fields: lesson.fields.to_vec() };
    let mut evaluate = |model: &DocumentModel, step: usize| {
        let score = judge(model, &config).map_err(|error| TrainError::Data(Box::new(error)))?;
        Ok(Evaluation { step, score, parts: vec![] })
    };
    let checkpoint = Some(lesson.checkpoint.clone());
    let session = Session { config: &settings, checkpoint, device: lesson.device };
    let trained = train(&session, &mut objective, model, &source, &mut evaluate, &mut Watching { observer })?;
    Ok(Built { config, model: trained.model, tokenizer })
}

/// Writes a trained model's weights, configuration and tokenizer.
pub(crate) fn save(built: &Built, folder: &Path) -> Result<(), FinanceError> {
    let write = |name: &str, bytes: &[u8]| {
        florin_data::files::write_atomically(folder.join(name), |writer| std::io::Write::write_all(writer, bytes))
    };
    let config = serde_json::to_vec_pretty(&built.config)
        .map_err(|error| FinanceError::File { path: folder.join("config.json"), reason: error.to_string() })?;
    checkpoint::save(&built.model, &folder.join("model.safetensors"), &Names::own())?;
    write("tokenizer.json", &built.tokenizer)?;
    write("config.json", &config)?;
    Ok(())
}

fn settings(lesson: &Lesson<'_>, steps_per_epoch: usize) -> TrainConfig {
    let run = lesson.run;
    let steps = run.epochs * steps_per_epoch;
    let group = |prefix: &str, learning_rate| ParameterGroup {
        prefix: prefix.to_owned(),
        learning_rate,
        weight_decay: run.weight_decay,
    };
    TrainConfig {
        steps,
        warmup: (run.warmup * steps as f64) as usize,
        floor: 0.02,
        clip: run.clip,
        accumulate: 1,
        average: (run.average > 0.0).then_some(run.average),
        evaluate_every: steps.checked_div(lesson.evaluations).unwrap_or(0),
        // The held-out documents only draw the curve: choosing weights by them would flatter the score.
        keep_best: false,
        patience: None,
        checkpoint_every: run.checkpoint_every,
        mixed_precision: run.mixed_precision,
        seed: run.seed,
        optimiser: AdamWSettings {
            groups: vec![group("", run.learning_rate), group("text.", run.text_learning_rate)],
            beta_1: 0.9,
            beta_2: 0.98,
            epsilon: 1e-8,
        },
    }
}

/// Passes what happens in training on to whoever watches the run.
struct Watching<'a> {
    observer: &'a mut dyn RunObserver,
}

impl florin_train::Observer for Watching<'_> {
    fn stepped(&mut self, report: &StepReport) {
        self.observer.stepped(report);
    }

    fn evaluated(&mut self, evaluation: &Evaluation) {
        self.observer.evaluated(evaluation);
    }

    fn resumed(&mut self, steps_done: usize) {
        self.observer.note(&format!("continuing after step {steps_done}"));
    }
}

/// A batch with what is right.
pub(crate) struct LabelledBatch {
    pub(crate) batch: DocumentBatch,
    pub(crate) gold: Tensor<4, Bool>,
    pub(crate) weight: Tensor<2>,
}

/// The span loss of the document model.
struct SpanObjective {
    config: DocumentConfig,
    fields: Vec<FieldSpec>,
}

impl Objective for SpanObjective {
    type Model = DocumentModel;
    type Batch = LabelledBatch;

    fn loss(&mut self, model: &DocumentModel, labelled: &LabelledBatch) -> Loss {
        let output = model.forward(&labelled.batch);
        let scores = SpanScores { start: output.start, inside: output.inside, end: output.end, none: output.none };
        let loss = SpanLoss { longest: self.config.longest_span };
        let parts = loss.forward(scores, &labelled.batch.lengths, labelled.gold.clone(), labelled.weight.clone());
        let values = parts.per_field.into_data().try_to_vec::<f32>().unwrap_or_default();
        let named = self.fields.iter().zip(values).map(|(field, value)| (field.name.clone(), f64::from(value)));
        let total = match output.cost {
            Some(cost) => parts.loss + cost,
            None => parts.loss,
        };
        Loss { total, parts: named.collect() }
    }
}

/// The training documents as batches.
struct Source<'a> {
    lesson: &'a Lesson<'a>,
    config: &'a DocumentConfig,
    canvases: Vec<Option<Canvas>>,
    plain: Vec<Arc<Example>>,
    donors: Donors,
    cache: &'a TextCache,
    lengths: Vec<usize>,
    extractor: FeatureExtractor,
    steps_per_epoch: usize,
}

impl<'a> Source<'a> {
    fn new(
        lesson: &'a Lesson<'a>,
        config: &'a DocumentConfig,
        extractor: FeatureExtractor,
        cache: &'a mut TextCache,
        model: &DocumentModel,
    ) -> Result<Self, FinanceError> {
        let Lesson { run, fields, documents, device, .. } = *lesson;
        if documents.is_empty() {
            return Err(FinanceError::Settings("there are no documents to train on".into()));
        }
        let canvases =
            documents.iter().map(|document| canvas(document, config)).collect::<Result<Vec<_>, FinanceError>>()?;
        let plain: Vec<Arc<Example>> = documents
            .iter()
            .zip(&canvases)
            .map(|(document, canvas)| {
                Arc::new(example(&document.document, &document.values, fields, canvas.as_ref(), &extractor, config))
            })
            .collect();
        if config.text_context == TextContext::Line {
            let features: Vec<_> = plain.iter().map(|example| &example.features).collect();
            let plain_device = device.clone().without_autodiff();
            cache.encode(&features, &model.text.valid(), config, special_ids(&extractor), &plain_device);
        }
        let donors = Donors::of(documents, fields);
        let lengths: Vec<usize> = plain.iter().map(|example| example.features.pieces.len()).collect();
        let steps_per_epoch = epoch_batches(&lengths, BatchSize::Documents(run.batch), run.seed, 0).len();
        Ok(Self { lesson, config, canvases, plain, donors, cache, lengths, extractor, steps_per_epoch })
    }

    fn members(&self, number: usize) -> Vec<usize> {
        let epoch = (number / self.steps_per_epoch) as u64;
        let size = BatchSize::Documents(self.lesson.run.batch);
        epoch_batches(&self.lengths, size, self.lesson.run.seed, epoch).swap_remove(number % self.steps_per_epoch)
    }

    /// A training document as this step sees it: a function of the step and the document alone.
    fn view(&self, number: usize, index: usize) -> Arc<Example> {
        let mut random = ChaCha8Rng::seed_from_u64(self.lesson.run.seed);
        random.set_stream(((number as u64) << 24) | index as u64);
        if self.lesson.run.augment == 0.0 {
            return self.plain[index].clone();
        }
        let original = self.lesson.documents[index];
        let (document, values) =
            augment(original, self.lesson.fields, &self.donors, self.lesson.run.augment, &mut random);
        let canvas = self.canvases[index].as_ref();
        Arc::new(example(&document, &values, self.lesson.fields, canvas, &self.extractor, self.config))
    }
}

impl Batches for Source<'_> {
    type Batch = LabelledBatch;

    fn batch(&self, number: usize) -> Result<LabelledBatch, TrainError> {
        let examples: Vec<Arc<Example>> =
            self.members(number).into_iter().map(|index| self.view(number, index)).collect();
        Ok(labelled(&examples, self.config, special_ids(&self.extractor), self.cache, self.lesson.device))
    }

    fn samples(&self, number: usize) -> usize {
        self.members(number).len()
    }
}

/// Ids of the tokens before and after a text, and of padding.
pub(crate) fn special_ids(extractor: &FeatureExtractor) -> [u32; 3] {
    let special = extractor.pieces().special();
    [special.cls, special.sep, special.pad]
}

fn labelled(
    examples: &[Arc<Example>],
    config: &DocumentConfig,
    special: [u32; 3],
    cache: &TextCache,
    device: &Device,
) -> LabelledBatch {
    let features: Vec<_> = examples.iter().map(|example| &example.features).collect();
    let batch = DocumentBatch::new(&features, config, special, cache, device);
    let (rows, fields, words) = (examples.len(), config.fields.len(), batch.mask.hidden().dims()[1]);
    let mut marks = vec![false; rows * fields * words * words];
    let mut weight = vec![1f32; rows * fields];
    for (row, example) in examples.iter().enumerate() {
        for (field, gold) in example.gold.iter().enumerate() {
            let place = row * fields + field;
            match gold {
                Gold::Absent => {}
                Gold::Unreadable => weight[place] = 0.0,
                Gold::Spans(spans) => {
                    for span in spans {
                        marks[(place * words + span.first) * words + span.last] = true;
                    }
                }
            }
        }
    }
    LabelledBatch {
        batch,
        gold: Tensor::from_data(TensorData::new(marks, [rows, fields, words, words]), device),
        weight: Tensor::from_data(TensorData::new(weight, [rows, fields]), device),
    }
}
