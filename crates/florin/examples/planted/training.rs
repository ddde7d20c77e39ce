//! Training a fusion with a linear head on a planted task, and asking it.

use burn::module::Module;
use burn::prelude::*;
use florin_backend::{cross_entropy, log_softmax};
use florin_fusion::{AnyFusion, Fused, Fusion, FusionConfig, ModalityDropout, Stream};
use florin_nn::Linear;
use florin_nn::parameters::assign;
use florin_train::{AdamWOptimiser, AdamWSettings, Gradients, ParameterGroup};

use super::{Draw, Sample, Task};

/// Rows a step.
const BATCH: usize = 128;

/// A fusion and what reads it.
#[derive(Module, Debug)]
pub(crate) struct Classifier {
    pub(crate) fusion: AnyFusion,
    /// None where the fused vector is itself two logits.
    head: Option<Linear>,
}

/// How a classifier does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    /// Share of rows that are right.
    pub(crate) accuracy: f64,
    /// Mean cross-entropy, in nats.
    pub(crate) loss: f64,
}

pub(crate) fn cpu() -> Device {
    florin_backend::device("cpu").expect("the cpu device is always there")
}

/// How long and how fast something is trained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub(crate) steps: usize,
    pub(crate) learning_rate: f64,
    /// Share of the run over which the rate rises from nothing.
    pub(crate) rise: f64,
}

impl Course {
    /// At 0.01 from the first step on, which suits all kinds but the one that is four blocks deep.
    pub(crate) fn usual(steps: usize) -> Self {
        Self { steps, learning_rate: 1e-2, rise: 0.0 }
    }

    /// AdamW at one rate for all parameters.
    pub(crate) fn optimiser(self) -> AdamWOptimiser {
        let group = ParameterGroup { prefix: String::new(), learning_rate: self.learning_rate, weight_decay: 0.01 };
        AdamWOptimiser::new(&AdamWSettings { groups: vec![group], beta_1: 0.9, beta_2: 0.98, epsilon: 1e-8 })
    }

    /// One step down. The rate rises, and then falls to nothing over the run.
    pub(crate) fn step<M: Module>(self, optimiser: &mut AdamWOptimiser, model: M, loss: Tensor<1>, index: usize) -> M {
        let (gradients, _) = Gradients::of(&model, loss.backward()).clip(1.0);
        let done = index as f64 / self.steps as f64;
        let risen = if done < self.rise { done / self.rise } else { 1.0 };
        optimiser.step(model, &gradients, risen * (1.0 - done))
    }
}

/// A new fusion whose every matrix starts at a deviation of 1/√input.
///
/// Transformer blocks start at BERT's 0.02, which is meant for widths of hundreds: at a width of 16 what passes through several of
/// them vanishes, and an exclusive or has no gradient to start from.
pub(crate) fn started(config: &FusionConfig, device: &Device, seed: u64) -> AnyFusion {
    florin_backend::seed(device, seed);
    let mut random = Draw::new(seed);
    assign(config.init(device), &mut |name, shape| {
        let is_matrix = shape.len() == 2 && name.ends_with("weight");
        // A stored matrix is [output, input].
        is_matrix.then(|| {
            let deviation = 1.0 / (shape[1] as f64).sqrt();
            (0..shape[0] * shape[1]).map(|_| (deviation * random.normal()) as f32).collect()
        })
    })
}

impl Classifier {
    fn new(config: &FusionConfig, device: &Device, seed: u64) -> Self {
        let fusion = started(config, device, seed);
        let dim = fusion.dim();
        Self { fusion, head: (dim > 2).then(|| Linear::new(dim, 2, device)) }
    }

    fn logits(&self, fused: &Fused) -> Tensor<2> {
        let embedding = fused.embedding.clone();
        match &self.head {
            Some(head) => head.forward(embedding),
            None => embedding,
        }
    }

    /// A classifier trained from nothing, each batch drawn anew; with `dropout`, rows lose modalities at that rate.
    pub(crate) fn trained(config: &FusionConfig, task: Task, course: Course, seed: u64, dropout: f64) -> Self {
        let device = cpu().autodiff();
        let mut model = Self::new(config, &device, seed);
        let (mut optimiser, mut random) = (course.optimiser(), Draw::new(seed));
        let dropout = ModalityDropout { rate: dropout, seed };
        for index in 0..course.steps {
            let sample = task.sample(BATCH, &mut random);
            let streams = dropout.apply(sample.streams(&device), index as u64);
            let fused = model.fusion.fuse(&streams);
            let mut loss = cross_entropy(model.logits(&fused), labels(&sample, &device), None);
            if let Some(cost) = fused.cost {
                loss = loss + cost;
            }
            model = course.step(&mut optimiser, model, loss, index);
        }
        model
    }

    /// Asks it without gradients, so that a dynamic fusion chooses.
    pub(crate) fn score(&self, sample: &Sample, streams: &[Stream]) -> Score {
        let logs = log_softmax(self.logits(&self.fusion.fuse(streams)), 1);
        let logs = logs.into_data().try_to_vec::<f32>().expect("f32");
        let own = logs.chunks(2).zip(&sample.labels);
        let right = own.clone().filter(|(logs, label)| (logs[1] > logs[0]) == (**label == 1)).count();
        let loss: f64 = own.map(|(logs, label)| -f64::from(logs[*label as usize])).sum();
        let rows = sample.labels.len() as f64;
        Score { accuracy: right as f64 / rows, loss: loss / rows }
    }
}

fn labels(sample: &Sample, device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(sample.labels.clone(), [sample.labels.len()]), device)
}
