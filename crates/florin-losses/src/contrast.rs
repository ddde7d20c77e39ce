//! Cross-entropy of scaled similarities, some rows at a time: what the softmax contrastive losses are made of.
//!
//! Row i scores every key it may see by `scale · qᵢ·kⱼ` and is charged `Σⱼ wᵢⱼ (log Σₖ exp(scoreᵢₖ) − scoreᵢⱼ)` for its target
//! weights w. Kept for a backward pass, the scores of a batch of n would take n² numbers; but their gradient has a closed form
//! (softmax less target), so that each chunk of rows gives its value and its gradients at once and is dropped. Memory is
//! O(batch · (chunk + dim)), value and gradients are those of the whole. Where nobody wants a gradient, none is computed.

use std::ops::Range;

use burn::prelude::*;
use florin_backend::{KeyLists, RowTargets, charge_rows, product, with_gradient};

/// Vectors to compare, in groups of the same size that know nothing of each other.
pub(crate) struct Similarities {
    /// `[groups, rows, dim]`
    pub(crate) queries: Tensor<3>,
    /// `[groups, keys, dim]`
    pub(crate) keys: Tensor<3>,
    /// `[1]`
    pub(crate) scale: Tensor<1>,
    /// Rows of all groups together whose scores exist at a time.
    pub(crate) chunk: usize,
}

impl Similarities {
    /// All rows against all keys, `[rows, dim]` and `[keys, dim]`.
    pub(crate) fn new(queries: Tensor<2>, keys: Tensor<2>, scale: Tensor<1>, chunk: usize) -> Self {
        Self { queries: queries.unsqueeze(), keys: keys.unsqueeze(), scale, chunk }
    }

    /// The sum over rows, `[1]`, with gradients of queries, keys and scale. Of a range of rows `targets` gives those of each group in turn.
    pub(crate) fn cross_entropy(self, targets: &dyn Fn(Range<usize>) -> RowTargets) -> Tensor<1> {
        self.cross_entropy_and_hits(targets).0
    }

    /// The same, and how many rows score one of their targets above every other key, `[1]`, without gradient.
    pub(crate) fn cross_entropy_and_hits(self, targets: &dyn Fn(Range<usize>) -> RowTargets) -> (Tensor<1>, Tensor<1>) {
        let Self { queries, keys, scale, chunk } = self;
        let wanted = Wanted { queries: queries.is_tracked(), keys: keys.is_tracked(), scale: scale.is_tracked() };
        let sums = Sums::new(queries.clone(), keys.clone(), scale.clone(), wanted).over(chunk, targets);
        let back = |value: Tensor<1>| if queries.is_autodiff() { value.autodiff() } else { value };
        let (mut value, hits) = (back(sums.value), back(sums.hits));
        if wanted.queries {
            value = with_gradient(value, queries, joined(sums.of_queries, 1));
        }
        if let Some(of_keys) = sums.of_keys {
            value = with_gradient(value, keys, of_keys);
        }
        if wanted.scale {
            value = with_gradient(value, scale, sums.of_scale);
        }
        (value, hits)
    }
}

/// Whose gradient somebody wants.
#[derive(Clone, Copy)]
struct Wanted {
    queries: bool,
    keys: bool,
    scale: bool,
}

/// What chunks of rows add up to, outside every graph.
struct Sums {
    queries: Tensor<3>,
    keys: Tensor<3>,
    scale: Tensor<1>,
    wanted: Wanted,
    value: Tensor<1>,
    hits: Tensor<1>,
    of_queries: Vec<Tensor<3>>,
    of_keys: Option<Tensor<3>>,
    of_scale: Tensor<1>,
}

impl Sums {
    fn new(queries: Tensor<3>, keys: Tensor<3>, scale: Tensor<1>, wanted: Wanted) -> Self {
        let (queries, keys, scale) = (queries.without_autodiff(), keys.without_autodiff(), scale.without_autodiff());
        let zero = scale.zeros_like();
        let (value, hits, of_scale) = (zero.clone(), zero.clone(), zero);
        Self { queries, keys, scale, wanted, value, hits, of_queries: Vec::new(), of_keys: None, of_scale }
    }

    fn over(mut self, chunk: usize, targets: &dyn Fn(Range<usize>) -> RowTargets) -> Self {
        let [groups, rows, _] = self.queries.dims();
        for place in chunks(rows, chunk / groups.max(1)) {
            self.add(place.clone(), &targets(place));
        }
        self
    }

    fn add(&mut self, place: Range<usize>, targets: &RowTargets) {
        let ([groups, all, _], [_, count, _]) = (self.queries.dims(), self.keys.dims());
        let Wanted { queries, keys, scale } = self.wanted;
        // What is narrowed is copied.
        let some = match place.len() == all {
            true => self.queries.clone(),
            false => self.queries.clone().narrow(1, place.start, place.len()),
        };
        let products = product(some.clone(), self.keys.clone().swap_dims(1, 2)); // [groups, rows, keys]
        let products = products.reshape([groups * place.len(), count]);
        let charges = charge_rows(products, self.scale.clone(), targets, queries || keys || scale);
        self.value = self.value.clone() + charges.costs.sum();
        self.hits = self.hits.clone() + charges.hits.sum();
        let Some(gradient) = charges.gradient else { return };
        let of_products = gradient.products.reshape([groups, place.len(), count]);
        self.of_scale = self.of_scale.clone() + gradient.scale;
        if queries {
            self.of_queries.push(product(of_products.clone(), self.keys.clone()));
        }
        if keys {
            let of_keys = product(of_products.swap_dims(1, 2), some);
            self.of_keys = Some(match self.of_keys.take() {
                Some(sum) => sum + of_keys,
                None => of_keys,
            });
        }
    }
}

/// Both directions of pairs whose scores may exist all at once: the sums of what it costs each row to pick its own key, and each key its own row,
/// `[1]` each. The scores are computed once, and so are the gradients of their products.
///
/// - queries, keys: `[pairs, dim]`; scale: `[1]`
pub(crate) fn both_directions(queries: Tensor<2>, keys: Tensor<2>, scale: Tensor<1>) -> [Tensor<1>; 2] {
    let [pairs, _] = queries.dims();
    let products = product(queries, keys.transpose()); // [pairs, pairs]
    let wanted = products.is_tracked() || scale.is_tracked();
    let own = RowTargets::new(KeyLists::new((0..pairs).map(|row| [row])));
    let turned = |x: Tensor<2>, is_turned: bool| if is_turned { x.transpose() } else { x };
    [false, true].map(|is_turned| {
        let charges = charge_rows(turned(products.clone(), is_turned), scale.clone(), &own, wanted);
        let sum = charges.costs.sum();
        let sum = if products.is_autodiff() { sum.autodiff() } else { sum };
        let Some(gradient) = charges.gradient else { return sum };
        let sum = with_gradient(sum, products.clone(), turned(gradient.products, is_turned));
        with_gradient(sum, scale.clone(), gradient.scale)
    })
}

/// Parts after one another along a dimension; one alone is not copied.
pub(crate) fn joined<const D: usize>(mut parts: Vec<Tensor<D>>, dim: usize) -> Tensor<D> {
    if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, dim) }
}

/// Ranges of `chunk` rows, the last one shorter.
pub(crate) fn chunks(rows: usize, chunk: usize) -> impl Iterator<Item = Range<usize>> {
    let chunk = chunk.max(1);
    (0..rows).step_by(chunk).map(move |start| start..(start + chunk).min(rows))
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;
    use burn::tensor::Distribution;

    use crate::{ClipLoss, NtXentLoss, SigLipLoss, SupervisedContrastLoss};

    type OfPairs<'a> = &'a dyn Fn(&Tensor<2>, &Tensor<2>) -> f32;

    fn device() -> Device {
        florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
    }

    fn number(x: Tensor<1>) -> f32 {
        x.into_scalar::<f32>()
    }

    fn vectors(rows: usize, device: &Device) -> Tensor<2> {
        Tensor::random([rows, 6], Distribution::Normal(0.0, 1.0), device)
    }

    #[test]
    fn the_order_of_pairs_does_not_matter() {
        let device = device();
        florin_backend::seed(&device, 11);
        let (image, text) = (vectors(5, &device), vectors(5, &device));
        let order = Tensor::<1, Int>::from_ints([3, 0, 4, 1, 2], &device);
        let [moved_image, moved_text] = [&image, &text].map(|x| x.clone().select(0, order.clone()));
        let (log_scale, bias) = (Tensor::from_floats([2.0], &device), Tensor::from_floats([-1.0], &device));
        let clip = |a: &Tensor<2>, b: &Tensor<2>| {
            number(ClipLoss::default().forward(a.clone(), b.clone(), log_scale.clone()).loss)
        };
        let sig_lip = |a: &Tensor<2>, b: &Tensor<2>| {
            number(SigLipLoss::default().forward(a.clone(), b.clone(), log_scale.clone(), bias.clone()).loss)
        };
        let nt_xent = |a: &Tensor<2>, b: &Tensor<2>| number(NtXentLoss::default().forward(a.clone(), b.clone()).loss);
        let all: [OfPairs<'_>; 3] = [&clip, &sig_lip, &nt_xent];
        for loss in all {
            assert!((loss(&image, &text) - loss(&moved_image, &moved_text)).abs() < 1e-5);
            assert!((loss(&image, &text) - loss(&image, &moved_text)).abs() > 1e-2, "other pairs, another loss");
            assert!((loss(&image, &text) - loss(&text, &image)).abs() < 1e-5, "both sides count alike");
        }
    }

    #[test]
    fn extreme_scales_and_vectors_of_zeros_stay_finite() {
        let device = device();
        florin_backend::seed(&device, 12);
        let image = Tensor::cat(vec![vectors(3, &device), Tensor::zeros([1, 6], &device)], 0).require_grad();
        let text = vectors(4, &device);
        for log_scale in [-20.0f32, 0.0, 10.0] {
            let scale = Tensor::<1>::from_floats([log_scale], &device).require_grad();
            let bias = Tensor::<1>::from_floats([-1e4], &device);
            let clip = ClipLoss::default().forward(image.clone(), text.clone(), scale.clone()).loss;
            let sig_lip = SigLipLoss::default().forward(image.clone(), text.clone(), scale.clone(), bias).loss;
            for loss in [clip, sig_lip] {
                assert!(number(loss.clone()).is_finite(), "scale e^{log_scale}");
                let graph = loss.backward();
                let of_image = image.grad(&graph).expect("tracked").into_data().try_to_vec::<f32>().expect("f32");
                assert!(
                    of_image.iter().all(|g| g.is_finite()) && number(scale.grad(&graph).expect("tracked")).is_finite()
                );
            }
        }
    }

    #[test]
    fn a_batch_in_which_nobody_has_a_partner_costs_nothing() {
        let device = device();
        let samples = Tensor::<2>::from_floats([[1.0, 2.0], [0.5, -1.0]], &device).require_grad();
        for (rows, classes) in [(2, vec![0, 1]), (1, vec![0])] {
            let some = samples.clone().narrow(0, 0, rows);
            let parts = SupervisedContrastLoss::default().forward(some, &classes);
            assert_eq!((parts.anchors, number(parts.loss.clone())), (0, 0.0));
            let gradient = samples.grad(&parts.loss.backward()).expect("tracked");
            assert_eq!(number(gradient.abs().sum()), 0.0);
        }
    }
}
