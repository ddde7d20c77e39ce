//! What every kind of fusion promises, on random batches and weights. A kind joins by standing in [`FusionConfig::KINDS`].

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;
use florin_nn::parameters::{assign, collect};
use florin_nn::{Mask, Modality, Tokens};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{AnyFusion, FusionConfig, LateCombination, LateConfig, fuse_each_token};
use crate::{Fused, Fusion, Stream};

const MODALITIES: [Modality; 3] = [Modality::Text, Modality::Image, Modality::Series];
const WIDTHS: [usize; 3] = [4, 3, 5];
const DIM: usize = 8;

/// Rounding of f32 after some dozen operations on numbers around one.
const ROUNDING: f64 = 2e-5;

/// Uniform numbers in [-1, 1).
fn uniform(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random::<f32>() * 2.0 - 1.0).collect()
}

fn cpu() -> Device {
    florin_backend::device("cpu").expect("the cpu device is always there")
}

/// Vectors of which every row has all.
pub(crate) fn pooled(modalities: &[Modality], widths: &[usize], batch: usize, seed: u64) -> Vec<Stream> {
    let stream = |(index, (&modality, &width)): (usize, (&Modality, &usize))| {
        let data = TensorData::new(uniform(batch * width, seed * 100 + index as u64), [batch, width]);
        Stream::pooled(modality, Tensor::from_data(data, &cpu()))
    };
    modalities.iter().zip(widths).enumerate().map(stream).collect()
}

/// Some rows of a stream.
pub(crate) fn rows(stream: &Stream, rows: &[i64]) -> Stream {
    let of = |length: usize| rows.iter().map(|&row| stream.tokens.mask().lengths()[row as usize].min(length)).collect();
    let [_, seq, _] = stream.tokens.dims();
    let values = stream.tokens.padded();
    let lengths: Vec<usize> = of(seq);
    let mask = Mask::from_lengths(&lengths, seq, &values.device());
    let index = Tensor::from_data(TensorData::new(rows.to_vec(), [rows.len()]), &values.device());
    let present = rows.iter().map(|&row| stream.present[row as usize]).collect();
    Stream { modality: stream.modality, tokens: Tokens::new(values.select(0, index), mask), present }
}

/// The same module with noise in every parameter: zero biases hide mistakes.
pub(crate) fn noisy<M: Module>(module: M, seed: u64) -> M {
    let mut count = 0;
    assign(module, &mut |name, shape| {
        count += 1;
        let centre = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        let noise = uniform(shape.iter().product(), seed * 1000 + count);
        Some(noise.into_iter().map(|value| centre + 0.6 * value).collect())
    })
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.clone().into_data().convert::<f64>().try_to_vec::<f64>().expect("converted to f64")
}

/// Fails where two tensors differ by more than that, or where either is not finite.
pub(crate) fn close<const D: usize>(found: &Tensor<D>, expected: &Tensor<D>, most: f64) {
    close_in("the tensor", found, expected, most);
}

fn close_in<const D: usize>(what: &str, found: &Tensor<D>, expected: &Tensor<D>, most: f64) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let (found, expected) = (values(found), values(expected));
    let beyond = |(a, b): (&f64, &f64)| {
        let gap = (a - b).abs();
        gap.is_nan() || gap > most * b.abs().max(1.0)
    };
    let worst = found.iter().zip(&expected).find(|pair| beyond(*pair));
    assert!(worst.is_none(), "{what}: {worst:?} differ by more than {most}:\n{found:?}\n{expected:?}");
}

/// Every kind as it usually is, and the other forms of those that have several.
fn configs() -> Vec<FusionConfig> {
    let streams: Vec<(Modality, usize)> = MODALITIES.into_iter().zip(WIDTHS).collect();
    let usual = |kind: &str| FusionConfig::usual(kind, streams.clone(), DIM, 2).expect("a known kind");
    let late =
        |combination| FusionConfig::Late(LateConfig { streams: streams.clone(), dim: DIM, hidden: 6, combination });
    let mut configs: Vec<FusionConfig> = FusionConfig::KINDS.into_iter().map(usual).collect();
    configs.extend([LateCombination::WeightedSum, LateCombination::ProductOfExperts].map(late));
    configs
}

fn built(config: &FusionConfig, device: &Device, seed: u64) -> AnyFusion {
    config.validate().expect("the usual settings can be built");
    noisy(config.init(device), seed)
}

/// A random batch.
#[derive(Clone, Debug)]
struct Case {
    /// What each row has.
    present: Vec<[bool; 3]>,
    /// Tokens a stream.
    seq: usize,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    (prop::collection::vec(any::<[bool; 3]>(), 1..5), 1usize..4, 0u64..1000).prop_map(|(present, seq, seed)| Case {
        present,
        seq,
        seed,
    })
}

impl Case {
    /// Aligned streams, each row with one token less than the one before, at least one; `garbage` in absent rows and padding.
    fn streams(&self, device: &Device, garbage: f32) -> Vec<Stream> {
        (0..3).map(|m| self.stream(m, self.values(m, garbage, device))).collect()
    }

    fn lengths(&self) -> Vec<usize> {
        (0..self.present.len()).map(|row| self.seq.saturating_sub(row).max(1)).collect()
    }

    fn values(&self, m: usize, garbage: f32, device: &Device) -> Tensor<3> {
        let (batch, width, lengths) = (self.present.len(), WIDTHS[m], self.lengths());
        let mut values = uniform(batch * self.seq * width, self.seed * 10 + m as u64);
        for (index, value) in values.iter_mut().enumerate() {
            let (row, token) = (index / (self.seq * width), index / width % self.seq);
            if !self.present[row][m] || token >= lengths[row] {
                *value = garbage;
            }
        }
        Tensor::from_data(TensorData::new(values, [batch, self.seq, width]), device)
    }

    fn stream(&self, m: usize, values: Tensor<3>) -> Stream {
        let mask = Mask::from_lengths(&self.lengths(), self.seq, &values.device());
        let present = self.present.iter().map(|row| row[m]).collect();
        Stream { modality: MODALITIES[m], tokens: Tokens::new(values, mask), present }
    }
}

/// Everything that a fusion gives back, with padding of its tokens hidden.
fn all_of(fused: &Fused) -> Vec<Tensor<2>> {
    let tokens = fused.tokens.as_ref().map(|tokens| {
        let [batch, seq, dim] = tokens.dims();
        let hidden = tokens.mask().hidden().unsqueeze_dim::<3>(2).expand([batch, seq, dim]);
        tokens.padded().mask_fill(hidden, 0.0).reshape([batch, seq * dim])
    });
    [Some(fused.embedding.clone()), tokens, fused.weights.clone()].into_iter().flatten().collect()
}

fn same(kind: &str, found: &Fused, expected: &Fused, most: f64) {
    let (found, expected) = (all_of(found), all_of(expected));
    assert_eq!(found.len(), expected.len(), "{kind} gives other things");
    found.iter().zip(&expected).for_each(|(found, expected)| close_in(kind, found, expected, most));
}

/// One number that every output and cost has a part in.
fn loss(fused: &Fused) -> Tensor<1> {
    let probe = |tensor: Tensor<2>| {
        let [rows, columns] = tensor.dims();
        let data = TensorData::new(uniform(rows * columns, 77), [rows, columns]);
        (tensor.clone() * Tensor::from_data(data, (&tensor.device(), tensor.dtype()))).sum()
    };
    let parts = all_of(fused).into_iter().map(probe);
    parts.chain(fused.cost.clone()).reduce(|sum, part| sum + part).expect("a fusion gives an embedding")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) })]

    #[test]
    fn rows_do_not_know_each_other(case in case()) {
        let streams = case.streams(&cpu(), 0.0);
        let turned: Vec<i64> = (0..case.present.len() as i64).rev().collect();
        let index = || Tensor::from_data(TensorData::new(turned.clone(), [turned.len()]), &cpu());
        for config in configs() {
            let fusion = built(&config, &cpu(), case.seed);
            let whole = all_of(&fusion.fuse(&streams)).into_iter().map(|tensor| tensor.select(0, index()));
            let there: Vec<Stream> = streams.iter().map(|stream| rows(stream, &turned)).collect();
            for (found, expected) in all_of(&fusion.fuse(&there)).iter().zip(whole) {
                close_in(config.kind(), found, &expected, ROUNDING);
            }
            let alone: Vec<Stream> = streams.iter().map(|stream| rows(stream, &[0])).collect();
            let first = fusion.fuse(&streams).embedding.narrow(0, 0, 1);
            close_in(config.kind(), &fusion.fuse(&alone).embedding, &first, ROUNDING);
        }
    }

    #[test]
    fn the_order_of_streams_does_not_matter(case in case()) {
        let streams = case.streams(&cpu(), 0.0);
        for config in configs() {
            let fusion = built(&config, &cpu(), case.seed);
            let expected = fusion.fuse(&streams);
            for order in [[1, 2, 0], [2, 1, 0]] {
                same(config.kind(), &fusion.fuse(&order.map(|m: usize| streams[m].clone())), &expected, ROUNDING);
            }
        }
    }

    #[test]
    fn absent_from_every_row_is_not_given(case in case(), gone in 0usize..3) {
        let mut case = case;
        case.present.iter_mut().for_each(|row| row[gone] = false);
        for tracked in [false, true] {
            let device = if tracked { cpu().autodiff() } else { cpu() };
            let streams = case.streams(&device, 0.5);
            let without: Vec<Stream> = (0..3).filter(|&m| m != gone).map(|m| streams[m].clone()).collect();
            for config in configs() {
                let fusion = built(&config, &device, case.seed);
                let (mut absent, left_out) = (fusion.fuse(&streams), fusion.fuse(&without));
                if left_out.tokens.is_none() {
                    // Without the anchor nobody knows how many tokens it would have had.
                    absent.tokens = None;
                }
                same(config.kind(), &absent, &left_out, ROUNDING);
            }
        }
    }

    #[test]
    fn garbage_in_absent_rows_and_padding_has_no_effect(case in case()) {
        let device = cpu().autodiff();
        for config in configs() {
            let mut answers = Vec::new();
            for garbage in [0.0, f32::NAN, f32::INFINITY] {
                let fusion = built(&config, &device, case.seed);
                let given: Vec<Tensor<3>> =
                    (0..3).map(|m| case.values(m, garbage, &device).require_grad()).collect();
                let streams: Vec<Stream> = (0..3).map(|m| case.stream(m, given[m].clone())).collect();
                let fused = fusion.fuse(&streams);
                let graph = loss(&fused).backward();
                let inputs: Vec<Vec<f64>> =
                    given.iter().map(|x| x.grad(&graph).map(|x| values(&x)).unwrap_or_default()).collect();
                let parameters = gradients(&fusion, graph);
                answers.push((fused, inputs, parameters));
            }
            let (clean, inputs, parameters) = &answers[0];
            for (fused, other_inputs, other_parameters) in &answers[1..] {
                same(config.kind(), fused, clean, 0.0);
                prop_assert_eq!(other_inputs, inputs, "{}: gradients of the inputs", config.kind());
                prop_assert_eq!(other_parameters, parameters, "{}: gradients of the weights", config.kind());
            }
            for (m, gradient) in inputs.iter().enumerate().filter(|(_, gradient)| !gradient.is_empty()) {
                let per_row = gradient.len() / case.present.len();
                let absent = (0..case.present.len()).filter(|&row| !case.present[row][m]);
                let zero = absent.into_iter().all(|row| gradient[row * per_row..(row + 1) * per_row].iter().all(|g| *g == 0.0));
                prop_assert!(zero, "{}: an absent row has a gradient", config.kind());
            }
        }
    }

    #[test]
    fn weights_are_zero_for_the_absent_and_sum_to_one(case in case()) {
        for tracked in [false, true] {
            let device = if tracked { cpu().autodiff() } else { cpu() };
            for config in configs() {
                let fused = built(&config, &device, case.seed).fuse(&case.streams(&device, f32::NAN));
                let Some(weights) = fused.weights else { continue };
                prop_assert_eq!(weights.dims(), [case.present.len(), 3]);
                for (weights, present) in values(&weights).chunks(3).zip(&case.present) {
                    let kind = config.kind();
                    prop_assert!((0..3).all(|m| present[m] || weights[m] == 0.0), "{kind}: {weights:?} of {present:?}");
                    prop_assert!(weights.iter().all(|weight| (0.0..=1.0001).contains(weight)), "{kind}: {weights:?}");
                    let whole = if present.contains(&true) { 1.0 } else { 0.0 };
                    prop_assert!((weights.iter().sum::<f64>() - whole).abs() < 1e-5, "{kind}: {weights:?} of {present:?}");
                }
            }
        }
    }

    #[test]
    fn a_row_with_nothing_is_finite_and_so_are_gradients_of_large_inputs(case in case()) {
        let mut case = case;
        case.present[0] = [false; 3];
        let device = cpu().autodiff();
        for config in configs() {
            let fusion = built(&config, &device, case.seed);
            let mut streams = case.streams(&device, f32::NAN);
            for stream in &mut streams {
                let mask = stream.tokens.mask().clone();
                stream.tokens = Tokens::new(stream.tokens.padded() * 1e4, mask);
            }
            let fused = fusion.fuse(&streams);
            for part in all_of(&fused) {
                prop_assert!(values(&part).iter().all(|value| value.is_finite()), "{}: {part}", config.kind());
            }
            let graph = loss(&fused).backward();
            for (name, gradient) in gradients(&fusion, graph) {
                prop_assert!(gradient.iter().all(|value| value.is_finite()), "{}: gradient of {name}", config.kind());
            }
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences(case in case()) {
        let device = cpu().autodiff();
        let to_f64 = |x: Tensor<3>| x.cast(DType::F64).detach();
        for config in configs() {
            let fusion = built(&config, &device, case.seed).map(&mut InF64);
            let given: Vec<Tensor<3>> = (0..3).map(|m| to_f64(case.values(m, 0.0, &device)).require_grad()).collect();
            let streams = |given: &[Tensor<3>]| (0..3).map(|m| case.stream(m, given[m].clone())).collect::<Vec<_>>();
            let graph = loss(&fusion.fuse(&streams(&given))).backward();

            // One direction through every parameter and input at once: a wrong gradient anywhere shows.
            let direction: Vec<Tensor<3>> = (0..3).map(|m| to_f64(case.values(m, 0.0, &device)) * 0.7 + 0.1).collect();
            let mut slope = 0.0;
            for (x, direction) in given.iter().zip(&direction) {
                if let Some(gradient) = x.grad(&graph) {
                    slope += values(&(gradient * direction.clone().inner()).sum())[0];
                }
            }
            let mut sloping = Sloping { graph: &graph, slope: 0.0, count: 0 };
            fusion.visit(&mut sloping);
            slope += sloping.slope;

            let at = |step: f64| {
                let moved = fusion.clone().map(&mut Moved { step, count: 0 });
                let given: Vec<Tensor<3>> =
                    given.iter().zip(&direction).map(|(x, d)| x.clone().detach() + d.clone() * step).collect();
                values(&loss(&moved.fuse(&streams(&given))))[0]
            };
            // Differences to either side and of several steps: the kink of one of MulT's ReLUs may lie on one side, or within a
            // long step. None of them makes a wrong gradient right.
            let start = at(0.0);
            let numeric = [1e-5, -1e-5, 1e-6, -1e-6, 1e-7, -1e-7]
                .map(|step| (4.0 * (at(step) - start) - (at(2.0 * step) - start)) / (2.0 * step));
            let close = |numeric: &f64| (slope - numeric).abs() < 1e-6 * numeric.abs().max(1.0);
            prop_assert!(numeric.iter().any(close), "{}: {slope} against {numeric:?}", config.kind());
        }
    }

    #[test]
    fn each_token_is_fused_as_it_would_be_alone(case in case()) {
        let streams = case.streams(&cpu(), f32::NAN);
        for config in configs() {
            let fusion = built(&config, &cpu(), case.seed);
            let fused = fuse_each_token(&fusion, &streams);
            let tokens = fused.tokens.expect("every token is fused").padded();
            for (row, &length) in case.lengths().iter().enumerate() {
                for token in 0..length {
                    let alone: Vec<Stream> = streams.iter().map(|stream| {
                        let vector = stream.tokens.padded().narrow(0, row, 1).narrow(1, token, 1).squeeze_dim::<2>(1);
                        Stream::pooled(stream.modality, vector).present_in(vec![stream.present[row]])
                    }).collect();
                    let found = tokens.clone().narrow(0, row, 1).narrow(1, token, 1).squeeze_dim::<2>(1);
                    close_in(config.kind(), &found, &fusion.fuse(&alone).embedding, ROUNDING);
                }
            }
            prop_assert!(values(&fused.embedding).iter().all(|value| value.is_finite()), "{}", config.kind());
        }
    }
}

/// Gradients of all parameters by place.
fn gradients(fusion: &AnyFusion, graph: burn::tensor::Gradients) -> Vec<(String, Vec<f64>)> {
    struct Collector<'a>(&'a burn::tensor::Gradients, Vec<(String, Vec<f64>)>);
    impl burn::module::ModuleVisitor for Collector<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.val().grad(self.0).map(|gradient| values(&gradient)).unwrap_or_default();
            self.1.push((self.1.len().to_string(), gradient));
        }
    }
    let mut collector = Collector(&graph, Vec::new());
    fusion.visit(&mut collector);
    collector.1
}

/// Parameters in f64, tracked.
struct InF64;

impl ModuleMapper for InF64 {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(DType::F64).detach().require_grad())
    }
}

/// The direction of the parameter of that place.
fn direction<const D: usize>(like: &Tensor<D>, place: u64) -> Tensor<D> {
    let count = like.dims().iter().product();
    Tensor::from_data(TensorData::new(uniform(count, 5000 + place), like.dims()), (&like.device(), DType::F64))
}

/// Sums gradient times direction.
struct Sloping<'a> {
    graph: &'a burn::tensor::Gradients,
    slope: f64,
    count: u64,
}

impl burn::module::ModuleVisitor for Sloping<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.count += 1;
        if let Some(gradient) = param.val().grad(self.graph) {
            let direction = direction(&gradient, self.count);
            self.slope += values(&(gradient * direction).sum())[0];
        }
    }
}

/// Moves every parameter along its direction.
struct Moved {
    step: f64,
    count: u64,
}

impl ModuleMapper for Moved {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.count += 1;
        param.map(|tensor| {
            let direction = direction(&tensor, self.count);
            tensor.detach() + direction * self.step
        })
    }
}

#[test]
fn what_cannot_be_built_is_refused() {
    let text = |width| (Modality::Text, width);
    for kind in FusionConfig::KINDS {
        let refused = |streams: &[(Modality, usize)], dim| {
            let config = FusionConfig::usual(kind, streams.to_vec(), dim, 2).expect("a known kind");
            config.validate().err().map(|error| error.to_string())
        };
        assert_eq!(refused(&[text(4), (Modality::Image, 3)], 8), None, "{kind}");
        let alone = refused(&[text(4)], 8);
        assert_eq!(alone.is_some_and(|error| error.contains("at least 2 modalities")), kind == "mult", "{kind}");
        assert!(refused(&[], 8).is_some_and(|error| error.contains("at least one modality")), "{kind}");
        assert!(refused(&[text(4), text(3)], 8).is_some_and(|error| error.contains("text is listed twice")), "{kind}");
        assert!(refused(&[text(0)], 8).is_some_and(|error| error.contains("width of a stream")), "{kind}");
        assert!(refused(&[text(4)], 0).is_some(), "{kind}");
        let odd = FusionConfig::usual(kind, vec![text(4), (Modality::Image, 3)], 8, 3).expect("a known kind");
        let has_heads = serde_json::to_string(&odd).expect("a config is JSON").contains("\"heads\":");
        assert_eq!(odd.validate().is_err(), has_heads, "{kind}: 3 heads do not divide 8");
    }
    let zero = |changed: FusionConfig| changed.validate().expect_err("refused").to_string();
    for config in configs() {
        let zeroed = match config {
            FusionConfig::Late(config) => FusionConfig::Late(LateConfig { hidden: 0, ..config }),
            FusionConfig::LowRank(config) => FusionConfig::LowRank(crate::LowRankConfig { rank: 0, ..config }),
            FusionConfig::Tensor(config) => FusionConfig::Tensor(crate::TensorConfig { width: 0, ..config }),
            FusionConfig::Dynamic(config) => FusionConfig::Dynamic(crate::DynamicConfig { gate: 0, ..config }),
            _ => continue,
        };
        assert!(zero(zeroed).contains("must be at least 1, found 0"));
    }
}

#[test]
fn a_configuration_survives_its_file_and_names_its_kind() {
    for config in configs() {
        let text = serde_json::to_string(&config).expect("a config is JSON");
        assert!(text.contains(&format!("\"kind\":\"{}\"", config.kind())), "{text}");
        assert_eq!(serde_json::from_str::<FusionConfig>(&text).expect("its own JSON"), config);
    }
}

#[test]
fn a_fusion_says_what_it_is() {
    for config in configs() {
        let fusion = built(&config, &cpu(), 1);
        let fused = fusion.fuse(&pooled(&MODALITIES, &WIDTHS, 2, 1));
        assert_eq!((fusion.modalities(), fusion.dim()), (MODALITIES.as_slice(), DIM), "{}", config.kind());
        assert_eq!(fused.embedding.dims(), [2, DIM], "{}", config.kind());
        assert!(!collect(&fusion).is_empty());
    }
}
