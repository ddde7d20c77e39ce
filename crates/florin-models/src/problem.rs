//! Which loss a classifier of transformers has: one class a row, any number of classes, or numbers that are not classes at all.

use burn::prelude::*;
use serde::Deserialize;

use crate::ModelError;
use crate::loss::{label_loss, square_loss};
use crate::named_tensors::{Inputs, refused};
use crate::system::Checkpoint;

/// A configuration's `problem_type`; where it is silent, one score is a number, labels that are whole numbers are classes, and others
/// say yes (1) or no (0) to each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Problem(Option<ProblemType>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ProblemType {
    Regression,
    SingleLabelClassification,
    MultiLabelClassification,
}

#[derive(Deserialize)]
struct ProblemConfig {
    problem_type: Option<ProblemType>,
}

impl Problem {
    pub(crate) fn of(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        Ok(Self(checkpoint.config::<ProblemConfig>()?.problem_type))
    }

    /// The loss of the input `labels`; none without it.
    ///
    /// # Shapes
    ///
    /// - logits: `[batch, classes]`
    /// - output: `[1]`
    pub(crate) fn loss(self, inputs: &Inputs, logits: Tensor<2>) -> Result<Option<Tensor<1>>, ModelError> {
        let [batch, classes] = logits.dims();
        let guessed = match (classes, inputs.is_whole("labels")) {
            (1, _) => ProblemType::Regression,
            (_, true) => ProblemType::SingleLabelClassification,
            (_, false) => ProblemType::MultiLabelClassification,
        };
        match self.0.unwrap_or(guessed) {
            ProblemType::Regression if classes == 1 => square_loss(inputs, "labels", logits.reshape([batch])),
            ProblemType::Regression => square_loss(inputs, "labels", logits),
            ProblemType::SingleLabelClassification => label_loss::<1>(inputs, logits),
            ProblemType::MultiLabelClassification => yes_or_no_loss(inputs, logits),
        }
    }
}

/// The mean over all classes of all rows of the cross-entropy of yes and no.
fn yes_or_no_loss(inputs: &Inputs, logits: Tensor<2>) -> Result<Option<Tensor<1>>, ModelError> {
    let shape = logits.dims();
    let Some(labels) = inputs.maybe_tensor::<2>("labels", "[batch, classes]")? else { return Ok(None) };
    if labels.dims() != shape {
        return Err(refused("labels", &format!("shape {shape:?}"), &format!("shape {:?}", labels.dims())));
    }
    // `max(x, 0) − x y + ln(1 + exp(−|x|))`, which overflows for no x.
    let rest = logits.clone().abs().neg().exp().log1p();
    Ok(Some((logits.clone().clamp_min(0.0) - logits * labels + rest).mean()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_which_loss_is_meant_where_the_configuration_does_not() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let silent = Problem(None);
        let loss = |inputs: &Inputs, logits: Tensor<2>| {
            silent.loss(inputs, logits).unwrap().expect("labels are given").into_scalar::<f32>()
        };
        let logits = || Tensor::<2>::from_floats([[200.0, -200.0], [0.0, 0.0]], &device);
        let some = Inputs::new(&device).floats("labels", &[2, 2], vec![1.0, 0.0, 1.0, 1.0]);
        assert!((loss(&some, logits()) - 0.5 * 2f32.ln()).abs() < 1e-6);
        let one = Inputs::new(&device).whole("labels", &[2], vec![0, 1]);
        assert!((loss(&one, logits()) - 0.5 * 2f32.ln()).abs() < 1e-6);
        let number = Inputs::new(&device).floats("labels", &[2], vec![1.0, 4.0]);
        assert_eq!(loss(&number, Tensor::from_floats([[2.0], [2.0]], &device)), 2.5);
        let error = silent.loss(&number, logits()).unwrap_err().to_string();
        assert_eq!(error, "input labels: expected [batch, classes], found shape [2]");
    }
}
