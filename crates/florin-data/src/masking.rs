//! Which tokens of a text a language model must find again, and what it reads in their place.
//!
//! A share of the tokens is selected; most of those become the mask token, some a random token, and the rest stay as they are: a model
//! that is used on whole texts must not learn that only masks matter. The loss counts all of them.
//!
//! Paper: Devlin et al. 2018 (BERT), <https://arxiv.org/abs/1810.04805>
//! Difference: a random token is never a special one. The number selected is the share rounded, at least one, as in Google's code; Hugging
//! Face draws each token for itself, so that a short text may have none.

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::DataError;
use crate::word_pieces::SpecialIds;

/// How tokens are selected and replaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenMasking {
    /// Share of the tokens that is selected.
    pub selected: f64,
    /// Share of the selected that becomes the mask token.
    pub masked: f64,
    /// Share of the selected that becomes a random token; what is left stays.
    pub random: f64,
}

/// A text as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedTokens {
    /// What stands at each position.
    pub ids: Vec<u32>,
    /// Whether the token at a position is to be found.
    pub selected: Vec<bool>,
}

impl Default for TokenMasking {
    fn default() -> Self {
        Self { selected: 0.15, masked: 0.8, random: 0.1 }
    }
}

impl TokenMasking {
    /// Refuses shares that are none.
    pub fn validate(&self) -> Result<(), DataError> {
        let shares = [("selected", self.selected), ("masked", self.masked), ("random", self.random)];
        if let Some((name, value)) = shares.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return Err(DataError::Masking { reason: format!("{name} is {value}, expected a share from 0 to 1") });
        }
        if self.masked + self.random > 1.0 {
            let reason = format!("masked ({}) and random ({}) together exceed 1", self.masked, self.random);
            return Err(DataError::Masking { reason });
        }
        Ok(())
    }

    /// Selects and replaces tokens: a pure function of its arguments, so that a continued run sees the same masks. Padding and other special
    /// tokens are never selected.
    pub fn mask_tokens(
        &self,
        ids: &[u32],
        special: &SpecialIds,
        vocabulary_size: usize,
        seed: u64,
        sample: u64,
    ) -> MaskedTokens {
        let mut random = generator(seed, sample);
        let mut places: Vec<usize> = (0..ids.len()).filter(|&place| !special.contains(ids[place])).collect();
        let count = (places.len() as f64 * self.selected).round() as usize;
        let count = if self.selected > 0.0 { count.max(1) } else { 0 };
        places.shuffle(&mut random);
        places.truncate(count);
        let mut masked = MaskedTokens { ids: ids.to_vec(), selected: vec![false; ids.len()] };
        for place in places {
            masked.selected[place] = true;
            let fate: f64 = random.random();
            if fate < self.masked {
                masked.ids[place] = special.mask;
            } else if fate < self.masked + self.random {
                masked.ids[place] = ordinary(special, vocabulary_size, &mut random).unwrap_or(ids[place]);
            }
        }
        masked
    }
}

/// A random token that is not special, where there is one.
fn ordinary(special: &SpecialIds, vocabulary_size: usize, random: &mut ChaCha8Rng) -> Option<u32> {
    let size = u32::try_from(vocabulary_size).unwrap_or(u32::MAX);
    let skipped: Vec<u32> = special.sorted().into_iter().filter(|&id| id < size).collect();
    let ordinary = size.checked_sub(skipped.len() as u32).filter(|&count| count > 0)?;
    let mut id = random.random_range(0..ordinary);
    for other in skipped {
        id += u32::from(other <= id);
    }
    Some(id)
}

fn generator(seed: u64, sample: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&sample.to_le_bytes());
    key[16..24].copy_from_slice(b"masking\0"); // not the numbers that shuffle the epoch of the same seed
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: SpecialIds = SpecialIds { pad: 0, unk: 100, cls: 101, sep: 102, mask: 103 };
    const VOCABULARY: usize = 500;

    /// [CLS], 97 ordinary tokens of which every tenth is unknown, [SEP], and padding.
    fn text(sample: u32) -> Vec<u32> {
        let words = (0..97).map(|i| if i % 10 == 9 { 100 } else { 110 + (i * 31 + sample * 7) % 390 });
        [101].into_iter().chain(words).chain([102]).chain([0; 29]).collect()
    }

    fn many(masking: TokenMasking) -> Vec<(Vec<u32>, MaskedTokens)> {
        (0..400)
            .map(|sample| {
                let ids = text(sample);
                let masked = masking.mask_tokens(&ids, &SPECIAL, VOCABULARY, 1, u64::from(sample));
                (ids, masked)
            })
            .collect()
    }

    #[test]
    fn special_tokens_and_padding_are_never_selected_and_others_never_change_unselected() {
        for (ids, masked) in many(TokenMasking { selected: 1.0, ..TokenMasking::default() }) {
            for (place, &id) in ids.iter().enumerate() {
                assert_eq!(masked.selected[place], !SPECIAL.contains(id), "position {place}, token {id}");
            }
        }
        for (ids, masked) in many(TokenMasking::default()) {
            let changed = (0..ids.len()).filter(|&place| masked.ids[place] != ids[place]);
            assert!(changed.into_iter().all(|place| masked.selected[place]));
        }
    }

    #[test]
    fn fifteen_in_a_hundred_are_selected_of_which_eight_in_ten_are_masked_and_one_is_random() {
        let (mut kept, mut hidden, mut other, mut counted) = (0f64, 0f64, 0f64, 0f64);
        for (ids, masked) in many(TokenMasking::default()) {
            let selected: Vec<usize> = (0..ids.len()).filter(|&place| masked.selected[place]).collect();
            assert_eq!(selected.len(), 13, "88 tokens may be selected");
            for place in selected {
                counted += 1.0;
                match masked.ids[place] {
                    103 => hidden += 1.0,
                    id if id == ids[place] => kept += 1.0,
                    id => {
                        assert!(!SPECIAL.contains(id) && (id as usize) < VOCABULARY, "random token {id}");
                        other += 1.0;
                    }
                }
            }
        }
        for (found, share) in [(hidden, 0.8), (other, 0.1), (kept, 0.1)] {
            assert!((found / counted - share).abs() < 0.02, "{found} of {counted}, expected {share}");
        }
    }

    #[test]
    fn the_same_seed_and_sample_give_the_same_masks_and_others_give_others() {
        let masks = |seed, sample| TokenMasking::default().mask_tokens(&text(0), &SPECIAL, VOCABULARY, seed, sample);
        assert_eq!(masks(1, 2), masks(1, 2));
        assert_ne!(masks(1, 2), masks(1, 3));
        assert_ne!(masks(1, 2), masks(2, 2));
    }

    #[test]
    fn a_short_text_has_one_token_selected_and_an_empty_one_none() {
        let masking = TokenMasking::default();
        let selected = |ids: &[u32]| {
            masking.mask_tokens(ids, &SPECIAL, VOCABULARY, 1, 1).selected.iter().filter(|&&selected| selected).count()
        };
        assert_eq!((selected(&[101, 200, 201, 102]), selected(&[101, 102, 0]), selected(&[])), (1, 0, 0));
        let nothing = TokenMasking { selected: 0.0, ..masking };
        assert!(!nothing.mask_tokens(&text(0), &SPECIAL, VOCABULARY, 1, 1).selected.contains(&true));
    }

    #[test]
    fn a_vocabulary_of_special_tokens_alone_leaves_tokens_as_they_are() {
        let special = SpecialIds { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 };
        let all_random = TokenMasking { selected: 1.0, masked: 0.0, random: 1.0 };
        assert_eq!(all_random.mask_tokens(&[7], &special, 5, 1, 1).ids, [7]);
        assert_eq!(all_random.mask_tokens(&[5], &special, 6, 1, 1).ids, [5], "the only ordinary token");
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        assert!(TokenMasking::default().validate().is_ok());
        for (selected, masked, random) in [(1.5, 0.8, 0.1), (0.15, f64::NAN, 0.1), (0.15, 0.8, 0.3), (0.15, -0.1, 0.1)]
        {
            assert!(TokenMasking { selected, masked, random }.validate().is_err());
        }
    }
}
