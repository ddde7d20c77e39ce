//! The same weights and input on every device of this build give the same scores, loss and gradients.
//!
//! `cpu` is the measure, since the golden tests hold it to the oracle. Other devices are compiled in by the features `ndarray`,
//! `vulkan`, `wgpu` and `cuda`; a test says which it saw.

use burn::prelude::*;
use florin_encoders::{BertConfig, BertInput};
use florin_nn::Mask;
use florin_train::Gradients;

use crate::golden_document::DocumentCase;
use crate::golden_fixture::{Fixture, worse};
use crate::golden_systems::{for_each, inputs, opened};
use crate::golden_tolerance::PARITY;
use crate::golden_weights::filled;

/// Named results, flat.
type Results = Vec<(String, Vec<f32>)>;

#[test]
fn parity_of_the_document_model() {
    everywhere("document model", &|device| {
        let case = DocumentCase::new(&Fixture::open("document"), device);
        let output = case.model.forward(&case.batch);
        let mut results: Results =
            case.visible(&output).into_iter().map(|(name, scores)| (name.to_owned(), flat(scores))).collect();
        results.push(("none".to_owned(), flat(output.none.clone())));
        results.push(("weights".to_owned(), flat(output.weights.clone().expect("attention gives weights"))));
        let loss = case.loss(output);
        results.push(("loss".to_owned(), flat(loss.clone())));
        let gradients = Gradients::of(&case.model, loss.backward());
        results.push(("gradients".to_owned(), together(&gradients)));
        results
    });
}

#[test]
fn parity_of_the_text_encoder() {
    everywhere("text encoder", &|device| {
        let fixture = Fixture::open("bert");
        let encoder = filled(fixture.whole_config::<BertConfig>().init(device));
        let ids = fixture.input_ints::<2>("ids", device);
        let [_, seq] = ids.dims();
        let mask = Mask::from_lengths(&fixture.config::<Vec<usize>>("lengths"), seq, device);
        let kept: Tensor<3> = mask.kept().unsqueeze_dim(2);
        let tokens = encoder.forward(BertInput::new(ids, mask)).padded() * kept;
        let loss = (tokens.clone() * fixture.input::<3>("probe", device)).sum();
        let gradients = Gradients::of(&encoder, loss.clone().backward());
        vec![("tokens".into(), flat(tokens)), ("loss".into(), flat(loss)), ("gradients".into(), together(&gradients))]
    });
}

#[test]
fn parity_of_every_system() {
    for_each("system_", &|case| {
        everywhere(case, &|device| {
            let fixture = Fixture::open(case);
            let device = device.clone().without_autodiff();
            let outputs = opened(&fixture, &device).forward(&inputs(&fixture, &device));
            let outputs = outputs.unwrap_or_else(|error| panic!("{case}: {error}"));
            outputs.into_iter().map(|output| (output.name, flat(output.values))).collect()
        });
    });
}

/// Computes on every device and compares with the first, `cpu`.
fn everywhere(what: &str, compute: &dyn Fn(&Device) -> Results) {
    let devices = florin_backend::available();
    let mut compiled = devices.iter().filter(|info| info.compiled).map(|info| info.name);
    let measure = compiled.next().expect("the cpu device is always there");
    let expected = on(measure, compute);
    assert!(expected.iter().all(|(_, values)| values.iter().all(|value| value.is_finite())), "{measure} gives NaN");
    let mut others = 0;
    let mut failures = Vec::new();
    for name in compiled {
        others += 1;
        for ((part, found), (_, expected)) in on(name, compute).iter().zip(&expected) {
            let (gap, scale) = difference(found, expected);
            println!("parity {what}: {part} on {name} differs from {measure} by {gap:.1e} (largest value {scale:.2})");
            if gap.is_nan() || gap > PARITY * scale {
                failures.push(format!("{part} on {name} differs by {gap:.1e}, allowed {:.1e}", PARITY * scale));
            }
        }
    }
    if others == 0 {
        // Without another device there is still something to hold: the same device gives the same bits twice.
        println!("parity {what}: {measure} is the only device of this build; compared with itself");
        assert_eq!(on(measure, compute), expected, "{measure} differs from itself");
    }
    assert!(failures.is_empty(), "{what}:\n{}", failures.join("\n"));
}

fn on(name: &str, compute: &dyn Fn(&Device) -> Results) -> Results {
    let device = florin_backend::device(name).unwrap_or_else(|error| panic!("{error}"));
    compute(&device.autodiff())
}

/// The largest difference, and the largest expected magnitude.
fn difference(found: &[f32], expected: &[f32]) -> (f64, f64) {
    assert_eq!(found.len(), expected.len());
    let gaps = found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    let gap = gaps.fold(0.0, worse);
    (gap, expected.iter().fold(0.0, |most, value| f64::from(value.abs()).max(most)))
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec::<f32>().expect("just converted to f32")
}

/// All gradients one after the other, in the order of their names.
fn together(gradients: &Gradients) -> Vec<f32> {
    let names: Vec<&str> = gradients.names().collect();
    names.into_iter().filter_map(|name| gradients.get(name)).flat_map(|gradient| flat(gradient.clone())).collect()
}
