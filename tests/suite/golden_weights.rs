//! Weights without a file: the same numbers from a name and an index as `tests/golden/weights.py` makes.

use burn::module::Module;
use florin_nn::parameters::assign;

/// A uniform number in [-a, a] has standard deviation a / √3 = 0.1.
const AMPLITUDE: f32 = 0.173_205_08;

/// A module whose every parameter has its noise, norm scales around one.
pub(crate) fn filled<M: Module>(module: M) -> M {
    assign(module, &mut |name, shape| Some(values(name, shape.iter().product()).into()))
}

/// The parameter of that name, in PyTorch's orientation.
pub(crate) fn values(name: &str, count: usize) -> Vec<f32> {
    let noise = uniform(name, count).map(|value| value * AMPLITUDE);
    if name.ends_with("norm.weight") { noise.map(|value| 1.0 + value).collect() } else { noise.collect() }
}

/// The tensor of that name in a checkpoint, whoever named it: a vector of weights scales a norm, and a variance is above zero.
pub(crate) fn stored(name: &str, shape: &[usize]) -> Vec<f32> {
    let noise = uniform(name, shape.iter().product()).map(|value| value * AMPLITUDE);
    let is_scale = shape.len() == 1 && name.ends_with("weight");
    if is_scale || name.ends_with("running_var") { noise.map(|value| 1.0 + value).collect() } else { noise.collect() }
}

/// Numbers in [-1, 1) with 24 random bits, exact in f32.
pub(crate) fn uniform(name: &str, count: usize) -> impl Iterator<Item = f32> {
    let seed = fnv1a(name);
    (1..=count as u64).map(move |index| (splitmix64(seed, index) >> 40) as f32 * 2f32.powi(-23) - 1.0)
}

/// The 64-bit FNV-1a hash.
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The splitmix64 generator's output of that index.
fn splitmix64(seed: u64, index: u64) -> u64 {
    let z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn the_generator_is_splitmix64_over_fnv1a() {
    // Published values: FNV-1a of "a", and the first output of splitmix64 seeded with 1234567.
    assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(splitmix64(1_234_567, 1), 6_457_827_717_110_365_317);
}
