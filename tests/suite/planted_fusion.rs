//! What fusions can and cannot learn, on data with a planted structure: the example `fusion_table` measures more of it.

use burn::module::Module;
use florin_fusion::{AnyFusion, Fusion, ModalityDropout};

use crate::planted::training::{Classifier, Course, cpu};
use crate::planted::{Draw, Task, is_additive, kinds, retrieval};

const ROWS: usize = 2000;

#[test]
fn interactions_learn_the_exclusive_or_and_sums_provably_do_not() {
    let task = Task::ExclusiveOr(2);
    for (name, config) in kinds(2) {
        let sample = task.sample(ROWS, &mut Draw::new(1000));
        let score = Classifier::trained(&config, task, Course::usual(400), 1, 0.0)
            .valid()
            .score(&sample, &sample.streams(&cpu()));
        if is_additive(&config) {
            // A sum's four margins add up to nothing, so its cross-entropy is at least ln 2 on even classes; 2,000 rows are nearly even.
            assert!(score.loss > 2f64.ln() - 0.01, "{name}: {score:?}");
            assert!((score.accuracy - 0.5).abs() < 0.1, "{name}: {score:?}");
        } else {
            assert!(score.accuracy >= 0.99, "{name}: {score:?}");
        }
    }
}

#[test]
fn one_modality_of_an_exclusive_or_says_nothing() {
    let task = Task::ExclusiveOr(2);
    let sample = task.sample(ROWS, &mut Draw::new(1000));
    for (name, config) in kinds(2).into_iter().filter(|(name, _)| ["gated", "low_rank"].contains(&name.as_str())) {
        let model = Classifier::trained(&config, task, Course::usual(100), 1, 0.0).valid();
        for alone in 0..2 {
            let streams = sample.streams(&cpu()).into_iter().enumerate();
            let streams: Vec<_> = streams.map(|(m, stream)| stream.present_in(vec![m == alone; ROWS])).collect();
            let accuracy = model.score(&sample, &streams).accuracy;
            assert!((accuracy - 0.5).abs() < 0.05, "{name} with modality {alone} alone: {accuracy}");
        }
    }
}

#[test]
fn a_third_modality_is_found_from_two_unless_pairs_are_shuffled() {
    let (_, config) = kinds(2).into_iter().find(|(name, _)| name == "low_rank").expect("a kind");
    assert!(retrieval::recall(&config, Course::usual(400), 1, false) > 0.85);
    // Chance is 1 in 64 of 512 rows: 8 of them, give or take 3.
    assert!(retrieval::recall(&config, Course::usual(100), 1, true) < 0.05);
}

#[test]
fn with_modalities_missing_no_kind_falls_below_the_best_one_present() {
    let task = Task::Redundant;
    let sample = task.sample(ROWS, &mut Draw::new(1000));
    for (name, config) in kinds(3) {
        let model = Classifier::trained(&config, task, Course::usual(250), 1, 0.5).valid();
        let mut before = 1.0;
        for rate in [0.0, 0.3, 0.6, 0.9] {
            let streams = ModalityDropout { rate, seed: 3 }.apply(sample.streams(&cpu()), 0);
            let (accuracy, alone) = (model.score(&sample, &streams).accuracy, sample.best_alone(&streams));
            assert!(accuracy > alone - 0.03, "{name} at {rate}: {accuracy}, the best one alone {alone}");
            assert!(accuracy < before + 0.02, "{name} at {rate}: {accuracy} after {before}");
            before = accuracy;
        }
    }
}

#[test]
fn a_dynamic_fusion_follows_the_indicator_and_spends_less_where_it_may() {
    let task = Task::Switch(50);
    let (_, config) = kinds(3).into_iter().find(|(name, _)| name == "dynamic").expect("a kind");
    let model = Classifier::trained(&config, task, Course::usual(400), 1, 0.0).valid();
    let sample = task.sample(ROWS, &mut Draw::new(1000));
    let streams = sample.streams(&cpu());
    assert!(model.score(&sample, &streams).accuracy > 0.98);
    let AnyFusion::Dynamic(fusion) = &model.fusion else { panic!("it was configured so") };
    let weights = fusion.fuse(&streams).weights.expect("this kind has weights").into_data();
    let weights = weights.try_to_vec::<f32>().expect("f32");
    let leaned = |easy: bool| {
        let rows: Vec<usize> = (0..ROWS).filter(|&row| sample.easy[row] == easy).collect();
        rows.iter().map(|&row| weights[row * 3]).sum::<f32>() / rows.len() as f32
    };
    assert!(leaned(true) > leaned(false) + 0.3, "{} easy, {} hard", leaned(true), leaned(false));
    let dearest = fusion.branches.iter().map(|branch| branch.multiply_adds()).max().expect("there are branches");
    let share = fusion.fuse_hard(&streams).multiply_adds as f64 / (ROWS * dearest) as f64;
    assert!(share < 0.7, "{share} of the dearest branch's work on every row");
}
