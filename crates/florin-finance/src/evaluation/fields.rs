//! Scores of field readings: the normalised F1 of the receipts pack and the outcomes behind it.
//!
//! Two values are equal when their comparison keys are (upper case, only A-Z and 0-9). Per field,
//! `F1 = 2 * correct / (gold + predicted)`; the headline figure is the mean over fields. Every (document, field)
//! outcome is kept, because a mean cannot be debugged and a table of outcomes can.

use florin_data::labelled::FieldSpec;
use florin_data::value::{FieldKind, comparison_key, normalise};
use serde::{Deserialize, Serialize};

use super::EvaluationError;

/// What became of one field of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// There is a value and the prediction equals it.
    Correct,
    /// There is a value and the prediction is another one.
    Wrong,
    /// There is a value and nothing was predicted.
    Missed,
    /// There is no value and something was predicted.
    Spurious,
    /// There is no value and nothing was predicted.
    CorrectlyAbsent,
}

impl Outcome {
    /// Every outcome, in the order tables show them.
    pub const ALL: [Outcome; 5] =
        [Outcome::Correct, Outcome::Wrong, Outcome::Missed, Outcome::Spurious, Outcome::CorrectlyAbsent];

    /// Compares a prediction with the gold value; a text without any letter or digit counts as no value.
    pub fn of(gold: Option<&str>, predicted: Option<&str>) -> Self {
        match (key(gold), key(predicted)) {
            (Some(gold), Some(predicted)) if gold == predicted => Outcome::Correct,
            (Some(_), Some(_)) => Outcome::Wrong,
            (Some(_), None) => Outcome::Missed,
            (None, Some(_)) => Outcome::Spurious,
            (None, None) => Outcome::CorrectlyAbsent,
        }
    }

    /// The words a table shows.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Correct => "correct",
            Outcome::Wrong => "wrong",
            Outcome::Missed => "missed",
            Outcome::Spurious => "spurious",
            Outcome::CorrectlyAbsent => "correctly absent",
        }
    }

    /// Whether nobody needs to repair this reading.
    pub fn is_right(self) -> bool {
        matches!(self, Outcome::Correct | Outcome::CorrectlyAbsent)
    }
}

/// How often each outcome occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeCounts {
    /// Readings equal to the gold value.
    pub correct: usize,
    /// Readings of another value.
    pub wrong: usize,
    /// Values not read.
    pub missed: usize,
    /// Readings where there is no value.
    pub spurious: usize,
    /// Fields rightly left empty.
    pub correctly_absent: usize,
}

impl OutcomeCounts {
    /// Counts outcomes.
    pub fn of(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            *counts.slot(outcome) += 1;
        }
        counts
    }

    /// How often `outcome` occurred.
    pub fn get(mut self, outcome: Outcome) -> usize {
        *self.slot(outcome)
    }

    /// How many gold values there are.
    pub fn gold(&self) -> usize {
        self.correct + self.wrong + self.missed
    }

    /// How many values were predicted.
    pub fn predicted(&self) -> usize {
        self.correct + self.wrong + self.spurious
    }

    /// How many (document, field) pairs were counted.
    pub fn all(&self) -> usize {
        self.gold() + self.spurious + self.correctly_absent
    }

    /// Correct predictions among predictions; 0 when there are none.
    pub fn precision(&self) -> f64 {
        ratio(self.correct, self.predicted())
    }

    /// Correct predictions among gold values; 0 when there are none.
    pub fn recall(&self) -> f64 {
        ratio(self.correct, self.gold())
    }

    /// `2 * correct / (gold + predicted)`, or `None` where there is neither gold nor prediction to score.
    pub fn f1(&self) -> Option<f64> {
        let all = self.gold() + self.predicted();
        (all > 0).then(|| ratio(2 * self.correct, all))
    }

    fn slot(&mut self, outcome: Outcome) -> &mut usize {
        match outcome {
            Outcome::Correct => &mut self.correct,
            Outcome::Wrong => &mut self.wrong,
            Outcome::Missed => &mut self.missed,
            Outcome::Spurious => &mut self.spurious,
            Outcome::CorrectlyAbsent => &mut self.correctly_absent,
        }
    }
}

/// The scores of one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldScore {
    /// The field's name.
    pub field: String,
    /// What its values are.
    pub kind: FieldKind,
    /// Normalised F1; 0 where there was nothing to score (see `counts`).
    pub f1: f64,
    /// Correct among predicted.
    pub precision: f64,
    /// Correct among gold.
    pub recall: f64,
    /// Share of gold values predicted character for character.
    pub exact_rate: f64,
    /// Share of gold values predicted with the same meaning: `RM 9.00` is `9.0`, `25/12/2018` is `25 DEC 18`.
    pub value_rate: f64,
    /// Outcomes by kind.
    pub counts: OutcomeCounts,
}

/// The scores of a set of predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldScores {
    /// How many documents were scored.
    pub documents: usize,
    /// Mean of the fields' normalised F1: the headline figure.
    pub mean_f1: f64,
    /// Mean of the fields' exact-string rates.
    pub mean_exact_rate: f64,
    /// Mean of the fields' rates of equal meaning.
    pub mean_value_rate: f64,
    /// Share of documents in which every field is right.
    pub whole_document_rate: f64,
    /// One score per field, in the task's order.
    pub fields: Vec<FieldScore>,
    /// What became of every field (inner) of every document (outer).
    pub outcomes: Vec<Vec<Outcome>>,
}

impl FieldScores {
    /// Scores `predicted` against `gold`; both hold one row per document and one value per field.
    ///
    /// # Errors
    ///
    /// Fails when the two sides do not have the same shape.
    pub fn of(
        fields: &[FieldSpec],
        gold: &[Vec<Option<String>>],
        predicted: &[Vec<Option<String>>],
    ) -> Result<Self, EvaluationError> {
        check_shapes(fields.len(), gold, predicted)?;
        let outcomes: Vec<Vec<Outcome>> = gold
            .iter()
            .zip(predicted)
            .map(|(gold, predicted)| {
                gold.iter().zip(predicted).map(|(gold, read)| Outcome::of(gold.as_deref(), read.as_deref())).collect()
            })
            .collect();
        let scores: Vec<FieldScore> = fields
            .iter()
            .enumerate()
            .map(|(field, spec)| {
                let pairs: Vec<_> =
                    gold.iter().zip(predicted).map(|(gold, read)| (&gold[field], &read[field])).collect();
                score_field(spec, &pairs, OutcomeCounts::of(outcomes.iter().map(|row| row[field])))
            })
            .collect();
        let whole = outcomes.iter().filter(|row| row.iter().all(|outcome| outcome.is_right())).count();
        Ok(Self {
            documents: gold.len(),
            mean_f1: mean(scores.iter().filter_map(|score| score.counts.f1())),
            mean_exact_rate: mean(with_gold(&scores).map(|score| score.exact_rate)),
            mean_value_rate: mean(with_gold(&scores).map(|score| score.value_rate)),
            whole_document_rate: ratio(whole, gold.len()),
            fields: scores,
            outcomes,
        })
    }

    /// The mean F1 over a choice of documents, which may repeat: what the bootstrap resamples.
    pub fn mean_f1_of(&self, documents: &[usize]) -> f64 {
        mean((0..self.fields.len()).filter_map(|field| self.counts_of(field, documents).f1()))
    }

    /// One field's F1 over a choice of documents; 0 where there is nothing to score.
    pub fn field_f1_of(&self, field: usize, documents: &[usize]) -> f64 {
        self.counts_of(field, documents).f1().unwrap_or(0.0)
    }

    /// One field's outcomes over a choice of documents; unknown documents and fields are passed over.
    pub fn counts_of(&self, field: usize, documents: &[usize]) -> OutcomeCounts {
        OutcomeCounts::of(documents.iter().filter_map(|&document| self.outcomes.get(document)?.get(field).copied()))
    }
}

fn score_field(spec: &FieldSpec, pairs: &[(&Option<String>, &Option<String>)], counts: OutcomeCounts) -> FieldScore {
    let equal = |same: &dyn Fn(&str, &str) -> bool| {
        let both = pairs.iter().filter_map(|(gold, read)| Some((gold.as_deref()?, read.as_deref()?)));
        let hits = both.filter(|(gold, read)| key(Some(gold)).is_some() && same(gold, read)).count();
        ratio(hits, counts.gold())
    };
    FieldScore {
        field: spec.name.clone(),
        kind: spec.kind,
        f1: counts.f1().unwrap_or(0.0),
        precision: counts.precision(),
        recall: counts.recall(),
        exact_rate: equal(&|gold, read| gold == read),
        value_rate: equal(&|gold, read| same_meaning(spec.kind, gold, read)),
        counts,
    }
}

/// Texts have no meaning beyond their key; a date or an amount that cannot be parsed falls back to its key too.
fn same_meaning(kind: FieldKind, gold: &str, read: &str) -> bool {
    if comparison_key(gold) == comparison_key(read) {
        return true;
    }
    match kind {
        FieldKind::Text => false,
        FieldKind::Date | FieldKind::Amount => {
            matches!((normalise(kind, gold), normalise(kind, read)), (Some(gold), Some(read)) if gold == read)
        }
    }
}

fn check_shapes(
    fields: usize,
    gold: &[Vec<Option<String>>],
    predicted: &[Vec<Option<String>>],
) -> Result<(), EvaluationError> {
    if gold.len() != predicted.len() {
        return Err(EvaluationError::DocumentCount { expected: gold.len(), found: predicted.len() });
    }
    for (what, rows) in [("gold", gold), ("predicted", predicted)] {
        if let Some((document, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != fields) {
            return Err(EvaluationError::FieldCount { what, document, expected: fields, found: row.len() });
        }
    }
    Ok(())
}

fn with_gold(scores: &[FieldScore]) -> impl Iterator<Item = &FieldScore> {
    scores.iter().filter(|score| score.counts.gold() > 0)
}

fn key(value: Option<&str>) -> Option<String> {
    value.map(comparison_key).filter(|key| !key.is_empty())
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> Vec<FieldSpec> {
        vec![
            FieldSpec { name: "company".into(), kind: FieldKind::Text },
            FieldSpec { name: "total".into(), kind: FieldKind::Amount },
        ]
    }

    fn row(company: Option<&str>, total: Option<&str>) -> Vec<Option<String>> {
        vec![company.map(str::to_owned), total.map(str::to_owned)]
    }

    /// Four documents whose scores are worked out by hand in the tests.
    fn scores() -> FieldScores {
        let gold = [
            row(Some("ABC HO TRADING"), Some("31.00")),
            row(Some("Sam-Sam"), Some("RM 9.00")),
            row(Some("Leong"), None),
            row(None, Some("5.00")),
        ];
        let predicted = [
            row(Some("ABC HO TRADING"), Some("31.00")),
            row(Some("SAM SAM"), Some("9.00")),
            row(None, Some("1.00")),
            row(None, Some("6.00")),
        ];
        FieldScores::of(&specs(), &gold, &predicted).expect("the shapes agree")
    }

    #[test]
    fn f1_is_twice_correct_over_gold_plus_predicted() {
        let scores = scores();
        // company: 2 correct, 3 gold, 2 predicted; total: 1 correct, 3 gold, 4 predicted.
        assert!((scores.fields[0].f1 - 4.0 / 5.0).abs() < 1e-12);
        assert!((scores.fields[1].f1 - 2.0 / 7.0).abs() < 1e-12);
        assert!((scores.mean_f1 - (4.0 / 5.0 + 2.0 / 7.0) / 2.0).abs() < 1e-12);
        assert!((scores.fields[0].precision - 1.0).abs() < 1e-12);
        assert!((scores.fields[0].recall - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn exact_and_value_rates_bracket_the_normalised_match() {
        let scores = scores();
        assert!((scores.fields[0].exact_rate - 1.0 / 3.0).abs() < 1e-12, "Sam-Sam is not SAM SAM to the letter");
        assert!((scores.fields[1].value_rate - 2.0 / 3.0).abs() < 1e-12, "RM 9.00 means 9.00");
    }

    #[test]
    fn every_outcome_is_told_apart() {
        let scores = scores();
        let total: Vec<Outcome> = scores.outcomes.iter().map(|row| row[1]).collect();
        assert_eq!(total, [Outcome::Correct, Outcome::Wrong, Outcome::Spurious, Outcome::Wrong]);
        assert_eq!(scores.outcomes[2][0], Outcome::Missed);
        assert_eq!(scores.outcomes[3][0], Outcome::CorrectlyAbsent);
        assert_eq!(scores.fields[1].counts.all(), 4);
        assert!((scores.whole_document_rate - 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_field_nobody_has_does_not_move_the_mean() {
        let gold = [row(Some("A"), None)];
        let scores = FieldScores::of(&specs(), &gold, &gold).expect("the shapes agree");
        assert!((scores.mean_f1 - 1.0).abs() < 1e-12);
        assert_eq!(scores.fields[1].counts.f1(), None);
    }

    #[test]
    fn punctuation_alone_is_no_value() {
        assert_eq!(Outcome::of(Some("--"), Some("*")), Outcome::CorrectlyAbsent);
        assert_eq!(Outcome::of(None, Some("a")), Outcome::Spurious);
    }

    #[test]
    fn resampling_every_document_once_gives_the_headline_figures() {
        let scores = scores();
        assert!((scores.mean_f1_of(&[0, 1, 2, 3]) - scores.mean_f1).abs() < 1e-12);
        assert!((scores.field_f1_of(1, &[3, 2, 1, 0]) - scores.fields[1].f1).abs() < 1e-12);
    }

    #[test]
    fn uneven_inputs_are_refused_with_both_counts() {
        let gold = [row(None, None)];
        let error = FieldScores::of(&specs(), &gold, &[]).expect_err("one document has no prediction");
        assert_eq!(error, EvaluationError::DocumentCount { expected: 1, found: 0 });
        let error = FieldScores::of(&specs(), &gold, &[vec![None]]).expect_err("one field is absent");
        assert!(error.to_string().contains("expected 2 predicted values"), "{error}");
    }

    #[test]
    fn scores_survive_json() {
        let scores = scores();
        let text = serde_json::to_string(&scores).expect("scores serialise");
        assert_eq!(serde_json::from_str::<FieldScores>(&text).expect("scores parse"), scores);
    }
}
