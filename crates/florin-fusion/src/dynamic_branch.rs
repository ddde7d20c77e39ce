//! One strategy of dynamic fusion: which modalities it reads, and how it fuses them.

use burn::prelude::*;
use florin_backend::Activation;
use florin_nn::{Linear, Modality};
use serde::{Deserialize, Serialize};

use crate::present::projection;
use crate::{ConfigError, Gated, GatedConfig};

/// How a branch fuses what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One modality through two layers of the result's width.
    Alone,
    /// The gated unit.
    Gated,
    /// All side by side, with marks of presence, through two layers with a wide one between: the only one that costs much.
    Joint,
}

/// A branch to be built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BranchConfig {
    /// How it fuses.
    pub strategy: Strategy,
    /// What it reads.
    pub modalities: Vec<Modality>,
}

/// A branch.
#[derive(Module, Debug)]
pub struct Branch {
    /// First layer, except of a gated branch.
    pub hidden: Option<Linear>,
    /// Second layer, except of a gated branch.
    pub output: Option<Linear>,
    /// A gated branch.
    pub gated: Option<Gated>,
    marks: bool,
    multiply_adds: usize,
    #[module(skip)]
    reads: Vec<usize>,
}

impl Strategy {
    fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Gated => "gated",
            Self::Joint => "joint",
        }
    }
}

impl BranchConfig {
    /// One modality.
    pub fn alone(modality: Modality) -> Self {
        Self { strategy: Strategy::Alone, modalities: vec![modality] }
    }

    /// Several gated.
    pub fn gated(modalities: Vec<Modality>) -> Self {
        Self { strategy: Strategy::Gated, modalities }
    }

    /// Several side by side.
    pub fn joint(modalities: Vec<Modality>) -> Self {
        Self { strategy: Strategy::Joint, modalities }
    }

    /// Refuses a branch that reads too few, something twice, or what the fusion does not have.
    pub(crate) fn validate(&self, streams: &[(Modality, usize)]) -> Result<(), ConfigError> {
        let names: Vec<&str> = self.modalities.iter().map(|modality| modality.name()).collect();
        let refuse =
            |reason| Err(ConfigError::Branch { strategy: self.strategy.name(), modalities: names.join(", "), reason });
        let repeated = (1..names.len()).any(|index| names[..index].contains(&names[index]));
        let unknown = self.modalities.iter().any(|modality| streams.iter().all(|(known, _)| known != modality));
        match (self.strategy, names.len()) {
            _ if unknown => refuse("the fusion does not have that modality"),
            _ if repeated => refuse("a modality is listed twice"),
            (Strategy::Alone, 1) => Ok(()),
            (Strategy::Alone, _) => refuse("exactly one modality is needed"),
            (Strategy::Gated | Strategy::Joint, 0 | 1) => refuse("at least two modalities are needed"),
            (Strategy::Gated | Strategy::Joint, _) => Ok(()),
        }
    }

    /// New weights; `hidden` is the width between the layers of a joint branch.
    pub(crate) fn init(&self, streams: &[(Modality, usize)], dim: usize, hidden: usize, device: &Device) -> Branch {
        let place = |modality: &Modality| streams.iter().position(|(known, _)| known == modality);
        let reads: Vec<usize> = self.modalities.iter().filter_map(place).collect();
        let read: Vec<(Modality, usize)> = reads.iter().map(|&place| streams[place]).collect();
        let width: usize = read.iter().map(|(_, width)| width).sum();
        let marks = self.strategy == Strategy::Joint;
        let between = if marks { hidden } else { dim };
        let input = if marks { width + read.len() } else { width };
        let layers = self.strategy != Strategy::Gated;
        Branch {
            hidden: layers.then(|| projection(input, between, device)),
            output: layers.then(|| projection(between, dim, device)),
            multiply_adds: if layers { between * (input + dim) } else { width * dim * (1 + read.len()) },
            gated: (!layers).then(|| GatedConfig { streams: read, dim }.init(device)),
            marks,
            reads,
        }
    }
}

impl Branch {
    /// Places of the modalities it reads.
    pub(crate) fn reads(&self) -> &[usize] {
        &self.reads
    }

    /// Multiplications and additions that a row costs.
    pub fn multiply_adds(&self) -> usize {
        self.multiply_adds
    }

    /// Whether a row with these modalities can take it: it has what is read alone, or at least two of what is read together.
    pub(crate) fn is_open(&self, has: impl Fn(usize) -> bool) -> bool {
        self.reads.iter().filter(|&&place| has(place)).count() >= self.reads.len().min(2)
    }

    /// # Shapes
    ///
    /// - vectors: `[rows, width]` of each of the fusion's modalities, zero in the rows that lack it
    /// - presence: `[rows, modality]`
    /// - output: `[rows, dim]`
    pub fn forward(&self, vectors: &[Tensor<2>], presence: &Tensor<2>) -> Tensor<2> {
        let mut read: Vec<Tensor<2>> = self.reads.iter().map(|&place| vectors[place].clone()).collect();
        let marks: Vec<Tensor<2>> = self.reads.iter().map(|&place| presence.clone().narrow(1, place, 1)).collect();
        let marks = Tensor::cat(marks, 1);
        if let Some(gated) = &self.gated {
            return gated.mix(&read, marks.equal_scalar(0.0)).0;
        }
        if self.marks {
            read.push(marks);
        }
        let layers = (self.hidden.as_ref(), self.output.as_ref());
        let (Some(hidden), Some(output)) = layers else { unreachable!("a branch without a gated unit has two layers") };
        output.forward(hidden.forward_activated(Tensor::cat(read, 1), Activation::Gelu))
    }
}
