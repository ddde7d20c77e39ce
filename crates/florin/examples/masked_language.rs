//! Masked language modelling, used alone: which tokens of a text are hidden, and what not knowing them costs.

use florin::backend;
use florin::data::masking::TokenMasking;
use florin::data::word_pieces::SpecialIds;
use florin::losses::MaskedLanguageLoss;
use florin::tensor::{Bool, Int, Tensor, TensorData};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?.autodiff();
    let special = SpecialIds { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 };
    let (text, vocabulary) = ([2u32, 17, 9, 23, 5, 11, 30, 3, 0, 0], 32);
    let masked = TokenMasking::default().mask_tokens(&text, &special, vocabulary, 1, 0);
    println!("read {:?}\nfind {:?}", masked.ids, masked.selected);
    let logits = Tensor::<3>::zeros([1, text.len(), vocabulary], &device).require_grad();
    let ids = Tensor::<2, Int>::from_data([text.map(|id| id as i32)], &device);
    let selected = Tensor::<2, Bool>::from_data(TensorData::new(masked.selected, [1, text.len()]), &device);
    let parts = MaskedLanguageLoss::default().forward(logits, ids, selected);
    println!("loss {} = ln {vocabulary}", parts.loss.into_scalar::<f32>());
    Ok(())
}
