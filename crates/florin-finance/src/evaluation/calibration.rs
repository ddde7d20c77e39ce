//! Whether a confidence of 0.9 is right nine times in ten, and what is gained by passing doubtful readings on.
//!
//! Expected calibration error over equal-width and over equal-count bins, the Brier score, the reliability table,
//! and the risk-coverage curve with its area (AURC). Equal-width bins are what papers quote; good models put nearly
//! every confidence into the last of them, so the equal-count figure is the one to watch.

use serde::{Deserialize, Serialize};

/// How many bins the reliability table has.
pub const BINS: usize = 15;

/// A prediction's confidence and whether the prediction was right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The stated probability of being right, 0 to 1.
    pub confidence: f64,
    /// Whether it was right.
    pub correct: bool,
}

/// One bin of a reliability table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// The bin's lower edge.
    pub low: f64,
    /// The bin's upper edge.
    pub high: f64,
    /// How many predictions fell into it.
    pub count: usize,
    /// Their mean confidence; 0 in an empty bin.
    pub confidence: f64,
    /// The share of them that is right; 0 in an empty bin.
    pub accuracy: f64,
}

/// A point of the risk-coverage curve: accept everything at or above a confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RiskPoint {
    /// The lowest confidence accepted.
    pub threshold: f64,
    /// Share of predictions accepted.
    pub coverage: f64,
    /// Share of wrong ones among those accepted.
    pub risk: f64,
}

/// Everything measured about a set of confidences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// How many predictions were judged.
    pub count: usize,
    /// Share that is right.
    pub accuracy: f64,
    /// Mean confidence.
    pub mean_confidence: f64,
    /// Expected calibration error over 15 bins of equal width.
    pub ece: f64,
    /// Expected calibration error over 15 bins of (nearly) equal count.
    pub ece_equal_mass: f64,
    /// Mean squared distance between confidence and outcome.
    pub brier: f64,
    /// Area under the risk-coverage curve: the mean risk over all coverages; smaller is better.
    pub aurc: f64,
    /// The reliability table with bins of equal width.
    pub bins: Vec<ReliabilityBin>,
    /// The reliability table with bins of equal count.
    pub mass_bins: Vec<ReliabilityBin>,
    /// The risk-coverage curve, from the surest prediction to all of them.
    pub risk_coverage: Vec<RiskPoint>,
}

impl Calibration {
    /// Measures `judged`; confidences outside 0 to 1 are pulled in, those that are no number count as 0.
    pub fn of(judged: &[Judged]) -> Self {
        let sorted = sorted_by_confidence(judged);
        let bins = equal_width_bins(&sorted);
        let mass_bins = equal_mass_bins(&sorted);
        let risk_coverage = risk_coverage(&sorted);
        Self {
            count: sorted.len(),
            accuracy: mean(&sorted, hit),
            mean_confidence: mean(&sorted, |one| one.confidence),
            ece: calibration_error(&bins),
            ece_equal_mass: calibration_error(&mass_bins),
            brier: mean(&sorted, |one| (one.confidence - hit(one)).powi(2)),
            aurc: area(&risk_coverage),
            bins,
            mass_bins,
            risk_coverage,
        }
    }

    /// The largest share of predictions that can be accepted with at most `risk` wrong ones among them.
    pub fn coverage_at_risk(&self, risk: f64) -> f64 {
        self.risk_coverage.iter().filter(|point| point.risk <= risk).map(|point| point.coverage).fold(0.0, f64::max)
    }
}

/// Surest first; the sort is stable, so equal confidences keep the order they came in.
fn sorted_by_confidence(judged: &[Judged]) -> Vec<Judged> {
    let tidy = |confidence: f64| if confidence.is_nan() { 0.0 } else { confidence.clamp(0.0, 1.0) };
    let mut sorted: Vec<Judged> =
        judged.iter().map(|one| Judged { confidence: tidy(one.confidence), correct: one.correct }).collect();
    sorted.sort_by(|one, other| other.confidence.total_cmp(&one.confidence));
    sorted
}

fn equal_width_bins(sorted: &[Judged]) -> Vec<ReliabilityBin> {
    let place = |confidence: f64| ((confidence * BINS as f64) as usize).min(BINS - 1);
    (0..BINS)
        .map(|bin| {
            let members: Vec<Judged> = sorted.iter().copied().filter(|one| place(one.confidence) == bin).collect();
            reliability(&members, bin as f64 / BINS as f64, (bin + 1) as f64 / BINS as f64)
        })
        .collect()
}

/// Consecutive runs of the sorted list whose sizes differ by at most one; fewer bins when there are few predictions.
fn equal_mass_bins(sorted: &[Judged]) -> Vec<ReliabilityBin> {
    let bins = BINS.min(sorted.len());
    let edge = |bin: usize| bin * sorted.len() / bins;
    (0..bins)
        .rev() // the list runs downwards, a table runs upwards
        .map(|bin| {
            let members = &sorted[edge(bin)..edge(bin + 1)];
            let low = members.last().map_or(0.0, |one| one.confidence);
            let high = members.first().map_or(0.0, |one| one.confidence);
            reliability(members, low, high)
        })
        .collect()
}

fn reliability(members: &[Judged], low: f64, high: f64) -> ReliabilityBin {
    ReliabilityBin {
        low,
        high,
        count: members.len(),
        confidence: mean(members, |one| one.confidence),
        accuracy: mean(members, hit),
    }
}

fn calibration_error(bins: &[ReliabilityBin]) -> f64 {
    let all: usize = bins.iter().map(|bin| bin.count).sum();
    let gap: f64 = bins.iter().map(|bin| bin.count as f64 * (bin.accuracy - bin.confidence).abs()).sum();
    if all == 0 { 0.0 } else { gap / all as f64 }
}

/// One point per distinct confidence: predictions that tie are accepted or refused together.
fn risk_coverage(sorted: &[Judged]) -> Vec<RiskPoint> {
    let mut points = Vec::new();
    let mut wrong = 0usize;
    for (place, one) in sorted.iter().enumerate() {
        wrong += usize::from(!one.correct);
        let tied = sorted.get(place + 1).is_some_and(|next| next.confidence == one.confidence);
        if !tied {
            let accepted = (place + 1) as f64;
            let coverage = accepted / sorted.len() as f64;
            points.push(RiskPoint { threshold: one.confidence, coverage, risk: wrong as f64 / accepted });
        }
    }
    points
}

/// Every accepted prediction counts once, at the risk of the step it belongs to.
fn area(points: &[RiskPoint]) -> f64 {
    let mut covered = 0.0;
    let mut area = 0.0;
    for point in points {
        area += point.risk * (point.coverage - covered);
        covered = point.coverage;
    }
    area
}

fn hit(one: &Judged) -> f64 {
    f64::from(u8::from(one.correct))
}

fn mean(judged: &[Judged], of: impl Fn(&Judged) -> f64) -> f64 {
    if judged.is_empty() { 0.0 } else { judged.iter().map(of).sum::<f64>() / judged.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pairs: &[(f64, bool)]) -> Vec<Judged> {
        pairs.iter().map(|&(confidence, correct)| Judged { confidence, correct }).collect()
    }

    #[test]
    fn figures_agree_with_a_hand_computation() {
        let calibration = Calibration::of(&judged(&[(0.9, true), (0.9, true), (0.8, false), (0.3, false)]));
        assert!((calibration.accuracy - 0.5).abs() < 1e-12);
        assert!((calibration.brier - (0.01 + 0.01 + 0.64 + 0.09) / 4.0).abs() < 1e-12);
        // Bins of width 1/15: 0.9 twice (gap 0.1), 0.8 (gap 0.8), 0.3 (gap 0.3).
        assert!((calibration.ece - (2.0 * 0.1 + 0.8 + 0.3) / 4.0).abs() < 1e-12);
        let risks: Vec<f64> = calibration.risk_coverage.iter().map(|point| point.risk).collect();
        assert_eq!(risks, [0.0, 1.0 / 3.0, 0.5]);
        assert!((calibration.aurc - (0.0 * 0.5 + 0.25 / 3.0 + 0.25 * 0.5)).abs() < 1e-12);
        assert!((calibration.coverage_at_risk(0.1) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn honest_confidences_have_a_small_error_and_boasting_ones_a_large_one() {
        let honest: Vec<Judged> = (0..1_000)
            .map(|one| Judged { confidence: 0.05 + 0.1 * (one % 10) as f64, correct: one / 10 < 5 + 10 * (one % 10) })
            .collect();
        let boasting: Vec<Judged> = honest.iter().map(|one| Judged { confidence: 0.99, ..*one }).collect();
        assert!(Calibration::of(&honest).ece < 1e-9, "{}", Calibration::of(&honest).ece);
        assert!((Calibration::of(&boasting).ece - 0.49).abs() < 1e-9);
    }

    #[test]
    fn equal_mass_bins_hold_equal_counts_and_rise() {
        let many: Vec<Judged> =
            (0..300).map(|one| Judged { confidence: f64::from(one) / 300.0, correct: one % 2 == 0 }).collect();
        let calibration = Calibration::of(&many);
        assert_eq!(calibration.mass_bins.len(), BINS);
        assert!(calibration.mass_bins.iter().all(|bin| bin.count == 20));
        assert!(calibration.mass_bins.windows(2).all(|pair| pair[0].high <= pair[1].low));
        assert_eq!(calibration.bins.iter().map(|bin| bin.count).sum::<usize>(), 300);
    }

    #[test]
    fn ties_are_accepted_together() {
        let calibration = Calibration::of(&judged(&[(1.0, true), (1.0, false), (1.0, true)]));
        assert_eq!(calibration.risk_coverage.len(), 1);
        assert!((calibration.aurc - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn odd_inputs_are_safe() {
        let nothing = Calibration::of(&[]);
        assert_eq!((nothing.count, nothing.ece, nothing.aurc), (0, 0.0, 0.0));
        let odd = Calibration::of(&judged(&[(f64::NAN, false), (7.0, true), (-1.0, false)]));
        assert_eq!((odd.ece, odd.brier), (0.0, 0.0));
    }
}
