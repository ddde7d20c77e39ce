//! Planted pairs: two modalities hold half of a hidden code each, and together must find the third, which holds all of it.

use burn::module::Module;
use burn::prelude::*;
use florin_fusion::{AnyFusion, Fusion, FusionConfig, Stream};
use florin_losses::{ClipLoss, LogitScale};
use florin_nn::Linear;

use super::training::{Course, cpu, started};
use super::{Draw, MODALITIES, WIDTH};

/// Numbers of the code.
const CODE: usize = 6;

/// Candidates among which the right one is to be found.
pub(crate) const CANDIDATES: usize = 64;

/// The fused two and the third, side by side.
#[derive(Module, Debug)]
pub(crate) struct Retriever {
    fusion: AnyFusion,
    third: Linear,
    scale: LogitScale,
}

/// The two streams that ask, and what is to be found.
fn pairs(rows: usize, random: &mut Draw, device: &Device) -> (Vec<Stream>, Tensor<2>) {
    let mut vectors: [Vec<f32>; 3] = std::array::from_fn(|_| Vec::with_capacity(rows * WIDTH));
    for _ in 0..rows {
        let code: Vec<f64> = (0..CODE).map(|_| random.normal()).collect();
        for (m, own) in [&code[..CODE / 2], &code[CODE / 2..], &code[..]].into_iter().enumerate() {
            vectors[m].extend((0..WIDTH).map(|i| {
                let mixed = own.iter().enumerate().map(|(j, x)| x * (1.7 * (1 + m + 3 * i + 5 * j) as f64).sin());
                (mixed.sum::<f64>() + 0.05 * random.normal()) as f32
            }));
        }
    }
    let mut tensors =
        vectors.into_iter().map(|values| Tensor::<2>::from_data(TensorData::new(values, [rows, WIDTH]), device));
    let asking = MODALITIES[..2].iter().zip(tensors.by_ref().take(2)).map(|(&m, vectors)| Stream::pooled(m, vectors));
    let asking = asking.collect();
    (asking, tensors.next().expect("the third"))
}

/// Recall at 1 among [`CANDIDATES`] after training, on pairs never seen; `shuffled` pairs belong together by chance alone.
pub(crate) fn recall(config: &FusionConfig, course: Course, seed: u64, shuffled: bool) -> f64 {
    let device = cpu().autodiff();
    let fusion = started(config, &device, seed);
    let third = Linear::new(WIDTH, fusion.dim(), &device);
    let mut model = Retriever { fusion, third, scale: LogitScale::new(LogitScale::CLIP_TEMPERATURE, &device) };
    let (mut optimiser, mut random) = (course.optimiser(), Draw::new(seed));
    for index in 0..course.steps {
        let (asking, third) = pairs(CANDIDATES, &mut random, &device);
        let third = if shuffled { turned(third) } else { third };
        let fused = model.fusion.fuse(&asking);
        let loss = ClipLoss::default().forward(fused.embedding, model.third.forward(third), model.scale.value());
        let loss = fused.cost.into_iter().fold(loss.loss, |loss, cost| loss + cost);
        model = course.step(&mut optimiser, model, loss, index);
    }
    let model = model.valid();
    (0..8).map(|_| model.found(&mut random)).sum::<f64>() / 8.0
}

/// Each row's partner replaced by the next row's.
fn turned(rows: Tensor<2>) -> Tensor<2> {
    let [count, _] = rows.dims();
    Tensor::cat(vec![rows.clone().narrow(0, 1, count - 1), rows.narrow(0, 0, 1)], 0)
}

impl Retriever {
    /// Share of fresh rows whose own partner is the nearest by cosine.
    fn found(&self, random: &mut Draw) -> f64 {
        let (asking, third) = pairs(CANDIDATES, random, &cpu());
        let unit = |x: Tensor<2>| x.clone() / x.square().sum_dim(1).sqrt().clamp_min(1e-12);
        let fused = unit(self.fusion.fuse(&asking).embedding);
        let scores = florin_backend::product(fused, unit(self.third.forward(third)).transpose());
        let nearest = scores.argmax(1).into_data().convert::<i64>().try_to_vec::<i64>().expect("converted to i64");
        nearest.iter().enumerate().filter(|(row, found)| *row as i64 == **found).count() as f64 / CANDIDATES as f64
    }
}
