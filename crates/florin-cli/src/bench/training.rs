//! Cases of training: steps of `florin_train::train`, as a program that trains a model calls it.

use std::marker::PhantomData;

use anyhow::Context;
use florin_models::clip::Clip;
use florin_models::system::{Forward, Opened};
use florin_models::{Inputs, ModelError, WeightFormat, bert};
use florin_train::{
    AdamWSettings, Batches, Evaluation, Loss, Objective, Observer, ParameterGroup, Session, StepReport, TrainConfig,
    TrainError, train,
};

use super::case::{Case, ids, pixels};
use super::timing::calls;
use super::{Bench, Measured};

/// Steps that come before those that are timed, and whose losses are told.
const FIRST: usize = 3;
/// The end of a text, which CLIP reads it at.
const END_OF_TEXT: i64 = 49_407;

/// Steps of a model that learns.
pub(crate) fn measure(bench: &Bench<'_>, case: Case) -> anyhow::Result<Measured> {
    let learning = bench.device.clone().autodiff();
    let checkpoint = bench.checkpoint(case)?;
    let texts = |rows: usize, seq: usize, classes: usize| {
        let labels = (0..rows).map(|row| (row * 7 % classes) as i64).collect();
        let inputs = Inputs::new(&learning).whole("input_ids", &[rows, seq], ids(rows * seq));
        (rows, inputs.whole("labels", &[rows], labels))
    };
    match case {
        Case::TrainBertBase => steps(bench, case, || bert::of(&checkpoint, &learning), texts(8, 128, 3)),
        Case::TrainMiniLm => steps(bench, case, || bert::of(&checkpoint, &learning), texts(32, 32, 77)),
        _ => {
            let (rows, seq, picture) = (8, 77, [8, 3, 224, 224]);
            let mut words = ids(rows * seq);
            words.iter_mut().skip(seq - 1).step_by(seq).for_each(|last| *last = END_OF_TEXT);
            let inputs = Inputs::new(&learning).whole("input_ids", &[rows, seq], words);
            let inputs = inputs.floats("pixel_values", &picture, pixels(picture.iter().product()));
            steps(bench, case, || Clip::of(&checkpoint, &learning), (rows, inputs))
        }
    }
}

/// The model is opened for each of the two runs rather than copied, so that the memory told is that of one.
fn steps<M: Forward>(
    bench: &Bench<'_>,
    case: Case,
    open: impl Fn() -> Result<Opened<M>, ModelError>,
    (samples, inputs): (usize, Inputs),
) -> anyhow::Result<Measured> {
    let model = open()?.module;
    // Once outside the loop, where a model that cannot is an error.
    let outputs = model.forward(&inputs)?;
    outputs.get("loss").with_context(|| format!("{}: the model has no loss; expected one", case.name()))?;
    drop(outputs);
    let device = bench.device.clone().autodiff();
    let run = |model: M, steps: usize| {
        let (config, mut seen) = (config(steps, bench.format), Seen::default());
        let session = Session { config: &config, checkpoint: None, device: &device };
        let batches = Same { inputs: inputs.clone(), samples };
        let mut evaluate = |_: &M, step| Ok(Evaluation { step, score: 0.0, parts: Vec::new() });
        train(&session, &mut OwnLoss(PhantomData), model, &batches, &mut evaluate, &mut seen)?;
        anyhow::Ok(seen.0)
    };
    let first = run(model, FIRST)?;
    let losses: Vec<f32> = first.iter().map(|report| report.loss as f32).collect();
    let each = first.last().map_or(0.0, |report| report.seconds);
    // The first step of a run makes room for the moments.
    let reports = run(open()?.module, 1 + calls(bench.seconds, each))?;
    let laps = reports.iter().skip(1).map(|report| report.seconds).collect();
    Ok(Measured::new(case, samples, "samples", laps, &losses))
}

/// AdamW at one rate, weights that decay, gradients that are clipped; no average, no evaluation, nothing written.
fn config(steps: usize, format: WeightFormat) -> TrainConfig {
    let groups = vec![ParameterGroup { prefix: String::new(), learning_rate: 5e-5, weight_decay: 0.01 }];
    TrainConfig {
        steps,
        warmup: 0,
        floor: 1.0,
        clip: 1.0,
        accumulate: 1,
        average: None,
        evaluate_every: 0,
        keep_best: false,
        patience: None,
        checkpoint_every: 0,
        mixed_precision: format == WeightFormat::Bf16,
        seed: 7,
        optimiser: AdamWSettings { groups, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 },
    }
}

/// The loss that a system has of its own.
struct OwnLoss<M>(PhantomData<M>);

impl<M: Forward> Objective for OwnLoss<M> {
    type Model = M;
    type Batch = Inputs;

    fn loss(&mut self, model: &M, batch: &Inputs) -> Loss {
        let outputs = model.forward(batch).expect("the same batch was tried before");
        let total = outputs.get("loss").expect("it was there before").values.clone();
        Loss { total, parts: Vec::new() }
    }
}

/// The same batch at every step.
struct Same {
    inputs: Inputs,
    samples: usize,
}

impl Batches for Same {
    type Batch = Inputs;

    fn batch(&self, _number: usize) -> Result<Inputs, TrainError> {
        Ok(self.inputs.clone())
    }

    fn samples(&self, _number: usize) -> usize {
        self.samples
    }
}

/// What every step reported.
#[derive(Default)]
struct Seen(Vec<StepReport>);

impl Observer for Seen {
    fn stepped(&mut self, report: &StepReport) {
        self.0.push(report.clone());
    }
}
