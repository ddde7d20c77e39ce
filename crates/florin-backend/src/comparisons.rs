//! Rows of numbers beside other rows: what losses of reconstruction and of distillation are made of.

use burn::backend::Dispatch;
use burn::prelude::*;

use crate::fused::{FusedComparisons, maybe_marks, serves};
use crate::kernels::differences::Cost;
use crate::log_softmax;

/// Which numbers of `[rows, columns]` count; the others have no effect, whatever stands there.
#[derive(Clone, Debug)]
pub struct Counting {
    /// `[rows]`
    pub rows: Tensor<1, Bool>,
    /// `[groups, columns]`, each for as many rows in turn; without, every number of a row that counts does.
    pub columns: Option<Tensor<2, Bool>>,
}

impl Counting {
    /// Whole rows.
    pub fn rows(rows: Tensor<1, Bool>) -> Self {
        Self { rows, columns: None }
    }

    /// Marks of every number that does not count, `[rows, columns]`.
    fn ignored(&self, [rows, columns]: [usize; 2]) -> Tensor<2, Bool> {
        let ignored = self.rows.clone().bool_not().unsqueeze_dim::<2>(1).expand([rows, columns]);
        match self.unseen([rows, columns]) {
            Some(unseen) => ignored.bool_or(unseen),
            None => ignored,
        }
    }

    /// Marks of the columns that do not count, of every row, `[rows, columns]`.
    fn unseen(&self, [rows, columns]: [usize; 2]) -> Option<Tensor<2, Bool>> {
        let marks = self.columns.clone()?;
        let [groups, _] = marks.dims();
        let of_rows = marks.bool_not().unsqueeze_dim::<3>(1).expand([groups, rows / groups.max(1), columns]);
        Some(of_rows.reshape([rows, columns]))
    }

    /// # Panics
    ///
    /// If there is not a mark for each row, or groups do not divide the rows.
    fn check(&self, [rows, columns]: [usize; 2]) {
        assert_eq!(self.rows.dims(), [rows], "a mark for each row is needed");
        if let Some([groups, marks]) = self.columns.as_ref().map(Tensor::dims) {
            assert!(groups > 0 && rows.is_multiple_of(groups), "{groups} groups of {rows} rows");
            assert_eq!(marks, columns, "a mark for each column is needed");
        }
    }
}

/// `Σ (one − other)²` of each row; `other` gets no gradient.
///
/// # Shapes
///
/// - one, other: `[rows, columns]`, output: `[rows]`, zero for a row that does not count
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn squared_differences(one: Tensor<2>, other: Tensor<2>, counting: Counting) -> Tensor<1> {
    differences(one, other, counting, Cost::Square)
}

/// The same of `½d²` for differences up to one, and of `|d| − ½` beyond.
///
/// # Shapes
///
/// - one, other: `[rows, columns]`, output: `[rows]`, zero for a row that does not count
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn huber_differences(one: Tensor<2>, other: Tensor<2>, counting: Counting) -> Tensor<1> {
    differences(one, other, counting, Cost::Huber)
}

fn differences(one: Tensor<2>, other: Tensor<2>, counting: Counting, cost: Cost) -> Tensor<1> {
    let shape = one.dims();
    assert_eq!(shape, other.dims(), "both sides must have the same rows and columns");
    counting.check(shape);
    let other = other.detach();
    if serves(&one) {
        let Counting { rows, columns } = counting;
        return Tensor::from_dispatch(Dispatch::fused_differences(
            one.into_dispatch(),
            other.into_dispatch(),
            rows.into_dispatch(),
            maybe_marks(columns),
            cost,
        ));
    }
    let ignored = counting.ignored(shape);
    // Both are blanked before they meet: neither a value nor a gradient that is no number gets past.
    let [one, other] = [one, other].map(|x| x.mask_fill(ignored.clone(), 0.0));
    let costs = match cost {
        Cost::Square => (one - other).square(),
        Cost::Huber => {
            let size = (one - other).abs();
            let near = size.clone().clamp_max(1.0);
            near.clone().square() * 0.5 + (size - near)
        }
    };
    costs.sum_dim(1).reshape([shape[0]])
}

/// `KL(softmax(teacher / temperature) ‖ softmax(student / temperature))` of each row; the teacher gets no gradient.
///
/// # Shapes
///
/// - teacher, student: `[rows, classes]`, output: `[rows]`, zero for a row that does not count
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn divergences(teacher: Tensor<2>, student: Tensor<2>, temperature: f64, counting: Counting) -> Tensor<1> {
    let shape = student.dims();
    assert_eq!(shape, teacher.dims(), "student and teacher must have the same rows and classes");
    counting.check(shape);
    let teacher = teacher.detach();
    if serves(&student) {
        let Counting { rows, columns } = counting;
        return Tensor::from_dispatch(Dispatch::fused_divergences(
            teacher.into_dispatch(),
            student.into_dispatch(),
            temperature,
            rows.into_dispatch(),
            maybe_marks(columns),
        ));
    }
    let ignored = counting.ignored(shape);
    let unseen = counting.unseen(shape);
    let ready = |x: Tensor<2>| {
        let x = x.mask_fill(ignored.clone(), 0.0) / temperature;
        // Finite, so that its product with a share of zero is zero.
        let x = unseen.clone().map_or(x.clone(), |unseen| x.mask_fill(unseen, -1e30));
        log_softmax(x, 1)
    };
    let (teacher, student) = (ready(teacher), ready(student));
    (teacher.clone().exp() * (teacher - student)).sum_dim(1).reshape([shape[0]])
}

/// The cosine of each pair of rows, with `epsilon` added to each square length; `other` gets no gradient.
///
/// # Shapes
///
/// - one, other: `[rows, columns]`, rows that count: `[rows]`, output: `[rows]`, zero for a row that does not count
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn cosines(one: Tensor<2>, other: Tensor<2>, rows: Tensor<1, Bool>, epsilon: f64) -> Tensor<1> {
    let shape = one.dims();
    assert_eq!(shape, other.dims(), "both sides must have the same rows and columns");
    let counting = Counting::rows(rows);
    counting.check(shape);
    let other = other.detach();
    if serves(&one) {
        let (one, other, rows) = (one.into_dispatch(), other.into_dispatch(), counting.rows.into_dispatch());
        return Tensor::from_dispatch(Dispatch::fused_cosines(one, other, rows, epsilon));
    }
    let ignored = counting.ignored(shape);
    // One after the other, so that squares of squares never meet.
    let [one, other] = [one, other].map(|x| {
        let x = x.mask_fill(ignored.clone(), 0.0);
        let length = (x.clone().square().sum_dim(1) + epsilon).sqrt();
        x / length
    });
    (one * other).sum_dim(1).reshape([shape[0]])
}

/// The square of the 1e-12 below which PyTorch's `normalize` stops dividing.
const LEAST_SQUARE: f64 = 1e-24;

/// Rows of length one; a row of zeros stays zero.
///
/// # Shapes
///
/// - x, output: `[rows, dim]`
pub fn unit_rows(x: Tensor<2>) -> Tensor<2> {
    if serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_unit_rows(x.into_dispatch(), LEAST_SQUARE));
    }
    let length = x.clone().square().sum_dim(1).clamp_min(LEAST_SQUARE).sqrt();
    x / length
}

/// `value` unchanged, with the gradient of one of the tensors it was computed from, where that tensor is part of a graph.
///
/// # Shapes
///
/// - value, output: `[1]`; of, gradient: the same
pub fn with_gradient<const D: usize>(value: Tensor<1>, of: Tensor<D>, gradient: Tensor<D>) -> Tensor<1> {
    if !of.is_tracked() {
        return value;
    }
    if serves(&of) {
        return Tensor::from_dispatch(Dispatch::fused_with_gradient(
            value.autodiff().into_dispatch(),
            of.into_dispatch(),
            gradient.autodiff().into_dispatch(),
        ));
    }
    value.autodiff() + ((of.clone() - of.detach()) * gradient.autodiff()).sum()
}
