//! Heads, positions and windows against loops in Python that leave out what must not be seen.

use burn::module::Module;
use burn::prelude::*;
use florin_nn::{
    Attention, AttentionConfig, Conditions, Mask, Pairing, RelativeBiasConfig, Rotary, Sides, SlidingWindow, alibi_bias,
};
use florin_train::Gradients;

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS, OUTPUT};
use crate::golden_weights::filled;

/// One case: its inputs are tracked, and the loss weighs every output by the fixture's probe.
pub(crate) struct Case {
    pub(crate) fixture: Fixture,
    pub(crate) device: Device,
    inputs: Vec<(String, Tensor<3>)>,
}

impl Case {
    /// Opens a case with its tracked inputs.
    pub(crate) fn open(name: &str, inputs: &[&str]) -> Self {
        let fixture = Fixture::open(&format!("attention_{name}"));
        let device = florin_backend::device("cpu").expect("the cpu device is always there").autodiff();
        let tracked = |name: &&str| ((*name).to_owned(), fixture.input::<3>(name, &device).require_grad());
        let inputs = inputs.iter().map(tracked).collect();
        Self { fixture, device, inputs }
    }

    /// A tracked input.
    pub(crate) fn input(&self, name: &str) -> Tensor<3> {
        let found = self.inputs.iter().find(|(own, _)| own == name);
        found.unwrap_or_else(|| panic!("{name} is not among the inputs")).1.clone()
    }

    /// The mask of an input, from lengths of that name or of one entry of them.
    pub(crate) fn mask(&self, lengths: &[usize], input: &str) -> Mask {
        let [_, seq, _] = self.input(input).dims();
        Mask::from_lengths(lengths, seq, &self.device)
    }

    /// Compares outputs, loss, and the gradients of inputs and of a module's parameters, if there is one.
    pub(crate) fn compare<M: Module>(&self, module: Option<&M>, outputs: Vec<(&str, Tensor<3>)>) {
        let mut comparison = Comparison::new(&self.fixture);
        let mut loss: Option<Tensor<1>> = None;
        for (name, output) in outputs {
            comparison.tensor(name, output.clone(), OUTPUT);
            let part = (output * self.fixture.input::<3>(&format!("probe.{name}"), &self.device)).sum();
            loss = Some(loss.map_or(part.clone(), |sum| sum + part));
        }
        let loss = loss.expect("a case has outputs");
        comparison.tensor("loss", loss.clone(), LOSS);
        let graph = loss.backward();
        for (name, input) in &self.inputs {
            let gradient = input.grad(&graph).unwrap_or_else(|| panic!("{name} has no gradient"));
            comparison.tensor(&format!("gradient.{name}"), gradient, GRADIENT);
        }
        if let Some(module) = module {
            comparison.gradients(module, &Gradients::of(module, graph));
        }
        comparison.finish();
    }
}

/// Hidden positions become zero, as the reference leaves them out.
pub(crate) fn kept(x: Tensor<3>, mask: &Mask) -> Tensor<3> {
    x * mask.kept().unsqueeze_dim::<3>(2)
}

#[test]
fn golden_attention_of_shared_key_heads() {
    for name in ["grouped", "multi_query"] {
        let case = Case::open(name, &["x", "context", "bias"]);
        let config = AttentionConfig::new(case.fixture.config("dim"), case.fixture.config("heads"))
            .with_context_dim(case.fixture.config("context_dim"))
            .with_key_heads(case.fixture.config("key_heads"))
            .with_head_dim(case.fixture.config("head_dim"));
        let module = filled(config.init(&case.device));
        let (x, context) = (case.input("x"), case.input("context"));
        let ([_, queries, _], [_, keys, _]) = (x.dims(), context.dims());
        let hidden = case.mask(&case.fixture.config::<Vec<usize>>("lengths"), "context").for_attention();
        let bias = Some(case.input("bias").reshape([1, config.heads, queries, keys]));
        let conditions = Conditions { hidden, bias, causal: true, ..Default::default() };
        let output = module.forward_under(x, context, conditions);
        case.compare(Some(&module), vec![("output", output)]);
    }
}

#[test]
fn golden_rotary_of_both_pairings() {
    for (name, pairing) in [("rotary_halves", Pairing::Halves), ("rotary_interleaved", Pairing::Interleaved)] {
        let case = Case::open(name, &["query", "key"]);
        let rotary = Rotary { pairing, base: case.fixture.config("base"), dim: Some(case.fixture.config("dim")) };
        let heads: usize = case.fixture.config("heads");
        let rotated = |name: &str| {
            let x = case.input(name);
            let [batch, rows, head_dim] = x.dims();
            let x = x.reshape([batch, heads, rows / heads, head_dim]);
            rotary.rotate(x, case.fixture.config("first")).reshape([batch, rows, head_dim])
        };
        let outputs = vec![("rotated_query", rotated("query")), ("rotated_key", rotated("key"))];
        case.compare(None::<&Attention>, outputs);
    }
}

#[test]
fn golden_alibi_of_six_heads() {
    let case = Case::open("alibi", &["x"]);
    let heads = case.fixture.config("heads");
    let module = filled(AttentionConfig::new(case.fixture.config("dim"), heads).init(&case.device));
    let x = case.input("x");
    let [_, seq, _] = x.dims();
    let conditions = Conditions {
        hidden: case.mask(&case.fixture.config::<Vec<usize>>("lengths"), "x").for_attention(),
        bias: Some(alibi_bias(heads, seq, seq, &case.device)),
        causal: true,
        ..Default::default()
    };
    let output = module.forward_under(x.clone(), x, conditions);
    case.compare(Some(&module), vec![("output", output)]);
}

#[test]
fn golden_relative_bias_and_every_bucket() {
    for (name, sides) in [("relative_bias_both", Sides::Both), ("relative_bias_past", Sides::Past)] {
        let case = Case::open(name, &[]);
        let size = |name: &str| case.fixture.config::<usize>(name);
        let config =
            RelativeBiasConfig { buckets: size("buckets"), heads: size("heads"), furthest: size("furthest"), sides };
        let module = filled(config.init(&case.device));
        let (far, (_, expected)) = (size("far"), case.fixture.ints("buckets"));
        let found = (-(far as i64)..=far as i64).map(|distance| module.bucket(distance) as i64);
        assert_eq!(found.collect::<Vec<_>>(), expected, "{name}: the bucket of every distance");
        let bias = module.forward(size("queries"), size("keys"));
        let [_, heads, queries, keys] = bias.dims();
        case.compare(Some(&module), vec![("bias", bias.reshape([heads, queries, keys]))]);
    }
}

#[test]
fn golden_windows_in_blocks_and_by_mask() {
    for name in ["window_causal", "window_around"] {
        for in_blocks in [true, false] {
            let case = Case::open(name, &["x"]);
            let size = |name: &str| case.fixture.config::<usize>(name);
            let config = AttentionConfig::new(size("dim"), size("heads")).with_key_heads(size("key_heads"));
            let module = filled(config.init(&case.device));
            let window = SlidingWindow { before: size("before"), after: size("after") };
            let mask = case.mask(&case.fixture.config::<Vec<usize>>("lengths"), "x");
            let x = case.input("x");
            let output = if in_blocks {
                module.forward_windowed(x, window, Some(&mask), None)
            } else {
                let [batch, seq, _] = x.dims();
                let shape = [batch, 1, seq, seq];
                let padding = mask.for_attention().expect("a row is padded").expand(shape);
                let hidden = window.hidden(seq, seq, &case.device).expand(shape).bool_or(padding);
                module.forward(x.clone(), x, Some(hidden), None)
            };
            case.compare(Some(&module), vec![("output", output)]);
        }
    }
}
