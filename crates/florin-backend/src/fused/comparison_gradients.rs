//! Gradients of the comparisons.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Autodiff, Backend};

use super::MaybeBool;
use super::comparisons::{ComparisonGradients, FusedComparisons, Marks};
use crate::kernels::differences::Cost;

impl<B: Backend + ComparisonGradients, C: CheckpointStrategy> FusedComparisons for Autodiff<B, C> {
    fn fused_differences(
        one: FloatTensor<Self>,
        other: FloatTensor<Self>,
        rows: BoolTensor<Self>,
        columns: MaybeBool<Self>,
        cost: Cost,
    ) -> FloatTensor<Self> {
        let nodes = [one.node()];
        let (one, other) = (one.into_primitive(), other.into_primitive());
        let marks = Marks::<B> { rows: rows.clone(), columns: columns.option() };
        let sums = B::fused_differences(one.clone(), other.clone(), rows, marks.maybe_columns(), cost);
        match DifferencesBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((one, other, marks, cost), sums),
            OpsKind::UnTracked(prepared) => prepared.finish(sums),
        }
    }

    fn fused_divergences(
        teacher: FloatTensor<Self>,
        student: FloatTensor<Self>,
        temperature: f64,
        rows: BoolTensor<Self>,
        columns: MaybeBool<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [student.node()];
        let (teacher, student) = (teacher.into_primitive(), student.into_primitive());
        let marks = Marks::<B> { rows, columns: columns.option() };
        let (costs, kept) = B::divergences_keeping(teacher.clone(), student.clone(), temperature, marks.clone());
        match DivergencesBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(([teacher, student, kept], temperature, marks), costs),
            OpsKind::UnTracked(prepared) => prepared.finish(costs),
        }
    }

    fn fused_cosines(
        one: FloatTensor<Self>,
        other: FloatTensor<Self>,
        rows: BoolTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let nodes = [one.node()];
        let (one, other) = (one.into_primitive(), other.into_primitive());
        let found = B::fused_cosines(one.clone(), other.clone(), rows.clone(), epsilon);
        match CosinesBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(([one, other, found.clone()], rows, epsilon), found),
            OpsKind::UnTracked(prepared) => prepared.finish(found),
        }
    }

    fn fused_unit_rows(x: FloatTensor<Self>, least: f64) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let (output, lengths) = B::unit_rows_keeping(x.into_primitive(), least);
        match UnitRowsBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((output.clone(), lengths, least), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn fused_with_gradient(
        value: FloatTensor<Self>,
        of: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [value.node(), of.node()];
        let (value, gradient) = (value.into_primitive(), gradient.into_primitive());
        match KnownGradient.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(gradient, value),
            OpsKind::UnTracked(prepared) => prepared.finish(value),
        }
    }
}

#[derive(Debug)]
struct DifferencesBackward;

impl<B: Backend + ComparisonGradients> Backward<B, 1> for DifferencesBackward {
    /// Both sides, what of them counts, and what it costs.
    type State = (FloatTensor<B>, FloatTensor<B>, Marks<B>, Cost);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (one, other, marks, cost) = ops.state;
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::differences_backward(one, other, marks, cost, gradient));
        }
    }
}

#[derive(Debug)]
struct DivergencesBackward;

impl<B: Backend + ComparisonGradients> Backward<B, 1> for DivergencesBackward {
    /// Both sides' logits and what was kept of them, the temperature, and what counts.
    type State = ([FloatTensor<B>; 3], f64, Marks<B>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (sides, temperature, marks) = ops.state;
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::divergences_backward(sides, temperature, marks, gradient));
        }
    }
}

#[derive(Debug)]
struct CosinesBackward;

impl<B: Backend + ComparisonGradients> Backward<B, 1> for CosinesBackward {
    /// Both sides and their cosines, which rows count, and what is added to square lengths.
    type State = ([FloatTensor<B>; 3], BoolTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (sides, rows, epsilon) = ops.state;
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::cosines_backward(sides, rows, epsilon, gradient));
        }
    }
}

#[derive(Debug)]
struct UnitRowsBackward;

impl<B: Backend + ComparisonGradients> Backward<B, 1> for UnitRowsBackward {
    /// Output, lengths and the square below which none is divided by.
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (output, lengths, least) = ops.state;
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::unit_rows_backward(output, lengths, gradient, least));
        }
    }
}

/// A gradient that was computed with its value.
#[derive(Debug)]
struct KnownGradient;

impl<B: Backend + ComparisonGradients> Backward<B, 2> for KnownGradient {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let slope = gradients.consume::<B>(&ops.node);
        let [value, of] = ops.parents;
        if let Some(parent) = of {
            gradients.register::<B>(parent.id, B::scaled(ops.state, slope.clone()));
        }
        if let Some(parent) = value {
            gradients.register::<B>(parent.id, slope);
        }
    }
}
