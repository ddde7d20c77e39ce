//! The text encoder against transformers' `BertModel`, opened from a checkpoint as users open one.

use burn::prelude::*;
use florin_encoders::{BertEncoder, BertInput};
use florin_nn::Mask;
use florin_nn::parameters::collect;
use florin_train::Gradients;

use crate::golden_fixture::{Comparison, Fixture, folder};
use crate::golden_tolerance::{LOSS, OUTPUT};
use crate::golden_weights::values;

#[test]
fn golden_bert_hidden_states_loss_and_gradients() {
    let fixture = Fixture::open("bert");
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    let (encoder, input) = (open(&device), input(&fixture, &device));
    let kept: Tensor<3> = input.mask.kept().unsqueeze_dim(2);
    let mut comparison = Comparison::new(&fixture);
    for (index, state) in encoder.hidden_states(&input).into_iter().enumerate() {
        comparison.tensor(&format!("hidden.{index}"), state * kept.clone(), OUTPUT);
    }
    let loss = (encoder.forward(input).padded() * fixture.input::<3>("probe", &device)).sum();
    comparison.tensor("loss", loss.clone(), LOSS);
    comparison.gradients(&encoder, &Gradients::of(&encoder, loss.backward()));
    comparison.finish();
}

#[test]
fn golden_bert_checkpoint_holds_the_generated_weights() {
    let device = florin_backend::device("cpu").expect("the cpu device is always there");
    for (name, tensor) in collect(&open(&device)) {
        assert_eq!(tensor.values, values(&name, tensor.values.len()), "{name}");
    }
}

fn open(device: &Device) -> BertEncoder {
    let folder = folder().join("bert-checkpoint");
    florin_models::bert::open_encoder(&folder, device).expect("what save_pretrained writes can be opened").1
}

fn input(fixture: &Fixture, device: &Device) -> BertInput {
    let ids = fixture.input_ints::<2>("ids", device);
    let [_, seq] = ids.dims();
    let lengths: Vec<usize> = fixture.config("lengths");
    BertInput::new(ids, Mask::from_lengths(&lengths, seq, device))
}
