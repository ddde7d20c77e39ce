//! What the encoders of tables read: numbers and categories, either of which may be missing.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, check_size};

/// The columns of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableColumns {
    /// Columns of numbers.
    #[serde(default)]
    pub n_cont_features: usize,
    /// How many categories each column of them has.
    #[serde(default)]
    pub cat_cardinalities: Vec<usize>,
    /// Whether values may be missing; what then stands for them is learned.
    #[serde(default)]
    pub missing_values: bool,
}

/// A batch of rows of a table.
#[derive(Clone, Debug)]
pub struct TableInput {
    /// `[batch, columns of numbers]`, NaN where missing.
    pub numbers: Option<Tensor<2>>,
    /// `[batch, columns of categories]`, each below its column's number of categories, -1 where missing.
    pub categories: Option<Tensor<2, Int>>,
}

impl TableColumns {
    /// Refuses columns that cannot be read.
    pub fn validate(&self, encoder: &'static str) -> Result<(), ConfigError> {
        check_size(encoder, "columns", self.n_cont_features.saturating_add(self.cat_cardinalities.len()), 1, 16_384)?;
        let mut cardinalities = self.cat_cardinalities.iter();
        cardinalities.try_for_each(|&cardinality| check_size(encoder, "cat_cardinalities", cardinality, 1, 16_777_216))
    }
}

/// Marks of the categories that are missing, and the ids with some category there.
///
/// # Shapes
///
/// - ids, outputs: `[batch, columns]`
pub(crate) fn known_categories(ids: Tensor<2, Int>) -> (Tensor<2, Bool>, Tensor<2, Int>) {
    (ids.clone().lower_elem(0), ids.clamp_min(0))
}
