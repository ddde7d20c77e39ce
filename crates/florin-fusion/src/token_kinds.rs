//! What every token-wise kind promises, tried on random batches of three streams of unequal lengths and widths.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::{DType, Distribution};
use florin_nn::{Mask, Modality, Tokens};
use proptest::prelude::*;

use crate::{
    AnyFusion, BottleneckConfig, Concatenation, ConfigError, CrossAttentionConfig, EarlyConfig, Fused, Fusion,
    FusionConfig, MultConfig, PerceiverConfig, Stream, TokenAttentionConfig,
};

const BATCH: usize = 4;
const DIM: usize = 4;
const MODALITIES: [Modality; 3] = [Modality::Text, Modality::Audio, Modality::Image];
const WIDTHS: [usize; 3] = [3, 5, 2];

fn streams_of_config() -> Vec<(Modality, usize)> {
    MODALITIES.into_iter().zip(WIDTHS).collect()
}

/// Every kind that reads tokens as they are, small.
fn unaligned() -> Vec<FusionConfig> {
    let (streams, dim, heads, positions) = (streams_of_config(), DIM, 2, true);
    let early = |concatenation| {
        FusionConfig::Early(EarlyConfig { streams: streams.clone(), dim, heads, layers: 1, positions, concatenation })
    };
    vec![
        FusionConfig::Bottleneck(BottleneckConfig {
            streams: streams.clone(),
            dim,
            heads,
            bottlenecks: 2,
            layers: 3,
            fusion_layer: 1,
            positions,
        }),
        FusionConfig::CrossAttention(CrossAttentionConfig {
            streams: streams.clone(),
            dim,
            heads,
            layers: 2,
            positions,
        }),
        early(Concatenation::Tokens),
        early(Concatenation::Inputs),
        FusionConfig::Mult(MultConfig { streams: streams.clone(), dim, heads, layers: 2, memory_layers: 1 }),
        FusionConfig::Perceiver(PerceiverConfig { streams, dim, heads, latents: 3, layers: 2, positions }),
    ]
}

/// The same and the kind whose streams are aligned.
fn every() -> Vec<FusionConfig> {
    let aligned = TokenAttentionConfig { streams: streams_of_config(), dim: DIM, heads: 2 };
    unaligned().into_iter().chain([FusionConfig::TokenAttention(aligned)]).collect()
}

/// Which rows have what, and how much of it: `[modality][row]`.
#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    lengths: [[usize; BATCH]; 3],
    present: [[bool; BATCH]; 3],
}

/// So many cases; a failing one stands in the message, not in a file.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(count) }
}

fn case() -> impl Strategy<Value = Case> {
    let lengths = prop::array::uniform3(prop::array::uniform4(1..5usize));
    let present = prop::array::uniform3(prop::array::uniform4(prop::bool::weighted(0.7)));
    (any::<u32>(), lengths, present).prop_map(|(seed, lengths, present)| Case { seed: seed.into(), lengths, present })
}

fn device() -> Device {
    florin_backend::device("cpu").expect("the cpu device is always there")
}

impl Case {
    /// The same lengths in every modality, for the kind that is aligned.
    fn for_kind(&self, config: &FusionConfig) -> Self {
        let mut case = self.clone();
        if matches!(config, FusionConfig::TokenAttention(_)) {
            case.lengths = [self.lengths[0]; 3];
        }
        case
    }

    /// The fusion with weights large enough to matter, and the three streams.
    fn build(&self, config: &FusionConfig, device: &Device) -> (AnyFusion, Vec<Stream>) {
        florin_backend::seed(device, self.seed);
        let fusion = config.init(device).map(&mut Noise);
        let aligned = matches!(config, FusionConfig::TokenAttention(_));
        let stream = |index: usize| {
            let seq = if aligned { 5 } else { 5 + index };
            let values = Tensor::random([BATCH, seq, WIDTHS[index]], Distribution::Normal(0.0, 1.0), device);
            let tokens = Tokens::new(values, Mask::from_lengths(&self.lengths[index], seq, device));
            Stream { modality: MODALITIES[index], tokens, present: self.present[index].to_vec() }
        };
        let streams = (0..3).map(stream).collect();
        (fusion, streams)
    }
}

/// Biases and marks start at nothing: noise in every parameter, so that none can hide.
struct Noise;

impl ModuleMapper for Noise {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|x| {
            let noise = Tensor::random(x.dims(), Distribution::Normal(0.0, 0.3), &x.device());
            let noisy = (x.clone() + noise).detach();
            if x.is_require_grad() { noisy.require_grad() } else { noisy }
        })
    }
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec::<f64>().expect("just converted")
}

/// All that a fusion gives, one vector a row.
fn rows(fused: &Fused) -> Vec<Vec<f64>> {
    let mut parts = vec![fused.embedding.clone()];
    parts.extend(fused.weights.clone());
    if let Some(tokens) = &fused.tokens {
        let [batch, seq, dim] = tokens.dims();
        parts.push(tokens.padded().reshape([batch, seq * dim]));
    }
    let parts: Vec<Vec<Vec<f64>>> = parts
        .into_iter()
        .map(|part| {
            let [batch, width] = part.dims();
            let part = numbers(part);
            (0..batch).map(|row| part[row * width..(row + 1) * width].to_vec()).collect()
        })
        .collect();
    (0..BATCH).map(|row| parts.iter().flat_map(|part| part[row].clone()).collect()).collect()
}

fn gap(one: &[Vec<f64>], other: &[Vec<f64>]) -> f64 {
    assert_eq!(one.concat().len(), other.concat().len(), "sizes differ");
    let gaps = one.iter().flatten().zip(other.iter().flatten()).map(|(a, b)| (a - b).abs());
    gaps.fold(0.0, |most, gap| if gap.is_nan() || gap > most { gap } else { most })
}

/// f32 errors of a few layers whose values are around one.
const CLOSE: f64 = 2e-5;

fn replaced(stream: &Stream, hole: f32) -> Stream {
    let [batch, seq, width] = stream.tokens.dims();
    let values = stream.tokens.padded();
    let mask = stream.tokens.mask();
    let marks = (0..batch).flat_map(|row| {
        let kept = if stream.present[row] { mask.lengths()[row] } else { 0 };
        (0..seq).map(move |i| i >= kept)
    });
    let marks: Vec<bool> = marks.collect();
    let marks = Tensor::<3, Bool>::from_data(TensorData::new(marks, [batch, seq, 1]), &values.device());
    let values = values.mask_fill(marks.expand([batch, seq, width]), hole);
    Stream { tokens: Tokens::new(values, mask.clone()), ..stream.clone() }
}

/// A loss that reads everything, with a weight of its own for each number.
fn loss(fused: &Fused) -> Tensor<1> {
    fn read<const D: usize>(x: &Tensor<D>) -> Tensor<1> {
        let count = x.dims().iter().product::<usize>();
        let probe: Vec<f64> = (0..count).map(|i| (1.7 * i as f64 + 0.3).sin()).collect();
        let probe = Tensor::<D>::from_data(TensorData::new(probe, x.dims()), (&x.device(), x.dtype()));
        (x.clone() * probe).sum()
    }
    let mut sum = read(&fused.embedding);
    if let Some(tokens) = &fused.tokens {
        sum = sum + read(&tokens.padded());
    }
    match &fused.weights {
        Some(weights) => sum + read(weights),
        None => sum,
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn neither_the_order_of_streams_nor_that_of_rows_matters(case in case()) {
        for config in every() {
            let (fusion, streams) = case.for_kind(&config).build(&config, &device());
            let found = rows(&fusion.fuse(&streams));
            let turned: Vec<Stream> = [2, 0, 1].into_iter().map(|index| streams[index].clone()).collect();
            prop_assert_eq!(&rows(&fusion.fuse(&turned)), &found, "{}: order of streams", config.kind());

            let order = [2, 0, 3, 1];
            let swapped: Vec<Stream> = streams.iter().map(|stream| permuted(stream, order)).collect();
            let expected: Vec<Vec<f64>> = order.iter().map(|&row| found[row].clone()).collect();
            prop_assert!(gap(&rows(&fusion.fuse(&swapped)), &expected) < CLOSE, "{}: order of rows", config.kind());
        }
    }

    #[test]
    fn absent_in_every_row_is_not_given(case in case(), which in 0..3usize) {
        for config in every() {
            let mut case = case.for_kind(&config);
            case.present[which] = [false; BATCH];
            let (fusion, streams) = case.build(&config, &device());
            let given = fusion.fuse(&streams);
            let left: Vec<Stream> = (0..3).filter(|&index| index != which).map(|index| streams[index].clone()).collect();
            let without = fusion.fuse(&left);
            let close = |one: Tensor<2>, other: Tensor<2>| gap(&[numbers(one)], &[numbers(other)]) < CLOSE;
            prop_assert!(close(given.embedding, without.embedding), "{}", config.kind());
            let weights = given.weights.zip(without.weights);
            prop_assert!(weights.is_none_or(|(one, other)| close(one, other)), "{}", config.kind());
            if which != 0 {
                let [one, other] = [given.tokens, without.tokens].map(|t| t.expect("the anchor is given").padded());
                prop_assert!(gap(&[numbers(one)], &[numbers(other)]) < CLOSE, "{}", config.kind());
            } else if !matches!(config, FusionConfig::TokenAttention(_)) {
                prop_assert!(without.tokens.is_none(), "{}: tokens without an anchor", config.kind());
            }
        }
    }

    #[test]
    fn a_row_alone_and_without_its_padding_gives_the_same(case in case(), row in 0..BATCH) {
        for config in every() {
            let (fusion, streams) = case.for_kind(&config).build(&config, &device());
            let found = fusion.fuse(&streams);
            let alone: Vec<Stream> = streams.iter().filter_map(|stream| cut(stream, row)).collect();
            if alone.is_empty() {
                continue;
            }
            let alone = fusion.fuse(&alone);
            let own = numbers(found.embedding.narrow(0, row, 1));
            prop_assert!(gap(&[own], &[numbers(alone.embedding)]) < CLOSE, "{}", config.kind());
            if let Some(tokens) = alone.tokens {
                let [_, seq, _] = tokens.dims();
                let own = found.tokens.expect("the anchor is given").padded().narrow(0, row, 1).narrow(1, 0, seq);
                prop_assert!(gap(&[numbers(own)], &[numbers(tokens.padded())]) < CLOSE, "{}: tokens", config.kind());
            }
        }
    }

    #[test]
    fn what_stands_in_hidden_places_changes_neither_results_nor_gradients(case in case()) {
        for config in every() {
            let (fusion, streams) = case.for_kind(&config).build(&config, &device().autodiff());
            let run = |hole: f32| {
                let streams: Vec<Stream> = streams.iter().map(|stream| replaced(stream, hole)).collect();
                let inputs: Vec<Tensor<3>> = streams.iter().map(|s| s.tokens.padded().detach().require_grad()).collect();
                let streams: Vec<Stream> = streams
                    .iter()
                    .zip(&inputs)
                    .map(|(s, x)| Stream { tokens: Tokens::new(x.clone(), s.tokens.mask().clone()), ..s.clone() })
                    .collect();
                let fused = fusion.fuse(&streams);
                let mut found = rows(&fused);
                let mut gradients = loss(&fused).backward();
                let mut collector = Collect { gradients: &mut gradients, found: vec![] };
                fusion.visit(&mut collector);
                found.push(collector.found);
                found.extend(inputs.iter().map(|x| x.grad(&gradients).map(numbers).unwrap_or_default()));
                found
            };
            let (zero, nan) = (run(0.0), run(f32::NAN));
            prop_assert!(zero.iter().flatten().all(|x| x.is_finite()), "{}: not finite", config.kind());
            prop_assert_eq!(zero, nan, "{}", config.kind());
        }
    }

    #[test]
    fn weights_are_zero_for_the_absent_and_sum_to_one(case in case()) {
        for config in every() {
            let case = case.for_kind(&config);
            let (fusion, streams) = case.build(&config, &device());
            let Some(weights) = fusion.fuse(&streams).weights else { continue };
            for (row, weights) in numbers(weights).chunks(3).enumerate() {
                let any = (0..3).any(|modality| case.present[modality][row]);
                let sum: f64 = weights.iter().sum();
                prop_assert!((sum - f64::from(u8::from(any))).abs() < 1e-6, "{}: {weights:?}", config.kind());
                prop_assert!((0..3).all(|m| case.present[m][row] || weights[m] == 0.0), "{}: {weights:?}", config.kind());
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(3))]

    #[test]
    fn gradients_are_those_of_finite_differences(case in case()) {
        // To either side and of several lengths: the kink of one of MulT's ReLUs may lie on one side, or within a long step. None
        // makes a wrong gradient right.
        const STEPS: [f64; 6] = [1e-5, -1e-5, 1e-6, -1e-6, 1e-7, -1e-7];
        for config in every() {
            let (fusion, streams) = case.for_kind(&config).build(&config, &device().autodiff());
            let fusion = fusion.map(&mut Doubled);
            let inputs: Vec<Tensor<3>> =
                streams.iter().map(|s| s.tokens.padded().cast(DType::F64).detach().require_grad()).collect();
            let at = |fusion: &AnyFusion, inputs: &[Tensor<3>]| {
                let given: Vec<Stream> = streams
                    .iter()
                    .zip(inputs)
                    .map(|(s, x)| Stream { tokens: Tokens::new(x.clone(), s.tokens.mask().clone()), ..s.clone() })
                    .collect();
                loss(&fusion.fuse(&given))
            };
            let mut gradients = at(&fusion, &inputs).backward();
            let mut along = Along { gradients: &mut gradients, slope: 0.0, count: 0 };
            fusion.visit(&mut along);
            let (mut slope, count) = (along.slope, along.count);
            for (index, input) in inputs.iter().enumerate() {
                let Some(gradient) = input.grad(&gradients) else { continue };
                let direction = direction(input.dims(), 1000 + index, &input.device().without_autodiff());
                slope += numbers((gradient * direction).sum())[0];
            }
            let moved = |step: f64| {
                let fusion = fusion.clone().map(&mut Moved { step, count: 0 });
                let inputs: Vec<Tensor<3>> = inputs
                    .iter()
                    .enumerate()
                    .map(|(index, x)| x.clone() + direction(x.dims(), 1000 + index, &x.device()) * step)
                    .collect();
                numbers(at(&fusion, &inputs))[0]
            };
            let start = moved(0.0);
            let difference = |step: f64| (4.0 * (moved(step) - start) - (moved(2.0 * step) - start)) / (2.0 * step);
            let differences = STEPS.map(difference);
            let close = |expected: &f64| (slope - expected).abs() < 1e-6 * expected.abs().max(1.0);
            prop_assert!(count > 3, "{}: only {count} parameters", config.kind());
            let kind = config.kind();
            prop_assert!(differences.iter().any(close), "{kind}: {slope} against {differences:?}");
        }
    }
}

/// The batch in another order.
fn permuted(stream: &Stream, order: [usize; BATCH]) -> Stream {
    let [_, seq, _] = stream.tokens.dims();
    let values = stream.tokens.padded();
    let rows = Tensor::from_data(TensorData::from(order.map(|row| row as i32)), &values.device());
    let lengths: Vec<usize> = order.iter().map(|&row| stream.tokens.mask().lengths()[row]).collect();
    let mask = Mask::from_lengths(&lengths, seq, &values.device());
    let present = order.iter().map(|&row| stream.present[row]).collect();
    Stream { modality: stream.modality, tokens: Tokens::new(values.select(0, rows), mask), present }
}

/// One row without its padding, where it has the modality.
fn cut(stream: &Stream, row: usize) -> Option<Stream> {
    let length = stream.tokens.mask().lengths()[row];
    let values = stream.tokens.padded().narrow(0, row, 1).narrow(1, 0, length);
    let mask = Mask::all_kept(1, length, &values.device());
    stream.present[row].then(|| Stream::tokens(stream.modality, Tokens::new(values, mask)))
}

struct Collect<'a> {
    gradients: &'a mut burn::tensor::Gradients,
    found: Vec<f64>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(self.gradients) {
            self.found.extend(numbers(gradient));
        }
    }
}

/// Parameters in f64.
struct Doubled;

impl ModuleMapper for Doubled {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|x| x.cast(DType::F64).detach().require_grad())
    }
}

/// A fixed direction for the tensor of that number.
fn direction<const D: usize>(shape: [usize; D], number: usize, device: &Device) -> Tensor<D> {
    let values: Vec<f64> =
        (0..shape.iter().product::<usize>()).map(|i| (0.9 * i as f64 + 1.3 * number as f64).cos()).collect();
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F64))
}

/// The slope of the loss along the directions of all parameters.
struct Along<'a> {
    gradients: &'a mut burn::tensor::Gradients,
    slope: f64,
    count: usize,
}

impl ModuleVisitor for Along<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let x = param.val();
        if let Some(gradient) = x.grad_remove(self.gradients) {
            let direction = direction(x.dims(), self.count, &gradient.device());
            self.slope += numbers((gradient * direction).sum())[0];
        }
        self.count += 1;
    }
}

/// Parameters a step along their directions.
struct Moved {
    step: f64,
    count: usize,
}

impl ModuleMapper for Moved {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let number = self.count;
        self.count += 1;
        param.map(|x| x.clone() + direction(x.dims(), number, &x.device()) * self.step)
    }
}

#[test]
fn a_row_without_any_modality_gives_finite_numbers_and_no_weight() {
    let case = Case { seed: 5, lengths: [[3, 2, 4, 1]; 3], present: [[true, false, true, true]; 3] };
    for config in every() {
        let (fusion, streams) = case.build(&config, &device());
        let fused = fusion.fuse(&streams);
        let found = rows(&fused);
        assert!(found.iter().flatten().all(|x| x.is_finite()), "{}", config.kind());
        let weights = fused.weights.map(|weights| numbers(weights.narrow(0, 1, 1)));
        assert!(
            weights.is_none_or(|weights| weights == [0.0; 3]),
            "{}: something weighs in an empty row",
            config.kind()
        );
        let tokens = fused.tokens.expect("the anchor is given");
        assert_eq!(tokens.mask().lengths(), [3, 0, 4, 1], "{}: the empty row keeps no token", config.kind());
    }
}

#[test]
fn every_modality_reaches_the_embedding_and_the_anchors_tokens() {
    let case = Case { seed: 7, lengths: [[3, 2, 4, 1]; 3], present: [[true; BATCH]; 3] };
    for config in every() {
        let (fusion, streams) = case.build(&config, &device());
        let found = fusion.fuse(&streams);
        for which in 0..3 {
            let mut changed = streams.clone();
            let tokens = &streams[which].tokens;
            changed[which].tokens = Tokens::new(tokens.padded() * 0.5 + 0.3, tokens.mask().clone());
            let other = fusion.fuse(&changed);
            let kind = config.kind();
            let gap = |one: Tensor<3>, other: Tensor<3>| gap(&[numbers(one)], &[numbers(other)]);
            let embedding = gap(found.embedding.clone().unsqueeze_dim(1), other.embedding.unsqueeze_dim(1));
            assert!(embedding > 1e-4, "{kind}: modality {which} does not reach the embedding");
            let [one, other] = [found.tokens.clone(), other.tokens].map(|t| t.expect("the anchor is given").padded());
            assert!(gap(one, other) > 1e-4, "{kind}: modality {which} does not reach the tokens");
        }
    }
}

#[test]
fn pooled_streams_are_streams_of_one_token() {
    let device = device();
    florin_backend::seed(&device, 8);
    for config in every() {
        let fusion = config.init(&device);
        let vector = |width| Tensor::random([BATCH, width], Distribution::Normal(0.0, 1.0), &device);
        let streams: Vec<Stream> =
            streams_of_config().into_iter().map(|(modality, width)| Stream::pooled(modality, vector(width))).collect();
        let fused = fusion.fuse(&streams);
        assert_eq!(fused.embedding.dims(), [BATCH, DIM], "{}", config.kind());
        assert_eq!(fused.tokens.expect("the anchor is given").dims(), [BATCH, 1, DIM], "{}", config.kind());
    }
}

#[test]
fn what_cannot_be_built_is_refused() {
    let refused = |kind: &str, streams: Vec<(Modality, usize)>, dim: usize, heads: usize| {
        let config = FusionConfig::usual(kind, streams, dim, heads).expect("a kind");
        config.validate().expect_err("this cannot be built").to_string()
    };
    for config in unaligned() {
        let kind = config.kind();
        config.validate().expect("this can be built");
        assert_eq!(FusionConfig::usual(kind, streams_of_config(), 8, 2).expect("a kind").kind(), kind);
        FusionConfig::usual(kind, streams_of_config(), 8, 2).expect("a kind").validate().expect("usual sizes");
        assert_eq!(refused(kind, vec![], 8, 2), "fusion: at least one modality is needed, found none");
        assert_eq!(refused(kind, streams_of_config(), 8, 3), "fusion: heads (3) must divide dim (8)");
        let twice = vec![(Modality::Text, 2), (Modality::Text, 2)];
        assert_eq!(refused(kind, twice, 8, 2), "fusion: modality text is listed twice");
    }
    let one = vec![(Modality::Text, 2)];
    assert_eq!(refused("mult", one, 8, 2), "fusion: mult needs at least 2 modalities, found 1");
    let mut config = BottleneckConfig {
        streams: streams_of_config(),
        dim: 8,
        heads: 2,
        bottlenecks: 4,
        layers: 3,
        fusion_layer: 2,
        positions: false,
    };
    assert!(matches!(config.validate(), Err(ConfigError::FusionLayer { fusion_layer: 2, layers: 3 })));
    (config.fusion_layer, config.bottlenecks) = (1, 0);
    assert!(matches!(config.validate(), Err(ConfigError::Zero("bottlenecks"))));
}
