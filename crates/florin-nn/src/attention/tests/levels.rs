//! Levels: each alone, and absent parts at any of them.

use burn::prelude::*;
use proptest::prelude::*;

use super::{ROUNDING, assert_gradient, device, doubled, gap, loud, random, values};
use crate::{HierarchicalAttention, HierarchicalAttentionConfig};

const DIM: usize = 4;

fn levels(heads: Option<usize>, device: &Device) -> HierarchicalAttention {
    loud(HierarchicalAttentionConfig { dim: DIM, attention_dim: 5, heads }.init(device))
}

/// True for each token beyond the count of its segment.
fn hidden(counts: &[usize], shape: [usize; 4], device: &Device) -> Tensor<4, Bool> {
    let marks: Vec<bool> = counts.iter().flat_map(|&count| (0..shape[3]).map(move |place| place >= count)).collect();
    Tensor::from_data(TensorData::new(marks, shape), device)
}

#[test]
fn weights_sum_to_one_over_what_is_there_and_give_the_pooled_vector() {
    let device = device(1);
    for heads in [None, Some(2)] {
        let level = levels(heads, &device).within;
        let x = random([3, 4, DIM], &device);
        let marks = hidden(&[4, 2, 0], [3, 1, 1, 4], &device).reshape([3, 4]);
        let weights = level.weights(x.clone(), marks.clone());
        let sums = values(weights.clone().sum_dim(1));
        assert!((sums[0] - 1.0).abs() < 1e-6 && (sums[1] - 1.0).abs() < 1e-6 && sums[2] == 0.0, "{sums:?}");
        let found = values(weights.clone());
        assert!(found[6..].iter().all(|weight| *weight == 0.0), "hidden parts weigh exactly zero: {found:?}");
        if heads.is_none() {
            let pooled = (x.clone() * weights.unsqueeze_dim::<3>(2)).sum_dim(1).reshape([3, DIM]);
            assert!(gap(pooled, level.forward(x, marks)) < ROUNDING);
        }
    }
}

#[test]
fn the_pooling_is_what_one_computes_by_hand() {
    let device = device(2);
    let mut pooling = levels(None, &device).within.pooling;
    pooling.projection.weight =
        pooling.projection.weight.map(|weight| weight.zeros_like().slice_fill([0..1, 0..1], 1.0));
    pooling.context = pooling.context.map(|context| context.zeros_like().slice_fill(0..1, 2.0));
    let mut x = [[0f32; DIM]; 2];
    x[1][0] = 0.5;
    let found = values(pooling.forward(Tensor::<3>::from_floats([x], &device), None));
    // Scores 0 and 2·tanh(1/2), not divided by the root of any width.
    let expected = 0.5 / (1.0 + (-2.0 * 0.5f64.tanh()).exp());
    assert!((found[0] - expected).abs() < 1e-6, "{} against {expected}", found[0]);
}

#[test]
fn an_empty_segment_and_a_missing_step_equal_ones_left_out() {
    let device = device(3);
    for heads in [None, Some(2)] {
        let levels = levels(heads, &device);
        // Steps of three segments; the second segment of the first step is empty, and so is the whole second step.
        let counts = [2, 0, 3, 0, 0, 0, 1, 4, 2];
        let shape = [1, 3, 3, 4];
        let tokens = random([1, 3, 3, 4, DIM], &device);
        let marks = hidden(&counts, shape, &device);
        let spoiled = tokens.clone().mask_fill(marks.clone().unsqueeze_dim::<5>(4).expand([1, 3, 3, 4, DIM]), f32::NAN);
        let whole = levels.forward(spoiled, marks);

        let pooled = |step: usize, segments: &[usize]| {
            let vectors: Vec<Tensor<3>> = segments
                .iter()
                .map(|&segment| {
                    let count = counts[step * 3 + segment];
                    let part = tokens.clone().narrow(1, step, 1).narrow(2, segment, 1).narrow(3, 0, count);
                    let nothing =
                        Tensor::<4, Bool>::from_data(TensorData::new(vec![false; count], [1, 1, 1, count]), &device);
                    levels.within.forward(part.reshape([1, count, DIM]), nothing.reshape([1, count])).unsqueeze_dim(1)
                })
                .collect();
            let all = hidden(&[segments.len()], [1, 1, 1, segments.len()], &device).reshape([1, segments.len()]);
            levels.across.forward(Tensor::cat(vectors, 1), all).unsqueeze_dim::<3>(1)
        };
        let steps = Tensor::cat(vec![pooled(0, &[0, 2]), pooled(2, &[0, 1, 2])], 1);
        let expected = levels.over_time.forward(steps, hidden(&[2], [1, 1, 1, 2], &device).reshape([1, 2]));
        assert!(gap(whole, expected) < ROUNDING, "heads {heads:?}");
    }
}

#[test]
fn nothing_at_all_gives_zero() {
    let device = device(4);
    for heads in [None, Some(2)] {
        let levels = levels(heads, &device);
        let tokens = random([2, 2, 2, 3, DIM], &device).require_grad();
        let marks = hidden(&[3, 1, 0, 2, 0, 0, 0, 0], [2, 2, 2, 3], &device);
        let steps = levels.steps(levels.segments(tokens.clone(), marks.clone()));
        assert_eq!(steps.absent.into_data().try_to_vec::<bool>().expect("marks"), [false, false, true, true]);
        let output = levels.forward(tokens.clone(), marks);
        assert!(values(output.clone().narrow(0, 1, 1)).iter().all(|value| *value == 0.0));
        assert!(values(output.clone().narrow(0, 0, 1)).iter().any(|value| *value != 0.0));
        let gradient = tokens.grad(&output.sum().backward()).expect("tokens are tracked");
        let of_empty = values(gradient.narrow(0, 1, 1));
        assert!(of_empty.iter().all(|g| *g == 0.0), "nothing there, nothing learned: {of_empty:?}");
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let device = device(5);
    let levels = doubled(levels(Some(2), &device));
    let marks = hidden(&[3, 1, 0, 2, 0, 0, 2, 3], [2, 2, 2, 3], &device);
    let run = |x: Tensor<3>| levels.forward(x.reshape([2, 2, 2, 3, DIM]), marks.clone()).unsqueeze_dim::<3>(1);
    assert_gradient(&run, random([8, 3, DIM], &device), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_order_of_parts_does_not_matter(seed in 0u64..1000, parts in 2usize..7) {
        let device = device(seed);
        let level = levels(Some(2), &device).across;
        let x = random([2, parts, DIM], &device);
        let marks = hidden(&[parts, parts - 1], [2, 1, 1, parts], &device).reshape([2, parts]);
        let order: Vec<i32> = (0..parts as i32).rev().collect();
        let order = Tensor::<1, Int>::from_ints(order.as_slice(), &device);
        let moved = marks.clone().int().select(1, order.clone()).equal_scalar(1);
        prop_assert!(gap(level.forward(x.clone(), marks), level.forward(x.select(1, order), moved)) < ROUNDING);
    }
}
