//! L-BFGS: minimises a smooth function of many numbers from its gradients, remembering the last few steps in place of curvature.
//!
//! For small problems over all data at once, such as a linear head, where it needs a hundred evaluations and AdamW thousands.
//!
//! Paper: Liu and Nocedal 1989, <https://doi.org/10.1007/BF01589116>
//! Difference: steps are halved until the function falls enough (Armijo); a pair without curvature is forgotten.

use std::collections::VecDeque;

use burn::prelude::*;

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LbfgsConfig {
    /// Most steps.
    pub steps: usize,
    /// The largest number of the gradient below which it is done.
    pub tolerance: f64,
    /// Steps that are remembered.
    pub memory: usize,
}

/// Where it ended.
#[derive(Clone, Debug)]
pub struct Minimum {
    /// The point, `[numbers]`.
    pub point: Tensor<1>,
    /// The function there.
    pub value: f64,
    /// Steps taken.
    pub steps: usize,
    /// Whether the gradient is below the tolerance, or the function falls no more.
    pub converged: bool,
}

/// Steps in a row without a fall after which there is none to come.
const MOST_STALLED: usize = 5;

/// A step that was taken: how the point moved, how the gradient changed, and one over their product.
struct Step {
    moved: Tensor<1>,
    changed: Tensor<1>,
    rho: f64,
}

impl Default for LbfgsConfig {
    fn default() -> Self {
        Self { steps: 500, tolerance: 1e-5, memory: 10 }
    }
}

impl LbfgsConfig {
    /// Minimises a function that gives its value and its gradient.
    pub fn minimise(&self, start: Tensor<1>, function: &mut dyn FnMut(&Tensor<1>) -> (f64, Tensor<1>)) -> Minimum {
        let mut point = start;
        let (mut value, mut gradient) = function(&point);
        let mut memory: VecDeque<Step> = VecDeque::new();
        let mut stalled = 0;
        for steps in 0..self.steps {
            if largest(&gradient) <= self.tolerance {
                return Minimum { point, value, steps, converged: true };
            }
            let mut direction = downhill(&gradient, &memory);
            let mut slope = dot(&direction, &gradient);
            if slope >= 0.0 {
                memory.clear();
                direction = gradient.clone().neg();
                slope = dot(&direction, &gradient);
            }
            // Without memory the gradient's length means nothing: a first step of length one at most.
            let mut size = if memory.is_empty() { (1.0 / (-slope).sqrt()).min(1.0) } else { 1.0 };
            let found = loop {
                let next = point.clone() + direction.clone() * size;
                let (there, gradient) = function(&next);
                if there <= value + 1e-4 * size * slope {
                    break Some((next, there, gradient));
                }
                size /= 2.0;
                // What is left is less than f32 resolves.
                if size < 1e-8 {
                    break None;
                }
            };
            let Some((next, there, next_gradient)) = found else {
                return Minimum { point, value, steps, converged: true };
            };
            let moved = next.clone() - point;
            let changed = next_gradient.clone() - gradient;
            let product = dot(&moved, &changed);
            if product > 1e-12 * dot(&changed, &changed) {
                if memory.len() == self.memory {
                    memory.pop_front();
                }
                memory.push_back(Step { moved, changed, rho: 1.0 / product });
            }
            // What f32 rounds away is no fall.
            stalled = if value - there <= 1e-8 * value.abs() { stalled + 1 } else { 0 };
            (point, value, gradient) = (next, there, next_gradient);
            if stalled == MOST_STALLED {
                return Minimum { point, value, steps: steps + 1, converged: true };
            }
        }
        Minimum { point, value, steps: self.steps, converged: false }
    }
}

/// The two loops of the paper: the gradient, turned by what is known of the curvature.
fn downhill(gradient: &Tensor<1>, memory: &VecDeque<Step>) -> Tensor<1> {
    let mut direction = gradient.clone().neg();
    let mut factors = Vec::with_capacity(memory.len());
    for step in memory.iter().rev() {
        let factor = step.rho * dot(&step.moved, &direction);
        direction = direction - step.changed.clone() * factor;
        factors.push(factor);
    }
    if let Some(last) = memory.back() {
        direction = direction / (last.rho * dot(&last.changed, &last.changed));
    }
    for (step, factor) in memory.iter().zip(factors.into_iter().rev()) {
        let back = step.rho * dot(&step.changed, &direction);
        direction = direction + step.moved.clone() * (factor - back);
    }
    direction
}

fn dot(a: &Tensor<1>, b: &Tensor<1>) -> f64 {
    f64::from((a.clone() * b.clone()).sum().into_scalar::<f32>())
}

fn largest(x: &Tensor<1>) -> f64 {
    f64::from(x.clone().abs().max().into_scalar::<f32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bottom_of_a_bent_valley_is_found() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        // Rosenbrock's function, whose minimum is at (1, 1).
        let mut valley = |point: &Tensor<1>| {
            let at = point.clone().into_data().try_to_vec::<f32>().expect("f32");
            let (x, y) = (f64::from(at[0]), f64::from(at[1]));
            let value = (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2);
            let slope = [-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x)];
            (value, Tensor::from_floats(slope.map(|part| part as f32), &device))
        };
        let config = LbfgsConfig { tolerance: 1e-4, ..Default::default() };
        let found = config.minimise(Tensor::from_floats([-1.2, 1.0], &device), &mut valley);
        let at = found.point.into_data().try_to_vec::<f32>().expect("f32");
        assert!(found.converged && found.steps < 100, "{} steps", found.steps);
        assert!((at[0] - 1.0).abs() < 1e-3 && (at[1] - 1.0).abs() < 1e-3, "{at:?}");
    }
}
