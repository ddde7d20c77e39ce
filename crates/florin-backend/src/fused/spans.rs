//! The softmax over spans of words in one go, on the `cpu` device, with its gradients.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Autodiff, Backend, Flex, backend_extension};

use super::flex::{columns, dense, marks, numbers, tensor};
use crate::kernels::spans::{self, Spans};

/// See [`crate::span_costs`].
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FusedSpans: Backend {
    /// Scores of first, inside and last words, `[batch, fields, words]`, and of none; output `[batch, fields]`.
    fn fused_spans(
        start: FloatTensor<Self>,
        inside: FloatTensor<Self>,
        end: FloatTensor<Self>,
        none: FloatTensor<Self>,
        gold: BoolTensor<Self>,
        lengths: Vec<usize>,
        longest: usize,
    ) -> FloatTensor<Self>;
}

/// What a softmax over spans works on.
#[derive(Clone, Debug)]
pub(crate) struct SpanInputs<B: Backend> {
    /// Start, inside, end and none.
    scores: [FloatTensor<B>; 4],
    gold: BoolTensor<B>,
    lengths: Vec<usize>,
    longest: usize,
}

/// The way back.
pub(crate) trait SpanBackward: FusedSpans {
    /// Gradients of start, inside, end and none.
    fn spans_backward(inputs: SpanInputs<Self>, gradient: FloatTensor<Self>) -> [FloatTensor<Self>; 4];
}

impl FusedSpans for Flex {
    fn fused_spans(
        start: FloatTensor<Flex>,
        inside: FloatTensor<Flex>,
        end: FloatTensor<Flex>,
        none: FloatTensor<Flex>,
        gold: BoolTensor<Flex>,
        lengths: Vec<usize>,
        longest: usize,
    ) -> FloatTensor<Flex> {
        let inputs = SpanInputs::<Flex> { scores: [start, inside, end, none], gold, lengths, longest }.dense();
        let shape = inputs.scores[3].layout().shape().clone();
        tensor(spans::forward(&inputs.spans()), shape)
    }
}

impl SpanBackward for Flex {
    fn spans_backward(inputs: SpanInputs<Flex>, gradient: FloatTensor<Flex>) -> [FloatTensor<Flex>; 4] {
        let (inputs, gradient) = (inputs.dense(), dense(gradient));
        let found = spans::backward(&inputs.spans(), numbers(&gradient));
        let [of_words, _, _, of_none] = [0, 1, 2, 3].map(|side: usize| inputs.scores[side].layout().shape().clone());
        let of_word = |values| tensor(values, of_words.clone());
        [of_word(found.start), of_word(found.inside), of_word(found.end), tensor(found.none, of_none)]
    }
}

impl SpanInputs<Flex> {
    fn dense(self) -> Self {
        Self { scores: self.scores.map(dense), gold: dense(self.gold), ..self }
    }

    fn spans(&self) -> Spans<'_> {
        let [start, inside, end, none] = [0, 1, 2, 3].map(|side: usize| numbers(&self.scores[side]));
        let (lengths, words, longest) = (&*self.lengths, columns(&self.scores[0]), self.longest);
        Spans { start, inside, end, none, gold: marks(&self.gold), lengths, words, longest }
    }
}

impl<B: Backend + SpanBackward, C: CheckpointStrategy> FusedSpans for Autodiff<B, C> {
    fn fused_spans(
        start: FloatTensor<Self>,
        inside: FloatTensor<Self>,
        end: FloatTensor<Self>,
        none: FloatTensor<Self>,
        gold: BoolTensor<Self>,
        lengths: Vec<usize>,
        longest: usize,
    ) -> FloatTensor<Self> {
        let nodes = [start.node(), inside.node(), end.node(), none.node()];
        let scores = [start, inside, end, none].map(|side| side.into_primitive());
        let [start, inside, end, none] = scores.clone();
        let costs = B::fused_spans(start, inside, end, none, gold.clone(), lengths.clone(), longest);
        match SpansBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(SpanInputs { scores, gold, lengths, longest }, costs),
            OpsKind::UnTracked(prepared) => prepared.finish(costs),
        }
    }
}

#[derive(Debug)]
struct SpansBackward;

impl<B: Backend + SpanBackward> Backward<B, 4> for SpansBackward {
    type State = SpanInputs<B>;

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let found = B::spans_backward(ops.state, gradient);
        for (parent, found) in ops.parents.into_iter().zip(found) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, found);
            }
        }
    }
}
