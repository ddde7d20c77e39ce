//! Comparisons of rows in one go, on the `cpu` device.

use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Backend, Flex, backend_extension};
use burn_flex::FlexTensor;

use super::MaybeBool;
use super::flex::{columns, dense, first_number, marks, numbers, tensor};
use crate::kernels::cosine::{self, Pairs};
use crate::kernels::counted::Counted;
use crate::kernels::differences::{self, Cost, Differences};
use crate::kernels::divergence::{self, KEPT, Logits};
use crate::kernels::unit;

/// Forward comparisons, with gradients where the backend has them.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FusedComparisons: Backend {
    /// See [`crate::squared_differences`] and [`crate::huber_differences`].
    fn fused_differences(
        one: FloatTensor<Self>,
        other: FloatTensor<Self>,
        rows: BoolTensor<Self>,
        #[extension_type] columns: MaybeBool<Self>,
        cost: Cost,
    ) -> FloatTensor<Self>;

    /// See [`crate::divergences`].
    fn fused_divergences(
        teacher: FloatTensor<Self>,
        student: FloatTensor<Self>,
        temperature: f64,
        rows: BoolTensor<Self>,
        #[extension_type] columns: MaybeBool<Self>,
    ) -> FloatTensor<Self>;

    /// See [`crate::cosines`].
    fn fused_cosines(
        one: FloatTensor<Self>,
        other: FloatTensor<Self>,
        rows: BoolTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// See [`crate::unit_rows`].
    fn fused_unit_rows(x: FloatTensor<Self>, least: f64) -> FloatTensor<Self>;

    /// See [`crate::with_gradient`].
    fn fused_with_gradient(
        value: FloatTensor<Self>,
        of: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Which numbers count, as primitives.
#[derive(Clone, Debug)]
pub(crate) struct Marks<B: Backend> {
    pub(crate) rows: BoolTensor<B>,
    pub(crate) columns: Option<BoolTensor<B>>,
}

/// The ways back, and the ways there that keep what they need.
pub(crate) trait ComparisonGradients: FusedComparisons {
    /// The gradient of `one`.
    fn differences_backward(
        one: FloatTensor<Self>,
        other: FloatTensor<Self>,
        marks: Marks<Self>,
        cost: Cost,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// The divergences, and what their way back needs.
    fn divergences_keeping(
        teacher: FloatTensor<Self>,
        student: FloatTensor<Self>,
        temperature: f64,
        marks: Marks<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of the student from both sides' logits, teacher first, and what was kept of them.
    fn divergences_backward(
        sides: [FloatTensor<Self>; 3],
        temperature: f64,
        marks: Marks<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// The gradient of `one`, from both sides and their cosines.
    fn cosines_backward(
        sides: [FloatTensor<Self>; 3],
        rows: BoolTensor<Self>,
        epsilon: f64,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Rows of length one, and their lengths.
    fn unit_rows_keeping(x: FloatTensor<Self>, least: f64) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of the rows.
    fn unit_rows_backward(
        output: FloatTensor<Self>,
        lengths: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        least: f64,
    ) -> FloatTensor<Self>;

    /// A tensor times the number of a tensor of one.
    fn scaled(x: FloatTensor<Self>, by: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl<B: Backend> Marks<B> {
    /// The marks of columns as an extension's input.
    pub(crate) fn maybe_columns(&self) -> MaybeBool<B> {
        self.columns.clone().map_or(MaybeBool::Missing, MaybeBool::Given)
    }
}

impl FusedComparisons for Flex {
    fn fused_differences(
        one: FloatTensor<Flex>,
        other: FloatTensor<Flex>,
        rows: BoolTensor<Flex>,
        columns: MaybeBool<Flex>,
        cost: Cost,
    ) -> FloatTensor<Flex> {
        let (one, other) = (dense(one), dense(other));
        let kept = Kept::new(Marks { rows, columns: columns.option() });
        let sums = differences::forward(differences(&one, &other, &kept, cost));
        let count = sums.len();
        tensor(sums, [count])
    }

    fn fused_divergences(
        teacher: FloatTensor<Flex>,
        student: FloatTensor<Flex>,
        temperature: f64,
        rows: BoolTensor<Flex>,
        columns: MaybeBool<Flex>,
    ) -> FloatTensor<Flex> {
        Self::divergences_keeping(teacher, student, temperature, Marks { rows, columns: columns.option() }).0
    }

    fn fused_cosines(
        one: FloatTensor<Flex>,
        other: FloatTensor<Flex>,
        rows: BoolTensor<Flex>,
        epsilon: f64,
    ) -> FloatTensor<Flex> {
        let (one, other, rows) = (dense(one), dense(other), dense(rows));
        let found = cosine::forward(pairs(&one, &other, &rows, epsilon));
        let count = found.len();
        tensor(found, [count])
    }

    fn fused_unit_rows(x: FloatTensor<Flex>, least: f64) -> FloatTensor<Flex> {
        Self::unit_rows_keeping(x, least).0
    }

    fn fused_with_gradient(
        value: FloatTensor<Flex>,
        _of: FloatTensor<Flex>,
        _gradient: FloatTensor<Flex>,
    ) -> FloatTensor<Flex> {
        value
    }
}

impl ComparisonGradients for Flex {
    fn differences_backward(
        one: FloatTensor<Flex>,
        other: FloatTensor<Flex>,
        marks: Marks<Flex>,
        cost: Cost,
        gradient: FloatTensor<Flex>,
    ) -> FloatTensor<Flex> {
        let (one, other, gradient, kept) = (dense(one), dense(other), dense(gradient), Kept::new(marks));
        let found = differences::backward(differences(&one, &other, &kept, cost), numbers(&gradient));
        tensor(found, one.layout().shape().clone())
    }

    fn divergences_keeping(
        teacher: FloatTensor<Flex>,
        student: FloatTensor<Flex>,
        temperature: f64,
        marks: Marks<Flex>,
    ) -> (FloatTensor<Flex>, FloatTensor<Flex>) {
        let (teacher, student, kept) = (dense(teacher), dense(student), Kept::new(marks));
        let found = divergence::forward(&logits(&teacher, &student, temperature, &kept));
        let count = found.costs.len();
        (tensor(found.costs, [count]), tensor(found.kept, [count, KEPT]))
    }

    fn divergences_backward(
        [teacher, student, sums]: [FloatTensor<Flex>; 3],
        temperature: f64,
        marks: Marks<Flex>,
        gradient: FloatTensor<Flex>,
    ) -> FloatTensor<Flex> {
        let (teacher, student, gradient, kept) = (dense(teacher), dense(student), dense(gradient), Kept::new(marks));
        let logits = logits(&teacher, &student, temperature, &kept);
        tensor(divergence::backward(&logits, numbers(&sums), numbers(&gradient)), student.layout().shape().clone())
    }

    fn cosines_backward(
        [one, other, found]: [FloatTensor<Flex>; 3],
        rows: BoolTensor<Flex>,
        epsilon: f64,
        gradient: FloatTensor<Flex>,
    ) -> FloatTensor<Flex> {
        let (one, other, rows, gradient) = (dense(one), dense(other), dense(rows), dense(gradient));
        let pairs = pairs(&one, &other, &rows, epsilon);
        tensor(cosine::backward(pairs, numbers(&found), numbers(&gradient)), one.layout().shape().clone())
    }

    fn unit_rows_keeping(x: FloatTensor<Flex>, least: f64) -> (FloatTensor<Flex>, FloatTensor<Flex>) {
        let x = dense(x);
        let (output, lengths) = unit::forward(numbers(&x), columns(&x), least as f32);
        let count = lengths.len();
        (tensor(output, x.layout().shape().clone()), tensor(lengths, [count]))
    }

    fn unit_rows_backward(
        output: FloatTensor<Flex>,
        lengths: FloatTensor<Flex>,
        gradient: FloatTensor<Flex>,
        least: f64,
    ) -> FloatTensor<Flex> {
        let gradient = dense(gradient);
        let width = columns(&output);
        let found = unit::backward(numbers(&output), numbers(&lengths), numbers(&gradient), width, least as f32);
        tensor(found, output.layout().shape().clone())
    }

    fn scaled(x: FloatTensor<Flex>, by: FloatTensor<Flex>) -> FloatTensor<Flex> {
        let (mut x, by) = (dense(x), first_number(by));
        // Where it is, if nothing else holds it.
        x.storage_mut::<f32>().iter_mut().for_each(|x| *x *= by);
        x
    }
}

/// Marks whose memory can be read.
struct Kept {
    rows: FlexTensor,
    columns: Option<FlexTensor>,
}

impl Kept {
    fn new(marks: Marks<Flex>) -> Self {
        Self { rows: dense(marks.rows), columns: marks.columns.map(dense) }
    }

    fn counted(&self) -> Counted<'_> {
        // Where all columns count, nobody need look at them row by row.
        let columns = self.columns.as_ref().map(marks).filter(|marks| marks.contains(&0));
        Counted { rows: marks(&self.rows), columns }
    }
}

fn logits<'a>(teacher: &'a FlexTensor, student: &'a FlexTensor, temperature: f64, kept: &'a Kept) -> Logits<'a> {
    Logits {
        teacher: numbers(teacher),
        student: numbers(student),
        columns: columns(student),
        factor: (1.0 / temperature) as f32,
        counted: kept.counted(),
    }
}

fn differences<'a>(one: &'a FlexTensor, other: &'a FlexTensor, kept: &'a Kept, cost: Cost) -> Differences<'a> {
    Differences { one: numbers(one), other: numbers(other), columns: columns(one), counted: kept.counted(), cost }
}

fn pairs<'a>(one: &'a FlexTensor, other: &'a FlexTensor, rows: &'a FlexTensor, epsilon: f64) -> Pairs<'a> {
    Pairs {
        one: numbers(one),
        other: numbers(other),
        columns: columns(one),
        counts: marks(rows),
        epsilon: epsilon as f32,
    }
}
