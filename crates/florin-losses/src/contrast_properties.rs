//! What every contrastive loss must satisfy, whatever the vectors: in f64, so that a difference is a mistake and no rounding.

use burn::prelude::*;
use burn::tensor::DType;
use florin_nn::Linear;
use proptest::prelude::*;

use crate::*;

const ROWS: usize = 5;
const DIM: usize = 4;
const SIDES: usize = 3;
const NUMBERS: usize = SIDES * ROWS * DIM;

/// How a loss is called.
struct Setting {
    log_scale: f64,
    chunk: usize,
    /// Which original row stands at each place, for what comes beside the vectors.
    order: [usize; ROWS],
}

/// A loss as a function of three sets of vectors, of which it uses the first `sides`.
struct Subject {
    name: &'static str,
    sides: usize,
    /// Whether the first two sides may change places.
    symmetric: bool,
    /// Whether the vectors' lengths do not matter.
    normalises: bool,
    compute: fn(&[Tensor<2>], &Setting) -> Tensor<1>,
}

const SUBJECTS: [Subject; 12] = [
    Subject { name: "CLIP", sides: 2, symmetric: true, normalises: true, compute: clip },
    Subject { name: "SigLIP", sides: 2, symmetric: true, normalises: true, compute: sig_lip },
    Subject { name: "NT-Xent", sides: 2, symmetric: true, normalises: true, compute: nt_xent },
    Subject { name: "supervised", sides: 1, symmetric: false, normalises: true, compute: supervised },
    Subject { name: "modality contrast", sides: 3, symmetric: true, normalises: true, compute: modality_contrast },
    Subject { name: "CLAP", sides: 2, symmetric: true, normalises: true, compute: clap },
    Subject { name: "AudioCLIP", sides: 3, symmetric: true, normalises: true, compute: audio_clip },
    Subject { name: "CAV-MAE", sides: 2, symmetric: false, normalises: true, compute: cav_mae },
    Subject { name: "CAV-MAE both", sides: 2, symmetric: true, normalises: true, compute: cav_mae_both },
    Subject { name: "AVTS", sides: 2, symmetric: true, normalises: false, compute: avts },
    Subject { name: "CMC", sides: 2, symmetric: false, normalises: true, compute: cmc },
    Subject { name: "CPC", sides: 2, symmetric: false, normalises: false, compute: cpc },
];

/// One number of the kind of the vectors.
fn scalar(value: f64, like: &Tensor<2>) -> Tensor<1> {
    Tensor::from_data(TensorData::new(vec![value], [1]), (&like.device(), like.dtype()))
}

fn placed<T: Copy>(values: [T; ROWS], setting: &Setting) -> Vec<T> {
    setting.order.iter().map(|&row| values[row]).collect()
}

fn clip(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    ClipLoss { chunk: s.chunk }.forward(v[0].clone(), v[1].clone(), scalar(s.log_scale, &v[0])).loss
}

fn sig_lip(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    let (scale, bias) = (scalar(s.log_scale, &v[0]), scalar(-2.0, &v[0]));
    SigLipLoss { chunk: s.chunk }.forward(v[0].clone(), v[1].clone(), scale, bias).loss
}

fn nt_xent(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    let loss = NtXentLoss { temperature: (-s.log_scale).exp(), chunk: s.chunk };
    loss.forward(v[0].clone(), v[1].clone()).loss
}

fn supervised(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    let loss = SupervisedContrastLoss { temperature: (-s.log_scale).exp(), chunk: s.chunk };
    loss.forward(v[0].clone(), &placed([0, 1, 0, 2, 0], s)).loss
}

fn modality_contrast(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    let third = ModalityVectors::of_all(v[2].clone()).present_in(placed([true, true, false, true, false], s));
    let sides = [ModalityVectors::of_all(v[0].clone()), ModalityVectors::of_all(v[1].clone()), third];
    let loss = ModalityContrastLoss { within: 0.3, chunk: s.chunk };
    loss.forward(&sides, scalar(s.log_scale, &v[0]), Some(&placed([4, 1, 2, 4, 0], s))).loss
}

fn clap(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    let scale = scalar(s.log_scale, &v[0]);
    ClapLoss { chunk: s.chunk }.forward(v[0].clone(), v[1].clone(), scale.clone(), scale).loss
}

fn audio_clip(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    let text = ModalityVectors::of_all(v[2].clone()).present_in(placed([true, true, false, true, true], s));
    let scale = || scalar(s.log_scale, &v[0]);
    let scales = AudioClipScales { audio_image: scale(), audio_text: scale(), image_text: scale() };
    let [audio, image] = [&v[0], &v[1]].map(|side| ModalityVectors::of_all(side.clone()));
    AudioClipLoss { chunk: s.chunk }.forward(&audio, &image, &text, scales).loss
}

fn cav_mae_directed(v: &[Tensor<2>], s: &Setting, directions: CavMaeDirections) -> Tensor<1> {
    let loss = CavMaeLoss { temperature: (-s.log_scale).exp(), directions, chunk: s.chunk, ..CavMaeLoss::default() };
    loss.forward(v[0].clone(), v[1].clone(), scalar(0.4, &v[0]), scalar(0.6, &v[0])).loss
}

fn cav_mae(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    cav_mae_directed(v, s, CavMaeDirections::VideoToAudio)
}

fn cav_mae_both(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    cav_mae_directed(v, s, CavMaeDirections::Both)
}

fn avts(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    use AvtsPair::{Easy, Hard, InSync};
    let pairs = placed([InSync, Easy, Hard, InSync, Easy], s);
    AvtsLoss { margin: 3.0 }.forward(v[0].clone(), v[1].clone(), &pairs, Some(0.6)).loss
}

fn cmc(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    let wave = |view: usize| {
        let values: Vec<f64> = (0..9 * DIM).map(|i| (1.7 * i as f64 + view as f64).sin()).collect();
        let options = (&v[0].device(), v[0].dtype());
        florin_backend::unit_rows(Tensor::from_data(TensorData::new(values, [9, DIM]), options)).detach()
    };
    // Z is a constant to the gradient, so it must be one to the differences too.
    let log_normalisers = [(0, 1), (1, 0)].map(|pair| (pair, scalar(2.5, &v[0]))).into();
    let mut bank = MemoryBank { views: vec![wave(0), wave(1)], momentum: 0.5, log_normalisers };
    let drawn: Vec<i32> = s.order.iter().flat_map(|&row| (0..3).map(move |i| ((row * 5 + i * 2) % 9) as i32)).collect();
    let negatives = Tensor::from_data(TensorData::new(drawn, [ROWS, 3]), &v[0].device());
    let loss = CmcLoss { temperature: (-s.log_scale).exp(), normaliser_momentum: 1.0, chunk: s.chunk };
    loss.forward(&v[..2], &mut bank, &placed([3, 8, 0, 5, 1], s), negatives).loss
}

/// Two steps of time with two numbers each.
fn cpc(v: &[Tensor<2>], s: &Setting) -> Tensor<1> {
    let [encoded, context] = [&v[0], &v[1]].map(|side| side.clone().reshape([ROWS, 2, 2]));
    let weight = Tensor::<2>::from_data([[0.4, -0.2], [0.7, 0.1]], &v[0].device()).cast(v[0].dtype());
    let weight = weight * s.log_scale.exp();
    let steps = vec![Linear { weight: burn::module::Param::from_tensor(weight), bias: None }];
    let loss = CpcLoss { negatives: CpcNegatives::OtherRows, chunk: s.chunk };
    loss.forward(&CpcPredictor { steps }, encoded, context, &placed([2, 2, 1, 2, 2], s)).loss
}

fn device() -> Device {
    florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
}

/// Three tracked sets of vectors.
fn vectors(numbers: &[f64], kind: DType) -> Vec<Tensor<2>> {
    let side = |part: &[f64]| Tensor::from_data(TensorData::new(part.to_vec(), [ROWS, DIM]), (&device(), kind));
    numbers.chunks(ROWS * DIM).map(|part| side(part).require_grad()).collect()
}

fn number(x: Tensor<1>) -> f64 {
    x.cast(DType::F64).into_scalar::<f64>()
}

/// The value and the gradients of all vectors that the loss uses.
fn value_and_gradients(subject: &Subject, v: &[Tensor<2>], setting: &Setting) -> (f64, Vec<f64>) {
    let loss = (subject.compute)(v, setting);
    let graph = loss.backward();
    let flat = |side: &Tensor<2>| {
        let gradient = side.grad(&graph).expect("every side is used").cast(DType::F64);
        gradient.into_data().try_to_vec::<f64>().expect("f64")
    };
    (number(loss), v[..subject.sides].iter().flat_map(flat).collect())
}

fn usual() -> Setting {
    Setting { log_scale: 1.0, chunk: 64, order: [0, 1, 2, 3, 4] }
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * (1.0 + one.abs())
}

/// Numbers of which no vector is nearly zero, where a direction is not defined.
fn numbers() -> impl Strategy<Value = Vec<f64>> {
    let long = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>() > 0.1;
    prop::collection::vec(-2.0..2.0f64, NUMBERS).prop_filter("a vector of zeros", move |v| v.chunks(DIM).all(long))
}

fn order() -> impl Strategy<Value = [usize; ROWS]> {
    Just(vec![0, 1, 2, 3, 4]).prop_shuffle().prop_map(|order| order.try_into().expect("five rows"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_the_batch_does_not_matter(numbers in numbers(), order in order()) {
        let v = vectors(&numbers, DType::F64);
        let places: Vec<i32> = order.iter().map(|&row| row as i32).collect();
        let places = Tensor::<1, Int>::from_ints(places.as_slice(), &device());
        let moved: Vec<Tensor<2>> = v.iter().map(|side| side.clone().select(0, places.clone())).collect();
        for subject in &SUBJECTS {
            let (one, other) = (number((subject.compute)(&v, &usual())), number((subject.compute)(&moved, &Setting { order, ..usual() })));
            prop_assert!(close(one, other), "{}: {one} against {other}", subject.name);
        }
    }

    #[test]
    fn the_size_of_chunks_does_not_matter(numbers in numbers(), chunk in 1..ROWS) {
        let v = vectors(&numbers, DType::F64);
        for subject in &SUBJECTS {
            let (one, of_one) = value_and_gradients(subject, &v, &usual());
            let (other, of_other) = value_and_gradients(subject, &v, &Setting { chunk, ..usual() });
            prop_assert!(close(one, other), "{}: {one} against {other}", subject.name);
            prop_assert!(of_one.iter().zip(&of_other).all(|(a, b)| close(*a, *b)), "{}: gradients", subject.name);
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences(numbers in numbers(), along in prop::collection::vec(-1.0..1.0f64, NUMBERS)) {
        const STEP: f64 = 1e-5;
        let setting = Setting { chunk: 2, ..usual() };
        for subject in &SUBJECTS {
            let (_, gradients) = value_and_gradients(subject, &vectors(&numbers, DType::F64), &setting);
            let expected: f64 = gradients.iter().zip(&along).map(|(g, a)| g * a).sum();
            let at = |step: f64| {
                let moved: Vec<f64> = numbers.iter().zip(&along).map(|(x, a)| x + step * a).collect();
                number((subject.compute)(&vectors(&moved, DType::F64), &setting))
            };
            let found = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let most = 1e-6 * (1.0 + gradients.iter().map(|g| g.abs()).sum::<f64>());
            prop_assert!((found - expected).abs() < most, "{}: {found} against {expected}", subject.name);
        }
    }

    #[test]
    fn the_length_of_vectors_does_not_matter(numbers in numbers(), lengths in prop::collection::vec(1e-3..1e3f64, NUMBERS / DIM)) {
        let scaled: Vec<f64> = numbers.iter().enumerate().map(|(i, x)| x * lengths[i / DIM]).collect();
        for subject in SUBJECTS.iter().filter(|subject| subject.normalises) {
            let [one, other] = [&numbers, &scaled].map(|n| number((subject.compute)(&vectors(n, DType::F64), &usual())));
            prop_assert!(close(one, other), "{}: {one} against {other}", subject.name);
        }
    }

    #[test]
    fn both_sides_of_a_symmetric_loss_count_alike(numbers in numbers()) {
        let v = vectors(&numbers, DType::F64);
        let swapped = [v[1].clone(), v[0].clone(), v[2].clone()];
        for subject in &SUBJECTS {
            let [one, other] = [&v[..], &swapped[..]].map(|v| number((subject.compute)(v, &usual())));
            if subject.symmetric {
                prop_assert!(close(one, other), "{}: {one} against {other}", subject.name);
            }
        }
    }

    #[test]
    fn in_f32_every_scale_gives_a_finite_loss_of_at_least_zero(numbers in numbers(), log_scale in -15.0..12.0f64) {
        let v = vectors(&numbers, DType::F32);
        for subject in &SUBJECTS {
            let (value, gradients) = value_and_gradients(subject, &v, &Setting { log_scale, ..usual() });
            prop_assert!(value.is_finite() && value >= 0.0, "{}: {value}", subject.name);
            prop_assert!(gradients.iter().all(|g| g.is_finite()), "{}: {gradients:?}", subject.name);
        }
    }

    #[test]
    fn at_scale_zero_nothing_is_known(numbers in numbers()) {
        let v = vectors(&numbers, DType::F64);
        let limits: [(&str, f64); 3] = [("CLIP", 5.0), ("NT-Xent", 9.0), ("CLAP", 5.0)];
        for (name, candidates) in limits {
            let subject = SUBJECTS.iter().find(|subject| subject.name == name).expect("it is a subject");
            let value = number((subject.compute)(&v, &Setting { log_scale: -30.0, ..usual() }));
            prop_assert!(close(value, candidates.ln()), "{name}: {value}");
        }
    }
}
