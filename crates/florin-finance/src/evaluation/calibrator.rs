//! Makes confidences mean what they say: a logistic map per field, fitted on held-out predictions.
//!
//! Paper: Platt 1999, "Probabilistic outputs for support vector machines"
//! Difference: the input is the logit of a probability, so (slope 1, shift 0) leaves it alone; each field's map is
//! shrunk towards the map of all fields together, and that one towards leaving things alone. A few hundred
//! documents with a handful of errors cannot support more, and isotonic regression would return 0 and 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::calibration::Judged;

/// Confidences are read as lying at least this far from 0 and 1: beyond it they are rounding, not knowledge.
const EDGE: f64 = 1e-4;

/// A slope at or below zero would turn the order of confidences around on the strength of a few cases.
const SMALLEST_SLOPE: f64 = 0.05;

/// Logits of usual confidences are about twice as large as the constant 1 that goes with the shift: without a four
/// times stronger pull on the slope, one case could move the map further through the slope than through the shift.
const SLOPE_PULL: f64 = 4.0;

/// How strongly the maps are held back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibratorSettings {
    /// Pull of the map of all fields towards leaving confidences alone.
    pub pooled_shrinkage: f64,
    /// Pull of a field's map towards the map of all fields: 4 weighs as much as 16 cases of probability one half.
    pub field_shrinkage: f64,
}

impl Default for CalibratorSettings {
    fn default() -> Self {
        Self { pooled_shrinkage: 1.0, field_shrinkage: 4.0 }
    }
}

/// A fitted set of maps; the default one changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibrator {
    pooled: LogitMap,
    fields: BTreeMap<String, LogitMap>,
}

impl Calibrator {
    /// Fits one map per field on predictions of documents the model was not trained on.
    pub fn fit<'a>(judged: impl IntoIterator<Item = (&'a str, Judged)>, settings: CalibratorSettings) -> Self {
        let mut by_field: BTreeMap<&str, Vec<Judged>> = BTreeMap::new();
        for (field, one) in judged {
            by_field.entry(field).or_default().push(one);
        }
        let all: Vec<Judged> = by_field.values().flatten().copied().collect();
        let pooled = LogitMap::fit(&all, LogitMap::default(), settings.pooled_shrinkage);
        let fit = |cases: &[Judged]| LogitMap::fit(cases, pooled, settings.field_shrinkage);
        let fields = by_field.iter().map(|(field, cases)| ((*field).to_owned(), fit(cases))).collect();
        Self { pooled, fields }
    }

    /// The probability that a reading of `field` with this confidence is right; unknown fields use the common map.
    pub fn calibrate(&self, field: &str, confidence: f64) -> f64 {
        self.fields.get(field).unwrap_or(&self.pooled).apply(confidence)
    }
}

/// `sigmoid(slope * logit(p) + shift)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct LogitMap {
    slope: f64,
    shift: f64,
}

impl Default for LogitMap {
    fn default() -> Self {
        Self { slope: 1.0, shift: 0.0 }
    }
}

impl LogitMap {
    fn apply(self, confidence: f64) -> f64 {
        sigmoid(self.slope * logit(confidence) + self.shift)
    }

    /// Logistic regression by Newton's method with an L2 pull towards `prior`. The pull makes the loss strictly
    /// convex, so that a set without a single error (or without cases) still has one finite answer.
    fn fit(cases: &[Judged], prior: Self, shrinkage: f64) -> Self {
        let points: Vec<(f64, f64)> =
            cases.iter().map(|one| (logit(one.confidence), f64::from(u8::from(one.correct)))).collect();
        let problem = Problem { points, prior, shrinkage: shrinkage.max(1e-3) };
        let free = problem.solve(prior, true);
        if free.slope >= SMALLEST_SLOPE {
            free
        } else {
            problem.solve(Self { slope: SMALLEST_SLOPE, shift: prior.shift }, false)
        }
    }
}

struct Problem {
    points: Vec<(f64, f64)>,
    prior: LogitMap,
    shrinkage: f64,
}

impl Problem {
    fn solve(&self, start: LogitMap, free_slope: bool) -> LogitMap {
        let mut map = start;
        for _ in 0..100 {
            let [slope, shift] = self.newton_step(map, free_slope);
            let moved = self.longest_improving_step(map, slope, shift);
            let distance = (moved.slope - map.slope).abs() + (moved.shift - map.shift).abs();
            map = moved;
            if distance < 1e-10 {
                break;
            }
        }
        map
    }

    /// Halves the step until the loss falls: plain Newton can overshoot far from the answer.
    fn longest_improving_step(&self, map: LogitMap, slope: f64, shift: f64) -> LogitMap {
        let before = self.loss(map);
        (0..40)
            .map(|halvings| 0.5_f64.powi(halvings))
            .map(|scale| LogitMap { slope: map.slope + scale * slope, shift: map.shift + scale * shift })
            .find(|candidate| self.loss(*candidate) < before)
            .unwrap_or(map)
    }

    fn loss(&self, map: LogitMap) -> f64 {
        let pull = SLOPE_PULL * (map.slope - self.prior.slope).powi(2) + (map.shift - self.prior.shift).powi(2);
        let misfit: f64 = self
            .points
            .iter()
            .map(|&(x, target)| {
                let z = map.slope * x + map.shift;
                z.max(0.0) + (-z.abs()).exp().ln_1p() - target * z // cross-entropy without overflow
            })
            .sum();
        misfit + 0.5 * self.shrinkage * pull
    }

    fn newton_step(&self, map: LogitMap, free_slope: bool) -> [f64; 2] {
        let mut gradient = [
            SLOPE_PULL * self.shrinkage * (map.slope - self.prior.slope),
            self.shrinkage * (map.shift - self.prior.shift),
        ];
        let [mut slope_slope, mut slope_shift, mut shift_shift] = [SLOPE_PULL * self.shrinkage, 0.0, self.shrinkage];
        for &(x, target) in &self.points {
            let p = sigmoid(map.slope * x + map.shift);
            let weight = p * (1.0 - p);
            gradient[0] += (p - target) * x;
            gradient[1] += p - target;
            slope_slope += weight * x * x;
            slope_shift += weight * x;
            shift_shift += weight;
        }
        if !free_slope {
            return [0.0, -gradient[1] / shift_shift];
        }
        let determinant = slope_slope * shift_shift - slope_shift * slope_shift;
        [
            -(shift_shift * gradient[0] - slope_shift * gradient[1]) / determinant,
            -(slope_slope * gradient[1] - slope_shift * gradient[0]) / determinant,
        ]
    }
}

fn logit(p: f64) -> f64 {
    let p = if p.is_nan() { EDGE } else { p.clamp(EDGE, 1.0 - EDGE) };
    (p / (1.0 - p)).ln()
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::evaluation::Calibration;

    /// Cases whose true probability is `sigmoid(slope * logit(stated) + shift)`.
    fn planted(count: usize, slope: f64, shift: f64, seed: u64) -> Vec<Judged> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..count)
            .map(|_| {
                let confidence: f64 = random.random_range(0.02..0.999);
                let truth = LogitMap { slope, shift }.apply(confidence);
                Judged { confidence, correct: random.random_range(0.0..1.0) < truth }
            })
            .collect()
    }

    fn fitted(cases: &[Judged]) -> Calibrator {
        Calibrator::fit(cases.iter().map(|one| ("total", *one)), CalibratorSettings::default())
    }

    #[test]
    fn a_planted_miscalibration_is_recovered() {
        let map = LogitMap::fit(&planted(4_000, 0.5, -0.7, 1), LogitMap::default(), 1.0);
        assert!((map.slope - 0.5).abs() < 0.06 && (map.shift + 0.7).abs() < 0.1, "{map:?}");
    }

    #[test]
    fn calibrating_lowers_the_error_on_fresh_cases() {
        let calibrator = fitted(&planted(400, 0.4, -0.5, 2));
        let fresh = planted(4_000, 0.4, -0.5, 3);
        let repaired: Vec<Judged> = fresh
            .iter()
            .map(|one| Judged { confidence: calibrator.calibrate("total", one.confidence), ..*one })
            .collect();
        let (before, after) = (Calibration::of(&fresh), Calibration::of(&repaired));
        assert!(before.ece > 0.15 && after.ece < 0.05, "{} {}", before.ece, after.ece);
        assert!(after.brier < before.brier);
    }

    #[test]
    fn a_field_with_few_cases_leans_on_the_others() {
        let mut cases: Vec<(&str, Judged)> =
            planted(1_000, 0.5, -1.0, 4).into_iter().map(|one| ("date", one)).collect();
        cases.push(("total", Judged { confidence: 0.9, correct: true }));
        let calibrator = Calibrator::fit(cases, CalibratorSettings::default());
        let gap = calibrator.calibrate("total", 0.9) - calibrator.calibrate("date", 0.9);
        assert!(gap > 0.0 && gap < 0.1, "{gap}");
        assert!((calibrator.calibrate("never seen", 0.9) - calibrator.calibrate("date", 0.9)).abs() < 0.02);
    }

    #[test]
    fn two_fields_with_opposite_faults_get_their_own_maps() {
        let shy = planted(800, 1.0, 1.0, 5).into_iter().map(|one| ("date", one));
        let bold = planted(800, 1.0, -1.0, 6).into_iter().map(|one| ("total", one));
        let calibrator = Calibrator::fit(shy.chain(bold), CalibratorSettings::default());
        assert!(calibrator.calibrate("date", 0.5) > 0.66 && calibrator.calibrate("total", 0.5) < 0.34);
    }

    #[test]
    fn the_map_is_smooth_and_never_reverses_an_order() {
        let mut cases = planted(300, 1.0, 0.0, 7);
        cases.iter_mut().for_each(|one| one.correct = !one.correct); // the sure ones are wrong
        let calibrator = fitted(&cases);
        let steps: Vec<f64> = (0..=100).map(|step| calibrator.calibrate("total", f64::from(step) / 100.0)).collect();
        assert!(steps.windows(2).all(|pair| pair[0] <= pair[1]), "{steps:?}");
    }

    #[test]
    fn a_set_without_errors_and_confidences_of_0_and_1_give_probabilities_short_of_certainty() {
        for confidence in [0.0, 0.5, 1.0] {
            for correct in [true, false] {
                for count in [1, 3, 500] {
                    let calibrator = fitted(&vec![Judged { confidence, correct }; count]);
                    for asked in [0.0, 0.3, 1.0, f64::NAN] {
                        let answer = calibrator.calibrate("total", asked);
                        assert!(answer > 0.0 && answer < 1.0, "{confidence} {correct} {count} {asked}: {answer}");
                    }
                }
            }
        }
    }

    #[test]
    fn without_cases_confidences_stay_as_they_are() {
        let calibrator = Calibrator::fit([], CalibratorSettings::default());
        assert!((calibrator.calibrate("total", 0.83) - 0.83).abs() < 1e-9);
        assert_eq!(calibrator, Calibrator::default());
    }

    #[test]
    fn a_calibrator_survives_json() {
        let calibrator = fitted(&planted(100, 0.5, 0.2, 8));
        let text = serde_json::to_string(&calibrator).expect("a calibrator serialises");
        let back: Calibrator = serde_json::from_str(&text).expect("a calibrator parses");
        assert!((back.calibrate("total", 0.7) - calibrator.calibrate("total", 0.7)).abs() < 1e-12);
    }
}
