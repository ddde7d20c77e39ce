//! The image encoder against transformers' `ViTModel`: class token, colour, and a picture wider than high.

use florin_encoders::{VitConfig, VitInput, patches};
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
    for (index, state) in encoder.hidden_states(input.patches.clone(), config.grid()).into_iter().enumerate() {
        comparison.tensor(&format!("hidden.{index}"), state, OUTPUT);
    }
    let last = encoder.forward(input).padded();
    comparison.tensor("last", last.clone(), OUTPUT);
    let loss = (last * fixture.input::<3>("probe", &device)).sum();
    comparison.tensor("loss", loss.clone(), LOSS);
    comparison.gradients(&encoder, &Gradients::of(&encoder, loss.backward()));
    comparison.finish();
}
