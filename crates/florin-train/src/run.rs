//! The loop.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Instant;

use burn::module::Module;
use burn::prelude::*;
use florin_nn::parameters::assign;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Progress, State};
use crate::{AdamWOptimiser, AdamWSettings, Batches, Gradients, Objective, TrainError, WarmupCosine, WeightAverage};

/// Settings of a run; a checkpoint continues only under the settings it was written with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// Steps in which the learning rate rises.
    pub warmup: usize,
    /// Share of the learning rate left at the end.
    pub floor: f64,
    /// Longest common norm of all gradients.
    pub clip: f64,
    /// Batches whose gradients are averaged in one step.
    pub accumulate: usize,
    /// Decay of the weight average; none evaluates the last weights.
    pub average: Option<f64>,
    /// Steps between evaluations, the last step included; zero never evaluates.
    pub evaluate_every: usize,
    /// Whether the weights of the best evaluation are kept rather than the last.
    pub keep_best: bool,
    /// Evaluations without a better score after which the run stops.
    pub patience: Option<usize>,
    /// Steps between checkpoints; zero writes only at the end.
    pub checkpoint_every: usize,
    /// Whether products in linear layers, and those of their gradients, are of bfloat16 factors: see [`florin_backend::in_mixed_precision`].
    /// Weights, sums and the optimiser stay in f32.
    #[serde(default)]
    pub mixed_precision: bool,
    /// Fixes dropout in every step; the weights' first values are drawn by whoever makes the model.
    pub seed: u64,
    /// The optimiser.
    pub optimiser: AdamWSettings,
}

/// What happened in a step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps of the run.
    pub steps: usize,
    /// Mean loss of the step's batches.
    pub loss: f64,
    /// Its parts.
    pub parts: Vec<(String, f64)>,
    /// Common norm of the gradients before clipping.
    pub gradient_norm: f64,
    /// Factor of the learning rates.
    pub learning_rate_factor: f64,
    /// Samples seen in the step.
    pub samples: usize,
    /// Seconds the step took.
    pub seconds: f64,
}

/// What an evaluation found.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Steps done.
    pub step: usize,
    /// The score that decides which weights are kept; higher is better.
    pub score: f64,
    /// Other figures for the log.
    pub parts: Vec<(String, f64)>,
}

/// Who watches a run.
pub trait Observer {
    /// After every step.
    fn stepped(&mut self, _report: &StepReport) {}
    /// After every evaluation.
    fn evaluated(&mut self, _evaluation: &Evaluation) {}
    /// Once, when a run goes on from a checkpoint.
    fn resumed(&mut self, _steps_done: usize) {}
}

/// A finished run.
pub struct Trained<M> {
    /// The model with the best weights, for inference.
    pub model: M,
    /// Its score, where one was asked for.
    pub best: Option<(f64, usize)>,
    /// Steps done.
    pub steps: usize,
}

impl TrainConfig {
    /// Refuses settings that cannot be meant.
    pub fn validate(&self) -> Result<(), TrainError> {
        let wrong = |message: &str| Err(TrainError::Settings(message.to_owned()));
        if self.steps == 0 || self.accumulate == 0 {
            return wrong("steps and accumulate must be at least 1");
        }
        if !(self.clip > 0.0 && self.clip.is_finite()) {
            return wrong("clip must be above zero");
        }
        if self.average.is_some_and(|decay| !(0.0..1.0).contains(&decay)) {
            return wrong("average must lie in [0, 1)");
        }
        let rates_are_sane = self.optimiser.groups.iter().all(|group| {
            group.learning_rate.is_finite() && group.learning_rate >= 0.0 && group.weight_decay.is_finite()
        });
        if self.optimiser.groups.is_empty() || !rates_are_sane {
            return wrong("every parameter group needs a finite learning rate of zero or more");
        }
        Ok(())
    }
}

/// Scores a model for inference after so many steps.
pub type Evaluate<'a, M> = &'a mut dyn FnMut(&M, usize) -> Result<Evaluation, TrainError>;

/// Where and how a run trains.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    /// Settings.
    pub config: &'a TrainConfig,
    /// Where the run is saved, and continued from where the file exists.
    pub checkpoint: Option<PathBuf>,
    /// The autodiff device of the model's parameters.
    pub device: &'a Device,
}

/// Trains a model; `evaluate` is given it for inference (averaged where the settings say so).
pub fn train<O: Objective>(
    session: &Session<'_>,
    objective: &mut O,
    model: O::Model,
    batches: &dyn Batches<Batch = O::Batch>,
    evaluate: Evaluate<'_, O::Model>,
    observer: &mut dyn Observer,
) -> Result<Trained<O::Model>, TrainError> {
    let Session { config, checkpoint, device } = session;
    config.validate()?;
    let mut state = start(model, config);
    if let Some(path) = checkpoint.as_ref().filter(|path| path.exists()) {
        state = checkpoint::read(state, path, &(*device).clone().without_autodiff())?;
        observer.resumed(state.progress.steps);
    }
    let schedule = WarmupCosine { warmup: config.warmup, total: config.steps, floor: config.floor };
    while state.progress.steps < config.steps && !state.progress.stopped {
        state = step(objective, state, batches, &schedule, observer, device)?;
        let done = state.progress.steps;
        if config.evaluate_every > 0 && is_due(done, config.evaluate_every, config.steps) {
            assess(&mut state, evaluate, observer)?;
        }
        if let Some(path) = checkpoint.as_ref().filter(|_| is_due(done, config.checkpoint_every, config.steps)) {
            checkpoint::write(&state, path)?;
        }
    }
    let steps = state.progress.steps;
    let best = state.progress.best;
    let mut model = for_inference(&state);
    if !state.best.is_empty() {
        model = assign(model, &mut |name, _| state.best.get(name).map(|tensor| Cow::Borrowed(&tensor.values[..])));
    }
    Ok(Trained { model, best, steps })
}

fn start<M>(model: M, config: &TrainConfig) -> State<M> {
    State {
        progress: Progress::start(config),
        model,
        optimiser: AdamWOptimiser::new(&config.optimiser),
        average: config.average.map(WeightAverage::new),
        best: Default::default(),
    }
}

/// One optimiser step: gradients of every batch, averaged, clipped, applied.
fn step<O: Objective>(
    objective: &mut O,
    mut state: State<O::Model>,
    batches: &dyn Batches<Batch = O::Batch>,
    schedule: &WarmupCosine,
    observer: &mut dyn Observer,
    device: &Device,
) -> Result<State<O::Model>, TrainError> {
    let config = state.progress.config.clone();
    let number = state.progress.steps;
    let began = Instant::now();
    // Dropout of a step depends on the step alone, so that a continued run draws what an uninterrupted one would.
    florin_backend::seed(device, config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number as u64));
    let (mut gradients, mut loss, mut parts, mut samples) = (Gradients::default(), 0.0, Vec::new(), 0);
    for part in 0..config.accumulate {
        let place = number * config.accumulate + part;
        let batch = batches.batch(place)?;
        let (next, value, named) = match config.mixed_precision {
            true => florin_backend::in_mixed_precision(|| objective.gradients(&state.model, &batch)),
            false => objective.gradients(&state.model, &batch),
        };
        gradients = gradients.plus(next);
        loss += value / config.accumulate as f64;
        samples += batches.samples(place);
        parts = named;
    }
    finite(number + 1, "loss", loss)?;
    let (gradients, norm) = gradients.scale(1.0 / config.accumulate as f64).clip(config.clip);
    finite(number + 1, "gradient norm", norm)?;
    let factor = schedule.factor(number);
    state.model = state.optimiser.step(state.model, &gradients, factor);
    if let Some(average) = &mut state.average {
        average.update(&state.model, number);
    }
    state.progress.steps += 1;
    observer.stepped(&StepReport {
        step: state.progress.steps,
        steps: config.steps,
        loss,
        parts,
        gradient_norm: norm,
        learning_rate_factor: factor,
        samples,
        seconds: began.elapsed().as_secs_f64(),
    });
    Ok(state)
}

/// Evaluates, keeps the weights if they are the best so far, and counts towards patience otherwise.
fn assess<M: Module>(
    state: &mut State<M>,
    evaluate: Evaluate<'_, M>,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let model = for_inference(state);
    let evaluation = evaluate(&model, state.progress.steps)?;
    observer.evaluated(&evaluation);
    let better = state.progress.best.is_none_or(|(score, _)| evaluation.score > score);
    if better {
        state.progress.best = Some((evaluation.score, state.progress.steps));
        state.progress.since_best = 0;
        if state.progress.config.keep_best {
            state.best = checkpoint::trained(&model, &state.optimiser);
        }
    } else {
        state.progress.since_best += 1;
    }
    state.progress.stopped = state.progress.config.patience.is_some_and(|most| state.progress.since_best >= most);
    Ok(())
}

fn for_inference<M: Module>(state: &State<M>) -> M {
    let model = match &state.average {
        Some(average) => average.apply(state.model.clone()),
        None => state.model.clone(),
    };
    model.valid()
}

fn is_due(done: usize, every: usize, last: usize) -> bool {
    done == last || (every > 0 && done.is_multiple_of(every))
}

fn finite(step: usize, what: &'static str, value: f64) -> Result<(), TrainError> {
    if value.is_finite() { Ok(()) } else { Err(TrainError::NotFinite { step, what, value }) }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use florin_nn::Linear;
    use florin_nn::parameters::collect;

    use super::*;
    use crate::{Loss, ParameterGroup};

    /// A line through points that differ from batch to batch, with noise that only the seed of a step decides.
    struct Line;

    /// Points by number, and which numbers were asked for.
    struct Points<'a>(&'a Device, RefCell<Vec<usize>>);

    struct Nobody;

    impl Observer for Nobody {}

    impl Objective for Line {
        type Model = Linear;
        type Batch = Tensor<2>;

        fn loss(&mut self, model: &Linear, x: &Tensor<2>) -> Loss {
            let noise = Tensor::random(x.dims(), burn::tensor::Distribution::Normal(0.0, 0.1), &x.device());
            let error = model.forward(x.clone()) - (x.clone() * 2.0 + noise);
            Loss { total: error.square().mean(), parts: vec![] }
        }
    }

    impl Batches for Points<'_> {
        type Batch = Tensor<2>;

        fn batch(&self, number: usize) -> Result<Tensor<2>, TrainError> {
            self.1.borrow_mut().push(number);
            Ok(Tensor::<1>::from_floats([number as f32, (number as f32).sin()], self.0).reshape([2, 1]))
        }

        fn samples(&self, _number: usize) -> usize {
            2
        }
    }

    fn config() -> TrainConfig {
        let groups = vec![ParameterGroup { prefix: String::new(), learning_rate: 0.05, weight_decay: 0.01 }];
        TrainConfig {
            steps: 9,
            warmup: 2,
            floor: 0.1,
            clip: 5.0,
            accumulate: 2,
            average: Some(0.8),
            evaluate_every: 7,
            keep_best: false,
            patience: None,
            checkpoint_every: 3,
            mixed_precision: false,
            seed: 4,
            optimiser: AdamWSettings { groups, beta_1: 0.9, beta_2: 0.99, epsilon: 1e-8 },
        }
    }

    /// Trains; an evaluation fails where `killed` says so, which ends the run as abruptly as a kill.
    fn trained(config: &TrainConfig, checkpoint: Option<PathBuf>, killed: bool) -> Result<Vec<f32>, TrainError> {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        let model = assign(Linear::new(1, 1, &device), &mut |_, _| Some(vec![0.3].into()));
        let session = Session { config, checkpoint, device: &device };
        let mut evaluate = |_: &Linear, step| match killed {
            true => Err(TrainError::Settings("killed".into())),
            false => Ok(Evaluation { step, score: 0.0, parts: vec![] }),
        };
        let done = train(&session, &mut Line, model, &Points(&device, RefCell::default()), &mut evaluate, &mut Nobody)?;
        Ok(collect(&done.model).into_values().flat_map(|tensor| tensor.values).collect())
    }

    #[test]
    fn mixed_precision_trains_weights_of_f32_towards_the_same() {
        let plain = trained(&config(), None, false).unwrap();
        let mixed = trained(&TrainConfig { mixed_precision: true, ..config() }, None, false).unwrap();
        assert_ne!(plain, mixed);
        let is_bf16 = |weight: &f32| weight.to_bits().trailing_zeros() >= 16;
        assert!(!mixed.iter().any(is_bf16), "weights keep all their digits: {mixed:?}");
        for (plain, mixed) in plain.iter().zip(&mixed) {
            assert!((plain - mixed).abs() < 0.02, "{plain} became {mixed}");
        }
    }

    #[test]
    fn a_run_that_was_killed_and_continued_is_the_run_that_was_not() {
        let whole = trained(&config(), None, false).unwrap();
        let folder = std::env::temp_dir().join(format!("florin-train-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("checkpoint.safetensors");
        // Killed at step 7, one after the second checkpoint.
        assert!(trained(&config(), Some(file.clone()), true).is_err());
        assert!(file.exists());
        let continued = trained(&config(), Some(file), false).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(continued, whole);
    }

    #[test]
    fn batches_of_one_step_are_averaged_not_summed() {
        let one = TrainConfig { clip: 0.2, average: None, evaluate_every: 0, ..config() };
        let mut norms = Norms(vec![]);
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        for accumulate in [1, 3] {
            let config = TrainConfig { accumulate, steps: 1, ..one.clone() };
            let model = assign(Linear::new(1, 1, &device), &mut |_, _| Some(vec![0.3].into()));
            let session = Session { config: &config, checkpoint: None, device: &device };
            let mut evaluate = |_: &Linear, step| Ok(Evaluation { step, score: 0.0, parts: vec![] });
            train(&session, &mut Same, model, &Points(&device, RefCell::default()), &mut evaluate, &mut norms).unwrap();
        }
        assert!(
            (norms.0[0].0 - norms.0[1].0).abs() < 1e-6 && (norms.0[0].1 - norms.0[1].1).abs() < 1e-6,
            "{:?}",
            norms.0
        );
    }

    #[test]
    fn every_step_has_batches_and_noise_of_its_own() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        let model = assign(Linear::new(1, 1, &device), &mut |_, _| Some(vec![0.3].into()));
        // Nothing moves, so that only batches and noise can make a step's loss differ from another's.
        let mut config = TrainConfig { evaluate_every: 0, average: None, ..config() };
        config.optimiser.groups[0].learning_rate = 0.0;
        let session = Session { config: &config, checkpoint: None, device: &device };
        let (points, mut seen) = (Points(&device, RefCell::default()), Norms(vec![]));
        let mut evaluate = |_: &Linear, step| Ok(Evaluation { step, score: 0.0, parts: vec![] });
        train(&session, &mut Noise, model, &points, &mut evaluate, &mut seen).unwrap();
        assert_eq!(points.1.into_inner(), (0..18).collect::<Vec<_>>());
        let mut losses: Vec<f64> = seen.0.into_iter().map(|(_, loss)| loss).collect();
        losses.sort_by(f64::total_cmp);
        losses.dedup();
        assert_eq!(losses.len(), 9, "noise was repeated: {losses:?}");
    }

    /// What a random number makes of the weight, whatever the batch.
    struct Noise;

    impl Objective for Noise {
        type Model = Linear;
        type Batch = Tensor<2>;

        fn loss(&mut self, model: &Linear, x: &Tensor<2>) -> Loss {
            let noise = Tensor::<2>::random([1, 1], burn::tensor::Distribution::Normal(0.0, 1.0), &x.device());
            Loss { total: model.forward(noise).square().mean(), parts: vec![] }
        }
    }

    /// The same loss whatever the batch.
    struct Same;

    impl Objective for Same {
        type Model = Linear;
        type Batch = Tensor<2>;

        fn loss(&mut self, model: &Linear, x: &Tensor<2>) -> Loss {
            Loss { total: model.forward(Tensor::<2>::ones([1, 1], &x.device())).square().mean(), parts: vec![] }
        }
    }

    /// Gradient norm and loss of every step.
    struct Norms(Vec<(f64, f64)>);

    impl Observer for Norms {
        fn stepped(&mut self, report: &StepReport) {
            self.0.push((report.gradient_norm, report.loss));
        }
    }
}
