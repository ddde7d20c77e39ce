//! The residual perceptron for tables as a system: Florin's own `config.json`, and the tensors under the names of the paper's
//! package (`rtdl_revisiting_models.ResNet`), so that what it trained opens here.
//!
//! Paper: Gorishniy et al. 2021 (ResNet), <https://arxiv.org/abs/2106.11959>
//! Difference: that of the encoder.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{TableColumns, TableMlpConfig, TableMlpEncoder};

use crate::ModelError;
use crate::named_tensors::{Inputs, Outputs};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Forward, Opened, Wanted};
use crate::table::{self, TableHead};

const NAMES: [Rule; 6] = [
    rule("encoder.input", "input_projection"),
    rule("encoder.blocks.#.norm", "blocks.#.normalization"),
    rule("encoder.blocks.#.up", "blocks.#.linear1"),
    rule("encoder.blocks.#.down", "blocks.#.linear2"),
    rule("head.norm", "output.normalization"),
    rule("head.linear", "output.linear"),
];

/// The encoder and its head.
#[derive(Module, Debug)]
pub struct TableMlp {
    /// The encoder.
    pub encoder: TableMlpEncoder,
    /// The head, where `d_out` is given.
    pub head: Option<TableHead>,
    #[module(skip)]
    columns: TableColumns,
}

impl TableMlp {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let config: TableMlpConfig = checkpoint.config()?;
        let encoder = config.init(device)?;
        let head = TableHead::of(checkpoint, config.d_block, || config.norm(device), device)?;
        let names = Names::new(NAMES).ignoring(|name| name.ends_with("num_batches_tracked"));
        checkpoint.fill(Self { encoder, head, columns: config.columns }, names)
    }
}

impl Forward for TableMlp {
    fn wants(&self) -> Vec<Wanted> {
        table::wants(&self.columns, self.head.as_ref())
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let states = self.encoder.forward(table::rows(&self.columns, inputs)?);
        let pooled = states[states.len() - 1].clone();
        Ok(table::outputs(inputs, self.head.as_ref(), pooled)?.with_hidden_states(states))
    }
}
