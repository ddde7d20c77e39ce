//! The network: streams, fusion, blocks over the words of a document, and a head that scores spans.

use burn::module::Param;
use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;
use florin_backend::product;
use florin_encoders::{BertEncoder, BertInput, LayoutEncoder, LayoutInput, VitEncoder, VitInput};
use florin_fusion::{AnyFusion, Stream, fuse_aligned};
use florin_nn::{
    LayerNorm, Linear, Modality, NormOrder, RelativeBias2d, Tokens, TransformerBlock, TransformerBlockConfig, zeros,
};

use super::{DocumentBatch, DocumentConfig, WordText};

/// The document model.
#[derive(Module, Debug)]
pub struct DocumentModel {
    /// Reads the word pieces.
    pub text: BertEncoder,
    /// Norm of a word's text.
    pub text_norm: LayerNorm,
    /// Text to the common width.
    pub text_projection: Linear,
    /// Adds the text of a word's line.
    pub line_text: Linear,
    /// Adds the text to the left of a word in its row.
    pub left_text: Linear,
    /// Adds the text next above a word, such as the heading of its column.
    pub above_text: Linear,
    /// Reads where the words stand.
    pub layout: Option<LayoutEncoder>,
    /// Reads the picture.
    pub image: Option<VitEncoder>,
    /// Makes one vector of each word's streams.
    pub fusion: AnyFusion,
    /// Bias of the blocks' attention from the distance between words.
    pub relative_bias: RelativeBias2d,
    /// Attention among the words of a document.
    pub blocks: Vec<TransformerBlock>,
    /// Norm before the head.
    pub norm: LayerNorm,
    /// Start, inside and end score of each field, `[dim, 3 · fields]`.
    pub head: Linear,
    /// Score of each field's absence.
    pub none_weight: Linear,
    /// Start of that score.
    pub none_bias: Param<Tensor<1>>,
    dropout: Dropout,
    fields: usize,
    #[module(skip)]
    text_states: Vec<usize>,
}

/// What the model says of a batch.
#[derive(Clone, Debug)]
pub struct DocumentOutput {
    /// `[batch, fields, words]`: the score of a span's first word.
    pub start: Tensor<3>,
    /// The same for every word of a span.
    pub inside: Tensor<3>,
    /// The same for its last word.
    pub end: Tensor<3>,
    /// `[batch, fields]`: the score of the field not being there.
    pub none: Tensor<2>,
    /// `[batch, modality]`: how much each stream was leaned on, where the fusion's kind says.
    pub weights: Option<Tensor<2>>,
    /// What the fusion adds to the loss in training, `[1]`, where its kind learns how much to compute.
    pub cost: Option<Tensor<1>>,
}

impl DocumentConfig {
    /// New weights.
    ///
    /// # Panics
    ///
    /// If [`validate`](Self::validate) refuses the fusion.
    pub fn init(&self, device: &Device) -> DocumentModel {
        let fusion = self.fusion().unwrap_or_else(|error| panic!("{error}"));
        let block = TransformerBlockConfig::new(self.dim, self.heads, 4 * self.dim, 1e-5, NormOrder::Pre);
        DocumentModel {
            text: self.text.init(device),
            text_norm: LayerNorm::new(self.text_width(), 1e-5, device),
            text_projection: Linear::new(self.text_width(), self.dim, device),
            line_text: Linear::new(self.dim, self.dim, device),
            left_text: Linear::new(self.dim, self.dim, device),
            above_text: Linear::new(self.dim, self.dim, device),
            layout: self.layout.as_ref().map(|layout| layout.init(device)),
            image: self.image.as_ref().map(|image| image.init(device)),
            fusion: fusion.init(device),
            relative_bias: RelativeBias2d::new(self.distance_buckets, self.heads, device),
            blocks: (0..self.blocks).map(|_| block.init(device)).collect(),
            norm: LayerNorm::new(self.dim, 1e-5, device),
            head: Linear::new(self.dim, 3 * self.fields.len(), device),
            none_weight: Linear::without_bias(self.dim, self.fields.len(), device),
            none_bias: zeros([self.fields.len()], device),
            dropout: DropoutConfig::new(self.dropout).init(),
            fields: self.fields.len(),
            text_states: self.text_states.clone(),
        }
    }
}

impl DocumentModel {
    /// # Shapes
    ///
    /// See [`DocumentBatch`] and [`DocumentOutput`].
    pub fn forward(&self, batch: &DocumentBatch) -> DocumentOutput {
        let fused = fuse_aligned(&self.fusion, &self.streams(batch));
        let tokens = fused.tokens.expect("text, the anchor, is always given");
        let hidden = tokens.mask().for_attention();
        let bias = self.relative_bias.forward(batch.horizontal.clone(), batch.vertical.clone());
        let mut x = self.dropout.forward(tokens.padded());
        for block in &self.blocks {
            x = block.forward(x, hidden.clone(), Some(bias.clone()));
        }
        let tokens = Tokens::new(self.dropout.forward(self.norm.forward(x)), tokens.mask().clone());
        DocumentOutput { weights: fused.weights, cost: fused.cost, ..self.score(&tokens) }
    }

    fn streams(&self, batch: &DocumentBatch) -> Vec<Stream> {
        let rows = batch.lengths.len();
        let mut streams = vec![self.stream(Modality::Text, self.words_of_text(batch), batch, vec![true; rows])];
        if let Some(layout) = &self.layout {
            let input = LayoutInput {
                boxes: batch.boxes.clone(),
                ordinals: batch.ordinals.clone(),
                print: batch.print.clone(),
                mask: batch.mask.clone(),
            };
            let words = layout.forward(input).padded();
            streams.push(self.stream(Modality::Layout, words, batch, vec![true; rows]));
        }
        if let (Some(image), Some(pictures)) = (&self.image, &batch.pictures) {
            let patches = image.forward(VitInput { patches: pictures.patches.clone() }).padded();
            let words = product(pictures.pooling.clone(), patches); // [batch, words, dim]
            streams.push(self.stream(Modality::Image, words, batch, pictures.present.clone()));
        }
        streams
    }

    fn stream(&self, modality: Modality, words: Tensor<3>, batch: &DocumentBatch, present: Vec<bool>) -> Stream {
        Stream { modality, tokens: Tokens::new(self.dropout.forward(words), batch.mask.clone()), present }
    }

    /// Each word's text with its line's, its row's and that above it, `[batch, words, dim]`.
    fn words_of_text(&self, batch: &DocumentBatch) -> Tensor<3> {
        let words = match &batch.text {
            WordText::Vectors(vectors) => vectors.clone(),
            WordText::Pieces { ids, mask, index, weight } => {
                let states = self.text.hidden_states(&BertInput::new(ids.clone(), mask.clone()));
                let chosen = self.text_states.iter().map(|state| states[*state].clone()).collect();
                mean_of_pieces(Tensor::cat(chosen, 2), index.clone(), weight.clone())
            }
        };
        let words = self.text_projection.forward(self.text_norm.forward(words));
        let line = self.line_text.forward(product(batch.line_mean.clone(), words.clone()));
        let left = self.left_text.forward(product(batch.left_mean.clone(), words.clone()));
        let above = self.above_text.forward(product(batch.above_mean.clone(), words.clone()));
        words + line + left + above
    }

    fn score(&self, tokens: &Tokens) -> DocumentOutput {
        let scores = self.head.forward(tokens.padded()).swap_dims(1, 2); // [batch, 3 · fields, words]
        let part = |index: usize| scores.clone().narrow(1, index * self.fields, self.fields);
        let none = self.none_weight.forward(tokens.mean()) + self.none_bias.val().unsqueeze();
        DocumentOutput { start: part(0), inside: part(1), end: part(2), none, weights: None, cost: None }
    }
}

/// The mean of each word's pieces, `[batch, words, dim]`.
fn mean_of_pieces(pieces: Tensor<3>, index: Tensor<1, Int>, weight: Tensor<3>) -> Tensor<3> {
    let [windows, seq, dim] = pieces.dims();
    let [rows, words, per_word] = weight.dims();
    let picked =
        florin_backend::rows(pieces.reshape([windows * seq, dim]), index).reshape([rows, words, per_word, dim]);
    (picked * weight.unsqueeze_dim::<4>(3)).sum_dim(2).reshape([rows, words, dim])
}
