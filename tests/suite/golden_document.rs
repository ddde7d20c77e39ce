//! The whole document model, from features to loss and gradients, against a reference in Python: a document of several
//! windows, one without a picture, one of a single word.

use std::sync::Arc;

use burn::prelude::*;
use florin_losses::{SpanLoss, SpanScores};
use florin_models::document::{
    DocumentBatch, DocumentConfig, DocumentFeatures, DocumentModel, DocumentOutput, PRINT_FEATURES, PictureFeatures,
    TextCache, TextContext,
};
use florin_nn::Mask;
use florin_train::Gradients;

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{LOSS, OUTPUT};
use crate::golden_weights::filled;

#[test]
fn golden_document_model_scores_loss_and_gradients() {
    compare("document");
}

#[test]
fn golden_document_model_that_reads_line_by_line() {
    compare("document_lines");
}

fn compare(case: &str) {
    let fixture = Fixture::open(case);
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    let case = DocumentCase::new(&fixture, &device);
    let output = case.model.forward(&case.batch);
    let mut comparison = Comparison::new(&fixture);
    for (name, scores) in case.visible(&output) {
        comparison.tensor(&format!("output.{name}"), scores, OUTPUT);
    }
    comparison.tensor("output.none", output.none.clone(), OUTPUT);
    comparison.tensor("output.weights", output.weights.clone().expect("attention gives weights"), OUTPUT);
    let loss = case.loss(output);
    comparison.tensor("loss", loss.clone(), LOSS);
    comparison.gradients(&case.model, &Gradients::of(&case.model, loss.backward()));
    comparison.finish();
}

/// The small model and its batch, which the training trace and the parity of devices share.
pub(crate) struct DocumentCase {
    pub(crate) config: DocumentConfig,
    pub(crate) model: DocumentModel,
    pub(crate) batch: DocumentBatch,
    gold: Tensor<4, Bool>,
    weight: Tensor<2>,
}

impl DocumentCase {
    /// From a fixture with documents.
    pub(crate) fn new(fixture: &Fixture, device: &Device) -> Self {
        let config: DocumentConfig = fixture.config("config");
        let print = config.layout.as_ref().map_or(PRINT_FEATURES, |layout| layout.print_features);
        assert_eq!(print, PRINT_FEATURES, "PRINT_FEATURES has changed: run tests/golden/generate.py again");
        config.validate().expect("the fixture's configuration is one that users may write");
        let count: usize = fixture.config("documents");
        let documents: Vec<DocumentFeatures> = (0..count).map(|index| features(fixture, index)).collect();
        let documents: Vec<&DocumentFeatures> = documents.iter().collect();
        let model = filled(config.init(device));
        let (special, mut cache) = (fixture.config("special"), TextCache::new());
        if config.text_context == TextContext::Line {
            cache.encode(&documents, &model.text, &config, special, device);
        }
        Self {
            model,
            batch: DocumentBatch::new(&documents, &config, special, &cache, device),
            gold: fixture.input_marks("gold", device),
            weight: fixture.input("weight", device),
            config,
        }
    }

    /// The loss that receipts are trained with.
    pub(crate) fn loss(&self, output: DocumentOutput) -> Tensor<1> {
        let scores = SpanScores { start: output.start, inside: output.inside, end: output.end, none: output.none };
        let loss = SpanLoss { longest: self.config.longest_span };
        loss.forward(scores, &self.batch.lengths, self.gold.clone(), self.weight.clone()).loss
    }

    /// Scores of words, those of padding set to zero: no one may read them.
    pub(crate) fn visible(&self, output: &DocumentOutput) -> [(&'static str, Tensor<3>); 3] {
        let [_, _, words] = output.start.dims();
        let mask = Mask::from_lengths(&self.batch.lengths, words, &output.start.device());
        let kept: Tensor<3> = mask.kept().unsqueeze_dim(1);
        let scores = [("start", &output.start), ("inside", &output.inside), ("end", &output.end)];
        scores.map(|(name, scores)| (name, scores.clone() * kept.clone()))
    }
}

fn features(fixture: &Fixture, index: usize) -> DocumentFeatures {
    let name = |part: &str| format!("document.{index}.{part}");
    let (_, counts) = fixture.ints(&name("piece_counts"));
    let (_, pieces) = fixture.ints(&name("pieces"));
    let pieces: Vec<u32> = pieces.into_iter().map(|id| id as u32).collect();
    let mut rest = pieces.as_slice();
    let pieces = counts.iter().map(|&count| {
        let (word, after) = rest.split_at(count as usize);
        rest = after;
        Arc::from(word)
    });
    let pieces = pieces.collect();
    let (_, print) = fixture.floats(&name("print"));
    DocumentFeatures {
        pieces,
        line_of: fixture.ints(&name("line_of")).1.into_iter().map(|line| line as usize).collect(),
        widths: fixture.floats(&name("widths")).1,
        heights: fixture.floats(&name("heights")).1,
        boxes: rows_of_ints(fixture, &name("boxes")),
        ordinals: rows_of_ints(fixture, &name("ordinals")),
        print: print.as_chunks().0.to_vec(),
        centres: fixture.floats(&name("centres")).1.as_chunks().0.to_vec(),
        picture: fixture.has(&name("ink")).then(|| picture(fixture, &name("ink"), &name("pooling"))),
    }
}

fn rows_of_ints<const N: usize>(fixture: &Fixture, name: &str) -> Vec<[u16; N]> {
    let values: Vec<u16> = fixture.ints(name).1.into_iter().map(|value| value as u16).collect();
    values.as_chunks().0.to_vec()
}

fn picture(fixture: &Fixture, ink: &str, pooling: &str) -> PictureFeatures {
    let ink = fixture.ints(ink).1.into_iter().map(|value| value as u8).collect();
    let (shape, shares) = fixture.floats(pooling);
    let of_word = |word: &[f32]| word.iter().copied().enumerate().filter(|(_, share)| *share > 0.0).collect();
    PictureFeatures { ink: Arc::new(ink), pooling: shares.chunks_exact(shape[1]).map(of_word).collect() }
}
