//! Distillation against written-out loops in f64 that are held to torch's losses in the form of the papers' code.

use burn::module::Param;
use burn::prelude::*;
use florin_losses::distillation::{
    AttentionDistillation, AttentionScores, AttentionTarget, ClipDistillation, ClipStudent, ClipTeacher,
    FeatureDistillation, FeatureError, LogitDistillation, RelationDistillation, TeacherAnswer, TokenDistillation,
    TokenLogits,
};

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_tolerance::{GRADIENT, LOSS};

fn device() -> Device {
    florin_backend::device("cpu").expect("the cpu device is always there").autodiff()
}

/// Compares named parts, the first of which is the loss, and gives the graph behind it.
fn compare_parts<'a>(fixture: &'a Fixture, parts: &[(&str, &Tensor<1>)]) -> (Comparison<'a>, burn::tensor::Gradients) {
    let mut comparison = Comparison::new(fixture);
    for (name, part) in parts {
        comparison.tensor(name, (*part).clone(), LOSS);
    }
    (comparison, parts[0].1.clone().backward())
}

/// Compares the gradient of a tracked tensor.
fn gradient<const D: usize>(
    (comparison, graph): &mut (Comparison<'_>, burn::tensor::Gradients),
    name: &str,
    tensor: &Tensor<D>,
) {
    let found = tensor.grad(graph).expect("tracked");
    comparison.tensor(&format!("gradient.{name}"), found, GRADIENT);
}

#[test]
fn golden_distillation_of_logits_and_gradients() {
    let device = device();
    let fixture = Fixture::open("distil_logits");
    let student = fixture.input::<2>("student", &device).require_grad();
    let loss = LogitDistillation { temperature: fixture.config("temperature"), alpha: fixture.config("alpha") };
    let parts = loss.forward(
        student.clone(),
        fixture.input("teacher", &device),
        fixture.input_ints("labels", &device),
        fixture.input_marks("labelled", &device),
        fixture.input_marks("counts", &device),
    );
    let mut compared = compare_parts(&fixture, &[("loss", &parts.loss), ("soft", &parts.soft), ("hard", &parts.hard)]);
    gradient(&mut compared, "student", &student);
    compared.0.finish();
}

#[test]
fn golden_distillation_of_features_and_gradients() {
    let device = device();
    for (case, error) in
        [("distil_features_square", FeatureError::Square), ("distil_features_cosine", FeatureError::Cosine)]
    {
        let fixture = Fixture::open(case);
        let student = fixture.input::<3>("student", &device).require_grad();
        let teacher = fixture.input::<3>("teacher", &device);
        let weight = fixture.input::<2>("projection", &device); // [output, input], as PyTorch has it
        let mut loss = FeatureDistillation::projected(student.dims()[2], teacher.dims()[2], error, &device);
        let projection = loss.projection.as_mut().expect("projected");
        projection.weight = Param::from_tensor(weight.transpose());
        let weight = projection.weight.val();
        let parts = loss.forward(student.clone(), teacher, fixture.input_marks("counts", &device));
        let mut compared = compare_parts(&fixture, &[("loss", &parts.loss), ("per_row", &parts.per_row)]);
        gradient(&mut compared, "student", &student);
        let found = weight.grad(&compared.1).expect("tracked").transpose();
        compared.0.tensor("gradient.projection", found, GRADIENT);
        compared.0.finish();
    }
}

#[test]
fn golden_distillation_of_relations_and_gradients() {
    let device = device();
    let fixture = Fixture::open("distil_relations");
    let student = fixture.input::<2>("student", &device).require_grad();
    let loss = RelationDistillation { distance: fixture.config("distance"), angle: fixture.config("angle") };
    let parts = loss.forward(student.clone(), fixture.input("teacher", &device));
    let mut compared =
        compare_parts(&fixture, &[("loss", &parts.loss), ("distance", &parts.distance), ("angle", &parts.angle)]);
    gradient(&mut compared, "student", &student);
    compared.0.finish();
}

#[test]
fn golden_distillation_of_attention_and_gradients() {
    let device = device();
    for (case, target) in
        [("distil_attention_scores", AttentionTarget::Scores), ("distil_attention_maps", AttentionTarget::Maps)]
    {
        let fixture = Fixture::open(case);
        let student = fixture.input::<4>("student", &device).require_grad();
        let counts = fixture.input_marks::<2>("counts", &device);
        let scores = AttentionScores { student: student.clone(), teacher: fixture.input("teacher", &device) };
        let loss = AttentionDistillation { target }.forward(scores, counts.clone(), counts);
        let mut compared = compare_parts(&fixture, &[("loss", &loss)]);
        gradient(&mut compared, "student", &student);
        compared.0.finish();
    }
}

#[test]
fn golden_distillation_of_two_towers_and_gradients() {
    let device = device();
    let fixture = Fixture::open("distil_clip");
    // Fewer rows than the batch of five, not dividing it, and more than it.
    for chunk in [1, 3, 512] {
        let [image, text, image_projection, text_projection] = ["image", "text", "image_projection", "text_projection"]
            .map(|name| fixture.input::<2>(name, &device).require_grad());
        let [log_scale, interactive_log_scale] =
            ["log_scale", "interactive_log_scale"].map(|name| fixture.input::<1>(name, &device).require_grad());
        let project = |x: &Tensor<2>, by: &Tensor<2>| florin_backend::product(x.clone(), by.clone().transpose());
        let student = ClipStudent {
            image: image.clone(),
            text: text.clone(),
            image_projected: project(&image, &image_projection),
            text_projected: project(&text, &text_projection),
            log_scale: log_scale.clone(),
            interactive_log_scale: interactive_log_scale.clone(),
        };
        let teacher = ClipTeacher {
            image: fixture.input("teacher_image", &device),
            text: fixture.input("teacher_text", &device),
            log_scale: fixture.input("teacher_log_scale", &device),
        };
        let weight = |name: &str| fixture.config::<f64>(name);
        let loss = ClipDistillation {
            feature: weight("feature"),
            interactive: weight("interactive"),
            interactive_relation: weight("interactive_relation"),
            relation: weight("relation"),
            chunk,
        };
        let parts = loss.forward(student, teacher);
        let named = [
            ("loss", &parts.loss),
            ("feature", &parts.feature),
            ("interactive", &parts.interactive),
            ("interactive_relation", &parts.interactive_relation),
            ("relation", &parts.relation),
        ];
        let mut compared = compare_parts(&fixture, &named);
        gradient(&mut compared, "image", &image);
        gradient(&mut compared, "text", &text);
        gradient(&mut compared, "image_projection", &image_projection);
        gradient(&mut compared, "text_projection", &text_projection);
        gradient(&mut compared, "log_scale", &log_scale);
        gradient(&mut compared, "interactive_log_scale", &interactive_log_scale);
        compared.0.finish();
    }
}

#[test]
fn golden_distillation_token_and_gradients() {
    let device = device();
    for case in ["distil_token_hard", "distil_token_soft"] {
        let fixture = Fixture::open(case);
        let hard = case == "distil_token_hard";
        let temperature = fixture.config("temperature");
        let answer = if hard { TeacherAnswer::Hard } else { TeacherAnswer::Soft { temperature } };
        let class = fixture.input::<2>("class_logits", &device).require_grad();
        let token = fixture.input::<2>("token_logits", &device).require_grad();
        let logits =
            TokenLogits { class: class.clone(), token: token.clone(), teacher: fixture.input("teacher", &device) };
        let (labels, counts) = (fixture.input_ints("labels", &device), fixture.input_marks("counts", &device));
        let parts = TokenDistillation { answer, alpha: fixture.config("alpha") }.forward(logits, labels, counts);
        let mut compared =
            compare_parts(&fixture, &[("loss", &parts.loss), ("class", &parts.class), ("token", &parts.token)]);
        gradient(&mut compared, "class_logits", &class);
        gradient(&mut compared, "token_logits", &token);
        compared.0.finish();
    }
}
