//! Dynamic fusion: the input decides how much is computed.
//!
//! A small gate reads all modalities, `s = B GELU(A [x_1; …; x_M; present])`, and scores the branches: each modality alone, some
//! gated, all together ([`BranchConfig`]).
//!
//! - In training (on a device with gradients) it is soft: `g = softmax(s / τ)` over the branches open to a row, every branch is computed,
//!   and `h = Σ g_b h_b`. It is a plain softmax, without Gumbel noise: the same input always gives the same result.
//! - At inference (on a device without) it is hard: a row takes its best open branch, and **each branch is computed only on the rows
//!   that take it**. [`Dynamic::fuse_hard`] tells which row took which, and what was really computed.
//!
//! `cost = price · mean Σ g_b c_b + balance · KL(mean g ‖ mean of the even choice) + decision · mean H(g)`, with `c_b` a branch's
//! multiply-adds relative to the dearest. The second term is the guard against collapse: a gate that always takes the same branch
//! pays most. The third, the entropy of each row's own choice, keeps the soft mixture near the hard choice that replaces it: without
//! it a mixture does what no branch can do alone, and pays for hardly any of it. At equal strength the two ask for information
//! between row and branch.
//!
//! An absent modality closes the branch that reads it alone, and those that read several when fewer than two of theirs are
//! left; what it would have said is zero, with a mark. A row that has nothing takes no branch and is zeros. A branch's weight is shared
//! evenly by those of its modalities that the row has.
//!
//! Paper: Xue and Marculescu 2022 (DynMM), <https://arxiv.org/abs/2204.00102>
//! Difference: no Gumbel noise and no straight-through step in training; the guard against collapse is ours; branches close with
//! what is absent.

use burn::prelude::*;
use florin_backend::Activation;
use florin_nn::{Linear, Modality};
use serde::{Deserialize, Serialize};

use crate::config::validate_streams;
use crate::present::{projection, shares};
use crate::stream::Arranged;
use crate::{Branch, BranchConfig, ConfigError, Fused, Fusion, Stream};

/// Sizes of the fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DynamicConfig {
    /// Each modality with the width of its vectors.
    pub streams: Vec<(Modality, usize)>,
    /// Width of the result.
    pub dim: usize,
    /// The branches; every modality needs one of its own, so that any row has one open.
    pub branches: Vec<BranchConfig>,
    /// Width between the layers of a joint branch.
    pub hidden: usize,
    /// Width between the layers of the gate, which every row pays for.
    pub gate: usize,
    /// Softness of the choice in training.
    pub temperature: f64,
    /// What the loss pays for computing the dearest branch on every row.
    pub price: f64,
    /// Strength of the guard against collapse.
    pub balance: f64,
    /// Strength of the push towards one branch a row.
    pub decision: f64,
}

/// The fusion.
#[derive(Module, Debug)]
pub struct Dynamic {
    /// First layer of the gate.
    pub gate_hidden: Linear,
    /// Scores of the branches.
    pub gate_output: Linear,
    /// The branches.
    pub branches: Vec<Branch>,
    temperature: f64,
    price: f64,
    balance: f64,
    decision: f64,
    dim: usize,
    #[module(skip)]
    widths: Vec<usize>,
    #[module(skip)]
    modalities: Vec<Modality>,
}

/// A hard choice and what came of it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The result; its cost is the price of what was computed.
    pub fused: Fused,
    /// Which branch each row took; none for a row that has nothing.
    pub taken: Vec<Option<usize>>,
    /// Multiplications and additions that the branches really did, counted from the tensors that they were given.
    pub multiply_adds: usize,
}

/// What the gate read and said.
struct Scored {
    arranged: Arranged,
    vectors: Vec<Tensor<2>>,
    presence: Tensor<2>,
    /// `[batch, branch]`
    scores: Tensor<2>,
}

impl DynamicConfig {
    /// Each modality alone, the first two gated where there are more, and all together.
    pub fn usual(streams: Vec<(Modality, usize)>, dim: usize) -> Self {
        let all: Vec<Modality> = streams.iter().map(|(modality, _)| *modality).collect();
        let mut branches: Vec<BranchConfig> = all.iter().copied().map(BranchConfig::alone).collect();
        if all.len() > 2 {
            branches.push(BranchConfig::gated(all[..2].to_vec()));
        }
        if all.len() > 1 {
            branches.push(BranchConfig::joint(all));
        }
        Self {
            streams,
            dim,
            branches,
            hidden: 4 * dim,
            gate: 16,
            temperature: 1.0,
            price: 0.1,
            balance: 0.1,
            decision: 0.15,
        }
    }

    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate_streams(&self.streams, self.dim)?;
        for (name, size) in [("hidden", self.hidden), ("gate", self.gate)] {
            if size == 0 {
                return Err(ConfigError::Zero(name));
            }
        }
        let positive = self.temperature > 0.0 && self.temperature.is_finite();
        if !positive {
            return Err(ConfigError::Range { name: "temperature", range: "above 0", found: self.temperature });
        }
        for (name, found) in [("price", self.price), ("balance", self.balance), ("decision", self.decision)] {
            if !(found >= 0.0 && found.is_finite()) {
                return Err(ConfigError::Range { name, range: "at least 0", found });
            }
        }
        self.branches.iter().try_for_each(|branch| branch.validate(&self.streams))?;
        let alone = |modality: Modality| self.branches.contains(&BranchConfig::alone(modality));
        match self.streams.iter().find(|(modality, _)| !alone(*modality)) {
            Some((modality, _)) => Err(ConfigError::NoBranch(modality.name())),
            None => Ok(()),
        }
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Dynamic {
        let widths: Vec<usize> = self.streams.iter().map(|(_, width)| *width).collect();
        let input = widths.iter().sum::<usize>() + widths.len();
        let branch = |config: &BranchConfig| config.init(&self.streams, self.dim, self.hidden, device);
        Dynamic {
            gate_hidden: projection(input, self.gate, device),
            gate_output: projection(self.gate, self.branches.len(), device),
            branches: self.branches.iter().map(branch).collect(),
            temperature: self.temperature,
            price: self.price,
            balance: self.balance,
            decision: self.decision,
            dim: self.dim,
            widths,
            modalities: self.streams.iter().map(|(modality, _)| *modality).collect(),
        }
    }
}

impl Dynamic {
    /// Which branch each row would take, in the order of the configuration, by computing the gate alone; none for a row that has nothing.
    ///
    /// # Panics
    ///
    /// As [`Fusion::fuse`].
    pub fn choose(&self, streams: &[Stream]) -> Vec<Option<usize>> {
        self.best(&self.scored(streams))
    }

    /// Every branch weighed by the gate, whatever the device.
    ///
    /// # Panics
    ///
    /// As [`Fusion::fuse`].
    pub fn fuse_soft(&self, streams: &[Stream]) -> Fused {
        let scored = self.scored(streams);
        let closed = |row, branch| !self.is_open(&scored.arranged, row, branch);
        let closed = scored.arranged.marks(self.branches.len(), closed);
        let gates = shares(scored.scores.clone() / self.temperature, closed, 1);
        let parts = self.branches.iter().enumerate().map(|(index, branch)| {
            let gate = gates.clone().narrow(1, index, 1);
            let value = branch.forward(&scored.vectors, &scored.presence) * gate.clone();
            (value, self.leaned_on(&scored.arranged, |_| index) * gate)
        });
        let sum = parts.reduce(|(value, weights), part| (value + part.0, weights + part.1));
        let (embedding, weights) = sum.expect("validated: every modality has a branch");
        let cost = self.expected_cost(&scored.arranged, gates);
        Fused { embedding, tokens: None, weights: Some(weights), cost: Some(cost) }
    }

    /// Each row by its best branch alone, whatever the device: a branch is given the rows that take it and no others.
    ///
    /// # Panics
    ///
    /// As [`Fusion::fuse`].
    pub fn fuse_hard(&self, streams: &[Stream]) -> Chosen {
        let scored = self.scored(streams);
        let taken = self.best(&scored);
        let Arranged { batch, device, dtype, .. } = &scored.arranged;
        let (mut parts, mut order, mut multiply_adds) = (Vec::new(), Vec::new(), 0);
        for (index, branch) in self.branches.iter().enumerate() {
            let rows: Vec<usize> = (0..*batch).filter(|&row| taken[row] == Some(index)).collect();
            if rows.is_empty() {
                continue;
            }
            let places = whole_numbers(&rows, device);
            let select = |x: &Tensor<2>| x.clone().select(0, places.clone());
            let vectors: Vec<Tensor<2>> = scored.vectors.iter().map(select).collect();
            multiply_adds += vectors[0].dims()[0] * branch.multiply_adds();
            parts.push(branch.forward(&vectors, &select(&scored.presence)));
            order.extend(rows);
        }
        let without: Vec<usize> = (0..*batch).filter(|&row| taken[row].is_none()).collect();
        parts.push(Tensor::zeros([without.len().max(1), self.dim], (device, *dtype)));
        order.extend(without);

        let mut places = vec![0; *batch];
        order.iter().enumerate().for_each(|(place, &row)| places[row] = place);
        let embedding = Tensor::cat(parts, 0).select(0, whole_numbers(&places, device));
        let weights = self.leaned_on(&scored.arranged, |row| taken[row].unwrap_or(0));
        let dearest = self.dearest() * taken.iter().flatten().count().max(1);
        let cost = Tensor::full([1], self.price * multiply_adds as f64 / dearest as f64, (device, *dtype));
        Chosen {
            fused: Fused { embedding, tokens: None, weights: Some(weights), cost: Some(cost) },
            taken,
            multiply_adds,
        }
    }

    fn scored(&self, streams: &[Stream]) -> Scored {
        let arranged = Arranged::new(&self.modalities, streams);
        let vectors = arranged.vectors(&self.widths);
        let presence = arranged.presence();
        let seen = vectors.iter().cloned().chain([presence.clone()]).collect();
        let hidden = self.gate_hidden.forward_activated(Tensor::cat(seen, 1), Activation::Gelu);
        Scored { scores: self.gate_output.forward(hidden), arranged, vectors, presence }
    }

    fn is_open(&self, arranged: &Arranged, row: usize, branch: usize) -> bool {
        self.branches[branch].is_open(|modality| arranged.has(row, modality))
    }

    /// The open branch of the highest score, the first of equals.
    fn best(&self, scored: &Scored) -> Vec<Option<usize>> {
        let data = scored.scores.clone().into_data().convert::<f64>();
        let scores = data.try_to_vec::<f64>().expect("converted to f64");
        let count = self.branches.len();
        let best = |row: usize| {
            let open = (0..count).filter(|&branch| self.is_open(&scored.arranged, row, branch));
            open.rev().max_by(|&a, &b| scores[row * count + a].total_cmp(&scores[row * count + b]))
        };
        (0..scored.arranged.batch).map(best).collect()
    }

    /// The even share of what a row has among the modalities that its branch reads, `[batch, modality]`.
    fn leaned_on(&self, arranged: &Arranged, branch: impl Fn(usize) -> usize) -> Tensor<2> {
        arranged.numbers(self.modalities.len(), |row, modality| {
            let reads = self.branches[branch(row)].reads();
            let read = reads.iter().filter(|&&place| arranged.has(row, place)).count();
            let shares = reads.contains(&modality) && arranged.has(row, modality);
            if shares { 1.0 / read as f64 } else { 0.0 }
        })
    }

    /// Multiply-adds of the branch that has most.
    fn dearest(&self) -> usize {
        self.branches.iter().map(Branch::multiply_adds).max().unwrap_or(1)
    }

    /// The price of what the gates would compute, the guard against collapse and the push towards a decision.
    fn expected_cost(&self, arranged: &Arranged, gates: Tensor<2>) -> Tensor<1> {
        let count = self.branches.len();
        let rows = (0..arranged.batch).filter(|&row| !arranged.present(row).is_empty()).count().max(1) as f64;
        let even = arranged.numbers(count, |row, branch| {
            let open = (0..count).filter(|&other| self.is_open(arranged, row, other)).count();
            if self.is_open(arranged, row, branch) { 1.0 / open as f64 } else { 0.0 }
        });
        let relative = arranged.numbers(count, |_, b| self.branches[b].multiply_adds() as f64 / self.dearest() as f64);
        let paid = (gates.clone() * relative).sum() / rows;
        // A branch that is closed has a share of zero; a logarithm's least argument keeps its product with that from NaN.
        let log = |shares: &Tensor<2>| shares.clone().clamp_min(1e-12).log();
        let entropy = (gates.clone() * log(&gates)).sum().neg() / rows;
        let [mean, even] = [gates, even].map(|shares| shares.sum_dim(0) / rows);
        let collapse = (mean.clone() * (log(&mean) - log(&even))).sum();
        paid * self.price + collapse * self.balance + entropy * self.decision
    }
}

fn whole_numbers(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

impl Fusion for Dynamic {
    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn fuse(&self, streams: &[Stream]) -> Fused {
        let tracked = streams.first().is_some_and(|stream| stream.tokens.padded().device().is_autodiff());
        if tracked { self.fuse_soft(streams) } else { self.fuse_hard(streams).fused }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;

    use super::*;
    use crate::properties::{close, noisy, pooled, rows};

    const WIDTHS: [usize; 3] = [4, 3, 5];
    const MODALITIES: [Modality; 3] = [Modality::Text, Modality::Image, Modality::Audio];

    fn config() -> DynamicConfig {
        DynamicConfig::usual(MODALITIES.into_iter().zip(WIDTHS).collect(), 6)
    }

    fn fusion(device: &Device) -> Dynamic {
        noisy(config().init(device), 8)
    }

    fn plain() -> Device {
        florin_backend::device("cpu").expect("the cpu device is always there")
    }

    /// Rows that have all, the first two, the last, and nothing, three times over.
    fn streams() -> Vec<Stream> {
        let present = |pattern: [bool; 4]| pattern.repeat(3);
        let patterns = [[true, true, false, false], [true, true, false, false], [true, false, true, false]];
        let streams = pooled(&MODALITIES, &WIDTHS, 12, 3).into_iter().zip(patterns);
        streams.map(|(stream, pattern)| stream.present_in(present(pattern))).collect()
    }

    #[test]
    fn each_row_is_what_its_branch_gives_it_alone() {
        let fusion = fusion(&plain());
        let streams = streams();
        let chosen = fusion.fuse_hard(&streams);
        assert_eq!(chosen.taken, fusion.choose(&streams));
        let arranged = Arranged::new(&MODALITIES, &streams);
        let (vectors, presence) = (arranged.vectors(&WIDTHS), arranged.presence());
        let mut seen = Vec::new();
        for (row, taken) in chosen.taken.iter().enumerate() {
            let found = chosen.fused.embedding.clone().narrow(0, row, 1);
            let Some(branch) = *taken else {
                close(&found, &found.zeros_like(), 0.0);
                continue;
            };
            seen.push(branch);
            assert!(fusion.is_open(&arranged, row, branch), "row {row} took a branch that is closed to it");
            let all = fusion.branches[branch].forward(&vectors, &presence);
            close(&found, &all.narrow(0, row, 1), 1e-6);
        }
        seen.dedup();
        assert!(seen.len() > 1, "the test needs rows that take different branches: {seen:?}");
    }

    #[test]
    fn what_a_row_does_not_take_is_not_computed() {
        // A gate that leaves the first row the joint branch and gives all others the first modality alone: the score of the joint
        // branch follows one number of the first modality.
        let device = plain();
        let fusion = fusion(&device);
        let (joint, gate) = (fusion.branches.len() - 1, fusion.gate_hidden.weight.val().dims()[1]);
        let one = |rows: usize, columns: usize, column: usize| {
            let numbers = (0..rows * columns).map(|i| f32::from(u8::from(i == column))).collect::<Vec<_>>();
            Tensor::<2>::from_data(TensorData::new(numbers, [rows, columns]), &device)
        };
        let score = [vec![1.0], vec![0.0; joint - 1], vec![0.0]].concat();
        let fusion = Dynamic {
            gate_hidden: Linear { weight: Param::from_tensor(one(15, gate, 0) * 100.0), bias: None },
            gate_output: Linear {
                weight: Param::from_tensor(one(gate, joint + 1, joint)),
                bias: Some(Param::from_tensor(Tensor::from_floats(score.as_slice(), &device))),
            },
            ..fusion
        };
        let mut streams = pooled(&MODALITIES, &WIDTHS, 10, 3);
        let first = (0..40)
            .map(|i| {
                if i == 0 {
                    1.0
                } else if i % 4 == 0 {
                    -1.0
                } else {
                    0.5
                }
            })
            .collect::<Vec<f32>>();
        streams[0] = Stream::pooled(Modality::Text, Tensor::from_data(TensorData::new(first, [10, 4]), &device));
        let chosen = fusion.fuse_hard(&streams);
        assert_eq!(chosen.taken[0], Some(joint));
        assert!(chosen.taken[1..].iter().all(|taken| *taken == Some(0)), "{:?}", chosen.taken);
        let [cheap, dear] = [0, joint].map(|branch| fusion.branches[branch].multiply_adds());
        assert_eq!(chosen.multiply_adds, dear + 9 * cheap, "one row is dear and nine are cheap");
        let relative = chosen.multiply_adds as f64 / (10 * dear) as f64;
        let cost = chosen.fused.cost.expect("this kind has a cost").into_scalar::<f32>();
        assert!((f64::from(cost) - fusion.price * relative).abs() < 1e-7);
    }

    #[test]
    fn it_is_soft_in_training_and_hard_at_inference() {
        let (plain, tracked) = (plain(), plain().autodiff());
        let (hard, soft) = (fusion(&plain), fusion(&tracked));
        let streams = streams();
        let tracked_streams: Vec<Stream> = streams
            .iter()
            .map(|s| Stream::pooled(s.modality, Tensor::from_inner(s.tokens.mean())).present_in(s.present.clone()))
            .collect();
        close(&hard.fuse(&streams).embedding, &hard.fuse_hard(&streams).fused.embedding, 0.0);
        let trained = soft.fuse(&tracked_streams);
        close(&trained.embedding.clone().inner(), &hard.fuse_soft(&streams).embedding, 1e-6);
        let gap = (trained.embedding.inner() - hard.fuse(&streams).embedding).abs().max().into_scalar::<f32>();
        assert!(gap > 1e-2, "soft and hard differ before training, by {gap}");
        // Sharpened far enough, the soft choice is the hard one.
        let sharp = Dynamic { temperature: 1e-4, ..hard.clone() };
        close(&sharp.fuse_soft(&streams).embedding, &hard.fuse_hard(&streams).fused.embedding, 1e-4);
    }

    #[test]
    fn the_guard_is_zero_for_an_even_gate_and_largest_for_a_collapsed_one() {
        let device = plain();
        let fusion = Dynamic { price: 0.0, balance: 1.0, decision: 0.0, ..fusion(&device) };
        let arranged = Arranged::new(&MODALITIES, &pooled(&MODALITIES, &WIDTHS, 2, 3));
        let guard = |gates: [[f32; 5]; 2]| {
            fusion.expected_cost(&arranged, Tensor::from_data(gates, &device)).into_scalar::<f32>()
        };
        assert!(guard([[0.2; 5]; 2]).abs() < 1e-6);
        // Decided row by row, yet used in turn: the guard asks for variety over a batch, not for indecision.
        let decided = guard([[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]]);
        let collapsed = guard([[1.0, 0.0, 0.0, 0.0, 0.0]; 2]);
        assert!((decided - 2.5f32.ln()).abs() < 1e-5 && (collapsed - 5f32.ln()).abs() < 1e-5, "{decided} {collapsed}");
    }

    #[test]
    fn indecision_is_paid_for_row_by_row() {
        let device = plain();
        let fusion = Dynamic { price: 0.0, balance: 0.0, decision: 1.0, ..fusion(&device) };
        let arranged = Arranged::new(&MODALITIES, &pooled(&MODALITIES, &WIDTHS, 2, 3));
        let pays = |gates: [[f32; 5]; 2]| {
            fusion.expected_cost(&arranged, Tensor::from_data(gates, &device)).into_scalar::<f32>()
        };
        assert_eq!(pays([[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]]), 0.0);
        assert!((pays([[0.2; 5]; 2]) - 5f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn branches_that_cannot_be_are_refused() {
        let with = |branch: BranchConfig| {
            let mut config = config();
            config.branches.push(branch);
            config.validate().expect_err("refused").to_string()
        };
        assert!(with(BranchConfig::joint(vec![Modality::Text])).contains("joint branch of text: at least two"));
        assert!(with(BranchConfig::gated(vec![Modality::Text, Modality::Text])).contains("twice"));
        assert!(with(BranchConfig::alone(Modality::Video)).contains("does not have"));
        let mut config = config();
        config.branches.remove(1);
        assert_eq!(
            config.validate().expect_err("refused").to_string(),
            "fusion: modality image needs a branch of its own"
        );
        let cold = DynamicConfig { temperature: 0.0, ..self::config() };
        assert!(cold.validate().expect_err("refused").to_string().contains("temperature should be above 0, but is 0"));
    }

    #[test]
    fn a_row_alone_is_the_row_in_its_batch() {
        let fusion = fusion(&plain());
        let streams = streams();
        let together = fusion.fuse(&streams).embedding;
        for row in 0..12 {
            let alone: Vec<Stream> = streams.iter().map(|stream| rows(stream, &[row])).collect();
            close(&fusion.fuse(&alone).embedding, &together.clone().narrow(0, row as usize, 1), 1e-6);
        }
    }
}
