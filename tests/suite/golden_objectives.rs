//! Losses that contrast nothing, against written-out loops in f64 that are held to transformers, torch and torchjd.

use burn::module::{Param, ParamId};
use burn::prelude::*;
use florin_losses::{
    COMMITMENT, CaptioningLoss, Codebook, GradNorm, GradNormConfig, MaskedImageLoss, MaskedLanguageLoss,
    MovingCodebook, PatchTarget, TaskKind, TaskLosses, TaskProgress, UncertaintyWeights, VocabularyDecoder, patchify,
};
use florin_train::{Gradients, combine_in_order};

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS, OUTPUT, TRACE, TRAINED_WEIGHT};

/// Positions of a vocabulary's softmax at a time: fewer than there are, not dividing them, and more.
const CHUNKS: [usize; 3] = [1, 4, 512];

fn device() -> Device {
    florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
}

/// Compares the gradient of a tracked tensor.
fn gradient<const D: usize>(
    comparison: &mut Comparison<'_>,
    graph: &burn::tensor::Gradients,
    name: &str,
    tensor: &Tensor<D>,
) {
    let found = tensor.grad(graph).expect("tracked");
    comparison.tensor(&format!("gradient.{name}"), found, GRADIENT);
}

#[test]
fn golden_masked_image_loss_and_gradients() {
    let device = device();
    for (case, target) in [("masked_image_normalised", PatchTarget::Normalised), ("masked_image_raw", PatchTarget::Raw)]
    {
        let fixture = Fixture::open(case);
        let predicted = fixture.input::<3>("predicted", &device).require_grad();
        let patches = patchify(fixture.input::<4>("pictures", &device), fixture.config("patch"));
        let masked = fixture.input_marks::<2>("masked", &device);
        let parts = MaskedImageLoss { target }.forward(predicted.clone(), patches, masked);
        let mut comparison = Comparison::new(&fixture);
        comparison.tensor("loss", parts.loss.clone(), LOSS);
        comparison.tensor("per_picture", parts.per_picture, LOSS);
        gradient(&mut comparison, &parts.loss.backward(), "predicted", &predicted);
        comparison.finish();
    }
}

#[test]
fn golden_masked_language_loss_and_gradients() {
    let device = device();
    let fixture = Fixture::open("masked_language_loss");
    for chunk in CHUNKS {
        let logits = fixture.input::<3>("logits", &device).require_grad();
        let (ids, counts) = (fixture.input_ints("ids", &device), fixture.input_marks("counts", &device));
        let parts = MaskedLanguageLoss { chunk }.forward(logits.clone(), ids, counts);
        let mut comparison = Comparison::new(&fixture);
        comparison.tensor("loss", parts.loss.clone(), LOSS);
        comparison.tensor("per_row", parts.per_text, LOSS);
        gradient(&mut comparison, &parts.loss.backward(), "logits", &logits);
        comparison.finish();
    }
}

#[test]
fn golden_masked_language_loss_from_hidden_vectors() {
    let device = device();
    let fixture = Fixture::open("masked_language_decoded");
    for chunk in CHUNKS {
        let hidden = fixture.input::<3>("hidden", &device).require_grad();
        let table = fixture.input::<2>("table", &device).require_grad();
        let bias = fixture.input::<1>("bias", &device).require_grad();
        let (ids, counts) = (fixture.input_ints("ids", &device), fixture.input_marks("counts", &device));
        let decoder = VocabularyDecoder { table: table.clone(), bias: bias.clone() };
        let parts = MaskedLanguageLoss { chunk }.forward_decoded(hidden.clone(), decoder, ids, counts);
        let mut comparison = Comparison::new(&fixture);
        comparison.tensor("loss", parts.loss.clone(), LOSS);
        comparison.tensor("per_row", parts.per_text, LOSS);
        let graph = parts.loss.backward();
        gradient(&mut comparison, &graph, "hidden", &hidden);
        gradient(&mut comparison, &graph, "table", &table);
        gradient(&mut comparison, &graph, "bias", &bias);
        comparison.finish();
    }
}

#[test]
fn golden_captioning_loss_and_gradients() {
    let device = device();
    for case in ["captioning_loss", "captioning_smoothed"] {
        let fixture = Fixture::open(case);
        for chunk in CHUNKS {
            let logits = fixture.input::<3>("logits", &device).require_grad();
            let (ids, counts) = (fixture.input_ints("ids", &device), fixture.input_marks("counts", &device));
            let loss = CaptioningLoss { smoothing: fixture.config("smoothing"), chunk };
            let parts = loss.forward(logits.clone(), ids, counts);
            let mut comparison = Comparison::new(&fixture);
            comparison.tensor("loss", parts.loss.clone(), LOSS);
            comparison.tensor("per_row", parts.per_caption, LOSS);
            gradient(&mut comparison, &parts.loss.backward(), "logits", &logits);
            comparison.finish();
        }
    }
}

#[test]
fn golden_vector_quantisation_and_gradients_straight_through() {
    let device = device();
    let fixture = Fixture::open("vector_quantisation");
    let x = fixture.input::<2>("x", &device).require_grad();
    let codes = fixture.input::<2>("codes", &device);
    let book = Codebook { codes: Param::from_tensor(codes), commitment: COMMITMENT };
    let found = book.forward(x.clone(), fixture.input_marks("counts", &device));
    let through = (found.vectors * fixture.input::<2>("weight", &device)).sum();
    let loss = found.loss.clone() + through;
    let mut comparison = Comparison::new(&fixture);
    comparison.tensor("loss", loss.clone(), LOSS);
    comparison.tensor("own", found.loss, LOSS);
    comparison.tensor("codebook", found.codebook, LOSS);
    comparison.tensor("commitment", found.commitment, LOSS);
    comparison.tensor("perplexity", found.perplexity, LOSS);
    let graph = loss.backward();
    gradient(&mut comparison, &graph, "x", &x);
    gradient(&mut comparison, &graph, "codes", &book.codes.val());
    comparison.finish();
}

#[test]
fn golden_moving_codebook_after_five_steps() {
    let device = device();
    let fixture = Fixture::open("moving_codebook");
    let (x, codes) = (fixture.input::<2>("x", &device), fixture.input::<2>("codes", &device));
    let counts = fixture.input_marks::<1>("counts", &device);
    let mut book =
        MovingCodebook::new(codes.dims()[0], codes.dims()[1], fixture.config("decay"), &device).expect("valid");
    book.codes = Param::initialized(ParamId::new(), codes.clone());
    book.sums = Param::initialized(ParamId::new(), codes);
    for _ in 0..fixture.config::<usize>("steps") {
        let ids = book.forward(x.clone(), counts.clone()).ids;
        book = book.updated(x.clone(), ids, counts.clone());
    }
    let mut comparison = Comparison::new(&fixture);
    comparison.tensor("codes", book.codes.val(), OUTPUT);
    comparison.tensor("chosen", book.chosen.val(), OUTPUT);
    comparison.finish();
}

#[test]
fn golden_uncertainty_weights_and_gradients() {
    let device = device();
    let fixture = Fixture::open("uncertainty_weights");
    let costs = fixture.input::<2>("costs", &device).require_grad();
    let mut weights =
        UncertaintyWeights::new(&[TaskKind::Regression, TaskKind::Classification, TaskKind::Regression], &device);
    weights.log_variances = Param::from_tensor(fixture.input::<1>("log_variances", &device));
    let losses = TaskLosses::of_samples(costs.clone(), fixture.input_marks("labelled", &device));
    let parts = weights.forward(losses);
    let mut comparison = Comparison::new(&fixture);
    comparison.tensor("loss", parts.loss.clone(), LOSS);
    comparison.tensor("per_task", parts.per_task, LOSS);
    let graph = parts.loss.backward();
    gradient(&mut comparison, &graph, "costs", &costs);
    gradient(&mut comparison, &graph, "log_variances", &weights.log_variances.val());
    comparison.finish();
}

/// Two regressions with one layer in common.
struct Toy {
    x: Tensor<3>,
    y: Tensor<2>,
}

impl Toy {
    fn open(fixture: &Fixture, device: &Device) -> Self {
        Self { x: fixture.input("x", device), y: fixture.input("y", device) }
    }

    /// The task's mean square.
    fn loss(&self, task: usize, w: &Tensor<1>) -> Tensor<1> {
        let [_, samples, dim] = self.x.dims();
        let x = self.x.clone().narrow(0, task, 1).reshape([samples, dim]);
        let y = self.y.clone().narrow(0, task, 1).reshape([samples, 1]);
        (florin_backend::product(x, w.clone().unsqueeze_dim::<2>(1)) - y).square().mean()
    }
}

/// One step of plain descent.
fn descended(x: &Tensor<1>, graph: &burn::tensor::Gradients, rate: f64) -> Tensor<1> {
    let gradient = x.grad(graph).expect("tracked");
    Tensor::from_inner(x.clone().inner() - gradient * rate).require_grad()
}

/// Compares what a trace ends with.
fn compare_trace(fixture: &Fixture, losses: Vec<Tensor<1>>, w: Tensor<1>, state: Tensor<1>) {
    let mut comparison = Comparison::new(fixture);
    comparison.tensor("losses", Tensor::cat(losses, 0), TRACE);
    comparison.tensor("w", w, TRAINED_WEIGHT);
    comparison.tensor("state", state, TRAINED_WEIGHT);
    comparison.finish();
}

#[test]
fn golden_ten_steps_with_uncertainty_weights() {
    let device = device();
    let fixture = Fixture::open("uncertainty_steps");
    let (toy, rate) = (Toy::open(&fixture, &device), fixture.config::<f64>("rate"));
    let mut w = fixture.input::<1>("w", &device).require_grad();
    let mut weights = UncertaintyWeights::new(&[TaskKind::Regression; 2], &device);
    let mut losses = Vec::new();
    for _ in 0..fixture.config::<usize>("steps") {
        let each = TaskLosses::of_means((0..2).map(|task| toy.loss(task, &w)).collect());
        let loss = weights.forward(each).loss;
        losses.push(loss.clone().detach());
        let graph = loss.backward();
        w = descended(&w, &graph, rate);
        weights.log_variances = Param::from_tensor(descended(&weights.log_variances.val(), &graph, rate));
    }
    compare_trace(&fixture, losses, w, weights.log_variances.val());
}

#[test]
fn golden_ten_steps_with_grad_norm() {
    let device = device();
    let fixture = Fixture::open("grad_norm_steps");
    let (toy, rate) = (Toy::open(&fixture, &device), fixture.config::<f64>("rate"));
    let config = GradNormConfig { pull: fixture.config("pull"), learning_rate: fixture.config("weight_rate") };
    let mut norm = GradNorm::new(2, config).expect("valid");
    let mut w = fixture.input::<1>("w", &device).require_grad();
    let weights = |norm: &GradNorm| {
        let weights: Vec<f32> = norm.weights().iter().map(|&weight| weight as f32).collect();
        Tensor::<1>::from_data(TensorData::new(weights, [2]), &device)
    };
    let mut losses = Vec::new();
    for _ in 0..fixture.config::<usize>("steps") {
        let progress = [0, 1].map(|task| {
            let loss = toy.loss(task, &w);
            let value = loss.clone().into_scalar::<f32>();
            let gradient = w.grad(&loss.backward()).expect("tracked");
            let size = gradient.square().sum().sqrt().into_scalar::<f32>();
            Some(TaskProgress { loss: f64::from(value), gradient_norm: f64::from(size) })
        });
        let each = TaskLosses::of_means((0..2).map(|task| toy.loss(task, &w)).collect());
        let loss = each.weighted(weights(&norm)).loss;
        losses.push(loss.clone().detach());
        w = descended(&w, &loss.backward(), rate);
        norm.step(&progress);
    }
    compare_trace(&fixture, losses, w, weights(&norm));
}

#[test]
fn golden_pc_grad_in_torchjd_s_orders() {
    let device = device();
    let fixture = Fixture::open("pc_grad");
    let orders: Vec<Vec<usize>> = fixture.config("orders");
    let gradients = fixture.input::<2>("gradients", &device);
    let [tasks, size] = gradients.dims();
    // Over two parameters: inner products run over both.
    let of_task = |task: usize| {
        let own = gradients.clone().narrow(0, task, 1).reshape([size]);
        let part = |from: usize, count: usize| own.clone().narrow(0, from, count);
        Gradients::from_named([("one".to_owned(), part(0, 4)), ("two".to_owned(), part(4, size - 4))])
    };
    let tasks: Vec<Gradients> = (0..tasks).map(of_task).collect();
    let parts = combine_in_order(&tasks, &|task| orders[task].clone());
    assert_eq!(parts.conflicts, fixture.config::<usize>("conflicts"));
    let found = ["one", "two"].map(|name| parts.gradients.get(name).expect("both parameters"));
    let mut comparison = Comparison::new(&fixture);
    comparison.tensor("sum", Tensor::cat(found.to_vec(), 0), OUTPUT);
    comparison.finish();
}
