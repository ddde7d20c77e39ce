//! FT-Transformer: every column of a table becomes a token, and the class token reads them all.
//!
//! Paper: Gorishniy et al. 2021, <https://arxiv.org/abs/2106.11959>
//! Difference: a missing number has a learned vector in the place of its token, and a missing category is one more category of its
//! column; the paper and its package have no missing values. A single head, which has no output projection there, is refused.

use burn::module::Param;
use burn::prelude::*;
use florin_nn::{
    Activation, Attention, AttentionConfig, Embedding, Encoded, Encoder, LayerNorm, Mask, Mlp, Modality, Tokens, normal,
};
use serde::{Deserialize, Serialize};

use crate::table_input::{TableColumns, TableInput, known_categories};
use crate::{ConfigError, check_heads, check_size, no_such};

/// Epsilon of the norms, PyTorch's own.
const EPSILON: f64 = 1e-5;

/// Sizes, under the names of the paper's package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FtTransformerConfig {
    /// What is read.
    #[serde(flatten)]
    pub columns: TableColumns,
    /// Blocks, at least one.
    pub n_blocks: usize,
    /// Width of the vectors.
    pub d_block: usize,
    /// Attention heads, at least two; divides `d_block`.
    pub attention_n_heads: usize,
    /// Width inside the perceptrons, behind their activation.
    pub ffn_d_hidden: usize,
    /// `ReGLU` or `ReLU`.
    #[serde(default = "reglu")]
    pub ffn_activation: String,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct FtTransformerEncoder {
    /// `[dim]`
    pub class_token: Param<Tensor<1>>,
    /// Tokens of numbers, where the table has any.
    pub numbers: Option<NumberTokens>,
    /// Tokens of categories, where the table has any.
    pub categories: Option<CategoryTokens>,
    /// The blocks, lowest first.
    pub layers: Vec<FtTransformerBlock>,
    dim: usize,
}

/// A number times a vector of its column's own, and a second vector.
#[derive(Module, Debug)]
pub struct NumberTokens {
    /// `[columns, dim]`
    pub weight: Param<Tensor<2>>,
    /// `[columns, dim]`
    pub bias: Param<Tensor<2>>,
    /// What stands in the place of a missing number's token, `[columns, dim]`.
    pub missing: Option<Param<Tensor<2>>>,
}

/// A vector for each category of each column, and one of the column.
#[derive(Module, Debug)]
pub struct CategoryTokens {
    /// A table a column, `[categories, dim]`.
    pub embeddings: Vec<Embedding>,
    /// `[columns, dim]`
    pub bias: Param<Tensor<2>>,
    /// The category of missing ones, `[columns, dim]`.
    pub missing: Option<Param<Tensor<2>>>,
}

/// Norms before the branches, but for the very first.
#[derive(Module, Debug)]
pub struct FtTransformerBlock {
    /// Norm of the attention branch; the first block has none.
    pub attention_norm: Option<LayerNorm>,
    /// Attention.
    pub attention: Attention,
    /// Norm of the perceptron's branch.
    pub mlp_norm: LayerNorm,
    /// The perceptron.
    pub mlp: Mlp,
}

fn reglu() -> String {
    "ReGLU".to_owned()
}

impl FtTransformerConfig {
    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let encoder = "ft-transformer";
        self.columns.validate(encoder)?;
        check_size(encoder, "n_blocks", self.n_blocks, 1, 256)?;
        check_size(encoder, "d_block", self.d_block, 1, 16_384)?;
        check_size(encoder, "ffn_d_hidden", self.ffn_d_hidden, 1, 131_072)?;
        check_size(encoder, "attention_n_heads", self.attention_n_heads, 2, 16_384)?;
        check_heads(encoder, self.attention_n_heads, self.d_block)?;
        if !["ReGLU", "ReLU"].contains(&self.ffn_activation.as_str()) {
            return Err(no_such(encoder, "ffn_activation", "ReGLU or ReLU", &self.ffn_activation));
        }
        Ok(())
    }

    /// New weights.
    pub fn init(&self, device: &Device) -> Result<FtTransformerEncoder, ConfigError> {
        self.validate()?;
        let (columns, dim) = (&self.columns, self.d_block);
        let vectors = |count: usize| normal([count, dim], 0.02, device);
        let (numbers, categories) = (columns.n_cont_features, columns.cat_cardinalities.len());
        let missing = |count| columns.missing_values.then(|| vectors(count));
        let table = |&cardinality: &usize| Embedding::new(cardinality, dim, device);
        Ok(FtTransformerEncoder {
            class_token: normal([dim], 0.02, device),
            numbers: (numbers > 0).then(|| NumberTokens {
                weight: vectors(numbers),
                bias: vectors(numbers),
                missing: missing(numbers),
            }),
            categories: (categories > 0).then(|| CategoryTokens {
                embeddings: columns.cat_cardinalities.iter().map(table).collect(),
                bias: vectors(categories),
                missing: missing(categories),
            }),
            layers: (0..self.n_blocks).map(|layer| self.block(layer, device)).collect(),
            dim,
        })
    }

    fn block(&self, layer: usize, device: &Device) -> FtTransformerBlock {
        let mlp = if self.ffn_activation == "ReGLU" { Mlp::gated } else { Mlp::new };
        FtTransformerBlock {
            attention_norm: (layer > 0).then(|| LayerNorm::new(self.d_block, EPSILON, device)),
            attention: AttentionConfig::new(self.d_block, self.attention_n_heads).init(device),
            mlp_norm: LayerNorm::new(self.d_block, EPSILON, device),
            mlp: mlp(self.d_block, self.ffn_d_hidden, Activation::Relu, device),
        }
    }
}

impl FtTransformerEncoder {
    /// The tokens and what each block makes of them. Of the last block only the class token, which is all that a head reads.
    ///
    /// # Shapes
    ///
    /// - numbers: `[batch, columns of numbers]`, categories: `[batch, columns of categories]`
    /// - outputs: `[batch, 1 + columns, dim]`, the last `[batch, 1, dim]`
    ///
    /// # Panics
    ///
    /// If the input has other columns than the configuration.
    pub fn forward(&self, input: TableInput) -> Vec<Tensor<3>> {
        self.states(input, 1)
    }

    /// The last block computes so many tokens, or all where there are fewer.
    fn states(&self, input: TableInput, last: usize) -> Vec<Tensor<3>> {
        let mut x = self.tokens(input);
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        for (index, layer) in self.layers.iter().enumerate() {
            states.push(x.clone());
            let [_, tokens, _] = x.dims();
            let queries = if index + 1 == self.layers.len() { last.min(tokens) } else { tokens };
            x = layer.forward(x, queries);
        }
        states.push(x);
        states
    }

    fn tokens(&self, input: TableInput) -> Tensor<3> {
        let numbers = self.numbers.as_ref().map(|tokens| tokens.forward(input.numbers.expect("numbers are given")));
        let categories = self.categories.as_ref();
        let categories = categories.map(|tokens| tokens.forward(input.categories.expect("categories are given")));
        let columns: Vec<Tensor<3>> = numbers.into_iter().chain(categories).collect();
        let [batch, _, _] = columns[0].dims();
        let first = self.class_token.val().reshape([1, 1, self.dim]).expand([batch, 1, self.dim]);
        Tensor::cat(std::iter::once(first).chain(columns).collect(), 1)
    }
}

impl NumberTokens {
    /// # Shapes
    ///
    /// - numbers: `[batch, columns]`, NaN where missing
    /// - output: `[batch, columns, dim]`
    pub fn forward(&self, numbers: Tensor<2>) -> Tensor<3> {
        let missing = numbers.clone().is_nan();
        let numbers = match &self.missing {
            Some(_) => numbers.mask_fill(missing.clone(), 0.0),
            // Nothing stands for a missing number: it must not look like zero.
            None => numbers,
        };
        let tokens = numbers.unsqueeze_dim::<3>(2) * self.weight.val().unsqueeze() + self.bias.val().unsqueeze();
        with_missing(tokens, missing, self.missing.as_ref())
    }
}

impl CategoryTokens {
    /// # Shapes
    ///
    /// - ids: `[batch, columns]`, -1 where missing
    /// - output: `[batch, columns, dim]`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let (missing, ids) = known_categories(ids);
        let columns = self.embeddings.iter().enumerate();
        let tokens = columns.map(|(column, table)| table.forward(ids.clone().narrow(1, column, 1))).collect();
        with_missing(Tensor::cat(tokens, 1), missing, self.missing.as_ref()) + self.bias.val().unsqueeze()
    }
}

impl FtTransformerBlock {
    /// # Shapes
    ///
    /// - x: `[batch, tokens, dim]`
    /// - output: `[batch, queries, dim]`, of the first `queries` tokens
    pub fn forward(&self, x: Tensor<3>, queries: usize) -> Tensor<3> {
        let normed = match &self.attention_norm {
            Some(norm) => norm.forward(x.clone()),
            None => x.clone(),
        };
        let x =
            x.narrow(1, 0, queries) + self.attention.forward(normed.clone().narrow(1, 0, queries), normed, None, None);
        x.clone() + self.mlp.forward(self.mlp_norm.forward(x))
    }
}

fn with_missing(tokens: Tensor<3>, missing: Tensor<2, Bool>, vectors: Option<&Param<Tensor<2>>>) -> Tensor<3> {
    let shape = tokens.dims();
    match vectors {
        Some(vectors) => {
            let vectors = vectors.val().unsqueeze::<3>().expand(shape);
            tokens.mask_where(missing.unsqueeze_dim::<3>(2).expand(shape), vectors)
        }
        None => tokens,
    }
}

impl Encoder for FtTransformerEncoder {
    type Input = TableInput;

    fn modality(&self) -> Modality {
        Modality::Table
    }

    fn dim(&self) -> usize {
        self.dim
    }

    /// The class token and every column's; pooled is the class token's.
    fn encode(&self, input: TableInput) -> Encoded {
        let last = self.states(input, usize::MAX).pop().expect("there is always a state");
        let [batch, tokens, _] = last.dims();
        let mask = Mask::all_kept(batch, tokens, &last.device());
        let pooled = last.clone().narrow(1, 0, 1).squeeze_dim(1);
        Encoded { modality: Modality::Table, pooled, tokens: Tokens::new(last, mask) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(missing_values: bool) -> FtTransformerConfig {
        let columns = TableColumns { n_cont_features: 2, cat_cardinalities: vec![3, 2], missing_values };
        let (n_blocks, d_block, attention_n_heads, ffn_d_hidden) = (2, 8, 2, 6);
        FtTransformerConfig { columns, n_blocks, d_block, attention_n_heads, ffn_d_hidden, ffn_activation: reglu() }
    }

    fn input(numbers: [f32; 2], categories: [i32; 2], device: &Device) -> TableInput {
        let categories = Tensor::<2, Int>::from_data(TensorData::new(categories.to_vec(), [1, 2]), device);
        TableInput { numbers: Some(Tensor::from_floats([numbers], device)), categories: Some(categories) }
    }

    fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec::<f32>().expect("f32")
    }

    #[test]
    fn a_missing_value_has_a_token_of_its_own_and_changes_no_other() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let encoder = config(true).init(&device).unwrap();
        let tokens = |numbers, categories| floats(encoder.tokens(input(numbers, categories, &device)));
        let (full, missing) = (tokens([0.0, 1.0], [0, 1]), tokens([f32::NAN, 1.0], [-1, 1]));
        let vector = |tokens: &[f32], token: usize| tokens[token * 8..(token + 1) * 8].to_vec();
        let learned = floats(encoder.numbers.as_ref().unwrap().missing.as_ref().unwrap().val());
        assert_eq!(vector(&missing, 1), learned[..8]);
        for token in [0, 2, 4] {
            assert_eq!(vector(&missing, token), vector(&full, token));
        }
        for token in [1, 3] {
            assert_ne!(vector(&missing, token), vector(&full, token));
        }
    }

    #[test]
    fn the_class_token_alone_is_what_all_tokens_together_give_it() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let encoder = config(false).init(&device).unwrap();
        let alone = encoder.forward(input([0.5, 1.0], [2, 0], &device)).pop().unwrap();
        assert_eq!(alone.dims(), [1, 1, 8]);
        let encoded = encoder.encode(input([0.5, 1.0], [2, 0], &device));
        assert_eq!(encoded.tokens.dims(), [1, 5, 8]);
        for (one, other) in floats(alone).iter().zip(floats(encoded.pooled)) {
            assert!((one - other).abs() < 1e-6);
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let error = |config: FtTransformerConfig| config.validate().unwrap_err().to_string();
        let one = FtTransformerConfig { attention_n_heads: 1, ..config(false) };
        assert_eq!(error(one), "ft-transformer: attention_n_heads must lie between 2 and 16384, found 1");
        let columns = TableColumns { n_cont_features: 0, cat_cardinalities: vec![], missing_values: false };
        let none = FtTransformerConfig { columns, ..config(false) };
        assert_eq!(error(none), "ft-transformer: columns must lie between 1 and 16384, found 0");
        let gelu = FtTransformerConfig { ffn_activation: "GELU".to_owned(), ..config(false) };
        assert_eq!(error(gelu), "ft-transformer: ffn_activation must be ReGLU or ReLU, found GELU");
    }
}
