//! What depends on where rows stand and on which of them count, in one go on the `cpu` device, with its gradients.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Autodiff, Backend, Flex, backend_extension};

use super::flex::{columns, dense, heads_first, marks, numbers, tensor};
use crate::Rotation;
use crate::kernels::{diagonals, hidden_rows, reach, rotation};

/// Forward operations, with gradients where the backend has them.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FusedPositions: Backend {
    /// See [`crate::rotate`]; the other way round with `back`.
    fn fused_rotation(x: FloatTensor<Self>, rotation: Rotation, back: bool) -> FloatTensor<Self>;

    /// See [`crate::log_reach`].
    fn fused_log_reach(span: FloatTensor<Self>, ramp: f64) -> FloatTensor<Self>;

    /// See [`crate::along_diagonals`].
    fn fused_diagonals(rows: FloatTensor<Self>, queries: usize, keys: usize) -> FloatTensor<Self>;

    /// See [`crate::without_hidden`].
    fn fused_without_hidden(x: FloatTensor<Self>, hidden: BoolTensor<Self>) -> FloatTensor<Self>;
}

/// The ways back that are not the ways there.
pub(crate) trait PositionGradients: FusedPositions {
    /// The gradient of the spans.
    fn log_reach_backward(span: FloatTensor<Self>, ramp: f64, gradient: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient of the rows.
    fn diagonals_backward(gradient: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl FusedPositions for Flex {
    fn fused_rotation(x: FloatTensor<Flex>, rotation: Rotation, back: bool) -> FloatTensor<Flex> {
        // As layers make them: the heads of a place one after another.
        let x = dense(heads_first(x));
        let shape = x.layout().shape().clone();
        let [cosines, sines] = rotation.tables();
        let turns = rotation::Turns { pairing: rotation.pairing, cosines, sines, pairs: rotation.pairs, back };
        heads_first(tensor(rotation::turned(numbers(&x), [shape[2], shape[3]], turns), shape))
    }

    fn fused_log_reach(span: FloatTensor<Flex>, ramp: f64) -> FloatTensor<Flex> {
        let span = dense(span);
        let shape = span.layout().shape().clone();
        let [batch, heads, seq] = [shape[0], shape[1], shape[2]];
        tensor(reach::forward(numbers(&span), seq, ramp as f32), [batch, heads, seq, seq])
    }

    fn fused_diagonals(rows: FloatTensor<Flex>, queries: usize, keys: usize) -> FloatTensor<Flex> {
        let rows = dense(rows);
        let heads = rows.layout().shape()[0];
        tensor(diagonals::forward(numbers(&rows), [queries, keys]), [heads, queries, keys])
    }

    fn fused_without_hidden(x: FloatTensor<Flex>, hidden: BoolTensor<Flex>) -> FloatTensor<Flex> {
        let hidden = dense(hidden);
        if marks(&hidden).iter().all(|mark| *mark == 0) {
            return x;
        }
        let x = dense(x);
        tensor(hidden_rows::zeroed(numbers(&x), columns(&x), marks(&hidden)), x.layout().shape().clone())
    }
}

impl PositionGradients for Flex {
    fn log_reach_backward(span: FloatTensor<Flex>, ramp: f64, gradient: FloatTensor<Flex>) -> FloatTensor<Flex> {
        let (span, gradient) = (dense(span), dense(gradient));
        let shape = span.layout().shape().clone();
        let found = reach::backward(numbers(&span), shape[2], ramp as f32, numbers(&gradient));
        tensor(found, shape)
    }

    fn diagonals_backward(gradient: FloatTensor<Flex>) -> FloatTensor<Flex> {
        let gradient = dense(gradient);
        let [heads, queries, keys] = [0, 1, 2].map(|dim: usize| gradient.layout().shape()[dim]);
        tensor(diagonals::backward(numbers(&gradient), [queries, keys]), [heads, queries + keys - 1])
    }
}

impl<B: Backend + PositionGradients, C: CheckpointStrategy> FusedPositions for Autodiff<B, C> {
    fn fused_rotation(x: FloatTensor<Self>, rotation: Rotation, back: bool) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let output = B::fused_rotation(x.into_primitive(), rotation.clone(), back);
        match RotationBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((rotation, back), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn fused_log_reach(span: FloatTensor<Self>, ramp: f64) -> FloatTensor<Self> {
        let nodes = [span.node()];
        let span = span.into_primitive();
        let output = B::fused_log_reach(span.clone(), ramp);
        match LogReachBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((span, ramp), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn fused_diagonals(rows: FloatTensor<Self>, queries: usize, keys: usize) -> FloatTensor<Self> {
        let nodes = [rows.node()];
        let output = B::fused_diagonals(rows.into_primitive(), queries, keys);
        match DiagonalsBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn fused_without_hidden(x: FloatTensor<Self>, hidden: BoolTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let output = B::fused_without_hidden(x.into_primitive(), hidden.clone());
        match WithoutHiddenBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(hidden, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

#[derive(Debug)]
struct RotationBackward;

impl<B: Backend + FusedPositions> Backward<B, 1> for RotationBackward {
    type State = (Rotation, bool);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (rotation, back) = ops.state;
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::fused_rotation(gradient, rotation, !back));
        }
    }
}

#[derive(Debug)]
struct LogReachBackward;

impl<B: Backend + PositionGradients> Backward<B, 1> for LogReachBackward {
    /// Spans and ramp.
    type State = (FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (span, ramp) = ops.state;
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::log_reach_backward(span, ramp, gradient));
        }
    }
}

#[derive(Debug)]
struct DiagonalsBackward;

impl<B: Backend + PositionGradients> Backward<B, 1> for DiagonalsBackward {
    type State = ();

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::diagonals_backward(gradient));
        }
    }
}

#[derive(Debug)]
struct WithoutHiddenBackward;

impl<B: Backend + FusedPositions> Backward<B, 1> for WithoutHiddenBackward {
    /// Marks of the rows.
    type State = BoolTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::fused_without_hidden(gradient, ops.state));
        }
    }
}
