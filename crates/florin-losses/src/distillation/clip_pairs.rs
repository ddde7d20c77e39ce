//! CLIP-KD: a small two-tower student beside a large one.
//!
//! - feature error: `mean((P ŝ − t̂)²)` of pictures plus that of texts, normalised vectors;
//! - interactive contrast: the student's pictures pick among the teacher's texts and its texts among the teacher's pictures, as in CLIP's loss;
//! - interactive relation: `KL` of those scores' distributions from the teacher's own;
//! - relation: `KL` of the student's own distributions over the batch from the teacher's, at temperature one.
//!
//! Every score is multiplied with the exponential of its logarithmic scale. Scores exist a chunk of rows at a time.
//!
//! Paper: Yang et al. 2023 (CLIP-KD), <https://arxiv.org/abs/2307.12732>
//! Difference: the authors' code multiplies interactive scores with the scale's logarithm without its exponential. Of the paper's forms the masked
//! features, the gradient and the augmented features are left out; the divergence of interactive scores is that of its code.

use std::ops::Range;

use burn::prelude::*;
use florin_backend::{log_softmax, product};

use crate::LossError;
use crate::contrast::{chunks, normalised, one_key, with_gradient};
use crate::error::check;

/// The loss; what each part weighs. The defaults are those of the authors' scripts.
#[derive(Clone, Copy, Debug)]
pub struct ClipDistillation {
    /// Feature error.
    pub feature: f64,
    /// Interactive contrast.
    pub interactive: f64,
    /// Divergence of interactive scores.
    pub interactive_relation: f64,
    /// Divergence of the student's own scores.
    pub relation: f64,
    /// Rows whose scores exist at a time.
    pub chunk: usize,
}

/// What the student gives.
#[derive(Clone, Debug)]
pub struct ClipStudent {
    /// `[batch, student_dim]`, of any length: normalised here, as all vectors are; row i of all is one pair.
    pub image: Tensor<2>,
    /// `[batch, student_dim]`
    pub text: Tensor<2>,
    /// Pictures in the teacher's size, `[batch, teacher_dim]`: projected, or the same where sizes are.
    pub image_projected: Tensor<2>,
    /// Texts in the teacher's size, `[batch, teacher_dim]`.
    pub text_projected: Tensor<2>,
    /// Of the student's own scores, `[1]`.
    pub log_scale: Tensor<1>,
    /// Of interactive scores, `[1]`: a second [`LogitScale`](crate::LogitScale).
    pub interactive_log_scale: Tensor<1>,
}

/// What the teacher gives; nothing of it gets a gradient.
#[derive(Clone, Debug)]
pub struct ClipTeacher {
    /// `[batch, teacher_dim]`
    pub image: Tensor<2>,
    /// `[batch, teacher_dim]`
    pub text: Tensor<2>,
    /// `[1]`
    pub log_scale: Tensor<1>,
}

/// The loss and what it is made of, unweighted, `[1]` each.
#[derive(Clone, Debug)]
pub struct ClipDistillationParts {
    /// What is minimised.
    pub loss: Tensor<1>,
    /// Feature error.
    pub feature: Tensor<1>,
    /// Interactive contrast.
    pub interactive: Tensor<1>,
    /// Divergence of interactive scores from the teacher's.
    pub interactive_relation: Tensor<1>,
    /// Divergence of the student's own scores from the teacher's.
    pub relation: Tensor<1>,
}

impl Default for ClipDistillation {
    fn default() -> Self {
        Self { feature: 2000.0, interactive: 1.0, interactive_relation: 0.0, relation: 1.0, chunk: 512 }
    }
}

impl ClipDistillation {
    /// Refuses weights that cannot be meant.
    pub fn validate(&self) -> Result<(), LossError> {
        check("feature", self.feature, "zero or more", |value| value >= 0.0)?;
        check("interactive", self.interactive, "zero or more", |value| value >= 0.0)?;
        check("interactive_relation", self.interactive_relation, "zero or more", |value| value >= 0.0)?;
        check("relation", self.relation, "zero or more", |value| value >= 0.0)
    }

    /// # Shapes
    ///
    /// - student: see [`ClipStudent`]
    /// - teacher: see [`ClipTeacher`]
    ///
    /// # Panics
    ///
    /// If the batches differ, or projected vectors do not have the teacher's size.
    pub fn forward(&self, student: ClipStudent, teacher: ClipTeacher) -> ClipDistillationParts {
        let shape = teacher.image.dims();
        assert_eq!([teacher.text.dims(), student.image_projected.dims()], [shape; 2], "the teacher's size is needed");
        assert_eq!(student.text_projected.dims(), shape, "the teacher's size is needed");
        assert_eq!((student.image.dims()[0], student.text.dims()[0]), (shape[0], shape[0]), "rows must be pairs");
        let [image, text] = [teacher.image, teacher.text].map(|x| normalised(x.detach()));
        let [near_image, near_text] = [student.image_projected, student.text_projected].map(normalised);
        let [own_image, own_text] = [student.image, student.text].map(normalised);
        let scale = student.log_scale.exp();
        let between = student.interactive_log_scale.exp();
        let wanted = Wanted { image: image.clone(), text: text.clone(), scale: teacher.log_scale.detach().exp() };
        let error = |one: Tensor<2>, other: Tensor<2>| (one - other).square().mean();
        let feature = error(near_image.clone(), image.clone()) + error(near_text.clone(), text.clone());
        let charge = |queries: &Tensor<2>, keys: &Tensor<2>, scale: &Tensor<1>, wanted: WantedRows<'_>| {
            divergence(
                Scores { queries: queries.clone(), keys: keys.clone(), scale: scale.clone() },
                wanted,
                self.chunk,
            )
        };
        let (to_text, to_image) = (|rows| wanted.texts(rows), |rows| wanted.images(rows));
        let pairs = |rows: Range<usize>| one_key(rows, shape[0], |row| row, &image);
        let interactive =
            (charge(&near_image, &text, &between, &pairs) + charge(&near_text, &image, &between, &pairs)) / 2.0;
        let interactive_relation =
            (charge(&near_image, &text, &between, &to_text) + charge(&near_text, &image, &between, &to_image)) / 2.0;
        let relation =
            (charge(&own_image, &own_text, &scale, &to_text) + charge(&own_text, &own_image, &scale, &to_image)) / 2.0;
        let loss = feature.clone() * self.feature
            + interactive.clone() * self.interactive
            + interactive_relation.clone() * self.interactive_relation
            + relation.clone() * self.relation;
        ClipDistillationParts { loss, feature, interactive, interactive_relation, relation }
    }
}

/// What rows should look like: `[rows, keys]`, each summing to one.
type WantedRows<'a> = &'a dyn Fn(Range<usize>) -> Tensor<2>;

/// The teacher's normalised vectors and its scale.
struct Wanted {
    image: Tensor<2>,
    text: Tensor<2>,
    scale: Tensor<1>,
}

impl Wanted {
    /// How likely the teacher finds each text for some pictures.
    fn texts(&self, rows: Range<usize>) -> Tensor<2> {
        self.shares(&self.image, &self.text, rows)
    }

    /// How likely it finds each picture for some texts.
    fn images(&self, rows: Range<usize>) -> Tensor<2> {
        self.shares(&self.text, &self.image, rows)
    }

    fn shares(&self, queries: &Tensor<2>, keys: &Tensor<2>, rows: Range<usize>) -> Tensor<2> {
        let some = queries.clone().narrow(0, rows.start, rows.len());
        log_softmax(product(some, keys.clone().transpose()) * self.scale.clone().unsqueeze(), 1).exp()
    }
}

struct Scores {
    /// `[rows, dim]`
    queries: Tensor<2>,
    /// `[keys, dim]`
    keys: Tensor<2>,
    /// `[1]`
    scale: Tensor<1>,
}

/// `mean KL(wanted ‖ softmax(scores))` over rows, `[1]`, with gradients of queries, keys and scale in closed form; for a wanted row that is sure
/// it is the cross-entropy.
fn divergence(scores: Scores, wanted: WantedRows<'_>, chunk: usize) -> Tensor<1> {
    let (queries, keys, scale) =
        (scores.queries.clone().detach(), scores.keys.clone().detach(), scores.scale.clone().detach());
    let [rows, _] = queries.dims();
    let factor: Tensor<2> = scale.clone().unsqueeze();
    let (mut value, mut of_scale) = (scale.zeros_like(), scale.zeros_like());
    let (mut of_queries, mut of_keys) = (Vec::new(), keys.zeros_like());
    for place in chunks(rows, chunk) {
        let some = queries.clone().narrow(0, place.start, place.len());
        let products = product(some.clone(), keys.clone().transpose()); // [chunk, keys]
        let found = log_softmax(products.clone() * factor.clone(), 1);
        let wanted = wanted(place);
        // Below 1e-30 a share times its logarithm is nothing, and zero has no logarithm.
        let gaps = wanted.clone().clamp_min(1e-30).log() - found.clone();
        value = value + (wanted.clone() * gaps).sum() / rows as f64;
        let gradient = (found.exp() - wanted) / rows as f64;
        of_scale = of_scale + (gradient.clone() * products).sum();
        of_queries.push(product(gradient.clone(), keys.clone()) * factor.clone());
        of_keys = of_keys + product(gradient.transpose(), some) * factor.clone();
    }
    let value = with_gradient(value, scores.queries, Tensor::cat(of_queries, 0));
    with_gradient(with_gradient(value, scores.keys, of_keys), scores.scale, of_scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ClipLoss;
    use crate::checking::{device, double, noise, number, single, slopes, values};

    /// Student and teacher of one size from `[4, 4, 3]`: the student's pictures and texts, the teacher's pictures and texts.
    fn both(x: &Tensor<3>, log_scale: f64) -> (ClipStudent, ClipTeacher) {
        let part = |index| x.clone().narrow(0, index, 1).reshape([4, 3]);
        let scale = double([1], &[log_scale], &x.device()).cast(x.dtype());
        let student = ClipStudent {
            image: part(0),
            text: part(1),
            image_projected: part(0),
            text_projected: part(1),
            log_scale: scale.clone(),
            interactive_log_scale: scale.clone(),
        };
        (student, ClipTeacher { image: part(2), text: part(3), log_scale: scale })
    }

    fn evenly(chunk: usize) -> ClipDistillation {
        ClipDistillation { feature: 1.0, interactive: 1.0, interactive_relation: 1.0, relation: 1.0, chunk }
    }

    #[test]
    fn a_student_like_its_teacher_pays_only_the_contrast() {
        let device = device();
        let half = noise(1, 24);
        let x: Tensor<3> = single([4, 4, 3], &[half.clone(), half].concat(), &device);
        let (student, teacher) = both(&x, 1.0);
        let parts = evenly(3).forward(student.clone(), teacher);
        for part in [parts.feature, parts.relation, parts.interactive_relation] {
            assert!(number(part).abs() < 1e-6);
        }
        let clip = ClipLoss::default().forward(student.image, student.text, student.log_scale).loss;
        assert!((number(parts.interactive) - number(clip)).abs() < 1e-5, "the teacher's vectors are the student's");
    }

    #[test]
    fn nothing_of_the_teacher_learns() {
        let device = device();
        let x: Tensor<3> = single([4, 4, 3], &noise(5, 48), &device).require_grad();
        let (student, mut teacher) = both(&x, 1.0);
        teacher.log_scale = single([1], &[1.5], &device).require_grad();
        let scale = teacher.log_scale.clone();
        let graph = evenly(512).forward(student, teacher).loss.backward();
        let gradient = values(x.grad(&graph).expect("the student learns"));
        assert!(gradient[..24].iter().any(|&g| g != 0.0));
        assert!(gradient[24..].iter().all(|&g| g == 0.0));
        assert!(scale.grad(&graph).is_none_or(|g| number(g) == 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn gradients_are_slopes_whatever_the_chunk(seed in any::<u64>(), chunk in 1usize..6) {
            // The teacher's half has no gradient, and so no slope that could be compared.
            let teacher = double([2, 4, 3], &noise(!seed, 24), &device());
            slopes([2, 4, 3], &noise(seed, 24), &|x: Tensor<3>| {
                let (student, teacher) = both(&Tensor::cat(vec![x, teacher.clone()], 0), 1.0);
                evenly(chunk).forward(student, teacher).loss
            })?;
            slopes([2], &[0.7, 1.3], &|scales: Tensor<1>| {
                let x = Tensor::cat(vec![teacher.clone().flip([1]), teacher.clone()], 0);
                let (mut student, teacher) = both(&x, 1.0);
                student.log_scale = scales.clone().narrow(0, 0, 1);
                student.interactive_log_scale = scales.narrow(0, 1, 1);
                evenly(chunk).forward(student, teacher).loss
            })?;
        }

        #[test]
        fn the_order_of_pairs_does_not_matter(seed in any::<u64>()) {
            let x: Tensor<3> = single([4, 4, 3], &noise(seed, 48), &device());
            let loss = |x: &Tensor<3>| {
                let (student, teacher) = both(x, 1.0);
                number(evenly(3).forward(student, teacher).loss)
            };
            prop_assert!((loss(&x) - loss(&x.clone().flip([1]))).abs() < 1e-5);
        }

        #[test]
        fn extreme_scales_stay_finite(seed in any::<u64>()) {
            let device = device();
            let mut numbers = noise(seed, 48);
            numbers[..3].fill(0.0); // a vector without a direction
            for log_scale in [-20.0, 9.2] {
                let x: Tensor<3> = single([4, 4, 3], &numbers, &device).require_grad();
                let (student, teacher) = both(&x, log_scale);
                let loss = evenly(3).forward(student, teacher).loss;
                prop_assert!(number(loss.clone()).is_finite());
                prop_assert!(values(x.grad(&loss.backward()).expect("tracked")).iter().all(|g| g.is_finite()));
            }
        }
    }
}
