//! Batching and padding never change an answer: each row of every system's golden case alone, and then without the padding behind
//! it, gives what it gives in the batch.

use burn::prelude::*;
use florin_models::{Inputs, Output, Outputs};

use crate::golden_fixture::Fixture;
use crate::golden_systems::{for_each, inputs, opened};
use crate::golden_tolerance::ALONE;

/// Inputs over pairs or labels, which have no meaning for a row alone.
const NOT_ALONE: [&str; 2] = ["labels", "return_loss"];
/// Results over the whole batch.
const OF_ALL: [&str; 4] = ["loss", "logits_per_audio", "logits_per_image", "logits_per_text"];

/// Cases whose rows are not apart by definition: with `scaling: mean` PatchTST gives a channel of which a row observed nothing the
/// scale of the whole batch, as transformers does.
const NOT_APART: [&str; 2] = ["system_series_patchtst_channels", "system_series_patchtst_one"];

/// Cases whose texts are read at the last place, whatever stands there: SigLIP's are padded to full length, as in training.
const READ_AT_THE_END: [&str; 3] = ["system_pair_siglip", "system_pair_siglip2", "system_pair_siglip_text"];

#[test]
fn a_row_alone_is_the_row_in_the_batch() {
    check("cpu");
}

/// The same on every other device of this build: minutes on a device without a graphics card, and so not part of the parity lane.
#[test]
fn a_row_alone_is_the_row_in_the_batch_on_other_devices() {
    let others = florin_backend::available().into_iter().filter(|info| info.compiled && info.name != "cpu");
    for info in others {
        check(info.name);
    }
}

fn check(name: &str) {
    for_each("system_", &|case| {
        if NOT_APART.contains(&case) {
            return;
        }
        let fixture = Fixture::open(case);
        let device = florin_backend::device(name).unwrap_or_else(|error| panic!("{error}"));
        let system = opened(&fixture, &device);
        let together = system.forward(&inputs(&fixture, &device)).unwrap_or_else(|error| panic!("{case}: {error}"));
        let mut worst: f64 = 0.0;
        let rows = rows(&fixture);
        for row in 0..rows {
            let alone =
                system.forward(&of_row(&fixture, row, None, &device)).unwrap_or_else(|error| panic!("{case}: {error}"));
            worst = worst.max(compare(case, [row, rows], &together, &alone, false));
            if let Some(kept) = kept(&fixture, row).filter(|_| !READ_AT_THE_END.contains(&case)) {
                let cut = of_row(&fixture, row, Some(kept), &device);
                let cut = system.forward(&cut).unwrap_or_else(|error| panic!("{case} without padding: {error}"));
                worst = worst.max(compare(case, [row, rows], &together, &cut, true));
            }
        }
        println!("alone {case} on {name}: largest difference {worst:.1e} of the largest value");
    });
}

/// How many rows every input of a case has; one where they disagree, as then nothing can be taken apart.
fn rows(fixture: &Fixture) -> usize {
    let sizes: Vec<usize> = names(fixture).iter().filter_map(|name| shape(fixture, name).first().copied()).collect();
    match sizes.first() {
        Some(&first) if sizes.iter().all(|&size| size == first) => first,
        _ => 0,
    }
}

fn names(fixture: &Fixture) -> Vec<String> {
    fixture.input_names().into_iter().filter(|name| !NOT_ALONE.contains(&name.as_str())).collect()
}

fn shape(fixture: &Fixture, name: &str) -> Vec<usize> {
    if fixture.is_whole(name) { fixture.ints(name).0 } else { fixture.floats(name).0 }
}

/// How many tokens a text's row keeps, if what it hides stands behind them.
fn kept(fixture: &Fixture, row: usize) -> Option<usize> {
    let is_text = fixture.has("input_ids") && fixture.has("attention_mask");
    let (shape, mask) = is_text.then(|| fixture.ints("attention_mask"))?;
    let mask = &mask[row * shape[1]..(row + 1) * shape[1]];
    let kept = mask.iter().take_while(|&&mark| mark == 1).count();
    (kept > 0 && mask[kept..].iter().all(|&mark| mark == 0)).then_some(kept)
}

/// One row of every input; of those as long as the text only so many tokens.
fn of_row(fixture: &Fixture, row: usize, kept: Option<usize>, device: &Device) -> Inputs {
    let seq = fixture.has("input_ids").then(|| shape(fixture, "input_ids")[1]);
    names(fixture).iter().fold(Inputs::new(device), |given, name| {
        let shape = shape(fixture, name);
        let size: usize = shape[1..].iter().product();
        let mut one = [&[1], &shape[1..]].concat();
        let mut take = size;
        if let Some(kept) = kept.filter(|_| shape.len() > 1 && Some(shape[1]) == seq) {
            take = size / shape[1] * kept;
            one[1] = kept;
        }
        let part = row * size..row * size + take;
        match fixture.is_whole(name) {
            true => given.whole(name, &one, fixture.ints(name).1[part].to_vec()),
            false => given.floats(name, &one, fixture.floats(name).1[part].to_vec()),
        }
    })
}

/// Compares a row of a batch with the same row alone, and gives the largest difference as a share of the largest value.
fn compare(case: &str, [row, rows]: [usize; 2], together: &Outputs, alone: &Outputs, is_cut: bool) -> f64 {
    let mut worst: f64 = 0.0;
    // A result of another number of rows (frames, in a clip whose frames never meet) is not taken apart.
    let of_rows = |output: &&Output| !OF_ALL.contains(&output.name.as_str()) && output.shape[0] == rows;
    for output in together.iter().filter(of_rows) {
        let single = alone.get(&output.name).unwrap_or_else(|| panic!("{case}: alone there is no {}", output.name));
        let size: usize = output.shape[1..].iter().product();
        let length: usize = single.shape.iter().product();
        // Without its padding a row has fewer tokens; the first of them are compared.
        assert!(length == size || (is_cut && length < size), "{case}: {} has another shape alone", output.name);
        let batch = values(&output.values);
        let (batch, single) = (&batch[row * size..row * size + length], values(&single.values));
        let gap = batch.iter().zip(&single).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        let scale = batch.iter().fold(f64::MIN_POSITIVE, |most, value| most.max(f64::from(value.abs())));
        assert!(single.iter().all(|value| value.is_finite()), "{case}: {} is not finite in row {row}", output.name);
        assert!(gap <= ALONE * scale, "{case}: {} of row {row} alone differs by {gap:.1e} of {scale:.2}", output.name);
        worst = worst.max(gap / scale);
    }
    worst
}

fn values(tensor: &Tensor<1>) -> Vec<f32> {
    tensor.clone().into_data().try_to_vec::<f32>().expect("results are f32")
}
