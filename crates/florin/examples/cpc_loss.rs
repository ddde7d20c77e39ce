//! A context of the past picks the future of its own row: contrastive predictive coding with a recurrent context.

use florin::backend;
use florin::losses::{CpcLoss, CpcPredictor};
use florin::nn::Gru;
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?.autodiff();
    backend::seed(&device, 1);
    let encoded = Tensor::<3>::random([8, 20, 4], Distribution::Normal(0.0, 1.0), &device); // [batch, time, dim]
    let context = Gru::new(4, 16, &device).forward(encoded.clone(), None);
    let predictor = CpcPredictor::new(16, 4, 3, &device);
    let parts = CpcLoss::default().forward(&predictor, encoded, context, &[20, 20, 15, 20, 8, 20, 20, 20]);
    println!("loss {:.4}", parts.loss.into_scalar::<f32>());
    for (index, step) in parts.steps.into_iter().enumerate() {
        let [accuracy, bound] = [step.accuracy, step.bound].map(|part| part.into_scalar::<f32>());
        println!("{} ahead: {} anchors, accuracy {accuracy:.2}, at least {bound:.4} nats", index + 1, step.anchors);
    }
    Ok(())
}
