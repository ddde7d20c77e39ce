//! Whether a folder computes what its original computes: a checkpoint against outputs that the original wrote down.
//!
//! A reference is one safetensors file with tensors `input.NAME` and `output.NAME` under transformers' names. What the system
//! gives is compared in f64 with every output of the file; an output that the system does not give fails as one that differs.
//! `florin verify` prints the [`Report`]; the golden tests follow a stricter rule of their own.

use std::path::Path;

use burn::prelude::Device;
use burn::tensor::DType;
use serde::Serialize;

use crate::ModelError;
use crate::mismatch::nearest_of;
use crate::named_tensors::{Inputs, Output, Outputs};
use crate::system::{System, Wanted, open};
use crate::weights::Weights;

/// The reference of a folder where none is named.
pub const FILE: &str = "reference.safetensors";
/// How far an f32 result may lie from the reference, as a share of the reference's largest magnitude, unless the user says.
pub const TOLERANCE: f64 = 1e-4;

const INPUT: &str = "input.";
const OUTPUT: &str = "output.";

/// What a comparison found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Largest absolute error allowed, as a share of an output's largest magnitude in the reference.
    pub tolerance: f64,
    /// Whether every output of the reference is given, and near enough.
    pub passed: bool,
    /// One an output of the reference, in the system's order, then those that it does not give.
    pub outputs: Vec<Compared>,
}

/// One output beside its reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// Its shape in the reference.
    pub shape: Vec<usize>,
    /// Largest absolute difference; none where nothing can be compared.
    pub max_absolute_error: Option<f64>,
    /// The same as a share of the reference's largest magnitude.
    pub max_relative_error: Option<f64>,
    /// Whether it is near enough.
    pub passed: bool,
    /// Why not, where the numbers do not say.
    pub note: Option<String>,
}

/// An output of a reference.
#[derive(Clone, Debug)]
struct Expected {
    name: String,
    shape: Vec<usize>,
    values: Vec<f64>,
}

/// Opens a folder, gives it the inputs of a reference and compares what it gives with the outputs there.
pub fn verify(folder: &Path, reference: &Path, device: &Device, tolerance: f64) -> Result<Report, ModelError> {
    let reference = Weights::open_file(reference)?;
    let expected = expected(&reference)?;
    let system = open(folder, device)?;
    let outputs = system.forward(&inputs(&reference, system.as_ref(), device)?)?;
    Ok(report(expected, &outputs, tolerance))
}

/// Opens a reference and checks its names and numbers, without a system.
pub fn check_reference(reference: Weights, device: &Device) -> Result<Inputs, ModelError> {
    expected(&reference)?;
    read_inputs(&reference, device)
}

/// The outputs of a reference; a tensor that is neither input nor output is refused.
fn expected(reference: &Weights) -> Result<Vec<Expected>, ModelError> {
    if let Some(other) = reference.names().find(|name| !name.starts_with(INPUT) && !name.starts_with(OUTPUT)) {
        return Err(refused(reference, format!("`{other}` is neither {INPUT}NAME nor {OUTPUT}NAME")));
    }
    let of = |name: &str| {
        let shape = reference.shape(name).unwrap_or_default().to_vec();
        Ok(Expected { name: name[OUTPUT.len()..].to_owned(), shape, values: reference.wide_values(name)? })
    };
    let all: Vec<Expected> =
        reference.names().filter(|name| name.starts_with(OUTPUT)).map(of).collect::<Result<_, ModelError>>()?;
    if all.is_empty() { Err(refused(reference, format!("it holds no {OUTPUT}NAME"))) } else { Ok(all) }
}

/// The inputs of a reference, if they are what the system wants.
fn inputs(reference: &Weights, system: &dyn System, device: &Device) -> Result<Inputs, ModelError> {
    let inputs = read_inputs(reference, device)?;
    let wants = system.wants();
    let names: Vec<&str> = wants.iter().map(|wanted| wanted.name).collect();
    let unwanted = inputs.names().filter(|name| !names.contains(name)).map(|name| {
        let near = nearest_of(name, names.iter().copied());
        format!("unwanted: {name}{}", near.map_or_else(String::new, |near| format!(" (meant {near}?)")))
    });
    let lacking = wants.iter().filter(|wanted| !wanted.optional && !inputs.has(wanted.name));
    let lines: Vec<String> = unwanted.chain(lacking.map(|wanted| format!("missing: {}", wanted.name))).collect();
    if lines.is_empty() {
        return Ok(inputs);
    }
    let wanted: Vec<String> = wants.iter().map(described).collect();
    Err(refused(
        reference,
        format!("the inputs do not fit\n  {}\nwanted:\n  {}", lines.join("\n  "), wanted.join("\n  ")),
    ))
}

fn read_inputs(reference: &Weights, device: &Device) -> Result<Inputs, ModelError> {
    let mut inputs = Inputs::new(device);
    for stored in reference.names().filter(|name| name.starts_with(INPUT)) {
        let (name, shape) = (&stored[INPUT.len()..], reference.shape(stored).unwrap_or_default());
        inputs = if reference.is_whole(stored) {
            inputs.whole(name, shape, reference.whole_numbers(stored)?)
        } else {
            inputs.floats(name, shape, reference.values(stored)?.into_owned())
        };
    }
    Ok(inputs)
}

fn described(wanted: &Wanted) -> String {
    format!("{} {}{}", wanted.name, wanted.dims, if wanted.optional { ", optional" } else { "" })
}

fn refused(reference: &Weights, reason: String) -> ModelError {
    ModelError::Reference { path: reference.path().into(), reason }
}

fn report(mut expected: Vec<Expected>, outputs: &Outputs, tolerance: f64) -> Report {
    let place = |name: &str| outputs.iter().position(|output| output.name == name).unwrap_or(usize::MAX);
    expected.sort_by_cached_key(|expected| place(&expected.name));
    let compared: Vec<Compared> = expected
        .iter()
        .map(|expected| match outputs.get(&expected.name) {
            Some(output) => compare(expected, output, tolerance),
            None => absent(expected, outputs),
        })
        .collect();
    Report { tolerance, passed: compared.iter().all(|output| output.passed), outputs: compared }
}

fn compare(expected: &Expected, output: &Output, tolerance: f64) -> Compared {
    // A single number has no dimension there and one here.
    let is_number = expected.shape.is_empty() && output.shape == [1];
    if expected.shape != output.shape && !is_number {
        return failed(expected, format!("shape {:?} is given", output.shape));
    }
    let data = output.values.to_data().convert_dtype(DType::F64);
    let found = data.try_to_vec::<f64>().expect("the data was just converted to f64");
    compare_values(expected, &found, tolerance)
}

/// The largest difference, against the reference's largest magnitude. A number that is none fails wherever it stands; an infinity
/// is right only where the reference has the same.
fn compare_values(expected: &Expected, found: &[f64], tolerance: f64) -> Compared {
    let not_numbers = |values: &[f64]| values.iter().filter(|value| value.is_nan()).count();
    match (not_numbers(&expected.values), not_numbers(found)) {
        (0, 0) => {}
        (0, ours) => return failed(expected, format!("{ours} values are NaN")),
        (theirs, _) => return failed(expected, format!("{theirs} values of the reference are NaN")),
    }
    let difference = |(a, b): (&f64, &f64)| if a == b { 0.0 } else { (a - b).abs() };
    let absolute = found.iter().zip(&expected.values).map(difference).fold(0.0, f64::max);
    let finite = expected.values.iter().filter(|value| value.is_finite());
    let magnitude = finite.fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let relative = if absolute == 0.0 { 0.0 } else { absolute / magnitude };
    Compared {
        name: expected.name.clone(),
        shape: expected.shape.clone(),
        max_absolute_error: Some(absolute),
        max_relative_error: Some(relative),
        passed: relative <= tolerance,
        note: None,
    }
}

fn absent(expected: &Expected, outputs: &Outputs) -> Compared {
    let near = nearest_of(&expected.name, outputs.iter().map(|output| output.name.as_str()));
    let given: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    let instead =
        near.map_or_else(|| format!("the system gives {}", given.join(", ")), |near| format!("meant {near}?"));
    failed(expected, format!("not given; {instead}"))
}

fn failed(expected: &Expected, note: String) -> Compared {
    Compared {
        name: expected.name.clone(),
        shape: expected.shape.clone(),
        max_absolute_error: None,
        max_relative_error: None,
        passed: false,
        note: Some(note),
    }
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;

    use super::*;

    fn expected(values: &[f64]) -> Expected {
        Expected { name: "logits".to_owned(), shape: vec![values.len()], values: values.to_vec() }
    }

    #[test]
    fn errors_are_relative_to_the_references_largest_magnitude() {
        let compared = compare_values(&expected(&[0.0, -4.0, 2.0]), &[0.1, -4.0, 1.8], 0.051);
        assert!((compared.max_absolute_error.unwrap() - 0.2).abs() < 1e-12);
        assert!((compared.max_relative_error.unwrap() - 0.05).abs() < 1e-12);
        assert!(compared.passed);
        assert!(!compare_values(&expected(&[0.0, -4.0, 2.0]), &[0.1, -4.0, 1.8], 0.049).passed);
        // A result that is far too large must not be measured by itself.
        let large = compare_values(&expected(&[1.0]), &[1000.0], 1.0);
        assert!((large.max_relative_error.unwrap() - 999.0).abs() < 1e-9 && !large.passed);
        assert!(compare_values(&expected(&[0.0]), &[0.0], 0.0).passed);
        assert!(!compare_values(&expected(&[0.0]), &[1e-30], 1e-4).passed, "nothing is near zero but zero");
    }

    #[test]
    fn what_is_no_number_fails_and_infinities_must_agree() {
        for (theirs, ours) in [(1.0, f64::NAN), (f64::NAN, 1.0), (f64::NAN, f64::NAN)] {
            let compared = compare_values(&expected(&[2.0, theirs]), &[2.0, ours], 1e9);
            assert!(!compared.passed && compared.note.is_some_and(|note| note.contains("NaN")));
        }
        let hidden = [f64::NEG_INFINITY, 3.0];
        assert!(compare_values(&expected(&hidden), &hidden, 0.0).passed);
        assert!(!compare_values(&expected(&hidden), &[0.0, 3.0], 1e9).passed);
        assert!(!compare_values(&expected(&[0.0, 3.0]), &hidden, 1e9).passed);
    }

    #[test]
    fn an_output_of_another_shape_or_that_is_not_given_fails() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let ones = |count| Tensor::<1>::ones([count], &device);
        let outputs = Outputs::new().with("loss", ones(1)).with("logits", ones(3));
        let number = Expected { name: "loss".to_owned(), shape: vec![], values: vec![1.0] };
        let other = Expected { name: "logit".to_owned(), ..expected(&[1.0]) };
        let report = report(vec![other, expected(&[1.0, 1.0]), number], &outputs, TOLERANCE);
        let names: Vec<&str> = report.outputs.iter().map(|output| output.name.as_str()).collect();
        assert_eq!(names, ["loss", "logits", "logit"], "the system's order");
        assert!(report.outputs[0].passed && !report.passed);
        assert_eq!(report.outputs[1].note.as_deref(), Some("shape [3] is given"));
        assert_eq!(report.outputs[2].note.as_deref(), Some("not given; meant logits?"));
    }
}
