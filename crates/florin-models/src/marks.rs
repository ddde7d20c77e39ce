//! Inputs of yes and no, which exporters write as booleans, whole numbers or measurements.

use burn::prelude::*;

use crate::ModelError;
use crate::named_tensors::{Inputs, refused};

/// An input of yes (anything but 0) and no (0), of a given shape, if given; true for yes.
///
/// # Shapes
///
/// - output: `shape`
pub(crate) fn maybe_marks<const D: usize>(
    inputs: &Inputs,
    name: &str,
    shape: [usize; D],
) -> Result<Option<Tensor<D, Bool>>, ModelError> {
    if !inputs.has(name) {
        return Ok(None);
    }
    let expected = format!("yes and no of shape {shape:?}");
    let (found, marks) = match inputs.maybe_whole::<D>(name, &expected) {
        Ok(Some((found, values))) => {
            let marks: Vec<bool> = values.iter().map(|&value| value != 0).collect();
            (found, Tensor::from_data(TensorData::new(marks, found), inputs.device()))
        }
        _ => {
            let values = inputs.tensor::<D>(name, &expected)?;
            (values.dims(), values.not_equal_elem(0.0))
        }
    };
    if found == shape { Ok(Some(marks)) } else { Err(refused(name, &expected, &format!("shape {found:?}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_from_whole_numbers_and_from_measurements() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let inputs = Inputs::new(&device).whole("a", &[1, 2], vec![0, 1]).floats("b", &[1, 2], vec![1.0, 0.0]);
        let marks = |name: &str| {
            let found = maybe_marks(&inputs, name, [1, 2]).unwrap();
            found.map(|marks: Tensor<2, Bool>| marks.into_data().try_to_vec::<bool>().expect("marks"))
        };
        assert_eq!(marks("a").unwrap(), [false, true]);
        assert_eq!(marks("b").unwrap(), [true, false]);
        assert!(marks("c").is_none());
        let error = maybe_marks(&inputs, "a", [2, 2]).unwrap_err().to_string();
        assert_eq!(error, "input a: expected yes and no of shape [2, 2], found shape [1, 2]");
    }
}
