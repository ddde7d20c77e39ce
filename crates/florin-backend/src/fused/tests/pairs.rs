//! Every row beside every other.

use super::*;
use crate::{angle_cosines, distances};

#[test]
fn distances_and_angles_are_the_composed_ones() {
    let device = device();
    for (rows, dim) in [(1, 1), (2, 3), (9, 17), (21, 64)] {
        let x = pair([rows, dim], &device);
        if rows > 1 {
            compare!(format!("distances {rows} {dim}"), distances, &device, x);
            compare!(format!("angles {rows} {dim}"), angle_cosines, &device, x);
        }
        assert_eq!(values(distances(x.fused.clone())).iter().step_by(rows + 1).sum::<f64>(), 0.0);
    }
}

#[test]
fn the_same_row_twice_has_no_angle_and_no_gradient() {
    let device = device();
    let numbers = TensorData::new(vec![0.5f32, -1.0, 0.5, -1.0, 2.0, 1.0], [3, 2]);
    let x = Tensor::<2>::from_data(numbers, &device).require_grad();
    let loss = distances(x.clone()).sum() + angle_cosines(x.clone()).sum();
    let found = values(x.grad(&loss.backward()).expect("rows are tracked"));
    assert!(found.iter().all(|slope| slope.is_finite()), "{found:?}");
    let cosines = values(angle_cosines(x));
    // At the first between the third and itself, and where the first is met again; at the third both are in the same direction.
    assert_eq!([cosines[2], cosines[5], cosines[8]], [0.0; 3]);
    assert!((cosines[9 * 2 + 1] - 1.0).abs() < 1e-6, "{cosines:?}");
}

#[test]
fn rows_far_from_zero_and_near_each_other_keep_their_digits() {
    let device = device();
    let x = pair([4, 3], &device);
    let run = |x: Tensor<2>| distances((x * 1e-3).add_scalar(1000.0).detach());
    let (found, exact) = (values(run(x.fused)), values(run(x.composed)));
    // Numbers of a thousand are a sixteen-thousandth apart in f32; products of them would be known to a tenth alone.
    assert!(found.iter().zip(exact).all(|(a, b)| (a - b).abs() < 2e-4), "{found:?}");
}
