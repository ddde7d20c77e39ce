//! Planted pairs: two modalities see one hidden code through different mixtures and noise. A contrastive loss must find the code, so
//! that held-out pairs find each other; trained on pairs put together at random it must find nothing.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::Distribution;
use florin_losses::{ClipLoss, LogitScale, ModalityContrastLoss, ModalityVectors, SigLipLoss};
use florin_nn::{Linear, zeros};
use florin_train::{AdamWOptimiser, AdamWSettings, Gradients, ParameterGroup};

const CODE: usize = 6;
const OBSERVED: usize = 16;
const PAIRS: usize = 128;
const STEPS: usize = 150;

/// Two linear encoders with what the losses learn besides.
#[derive(Module, Debug)]
struct Towers {
    first: Linear,
    second: Linear,
    scale: LogitScale,
    bias: burn::module::Param<Tensor<1>>,
}

/// How the hidden code is seen.
struct World {
    mixtures: [Tensor<2>; 2],
    device: Device,
}

impl World {
    fn new(device: &Device) -> Self {
        let mixtures = [0, 1].map(|_| Tensor::random([CODE, OBSERVED], Distribution::Normal(0.0, 1.0), device));
        Self { mixtures, device: device.clone() }
    }

    /// Pairs, `[PAIRS, OBSERVED]` each.
    fn draw(&self) -> [Tensor<2>; 2] {
        let normal = |shape| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &self.device);
        let code = normal([PAIRS, CODE]);
        self.mixtures.clone().map(|mixture| code.clone().matmul(mixture) + normal([PAIRS, OBSERVED]) * 0.2)
    }
}

type Loss = fn(&Towers, Tensor<2>, Tensor<2>) -> Tensor<1>;

fn clip(towers: &Towers, one: Tensor<2>, other: Tensor<2>) -> Tensor<1> {
    ClipLoss::default().forward(one, other, towers.scale.value()).loss
}

fn sig_lip(towers: &Towers, one: Tensor<2>, other: Tensor<2>) -> Tensor<1> {
    SigLipLoss::default().forward(one, other, towers.scale.value(), towers.bias.val() + SigLipLoss::BIAS).loss
}

fn modality_contrast(towers: &Towers, one: Tensor<2>, other: Tensor<2>) -> Tensor<1> {
    let sides = [one, other].map(ModalityVectors::of_all);
    ModalityContrastLoss::default().forward(&sides, towers.scale.value(), None).loss
}

/// Share of held-out pairs whose first side finds its second before all others, after training.
fn recall_after_training(loss: Loss, shuffled: bool) -> f64 {
    let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
    florin_backend::seed(&device, 81);
    let world = World::new(&device);
    let tower = || Linear::new(OBSERVED, CODE, &device);
    let scale = LogitScale::new(0.1, &device);
    let mut towers = Towers { first: tower(), second: tower(), scale, bias: zeros([1], &device) };
    let group = ParameterGroup { prefix: String::new(), learning_rate: 0.02, weight_decay: 0.0 };
    let settings = AdamWSettings { groups: vec![group], beta_1: 0.9, beta_2: 0.98, epsilon: 1e-6 };
    let mut optimiser = AdamWOptimiser::new(&settings);
    for _ in 0..STEPS {
        let [first, second] = world.draw();
        // Drawn apart, the second sides belong to other codes.
        let second = if shuffled { world.draw()[1].clone() } else { second };
        let graph = loss(&towers, towers.first.forward(first), towers.second.forward(second)).backward();
        towers = optimiser.step(towers.clone(), &Gradients::of(&towers, graph), 1.0);
        towers = Towers { scale: towers.scale.clone().clamped(), ..towers };
    }
    let [first, second] = world.draw();
    recall(towers.first.forward(first), towers.second.forward(second))
}

/// Recall at one, by cosine.
fn recall(one: Tensor<2>, other: Tensor<2>) -> f64 {
    let unit = |x: Tensor<2>| x.clone() / x.square().sum_dim(1).sqrt();
    let best = unit(one).matmul(unit(other).transpose()).argmax(1).reshape([PAIRS]);
    let found = best.into_data().convert_dtype(burn::tensor::DType::I64).try_to_vec::<i64>().expect("i64");
    found.iter().enumerate().filter(|(row, best)| *row as i64 == **best).count() as f64 / PAIRS as f64
}

const LOSSES: [(&str, Loss); 3] = [("CLIP", clip), ("SigLIP", sig_lip), ("modality contrast", modality_contrast)];

#[test]
fn planted_pairs_find_each_other() {
    for (name, loss) in LOSSES {
        let recall = recall_after_training(loss, false);
        println!("{name}: recall at 1 of {PAIRS} is {recall:.3}");
        assert!(recall > 0.95, "{name}: {recall}");
    }
}

#[test]
fn shuffled_pairs_teach_nothing() {
    for (name, loss) in LOSSES {
        let recall = recall_after_training(loss, true);
        println!("{name}: recall at 1 of {PAIRS} is {recall:.3} after training on shuffled pairs");
        // One in 128 by chance; eight of 128 would be a chance of one in ten thousand.
        assert!(recall < 0.06, "{name}: {recall}");
    }
}
