//! The order in which a training run sees its documents.
//!
//! Batches of similar length waste little padding, shuffled batches train well, and a run that was stopped must see
//! the same batches when it goes on. All three at once: the batches of an epoch are a pure function of the arguments,
//! so a checkpoint keeps only the epoch and the number of batches done.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// How large a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// At most this many documents.
    Documents(usize),
    /// At most this many tokens once every document is padded to the longest; a longer document goes alone.
    PaddedTokens(usize),
}

/// Batches whose documents are shuffled together before they are sorted by length.
const BATCHES_PER_POOL: usize = 16;

/// The batches of one epoch: indices into `lengths`, each exactly once.
///
/// Resuming is skipping: call it again with the same arguments and skip the batches already done.
pub fn epoch_batches(lengths: &[usize], size: BatchSize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let mut random = generator(seed, epoch);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.shuffle(&mut random);
    let length = |index: usize| lengths.get(index).copied().unwrap_or(0).max(1);
    let mut batches = Vec::new();
    for pool in order.chunks_mut(pool_size(lengths, size)) {
        pool.sort_by_key(|&index| length(index));
        let mut batch: Vec<usize> = Vec::new();
        for &index in pool.iter() {
            if !batch.is_empty() && size.is_full(batch.len(), length(index)) {
                batches.push(std::mem::take(&mut batch));
            }
            batch.push(index);
        }
        batches.push(batch);
    }
    batches.retain(|batch| !batch.is_empty());
    batches.shuffle(&mut random);
    batches
}

impl BatchSize {
    /// Whether a batch of `documents` is full before another one, the longest so far, of `length` tokens.
    fn is_full(self, documents: usize, length: usize) -> bool {
        match self {
            Self::Documents(most) => documents >= most.max(1),
            Self::PaddedTokens(budget) => (documents + 1).saturating_mul(length) > budget,
        }
    }
}

fn pool_size(lengths: &[usize], size: BatchSize) -> usize {
    let documents = match size {
        BatchSize::Documents(most) => most.max(1),
        BatchSize::PaddedTokens(budget) => {
            let mean = lengths.iter().sum::<usize>() / lengths.len().max(1);
            (budget / mean.max(1)).max(1)
        }
    };
    documents.saturating_mul(BATCHES_PER_POOL)
}

fn generator(seed: u64, epoch: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> Vec<usize> {
        (0..500).map(|index| 20 + (index * 7919) % 400).collect()
    }

    #[test]
    fn every_document_comes_exactly_once_an_epoch() {
        for size in [
            BatchSize::Documents(8),
            BatchSize::PaddedTokens(2000),
            BatchSize::Documents(0),
            BatchSize::PaddedTokens(1),
        ] {
            for count in [0, 1, 7, 500] {
                let lengths = &lengths()[..count];
                let mut seen: Vec<usize> = epoch_batches(lengths, size, 1, 2).concat();
                seen.sort_unstable();
                assert_eq!(seen, (0..count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn batches_keep_to_their_size_and_waste_little_padding() {
        let lengths = lengths();
        let padded = |batch: &Vec<usize>| batch.len() * batch.iter().map(|&index| lengths[index]).max().unwrap();
        let batches = epoch_batches(&lengths, BatchSize::PaddedTokens(2000), 1, 0);
        assert!(batches.iter().all(|batch| padded(batch) <= 2000));
        let waste = batches.iter().map(padded).sum::<usize>() as f64 / lengths.iter().sum::<usize>() as f64;
        assert!(waste < 1.15, "{waste}");
        assert!(epoch_batches(&lengths, BatchSize::Documents(8), 1, 0).iter().all(|batch| batch.len() <= 8));
    }

    #[test]
    fn the_same_arguments_give_the_same_batches_and_others_give_others() {
        let lengths = lengths();
        let batches = |seed, epoch| epoch_batches(&lengths, BatchSize::Documents(8), seed, epoch);
        assert_eq!(batches(1, 3), batches(1, 3));
        assert_ne!(batches(1, 3), batches(1, 4));
        assert_ne!(batches(1, 3), batches(2, 3));
    }

    #[test]
    fn short_batches_do_not_come_first() {
        let lengths = lengths();
        let longest = |batch: &Vec<usize>| batch.iter().map(|&index| lengths[index]).max().unwrap();
        for epoch in 0..5 {
            let batches = epoch_batches(&lengths, BatchSize::Documents(8), 1, epoch);
            let falls = batches.windows(2).filter(|pair| longest(&pair[1]) < longest(&pair[0])).count();
            assert!(falls * 4 > batches.len(), "only {falls} of {} batches follow a longer one", batches.len());
        }
    }
}
