//! Modality dropout: in training, rows lose modalities at random, so that a model learns to do without any of them.
//!
//! Each modality that a row has is dropped with the same probability, independently. Where all would go, the one that came
//! nearest to staying is kept, each as likely as the others; the last one that a row has is never dropped. Nothing is scaled up:
//! a fusion already knows what absent means. The draw is a pure function of the seed, the step, the row and the modalities given,
//! whatever their order, so that a continued run drops what the uninterrupted one would have dropped.
//!
//! Paper: Neverova et al. 2016 (ModDrop), <https://arxiv.org/abs/1501.00102>
//! Difference: a dropped modality is marked absent rather than filled with zeros, and the last one is kept.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{ConfigError, Stream};

/// Drops modalities in training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModalityDropout {
    /// How likely a row is to lose a modality: from 0, never, up to but without 1.
    pub rate: f64,
    /// Of all draws.
    pub seed: u64,
}

impl ModalityDropout {
    /// Refuses a rate that is no probability.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if (0.0..1.0).contains(&self.rate) {
            return Ok(());
        }
        Err(ConfigError::Range {
            name: "rate of modality dropout",
            range: "from 0 up to but without 1",
            found: self.rate,
        })
    }

    /// The same streams with fewer rows present.
    pub fn apply(&self, mut streams: Vec<Stream>, step: u64) -> Vec<Stream> {
        let mut order: Vec<usize> = (0..streams.len()).collect();
        order.sort_by_key(|&index| streams[index].modality.name());
        let mut random = self.generator(step);
        let rows = streams.first().map_or(0, |stream| stream.present.len());
        for row in 0..rows {
            // All are drawn, present or not, so that what one row lacks does not change what the next one loses.
            let draws: Vec<(usize, f64)> = order.iter().map(|&index| (index, random.random::<f64>())).collect();
            let there = draws.iter().filter(|(index, _)| streams[*index].present[row]);
            let last = there.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| *index);
            for (index, draw) in draws {
                streams[index].present[row] &= draw >= self.rate || Some(index) == last;
            }
        }
        streams
    }

    fn generator(&self, step: u64) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&step.to_le_bytes());
        ChaCha8Rng::from_seed(key)
    }
}

#[cfg(test)]
mod tests {
    use florin_nn::Modality;

    use super::*;
    use crate::properties::pooled;

    const MODALITIES: [Modality; 3] = [Modality::Text, Modality::Image, Modality::Audio];

    fn streams(rows: usize) -> Vec<Stream> {
        pooled(&MODALITIES, &[2, 2, 2], rows, 1)
    }

    fn present(streams: &[Stream]) -> Vec<Vec<bool>> {
        streams.iter().map(|stream| stream.present.clone()).collect()
    }

    #[test]
    fn a_row_never_loses_its_last_modality() {
        let mut given = streams(500);
        (0..500).for_each(|row| given[row % 3].present[row] = false);
        (0..100).for_each(|row| given[1].present[row] = row % 2 == 0);
        given.iter_mut().for_each(|stream| stream.present[7] = false);
        let before = present(&given);
        let after = present(&ModalityDropout { rate: 0.95, seed: 1 }.apply(given, 4));
        for row in 0..500 {
            let count = |present: &[Vec<bool>]| present.iter().filter(|marks| marks[row]).count();
            assert!(count(&after) >= count(&before).min(1), "row {row} lost everything");
            assert!((0..3).all(|m| before[m][row] || !after[m][row]), "row {row} gained a modality");
        }
        assert!((0..3).all(|m| !after[m][7]), "a row that has nothing still has nothing");
    }

    #[test]
    fn each_modality_goes_as_often_as_the_rate_says() {
        let after = present(&ModalityDropout { rate: 0.3, seed: 2 }.apply(streams(4000), 0));
        for marks in &after {
            let lost = marks.iter().filter(|&&present| !present).count() as f64 / 4000.0;
            // Of the 0.3, the third part of 0.3³ is spared; three deviations of 4,000 draws are 0.022.
            assert!((lost - (0.3 - 0.009)).abs() < 0.022, "{lost}");
        }
        assert_eq!(present(&ModalityDropout { rate: 0.0, seed: 2 }.apply(streams(50), 0)), vec![vec![true; 50]; 3]);
    }

    #[test]
    fn draws_depend_on_seed_and_step_and_not_on_the_order() {
        let draw = |seed, step, streams| present(&ModalityDropout { rate: 0.5, seed }.apply(streams, step));
        let first = draw(1, 1, streams(50));
        assert_eq!(first, draw(1, 1, streams(50)));
        assert_ne!(first, draw(1, 2, streams(50)));
        assert_ne!(first, draw(2, 1, streams(50)));
        let mut turned = streams(50);
        turned.reverse();
        let mut turned = draw(1, 1, turned);
        turned.reverse();
        assert_eq!(first, turned);
    }

    #[test]
    fn a_rate_that_drops_everything_is_refused() {
        for rate in [-0.1, 1.0, f64::NAN] {
            assert!(ModalityDropout { rate, seed: 0 }.validate().is_err(), "{rate}");
        }
        assert!(ModalityDropout { rate: 0.0, seed: 0 }.validate().is_ok());
    }
}
