//! What a student learns from a teacher: 256 samples of width 128 and 1,024 classes; texts of 8 × 64 tokens.

use burn::prelude::*;
use florin_losses::distillation::{
    AttentionDistillation, AttentionScores, AttentionTarget, ClipDistillation, ClipStudent, ClipTeacher,
    FeatureDistillation, FeatureError, LogitDistillation, RelationDistillation, TokenDistillation, TokenLogits,
};

use crate::frame::{Cases, random};

const SAMPLES: usize = 256;
const DIM: usize = 128;
const CLASSES: usize = 1_024;
/// Texts, heads, tokens, and the width of student and teacher.
const TEXTS: [usize; 5] = [8, 8, 64, 128, 256];

pub(crate) fn add(cases: &mut Cases<'_>) {
    cases.loss("distilled_logits", |device| {
        let [student, teacher] = [0, 1].map(|_| random([SAMPLES, CLASSES], device));
        let (labels, all) = (labels(device), all([SAMPLES], device));
        move || {
            let (student, teacher) = (student.clone(), teacher.clone());
            let loss = LogitDistillation::default();
            loss.forward(student, teacher, labels.clone(), all.clone(), all.clone()).loss
        }
    });
    cases.loss("distillation_token", |device| {
        let [class, token, teacher] = [0, 1, 2].map(|_| random([SAMPLES, CLASSES], device));
        let (labels, all) = (labels(device), all([SAMPLES], device));
        move || {
            let logits = TokenLogits { class: class.clone(), token: token.clone(), teacher: teacher.clone() };
            TokenDistillation::default().forward(logits, labels.clone(), all.clone()).loss
        }
    });
    for (name, error) in [("distilled_features", FeatureError::Square), ("distilled_directions", FeatureError::Cosine)]
    {
        cases.loss(name, |device| {
            let [texts, _, seq, dim, teacher_dim] = TEXTS;
            let loss = FeatureDistillation::projected(dim, teacher_dim, error, device);
            let (student, teacher) = (random([texts, seq, dim], device), random([texts, seq, teacher_dim], device));
            let all = all([texts, seq], device);
            move || loss.forward(student.clone(), teacher.clone(), all.clone()).loss
        });
    }
    for (name, target) in
        [("distilled_attention_scores", AttentionTarget::Scores), ("distilled_attention_maps", AttentionTarget::Maps)]
    {
        cases.loss(name, |device| {
            let [texts, heads, seq, ..] = TEXTS;
            let [student, teacher] = [0, 1].map(|_| random([texts, heads, seq, seq], device));
            let all = all([texts, seq], device);
            move || {
                let scores = AttentionScores { student: student.clone(), teacher: teacher.clone() };
                AttentionDistillation { target }.forward(scores, all.clone(), all.clone())
            }
        });
    }
    cases.loss("distilled_relations", |device| {
        // Angles take memory of the third power of the batch.
        let [student, teacher] = [0, 1].map(|_| random([64, DIM], device));
        move || RelationDistillation::default().forward(student.clone(), teacher.clone()).loss
    });
    cases.loss("clip_distillation", clip);
}

/// With every part of it, the divergence of interactive scores included.
fn clip(device: &Device) -> impl FnMut() -> Tensor<1> + use<> {
    let [image, text, image_projected, text_projected, of_image, of_text] =
        [0; 6].map(|_| random([SAMPLES, DIM], device));
    let scale = Tensor::<1>::from_floats([2.66], device);
    let learned = if scale.is_autodiff() { scale.clone().require_grad() } else { scale.clone() };
    let loss = ClipDistillation { interactive_relation: 1.0, ..ClipDistillation::default() };
    move || {
        let student = ClipStudent {
            image: image.clone(),
            text: text.clone(),
            image_projected: image_projected.clone(),
            text_projected: text_projected.clone(),
            log_scale: learned.clone(),
            interactive_log_scale: learned.clone(),
        };
        let teacher = ClipTeacher { image: of_image.clone(), text: of_text.clone(), log_scale: scale.clone() };
        loss.forward(student, teacher).loss
    }
}

fn labels(device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i32> = (0..SAMPLES).map(|row| (row * 7 % CLASSES) as i32).collect();
    Tensor::from_data(TensorData::new(labels, [SAMPLES]), device)
}

/// Marks that are all true.
fn all<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D, Bool> {
    Tensor::from_data(TensorData::new(vec![true; shape.iter().product()], shape), device)
}
