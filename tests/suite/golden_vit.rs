//! The image encoder against transformers' `ViTModel`: class token, colour, and a picture wider than high.

use burn::prelude::*;
use florin_encoders::{VitConfig, VitEncoder, VitInput, patches};
use florin_train::Gradients;

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{LOSS, OUTPUT};
use crate::golden_weights::filled;

#[test]
fn golden_vit_hidden_states_loss_and_gradients() {
    let fixture = Fixture::open("vit");
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    let config: VitConfig = fixture.whole_config();
    let encoder = filled(config.init(&device));
    let input = VitInput { patches: patches(fixture.input::<4>("pictures", &device), config.patch) };
    let mut comparison = Comparison::new(&fixture);
    for (index, state) in hidden_states(&encoder, &input).into_iter().enumerate() {
        comparison.tensor(&format!("hidden.{index}"), state, OUTPUT);
    }
    let last = encoder.forward(input).padded();
    comparison.tensor("last", last.clone(), OUTPUT);
    let loss = (last * fixture.input::<3>("probe", &device)).sum();
    comparison.tensor("loss", loss.clone(), LOSS);
    comparison.gradients(&encoder, &Gradients::of(&encoder, loss.backward()));
    comparison.finish();
}

/// What goes into each block and comes out of the last, before the final norm.
fn hidden_states(encoder: &VitEncoder, input: &VitInput) -> Vec<Tensor<3>> {
    let patches = encoder.patch_embedding.forward(input.patches.clone());
    let [batch, _, _] = patches.dims();
    let class_token = encoder.class_token.as_ref().expect("the case has a class token").val();
    let first = Tensor::cat(vec![class_token.repeat_dim(0, batch), patches], 1) + encoder.position_embeddings.val();
    let mut states = vec![first];
    for layer in &encoder.layers {
        let next = layer.forward(states[states.len() - 1].clone(), None, None);
        states.push(next);
    }
    states
}
