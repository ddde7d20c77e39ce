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
use florin_backend::{
    Counting, KeyLists, RowTargets, charge_rows, divergences, log_likelihood, product, softmax, squared_differences,
    unit_rows, with_gradient,
};

use crate::LossError;
use crate::contrast::{chunks, joined};
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
        let [image, text] = [teacher.image, teacher.text].map(|x| unit_rows(x.detach()));
        let [near_image, near_text] = [student.image_projected, student.text_projected].map(unit_rows);
        let [own_image, own_text] = [student.image, student.text].map(unit_rows);
        let feature = error(near_image.clone(), image.clone()) + error(near_text.clone(), text.clone());
        let between = student.interactive_log_scale.exp();
        let scores = |queries: &Tensor<2>, keys: &Tensor<2>, scale: &Tensor<1>| Scores {
            queries: queries.clone(),
            keys: keys.clone(),
            scale: scale.clone(),
        };
        let all = AllScores {
            near: [scores(&near_image, &text, &between), scores(&near_text, &image, &between)],
            own: scores(&own_image, &own_text, &student.log_scale.exp()),
            wanted: scores(&image, &text, &teacher.log_scale.detach().exp()),
        };
        let contrasts = if shape[0] > self.chunk { all.in_chunks(self.chunk) } else { all.at_once() };
        let Contrasts { interactive, interactive_relation, relation } = contrasts;
        let loss = feature.clone() * self.feature
            + interactive.clone() * self.interactive
            + interactive_relation.clone() * self.interactive_relation
            + relation.clone() * self.relation;
        ClipDistillationParts { loss, feature, interactive, interactive_relation, relation }
    }
}

/// The mean square of differences, `[1]`; `other` gets no gradient.
fn error(one: Tensor<2>, other: Tensor<2>) -> Tensor<1> {
    let [rows, columns] = one.dims();
    let all = Tensor::<1, Bool>::full([rows], true, &one.device());
    squared_differences(one, other, Counting::rows(all)).sum() / (rows * columns).max(1) as f64
}

/// Every score there is.
struct AllScores {
    /// The student's pictures among the teacher's texts, and its texts among the teacher's pictures.
    near: [Scores; 2],
    /// The student's pictures among its texts.
    own: Scores,
    /// The teacher's pictures among its texts.
    wanted: Scores,
}

/// What scores cost, `[1]` each.
struct Contrasts {
    interactive: Tensor<1>,
    interactive_relation: Tensor<1>,
    relation: Tensor<1>,
}

impl AllScores {
    /// Of a batch that is no more than a chunk: the scores of each pair of sides are computed once, and read by rows and by columns.
    fn at_once(self) -> Contrasts {
        let [pairs, _] = self.own.queries.dims();
        let [to_text, to_image] = self.near.map(|scores| scores.all());
        let (own, wanted) = (self.own.all(), self.wanted.all());
        let places = Tensor::<1, Int>::arange(0..pairs as i64, &own.device());
        let rows = Counting::rows(Tensor::<1, Bool>::full([pairs], true, &own.device()));
        let pick = |scores: &Tensor<2>| log_likelihood(scores.clone(), places.clone()).mean().neg();
        let gap = |wanted: &Tensor<2>, scores: &Tensor<2>| {
            divergences(wanted.clone(), scores.clone(), 1.0, rows.clone()).mean()
        };
        let turned = wanted.clone().transpose();
        Contrasts {
            interactive: (pick(&to_text) + pick(&to_image)) / 2.0,
            interactive_relation: (gap(&wanted, &to_text) + gap(&turned, &to_image)) / 2.0,
            relation: (gap(&wanted, &own) + gap(&turned, &own.transpose())) / 2.0,
        }
    }

    /// So many rows at a time.
    fn in_chunks(self, chunk: usize) -> Contrasts {
        let (turned_own, turned_wanted) = (self.own.turned(), self.wanted.turned());
        let [near_image, near_text] = self.near;
        let of_image = near_image.compared(&self.wanted, true, chunk);
        let of_text = near_text.compared(&turned_wanted, true, chunk);
        let forth = self.own.compared(&self.wanted, false, chunk).divergence;
        let back = turned_own.compared(&turned_wanted, false, chunk).divergence;
        Contrasts {
            interactive: (of_image.contrast + of_text.contrast) / 2.0,
            interactive_relation: (of_image.divergence + of_text.divergence) / 2.0,
            relation: (forth + back) / 2.0,
        }
    }
}

/// Scores of pairs: each row of queries against every key.
struct Scores {
    /// `[rows, dim]`
    queries: Tensor<2>,
    /// `[keys, dim]`
    keys: Tensor<2>,
    /// `[1]`
    scale: Tensor<1>,
}

/// What scores cost beside a teacher's, `[1]` each, means over rows, with gradients of queries, keys and scale in closed form.
struct Compared {
    /// Cross-entropy of each row's own key; zero where it is not asked for.
    contrast: Tensor<1>,
    /// `mean KL(wanted ‖ scores)`
    divergence: Tensor<1>,
}

impl Scores {
    /// All of them, `[rows, keys]`.
    fn all(&self) -> Tensor<2> {
        product(self.queries.clone(), self.keys.clone().transpose()) * self.scale.clone().unsqueeze()
    }

    /// Each key against every row of queries.
    fn turned(&self) -> Self {
        Self { queries: self.keys.clone(), keys: self.queries.clone(), scale: self.scale.clone() }
    }

    /// Scores of some rows, `[rows, keys]`, not yet scaled.
    fn products(&self, place: &Range<usize>) -> Tensor<2> {
        let some = self.queries.clone().narrow(0, place.start, place.len());
        product(some, self.keys.clone().transpose())
    }

    /// The same outside every graph.
    fn constant(&self) -> Self {
        let [queries, keys] = [&self.queries, &self.keys].map(|x| x.clone().without_autodiff());
        Self { queries, keys, scale: self.scale.clone().without_autodiff() }
    }

    /// Beside `wanted`, whose scores exist only as long as these do: so many rows at a time.
    fn compared(self, wanted: &Scores, own: bool, chunk: usize) -> Compared {
        let (fixed, wanted) = (self.constant(), wanted.constant());
        let [rows, _] = fixed.queries.dims();
        let tracked = self.queries.is_tracked() || self.keys.is_tracked() || self.scale.is_tracked();
        let (mut contrast, mut divergence) = (Charged::new(&fixed), Charged::new(&fixed));
        for place in chunks(rows, chunk) {
            let products = fixed.products(&place);
            let factor: Tensor<2> = fixed.scale.clone().unsqueeze();
            let scores = products.clone() * factor.clone();
            let wanted_scores = wanted.products(&place) * wanted.scale.clone().unsqueeze();
            let all = Tensor::<1, Bool>::full([place.len()], true, &scores.device());
            let costs = divergences(wanted_scores.clone(), scores.clone(), 1.0, Counting::rows(all));
            divergence.value = divergence.value + costs.sum();
            if tracked {
                let gap = softmax(scores, 1) - softmax(wanted_scores, 1);
                let of_scale = (gap.clone() * products.clone()).sum();
                divergence.add(&self, &fixed, &place, gap * factor, of_scale);
            }
            if own {
                let targets = RowTargets::new(KeyLists::new(place.clone().map(|row| [row])));
                let charges = charge_rows(products, fixed.scale.clone(), &targets, tracked);
                contrast.value = contrast.value + charges.costs.sum();
                if let Some(gradient) = charges.gradient {
                    contrast.add(&self, &fixed, &place, gradient.products, gradient.scale);
                }
            }
        }
        Compared { contrast: contrast.mean(&self), divergence: divergence.mean(&self) }
    }
}

/// A sum over rows, and its gradient of whatever is part of a graph.
struct Charged {
    value: Tensor<1>,
    of_queries: Vec<Tensor<2>>,
    of_keys: Option<Tensor<2>>,
    of_scale: Tensor<1>,
}

impl Charged {
    fn new(like: &Scores) -> Self {
        let zero = like.scale.zeros_like();
        Self { value: zero.clone(), of_queries: Vec::new(), of_keys: None, of_scale: zero }
    }

    /// The gradient of some rows' products.
    fn add(&mut self, of: &Scores, fixed: &Scores, place: &Range<usize>, products: Tensor<2>, scale: Tensor<1>) {
        self.of_scale = self.of_scale.clone() + scale;
        if of.queries.is_tracked() {
            self.of_queries.push(product(products.clone(), fixed.keys.clone()));
        }
        if of.keys.is_tracked() {
            let some = fixed.queries.clone().narrow(0, place.start, place.len());
            let of_keys = product(products.transpose(), some);
            self.of_keys = Some(self.of_keys.take().map_or(of_keys.clone(), |sum| sum + of_keys));
        }
    }

    fn mean(self, of: &Scores) -> Tensor<1> {
        let [rows, _] = of.queries.dims();
        let mut value = if of.queries.is_autodiff() { self.value.autodiff() } else { self.value };
        if !self.of_queries.is_empty() {
            value = with_gradient(value, of.queries.clone(), joined(self.of_queries, 0));
        }
        if let Some(of_keys) = self.of_keys {
            value = with_gradient(value, of.keys.clone(), of_keys);
        }
        with_gradient(value, of.scale.clone(), self.of_scale) / rows as f64
    }
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
