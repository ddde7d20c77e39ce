//! What dual encoders share: vectors of both towers in one space, their similarities, and the loss of pairs.

use burn::module::Param;
use burn::prelude::*;
use florin_encoders::ConfigError;
use florin_losses::{ClipLoss, SigLipLoss};
use florin_nn::constant;

use crate::ModelError;
use crate::named_tensors::{Inputs, Outputs, refused};
use crate::system::Wanted;

/// How alike a picture and a text are, from their vectors.
#[derive(Module, Debug)]
pub struct Similarity {
    /// Logarithm of the factor of all cosines, `[1]`.
    pub log_scale: Param<Tensor<1>>,
    /// Added to all of them, `[1]`, where every pair is a question of its own.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Similarity {
    /// CLIP's: a text picks among pictures.
    pub fn among_all(device: &Device) -> Self {
        // ln(1/0.07), where the paper starts.
        Self { log_scale: constant([1], (1.0f64 / 0.07).ln(), device), bias: None }
    }

    /// SigLIP's: each pair is right or wrong.
    pub fn one_by_one(device: &Device) -> Self {
        let bias = constant([1], SigLipLoss::BIAS, device);
        Self { log_scale: constant([1], 10.0f64.ln(), device), bias: Some(bias) }
    }

    /// Everything that vectors of one tower or of both give: vectors of length one, and with both their similarities, and the
    /// loss where there are as many texts as pictures.
    ///
    /// # Shapes
    ///
    /// - text: `[texts, dim]`
    /// - image: `[pictures, dim]`
    pub fn outputs(&self, text: Option<Tensor<2>>, image: Option<Tensor<2>>) -> Outputs {
        let (Some(text), Some(image)) = (&text, &image) else {
            let outputs = Outputs::new().with_maybe("text_embeds", text.map(of_length_one));
            return outputs.with_maybe("image_embeds", image.map(of_length_one));
        };
        let (texts, images) = (of_length_one(text.clone()), of_length_one(image.clone()));
        let cosines = florin_backend::product(texts.clone(), images.clone().transpose());
        let logits = cosines * self.log_scale.val().exp().unsqueeze();
        let logits = match &self.bias {
            Some(bias) => logits + bias.val().unsqueeze(),
            None => logits,
        };
        let is_paired = text.dims()[0] == image.dims()[0];
        let loss = is_paired.then(|| self.loss(text.clone(), image.clone()));
        Outputs::new()
            .with_maybe("loss", loss)
            .with("logits_per_image", logits.clone().transpose())
            .with("logits_per_text", logits)
            .with("text_embeds", texts)
            .with("image_embeds", images)
    }

    fn loss(&self, text: Tensor<2>, image: Tensor<2>) -> Tensor<1> {
        match &self.bias {
            Some(bias) => SigLipLoss::default().forward(image, text, self.log_scale.val(), bias.val()).loss,
            None => ClipLoss::default().forward(image, text, self.log_scale.val()).loss,
        }
    }
}

/// A width of the shared space, if it is one.
pub(crate) fn shared_width(found: usize) -> Result<usize, ModelError> {
    let (least, most) = (1, 16_384);
    if (least..=most).contains(&found) {
        return Ok(found);
    }
    Err(ConfigError::Size { encoder: "dual encoder", name: "width of the shared space", least, most, found }.into())
}

/// The vector of each row at a place of its own.
///
/// # Shapes
///
/// - x: `[batch, seq, dim]`
/// - output: `[batch, dim]`
pub(crate) fn at_places(x: Tensor<3>, places: &[usize]) -> Tensor<2> {
    let [batch, seq, dim] = x.dims();
    let rows: Vec<i32> = places.iter().enumerate().map(|(row, place)| (row * seq + place) as i32).collect();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [batch]), &x.device());
    x.reshape([batch * seq, dim]).select(0, rows)
}

/// The pictures of an input, which must have these channels, height and width.
///
/// # Shapes
///
/// - output: `[batch, channels, height, width]`
pub(crate) fn pictures(inputs: &Inputs, expected: [usize; 3]) -> Result<Tensor<4>, ModelError> {
    let pixels = inputs.tensor::<4>("pixel_values", "[batch, channels, height, width]")?;
    let [batch, found @ ..] = pixels.dims();
    if found == expected {
        return Ok(pixels);
    }
    let [channels, height, width] = expected;
    let shape = format!("shape [{batch}, {channels}, {height}, {width}]");
    Err(refused("pixel_values", &shape, &format!("shape {:?}", pixels.dims())))
}

/// The inputs of a text tower.
pub(crate) fn text_inputs(is_alone: bool) -> Vec<Wanted> {
    let ids = if is_alone { Wanted::needed } else { Wanted::optional };
    vec![
        ids("input_ids", "[batch, seq]"),
        Wanted::optional("attention_mask", "[batch, seq]"),
        Wanted::optional("position_ids", "[batch, seq]"),
    ]
}

/// The error of a call with neither a text nor what stands beside texts, such as `pixel_values`.
pub(crate) fn nothing_given(inputs: &Inputs, other: &str) -> ModelError {
    let given: Vec<&str> = inputs.names().collect();
    let found = if given.is_empty() { "nothing".to_owned() } else { format!("only {}", given.join(", ")) };
    refused(&format!("input_ids or {other}"), "at least one of them", &found)
}

/// Vectors of length one.
///
/// # Shapes
///
/// - x, output: `[rows, dim]`
pub(crate) fn of_length_one(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt();
    x / length
}
