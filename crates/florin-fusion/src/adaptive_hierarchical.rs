//! Adaptive hierarchical fusion: each modality alone, pairs, and all together, weighed by what the input is.
//!
//! With `a_m = tanh(P_m x_m + b_m)`, the members of three levels are
//!
//! - unimodal, of every present modality: `u_m = U_m a_m`
//! - pairwise, of every two present ones: `q_mn = Q_mn (a_m ⊙ a_n)`
//! - joint, where at least three are present: `j = J (⊙ a_m over the present)`, an absent factor being one
//!
//! each map with its bias. Within a level `α = softmax(s_level · member)` over the available members gives `L_level = Σ α member`; over the available
//! levels `β = softmax(t_level · L_level)` gives `h = Σ β L_level`. Both softmaxes follow the input, as their scores read the members.
//!
//! What a row lacks takes no part in any softmax; a row with one modality is that modality's unimodal member, one that has
//! nothing is zeros. A modality's weight is `β_1 α_m`, half of each of its pairs' `β_2 α_mn`, and an even share of `β_3`.
//!
//! Paper: Yang et al. 2016 (attention in a hierarchy), <https://aclanthology.org/N16-1174/>
//! Difference: their levels are words and sentences. Levels of modalities have no single source; the equations are ours.

use burn::prelude::*;
use florin_backend::{Activation, product};
use florin_nn::{Linear, Modality};
use serde::{Deserialize, Serialize};

use crate::config::validate_streams;
use crate::present::{input_width, output_width, projection, shares};
use crate::stream::Arranged;
use crate::{ConfigError, Fused, Fusion, Stream};

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveHierarchicalConfig {
    /// Each modality with the width of its vectors.
    pub streams: Vec<(Modality, usize)>,
    /// Width of the result.
    pub dim: usize,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct AdaptiveHierarchical {
    /// Each modality to the common width.
    pub projections: Vec<Linear>,
    /// Members of the unimodal level, one a modality.
    pub unimodal: Vec<Linear>,
    /// Members of the pairwise level: (0, 1), (0, 2), …, (1, 2), …
    pub pairwise: Vec<Linear>,
    /// The only member of the joint level, from three modalities up.
    pub joint: Option<Linear>,
    /// The score of a member within its level, one a level that has several.
    pub member_scores: Vec<Linear>,
    /// The score of a level, one each.
    pub level_scores: Vec<Linear>,
    #[module(skip)]
    modalities: Vec<Modality>,
}

/// What one level gives.
struct Level {
    /// `[batch, dim]`
    value: Tensor<2>,
    /// Of its members, `[batch, member]`.
    shares: Tensor<2>,
}

impl AdaptiveHierarchicalConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate_streams(&self.streams, self.dim)
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> AdaptiveHierarchical {
        let (count, dim) = (self.streams.len(), self.dim);
        let squares = |many: usize| (0..many).map(|_| projection(dim, dim, device)).collect::<Vec<_>>();
        let scores = |many: usize| (0..many).map(|_| projection(dim, 1, device)).collect::<Vec<_>>();
        AdaptiveHierarchical {
            projections: self.streams.iter().map(|(_, width)| projection(*width, dim, device)).collect(),
            unimodal: squares(count),
            pairwise: squares(count * (count - 1) / 2),
            joint: (count > 2).then(|| projection(dim, dim, device)),
            member_scores: scores(count.min(2)),
            level_scores: scores(count.min(3)),
            modalities: self.streams.iter().map(|(modality, _)| *modality).collect(),
        }
    }
}

impl AdaptiveHierarchical {
    /// How much each row leans on single modalities, on pairs and on all together, `[batch, level]`: as many levels as there
    /// are modalities, at most three.
    ///
    /// # Panics
    ///
    /// As [`Fusion::fuse`].
    pub fn level_weights(&self, streams: &[Stream]) -> Tensor<2> {
        let arranged = Arranged::new(&self.modalities, streams);
        self.level_shares(&arranged, &self.levels(&arranged))
    }

    fn levels(&self, arranged: &Arranged) -> Vec<Level> {
        let widths: Vec<usize> = self.projections.iter().map(input_width).collect();
        let vectors = arranged.vectors(&widths).into_iter().zip(&self.projections);
        let seen: Vec<Tensor<2>> = vectors.map(|(x, layer)| layer.forward_activated(x, Activation::Tanh)).collect();
        let pairs = pairs(seen.len());
        let mut levels = Vec::new();

        let members = seen.iter().zip(&self.unimodal).map(|(seen, layer)| layer.forward(seen.clone()));
        levels.push(level(members, &self.member_scores[0], arranged.absences()));
        if !pairs.is_empty() {
            let members = pairs.iter().zip(&self.pairwise);
            let members = members.map(|(&(m, n), layer)| layer.forward(seen[m].clone() * seen[n].clone()));
            let lacks = |row, pair: usize| !(arranged.has(row, pairs[pair].0) && arranged.has(row, pairs[pair].1));
            levels.push(level(members, &self.member_scores[1], arranged.marks(pairs.len(), lacks)));
        }
        if let Some(joint) = &self.joint {
            let present = seen.into_iter().enumerate().map(|(m, seen)| arranged.fill(seen, m, 1.0));
            let value = joint.forward(present.reduce(|all, next| all * next).expect("three modalities or more"));
            levels.push(Level { value, shares: arranged.numbers(1, |_, _| 1.0) });
        }
        levels
    }

    fn level_shares(&self, arranged: &Arranged, levels: &[Level]) -> Tensor<2> {
        let scores = levels.iter().zip(&self.level_scores).map(|(level, score)| score.forward(level.value.clone()));
        let lacks = arranged.marks(levels.len(), |row, level| arranged.present(row).len() <= level);
        shares(Tensor::cat(scores.collect(), 1), lacks, 1)
    }

    /// Each member's share of the whole, given to the modalities that it reads, `[batch, modality]`.
    fn weights(&self, arranged: &Arranged, levels: Vec<Level>, level_shares: Tensor<2>) -> Tensor<2> {
        let count = self.modalities.len();
        let pairs = pairs(count);
        let parts = levels.into_iter().enumerate().map(|(index, level)| {
            let shares = level.shares * level_shares.clone().narrow(1, index, 1);
            match index {
                0 => shares,
                1 => {
                    let half = |i: usize| {
                        if [pairs[i / count].0, pairs[i / count].1].contains(&(i % count)) { 0.5 } else { 0.0 }
                    };
                    let halves: Vec<f64> = (0..pairs.len() * count).map(half).collect();
                    let data = TensorData::new(halves, [pairs.len(), count]);
                    product(shares, Tensor::from_data(data, (&arranged.device, arranged.dtype)))
                }
                _ => {
                    let even =
                        |row, m| if arranged.has(row, m) { 1.0 / arranged.present(row).len() as f64 } else { 0.0 };
                    shares * arranged.numbers(count, even)
                }
            }
        });
        parts.reduce(|sum, part| sum + part).expect("there is a unimodal level")
    }
}

/// Every two of so many.
fn pairs(count: usize) -> Vec<(usize, usize)> {
    (0..count).flat_map(|m| (m + 1..count).map(move |n| (m, n))).collect()
}

/// The members of one level, weighed by their own scores.
fn level(members: impl Iterator<Item = Tensor<2>>, score: &Linear, absent: Tensor<2, Bool>) -> Level {
    let members = Tensor::stack::<3>(members.collect(), 1); // [batch, member, dim]
    let shares = shares(score.forward(members.clone()).squeeze_dim(2), absent, 1);
    let value = (members * shares.clone().unsqueeze_dim::<3>(2)).sum_dim(1).squeeze_dim(1);
    Level { value, shares }
}

impl Fusion for AdaptiveHierarchical {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        output_width(&self.unimodal[0])
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let arranged = Arranged::new(&self.modalities, streams);
        let levels = self.levels(&arranged);
        let level_shares = self.level_shares(&arranged, &levels);
        let parts = levels.iter().enumerate();
        let parts = parts.map(|(index, level)| level.value.clone() * level_shares.clone().narrow(1, index, 1));
        let embedding = parts.reduce(|sum, part| sum + part).expect("there is a unimodal level");
        let weights = self.weights(&arranged, levels, level_shares);
        Fused { embedding, tokens: None, weights: Some(weights), cost: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::{close, noisy, pooled};

    const WIDTHS: [usize; 3] = [4, 3, 5];

    fn fusion() -> AdaptiveHierarchical {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let streams = [Modality::Text, Modality::Image, Modality::Audio].into_iter().zip(WIDTHS).collect();
        noisy(AdaptiveHierarchicalConfig { streams, dim: 6 }.init(&device), 8)
    }

    #[test]
    fn a_level_is_available_only_with_enough_modalities() {
        let fusion = fusion();
        let present = [[true, true, true, false], [true, true, false, false], [true, false, false, false]];
        let streams = pooled(&fusion.modalities, &WIDTHS, 4, 2).into_iter().zip(present);
        let streams: Vec<Stream> = streams.map(|(stream, present)| stream.present_in(present.to_vec())).collect();
        let levels = fusion.level_weights(&streams).into_data().try_to_vec::<f32>().expect("f32");
        assert!(levels[..3].iter().all(|&weight| weight > 0.0), "all three: {levels:?}");
        assert!(
            levels[3] > 0.0 && levels[4] > 0.0 && levels[5] == 0.0,
            "two modalities have no joint level: {levels:?}"
        );
        assert_eq!(levels[6..], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], "one modality is alone, and nothing is nothing");
    }

    #[test]
    fn an_absent_modality_is_as_if_the_fusion_had_been_built_without_it() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let modalities = [Modality::Text, Modality::Image, Modality::Audio, Modality::Series];
        let streams = modalities.into_iter().zip([4, 3, 5, 2]).collect();
        let four = noisy(AdaptiveHierarchicalConfig { streams, dim: 6 }.init(&device), 8);
        let three = AdaptiveHierarchical {
            projections: four.projections[..3].to_vec(),
            unimodal: four.unimodal[..3].to_vec(),
            // Of (0, 1), (0, 2), (0, 3), (1, 2), (1, 3) and (2, 3), those without the last modality.
            pairwise: [0, 1, 3].map(|pair: usize| four.pairwise[pair].clone()).to_vec(),
            modalities: modalities[..3].to_vec(),
            ..four.clone()
        };
        let streams = pooled(&modalities[..3], &WIDTHS, 4, 2);
        close(&four.fuse(&streams).embedding, &three.fuse(&streams).embedding, 1e-5);
        close(&four.level_weights(&streams), &three.level_weights(&streams), 1e-5);
    }

    #[test]
    fn one_modality_alone_is_its_unimodal_member() {
        let fusion = fusion();
        let text = pooled(&fusion.modalities, &WIDTHS, 4, 2).swap_remove(0);
        let seen = fusion.projections[0].forward(text.tokens.mean()).tanh();
        close(&fusion.fuse(&[text]).embedding, &fusion.unimodal[0].forward(seen), 1e-6);
    }

    #[test]
    fn weights_follow_the_input() {
        let fusion = fusion();
        let levels = fusion.level_weights(&pooled(&fusion.modalities, &WIDTHS, 2, 2));
        let gap = (levels.clone().narrow(0, 0, 1) - levels.narrow(0, 1, 1)).abs().max();
        assert!(gap.into_scalar::<f32>() > 1e-3, "levels must follow the input");
    }
}
