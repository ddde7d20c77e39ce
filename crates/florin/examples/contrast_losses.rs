//! Contrast of pairs that are judged one by one (SigLIP), of two views (SimCLR) and of classes (SupCon).

use florin::backend;
use florin::losses::{LogitScale, NtXentLoss, SigLipLoss, SupervisedContrastLoss};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?.autodiff();
    backend::seed(&device, 1);
    let random = || Tensor::<2>::random([4, 8], Distribution::Normal(0.0, 1.0), &device);
    let (picture, text) = (random().require_grad(), random());

    let (scale, bias) = (LogitScale::new(0.1, &device), Tensor::from_floats([SigLipLoss::BIAS as f32], &device));
    let pairs = SigLipLoss::default().forward(picture.clone(), text.clone(), scale.value(), bias);
    let views = NtXentLoss::default().forward(picture.clone(), text);
    // The last sample is alone in its class: it competes, but nothing is asked of it.
    let classes = SupervisedContrastLoss::default().forward(picture.clone(), &[0, 0, 0, 1]);
    for (name, loss) in [("pairs", pairs.loss), ("views", views.loss), ("classes", classes.loss)] {
        let gradient = picture.grad(&loss.backward()).ok_or("the picture is tracked")?;
        println!("{name}: {}, gradient up to {}", loss.into_scalar::<f32>(), gradient.abs().max().into_scalar::<f32>());
    }
    Ok(())
}
