//! What the benches of blocks share: each case is timed forward, and forward and backward, on the device that FLORIN_DEVICE
//! names; `cargo xtask bench peers blocks` finds the same cases by name in `tests/peers/blocks.py`.
#![allow(dead_code, reason = "each bench uses what it needs")]

use burn::prelude::*;
use burn::tensor::Distribution;
use criterion::{BenchmarkId, Criterion};

/// The cases of one crate.
pub(crate) struct Cases<'a> {
    criterion: &'a mut Criterion,
    group: &'static str,
    device: Device,
    device_name: String,
}

impl<'a> Cases<'a> {
    /// No case yet.
    pub(crate) fn new(criterion: &'a mut Criterion, group: &'static str) -> Self {
        let device_name = std::env::var("FLORIN_DEVICE").unwrap_or_else(|_| "cpu".into());
        let device = florin_backend::device(&device_name).expect("FLORIN_DEVICE names a device of this build");
        Self { criterion, group, device, device_name }
    }

    /// Times a block. `make` builds it with its inputs on a device, once without gradients and once with; what it gives is
    /// called over and over. A block's output, of any shape, stands for a loss by the mean of its squares.
    pub(crate) fn block<const D: usize, F: FnMut() -> Tensor<D>>(&mut self, name: &str, make: impl Fn(&Device) -> F) {
        self.loss(name, |device| {
            let mut run = make(device);
            move || run().square().mean()
        });
    }

    /// Times a loss, in the same way; what it gives is `[1]`.
    pub(crate) fn loss<F: FnMut() -> Tensor<1>>(&mut self, name: &str, make: impl Fn(&Device) -> F) {
        let Self { criterion, group, device, device_name } = self;
        let mut group = criterion.benchmark_group(*group);
        florin_backend::seed(device, 7);
        let mut run = make(device);
        group.bench_function(BenchmarkId::new(format!("{name}_forward"), &*device_name), |bencher| {
            bencher.iter(|| {
                let value = run();
                device.sync().expect("the device finishes");
                value
            });
        });
        let mut run = make(&device.clone().autodiff());
        group.bench_function(BenchmarkId::new(format!("{name}_backward"), &*device_name), |bencher| {
            bencher.iter(|| {
                let gradients = run().backward();
                device.sync().expect("the device finishes");
                gradients
            });
        });
        group.finish();
    }
}

/// Numbers of about one, with a gradient where the device gives any.
pub(crate) fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = Tensor::random(shape, Distribution::Normal(0.0, 1.0), device);
    if values.is_autodiff() { values.require_grad() } else { values }
}
