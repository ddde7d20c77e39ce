//! What systems of the BERT family share: the encoder with what stands on it, called with word pieces.
//!
//! BERT, RoBERTa, DistilBERT, LayoutLM, LiLT and ModernBERT differ in names, in what places words have, in how a head is put together,
//! some in the encoder itself; each says so in a file of its own and is one of these.

use burn::prelude::*;
use florin_encoders::{
    BertEncoder, BertInput, BoxEmbeddings, LiltEncoder, LiltInput, ModernBertEncoder, ModernBertInput,
};
use florin_nn::{Activation, Embedding, Linear};

use crate::ModelError;
use crate::loss::label_loss;
use crate::named_tensors::{Inputs, Outputs};
use crate::sentence::{SentencePooling, SentenceTokens};
use crate::system::{Forward, Wanted};
use crate::text_embedder::TextRules;
use crate::text_heads::{TextHead, token_outputs};
use crate::words::{boxes, for_each_word, words};

/// An encoder and what stands on it.
#[derive(Module, Debug)]
pub struct TextModel {
    /// The encoder.
    pub encoder: TextEncoder,
    /// Where words stand on a page, for an encoder to which that is added.
    pub boxes: Option<BoxEmbeddings>,
    /// What the first token's vector goes through, with a hyperbolic tangent, where the architecture has it.
    pub pooler: Option<Linear>,
    /// The head, where there is one.
    pub head: Option<TextHead>,
    /// How a sentence becomes one vector.
    #[module(skip)]
    pub sentence: SentencePooling,
    /// Which tokens a head reads that scores classes of the whole text, where no pooler stands before it.
    #[module(skip)]
    pub classified: SentenceTokens,
    #[module(skip)]
    places: Places,
    vocabulary: usize,
    types: usize,
}

/// The encoder of a text model.
#[allow(clippy::large_enum_variant, reason = "one a system, never many of them")]
#[derive(Module, Debug)]
pub enum TextEncoder {
    /// BERT's, which most have.
    Bert(BertEncoder),
    /// ModernBERT's.
    ModernBert(ModernBertEncoder),
    /// LiLT's, whose words stand on a page.
    Lilt(LiltEncoder),
}

/// Which positions word pieces take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// From the beginning of the row, up to so many.
    FromTheStart(usize),
    /// Behind that of this id, which pads and takes no place: RoBERTa's.
    Behind {
        /// The id.
        padding: usize,
        /// Rows of the table.
        table: usize,
    },
    /// From the beginning of the row, not to be given, as there is no table: rows of at most so many.
    Rotated(usize),
}

impl Places {
    /// The longest row.
    pub fn longest(self) -> usize {
        match self {
            Self::FromTheStart(longest) | Self::Rotated(longest) => longest,
            Self::Behind { padding, table } => table.saturating_sub(padding + 1),
        }
    }

    /// Rows of the table, where there is one.
    fn table(self) -> Option<usize> {
        match self {
            Self::FromTheStart(table) | Self::Behind { table, .. } => Some(table),
            Self::Rotated(_) => None,
        }
    }

    /// The positions that are given, or else those of each id; none where they are counted from the start.
    pub(crate) fn positions(self, inputs: &Inputs, shape: [usize; 2]) -> Result<Option<Tensor<2, Int>>, ModelError> {
        let given = self.table().map(|table| for_each_word(inputs, "position_ids", shape, table));
        match given.transpose()?.flatten() {
            Some(positions) => Ok(Some(positions)),
            None => self.of(inputs),
        }
    }

    /// The position of each id; none where they are counted from the start.
    fn of(self, inputs: &Inputs) -> Result<Option<Tensor<2, Int>>, ModelError> {
        let Self::Behind { padding, .. } = self else { return Ok(None) };
        let Some((shape, ids)) = inputs.maybe_whole::<2>("input_ids", "[batch, seq]")? else { return Ok(None) };
        let of_row = |row: &[i64]| {
            let mut place = padding as i32;
            let mut next = || {
                place += 1;
                place
            };
            row.iter().map(|&id| if id == padding as i64 { padding as i32 } else { next() }).collect::<Vec<_>>()
        };
        let places: Vec<i32> = ids.chunks(shape[1]).flat_map(of_row).collect();
        Ok(Some(Tensor::from_data(TensorData::new(places, shape), inputs.device())))
    }
}

impl TextEncoder {
    /// `[vocabulary, dim]`
    pub fn word_embeddings(&self) -> &Embedding {
        match self {
            Self::Bert(encoder) => &encoder.word_embeddings,
            Self::ModernBert(encoder) => &encoder.word_embeddings,
            Self::Lilt(encoder) => &encoder.text.word_embeddings,
        }
    }

    /// `[types, dim]`
    fn token_type_embeddings(&self) -> Option<&Embedding> {
        match self {
            Self::Bert(encoder) => encoder.token_type_embeddings.as_ref(),
            Self::ModernBert(_) => None,
            Self::Lilt(encoder) => encoder.text.token_type_embeddings.as_ref(),
        }
    }
}

impl TextModel {
    /// An encoder with nothing on it.
    pub(crate) fn new(encoder: TextEncoder, places: Places, sentence: SentencePooling) -> Self {
        let rows = |table: &Embedding| table.weight.lazy_shape().dims::<2>()[0];
        let (vocabulary, types) = (rows(encoder.word_embeddings()), encoder.token_type_embeddings().map_or(0, rows));
        let (boxes, pooler, head, classified) = (None, None, None, SentenceTokens::First);
        Self { encoder, boxes, pooler, head, sentence, classified, places, vocabulary, types }
    }

    fn pooled(&self, last: &Tensor<3>) -> Option<Tensor<2>> {
        let first = last.clone().narrow(1, 0, 1).squeeze_dim(1);
        self.pooler.as_ref().map(|pooler| pooler.forward_activated(first, Activation::Tanh))
    }

    /// Whether words need their places on a page.
    fn is_of_pages(&self) -> bool {
        self.boxes.is_some() || matches!(self.encoder, TextEncoder::Lilt(_))
    }

    /// The hidden state after the embeddings and after every block: the last is the encoder's output.
    fn hidden_states(&self, inputs: &Inputs, input: &BertInput) -> Result<Vec<Tensor<3>>, ModelError> {
        Ok(match &self.encoder {
            TextEncoder::Bert(encoder) => encoder.hidden_states(input),
            TextEncoder::ModernBert(encoder) => {
                encoder.hidden_states(&ModernBertInput { ids: input.ids.clone(), mask: input.mask.clone() })
            }
            TextEncoder::Lilt(encoder) => {
                let boxes = boxes(inputs, input.ids.dims(), encoder.boxes.positions())?;
                encoder.hidden_states(&LiltInput { text: input.clone(), boxes })
            }
        })
    }

    fn input(&self, inputs: &Inputs) -> Result<BertInput, ModelError> {
        let (ids, mask) = words(inputs, self.vocabulary, self.places.longest())?;
        let shape = ids.dims();
        let token_types = match self.types {
            0 => None,
            types => for_each_word(inputs, "token_type_ids", shape, types)?,
        };
        let positions = self.places.positions(inputs, shape)?;
        let added = match &self.boxes {
            Some(table) => Some(table.forward(boxes(inputs, shape, table.positions())?)),
            None => None,
        };
        Ok(BertInput { ids, mask, token_types, positions, added })
    }
}

impl Forward for TextModel {
    fn wants(&self) -> Vec<Wanted> {
        let mut wants =
            vec![Wanted::needed("input_ids", "[batch, seq]"), Wanted::optional("attention_mask", "[batch, seq]")];
        if self.is_of_pages() {
            wants.push(Wanted::needed("bbox", "[batch, seq, 4]"));
        }
        if self.types > 0 {
            wants.push(Wanted::optional("token_type_ids", "[batch, seq]"));
        }
        if self.places.table().is_some() {
            wants.push(Wanted::optional("position_ids", "[batch, seq]"));
        }
        match &self.head {
            None => {}
            Some(TextHead::Sequence(_)) => wants.push(Wanted::optional("labels", "[batch]")),
            Some(_) => wants.push(Wanted::optional("labels", "[batch, seq]")),
        }
        wants
    }

    fn text_rules(&self) -> Option<TextRules> {
        // Words that stand on a page are nothing without their places.
        let (vocabulary, longest) = (self.vocabulary, self.places.longest());
        (!self.is_of_pages()).then_some(TextRules { vocabulary, longest, sees_padding: false })
    }

    fn forward(&self, inputs: &Inputs) -> Result<Outputs, ModelError> {
        let input = self.input(inputs)?;
        let (last, states) = match &self.encoder {
            TextEncoder::Bert(encoder) if inputs.drops_padding() => {
                (encoder.forward(input.clone()).padded(), Vec::new())
            }
            TextEncoder::ModernBert(encoder) if inputs.drops_padding() => {
                let (ids, mask) = (input.ids.clone(), input.mask.clone());
                (encoder.forward(ModernBertInput { ids, mask }).padded(), Vec::new())
            }
            _ => {
                let states = self.hidden_states(inputs, &input)?;
                (states[states.len() - 1].clone(), states)
            }
        };
        let outputs = match &self.head {
            None => Outputs::new()
                .with("last_hidden_state", last.clone())
                .with_maybe("pooler_output", self.pooled(&last))
                .with("sentence_embedding", self.sentence.of(last, &input.mask)),
            Some(TextHead::MaskedLanguage(head)) => {
                let logits = head.forward(last, self.encoder.word_embeddings().weight.val());
                token_outputs(inputs, logits)?
            }
            Some(TextHead::Token(head)) => token_outputs(inputs, head.forward(last))?,
            Some(TextHead::Sequence(head)) => {
                let of_text = match self.pooled(&last) {
                    Some(pooled) => pooled,
                    None => self.classified.of(last, &input.mask),
                };
                let logits = head.forward(of_text);
                Outputs::new().with_maybe("loss", label_loss::<1>(inputs, logits.clone())?).with("logits", logits)
            }
        };
        Ok(outputs.with_hidden_states(states))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_begin_behind_that_of_the_padding_which_takes_none() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let inputs = Inputs::new(&device).whole("input_ids", &[2, 4], vec![5, 9, 1, 1, 1, 1, 7, 8]);
        let places = Places::Behind { padding: 1, table: 10 };
        let found = places.of(&inputs).unwrap().expect("they are counted").into_data();
        assert_eq!(found.try_to_vec::<i32>().expect("whole numbers"), [2, 3, 1, 1, 1, 1, 2, 3]);
        assert_eq!(places.longest(), 8);
    }
}
