//! The layout encoder against a reference written out in Python.

use florin_encoders::{LayoutConfig, LayoutInput};
use florin_nn::Mask;
use florin_train::Gradients;

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{LOSS, OUTPUT};
use crate::golden_weights::filled;

#[test]
fn golden_layout_tokens_loss_and_gradients() {
    let fixture = Fixture::open("layout");
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    let encoder = filled(fixture.whole_config::<LayoutConfig>().init(&device));
    let boxes = fixture.input_ints::<3>("boxes", &device);
    let [batch, seq, _] = boxes.dims();
    let input = LayoutInput {
        boxes,
        ordinals: fixture.input_ints("ordinals", &device),
        print: fixture.input("print", &device),
        mask: Mask::all_kept(batch, seq, &device),
    };
    let tokens = encoder.forward(input).padded();
    let loss = (tokens.clone() * fixture.input::<3>("probe", &device)).sum();
    let mut comparison = Comparison::new(&fixture);
    comparison.tensor("tokens", tokens, OUTPUT);
    comparison.tensor("loss", loss.clone(), LOSS);
    comparison.gradients(&encoder, &Gradients::of(&encoder, loss.backward()));
    comparison.finish();
}
