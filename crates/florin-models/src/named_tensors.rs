//! Tensors by name: what a system is given and what it gives, under the names that transformers uses.

use std::collections::BTreeMap;

use burn::prelude::*;
use florin_nn::Mask;

use crate::ModelError;

/// The numbers of one input.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Measurements: pixels, samples, prices.
    Floats(Vec<f32>),
    /// Whole numbers, or yes (1) and no (0): ids, labels, masks.
    Whole(Vec<i64>),
}

/// Shape and values of whole numbers.
pub type Whole<'a, const D: usize> = ([usize; D], &'a [i64]);

/// One input, row-major, not yet on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub numbers: Numbers,
}

/// The inputs of one call, by name, and the device they go to.
#[derive(Clone, Debug)]
pub struct Inputs {
    device: Device,
    by_name: BTreeMap<String, Input>,
    drops_padding: bool,
}

impl Inputs {
    /// None yet.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), by_name: BTreeMap::new(), drops_padding: false }
    }

    /// With an input of measurements.
    ///
    /// # Panics
    ///
    /// If the shape has another number of values.
    pub fn floats(mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}: {shape:?} is not the shape of the values");
        self.by_name.insert(name.to_owned(), Input { shape: shape.to_vec(), numbers: Numbers::Floats(values) });
        self
    }

    /// With an input of whole numbers.
    ///
    /// # Panics
    ///
    /// If the shape has another number of values.
    pub fn whole(mut self, name: &str, shape: &[usize], values: Vec<i64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}: {shape:?} is not the shape of the values");
        self.by_name.insert(name.to_owned(), Input { shape: shape.to_vec(), numbers: Numbers::Whole(values) });
        self
    }

    /// Asks for what counts alone: a system of texts may leave zeros where padding stands, and states between its layers out.
    pub fn without_padding(self) -> Self {
        Self { drops_padding: true, ..self }
    }

    /// Whether what stands where padding does is nobody's concern.
    pub(crate) fn drops_padding(&self) -> bool {
        self.drops_padding
    }

    /// The names given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Where they go.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether an input is given.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Whether an input is given and holds whole numbers.
    pub(crate) fn is_whole(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|input| matches!(input.numbers, Numbers::Whole(_)))
    }

    /// An input of measurements that the system cannot do without. `dims` names its dimensions, for messages.
    pub fn tensor<const D: usize>(&self, name: &str, dims: &str) -> Result<Tensor<D>, ModelError> {
        self.maybe_tensor(name, dims)?.ok_or_else(|| self.absent(name, dims))
    }

    /// An input of measurements, if given.
    pub fn maybe_tensor<const D: usize>(&self, name: &str, dims: &str) -> Result<Option<Tensor<D>>, ModelError> {
        let Some(input) = self.by_name.get(name) else { return Ok(None) };
        let shape = shape_of::<D>(name, input, dims)?;
        let Numbers::Floats(values) = &input.numbers else { return Err(refused(name, dims, "whole numbers")) };
        Ok(Some(Tensor::from_data(TensorData::new(values.clone(), shape), &self.device)))
    }

    /// Whole numbers that the system cannot do without, each from 0 up to, not including, `below`: a number beyond a table is
    /// the user's mistake, not a panic.
    pub fn ids<const D: usize>(&self, name: &str, dims: &str, below: usize) -> Result<Tensor<D, Int>, ModelError> {
        self.maybe_ids(name, dims, below)?.ok_or_else(|| self.absent(name, dims))
    }

    /// Whole numbers below a bound, if given.
    pub fn maybe_ids<const D: usize>(
        &self,
        name: &str,
        dims: &str,
        below: usize,
    ) -> Result<Option<Tensor<D, Int>>, ModelError> {
        let Some((shape, values)) = self.maybe_whole::<D>(name, dims)? else { return Ok(None) };
        if let Some(beyond) = values.iter().find(|&&value| value < 0 || value as usize >= below) {
            return Err(refused(name, &format!("numbers from 0 to {}", below.saturating_sub(1)), &beyond.to_string()));
        }
        let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
        Ok(Some(Tensor::from_data(TensorData::new(values, shape), &self.device)))
    }

    /// Shape and values of whole numbers, if given.
    pub fn maybe_whole<const D: usize>(&self, name: &str, dims: &str) -> Result<Option<Whole<'_, D>>, ModelError> {
        let Some(input) = self.by_name.get(name) else { return Ok(None) };
        let shape = shape_of::<D>(name, input, dims)?;
        match &input.numbers {
            Numbers::Whole(values) => Ok(Some((shape, values))),
            Numbers::Floats(_) => Err(refused(name, "whole numbers", "measurements")),
        }
    }

    /// A mask in which 1 means keep, of a given shape; everything is kept where none is given.
    pub fn mask(&self, name: &str, [batch, seq]: [usize; 2]) -> Result<Mask, ModelError> {
        Ok(match self.maybe_marks(name, "[batch, seq]", [batch, seq])? {
            Some(kept) => Mask::from_kept(&kept, batch, seq, &self.device),
            None => Mask::all_kept(batch, seq, &self.device),
        })
    }

    /// Yes or no for each place of a given shape, row by row, if given.
    pub(crate) fn maybe_marks(
        &self,
        name: &str,
        dims: &str,
        expected: [usize; 2],
    ) -> Result<Option<Vec<bool>>, ModelError> {
        let Some((shape, marks)) = self.maybe_whole::<2>(name, dims)? else { return Ok(None) };
        if shape != expected {
            return Err(refused(name, &format!("shape {expected:?}"), &format!("{shape:?}")));
        }
        Ok(Some(marks.iter().map(|&mark| mark != 0).collect()))
    }

    fn absent(&self, name: &str, dims: &str) -> ModelError {
        let given: Vec<&str> = self.names().collect();
        refused(name, dims, &format!("only {}", if given.is_empty() { "nothing".to_owned() } else { given.join(", ") }))
    }
}

fn shape_of<const D: usize>(name: &str, input: &Input, dims: &str) -> Result<[usize; D], ModelError> {
    let shape: Option<[usize; D]> = input.shape.as_slice().try_into().ok();
    let shape = shape.filter(|shape| shape.iter().all(|&size| size > 0));
    shape.ok_or_else(|| refused(name, dims, &format!("shape {:?}", input.shape)))
}

/// An input that a system cannot take.
pub(crate) fn refused(name: &str, expected: &str, found: &str) -> ModelError {
    ModelError::Input { name: name.to_owned(), expected: expected.to_owned(), found: found.to_owned() }
}

/// What a system gives, by name and in its own order, still on the device and, with gradients, on the tape.
#[derive(Clone, Debug, Default)]
pub struct Outputs(Vec<Output>);

/// One of a system's results.
#[derive(Clone, Debug)]
pub struct Output {
    /// transformers' name of it.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Tensor<1>,
}

impl Outputs {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a result.
    pub fn with<const D: usize>(mut self, name: impl Into<String>, tensor: Tensor<D>) -> Self {
        let shape = tensor.dims().to_vec();
        let values = tensor.reshape([shape.iter().product::<usize>()]);
        self.0.push(Output { name: name.into(), shape, values });
        self
    }

    /// With a result that not every call has.
    pub fn with_maybe<const D: usize>(self, name: &str, tensor: Option<Tensor<D>>) -> Self {
        match tensor {
            Some(tensor) => self.with(name, tensor),
            None => self,
        }
    }

    /// With every hidden state, as `hidden_states.0` and on.
    pub fn with_hidden_states<const D: usize>(self, states: Vec<Tensor<D>>) -> Self {
        states
            .into_iter()
            .enumerate()
            .fold(self, |outputs, (index, state)| outputs.with(format!("hidden_states.{index}"), state))
    }

    /// The result of a name.
    pub fn get(&self, name: &str) -> Option<&Output> {
        self.0.iter().find(|output| output.name == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Output> {
        self.0.iter()
    }
}

impl IntoIterator for Outputs {
    type Item = Output;
    type IntoIter = std::vec::IntoIter<Output>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_taken_is_refused_with_what_was_expected() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let inputs =
            Inputs::new(&device).whole("input_ids", &[1, 3], vec![4, 9, 2]).floats("pixel_values", &[2], vec![0.0; 2]);
        let message = |error: ModelError| error.to_string();
        let beyond = message(inputs.ids::<2>("input_ids", "[batch, seq]", 9).unwrap_err());
        assert_eq!(beyond, "input input_ids: expected numbers from 0 to 8, found 9");
        assert!(inputs.ids::<2>("input_ids", "[batch, seq]", 10).is_ok());
        let shape = message(inputs.tensor::<4>("pixel_values", "[batch, channels, height, width]").unwrap_err());
        assert_eq!(shape, "input pixel_values: expected [batch, channels, height, width], found shape [2]");
        let absent = message(inputs.ids::<2>("token_type_ids", "[batch, seq]", 2).unwrap_err());
        assert_eq!(absent, "input token_type_ids: expected [batch, seq], found only input_ids, pixel_values");
        let mask = Inputs::new(&device)
            .whole("attention_mask", &[1, 3], vec![0, 1, 1])
            .mask("attention_mask", [1, 3])
            .unwrap();
        assert_eq!(mask.lengths(), [2]);
    }
}
