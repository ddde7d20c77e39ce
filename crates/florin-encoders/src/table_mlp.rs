//! A residual perceptron over the columns of a table: the baseline that every other table model is measured against.
//!
//! Paper: Gorishniy et al. 2021 (ResNet), <https://arxiv.org/abs/2106.11959>
//! Difference: categories are read as ones and zeros, a missing one as one more category, a missing number as zero with a mark; the
//! paper's package leaves that to its user. Layer norms are a choice, since ours of the batch learn no statistics.

use burn::prelude::*;
use florin_nn::{Activation, BatchNorm, Encoded, Encoder, LayerNorm, Linear, Mask, Modality, Norm, Tokens};
use serde::{Deserialize, Serialize};

use crate::table_input::{TableColumns, TableInput, known_categories};
use crate::{ConfigError, check_size, no_such};

/// Sizes, under the names of the paper's package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableMlpConfig {
    /// What is read.
    #[serde(flatten)]
    pub columns: TableColumns,
    /// Blocks, at least one.
    pub n_blocks: usize,
    /// Width of the vectors.
    pub d_block: usize,
    /// Width inside the blocks.
    pub d_hidden: usize,
    /// `batchnorm`, by the statistics of the file, or `layernorm`.
    #[serde(default = "batchnorm")]
    pub normalization: String,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct TableMlpEncoder {
    /// `[features, dim]`
    pub input: Linear,
    /// The blocks, lowest first.
    pub blocks: Vec<TableMlpBlock>,
    dim: usize,
    #[module(skip)]
    columns: TableColumns,
}

/// `x + down(relu(up(norm(x))))`.
#[derive(Module, Debug)]
pub struct TableMlpBlock {
    /// Norm of the branch.
    pub norm: Norm,
    /// `[dim, hidden]`
    pub up: Linear,
    /// `[hidden, dim]`
    pub down: Linear,
}

fn batchnorm() -> String {
    "batchnorm".to_owned()
}

impl TableMlpConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let encoder = "table mlp";
        self.columns.validate(encoder)?;
        check_size(encoder, "features", self.features(), 1, 16_777_216)?;
        check_size(encoder, "n_blocks", self.n_blocks, 1, 256)?;
        check_size(encoder, "d_block", self.d_block, 1, 16_384)?;
        check_size(encoder, "d_hidden", self.d_hidden, 1, 131_072)?;
        if !["batchnorm", "layernorm"].contains(&self.normalization.as_str()) {
            return Err(no_such(encoder, "normalization", "batchnorm or layernorm", &self.normalization));
        }
        Ok(())
    }

    /// Numbers that a row becomes: its own, a mark for each where values may be missing, and one for each category.
    pub fn features(&self) -> usize {
        let TableColumns { n_cont_features, ref cat_cardinalities, missing_values } = self.columns;
        let more = usize::from(missing_values);
        n_cont_features * (1 + more) + cat_cardinalities.iter().map(|&categories| categories + more).sum::<usize>()
    }

    /// The norm of a block, or of a head.
    pub fn norm(&self, device: &Device) -> Norm {
        match self.normalization.as_str() {
            "batchnorm" => Norm::Batch(BatchNorm::new(self.d_block, 1e-5, device)),
            _ => Norm::Layer(LayerNorm::new(self.d_block, 1e-5, device)),
        }
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<TableMlpEncoder, ConfigError> {
        self.validate()?;
        let block = |_| TableMlpBlock {
            norm: self.norm(device),
            up: Linear::new(self.d_block, self.d_hidden, device),
            down: Linear::new(self.d_hidden, self.d_block, device),
        };
        Ok(TableMlpEncoder {
            input: Linear::new(self.features(), self.d_block, device),
            blocks: (0..self.n_blocks).map(block).collect(),
            dim: self.d_block,
            columns: self.columns.clone(),
        })
    }
}

impl TableMlpEncoder {
    /// The projected row and what each block makes of it.
    ///
    /// # Shapes
    ///
    /// - numbers: `[batch, columns of numbers]`, categories: `[batch, columns of categories]`
    /// - outputs: `[batch, dim]`
    ///
    /// # Panics
    ///
    /// If the input has other columns than the configuration.
    pub fn forward(&self, input: TableInput) -> Vec<Tensor<2>> {
        let mut x = self.input.forward(self.features(input));
        let mut states = vec![x.clone()];
        for block in &self.blocks {
            x = block.forward(x);
            states.push(x.clone());
        }
        states
    }

    /// Numbers, marks of missing numbers, then each column's categories.
    fn features(&self, input: TableInput) -> Tensor<2> {
        let mut parts = Vec::new();
        if let Some(numbers) = input.numbers.filter(|_| self.columns.n_cont_features > 0) {
            if self.columns.missing_values {
                let missing = numbers.clone().is_nan();
                parts.push(numbers.clone().mask_fill(missing.clone(), 0.0));
                parts.push(missing.float().cast(numbers.dtype()));
            } else {
                parts.push(numbers);
            }
        }
        let weight = self.input.weight.val().dtype();
        if let Some(ids) = input.categories.filter(|_| !self.columns.cat_cardinalities.is_empty()) {
            let (missing, ids) = known_categories(ids);
            for (column, &categories) in self.columns.cat_cardinalities.iter().enumerate() {
                let missing = missing.clone().narrow(1, column, 1);
                let (ids, classes) = match self.columns.missing_values {
                    true => {
                        let ids = ids.clone().narrow(1, column, 1);
                        (ids.mask_fill(missing, categories as i64), categories + 1)
                    }
                    false => (ids.clone().narrow(1, column, 1), categories),
                };
                parts.push(chosen(ids, classes).float().cast(weight));
            }
        }
        Tensor::cat(parts, 1)
    }
}

/// True at the class of each row: `[batch, 1]` to `[batch, classes]`.
fn chosen(ids: Tensor<2, Int>, classes: usize) -> Tensor<2, Bool> {
    let [batch, _] = ids.dims();
    let all = Tensor::<1, Int>::arange(0..classes as i64, &ids.device()).reshape([1, classes]);
    ids.expand([batch, classes]).equal(all.expand([batch, classes]))
}

impl TableMlpBlock {
    /// # Shapes
    ///
    /// - x, output: `[batch, dim]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.clone() + self.down.forward(self.up.forward_activated(self.norm.forward(x), Activation::Relu))
    }
}

impl Encoder for TableMlpEncoder {
    type Input = TableInput;

    fn modality(&self) -> Modality {
        Modality::Table
    }

    fn dim(&self) -> usize {
        self.dim
    }

    /// One token a row, which is what is pooled.
    fn encode(&self, input: TableInput) -> Encoded {
        let pooled = self.forward(input).pop().expect("there is always a state");
        let [batch, _] = pooled.dims();
        let mask = Mask::all_kept(batch, 1, &pooled.device());
        let tokens = Tokens::new(pooled.clone().unsqueeze_dim(1), mask);
        Encoded { modality: Modality::Table, pooled, tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_numbers_are_marked_and_missing_categories_are_one_more() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let columns = TableColumns { n_cont_features: 2, cat_cardinalities: vec![2, 1], missing_values: true };
        let config =
            TableMlpConfig { columns, n_blocks: 1, d_block: 4, d_hidden: 3, normalization: "layernorm".to_owned() };
        assert_eq!(config.features(), 9);
        let encoder = config.init(&device).unwrap();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(vec![1i32, -1, -1, 0], [2, 2]), &device);
        let numbers = Tensor::<2>::from_floats([[0.5, f32::NAN], [2.0, 3.0]], &device);
        let features = encoder.features(TableInput { numbers: Some(numbers), categories: Some(ids) });
        let expected = [0.5, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0];
        assert_eq!(features.into_data().try_to_vec::<f32>().expect("f32"), expected);
        let wrong = TableMlpConfig { normalization: "none".to_owned(), ..config };
        let error = wrong.validate().unwrap_err().to_string();
        assert_eq!(error, "table mlp: normalization must be batchnorm or layernorm, found none");
    }
}
