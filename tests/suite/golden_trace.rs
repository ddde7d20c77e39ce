//! Ten steps of training against `torch.optim.AdamW`: two parameter groups, decay of matrices only, clipping of the common norm,
//! warm-up and cosine.

use burn::module::Module;
use burn::tensor::Tensor;
use florin_nn::parameters::collect;
use florin_train::{AdamWOptimiser, AdamWSettings, Gradients, ParameterGroup, WarmupCosine};
use serde::Deserialize;

use crate::golden_document::DocumentCase;
use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{TRACE, TRAINED_WEIGHT};

/// Settings of the trace, as the fixture's header has them.
#[derive(Deserialize)]
struct Settings {
    steps: usize,
    warmup: usize,
    floor: f64,
    clip: f64,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    groups: Vec<ParameterGroup>,
}

#[test]
fn golden_training_trace_of_ten_steps() {
    let fixture = Fixture::open("trace");
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    let settings: Settings = fixture.config("train");
    let mut case = DocumentCase::new(&fixture, &device);
    let (beta_1, beta_2, epsilon) = (settings.beta_1, settings.beta_2, settings.epsilon);
    let mut optimiser = AdamWOptimiser::new(&AdamWSettings { groups: settings.groups, beta_1, beta_2, epsilon });
    let schedule = WarmupCosine { warmup: settings.warmup, total: settings.steps, floor: settings.floor };
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..settings.steps {
        let loss: Tensor<1> = case.loss(case.model.forward(&case.batch));
        losses.push(loss.clone().into_scalar::<f32>());
        let (gradients, norm) = Gradients::of(&case.model, loss.backward()).clip(settings.clip);
        norms.push(norm as f32);
        case.model = optimiser.step(case.model, &gradients, schedule.factor(step));
    }
    let mut comparison = Comparison::new(&fixture);
    comparison.values("losses", &losses, TRACE);
    comparison.values("norms", &norms, TRACE);
    for (name, tensor) in collect(&case.model.valid()) {
        // A key's bias has a true gradient of zero, and Adam turns rounding errors into steps: nothing to compare.
        if !name.ends_with("key.bias") {
            comparison.values(&format!("weight.{name}"), &tensor.values, TRAINED_WEIGHT);
        }
    }
    comparison.finish();
}
