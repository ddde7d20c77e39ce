//! The fused operations on the `cpu` device: tensors to slices and back.

use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::prelude::*;
use burn::tensor::DType;
use burn_flex::{FlexTensor, Layout};

use super::{
    AdamWStep, AttentionInputs, AttentionManner, ClassTarget, Form, FusedGradients, FusedOperations, MaybeBool,
    MaybeFloat, given,
};
use crate::Activation;
use crate::kernels::adamw;
use crate::kernels::attention::{self, Attention, Past, Sizes, View};
use crate::kernels::embedding;
use crate::kernels::gapless::Gapless;
use crate::kernels::layer_norm::{self, Affine};
use crate::kernels::linear;
use crate::kernels::packed::{self, Panels};
use crate::kernels::product::{Matrix, multiply_each};
use crate::kernels::softmax;
use crate::mixed::Factors;
use crate::packed_weight::Packed;

impl FusedOperations for Flex {
    fn fused_attention(
        query: FloatTensor<Flex>,
        key: FloatTensor<Flex>,
        value: FloatTensor<Flex>,
        hidden: MaybeBool<Flex>,
        bias: MaybeFloat<Flex>,
        manner: AttentionManner,
    ) -> FloatTensor<Flex> {
        let (hidden, bias) = (hidden.option(), bias.option());
        Self::attention_keeping(AttentionInputs { query, key, value, hidden, bias, manner }).0
    }

    fn fused_layer_norm(
        x: FloatTensor<Flex>,
        residual: MaybeFloat<Flex>,
        scale: FloatTensor<Flex>,
        shift: MaybeFloat<Flex>,
        epsilon: f64,
    ) -> FloatTensor<Flex> {
        let (x, scale) = (dense(x), dense(scale));
        let (residual, shift) = (residual.option().map(dense), shift.option().map(dense));
        let affine = Affine { scale: numbers(&scale), shift: shift.as_ref().map(numbers), epsilon: epsilon as f32 };
        let values = layer_norm::forward(numbers(&x), residual.as_ref().map(numbers), affine);
        tensor(values, x.layout().shape().clone())
    }

    fn fused_product(left: FloatTensor<Flex>, right: FloatTensor<Flex>) -> FloatTensor<Flex> {
        let (left, right) = (plain(left), plain(right));
        let (mut shape, right_shape) = (left.layout().shape().clone(), right.layout().shape());
        let last = shape.num_dims() - 1;
        shape[last] = right_shape[last];
        let count = if last == 2 { shape[0] } else { 1 };
        let mut values = vec![0f32; shape.num_elements()];
        let matrices =
            (0..count).map(|index| [nth_matrix(&left, index), nth_matrix(&right, index)]).collect::<Vec<_>>();
        multiply_each(&mut values, &matrices);
        tensor(values, shape)
    }

    fn fused_linear(
        x: FloatTensor<Flex>,
        weight: FloatTensor<Flex>,
        bias: MaybeFloat<Flex>,
        activation: Activation,
        factors: Factors,
    ) -> FloatTensor<Flex> {
        let bias = bias.option().map(dense);
        let shape = [x.layout().shape()[0], weight.layout().shape()[1]];
        let (x, weight) = (arranged(x, factors), arranged(weight, factors));
        let bias = bias.as_ref().map(numbers);
        tensor(linear::product(matrix(&x), matrix(&weight), bias, activation, factors), shape)
    }

    fn fused_activation(x: FloatTensor<Flex>, activation: Activation) -> FloatTensor<Flex> {
        let x = dense(x);
        tensor(linear::activated(numbers(&x), activation), x.layout().shape().clone())
    }

    fn fused_softmax(x: FloatTensor<Flex>, form: Form) -> FloatTensor<Flex> {
        let x = dense(x);
        tensor(softmax::forward(numbers(&x), columns(&x), form), x.layout().shape().clone())
    }

    fn fused_embedding(table: FloatTensor<Flex>, ids: IntTensor<Flex>) -> FloatTensor<Flex> {
        let table = dense(table);
        let [entries, dim] = [0, 1].map(|place| table.layout().shape()[place]);
        let ids = entries_of(ids, entries);
        tensor(embedding::rows(numbers(&table), dim, &ids), [ids.len(), dim])
    }

    fn fused_log_likelihood(
        logits: FloatTensor<Flex>,
        classes: IntTensor<Flex>,
        keep: MaybeBool<Flex>,
        smoothing: f64,
    ) -> FloatTensor<Flex> {
        Self::log_likelihood_keeping(logits, ClassTarget { classes, keep: keep.option(), smoothing }).0
    }
}

impl FusedGradients for Flex {
    fn attention_keeping(inputs: AttentionInputs<Flex>) -> (FloatTensor<Flex>, FloatTensor<Flex>) {
        let inputs = Prepared::new(inputs);
        let attention = inputs.attention();
        let Sizes { batch, heads, queries, value_dim, .. } = attention.sizes;
        let (output, sums) = match &inputs.0.manner.sequences {
            Some(lengths) => attention::forward_sequences(&attention, lengths),
            None => attention::forward(&attention),
        };
        let output = heads_first(tensor(output, [batch, queries, heads, value_dim]));
        (output, tensor(sums, [batch, heads, queries]))
    }

    fn attention_backward(
        inputs: AttentionInputs<Flex>,
        output: FloatTensor<Flex>,
        sums: FloatTensor<Flex>,
        gradient: FloatTensor<Flex>,
        of_bias: bool,
    ) -> ([FloatTensor<Flex>; 3], Option<FloatTensor<Flex>>) {
        let inputs = Prepared::new(inputs);
        let attention = inputs.attention();
        let Sizes { batch, heads, key_heads, queries, keys, dim, value_dim, .. } = attention.sizes;
        let (output, gradient) = (dense(heads_first(output)), plain(gradient));
        let past = Past { output: numbers(&output), sums: numbers(&sums) };
        let found = match &inputs.0.manner.sequences {
            Some(lengths) => attention::backward_sequences(&attention, lengths, past, view(&gradient)),
            None => attention::backward(&attention, past, view(&gradient), of_bias),
        };
        let of_query = heads_first(tensor(found.query, [batch, queries, heads, dim]));
        let of_key = heads_first(tensor(found.key, [batch, keys, key_heads, dim]));
        let of_value = heads_first(tensor(found.value, [batch, keys, key_heads, value_dim]));
        ([of_query, of_key, of_value], found.bias.map(|bias| tensor(bias, [batch, heads, queries, keys])))
    }

    fn layer_norm_backward(
        x: FloatTensor<Flex>,
        scale: FloatTensor<Flex>,
        gradient: FloatTensor<Flex>,
        epsilon: f64,
    ) -> [FloatTensor<Flex>; 3] {
        let (x, scale, gradient) = (dense(x), dense(scale), dense(gradient));
        let affine = Affine { scale: numbers(&scale), shift: None, epsilon: epsilon as f32 };
        let found = layer_norm::backward(numbers(&x), affine, numbers(&gradient));
        let dim = affine.scale.len();
        [tensor(found.x, x.layout().shape().clone()), tensor(found.scale, [dim]), tensor(found.shift, [dim])]
    }

    fn linear_keeping(
        x: FloatTensor<Flex>,
        weight: FloatTensor<Flex>,
        bias: Option<FloatTensor<Flex>>,
        activation: Activation,
        factors: Factors,
    ) -> (FloatTensor<Flex>, FloatTensor<Flex>) {
        let before = Self::fused_linear(x, weight, given(bias), Activation::Identity, factors);
        if activation == Activation::Identity {
            return (before.clone(), before);
        }
        let after = linear::activated(numbers(&before), activation);
        (tensor(after, before.layout().shape().clone()), before)
    }

    fn linear_backward_rows(
        gradient: FloatTensor<Flex>,
        weight: FloatTensor<Flex>,
        factors: Factors,
    ) -> FloatTensor<Flex> {
        let shape = [gradient.layout().shape()[0], weight.layout().shape()[0]];
        let (gradient, weight) = (arranged(gradient, factors), arranged(weight, factors));
        let (gradient, weight) = (matrix(&gradient), matrix(&weight).transposed());
        tensor(linear::product(gradient, weight, None, Activation::Identity, factors), shape)
    }

    fn linear_backward_weight(
        x: FloatTensor<Flex>,
        gradient: FloatTensor<Flex>,
        factors: Factors,
    ) -> FloatTensor<Flex> {
        let shape = [x.layout().shape()[1], gradient.layout().shape()[1]];
        let (x, gradient) = (arranged(x, factors), arranged(gradient, factors));
        let (x, gradient) = (matrix(&x).transposed(), matrix(&gradient));
        tensor(linear::product(x, gradient, None, Activation::Identity, factors), shape)
    }

    fn activation_backward(
        before: FloatTensor<Flex>,
        gradient: FloatTensor<Flex>,
        activation: Activation,
    ) -> FloatTensor<Flex> {
        let (before, gradient) = (dense(before), dense(gradient));
        let values = linear::before_activation(numbers(&before), numbers(&gradient), activation);
        tensor(values, before.layout().shape().clone())
    }

    fn table_gradient(entries: usize, ids: IntTensor<Flex>, gradient: FloatTensor<Flex>) -> FloatTensor<Flex> {
        let (gradient, ids) = (dense(gradient), entries_of(ids, entries));
        let dim = columns(&gradient);
        tensor(embedding::backward(entries * dim, dim, &ids, numbers(&gradient)), [entries, dim])
    }

    fn softmax_backward(output: FloatTensor<Flex>, gradient: FloatTensor<Flex>, form: Form) -> FloatTensor<Flex> {
        let (output, gradient) = (dense(output), dense(gradient));
        let values = softmax::backward(numbers(&output), numbers(&gradient), columns(&output), form);
        tensor(values, output.layout().shape().clone())
    }

    fn log_likelihood_keeping(
        logits: FloatTensor<Flex>,
        target: ClassTarget<Flex>,
    ) -> (FloatTensor<Flex>, FloatTensor<Flex>) {
        let (logits, smoothing) = (dense(logits), target.smoothing as f32);
        let classes = classes_of(target);
        let (picked, sums) = softmax::log_likelihood(numbers(&logits), columns(&logits), &classes, smoothing);
        (tensor(picked, [classes.len()]), tensor(sums, [classes.len()]))
    }

    fn log_likelihood_backward(
        logits: FloatTensor<Flex>,
        target: ClassTarget<Flex>,
        sums: FloatTensor<Flex>,
        gradient: FloatTensor<Flex>,
    ) -> FloatTensor<Flex> {
        let (logits, gradient, smoothing) = (dense(logits), dense(gradient), target.smoothing as f32);
        let (width, sums, classes) = (columns(&logits), numbers(&sums), classes_of(target));
        let gradient = numbers(&gradient);
        let values = softmax::log_likelihood_backward(numbers(&logits), width, &classes, smoothing, sums, gradient);
        tensor(values, logits.layout().shape().clone())
    }

    fn column_sums(x: FloatTensor<Flex>) -> FloatTensor<Flex> {
        let x = dense(x);
        let columns = x.layout().shape()[1];
        tensor(linear::column_sums(numbers(&x), columns), [columns])
    }
}

/// A linear layer of rows `[rows, input]` with a packed weight.
pub(crate) fn packed_linear(
    x: FlexTensor,
    weight: &Packed,
    bias: Option<FlexTensor>,
    activation: Activation,
) -> FlexTensor {
    let rows = x.layout().shape()[0];
    let (x, bias) = (dense(x), bias.map(dense));
    let (x, bias) = (numbers(&x), bias.as_ref().map(numbers));
    let (values, output) = match weight {
        Packed::Single(weight) => (packed::product(Gapless::Rows(x), weight, bias, activation), weight.output()),
        Packed::Bf16(weight) => (packed::product(Gapless::Rows(x), weight, bias, activation), weight.output()),
        Packed::Int8(weight) => (packed::product(Gapless::Rows(x), weight, bias, activation), weight.output()),
    };
    tensor(values, [rows, output])
}

/// One step of AdamW; the moments are moved where they are if nothing else holds them.
pub(super) fn adamw(
    weights: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
    step: AdamWStep,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let unwrap = |tensor: Tensor<1>| {
        dense(tensor.try_into_primitive::<Flex>().expect("the optimiser works on tensors without gradients"))
    };
    let (mut weights, gradient) = (unwrap(weights), unwrap(gradient));
    let (mut first, mut second) = (unwrap(first), unwrap(second));
    adamw::step(weights.storage_mut(), numbers(&gradient), first.storage_mut(), second.storage_mut(), step);
    let wrap = Tensor::from_primitive::<Flex>;
    (wrap(weights), [wrap(first), wrap(second)])
}

/// What a function makes of the numbers of a tensor without gradients, row-major, which are not copied for it.
pub(crate) fn with_numbers<const D: usize, T>(x: Tensor<D>, make: impl FnOnce(&[f32]) -> T) -> T {
    let x = dense(x.try_into_primitive::<Flex>().expect("a tensor of the cpu device without gradients"));
    make(numbers(&x))
}

/// The sum of squares of a tensor without gradients.
pub(crate) fn sum_of_squares(x: Tensor<1>) -> f64 {
    with_numbers(x, adamw::sum_of_squares)
}

/// Tensors whose memory a view can be taken of.
struct Prepared(AttentionInputs<Flex>);

impl Prepared {
    fn new(inputs: AttentionInputs<Flex>) -> Self {
        let AttentionInputs { query, key, value, hidden, bias, .. } = inputs;
        let (query, key, value) = (plain(query), plain(key), plain(value));
        Self(AttentionInputs { query, key, value, hidden: hidden.map(plain), bias: bias.map(plain), ..inputs })
    }

    fn attention(&self) -> Attention<'_> {
        let AttentionInputs { query, key, value, hidden, bias, manner } = &self.0;
        let size = |tensor: &FlexTensor, dim: usize| tensor.layout().shape()[dim];
        let sizes = Sizes {
            batch: size(query, 0),
            heads: size(query, 1),
            key_heads: size(key, 1),
            queries: size(query, 2),
            keys: size(key, 2),
            dim: size(query, 3),
            value_dim: size(value, 3),
            scale: manner.scale as f32,
            before: manner.sight[0],
            after: manner.sight[1],
        };
        let (query, key, value) = (view(query), view(key), view(value));
        Attention { query, key, value, hidden: hidden.as_ref().map(view), bias: bias.as_ref().map(view), sizes }
    }
}

/// Without gaps, in order.
pub(super) fn dense(tensor: FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

/// Without steps backwards, which a view cannot take.
fn plain(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().strides().iter().all(|stride| *stride >= 0) { tensor } else { tensor.to_contiguous() }
}

/// A matrix as its product takes it: in bfloat16 row by row or column by column, in f32 with gaps as well.
fn arranged(tensor: FlexTensor, factors: Factors) -> FlexTensor {
    let tensor = plain(tensor);
    let may_stay = factors == Factors::F32 || matrix(&tensor).without_gaps().is_some();
    if may_stay { tensor } else { tensor.to_contiguous() }
}

/// The numbers of a dense tensor.
pub(super) fn numbers(tensor: &FlexTensor) -> &[f32] {
    tensor.storage()
}

/// How many numbers stand in a row.
pub(super) fn columns(tensor: &FlexTensor) -> usize {
    tensor.layout().shape().last().copied().unwrap_or(1)
}

/// Marks of a dense tensor, zero for false.
pub(super) fn marks(tensor: &FlexTensor) -> &[u8] {
    tensor.storage()
}

/// The number of a tensor of one.
pub(super) fn first_number(tensor: FlexTensor) -> f32 {
    numbers(&dense(tensor))[0]
}

/// The class of each row; none of a row that does not count, whatever stands there.
fn classes_of(target: ClassTarget<Flex>) -> Vec<usize> {
    let keep = target.keep.map(dense);
    let kept = |row: usize| keep.as_ref().is_none_or(|keep| marks(keep)[row] != 0);
    let class = |(row, class): (usize, i64)| match kept(row) {
        true => usize::try_from(class).unwrap_or_else(|_| panic!("expected a class, found {class}")),
        false => softmax::NO_CLASS,
    };
    whole_numbers(target.classes).into_iter().enumerate().map(class).collect()
}

/// Entries of a table of so many.
fn entries_of(ids: IntTensor<Flex>, entries: usize) -> Vec<usize> {
    let entry = |id: i64| usize::try_from(id).ok().filter(|id| *id < entries);
    let entry = |id| entry(id).unwrap_or_else(|| panic!("expected an entry below {entries}, found {id}"));
    whole_numbers(ids).into_iter().map(entry).collect()
}

/// Whatever they are stored as.
fn whole_numbers(tensor: IntTensor<Flex>) -> Vec<i64> {
    let tensor = dense(tensor);
    match tensor.dtype() {
        DType::I32 => tensor.storage::<i32>().iter().map(|&number| i64::from(number)).collect(),
        _ => tensor.storage::<i64>().to_vec(),
    }
}

fn view<T: burn::tensor::Element + bytemuck::Pod>(tensor: &FlexTensor) -> View<'_, T> {
    let strides = tensor.layout().strides();
    let data = &tensor.storage::<T>()[tensor.layout().start_offset()..];
    View { data, strides: [0, 1, 2, 3].map(|dim| strides[dim].unsigned_abs()) }
}

/// A matrix of a stack of them, or the only one.
fn nth_matrix(tensor: &FlexTensor, index: usize) -> Matrix<'_> {
    let (shape, strides) = (tensor.layout().shape(), tensor.layout().strides());
    let last = shape.num_dims() - 1;
    let start = if last == 2 { index * strides[0].unsigned_abs() } else { 0 };
    let data = &tensor.storage::<f32>()[tensor.layout().start_offset()..];
    let data = data.get(start..).unwrap_or_default();
    Matrix::strided(
        data,
        [shape[last - 1], shape[last]],
        [strides[last - 1].unsigned_abs(), strides[last].unsigned_abs()],
    )
}

fn matrix(tensor: &FlexTensor) -> Matrix<'_> {
    let (shape, strides) = (tensor.layout().shape(), tensor.layout().strides());
    let data = &tensor.storage::<f32>()[tensor.layout().start_offset()..];
    Matrix::strided(data, [shape[0], shape[1]], [strides[0].unsigned_abs(), strides[1].unsigned_abs()])
}

pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}

/// `[batch, seq, heads, dim]` to `[batch, heads, seq, dim]`, and back.
pub(super) fn heads_first(tensor: FlexTensor) -> FlexTensor {
    let layout: Layout = tensor.layout().transpose(1, 2);
    tensor.with_layout(layout)
}
