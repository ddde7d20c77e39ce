//! Every row beside every other in one go, on the `cpu` device, with the gradients.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};

use super::flex::{columns, dense, numbers, tensor};
use crate::kernels::pairs;

/// Forward operations, with gradients where the backend has them.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FusedPairs: Backend {
    /// See [`crate::distances`].
    fn fused_distances(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`crate::angle_cosines`].
    fn fused_angle_cosines(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The ways back.
pub(crate) trait PairGradients: FusedPairs {
    /// The gradient of the rows from that of their distances.
    fn distances_backward(
        x: FloatTensor<Self>,
        distances: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// The gradient of the rows from that of their cosines.
    fn angle_cosines_backward(x: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl FusedPairs for Flex {
    fn fused_distances(x: FloatTensor<Flex>) -> FloatTensor<Flex> {
        let x = dense(x);
        let rows = x.layout().shape()[0];
        tensor(pairs::distances(numbers(&x), columns(&x)), [rows, rows])
    }

    fn fused_angle_cosines(x: FloatTensor<Flex>) -> FloatTensor<Flex> {
        let x = dense(x);
        let rows = x.layout().shape()[0];
        tensor(pairs::cosines(numbers(&x), columns(&x)), [rows, rows, rows])
    }
}

impl PairGradients for Flex {
    fn distances_backward(
        x: FloatTensor<Flex>,
        distances: FloatTensor<Flex>,
        gradient: FloatTensor<Flex>,
    ) -> FloatTensor<Flex> {
        let (x, gradient) = (dense(x), dense(gradient));
        let found = pairs::distances_backward(numbers(&x), columns(&x), numbers(&distances), numbers(&gradient));
        tensor(found, x.layout().shape().clone())
    }

    fn angle_cosines_backward(x: FloatTensor<Flex>, gradient: FloatTensor<Flex>) -> FloatTensor<Flex> {
        let (x, gradient) = (dense(x), dense(gradient));
        tensor(pairs::cosines_backward(numbers(&x), columns(&x), numbers(&gradient)), x.layout().shape().clone())
    }
}

impl<B: Backend + PairGradients, C: CheckpointStrategy> FusedPairs for Autodiff<B, C> {
    fn fused_distances(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let x = x.into_primitive();
        let output = B::fused_distances(x.clone());
        match DistancesBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((x, output.clone()), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn fused_angle_cosines(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let x = x.into_primitive();
        let output = B::fused_angle_cosines(x.clone());
        match AngleCosinesBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(x, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

#[derive(Debug)]
struct DistancesBackward;

impl<B: Backend + PairGradients> Backward<B, 1> for DistancesBackward {
    /// The rows and their distances.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (x, distances) = ops.state;
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::distances_backward(x, distances, gradient));
        }
    }
}

#[derive(Debug)]
struct AngleCosinesBackward;

impl<B: Backend + PairGradients> Backward<B, 1> for AngleCosinesBackward {
    /// The rows.
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        if let [Some(parent)] = ops.parents {
            gradients.register::<B>(parent.id, B::angle_cosines_backward(ops.state, gradient));
        }
    }
}
