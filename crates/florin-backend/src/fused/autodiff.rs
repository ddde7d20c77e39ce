//! Gradients of the fused operations.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Backend, TensorMetadata};

use super::{
    AttentionInputs, AttentionManner, ClassTarget, Form, FusedGradients, FusedOperations, MaybeBool, MaybeFloat, given,
};
use crate::Activation;
use crate::mixed::Factors;

impl<B: Backend + FusedGradients, C: CheckpointStrategy> FusedOperations for Autodiff<B, C> {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        hidden: MaybeBool<Self>,
        bias: MaybeFloat<Self>,
        manner: AttentionManner,
    ) -> FloatTensor<Self> {
        let (bias, bias_node) = with_node::<B, C>(bias.option(), &query);
        let nodes = [query.node(), key.node(), value.node(), bias_node];
        let (query, key, value) = (query.into_primitive(), key.into_primitive(), value.into_primitive());
        let hidden = hidden.option();
        let inputs = AttentionInputs::<B> { query, key, value, hidden, bias, manner };
        match AttentionBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (output, sums) = B::attention_keeping(inputs.clone());
                prepared.finish((inputs, output.clone(), sums), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::attention_keeping(inputs).0),
        }
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        residual: MaybeFloat<Self>,
        scale: FloatTensor<Self>,
        shift: MaybeFloat<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let (residual, residual_node) = with_node::<B, C>(residual.option(), &x);
        let (shift, shift_node) = with_node::<B, C>(shift.option(), &x);
        let nodes = [x.node(), residual_node, scale.node(), shift_node];
        let (x, scale) = (x.into_primitive(), scale.into_primitive());
        match LayerNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let x = match residual {
                    Some(residual) => B::float_add(x, residual),
                    None => x,
                };
                let output = B::fused_layer_norm(x.clone(), MaybeFloat::Missing, scale.clone(), given(shift), epsilon);
                prepared.finish((x, scale, epsilon), output)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::fused_layer_norm(x, given(residual), scale, given(shift), epsilon))
            }
        }
    }

    fn fused_product(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [left.node(), right.node()];
        let (left, right) = (left.into_primitive(), right.into_primitive());
        let output = B::fused_product(left.clone(), right.clone());
        match ProductBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((left, right), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: MaybeFloat<Self>,
        activation: Activation,
        factors: Factors,
    ) -> FloatTensor<Self> {
        let (bias, bias_node) = with_node::<B, C>(bias.option(), &x);
        let nodes = [x.node(), weight.node(), bias_node];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match LinearBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (output, before) = B::linear_keeping(x.clone(), weight.clone(), bias, activation, factors);
                let before = (activation != Activation::Identity).then_some((before, activation));
                prepared.finish((x, weight, before, factors), output)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::fused_linear(x, weight, given(bias), activation, factors))
            }
        }
    }

    fn fused_activation(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let x = x.into_primitive();
        match ActivationBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((x.clone(), activation), B::fused_activation(x, activation)),
            OpsKind::UnTracked(prepared) => prepared.finish(B::fused_activation(x, activation)),
        }
    }

    fn fused_softmax(x: FloatTensor<Self>, form: Form) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let output = B::fused_softmax(x.into_primitive(), form);
        match SoftmaxBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((output.clone(), form), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn fused_embedding(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        let nodes = [table.node()];
        let table = table.into_primitive();
        let entries = table.shape()[0];
        let output = B::fused_embedding(table, ids.clone());
        match EmbeddingBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((entries, ids), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn fused_log_likelihood(
        logits: FloatTensor<Self>,
        classes: IntTensor<Self>,
        keep: MaybeBool<Self>,
        smoothing: f64,
    ) -> FloatTensor<Self> {
        let nodes = [logits.node()];
        let logits = logits.into_primitive();
        let target = ClassTarget::<B> { classes, keep: keep.option(), smoothing };
        let (output, sums) = B::log_likelihood_keeping(logits.clone(), target.clone());
        match LogLikelihoodBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((logits, target, sums), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

/// An optional input's numbers and its place in the graph; an absent one's place is that of a constant.
fn with_node<B: Backend, C: CheckpointStrategy>(
    input: Option<FloatTensor<Autodiff<B, C>>>,
    like: &FloatTensor<Autodiff<B, C>>,
) -> (Option<FloatTensor<B>>, NodeGuard) {
    match input {
        Some(input) => {
            let node = input.node();
            (Some(input.into_primitive()), node)
        }
        None => {
            let nothing = B::float_zeros([1].into(), &like.device(), like.dtype().into());
            (None, <Autodiff<B, C> as AutodiffBackend>::from_inner(nothing).node())
        }
    }
}

#[derive(Debug)]
struct AttentionBackward;

impl<B: Backend + FusedGradients> Backward<B, 4> for AttentionBackward {
    /// Inputs, output, and logarithms of the weights' sums.
    type State = (AttentionInputs<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (inputs, output, sums) = ops.state;
        let [query, key, value, bias] = ops.parents;
        let (found, of_bias) = B::attention_backward(inputs, output, sums, gradient, bias.is_some());
        for (parent, found) in [query, key, value].into_iter().zip(found) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, found);
            }
        }
        if let (Some(parent), Some(found)) = (bias, of_bias) {
            gradients.register::<B>(parent.id, found);
        }
    }
}

#[derive(Debug)]
struct LayerNormBackward;

impl<B: Backend + FusedGradients> Backward<B, 4> for LayerNormBackward {
    /// The rows that were normalised, the scale and epsilon.
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (x, scale, epsilon) = ops.state;
        let [for_x, for_residual, for_scale, for_shift] = ops.parents;
        let [of_rows, of_scale, of_shift] = B::layer_norm_backward(x, scale, gradient, epsilon);
        let found = [(for_x, of_rows.clone()), (for_residual, of_rows), (for_scale, of_scale), (for_shift, of_shift)];
        for (parent, found) in found {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, found);
            }
        }
    }
}

#[derive(Debug)]
struct ProductBackward;

impl<B: Backend + FusedGradients> Backward<B, 2> for ProductBackward {
    /// Both factors.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (left, right) = ops.state;
        let [for_left, for_right] = ops.parents;
        let turned = |x: FloatTensor<B>| {
            let last = x.shape().num_dims() - 1;
            B::float_swap_dims(x, last - 1, last)
        };
        if let Some(parent) = for_left {
            gradients.register::<B>(parent.id, B::fused_product(gradient.clone(), turned(right)));
        }
        if let Some(parent) = for_right {
            gradients.register::<B>(parent.id, B::fused_product(turned(left), gradient));
        }
    }
}

#[derive(Debug)]
struct LinearBackward;

impl<B: Backend + FusedGradients> Backward<B, 3> for LinearBackward {
    /// Input, weight, and what stood before the activation, if there is one.
    type State = (FloatTensor<B>, FloatTensor<B>, Option<(FloatTensor<B>, Activation)>, Factors);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (x, weight, before, factors) = ops.state;
        let [for_x, for_weight, for_bias] = ops.parents;
        let gradient = match before {
            Some((before, activation)) => B::activation_backward(before, gradient, activation),
            None => gradient,
        };
        if let Some(parent) = for_bias {
            gradients.register::<B>(parent.id, B::column_sums(gradient.clone()));
        }
        if let Some(parent) = for_weight {
            gradients.register::<B>(parent.id, B::linear_backward_weight(x, gradient.clone(), factors));
        }
        if let Some(parent) = for_x {
            gradients.register::<B>(parent.id, B::linear_backward_rows(gradient, weight, factors));
        }
    }
}

#[derive(Debug)]
struct ActivationBackward;

impl<B: Backend + FusedGradients> Backward<B, 1> for ActivationBackward {
    /// What the activation was taken of.
    type State = (FloatTensor<B>, Activation);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (before, activation) = ops.state;
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::activation_backward(before, gradient, activation));
        }
    }
}

#[derive(Debug)]
struct EmbeddingBackward;

impl<B: Backend + FusedGradients> Backward<B, 1> for EmbeddingBackward {
    /// The table's entries, and which were looked up.
    type State = (usize, IntTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (entries, ids) = ops.state;
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::table_gradient(entries, ids, gradient));
        }
    }
}

#[derive(Debug)]
struct SoftmaxBackward;

impl<B: Backend + FusedGradients> Backward<B, 1> for SoftmaxBackward {
    /// The output.
    type State = (FloatTensor<B>, Form);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (output, form) = ops.state;
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::softmax_backward(output, gradient, form));
        }
    }
}

#[derive(Debug)]
struct LogLikelihoodBackward;

impl<B: Backend + FusedGradients> Backward<B, 1> for LogLikelihoodBackward {
    /// Logits, what they should say, and logarithms of the rows' sums.
    type State = (FloatTensor<B>, ClassTarget<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (logits, target, sums) = ops.state;
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::log_likelihood_backward(logits, target, sums, gradient));
        }
    }
}
