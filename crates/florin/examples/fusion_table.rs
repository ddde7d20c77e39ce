//! Every kind of fusion on planted structure, in one table: `cargo run -p florin --example fusion_table [-- --json] [--seeds N] [--steps N]
//! [--rate N] [--rise N] [--kind NAME]`.
//!
//! Columns: exclusive or of two and of three modalities; recall at 1 of a third modality from two, and with shuffled pairs; accuracy with
//! modalities missing at four rates, and by how much it is at worst below the best single modality that a row has (a
//! negative number: always above); a task whose rows are half easy, with the weight of the deciding modality on easy and on hard
//! rows and the share of the dearest branch's work. Mean and largest distance from it over the seeds.

mod planted;

use std::time::Instant;

use burn::module::Module;
use florin_fusion::{AnyFusion, Fusion, FusionConfig, ModalityDropout};
use planted::training::{Classifier, Course, cpu};
use planted::{Draw, Task, kinds, retrieval};

/// Rates at which a modality is missing.
const MISSING: [f64; 4] = [0.0, 0.3, 0.6, 0.9];

/// Rows of a test.
const ROWS: usize = 4000;

/// Heads of the columns.
const COLUMNS: [&str; 14] = [
    "xor 2", "xor 3", "loss 2", "recall", "shuffled", "0 %", "30 %", "60 %", "90 %", "below", "switch", "w easy",
    "w hard", "work",
];

/// Values in the order of the columns; none where a kind defines no such thing.
type Row = Vec<Option<f64>>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, usual: f64| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)?.parse().ok()).unwrap_or(usual)
    };
    let (seeds, steps) = (number("--seeds", 3.0) as u64, number("--steps", 400.0) as usize);
    let usual = Course::usual(steps);
    let (learning_rate, rise) = (number("--rate", usual.learning_rate), number("--rise", usual.rise));
    let course = Course { steps, learning_rate, rise };
    let wanted = arguments.iter().position(|argument| argument == "--kind").and_then(|place| arguments.get(place + 1));
    let mut lines = Vec::new();
    for (name, config) in
        kinds(3).into_iter().filter(|(name, _)| wanted.is_none_or(|wanted| name.starts_with(wanted.as_str())))
    {
        let two = kinds(2).into_iter().find(|(other, _)| *other == name).expect("the same kinds for two modalities").1;
        let start = Instant::now();
        let rows: Vec<Row> = (1..=seeds).map(|seed| measure(&two, &config, course, seed)).collect();
        lines.push((name, rows, start.elapsed().as_secs_f64()));
        eprintln!("{}: {:.1} s", lines[lines.len() - 1].0, lines[lines.len() - 1].2);
    }
    if arguments.iter().any(|argument| argument == "--json") { print_json(&lines) } else { print_table(&lines) }
}

/// One seed of one kind.
fn measure(two: &FusionConfig, three: &FusionConfig, course: Course, seed: u64) -> Row {
    let exclusive = |config, count| {
        let task = Task::ExclusiveOr(count);
        let sample = task.sample(ROWS, &mut Draw::new(1000 + seed));
        Classifier::trained(config, task, course, seed, 0.0).valid().score(&sample, &sample.streams(&cpu()))
    };
    let (both, all) = (exclusive(two, 2), exclusive(three, 3));
    let mut row = vec![Some(both.accuracy), Some(all.accuracy), Some(both.loss)];
    // Two classes are too few for a product of experts to point anywhere.
    let points = two.init(&cpu()).dim() > 2;
    row.extend([false, true].map(|shuffled| points.then(|| retrieval::recall(two, course, seed, shuffled))));
    row.extend(missing(three, course, seed));
    row.extend(switch(three, course, seed));
    row
}

/// Accuracy at each rate, and the most that any of them is below the best single modality present.
fn missing(config: &FusionConfig, course: Course, seed: u64) -> Row {
    let model = Classifier::trained(config, Task::Redundant, course, seed, 0.5).valid();
    let sample = Task::Redundant.sample(ROWS, &mut Draw::new(1000 + seed));
    let mut below = f64::NEG_INFINITY;
    let mut row: Row = MISSING
        .iter()
        .map(|&rate| {
            let streams = ModalityDropout { rate, seed: 2000 + seed }.apply(sample.streams(&cpu()), 0);
            let accuracy = model.score(&sample, &streams).accuracy;
            below = below.max(sample.best_alone(&streams) - accuracy);
            Some(accuracy)
        })
        .collect();
    row.push(Some(below));
    row
}

/// Accuracy where half the rows are easy, the first modality's weight on easy and on hard rows, and the work done.
fn switch(config: &FusionConfig, course: Course, seed: u64) -> Row {
    let task = Task::Switch(50);
    let model = Classifier::trained(config, task, course, seed, 0.0).valid();
    let sample = task.sample(ROWS, &mut Draw::new(1000 + seed));
    let streams = sample.streams(&cpu());
    let accuracy = model.score(&sample, &streams).accuracy;
    let weights = model.fusion.fuse(&streams).weights;
    let weights = weights.map(|weights| weights.into_data().try_to_vec::<f32>().expect("f32"));
    let leaned = |easy: bool| {
        let rows: Vec<usize> = (0..ROWS).filter(|&row| sample.easy[row] == easy).collect();
        let first = |weights: &Vec<f32>| rows.iter().map(|row| f64::from(weights[row * 3])).sum::<f64>();
        weights.as_ref().map(|weights| first(weights) / rows.len() as f64)
    };
    let work = match &model.fusion {
        AnyFusion::Dynamic(fusion) => {
            let dearest = fusion.branches.iter().map(|branch| branch.multiply_adds()).max().unwrap_or(1);
            Some(fusion.fuse_hard(&streams).multiply_adds as f64 / (ROWS * dearest) as f64)
        }
        _ => None,
    };
    vec![Some(accuracy), leaned(true), leaned(false), work]
}

/// Mean and largest distance from it.
fn spread(rows: &[Row], column: usize) -> Option<(f64, f64)> {
    let values: Option<Vec<f64>> = rows.iter().map(|row| row[column]).collect();
    let values = values.filter(|values| !values.is_empty())?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Some((mean, values.iter().map(|value| (value - mean).abs()).fold(0.0, f64::max)))
}

fn print_table(lines: &[(String, Vec<Row>, f64)]) {
    print!("{:<24}", "kind");
    COLUMNS.iter().for_each(|column| print!("{column:>14}"));
    println!("{:>9}", "seconds");
    for (name, rows, seconds) in lines {
        print!("{name:<24}");
        for column in 0..COLUMNS.len() {
            let cell = spread(rows, column).map_or("-".to_owned(), |(mean, most)| format!("{mean:.3}±{most:.3}"));
            print!("{cell:>14}");
        }
        println!("{seconds:>9.1}");
    }
}

fn print_json(lines: &[(String, Vec<Row>, f64)]) {
    let line = |(name, rows, seconds): &(String, Vec<Row>, f64)| {
        let values = COLUMNS.iter().enumerate().map(|(column, head)| {
            let value = spread(rows, column).map(|(mean, most)| serde_json::json!({"mean": mean, "most": most}));
            ((*head).to_owned(), serde_json::json!(value))
        });
        let values: serde_json::Map<_, _> = values.collect();
        serde_json::json!({"kind": name, "seconds": seconds, "values": values})
    };
    println!("{}", serde_json::Value::Array(lines.iter().map(line).collect()));
}
