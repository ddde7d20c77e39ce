//! Packed products against plain ones, in every set of instructions that this machine has; Miri has all of x86
//! (`cargo xtask miri`), QEMU all of ARM (`cargo xtask arm`).

use std::mem::MaybeUninit;

use super::bf16::Bf16;
use super::int8::{Int8, LONGEST};
use super::single::Single;
use super::{BLOCK, Instructions, LEAST, Lines, Panels, WIDTH, pieces, product};
use crate::Activation;
use crate::kernels::gapless::Gapless;
use crate::kernels::transpose::transpose;

#[cfg(target_arch = "x86_64")]
const ALL: &[Instructions] = &[Instructions::Portable, Instructions::Avx2, Instructions::Avx512];
#[cfg(target_arch = "aarch64")]
const ALL: &[Instructions] = &[Instructions::Portable, Instructions::Neon, Instructions::NeonDot];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ALL: &[Instructions] = &[Instructions::Portable];

/// Rows below, at and above the heights of tiles and blocks.
const ROWS: &[usize] =
    if cfg!(miri) { &[1, 7, 13] } else { &[0, 1, 5, 6, 7, 8, 9, 10, 12, 13, 15, 16, 17, 64, 65, 131] };
const INPUTS: &[usize] = if cfg!(miri) { &[1, 6] } else { &[1, 2, 3, 4, 5, 31, 127, 400, 1000] };
const OUTPUTS: &[usize] = if cfg!(miri) { &[1, 33] } else { &[1, 15, 16, 17, 31, 32, 33, 97] };

/// The same weights, multiplied by other instructions.
macro_rules! within {
    ($packed:expr, $instructions:expr) => {{
        let mut packed = $packed.clone();
        packed.instructions = $instructions;
        packed
    }};
}

/// Numbers from −1 to 1 that look like chance.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// The product in f64, and the sum of magnitudes of its terms, which rounding is measured against.
fn exact(x: &[f32], weights: &[f32], input: usize, output: usize) -> Vec<(f64, f64)> {
    let mut result = Vec::new();
    for row in x.chunks_exact(input) {
        for column in 0..output {
            let terms =
                row.iter().enumerate().map(|(place, x)| f64::from(*x) * f64::from(weights[place * output + column]));
            result.push(terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs())));
        }
    }
    result
}

/// All columns of all rows by one thread, `[rows, output]`.
#[expect(unsafe_code, reason = "numbers that are there from the start")]
fn plainly<P: Panels>(x: &[f32], weight: &P) -> Vec<f32> {
    let (input, output) = (weight.input(), weight.output());
    let rows = x.len() / input;
    let mut loaded = P::Rows::default();
    weight.load(Lines { matrix: Gapless::Rows(x), first: 0, count: rows }, &mut loaded);
    let mut result = vec![MaybeUninit::new(f32::NAN); rows * output];
    let mut tile = vec![f32::NAN; rows * WIDTH];
    for pair in 0..output.div_ceil(WIDTH) {
        weight.multiply(&loaded, pair, &mut tile);
        super::spread(&tile, pair, output, &mut result);
    }
    // SAFETY: numbers from the start.
    result.into_iter().map(|number| unsafe { number.assume_init() }).collect()
}

fn assert_near(what: &str, found: &[f32], exact: &[(f64, f64)], tolerance: f64) {
    assert_eq!(found.len(), exact.len(), "{what}");
    for (place, (found, (sum, size))) in found.iter().zip(exact).enumerate() {
        let off = (f64::from(*found) - sum).abs();
        assert!(off <= tolerance * size, "{what}: number {place} is {found}, expected {sum}, off {off:e} of {size}");
    }
}

/// Calls with every size, and with each set of instructions up to the best that the machine has.
fn every_size(mut test: impl FnMut([usize; 3], &[f32], &[f32])) {
    for (place, &rows) in ROWS.iter().enumerate() {
        for &input in INPUTS {
            for &output in OUTPUTS {
                let seed = (place * 1000 + input * 10 + output) as u64;
                test([rows, input, output], &numbers(rows * input, seed), &numbers(input * output, seed + 1));
            }
        }
    }
}

#[test]
fn f32_products_are_those_of_the_weights_in_every_instruction_set() {
    every_size(|[rows, input, output], x, weights| {
        let packed = Single::pack(Gapless::Rows(weights), input, output);
        assert_eq!(packed.unpack(), weights);
        let exact = exact(x, weights, input, output);
        for instructions in ALL.iter().copied().filter(|one| *one <= packed.instructions) {
            let packed = within!(packed, instructions);
            assert_near(&format!("{rows} {input} {output} {instructions:?}"), &plainly(x, &packed), &exact, 2e-6);
        }
    });
}

#[test]
fn bf16_products_are_those_of_the_rounded_weights_in_every_instruction_set() {
    every_size(|[rows, input, output], x, weights| {
        let packed = Bf16::pack(weights, input, output);
        let rounded = packed.unpack();
        for (rounded, weight) in rounded.iter().zip(weights) {
            assert!((rounded - weight).abs() <= weight.abs() / 256.0, "{weight} became {rounded}");
        }
        let exact = exact(x, &rounded, input, output);
        for instructions in ALL.iter().copied().filter(|one| *one <= packed.instructions) {
            let packed = within!(packed, instructions);
            // To one in 256.
            let tolerance = if packed.rounds_rows() { 4e-3 } else { 2e-6 };
            assert_near(&format!("{rows} {input} {output} {instructions:?}"), &plainly(x, &packed), &exact, tolerance);
        }
    });
}

#[test]
fn factors_of_one_product_may_stand_by_rows_or_by_columns() {
    every_size(|[rows, input, output], x, weights| {
        let (turned_x, turned) = (transpose(x, rows, input), transpose(weights, input, output));
        let (by_rows, by_columns) = (Gapless::Rows(weights), Gapless::Columns(&turned));
        let packed = Bf16::of_matrix(by_rows, input, output);
        assert_eq!(Bf16::of_matrix(by_columns, input, output), packed, "{input} {output}");
        let of = |x| product(x, &packed, None, Activation::Identity);
        assert_eq!(of(Gapless::Columns(&turned_x)), of(Gapless::Rows(x)), "{rows} {input} {output}");
        let packed = Single::pack(by_rows, input, output);
        assert_eq!(Single::pack(by_columns, input, output), packed, "{input} {output}");
        let of = |x| product(x, &packed, None, Activation::Identity);
        assert_eq!(of(Gapless::Columns(&turned_x)), of(Gapless::Rows(x)), "{rows} {input} {output}");
    });
}

#[test]
fn both_bf16_factors_of_one_product_are_rounded_in_every_instruction_set() {
    every_size(|[rows, input, output], x, weights| {
        let of_x = if x.is_empty() { Vec::new() } else { Bf16::pack(x, 1, x.len()).unpack() };
        let packed = Bf16::of_matrix(Gapless::Rows(weights), input, output);
        let exact = exact(&of_x, &packed.unpack(), input, output);
        for instructions in ALL.iter().copied().filter(|one| *one <= packed.instructions) {
            let packed = within!(packed, instructions);
            assert_near(&format!("{rows} {input} {output} {instructions:?}"), &plainly(x, &packed), &exact, 2e-6);
        }
    });
}

#[test]
fn int8_products_are_those_of_the_rounded_numbers_and_the_same_in_every_instruction_set() {
    every_size(|[rows, input, output], x, weights| {
        let packed = Int8::pack(weights, input, output);
        let rounded = packed.unpack();
        for column in 0..output {
            let of_column =
                |values: &[f32]| (0..input).map(|place| values[place * output + column]).collect::<Vec<_>>();
            let (weights, rounded) = (of_column(weights), of_column(&rounded));
            // A step is no larger than what keeps each weight in 127, and those that are summed together in 128; a weight may give up two steps
            // that rounding added to its sum.
            let most = weights.iter().fold(0f32, |most, weight| most.max(weight.abs()));
            let together = weights.chunks(8).flat_map(|eight| {
                let of = |places: [usize; 4], sign: f32| {
                    places
                        .iter()
                        .filter_map(|&place| eight.get(place))
                        .map(|weight| (weight * sign).max(0.0))
                        .sum::<f32>()
                };
                let places = [[0, 1, 4, 5], [2, 3, 6, 7]];
                places.into_iter().flat_map(move |places| [of(places, 1.0), of(places, -1.0)])
            });
            let step = together.fold(most / 127.0, |step, together| step.max(together / 128.0));
            for (weight, rounded) in weights.iter().zip(&rounded) {
                assert!((rounded - weight).abs() <= step * 2.501, "{weight} became {rounded}");
            }
            let off =
                weights.iter().zip(&rounded).filter(|(weight, rounded)| (*rounded - *weight).abs() > step * 0.501);
            assert!(off.count() <= 2 + weights.len() / 32, "few weights give way");
        }
        // A row's own rounding by hand: 255 steps over its range, zero among them.
        let steps = x.chunks_exact(input).flat_map(|row| {
            let (low, high) = row.iter().fold((0f32, 0f32), |(low, high), x| (low.min(*x), high.max(*x)));
            let scale = f64::from(high / 255.0 - low / 255.0);
            let zero = (-f64::from(low) / scale).round();
            row.iter().map(move |x| (((f64::from(*x) / scale).round() + zero).clamp(0.0, 255.0) - zero) * scale)
        });
        let steps: Vec<f32> = steps.map(|x| x as f32).collect();
        let exact = exact(&steps, &rounded, input, output);
        let portable = plainly(x, &within!(packed, Instructions::Portable));
        // One number in a row may fall to either side of a half.
        assert_near(&format!("{rows} {input} {output}"), &portable, &exact, if input == 1 { 1e-5 } else { 8e-3 });
        for instructions in ALL.iter().copied().filter(|one| *one <= packed.instructions) {
            let found = plainly(x, &within!(packed, instructions));
            assert_eq!(found, portable, "{rows} {input} {output} {instructions:?}");
        }
    });
}

#[test]
fn the_largest_sums_of_int8_do_not_overflow() {
    let input = if cfg!(miri) { 64 } else { LONGEST };
    // Those that are summed together in sixteen bits are all that they may be: 128.
    let eights: [[i8; 8]; 3] = [[32; 8], [127, 1, 127, 1, 0, 0, 0, 0], [64, 0, 0, 64, 0, 64, 64, 0]];
    for (eight, sign) in eights.into_iter().flat_map(|eight| [(eight, 1i8), (eight, -1)]) {
        let groups = input / 4;
        let places = |group: usize| (0..4).map(move |place| sign * eight[group % 2 * 4 + place]);
        let panels = (0..2 * groups).flat_map(|group| (0..16).flat_map(move |_| places(group % groups)));
        let bytes: Vec<u8> = panels.map(|weight| weight as u8).collect();
        let packed = Int8::of(bytes.into(), vec![1.0; 32], input, 2).expect("a weight");
        for instructions in ALL.iter().copied().filter(|one| *one <= packed.instructions) {
            for x in [1f32, -1.0] {
                let found = plainly(&vec![x; input], &within!(packed, instructions));
                let sum: i64 = (0..groups).flat_map(places).map(i64::from).sum();
                let expected = x * sum as f32;
                assert!(found.iter().all(|found| (found / expected - 1.0).abs() < 1e-5), "{found:?}, {expected}");
            }
        }
    }
    // Half of the row at either end, weights with its sign: every product is the largest, and so is what the zero point takes off.
    let x: Vec<f32> = (0..input).map(|place| if place % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let packed = Int8::pack(&x.repeat(1), input, 1);
    for instructions in ALL.iter().copied().filter(|one| *one <= packed.instructions) {
        let found = plainly(&x, &within!(packed, instructions));
        assert!((found[0] / input as f32 - 1.0).abs() < 6e-3, "{found:?}, expected {input}");
    }
}

#[test]
#[should_panic(expected = "may not fit 32 bits")]
fn rows_too_long_for_the_sums_of_int8_are_refused() {
    Int8::pack(&vec![1.0; LONGEST + 1], LONGEST + 1, 1);
}

#[test]
fn what_is_no_number_stays_visible_in_its_row_and_nowhere_else() {
    let (input, output) = (5, 3);
    let weights = numbers(input * output, 3);
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = numbers(3 * input, 4);
        x[input + 2] = wrong;
        let check = |what: &str, found: Vec<f32>| {
            for (row, found) in found.chunks_exact(output).enumerate() {
                assert!(found.iter().all(|x| x.is_finite() == (row != 1)), "{what}, {wrong}, row {row}: {found:?}");
            }
        };
        let single = Single::pack(Gapless::Rows(&weights), input, output);
        for instructions in ALL.iter().copied().filter(|one| *one <= single.instructions) {
            check("f32", plainly(&x, &within!(single, instructions)));
        }
        let bf16 = Bf16::pack(&weights, input, output);
        for instructions in ALL.iter().copied().filter(|one| *one <= bf16.instructions) {
            check("bf16", plainly(&x, &within!(bf16, instructions)));
        }
        let int8 = Int8::pack(&weights, input, output);
        for instructions in ALL.iter().copied().filter(|one| *one <= int8.instructions) {
            check("int8", plainly(&x, &within!(int8, instructions)));
        }
        // A weight that is none spoils its column.
        let mut weights = weights.clone();
        weights[output + 1] = wrong;
        let x = numbers(2 * input, 5);
        for found in [
            plainly(&x, &Single::pack(Gapless::Rows(&weights), input, output)),
            plainly(&x, &Bf16::pack(&weights, input, output)),
            plainly(&x, &Int8::pack(&weights, input, output)),
        ] {
            assert!(found.iter().enumerate().all(|(place, x)| x.is_finite() == (place % output != 1)), "{found:?}");
        }
    }
}

#[test]
fn zeros_and_the_smallest_and_largest_numbers_are_served() {
    let weights = [0.5f32, -0.25, 0.0, 0.0];
    let packed = Int8::pack(&weights, 2, 2);
    assert_eq!(plainly(&[0.0, 0.0, -0.0, 0.0], &packed), [0.0; 4]);
    // Numbers below the smallest normal one count as zero.
    assert_eq!(plainly(&[1e-40, -1e-40], &packed), [0.0, 0.0]);
    let found = plainly(&[3e38, -3e38], &Int8::pack(&[0.5, -0.25, 0.5, -0.25], 2, 2));
    assert!(found.iter().all(|x| x.abs() < 3e38 / 100.0), "{found:?}");
    let found = plainly(&[3e38, 0.0], &packed);
    assert!((found[0] / 1.5e38 - 1.0).abs() < 1e-2 && (found[1] / -0.75e38 - 1.0).abs() < 1e-2, "{found:?}");
}

#[cfg(not(miri))]
#[test]
fn bias_activation_blocks_and_threads_change_nothing_else() {
    for rows in [1, 3, 15, 16, 17, 130, 300] {
        let (input, output) = (70, 83);
        let (x, weights, bias) = (numbers(rows * input, 6), numbers(input * output, 7), numbers(output, 8));
        let single = Single::pack(Gapless::Rows(&weights), input, output);
        let plain = plainly(&x, &single);
        let expected: Vec<f32> = plain
            .chunks_exact(output)
            .flat_map(|row| row.iter().zip(&bias).map(|(x, bias)| (x + bias).max(0.0)))
            .collect();
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let found = pool.install(|| product(Gapless::Rows(&x), &single, Some(&bias), Activation::Relu));
            assert_eq!(found, expected, "{rows} rows, {threads} threads");
            assert_eq!(pool.install(|| product(Gapless::Rows(&x), &single, None, Activation::Identity)), plain);
        }
    }
}

#[test]
fn blocks_are_whole_tiles_and_the_last_are_smaller() {
    let blocks = |rows: usize, threads, height| {
        let mut result = vec![0u8; rows * 3];
        let mut blocks = Vec::new();
        for (first, piece) in pieces(&mut result, rows, threads, height) {
            assert_eq!(first, blocks.iter().sum::<usize>(), "{rows} rows, {threads} threads");
            blocks.push(piece.len() / 3);
        }
        blocks
    };
    // A block for each thread: even ones.
    assert_eq!(blocks(1, 2, 6), [1]);
    assert_eq!(blocks(18, 2, 6), [12, 6]);
    assert_eq!(blocks(128, 2, 6), [66, 62]);
    assert_eq!(blocks(256, 2, 6), [66, 66, 66, 30, 28]);
    assert_eq!(blocks(788, 2, 4), [&[68; 10][..], &[56, 28, 24]].concat());
    for (rows, threads, height) in [(80, 2, 4), (788, 2, 6), (1024, 1, 6), (1024, 3, 12), (2048, 64, 6), (5000, 64, 12)]
    {
        let (what, blocks) =
            (format!("{rows} rows, {threads} threads, tiles of {height}"), blocks(rows, threads, height));
        assert_eq!(blocks.iter().sum::<usize>(), rows, "{what}");
        let (_, whole) = blocks.split_last().expect("a block");
        assert!(whole.iter().all(|block| block % height == 0), "{what}: {blocks:?}");
        assert!(blocks.is_sorted_by(|a, b| a >= b) && blocks[0] <= BLOCK, "{what}: {blocks:?}");
        // Whoever is free takes the next: nobody has more to do than a fair share by more than one of the last blocks.
        let mut loads = vec![0; threads];
        blocks.iter().for_each(|block| *loads.iter_mut().min().expect("a thread") += block);
        let fair = rows.div_ceil(height).div_ceil(threads) * height;
        assert!(loads.iter().all(|load| *load < fair + LEAST), "{what}: {loads:?}");
    }
}

/// Bytes that begin nowhere in particular.
fn kept(bytes: &[u8], shift: usize) -> bytes::Bytes {
    bytes::Bytes::from([&vec![0; shift], bytes].concat()).slice(shift..)
}

#[test]
fn a_weight_is_the_same_from_the_bytes_of_another_process() {
    for (input, output) in [(1, 1), (6, 33), (127, 97)] {
        let weights = numbers(input * output, 3);
        for shift in [0, 1, 4] {
            let packed = Single::pack(Gapless::Rows(&weights), input, output);
            assert_eq!(Single::of(kept(packed.bytes(), shift), input, output).unwrap(), packed);
            let packed = Bf16::pack(&weights, input, output);
            assert_eq!(Bf16::of(kept(packed.bytes(), shift), input, output).unwrap(), packed);
            let packed = Int8::pack(&weights, input, output);
            let read = Int8::of(kept(packed.bytes(), shift), packed.scales().to_vec(), input, output);
            assert_eq!(read.unwrap(), packed);
        }
    }
}

#[test]
fn bytes_that_are_no_weight_of_the_size_are_refused() {
    let weights = numbers(6 * 33, 3);
    let single = Single::pack(Gapless::Rows(&weights), 6, 33);
    let error = Single::of(kept(single.bytes(), 0), 7, 33).unwrap_err();
    assert_eq!(error, "1536 bytes of panels, expected 1792");
    assert!(Single::of(kept(&single.bytes()[1..], 0), 6, 33).is_err());
    let mut spoiled = single.bytes().to_vec();
    spoiled[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(Single::of(spoiled.into(), 6, 33).unwrap_err(), "1 numbers that are infinite or none");
    let bf16 = Bf16::pack(&weights, 6, 33);
    assert!(Bf16::of(kept(bf16.bytes(), 0), 6, 65).is_err());
    let mut spoiled = bf16.bytes().to_vec();
    spoiled[2..4].copy_from_slice(&0xff80u16.to_le_bytes());
    assert_eq!(Bf16::of(spoiled.into(), 6, 33).unwrap_err(), "1 numbers that are infinite or none");
    let int8 = Int8::pack(&weights, 6, 33);
    let read = |bytes, scales: &[f32], input| Int8::of(kept(bytes, 0), scales.to_vec(), input, 33).unwrap_err();
    assert_eq!(read(int8.bytes(), int8.scales(), 9), "512 bytes of panels, expected 768");
    assert_eq!(read(int8.bytes(), &int8.scales()[1..], 6), "63 scales, expected 64");
    assert_eq!(read(int8.bytes(), &[f32::INFINITY; 64], 6), "a scale that is infinite or no number");
    assert_eq!(read(int8.bytes(), int8.scales(), LONGEST + 1), "32769 inputs, expected at most 32768");
    let mut beyond = int8.bytes().to_vec();
    beyond[3] = 0x80;
    assert_eq!(read(&beyond, int8.scales(), 6), "a weight of -128, expected -127 to 127");
    let error = "weights that add up to 129 where they are summed together, expected at most 128";
    let alone: Vec<u8> = [100, 29, 1, 1].into_iter().chain(std::iter::repeat_n(0, beyond.len() - 4)).collect();
    assert_eq!(read(&alone, int8.scales(), 6), error);
}
