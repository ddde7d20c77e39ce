//! What the systems of tables share: reading rows, and the head.

use burn::prelude::*;
use florin_backend::activation;
use florin_encoders::{TableColumns, TableInput};
use florin_nn::{Activation, Linear, Norm};
use serde::Deserialize;

use crate::ModelError;
use crate::loss::{class_loss, square_loss};
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::system::{Checkpoint, Wanted};

/// `linear(relu(norm(x)))`.
#[derive(Module, Debug)]
pub struct TableHead {
    /// Norm of the row's vector.
    pub norm: Norm,
    /// `[dim, outputs]`
    pub linear: Linear,
}

/// How many numbers a table's head gives; no head without it.
#[derive(Deserialize)]
struct HeadConfig {
    d_out: Option<usize>,
}

impl TableHead {
    /// The head that a configuration's `d_out` asks for.
    pub(crate) fn of(
        checkpoint: &Checkpoint,
        dim: usize,
        norm: impl FnOnce() -> Norm,
        device: &Device,
    ) -> Result<Option<Self>, ModelError> {
        match checkpoint.config::<HeadConfig>()?.d_out {
            None => Ok(None),
            Some(outputs) if (1..=1_048_576).contains(&outputs) => {
                Ok(Some(Self { norm: norm(), linear: Linear::new(dim, outputs, device) }))
            }
            Some(outputs) => Err(checkpoint.refused(format!("d_out must lie between 1 and 1048576, found {outputs}"))),
        }
    }

    /// # Shapes
    ///
    /// - x: `[batch, dim]`
    /// - output: `[batch, outputs]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.linear.forward(activation(self.norm.forward(x), Activation::Relu))
    }
}

/// The inputs of a table's system.
pub(crate) fn wants(columns: &TableColumns, head: Option<&TableHead>) -> Vec<Wanted> {
    let mut wants = Vec::new();
    if columns.n_cont_features > 0 {
        wants.push(Wanted::needed("x_cont", "[batch, columns of numbers], NaN where missing"));
    }
    if !columns.cat_cardinalities.is_empty() {
        wants.push(Wanted::needed("x_cat", "[batch, columns of categories], -1 where missing"));
    }
    if head.is_some() {
        wants.push(Wanted::optional("labels", "[batch] classes, or [batch, outputs] numbers"));
    }
    wants
}

/// The rows given, each value checked against its column.
pub(crate) fn rows(columns: &TableColumns, inputs: &Inputs) -> Result<TableInput, ModelError> {
    let numbers = if columns.n_cont_features > 0 { Some(numbers(columns, inputs)?) } else { None };
    let categories = if columns.cat_cardinalities.is_empty() { None } else { Some(categories(columns, inputs)?) };
    if let (Some(numbers), Some(categories)) = (&numbers, &categories) {
        let (rows, found) = (numbers.dims()[0], categories.dims()[0]);
        if rows != found {
            return Err(refused("x_cat", &format!("{rows} rows, as x_cont has"), &found.to_string()));
        }
    }
    Ok(TableInput { numbers, categories })
}

/// The pooled vector, the scores of the head, and the loss where labels are given: cross-entropy of classes, squared distance of
/// numbers.
pub(crate) fn outputs(inputs: &Inputs, head: Option<&TableHead>, pooled: Tensor<2>) -> Result<Outputs, ModelError> {
    let Some(head) = head else { return Ok(Outputs::new().with("pooler_output", pooled)) };
    let logits = head.forward(pooled.clone());
    let loss = match inputs.maybe_whole::<1>("labels", "[batch]") {
        Ok(_) => class_loss::<1>(inputs, "labels", logits.clone())?,
        Err(_) => square_loss(inputs, "labels", logits.clone())?,
    };
    Ok(Outputs::new().with_maybe("loss", loss).with("logits", logits).with("pooler_output", pooled))
}

fn numbers(columns: &TableColumns, inputs: &Inputs) -> Result<Tensor<2>, ModelError> {
    let numbers = inputs.tensor::<2>("x_cont", "[batch, columns of numbers]")?;
    let [_, found] = numbers.dims();
    if found != columns.n_cont_features {
        return Err(refused("x_cont", &format!("{} numbers a row", columns.n_cont_features), &found.to_string()));
    }
    if !columns.missing_values && numbers.clone().is_nan().any().into_scalar::<bool>() {
        return Err(refused("x_cont", "numbers, since the model knows no missing ones", "NaN"));
    }
    Ok(numbers)
}

fn categories(columns: &TableColumns, inputs: &Inputs) -> Result<Tensor<2, Int>, ModelError> {
    let dims = "[batch, columns of categories]";
    let expected = columns.cat_cardinalities.len();
    let Some((shape, ids)) = inputs.maybe_whole::<2>("x_cat", dims)? else {
        return Err(refused("x_cat", dims, "nothing"));
    };
    if shape[1] != expected {
        return Err(refused("x_cat", &format!("{expected} categories a row"), &shape[1].to_string()));
    }
    let least = if columns.missing_values { -1 } else { 0 };
    for (place, &id) in ids.iter().enumerate() {
        let (column, most) = (place % expected, columns.cat_cardinalities[place % expected] as i64 - 1);
        if !(least..=most).contains(&id) {
            return Err(refused(
                "x_cat",
                &format!("numbers from {least} to {most} in column {column}"),
                &id.to_string(),
            ));
        }
    }
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    Ok(Tensor::from_data(TensorData::new(ids, shape), inputs.device()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_do_not_fit_their_columns_are_refused() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let columns =
            |missing_values| TableColumns { n_cont_features: 1, cat_cardinalities: vec![3, 2], missing_values };
        let given = |number: f32, ids: [i64; 2]| {
            Inputs::new(&device).floats("x_cont", &[1, 1], vec![number]).whole("x_cat", &[1, 2], ids.to_vec())
        };
        let error = |missing, inputs: &Inputs| rows(&columns(missing), inputs).unwrap_err().to_string();
        assert!(rows(&columns(true), &given(f32::NAN, [2, -1])).is_ok());
        assert!(error(false, &given(f32::NAN, [2, 1])).contains("knows no missing ones"));
        let expected = "input x_cat: expected numbers from 0 to 1 in column 1, found -1";
        assert_eq!(error(false, &given(0.0, [2, -1])), expected);
        assert!(error(true, &given(0.0, [3, 0])).contains("from -1 to 2 in column 0, found 3"));
        let uneven = given(0.0, [0, 0]).floats("x_cont", &[2, 1], vec![0.0; 2]);
        assert_eq!(error(true, &uneven), "input x_cat: expected 2 rows, as x_cont has, found 1");
    }
}
