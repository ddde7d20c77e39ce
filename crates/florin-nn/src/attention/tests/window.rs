//! Sliding windows: blocks equal the mask, gradients too, and what is outside is out of sight.

use burn::prelude::*;
use burn::tensor::DType;
use florin_backend::{AttentionOptions, attention};
use proptest::prelude::*;

use super::{ROUNDING, device, gap, random, values};
use crate::{Mask, SlidingWindow};

#[test]
fn a_window_of_three_holds_the_query_and_two_before_it() {
    let device = device(1);
    let seen = |window: SlidingWindow, queries: usize, keys: usize| {
        let hidden = window.hidden(queries, keys, &device).into_data().try_to_vec::<bool>().expect("marks");
        hidden.chunks(keys).map(|row| row.iter().map(|hidden| if *hidden { '.' } else { 'x' }).collect()).collect()
    };
    let rows: Vec<String> = seen(SlidingWindow::causal(3), 5, 5);
    assert_eq!(rows, ["x....", "xx...", "xxx..", ".xxx.", "..xxx"]);
    let rows: Vec<String> = seen(SlidingWindow::around(1), 4, 4);
    assert_eq!(rows, ["xx..", "xxx.", ".xxx", "..xx"]);
    let rows: Vec<String> = seen(SlidingWindow::causal(2), 2, 5);
    assert_eq!(rows, ["..xx.", "...xx"], "with a cache the last query stands at the last key");
    let rows: Vec<String> = seen(SlidingWindow::causal(0), 2, 2);
    assert_eq!(rows, ["x.", ".x"], "a query always sees its own place");
}

#[test]
fn memory_grows_with_the_sequence_and_not_with_its_square() {
    let device = device(2).without_autodiff();
    // A mask of all places would hold 10^10 marks.
    let seq = 100_000;
    let x = random([1, 1, seq, 2], &device);
    let output = SlidingWindow::causal(2).attend(x.clone(), x.clone(), x.clone(), None, None);
    let last = x.narrow(2, seq - 2, 2);
    let alone = attention(last.clone().narrow(2, 1, 1), last.clone(), last, None, None, AttentionOptions::default());
    assert!(gap(output.narrow(2, seq - 1, 1), alone) < ROUNDING);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn blocks_equal_the_mask_and_so_do_gradients(
        seed in 0u64..1000, seq in 1usize..60, before in 0usize..20, after in 0usize..20, padded in any::<bool>(), double in any::<bool>()
    ) {
        let device = device(seed);
        let window = SlidingWindow { before, after };
        let kind = if double { DType::F64 } else { DType::F32 };
        let inputs = [4, 2, 2].map(|heads| random([2, heads, seq, 3], &device).cast(kind).detach());
        // One row has holes, and padding on either side as it happens.
        let kept: Vec<bool> = (0..2 * seq).map(|place| place < seq || (place * 7 + seed as usize) % 11 > 4).collect();
        let mask = padded.then(|| Mask::from_kept(&kept, 2, seq, &device));
        let probe = random([2, 4, seq, 3], &device).cast(kind);
        let run = |local: bool| {
            let [query, key, value] = inputs.clone().map(Tensor::require_grad);
            let (q, k, v) = (query.clone(), key.clone(), value.clone());
            let output = if local {
                window.attend(q, k, v, mask.as_ref(), None)
            } else {
                let hidden = window.hidden(seq, seq, &device).expand([2, 1, seq, seq]);
                let hidden = match &mask {
                    Some(mask) => hidden.bool_or(mask.hidden().unsqueeze_dims::<4>(&[1, 2]).expand([2, 1, seq, seq])),
                    None => hidden,
                };
                attention(q, k, v, Some(hidden), None, AttentionOptions::default())
            };
            let graph = (output.clone() * probe.clone()).sum().backward();
            let gradients = [query, key, value].map(|x| values(x.grad(&graph).expect("inputs are tracked")));
            (values(output), gradients)
        };
        let (local, masked) = (run(true), run(false));
        let most = if double { 1e-13 } else { ROUNDING };
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < most);
        prop_assert!(near(&local.0, &masked.0), "outputs");
        for (one, other) in local.1.iter().zip(&masked.1) {
            prop_assert!(near(one, other), "gradients");
        }
    }
}
