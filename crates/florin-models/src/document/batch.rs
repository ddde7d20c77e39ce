//! Several documents' features as tensors.

use burn::prelude::*;
use florin_encoders::{VitConfig, patches};
use florin_nn::{Mask, log_bucket};

use super::{DocumentConfig, DocumentFeatures, PRINT_FEATURES, TextCache, TextContext};

/// Furthest distance, in line heights, that the relative bias tells apart.
const FURTHEST: f32 = 64.0;

/// A batch of documents.
#[derive(Clone, Debug)]
pub struct DocumentBatch {
    /// The words' text.
    pub text: WordText,
    /// `[batch, words, words]`: each word's mean over its line.
    pub line_mean: Tensor<3>,
    /// `[batch, words, words]`: each word's mean over what stands left of it in its row; zero where nothing does.
    pub left_mean: Tensor<3>,
    /// `[batch, words, words]`: each word's mean over what stands next above it; zero where nothing does.
    pub above_mean: Tensor<3>,
    /// `[batch, words, 6]`
    pub boxes: Tensor<3, Int>,
    /// `[batch, words, 4]`
    pub ordinals: Tensor<3, Int>,
    /// `[batch, words, print features]`
    pub print: Tensor<3>,
    /// `[batch, words, words]`: bucket of the horizontal distance between two words, or of their order without a layout stream.
    pub horizontal: Tensor<3, Int>,
    /// The same, vertically; all zero without a layout stream.
    pub vertical: Tensor<3, Int>,
    /// Which words are real.
    pub mask: Mask,
    /// Words of each document.
    pub lengths: Vec<usize>,
    /// The pictures, where the model looks at them.
    pub pictures: Option<Pictures>,
}

/// Text of a batch, before or after a frozen encoder.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one a batch: a box would only add a step")]
pub enum WordText {
    /// Word pieces, for an encoder that learns.
    Pieces {
        /// `[windows, seq]`; a document with more pieces than the encoder has positions takes several windows.
        ids: Tensor<2, Int>,
        /// Which pieces are real.
        mask: Mask,
        /// `[batch · words · pieces]`: where each word's pieces are, counted through all windows.
        index: Tensor<1, Int>,
        /// `[batch, words, pieces]`: the share of each piece in its word.
        weight: Tensor<3>,
    },
    /// `[batch, words, text width]`: vectors of an encoder that does not learn.
    Vectors(Tensor<3>),
}

/// Pictures of a batch.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// `[batch, patches, pixels of a patch]`
    pub patches: Tensor<3>,
    /// `[batch, words, patches]`: each word's share of each patch, rows summing to one.
    pub pooling: Tensor<3>,
    /// Whether each document has a picture.
    pub present: Vec<bool>,
}

impl DocumentBatch {
    /// Puts documents on a device. `special` are the ids of the tokens before and after a text, and of padding; `cache`
    /// holds the documents' lines where the model reads its text line by line.
    pub fn new(
        documents: &[&DocumentFeatures],
        config: &DocumentConfig,
        special: [u32; 3],
        cache: &TextCache,
        device: &Device,
    ) -> Self {
        let lengths: Vec<usize> = documents.iter().map(|document| document.pieces.len()).collect();
        let words = lengths.iter().copied().max().unwrap_or(0).max(1);
        let text = match config.text_context {
            TextContext::Document => pieces(documents, config, special, words, device),
            TextContext::Line => vectors(documents, cache, config.text_width(), words, device),
        };
        let [line_mean, left_mean, above_mean] = neighbours(documents, words, device);
        let (horizontal, vertical) = distances(documents, config, words, device);
        Self {
            text,
            line_mean,
            left_mean,
            above_mean,
            boxes: padded_ints(documents, words, device, |document| &document.boxes),
            ordinals: padded_ints(documents, words, device, |document| &document.ordinals),
            print: padded_print(documents, words, device),
            horizontal,
            vertical,
            mask: Mask::from_lengths(&lengths, words, device),
            lengths,
            pictures: config.image.as_ref().map(|image| pictures(documents, image, words, device)),
        }
    }
}

fn pieces(
    documents: &[&DocumentFeatures],
    config: &DocumentConfig,
    special: [u32; 3],
    words: usize,
    device: &Device,
) -> WordText {
    let mut text = Pieces::default();
    for document in documents {
        text.add(document, config, special);
    }
    let (ids, mask) = text.tensors(special[2], device);
    let (index, weight) = text.words(words, ids.dims()[1], device);
    WordText::Pieces { ids, mask, index, weight }
}

fn vectors(
    documents: &[&DocumentFeatures],
    cache: &TextCache,
    width: usize,
    words: usize,
    device: &Device,
) -> WordText {
    let mut values = vec![0f32; documents.len() * words * width];
    for (document, into) in documents.iter().zip(values.chunks_mut(words * width)) {
        cache.write(document, into, width);
    }
    WordText::Vectors(Tensor::from_data(TensorData::new(values, [documents.len(), words, width]), device))
}

/// Averages over lines, over what stands to the left in the same row (`TOTAL` may be three columns away from its amount), and
/// over what stands next above (the heading of a column may be all that tells one date from another).
fn neighbours(documents: &[&DocumentFeatures], words: usize, device: &Device) -> [Tensor<3>; 3] {
    let size = documents.len() * words * words;
    let mut means = [vec![0f32; size], vec![0f32; size], vec![0f32; size]];
    for (row, document) in documents.iter().enumerate() {
        for word in 0..document.line_of.len() {
            let place = (row * words + word) * words;
            let [line, left, above] = means.each_mut().map(|mean| &mut mean[place..place + words]);
            let nearest = (0..document.line_of.len()).filter_map(|other| height_above(document, other, word));
            let nearest = nearest.fold(f32::INFINITY, f32::min);
            for other in 0..document.line_of.len() {
                let near = height_above(document, other, word).is_some_and(|height| height < nearest + SAME_ROW);
                line[other] = f32::from(u8::from(document.line_of[other] == document.line_of[word]));
                left[other] = f32::from(u8::from(stands_left(document, other, word)));
                above[other] = f32::from(u8::from(near));
            }
            for shares in [line, left, above] {
                normalise(shares);
            }
        }
    }
    means.map(|values| Tensor::from_data(TensorData::new(values, [documents.len(), words, words]), device))
}

/// Furthest that two words of a row stand apart vertically, in line heights.
const SAME_ROW: f32 = 0.5;

/// How far another word stands above a word that it overlaps horizontally, in line heights.
fn height_above(document: &DocumentFeatures, other: usize, word: usize) -> Option<f32> {
    let ([x, y], [own_x, own_y]) = (document.centres[other], document.centres[word]);
    let overlaps = (x - own_x).abs() < 0.5 * (document.widths[other] + document.widths[word]);
    let height = own_y - y;
    (overlaps && height > SAME_ROW).then_some(height)
}

fn stands_left(document: &DocumentFeatures, other: usize, word: usize) -> bool {
    if document.line_of[other] == document.line_of[word] {
        return other < word;
    }
    let ([x, y], [own_x, own_y]) = (document.centres[other], document.centres[word]);
    x < own_x && (y - own_y).abs() < 0.5 * document.heights[other].min(document.heights[word])
}

fn normalise(shares: &mut [f32]) {
    let sum: f32 = shares.iter().sum();
    if sum > 0.0 {
        shares.iter_mut().for_each(|share| *share /= sum);
    }
}

/// Word pieces of a batch, cut into windows that fit the text encoder.
#[derive(Default)]
struct Pieces {
    windows: Vec<Vec<u32>>,
    /// For each document and word, the window and places of its pieces.
    places: Vec<Vec<(usize, usize, usize)>>,
}

impl Pieces {
    /// Cuts one document into windows that overlap by half; each word is read where it has most context.
    fn add(&mut self, document: &DocumentFeatures, config: &DocumentConfig, [before, after, _]: [u32; 3]) {
        let room = config.text.max_position_embeddings - 2;
        let counts: Vec<usize> = document.pieces.iter().map(|p| p.len().min(config.pieces_per_word)).collect();
        let mut best = vec![(0, 0, 0, 0usize); counts.len()]; // window, first place, pieces, context
        let mut first = 0;
        loop {
            let mut last = first;
            let mut used = 0;
            while last < counts.len() && used + counts[last] <= room {
                used += counts[last];
                last += 1;
            }
            let mut ids = vec![before];
            for word in first..last {
                let (left, right) = (word - first, last - 1 - word);
                let left = if first == 0 { usize::MAX } else { left };
                let right = if last == counts.len() { usize::MAX } else { right };
                let context = left.min(right).saturating_add(1);
                if context > best[word].3 {
                    best[word] = (self.windows.len(), ids.len(), counts[word], context);
                }
                ids.extend(&document.pieces[word][..counts[word]]);
            }
            ids.push(after);
            self.windows.push(ids);
            if last >= counts.len() {
                break;
            }
            first += ((last - first) / 2).max(1);
        }
        self.places.push(best.into_iter().map(|(window, place, pieces, _)| (window, place, pieces)).collect());
    }

    fn tensors(&self, padding: u32, device: &Device) -> (Tensor<2, Int>, Mask) {
        let lengths: Vec<usize> = self.windows.iter().map(Vec::len).collect();
        let seq = lengths.iter().copied().max().unwrap_or(1);
        let ids: Vec<i32> = self
            .windows
            .iter()
            .flat_map(|ids| ids.iter().copied().chain(std::iter::repeat(padding)).take(seq))
            .map(|id| id as i32)
            .collect();
        let ids = Tensor::from_data(TensorData::new(ids, [lengths.len(), seq]), device);
        (ids, Mask::from_lengths(&lengths, seq, device))
    }

    fn words(&self, words: usize, seq: usize, device: &Device) -> (Tensor<1, Int>, Tensor<3>) {
        let per_word = self.places.iter().flatten().map(|place| place.2).max().unwrap_or(1).max(1);
        let size = self.places.len() * words * per_word;
        let (mut index, mut weight) = (vec![0i32; size], vec![0f32; size]);
        for (row, places) in self.places.iter().enumerate() {
            for (word, &(window, place, pieces)) in places.iter().enumerate() {
                let from = (row * words + word) * per_word;
                for piece in 0..pieces {
                    index[from + piece] = (window * seq + place + piece) as i32;
                    weight[from + piece] = 1.0 / pieces as f32;
                }
            }
        }
        let weight = Tensor::from_data(TensorData::new(weight, [self.places.len(), words, per_word]), device);
        (Tensor::from_data(TensorData::new(index, [size]), device), weight)
    }
}

fn padded_ints<const N: usize>(
    documents: &[&DocumentFeatures],
    words: usize,
    device: &Device,
    of: impl Fn(&DocumentFeatures) -> &[[u16; N]],
) -> Tensor<3, Int> {
    let mut values = vec![0i32; documents.len() * words * N];
    for (row, document) in documents.iter().enumerate() {
        for (word, numbers) in of(document).iter().enumerate() {
            for (k, number) in numbers.iter().enumerate() {
                values[(row * words + word) * N + k] = i32::from(*number);
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [documents.len(), words, N]), device)
}

fn padded_print(documents: &[&DocumentFeatures], words: usize, device: &Device) -> Tensor<3> {
    let mut values = vec![0f32; documents.len() * words * PRINT_FEATURES];
    for (row, document) in documents.iter().enumerate() {
        for (word, numbers) in document.print.iter().enumerate() {
            let from = (row * words + word) * PRINT_FEATURES;
            values[from..from + PRINT_FEATURES].copy_from_slice(numbers);
        }
    }
    Tensor::from_data(TensorData::new(values, [documents.len(), words, PRINT_FEATURES]), device)
}

fn distances(
    documents: &[&DocumentFeatures],
    config: &DocumentConfig,
    words: usize,
    device: &Device,
) -> (Tensor<3, Int>, Tensor<3, Int>) {
    let size = documents.len() * words * words;
    let (mut horizontal, mut vertical) = (vec![0i32; size], vec![0i32; size]);
    let bucket = |distance: f32| log_bucket(distance, config.distance_buckets, FURTHEST) as i32;
    for (row, document) in documents.iter().enumerate() {
        for (i, from) in document.centres.iter().enumerate() {
            for (j, to) in document.centres.iter().enumerate() {
                let place = (row * words + i) * words + j;
                if config.layout.is_some() {
                    horizontal[place] = bucket(to[0] - from[0]);
                    vertical[place] = bucket(to[1] - from[1]);
                } else {
                    horizontal[place] = bucket(j as f32 - i as f32);
                }
            }
        }
    }
    let tensor = |values| Tensor::from_data(TensorData::new(values, [documents.len(), words, words]), device);
    (tensor(horizontal), tensor(vertical))
}

fn pictures(documents: &[&DocumentFeatures], image: &VitConfig, words: usize, device: &Device) -> Pictures {
    let (size, count) = (image.height * image.width * image.channels, image.patches());
    let mut canvas = vec![0f32; documents.len() * size];
    let mut pooling = vec![0f32; documents.len() * words * count];
    for (row, picture) in documents.iter().enumerate().filter_map(|(row, d)| Some((row, d.picture.as_ref()?))) {
        for (pixel, ink) in canvas[row * size..(row + 1) * size].iter_mut().zip(picture.ink.iter()) {
            *pixel = f32::from(*ink) / 255.0;
        }
        for (word, shares) in picture.pooling.iter().enumerate() {
            for &(patch, share) in shares {
                pooling[(row * words + word) * count + patch] += share;
            }
        }
    }
    let shape = [documents.len(), image.channels, image.height, image.width];
    let canvas = Tensor::<4>::from_data(TensorData::new(canvas, shape), device);
    Pictures {
        patches: patches(canvas, image.patch),
        pooling: Tensor::from_data(TensorData::new(pooling, [documents.len(), words, count]), device),
        present: documents.iter().map(|document| document.picture.is_some()).collect(),
    }
}
