//! Two views of samples told from noise by a memory of all samples: contrastive multiview coding.

use florin::backend;
use florin::losses::{CmcLoss, MemoryBank};
use florin::tensor::{Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?.autodiff();
    backend::seed(&device, 1);
    let mut bank = MemoryBank::new(2, 1000, 8, &device); // views, samples, dim
    for places in [[3, 700, 41], [12, 3, 999]] {
        let view = || Tensor::<2>::random([3, 8], Distribution::Normal(0.0, 1.0), &device).require_grad();
        let negatives = bank.draw_negatives(places.len(), 64);
        let parts = CmcLoss::default().forward(&[view(), view()], &mut bank, &places, negatives);
        println!("loss {:.4}", parts.loss.into_scalar::<f32>());
    }
    println!("to be stored: {:?}", bank.stored().keys().collect::<Vec<_>>());
    Ok(())
}
