//! Distillation of vectors: as they are, by their relations, by where attention looks, through a second head, and of a whole CLIP.

use florin::backend;
use florin::losses::LogitScale;
use florin::losses::distillation::{
    AttentionDistillation, AttentionScores, AttentionTarget, ClipDistillation, ClipStudent, ClipTeacher,
    FeatureDistillation, FeatureError, RelationDistillation, TokenDistillation, TokenLogits,
};
use florin::tensor::{Bool, Distribution, Int, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = backend::device("cpu")?;
    backend::seed(&device, 1);
    let normal = Distribution::Normal(0.0, 1.0);
    let vectors = |dim| Tensor::<2>::random([4, dim], normal, &device);
    let all = Tensor::<2, Bool>::full([2, 3], true, &device);

    let features = FeatureDistillation::projected(8, 16, FeatureError::Cosine, &device);
    let [small, large] = [8, 16].map(|dim| Tensor::<3>::random([2, 3, dim], normal, &device));
    println!("features: {}", features.forward(small, large, all.clone()).loss.into_scalar::<f32>());
    let relations = RelationDistillation::default().forward(vectors(8), vectors(16));
    println!("relations: {}", relations.loss.into_scalar::<f32>());

    let [student, teacher] = [0, 1].map(|_| Tensor::<4>::random([2, 2, 3, 3], normal, &device));
    let maps = AttentionDistillation { target: AttentionTarget::Maps };
    println!(
        "attention: {}",
        maps.forward(AttentionScores { student, teacher }, all.clone(), all).into_scalar::<f32>()
    );

    let logits = TokenLogits { class: vectors(3), token: vectors(3), teacher: vectors(3) };
    let labels = Tensor::<1, Int>::from_ints([0, 1, 2, 0], &device);
    let token = TokenDistillation::default().forward(logits, labels, Tensor::<1, Bool>::full([4], true, &device));
    println!("second head: {}", token.loss.into_scalar::<f32>());

    let log_scale = || LogitScale::new(LogitScale::CLIP_TEMPERATURE, &device).value();
    let (image, text, image_projected, text_projected) = (vectors(8), vectors(8), vectors(16), vectors(16));
    let (log_scale, interactive_log_scale, teachers) = (log_scale(), log_scale(), log_scale());
    let student = ClipStudent { image, text, image_projected, text_projected, log_scale, interactive_log_scale };
    let teacher = ClipTeacher { image: vectors(16), text: vectors(16), log_scale: teachers };
    println!("CLIP: {}", ClipDistillation::default().forward(student, teacher).loss.into_scalar::<f32>());
    Ok(())
}
