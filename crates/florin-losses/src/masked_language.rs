//! Masked language modelling: what stood at the selected places of a text.
//!
//! `loss = −1/|S| Σ_{i∈S} log p(xᵢ | x̃)`, S the selected positions, those left unchanged included; `florin_data::masking` selects them.
//!
//! Paper: Devlin et al. 2018 (BERT), <https://arxiv.org/abs/1810.04805>
//! Difference: none. Selected positions are marked rather than given through a magic label.

use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;
use florin_backend::{product, rows, with_gradient};

use crate::contrast::chunks;
use crate::counting::{blanked, counted};
use crate::token_costs::{TokenTargets, charge, token_costs};

/// The loss.
#[derive(Clone, Copy, Debug)]
pub struct MaskedLanguageLoss {
    /// Positions whose softmax exists at a time; memory grows with the vocabulary times this.
    pub chunk: usize,
}

/// The loss and what it is made of.
#[derive(Clone, Debug)]
pub struct MaskedLanguageLossParts {
    /// Mean over all selected positions, `[1]`; zero where none is selected.
    pub loss: Tensor<1>,
    /// Mean over each text's selected positions, `[batch]`; zero for a text with none.
    pub per_text: Tensor<1>,
}

/// The last layer of a language model, whose table is usually the embedding's own.
#[derive(Clone, Debug)]
pub struct VocabularyDecoder {
    /// `[vocabulary, dim]`
    pub table: Tensor<2>,
    /// `[vocabulary]`
    pub bias: Tensor<1>,
}

impl Default for MaskedLanguageLoss {
    fn default() -> Self {
        Self { chunk: 256 }
    }
}

impl MaskedLanguageLoss {
    /// # Shapes
    ///
    /// - logits: `[batch, seq, vocabulary]`
    /// - ids: `[batch, seq]`, the tokens of the text as it was
    /// - selected: `[batch, seq]`, true where a token is to be found; others have no effect, whatever stands there
    ///
    /// # Panics
    ///
    /// If the shapes do not fit each other.
    pub fn forward(
        &self,
        logits: Tensor<3>,
        ids: Tensor<2, Int>,
        selected: Tensor<2, Bool>,
    ) -> MaskedLanguageLossParts {
        let [batch, seq, vocabulary] = logits.dims();
        assert_eq!((ids.dims(), selected.dims()), ([batch, seq], [batch, seq]), "one id and one mark a position");
        let rows = batch * seq;
        let targets =
            TokenTargets { ids: ids.reshape([rows]), counts: selected.clone().reshape([rows]), smoothing: 0.0 };
        let costs = token_costs(logits.reshape([rows, vocabulary]), targets, self.chunk);
        let means = counted(costs.reshape([batch, seq]), selected);
        MaskedLanguageLossParts { loss: means.mean, per_text: means.per_row }
    }

    /// The same from the vectors before the last layer: only selected positions are decoded, and their logits never exist together.
    /// Reads the marks back from the device. Only `loss` has gradients.
    ///
    /// # Shapes
    ///
    /// - hidden: `[batch, seq, dim]`
    /// - decoder: see [`VocabularyDecoder`]
    /// - ids, selected: as in [`MaskedLanguageLoss::forward`]
    ///
    /// # Panics
    ///
    /// If the shapes do not fit each other.
    pub fn forward_decoded(
        &self,
        hidden: Tensor<3>,
        decoder: VocabularyDecoder,
        ids: Tensor<2, Int>,
        selected: Tensor<2, Bool>,
    ) -> MaskedLanguageLossParts {
        let [batch, seq, dim] = hidden.dims();
        assert_eq!((ids.dims(), selected.dims()), ([batch, seq], [batch, seq]), "one id and one mark a position");
        let places = marked(selected.clone());
        let hidden = blanked(hidden, selected.clone().unsqueeze_dim::<3>(2)).reshape([batch * seq, dim]);
        if places.is_empty() {
            let nothing = hidden.sum();
            return MaskedLanguageLossParts { per_text: nothing.clone().detach().expand([batch]), loss: nothing };
        }
        let count = places.len();
        let places = Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &hidden.device());
        let some = rows(hidden.clone(), places.clone());
        let (loss, costs) = self.decoded(some, decoder, ids.reshape([batch * seq]).select(0, places.clone()));
        let costs = Tensor::<1>::zeros([batch * seq], &hidden.device()).cast(costs.dtype()).select_assign(
            0,
            places,
            costs,
            IndexingUpdateOp::Add,
        );
        MaskedLanguageLossParts { loss, per_text: counted(costs.reshape([batch, seq]), selected).per_row }
    }

    /// The mean cost of some rows, `[1]`, with all gradients, and each row's cost without.
    fn decoded(&self, hidden: Tensor<2>, decoder: VocabularyDecoder, ids: Tensor<1, Int>) -> (Tensor<1>, Tensor<1>) {
        let VocabularyDecoder { table, bias } = decoder;
        let [rows, _] = hidden.dims();
        let (inputs, words, offset) = (hidden.clone().detach(), table.clone().detach(), bias.clone().detach());
        let (mut costs, mut of_hidden) = (Vec::new(), Vec::new());
        let (mut of_table, mut of_bias) = (words.zeros_like(), offset.zeros_like());
        for place in chunks(rows, self.chunk) {
            let some = inputs.clone().narrow(0, place.start, place.len());
            let scores = product(some.clone(), words.clone().transpose()) + offset.clone().unsqueeze();
            let (cost, gradient) = charge(scores, ids.clone().narrow(0, place.start, place.len()), 0.0);
            let gradient = gradient / rows as f64;
            costs.push(cost);
            of_hidden.push(product(gradient.clone(), words.clone()));
            of_bias = of_bias + gradient.clone().sum_dim(0).squeeze_dim::<1>(0);
            of_table = of_table + product(gradient.transpose(), some);
        }
        let costs = Tensor::cat(costs, 0);
        let loss = with_gradient(costs.clone().mean(), hidden, Tensor::cat(of_hidden, 0));
        (with_gradient(with_gradient(loss, table, of_table), bias, of_bias), costs)
    }
}

/// Places of the marks, row after row.
fn marked(marks: Tensor<2, Bool>) -> Vec<i32> {
    let marks = marks.into_data().iter::<bool>().collect::<Vec<_>>();
    marks.iter().enumerate().filter(|(_, marked)| **marked).map(|(place, _)| place as i32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checking::{device, double, gradient, marks, noise, number, single, slopes, values, whole};

    const SELECTED: [bool; 8] = [true, false, true, true, false, false, false, true];
    const IDS: [usize; 8] = [1, 4, 0, 2, 3, 3, 1, 4];

    /// Two texts of four tokens, a vocabulary of five, two positions at a time.
    fn loss(logits: Tensor<3>, selected: &[bool]) -> MaskedLanguageLossParts {
        let device = logits.device();
        let (ids, selected) = (whole([2, 4], &IDS, &device), marks([2, 4], selected, &device));
        MaskedLanguageLoss { chunk: 3 }.forward(logits, ids, selected)
    }

    fn decoded(hidden: Tensor<3>, table: Tensor<2>, bias: Tensor<1>, selected: &[bool]) -> MaskedLanguageLossParts {
        let device = hidden.device();
        let (ids, selected) = (whole([2, 4], &IDS, &device), marks([2, 4], selected, &device));
        let decoder = VocabularyDecoder { table, bias };
        MaskedLanguageLoss { chunk: 3 }.forward_decoded(hidden, decoder, ids, selected)
    }

    #[test]
    fn logits_that_say_nothing_cost_the_logarithm_of_the_vocabulary() {
        let device = device();
        let parts = loss(Tensor::zeros([2, 4, 5], &device), &SELECTED);
        assert!((number(parts.loss) - 5f64.ln()).abs() < 1e-6);
        let mut sure = vec![0.0; 40];
        sure[1] = 1e4; // the first position knows its token, 1
        let parts = loss(single([2, 4, 5], &sure, &device), &SELECTED);
        assert!((number(parts.loss) - 0.75 * 5f64.ln()).abs() < 1e-6, "the mean is over the four selected positions");
        assert!((values(parts.per_text)[0] - 2.0 / 3.0 * 5f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn a_text_with_nothing_selected_costs_nothing() {
        let device = device();
        let logits = single([2, 4, 5], &noise(3, 40), &device);
        let half = [false, false, false, false, true, false, false, true];
        assert_eq!(values(loss(logits.clone(), &half).per_text)[0], 0.0);
        let none = |x: Tensor<3>| loss(x, &[false; 8]).loss;
        assert_eq!(number(none(logits.clone())), 0.0);
        assert!(gradient(&logits, &none).iter().all(|&g| g == 0.0));
        let hidden = single([2, 4, 3], &noise(4, 24), &device);
        let none = |x| decoded(x, Tensor::ones([5, 3], &device), Tensor::ones([5], &device), &[false; 8]).loss;
        assert_eq!(number(none(hidden.clone())), 0.0);
        assert!(gradient(&hidden, &none).iter().all(|&g| g == 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn positions_not_selected_have_no_effect_not_even_when_they_are_no_numbers(seed in any::<u64>()) {
            let device = device();
            let clean = noise(seed, 40);
            let spoiled: Vec<f64> =
                clean.iter().enumerate().map(|(i, &x)| if SELECTED[i / 5] { x } else { f64::NAN }).collect();
            let of = |x: Tensor<3>| loss(x, &SELECTED).loss;
            let (good, bad) = (single([2, 4, 5], &clean, &device), single([2, 4, 5], &spoiled, &device));
            prop_assert_eq!(number(of(good.clone())), number(of(bad.clone())));
            prop_assert_eq!(gradient(&good, &of), gradient(&bad, &of));
        }

        #[test]
        fn decoding_inside_gives_what_decoding_outside_gives(seed in any::<u64>()) {
            let device = device();
            let hidden: Tensor<3> = double([2, 4, 3], &noise(seed, 24), &device).require_grad();
            let table: Tensor<2> = double([5, 3], &noise(seed ^ 1, 15), &device).require_grad();
            let bias: Tensor<1> = double([5], &noise(seed ^ 2, 5), &device).require_grad();
            let rows = hidden.clone().reshape([8, 3]);
            let logits = (product(rows, table.clone().transpose()) + bias.clone().unsqueeze()).reshape([2, 4, 5]);
            let outside = loss(logits, &SELECTED);
            let inside = decoded(hidden.clone(), table.clone(), bias.clone(), &SELECTED);
            for (one, other) in values(outside.per_text).iter().zip(values(inside.per_text)) {
                prop_assert!((one - other).abs() < 1e-12);
            }
            prop_assert!((number(outside.loss.clone()) - number(inside.loss.clone())).abs() < 1e-12);
            let (one, other) = (outside.loss.backward(), inside.loss.backward());
            let gaps = [
                (hidden.grad(&one).unwrap() - hidden.grad(&other).unwrap()).abs().max(),
                (table.grad(&one).unwrap() - table.grad(&other).unwrap()).abs().max(),
                (bias.grad(&one).unwrap() - bias.grad(&other).unwrap()).abs().max(),
            ];
            prop_assert!(gaps.into_iter().all(|gap| number(gap) < 1e-12));
        }

        #[test]
        fn gradients_are_slopes(seed in any::<u64>()) {
            slopes([2, 4, 5], &noise(seed, 40), &|x: Tensor<3>| loss(x * 3.0, &SELECTED).loss)?;
            slopes([2, 4, 5], &noise(seed, 40), &|x: Tensor<3>| loss(x, &SELECTED).per_text.square().sum())?;
        }

        #[test]
        fn logits_of_ten_thousand_stay_finite(seed in any::<u64>()) {
            let device = device();
            let large: Vec<f64> = noise(seed, 40).iter().map(|value| value.signum() * 1e4).collect();
            let logits = single([2, 4, 5], &large, &device);
            let of = |x: Tensor<3>| loss(x, &SELECTED).loss;
            prop_assert!(number(of(logits.clone())).is_finite());
            prop_assert!(gradient(&logits, &of).iter().all(|g| g.is_finite()));
        }
    }
}
