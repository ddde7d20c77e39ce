//! Two tasks of unlike size in one loss: equal weights, learned uncertainty, and gradients brought to one length.

use florin::backend;
use florin::losses::{GradNorm, GradNormConfig, TaskKind, TaskLosses, TaskProgress, UncertaintyWeights};
use florin::tensor::{Bool, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    let costs = Tensor::<2>::from_floats([[9.0, 0.2], [7.0, f32::NAN]], &device);
    let labelled = Tensor::<2, Bool>::from_data([[true, true], [true, false]], &device);
    let losses = || TaskLosses::of_samples(costs.clone(), labelled.clone());
    println!("equal: {}", losses().equal().loss.into_scalar::<f32>());

    let uncertain = UncertaintyWeights::new(&[TaskKind::Regression, TaskKind::Classification], &device);
    println!("by uncertainty: {}", uncertain.forward(losses()).per_task);

    let mut balance = GradNorm::new(2, GradNormConfig::default())?;
    for gradient_norm in [4.0, 3.0, 2.0] {
        let progress = |loss, gradient_norm| Some(TaskProgress { loss, gradient_norm });
        balance.step(&[progress(8.0, gradient_norm), progress(0.2, 0.1)]);
    }
    println!("by GradNorm: {:?}", balance.weights());
    Ok(())
}
