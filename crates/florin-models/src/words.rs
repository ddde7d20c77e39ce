//! What systems of text share: reading word pieces, and the numbers that go with each.

use burn::prelude::*;
use florin_nn::Mask;

use crate::ModelError;
use crate::named_tensors::{Inputs, refused};

/// The inputs `input_ids` and `attention_mask`, each id below the vocabulary and no row longer than the model can place.
///
/// # Shapes
///
/// - outputs: `[batch, seq]`
pub(crate) fn words(inputs: &Inputs, vocabulary: usize, longest: usize) -> Result<(Tensor<2, Int>, Mask), ModelError> {
    let ids = inputs.ids::<2>("input_ids", "[batch, seq]", vocabulary)?;
    let [batch, seq] = ids.dims();
    if seq > longest {
        return Err(refused("input_ids", &format!("at most {longest} a row"), &seq.to_string()));
    }
    let mask = inputs.mask("attention_mask", [batch, seq])?;
    Ok((ids, mask))
}

/// An input with a number below a bound for every word piece, if given; one row may stand for all.
///
/// # Shapes
///
/// - output: `[batch, seq]`
pub(crate) fn for_each_word(
    inputs: &Inputs,
    name: &str,
    [batch, seq]: [usize; 2],
    below: usize,
) -> Result<Option<Tensor<2, Int>>, ModelError> {
    let Some(numbers) = inputs.maybe_ids::<2>(name, "[batch, seq]", below)? else { return Ok(None) };
    let shape = numbers.dims();
    if shape == [batch, seq] || shape == [1, seq] {
        return Ok(Some(numbers.expand([batch, seq])));
    }
    Err(refused(name, &format!("shape [{batch}, {seq}]"), &format!("shape {shape:?}")))
}

/// The input `bbox`: left, top, right and bottom of every word piece, each below a bound.
///
/// # Shapes
///
/// - output: `[batch, seq, 4]`
pub(crate) fn boxes(inputs: &Inputs, [batch, seq]: [usize; 2], below: usize) -> Result<Tensor<3, Int>, ModelError> {
    let (dims, expected) = ("[batch, seq, 4]", format!("shape [{batch}, {seq}, 4]"));
    let boxes = inputs.ids::<3>("bbox", dims, below)?;
    if boxes.dims() != [batch, seq, 4] {
        return Err(refused("bbox", &expected, &format!("shape {:?}", boxes.dims())));
    }
    let (_, sides) = inputs.maybe_whole::<3>("bbox", dims)?.expect("it was just read");
    match sides.as_chunks::<4>().0.iter().find(|[left, top, right, bottom]| right < left || bottom < top) {
        Some(turned) => Err(refused("bbox", "left before right and top before bottom", &format!("{turned:?}"))),
        None => Ok(boxes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_words_have_the_shape_of_the_words() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let inputs = Inputs::new(&device).whole("position_ids", &[1, 3], vec![0, 1, 2]);
        let found = for_each_word(&inputs, "position_ids", [2, 3], 3).unwrap().expect("it is given");
        assert_eq!(found.into_data().try_to_vec::<i32>().expect("whole numbers"), [0, 1, 2, 0, 1, 2]);
        assert!(for_each_word(&inputs, "token_type_ids", [2, 3], 3).unwrap().is_none());
        let error = for_each_word(&inputs, "position_ids", [1, 4], 3).unwrap_err().to_string();
        assert_eq!(error, "input position_ids: expected shape [1, 4], found shape [1, 3]");
        assert!(words(&inputs.whole("input_ids", &[1, 4], vec![1; 4]), 2, 3).is_err(), "too long");
    }
}
