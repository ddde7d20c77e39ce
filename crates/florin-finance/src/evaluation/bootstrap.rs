//! Percentile bootstrap intervals over documents (Efron 1979), alone and paired.
//!
//! A figure on a few hundred documents is uncertain by points, not by tenths, so every headline figure carries an
//! interval. The unit that is resampled can be a group (a company): documents of one company resemble each other,
//! and treating them as independent makes intervals too narrow.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A 95% interval around a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The figure on the documents as they are.
    pub value: f64,
    /// The 2.5th percentile of the resampled figures.
    pub low: f64,
    /// The 97.5th percentile of the resampled figures.
    pub high: f64,
}

/// Two sets of predictions compared on the same resampled documents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// First minus second, with its interval.
    pub interval: Interval,
    /// Share of resamples in which the first is strictly better.
    pub share_first_better: f64,
}

impl Difference {
    /// Whether the interval leaves zero out.
    pub fn excludes_zero(&self) -> bool {
        self.interval.low > 0.0 || self.interval.high < 0.0
    }
}

/// Which documents are drawn, how often, and from which seed.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    units: Vec<Vec<usize>>,
    resamples: usize,
    seed: u64,
}

impl Bootstrap {
    /// Resamples enough that the percentiles themselves stand still to about a thousandth.
    pub const DEFAULT_RESAMPLES: usize = 1_000;

    /// Draws single documents, 1,000 times.
    pub fn over_documents(documents: usize, seed: u64) -> Self {
        Self {
            units: (0..documents).map(|document| vec![document]).collect(),
            resamples: Self::DEFAULT_RESAMPLES,
            seed,
        }
    }

    /// Draws whole groups (say companies), 1,000 times; `groups` names each document's group.
    pub fn over_groups<G: Ord>(groups: &[G], seed: u64) -> Self {
        let mut members: BTreeMap<&G, Vec<usize>> = BTreeMap::new();
        for (document, group) in groups.iter().enumerate() {
            members.entry(group).or_default().push(document);
        }
        Self { units: members.into_values().collect(), resamples: Self::DEFAULT_RESAMPLES, seed }
    }

    /// Changes how many resamples are drawn.
    pub fn with_resamples(mut self, resamples: usize) -> Self {
        self.resamples = resamples.max(1);
        self
    }

    /// The interval of `statistic`, a function of the chosen documents (which may repeat).
    pub fn interval(&self, statistic: impl Fn(&[usize]) -> f64) -> Interval {
        let mut values = Vec::with_capacity(self.resamples);
        self.each_resample(|documents| values.push(statistic(documents)));
        percentile_interval(statistic(&self.all()), values)
    }

    /// The interval of `first - second`, both evaluated on the same resamples.
    pub fn difference(&self, first: impl Fn(&[usize]) -> f64, second: impl Fn(&[usize]) -> f64) -> Difference {
        let mut values = Vec::with_capacity(self.resamples);
        self.each_resample(|documents| values.push(first(documents) - second(documents)));
        let better = values.iter().filter(|value| **value > 0.0).count();
        let share_first_better = better as f64 / values.len().max(1) as f64;
        let all = self.all();
        Difference { interval: percentile_interval(first(&all) - second(&all), values), share_first_better }
    }

    fn each_resample(&self, mut visit: impl FnMut(&[usize])) {
        if self.units.is_empty() {
            return;
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut documents = Vec::new();
        for _ in 0..self.resamples {
            documents.clear();
            for _ in 0..self.units.len() {
                documents.extend_from_slice(&self.units[random.random_range(0..self.units.len())]);
            }
            visit(&documents);
        }
    }

    fn all(&self) -> Vec<usize> {
        let mut documents: Vec<usize> = self.units.iter().flatten().copied().collect();
        documents.sort_unstable();
        documents
    }
}

fn percentile_interval(value: f64, mut values: Vec<f64>) -> Interval {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    match (percentile(&values, 0.025), percentile(&values, 0.975)) {
        (Some(low), Some(high)) => Interval { value, low, high },
        _ => Interval { value, low: value, high: value },
    }
}

/// Linear interpolation between order statistics.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(hits: &[bool]) -> impl Fn(&[usize]) -> f64 + '_ {
        |documents| documents.iter().filter(|&&document| hits[document]).count() as f64 / documents.len() as f64
    }

    #[test]
    fn the_interval_of_a_rate_agrees_with_the_binomial() {
        let hits: Vec<bool> = (0..400).map(|document| document % 5 != 0).collect();
        let interval = Bootstrap::over_documents(400, 7).with_resamples(2_000).interval(rate(&hits));
        let half_width = 1.96 * (0.8 * 0.2 / 400.0_f64).sqrt();
        assert!((interval.value - 0.8).abs() < 1e-12);
        assert!((interval.low - (0.8 - half_width)).abs() < 0.006, "{interval:?}");
        assert!((interval.high - (0.8 + half_width)).abs() < 0.006, "{interval:?}");
    }

    #[test]
    fn intervals_cover_the_truth_about_as_often_as_they_say() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let covered = (0..200)
            .filter(|&trial| {
                let hits: Vec<bool> = (0..150).map(|_| random.random_range(0.0..1.0) < 0.7).collect();
                let interval = Bootstrap::over_documents(150, trial).with_resamples(300).interval(rate(&hits));
                (interval.low..=interval.high).contains(&0.7)
            })
            .count();
        assert!((180..=199).contains(&covered), "{covered} of 200 intervals cover the truth");
    }

    #[test]
    fn a_seed_repeats_and_another_seed_differs() {
        let hits: Vec<bool> = (0..50).map(|document| document % 3 == 0).collect();
        let interval = |seed| Bootstrap::over_documents(50, seed).interval(rate(&hits));
        assert_eq!(interval(1), interval(1));
        assert_ne!(interval(1), interval(2));
    }

    #[test]
    fn pairing_sees_a_small_difference_that_separate_intervals_do_not() {
        let first: Vec<bool> = (0..300).map(|document| document % 4 != 0).collect();
        let second: Vec<bool> = (0..300).map(|document| document % 4 != 0 && document % 29 != 1).collect();
        let bootstrap = Bootstrap::over_documents(300, 5);
        let difference = bootstrap.difference(rate(&first), rate(&second));
        assert!(difference.excludes_zero() && difference.share_first_better > 0.99, "{difference:?}");
        assert!(bootstrap.interval(rate(&first)).low < bootstrap.interval(rate(&second)).high);
    }

    #[test]
    fn identical_predictions_differ_by_exactly_nothing() {
        let hits: Vec<bool> = (0..40).map(|document| document % 2 == 0).collect();
        let difference = Bootstrap::over_documents(40, 1).difference(rate(&hits), rate(&hits));
        assert_eq!(difference.interval, Interval { value: 0.0, low: 0.0, high: 0.0 });
        assert!(!difference.excludes_zero());
    }

    #[test]
    fn drawing_companies_widens_the_interval_of_clustered_documents() {
        let groups: Vec<usize> = (0..200).map(|document| document / 20).collect();
        let hits: Vec<bool> = groups.iter().map(|group| group % 2 == 0).collect();
        let alone = Bootstrap::over_documents(200, 9).interval(rate(&hits));
        let grouped = Bootstrap::over_groups(&groups, 9).interval(rate(&hits));
        assert!(grouped.high - grouped.low > 2.0 * (alone.high - alone.low), "{grouped:?} {alone:?}");
    }

    #[test]
    fn no_documents_give_a_point_and_no_panic() {
        let interval = Bootstrap::over_documents(0, 1).interval(|_| 0.0);
        assert_eq!(interval, Interval { value: 0.0, low: 0.0, high: 0.0 });
    }
}
