//! Clips by any encoder of pictures: each frame is encoded alone, and what is there of a clip is pooled.
//!
//! A frame that is absent never matters, whatever stands in its place; a clip without a frame is zero.
//!
//! Paper: Yang et al. 2016 (attention pooling), <https://aclanthology.org/N16-1174>
//! Difference: over frames, and padding is hidden.

use burn::prelude::*;
use florin_nn::{AttentionPooling, Encoded, Encoder, Mask, Modality, Tokens};

/// How the frames of a clip become one vector.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a model holds one, not an array of them")]
pub enum FramePooling {
    /// Their mean.
    Mean(MeanOfFrames),
    /// The largest of each number.
    Max(MaxOfFrames),
    /// A mean with learned weights.
    Attention(AttentionPooling),
}

/// The mean of frames, which has nothing to learn.
#[derive(Module, Debug, Default)]
pub struct MeanOfFrames {}

/// The largest of frames, which has nothing to learn.
#[derive(Module, Debug, Default)]
pub struct MaxOfFrames {}

/// An encoder of clips made from one of pictures.
#[derive(Module, Debug)]
pub struct FrameEncoder<E: Module> {
    /// What encodes a frame.
    pub pictures: E,
    /// How frames become one vector.
    pub pooling: FramePooling,
}

/// A batch of clips.
#[derive(Clone, Debug)]
pub struct FrameInput<I> {
    /// The frames of all clips as a batch of pictures, clip by clip: `batch · frames` of them, absent ones included.
    pub frames: I,
    /// Which frames are there, `[batch, frames]`.
    pub present: Mask,
}

impl FramePooling {
    /// The mean.
    pub fn mean() -> Self {
        Self::Mean(MeanOfFrames {})
    }

    /// The largest.
    pub fn max() -> Self {
        Self::Max(MaxOfFrames {})
    }

    /// A mean with learned weights.
    pub fn attention(dim: usize, attention_dim: usize, device: &Device) -> Self {
        Self::Attention(AttentionPooling::new(dim, attention_dim, device))
    }

    /// # Shapes
    ///
    /// - frames: `[batch, frames, dim]`, of which the mask says which are there
    /// - output: `[batch, dim]`, zero for a clip without a frame
    pub fn forward(&self, frames: &Tokens) -> Tensor<2> {
        match self {
            Self::Mean(_) => frames.mean(),
            Self::Max(_) => largest(frames),
            Self::Attention(pooling) => {
                let mask = frames.mask();
                pooling.forward(frames.padded(), mask.hides_any().then(|| mask.hidden()))
            }
        }
    }
}

fn largest(frames: &Tokens) -> Tensor<2> {
    let (x, mask) = (frames.padded(), frames.mask());
    let [batch, _, dim] = x.dims();
    if !mask.hides_any() {
        return x.max_dim(1).squeeze_dim(1);
    }
    let hidden = mask.hidden().unsqueeze_dim::<3>(2).expand(x.dims());
    let largest: Tensor<2> = x.mask_fill(hidden, f32::MIN).max_dim(1).squeeze_dim(1);
    let empty: Vec<bool> = mask.lengths().iter().map(|&length| length == 0).collect();
    let empty = Tensor::<2, Bool>::from_data(TensorData::new(empty, [batch, 1]), &largest.device());
    largest.mask_fill(empty.expand([batch, dim]), 0.0)
}

impl<E: Module + Encoder> Encoder for FrameEncoder<E> {
    type Input = FrameInput<E::Input>;

    fn modality(&self) -> Modality {
        Modality::Video
    }

    fn dim(&self) -> usize {
        self.pictures.dim()
    }

    /// A token a frame.
    ///
    /// # Panics
    ///
    /// If there are not as many pictures as the mask has places.
    fn encode(&self, input: Self::Input) -> Encoded {
        let [batch, frames] = input.present.hidden().dims();
        let pooled = self.pictures.encode(input.frames).pooled;
        let [pictures, dim] = pooled.dims();
        assert_eq!(pictures, batch * frames, "expected {batch} clips of {frames} frames");
        // An absent picture may hold anything; its vector is dropped here, NaN included.
        let values = input.present.zeroed(pooled.reshape([batch, frames, dim]));
        let tokens = Tokens::new(values, input.present);
        Encoded { modality: Modality::Video, pooled: self.pooling.forward(&tokens), tokens }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use florin_nn::Linear;

    use super::*;

    /// A picture is a vector and its encoder a matrix.
    #[derive(Module, Debug)]
    struct Pictures {
        linear: Linear,
    }

    impl Encoder for Pictures {
        type Input = Tensor<2>;

        fn modality(&self) -> Modality {
            Modality::Image
        }

        fn dim(&self) -> usize {
            4
        }

        fn encode(&self, input: Tensor<2>) -> Encoded {
            let pooled = self.linear.forward(input);
            let [batch, _] = pooled.dims();
            let mask = Mask::all_kept(batch, 1, &pooled.device());
            let tokens = Tokens::new(pooled.clone().unsqueeze_dim(1), mask);
            Encoded { modality: Modality::Image, pooled, tokens }
        }
    }

    fn encoders(device: &Device) -> [FrameEncoder<Pictures>; 3] {
        [FramePooling::mean(), FramePooling::max(), FramePooling::attention(4, 5, device)]
            .map(|pooling| FrameEncoder { pictures: Pictures { linear: Linear::new(3, 4, device) }, pooling })
    }

    fn pooled(encoder: &FrameEncoder<Pictures>, frames: Tensor<2>, kept: &[bool]) -> Vec<f32> {
        let present = Mask::from_kept(kept, 1, kept.len(), &frames.device());
        encoder.encode(FrameInput { frames, present }).pooled.into_data().try_to_vec::<f32>().expect("f32")
    }

    fn assert_near(one: &[f32], other: &[f32]) {
        assert!(one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-6), "{one:?} {other:?}");
    }

    #[test]
    fn the_order_of_frames_does_not_matter() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let frames = Tensor::<2>::random([4, 3], Distribution::Default, &device);
        for encoder in encoders(&device) {
            let forwards = pooled(&encoder, frames.clone(), &[true; 4]);
            assert_near(&forwards, &pooled(&encoder, frames.clone().flip([0]), &[true; 4]));
        }
    }

    #[test]
    fn an_absent_frame_is_a_frame_left_out_and_no_frame_is_zero() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let frames = Tensor::<2>::random([3, 3], Distribution::Normal(-5.0, 1.0), &device);
        for garbage in [0.0, 1e30, f32::NAN] {
            let absent = Tensor::<2>::full([1, 3], garbage, &device);
            let both = Tensor::cat(vec![frames.clone().narrow(0, 0, 1), absent, frames.clone().narrow(0, 1, 2)], 0);
            for encoder in encoders(&device) {
                let alone = pooled(&encoder, frames.clone(), &[true; 3]);
                assert_near(&alone, &pooled(&encoder, both.clone(), &[true, false, true, true]));
                assert_eq!(pooled(&encoder, both.clone(), &[false; 4]), [0.0; 4]);
            }
        }
    }

    #[test]
    fn the_mean_is_the_mean_and_the_largest_the_largest() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let frames = Tensor::<3>::from_floats([[[1.0, -4.0], [3.0, -2.0]]], &device);
        let tokens = Tokens::new(frames, Mask::all_kept(1, 2, &device));
        let floats = |tensor: Tensor<2>| tensor.into_data().try_to_vec::<f32>().expect("f32");
        assert_eq!(floats(FramePooling::mean().forward(&tokens)), [2.0, -3.0]);
        assert_eq!(floats(FramePooling::max().forward(&tokens)), [3.0, -2.0]);
    }
}
