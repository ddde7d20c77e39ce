//! How good a run is: scores with intervals, beside hand-written rules, and how honest its confidences are.

use std::collections::BTreeMap;

use florin_data::labelled::{FieldSpec, LabelledDocument};
use florin_data::value::FieldKind;
use florin_nn::Modality;
use serde::{Deserialize, Serialize};

use super::{FieldPrediction, read_by_rules};
use crate::FinanceError;
use crate::evaluation::{
    Bootstrap, Calibration, Calibrator, CalibratorSettings, FieldScores, Interval, Judged, Outcome,
};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2_000;
/// Fixes the bootstrap.
const SEED: u64 = 20_240_101;

/// A document that was read, with what is right.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Judgement {
    pub(crate) id: String,
    pub(crate) gold: Vec<Option<String>>,
    pub(crate) fields: Vec<FieldPrediction>,
    pub(crate) weights: Vec<(Modality, f64)>,
}

impl Judgement {
    /// Replaces the model's probabilities by calibrated confidences.
    pub(crate) fn calibrate(&mut self, calibrator: &Calibrator) {
        for field in &mut self.fields {
            field.confidence = calibrator.calibrate(&field.field, field.confidence);
        }
    }

    /// Each field's confidence, and whether it was right: also where the model says, rightly or not, that there is none.
    pub(crate) fn judged(&self) -> impl Iterator<Item = (&str, Judged)> {
        self.fields.iter().zip(&self.gold).map(|(field, gold)| {
            let correct = Outcome::of(gold.as_deref(), field.text.as_deref()).is_right();
            (field.field.as_str(), Judged { confidence: field.confidence, correct })
        })
    }
}

/// A calibrator from documents that the model has not been trained on.
pub(crate) fn calibrator<'a>(judgements: impl IntoIterator<Item = &'a Judgement>) -> Calibrator {
    Calibrator::fit(judgements.into_iter().flat_map(Judgement::judged), CalibratorSettings::default())
}

/// One field's scores.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FieldRow {
    /// The field.
    pub name: String,
    /// What its values are.
    pub kind: FieldKind,
    /// Normalised F1 with its 95% interval.
    pub f1: Interval,
    /// Share of gold values read to the letter.
    pub exact: f64,
    /// Share of gold values read to the same date or amount.
    pub value: f64,
    /// Normalised F1 of hand-written rules on the same documents.
    pub rules_f1: f64,
    /// How many were right, wrong, missed, made up, and rightly left empty.
    pub outcomes: BTreeMap<String, usize>,
}

/// What `metrics.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metrics {
    /// Documents judged.
    pub documents: usize,
    /// Mean over fields of the normalised F1, with its 95% interval by bootstrap over documents.
    pub mean_f1: Interval,
    /// Mean share of gold values read to the letter.
    pub exact: f64,
    /// Share of documents with every field right.
    pub whole_documents: f64,
    /// The same mean F1 of hand-written rules.
    pub rules_mean_f1: f64,
    /// Mean F1 of the model less that of the rules, with its paired interval.
    pub above_rules: Interval,
    /// One row a field.
    pub fields: Vec<FieldRow>,
    /// How honest the confidences are.
    pub calibration: Calibration,
    /// How much each modality was leaned on, on average.
    pub modality_weights: Vec<(Modality, f64)>,
}

impl Metrics {
    /// Judges readings; `documents` are the ones they were read from, in the same order.
    pub(crate) fn of(
        fields: &[FieldSpec],
        judgements: &[Judgement],
        documents: &[&LabelledDocument],
    ) -> Result<Self, FinanceError> {
        let gold: Vec<_> = judgements.iter().map(|judgement| judgement.gold.clone()).collect();
        let read: Vec<Vec<Option<String>>> =
            judgements.iter().map(|j| j.fields.iter().map(|field| field.text.clone()).collect()).collect();
        let by_rules: Vec<Vec<Option<String>>> = documents
            .iter()
            .map(|d| read_by_rules(&d.document, fields).into_iter().map(|r| r.map(|r| r.text)).collect())
            .collect();
        let scores = FieldScores::of(fields, &gold, &read)?;
        let rules = FieldScores::of(fields, &gold, &by_rules)?;
        let bootstrap = Bootstrap::over_documents(judgements.len(), SEED).with_resamples(RESAMPLES);
        let rows = fields.iter().enumerate().map(|(index, field)| FieldRow {
            name: field.name.clone(),
            kind: field.kind,
            f1: bootstrap.interval(|sample| scores.field_f1_of(index, sample)),
            exact: scores.fields[index].exact_rate,
            value: scores.fields[index].value_rate,
            rules_f1: rules.fields[index].f1,
            outcomes: outcomes(&scores, index),
        });
        let all: Vec<Judged> = judgements.iter().flat_map(Judgement::judged).map(|(_, judged)| judged).collect();
        let above = bootstrap.difference(|sample| scores.mean_f1_of(sample), |sample| rules.mean_f1_of(sample));
        Ok(Self {
            documents: judgements.len(),
            mean_f1: bootstrap.interval(|sample| scores.mean_f1_of(sample)),
            exact: scores.mean_exact_rate,
            whole_documents: scores.whole_document_rate,
            rules_mean_f1: rules.mean_f1,
            above_rules: above.interval,
            fields: rows.collect(),
            calibration: Calibration::of(&all),
            modality_weights: mean_weights(judgements),
        })
    }
}

/// Mean normalised F1 of readings.
pub(crate) fn mean_f1(fields: &[FieldSpec], judgements: &[Judgement]) -> Result<f64, FinanceError> {
    let gold: Vec<_> = judgements.iter().map(|judgement| judgement.gold.clone()).collect();
    let read: Vec<Vec<Option<String>>> =
        judgements.iter().map(|j| j.fields.iter().map(|field| field.text.clone()).collect()).collect();
    Ok(FieldScores::of(fields, &gold, &read)?.mean_f1)
}

fn outcomes(scores: &FieldScores, field: usize) -> BTreeMap<String, usize> {
    let counts = scores.fields[field].counts;
    Outcome::ALL.into_iter().map(|outcome| (outcome.label().to_owned(), counts.get(outcome))).collect()
}

fn mean_weights(judgements: &[Judgement]) -> Vec<(Modality, f64)> {
    let Some(first) = judgements.first() else { return vec![] };
    let mean = |index: usize| {
        let all = judgements.iter().filter_map(|judgement| judgement.weights.get(index));
        all.map(|(_, weight)| weight).sum::<f64>() / judgements.len() as f64
    };
    first.weights.iter().enumerate().map(|(index, (modality, _))| (*modality, mean(index))).collect()
}
