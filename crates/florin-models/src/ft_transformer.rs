//! FT-Transformer as a system: Florin's own `config.json`, and the tensors under the names of the paper's package
//! (`rtdl_revisiting_models`), so that what it trained opens here. Two tensors are ours: `cont_embeddings.missing` and
//! `cat_embeddings.missing`, where the configuration says `missing_values`.
//!
//! Paper: Gorishniy et al. 2021, <https://arxiv.org/abs/2106.11959>
//! Difference: that of the encoder.

use std::path::Path;

use burn::prelude::*;
use florin_encoders::{FtTransformerConfig, FtTransformerEncoder, TableColumns};
use florin_nn::{LayerNorm, Norm};

use crate::ModelError;
use crate::named_tensors::{Inputs, Outputs};
use crate::names::{Names, Rule, rule};
use crate::system::{Checkpoint, Forward, Opened, Wanted};
use crate::table::{self, TableHead};

const NAMES: [Rule; 13] = [
    rule("encoder.class_token", "cls_embedding.weight"),
    rule("encoder.numbers", "cont_embeddings"),
    rule("encoder.categories", "cat_embeddings"),
    rule("encoder.layers.#.attention_norm", "backbone.blocks.#.attention_normalization"),
    rule("encoder.layers.#.attention.query", "backbone.blocks.#.attention.W_q"),
    rule("encoder.layers.#.attention.key", "backbone.blocks.#.attention.W_k"),
    rule("encoder.layers.#.attention.value", "backbone.blocks.#.attention.W_v"),
    rule("encoder.layers.#.attention.output", "backbone.blocks.#.attention.W_out"),
    rule("encoder.layers.#.mlp_norm", "backbone.blocks.#.ffn_normalization"),
    rule("encoder.layers.#.mlp.up", "backbone.blocks.#.ffn.linear1"),
    rule("encoder.layers.#.mlp.down", "backbone.blocks.#.ffn.linear2"),
    rule("head.norm", "backbone.output.normalization"),
    rule("head.linear", "backbone.output.linear"),
];

/// One matrix holds what goes through and, behind it, the gate.
const GATED_NAMES: [Rule; 2] = [
    rule("encoder.layers.#.mlp.up", "backbone.blocks.#.ffn.linear1").rows(0, 2),
    rule("encoder.layers.#.mlp.gate", "backbone.blocks.#.ffn.linear1").rows(1, 2),
];

/// The encoder and its head.
#[derive(Module, Debug)]
pub struct FtTransformer {
    /// The encoder.
    pub encoder: FtTransformerEncoder,
    /// The head, where `d_out` is given.
    pub head: Option<TableHead>,
    #[module(skip)]
    columns: TableColumns,
}

impl FtTransformer {
    /// Opens a folder.
    pub fn open(folder: &Path, device: &Device) -> Result<Opened<Self>, ModelError> {
        Self::of(&Checkpoint::open(folder)?, device)
    }

    pub(crate) fn of(checkpoint: &Checkpoint, device: &Device) -> Result<Opened<Self>, ModelError> {
        let config: FtTransformerConfig = checkpoint.config()?;
        let encoder = config.init(device)?;
        let norm = || Norm::Layer(LayerNorm::new(config.d_block, 1e-5, device));
        let head = TableHead::of(checkpoint, config.d_block, norm, device)?;
        let names = Names::new(NAMES);
        let names = if config.ffn_activation == "ReGLU" { names.and(GATED_NAMES) } else { names };
        checkpoint.fill(Self { encoder, head, columns: config.columns }, names)
    }
}

impl Forward for FtTransformer {
    fn wants(&self) -> Vec<Wanted> {
        table::wants(&self.columns, self.head.as_ref())
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let states = self.encoder.forward(table::rows(&self.columns, inputs)?);
        let pooled = states[states.len() - 1].clone().squeeze_dim(1);
        Ok(table::outputs(inputs, self.head.as_ref(), pooled)?.with_hidden_states(states))
    }
}
